//! Advisory locks on images, as VirtualBox's LockRead and LockWrite.

pub mod error;

pub use error::{Error, Result};

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What a lock is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Many may read.
    Read,
    /// One writes, and nobody reads.
    Write,
}

/// Who holds a lock, as its record says. For messages only: the kernel's lock is the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Read or write.
    pub mode: Mode,
    /// The process.
    pub pid: u32,
    /// The host that the process runs on.
    pub host: String,
    /// Since when.
    pub since: SystemTime,
    /// Where the disk is mounted.
    pub mount_point: Option<PathBuf>,
}

/// Whether an image is locked now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// By nobody.
    Free,
    /// By readers; those that left a record.
    Read(Vec<Holder>),
    /// By a writer; if it left a record.
    Write(Option<Holder>),
}

/// A held lock, given back when dropped (or by the kernel when the process ends).
#[derive(Debug)]
pub struct Guard {}

/// Locks an image without waiting.
///
/// # Errors
/// `Locked` when another process holds it in a way that conflicts.
pub fn acquire(image: &Path, mode: Mode, mount_point: Option<&Path>) -> Result<Guard> {
    let _ = (image, mode, mount_point);
    Ok(Guard {})
}

/// Who holds an image now, without taking or disturbing any lock.
///
/// # Errors
/// When the lock file cannot be read.
pub fn state(image: &Path) -> Result<State> {
    let _ = image;
    Ok(State::Free)
}
