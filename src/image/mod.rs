//! One image file: its header, its identity, and the map from offsets of the disk to offsets of the file.
//!
//! A format only translates: [`Image::extent`] returns what holds the bytes at an offset, and the [`disk`](crate::disk)
//! module does all guest I/O. Formats do not know about chains.

mod alloc;
pub(crate) mod check;
pub(crate) mod device;
mod drivers;
mod fitting;
mod foreign;
pub(crate) mod format;
mod note;
pub(crate) mod open;
mod options;
mod sample;
pub(crate) mod two_level;

pub(crate) mod cue;
pub(crate) mod dmg;
pub(crate) mod iso;
pub(crate) mod parallels;
pub(crate) mod qcow;
pub(crate) mod qed;
pub(crate) mod raw;
pub(crate) mod vdi;
pub(crate) mod vhd;
pub(crate) mod vhdx;
pub(crate) mod vmdk;

pub(crate) use crate::storage::{Error, Rescue, Result};
pub(crate) use foreign::xml_root;
pub(crate) use format::{Format, Variant};
pub(crate) use note::Note;
pub(crate) use open::{identify, identify_allowing, identify_file, open};
pub(crate) use options::OpenOptions;
pub(crate) use sample::Sample;

use crate::ondisk::ParseError;
use crate::storage::File;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// What holds the bytes of a range of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The bytes as they are, at `offset` (bytes) of the file with index `file` in [`Image::files`].
    Stored {
        /// Index into [`Image::files`].
        file: usize,
        /// Bytes from the start of that file.
        offset: u64,
    },
    /// Zeros, even if the parent has data.
    Zero,
    /// Ask the parent; zeros in a base.
    Absent,
    /// Compressed: [`Image::decode`] gives the whole cluster, and the bytes begin at `skip` in it.
    Encoded {
        /// Identifies the cluster within the image.
        cluster: u64,
        /// Bytes of the decoded cluster before the ones asked for.
        skip: u64,
        /// Bytes of the whole decoded cluster; at most [`MAX_CLUSTER`].
        size: u64,
    },
}

/// The largest decoded cluster that any format may ask for, in bytes. Larger ones are refused at open.
pub(crate) const MAX_CLUSTER: u64 = 64 << 20;

/// An [`Extent`] and the number of bytes of the disk that it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// What holds the bytes.
    pub extent: Extent,
    /// How many bytes of the disk; at least 1.
    pub len: u64,
}

impl Run {
    /// Appends a run that follows on the disk, if its bytes are contiguous too.
    fn join(&mut self, next: Self) -> bool {
        let follows = match (self.extent, next.extent) {
            (Extent::Absent, Extent::Absent) | (Extent::Zero, Extent::Zero) => true,
            (Extent::Stored { file, offset }, Extent::Stored { file: next, offset: at }) => {
                file == next && offset + self.len == at
            }
            _ => false,
        };
        if follows {
            self.len += next.len;
        }
        follows
    }

    /// Adds a run that follows on the disk to the last of `runs`, or after it.
    fn push(runs: &mut Vec<Self>, next: Self) {
        if !runs.last_mut().is_some_and(|last| last.join(next)) {
            runs.push(next);
        }
    }
}

/// A run assembled from runs that are contiguous on the disk.
#[derive(Debug, Default)]
struct Joined(Option<Run>);

impl Joined {
    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Adds a run; false when its bytes are not contiguous with it.
    fn add(&mut self, next: Run) -> bool {
        match &mut self.0 {
            Some(run) => run.join(next),
            none => {
                *none = Some(next);
                true
            }
        }
    }

    /// The run, or `other` when nothing was added.
    fn or(self, other: Run) -> Run {
        self.0.unwrap_or(other)
    }
}

/// The identity of a parent as the child's header states it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ParentLink {
    /// The parent's creation UUID, where the format has one.
    pub uuid: Option<Uuid>,
    /// The parent's modification UUID when the child was made, where the format has one.
    pub modification: Option<Uuid>,
    /// Another modification UUID that is as good, where the format has one (VHDX's `parent_linkage2`).
    pub modification2: Option<Uuid>,
    /// The parent's content id when the child was made (VMware's `parentCID`).
    pub content_id: Option<u32>,
    /// When the parent's file had last been written to, in seconds since the Unix epoch (VHD).
    pub time_stamp: Option<u64>,
    /// File names that the header gives for the parent, best first, as written. Relative ones are relative to the
    /// child's directory. Never trusted without an identity check where the format has an identity.
    pub hints: Vec<String>,
    /// The format that the header states for the parent, as written, such as qcow2's backing format.
    pub format: Option<String>,
}

impl ParentLink {
    /// Whether an image has the identity that is stated here, so that it is the right one wherever it is. A content id
    /// that programs give to every new disk does not identify one.
    #[must_use]
    pub(crate) fn identifies(&self, image: &ImageInfo) -> bool {
        const OF_NEW_DISKS: [u32; 3] = [0, 0xffff_fffe, 0xffff_ffff];
        if self.uuid.is_some() {
            return self.uuid == image.uuid;
        }
        let is = |stated: Option<Uuid>| stated.is_some() && stated == image.modification;
        let content_id = self.content_id.filter(|id| !OF_NEW_DISKS.contains(id));
        is(self.modification) || is(self.modification2) || content_id.is_some() && content_id == image.content_id
    }
}

/// The description of an image, from its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageInfo {
    /// The image's main file.
    pub path: PathBuf,
    /// The file format.
    pub format: Format,
    /// How the format stores the disk.
    pub variant: Variant,
    /// The format's version and other details for `-v`, such as `version 1.1, 1 MiB blocks`.
    pub details: String,
    /// The disk's size in bytes.
    pub size: u64,
    /// Bytes of a sector of the disk: 512, 2048 or 4096.
    pub sector_size: u32,
    /// Bytes of a block, grain or cluster; 0 where the format has none.
    pub block_size: u64,
    /// The creation UUID; none where the format has none or it is null.
    pub uuid: Option<Uuid>,
    /// The modification UUID; none where the format has none or it is null.
    pub modification: Option<Uuid>,
    /// The content id (VMware's `CID`).
    pub content_id: Option<u32>,
    /// The parent, for a differencing image.
    pub parent: Option<ParentLink>,
    /// The comment that the header carries.
    pub comment: String,
    /// Notes for the user, a sentence each: not cleanly closed, log replayed, a copy used for a corrupt table.
    pub notes: Vec<Note>,
    /// The lengths of all files of the image together, in bytes.
    pub stored_size: u64,
}

impl ImageInfo {
    /// The description of a file of `size` bytes that holds a disk of sectors of 512 bytes as it is. Formats override
    /// what differs.
    #[must_use]
    pub(crate) fn plain(path: &Path, format: Format, size: u64) -> Self {
        Self {
            path: path.to_path_buf(),
            format,
            variant: Variant::Fixed,
            details: String::new(),
            size,
            sector_size: 512,
            block_size: 0,
            uuid: None,
            modification: None,
            content_id: None,
            parent: None,
            comment: String::new(),
            notes: Vec::new(),
            stored_size: size,
        }
    }
}

/// An open image file.
pub(crate) trait Image: Send + Sync {
    /// The description from the header.
    fn info(&self) -> &ImageInfo;

    /// The files that [`Extent::Stored`] points into. The first one is the main file.
    fn files(&self) -> &[File];

    /// What holds the bytes from `offset` on, and for how many bytes, at most `len`. `offset` is below the disk's
    /// size and `len` at least 1. The run may be shorter than the extent.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Corrupt`] for a map that cannot be read or points outside of its file.
    fn extent(&self, offset: u64, len: u64) -> Result<Run>;

    /// Decodes one cluster of an [`Extent::Encoded`] into `out`, which has the extent's `size` bytes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the cluster does not decode to exactly that many bytes.
    fn decode(&self, cluster: u64, out: &mut [u8]) -> Result<()> {
        let _ = out;
        let info = self.info();
        Err(ParseError::corrupt(cluster, "compressed cluster", "none in this format", cluster).in_file(&info.path))
    }

    /// The interface for writing; `None` for an image opened read-only or of a format that cannot be written.
    fn writer(&self) -> Option<&dyn ImageMut> {
        None
    }
}

/// The result of [`ImageMut::allocate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Allocated {
    /// The space, in the order of the disk.
    Runs(Vec<Run>),
    /// Nothing is free before the next flush, which frees some: flush and ask again.
    FlushFirst,
}

/// An image opened for writing.
///
/// A unit of the disk is in turn *in place* (its bytes may be overwritten), *allocated* (space is reserved, and nothing
/// points to it), *committed* (the map in memory points to it) and, flushed, in place again.
///
/// Metadata changes stay in memory until [`flush`](ImageMut::flush), which orders them after the data. The caller
/// makes sure that no two calls for overlapping ranges run at once, and that nothing is written, allocated or
/// committed while [`flush`](ImageMut::flush) or [`close`](ImageMut::close) runs; otherwise calls for different ranges
/// and [`Image::extent`] may run at the same time.
pub(crate) trait ImageMut: Image {
    /// Bytes that are allocated together; [`allocate`](ImageMut::allocate) takes whole units.
    fn unit(&self) -> u64;

    /// Like [`Image::extent`], but `Stored` only where the bytes may be overwritten in place.
    ///
    /// # Errors
    /// As [`Image::extent`].
    fn in_place(&self, offset: u64, len: u64) -> Result<Run> {
        self.extent(offset, len)
    }

    /// Called before data is written in place or allocated. The first call after opening or flushing records in the
    /// file, durably, that the image changes (VDI's modification UUID, a dirty flag).
    ///
    /// # Errors
    /// [`Error::Io`].
    fn mark_dirty(&self) -> Result<()>;

    /// Reserves space for `offset` to `offset + len`, whole units (the last one may be cut by the disk's end). The
    /// space reads as zeros, and nothing points to it until [`commit`](ImageMut::commit).
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Full`] when the format's limit is reached. Nothing is reserved then.
    fn allocate(&self, offset: u64, len: u64) -> Result<Allocated>;

    /// Gives back what [`allocate`](ImageMut::allocate) reserved as `runs` from `offset` on and what was not committed:
    /// the data could not be written. Its space may have been written to. Nothing to do where space cannot be lost.
    fn cancel(&self, offset: u64, runs: &[Run]) {
        let _ = (offset, runs);
    }

    /// Makes the map point to `runs` from `offset` on: `Stored` runs from [`allocate`](ImageMut::allocate) whose data
    /// is written, or `Zero`. Whole units.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corrupt`].
    fn commit(&self, offset: u64, runs: &[Run]) -> Result<()>;

    /// Makes whole units read as zeros, hiding the parent, and gives their space back when next flushed.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corrupt`].
    fn discard(&self, offset: u64, len: u64) -> Result<()>;

    /// Returns when all data and then the metadata that points to it are on the disk.
    ///
    /// # Errors
    /// [`Error::Io`]; what failed is tried again by the next flush.
    fn flush(&self) -> Result<()>;

    /// Flushes, and clears what [`mark_dirty`](ImageMut::mark_dirty) set where the format has a flag for "in use".
    ///
    /// # Errors
    /// As [`flush`](ImageMut::flush).
    fn close(&self) -> Result<()> {
        self.flush()
    }

    /// How much metadata is pending in memory until the next flush, in bytes; the caller flushes when it grows large.
    fn pending(&self) -> usize;
}
