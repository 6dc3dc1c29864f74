//! What differs between two states of a disk or of a machine: files, file systems, volumes, and ranges of the disk.
//!
//! Two states of a disk share most of their bytes: both chains of images lead to the same files. What both read from
//! the same bytes of the same file is equal without being read ([`Origin`](crate::disk::Origin)); only the rest is read
//! and compared. So a comparison takes the time of the trees' metadata and of what was written between the states.
//!
//! Changes are passed to a callback as they are found, sorted by path within a file system, together with what could
//! not be compared. Directories are walked in step, and the names of a huge one are sorted in portions, so that memory
//! is bounded.

mod bytes;
mod change;
mod error;
mod file;
mod names;
mod ranges;
mod state;
mod tree;
mod volumes;

pub(crate) use change::{Aspect, Change, FileChange, FileSystem, Side, VolumeChange, VolumeSide};
pub(crate) use error::{Error, Result, Which};
pub(crate) use ranges::{Difference, RangeChange, ranges};
pub(crate) use state::State;
pub(crate) use tree::compare_trees;
pub(crate) use volumes::{compare, old_path};

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

/// Hears of a change, or of what could not be compared, and may break off.
pub(crate) type Each<'a> = &'a mut dyn FnMut(Result<Change>) -> ControlFlow<()>;

/// A step of a comparison, for progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A file or directory was compared.
    File,
    /// So many bytes of each state were dealt with, read or not.
    Bytes(u64),
}

/// Who hears how far a comparison is, and may stop it from another thread.
#[derive(Clone, Copy)]
pub(crate) struct Watch<'a> {
    /// Called for each step.
    pub progress: &'a dyn Fn(Step),
    /// Becomes true when the comparison is to end.
    pub stop: &'a AtomicBool,
}

impl Watch<'_> {
    /// Ends a comparison that is to stop.
    fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Why a comparison ends early.
enum End {
    /// The callback has heard enough.
    Enough,
    /// It was stopped.
    Stopped(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Stopped(error)
    }
}

/// Passes on what was found.
fn emit(each: Each<'_>, found: Result<Change>) -> std::result::Result<(), End> {
    if each(found).is_break() { Err(End::Enough) } else { Ok(()) }
}

/// What the caller hears of the end.
fn finish(ended: std::result::Result<(), End>) -> Result<()> {
    match ended {
        Ok(()) | Err(End::Enough) => Ok(()),
        Err(End::Stopped(error)) => Err(error),
    }
}
