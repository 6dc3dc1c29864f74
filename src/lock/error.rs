//! Errors of locking.

use super::{Holder, Mode, User};
use crate::error_kind::{ErrorKind, IoError};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// How many holders a message names.
const NAMED: usize = 3;

/// A failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Nothing keeps another writer away.
    #[error(
        "{} cannot be locked for writing: there can be no lock file next to it, its file system has no locks, and there is no \
         directory for lock files; set XDG_RUNTIME_DIR to one that only you can write",
        path.display()
    )]
    NoLocks {
        /// The image.
        path: PathBuf,
    },
    /// A writer found the lock file of another user.
    #[error("Cannot write the lock file {}, which another user made; remove it when that user has nothing mounted", path.display())]
    ForeignLockFile {
        /// The lock file.
        path: PathBuf,
    },
    /// Another process holds the lock.
    #[error("Medium '{}' is locked for {}; {}", path.display(), locked_by(*mode, holders, processes), what_to_do(holders))]
    Locked {
        /// The image.
        path: PathBuf,
        /// How it is locked.
        mode: Mode,
        /// Who holds it, of those that left a record.
        holders: Vec<Holder>,
        /// Who holds it according to the kernel, when there is no record.
        processes: Vec<User>,
    },
    /// A program that takes no locks, such as a virtual machine, has the image open.
    #[error("Medium '{}' is in use by process {} ({}), which has it open for {}; end it first", user.path.display(), user.pid, user.name, access(user.writes))]
    InUse {
        /// The process.
        user: User,
    },
    /// The kernel itself uses the device.
    #[error("Device '{}' is in use by this system: mounted, or part of another device; unmount it first", path.display())]
    DeviceInUse {
        /// The device.
        path: PathBuf,
    },
    /// The kernel serves the image as a disk.
    #[error("Medium '{}' is in use by the loop device {device}; detach it first (losetup -d {device})", path.display())]
    LoopDevice {
        /// The image.
        path: PathBuf,
        /// The device, such as `/dev/loop0`.
        device: String,
    },
}

impl Error {
    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(e) => e.kind(),
            Self::NoLocks { .. } | Self::ForeignLockFile { .. } => ErrorKind::Io,
            Self::Locked { .. } | Self::InUse { .. } | Self::DeviceInUse { .. } | Self::LoopDevice { .. } => {
                ErrorKind::Locked
            }
        }
    }

    pub(super) fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        IoError::new(path, action, source).into()
    }
}

/// `writing by process 123 on host x since 2026-11-23T10:00:00Z (mounted at /mnt)`
fn locked_by(mode: Mode, holders: &[Holder], processes: &[User]) -> String {
    let named: Vec<String> = match holders {
        [] => processes.iter().take(NAMED).map(|user| format!("{} ({})", user.pid, user.name)).collect(),
        holders => holders.iter().take(NAMED).map(Holder::to_string).collect(),
    };
    let mut text = access(mode == Mode::Write).to_owned();
    match holders.len().max(processes.len()) {
        0 => text.push_str(" by another process"),
        1 => {
            let _ = write!(text, " by process {}", named[0]);
        }
        count => {
            let _ = write!(text, " by {count} processes: {}", named.join(", "));
            if count > named.len() {
                let _ = write!(text, " and {} more", count - named.len());
            }
        }
    }
    text
}

fn access(writes: bool) -> &'static str {
    if writes { "writing" } else { "reading" }
}

fn what_to_do(holders: &[Holder]) -> &'static str {
    if holders.len() > 1 { "unmount them first" } else { "unmount it first" }
}

/// The result of an operation here.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
