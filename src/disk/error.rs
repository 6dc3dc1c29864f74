//! Errors of disks.

use crate::error_kind::ErrorKind;
use crate::image;
use std::path::PathBuf;

/// A failure of a chain of images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An image of the chain.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// A range leaves the disk. All in bytes.
    #[error("Bytes {offset} to {end} lie outside the disk of {size} bytes; stay within it")]
    PastEnd {
        /// First byte of the range.
        offset: u64,
        /// First byte after the range.
        end: u128,
        /// The disk's size.
        size: u64,
    },
    /// The disk was opened read-only.
    #[error("The disk is open read-only; use --rw to write")]
    ReadOnly,
    /// A flush failed before, so some of what was written may be lost, and no later flush can tell.
    #[error("What was written to {} since the last flush may be lost, because it could not be flushed ({reason}), and \
             nothing more is written to it; unmount it, check the disk that holds it, and write again", path.display())]
    Lost {
        /// The image's file that could not be flushed.
        path: PathBuf,
        /// What the system reported then.
        reason: String,
    },
    /// A header's UUID is not the one that the registry or the child states.
    #[error("{} is not the image it should be: {what} expected {expected}, found {found}; find the right file, or \
             correct the registry with VBoxManage", path.display())]
    Identity {
        /// The image.
        path: PathBuf,
        /// Which statement it breaks.
        what: String,
        /// The UUID that was stated.
        expected: String,
        /// What the header holds.
        found: String,
    },
    /// The base of the chain is a differencing image.
    #[error("{} needs its parent {parent}, which is not known; put the parent's file next to it, or use the registry that \
             has both (VBOX_USER_HOME)", path.display())]
    NoParent {
        /// The image.
        path: PathBuf,
        /// The parent's UUID or file name.
        parent: String,
    },
    /// A parent was changed after its child was made.
    #[error("{} was changed after {} was made from it (its modification id is {found}, the child expects {expected}), \
             so the disk may show mixed data{advice}", parent.display(), child.display())]
    ParentChanged {
        /// The parent.
        parent: PathBuf,
        /// The child.
        child: PathBuf,
        /// What the child recorded: a modification UUID, or VMware's content id.
        expected: String,
        /// What the parent has now.
        found: String,
        /// What to do about it, where something can be done.
        advice: &'static str,
    },
    /// A parent may be of another copy of the machine than its child.
    #[error("{} may be of another copy of the machine than {}: {reason}", parent.display(), child.display())]
    OtherCopy {
        /// The parent.
        parent: PathBuf,
        /// The child.
        child: PathBuf,
        /// What does not fit, which other files there are, and what to do about it.
        reason: String,
    },
    /// The leaf's format cannot be written.
    #[error("{} cannot be written: {reason}; mount it without --rw", path.display())]
    NotWritable {
        /// The leaf image.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// Whether writes may be lost for good, so that no later flush can succeed. The disk logs this once per image.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Image(image::Error::Unsynced { .. }))
    }

    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Image(e) => e.kind(),
            Self::Lost { .. } => ErrorKind::Io,
            Self::PastEnd { .. } => ErrorKind::Usage,
            Self::ReadOnly | Self::ParentChanged { .. } | Self::OtherCopy { .. } => ErrorKind::Refused,
            Self::NotWritable { .. } => ErrorKind::Unsupported,
            Self::NoParent { .. } => ErrorKind::NotFound,
            Self::Identity { .. } => ErrorKind::Corrupt,
        }
    }
}

/// The result of an operation on a disk.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
