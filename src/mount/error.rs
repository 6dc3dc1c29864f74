//! Errors of mounting and unmounting.

use crate::error_kind::{ErrorKind, IoError};
use crate::{disk, view};
use std::io;
use std::path::PathBuf;

/// A failure to mount, to serve or to unmount.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A mount option that is not known, has a bad value or contradicts another one.
    #[error("The mount option {option} {reason}")]
    Option {
        /// The option as it was given.
        option: String,
        /// Completes "The mount option X ...".
        reason: String,
    },
    /// The mount point cannot be used.
    #[error("Cannot mount on {}: {reason}", path.display())]
    Point {
        /// The mount point.
        path: PathBuf,
        /// Why, and what to do about it.
        reason: &'static str,
    },
    /// The kernel offers no FUSE.
    #[error(
        "Cannot use /dev/fuse; load the kernel's module with 'modprobe fuse' as root, or give a container the device with \
         '--device /dev/fuse --cap-add SYS_ADMIN'. The verbs, such as ls, cat and cp, work without it"
    )]
    NoFuse(#[source] io::Error),
    /// `/etc/fuse.conf` does not let ordinary users open their mounts to others.
    #[error(
        "Other users, root among them, can be let in only when /etc/fuse.conf has the line user_allow_other; add it, \
             or mount without --root, allow_root and allow_other"
    )]
    OthersNotAllowed,
    /// The process in the background ended without an error.
    #[error("The process in the background ended {how} before the disk was mounted; try again with --foreground")]
    Background {
        /// Completes "ended ... before".
        how: String,
    },
    /// The mount does not answer.
    #[error("The mount on {} does not answer after {seconds} seconds", path.display())]
    Silent {
        /// The mount point.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// What should be unmounted is not a mount of this program.
    #[error("Nothing of vboximg-mount is mounted on {}, {found}", path.display())]
    NotMounted {
        /// The directory.
        path: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// Files of the mount are open.
    #[error("{0} is in use; close what is open there (fuser -vm {0} lists it), also loop devices and mounts made from it, \
             and try again", path.display())]
    Busy {
        /// The mount point.
        path: PathBuf,
    },
    /// The content to mount cannot be read.
    #[error(transparent)]
    View(#[from] view::Error),
    /// Somebody aborted the mount's connection with the kernel.
    #[error("The connection of the mount on {} was aborted, so it was unmounted; what was written before is durable, \
             mount it again", path.display())]
    Aborted {
        /// The mount point.
        path: PathBuf,
    },
    /// What was written could not be made durable.
    #[error("What was written to the disk is not durable")]
    Flush(#[source] Box<disk::Error>),
    /// As [`Flush`](Error::Flush), asked for through the mount; it stays mounted.
    #[error("What was written to the disk mounted on {} is not durable, so it stays mounted; {advice}", path.display())]
    NotDurable {
        /// The mount point.
        path: PathBuf,
        /// What to do next.
        advice: &'static str,
        /// Why: the error of the process that serves it, or else that of the kernel.
        source: io::Error,
    },
}

impl Error {
    /// The kind of this failure.
    #[must_use]
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(e) => e.kind(),
            Self::Option { .. } | Self::Point { .. } => ErrorKind::Usage,
            Self::NotMounted { .. } => ErrorKind::NotFound,
            Self::Flush(e) => e.kind(),
            Self::View(e) => e.kind(),
            Self::NoFuse(_)
            | Self::OthersNotAllowed
            | Self::Background { .. }
            | Self::Silent { .. }
            | Self::Aborted { .. }
            | Self::Busy { .. }
            | Self::NotDurable { .. } => ErrorKind::Io,
        }
    }

    /// For `map_err` of an operation on a file or directory; `action` completes "Cannot ... PATH".
    pub(super) fn io<E: Into<io::Error>>(path: &std::path::Path, action: &'static str) -> impl FnOnce(E) -> Self {
        let path = path.to_path_buf();
        move |e| IoError::new(&path, action, e).into()
    }
}

/// The result of mounting or unmounting.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
