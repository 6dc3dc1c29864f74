//! Where the bytes of a file of the view are.

/// What holds a range of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Location {
    /// The disk.
    Disk {
        /// The index of the disk, in the order in which the view was given them.
        disk: usize,
        /// Bytes from the start of the disk.
        offset: u64,
    },
    /// Nothing: a hole of the guest's file, or space that was never written, which reads as zeros.
    Hole,
    /// The reader of the file system, which makes the bytes from compressed, inline or encoded ones.
    Decoded,
}

/// A [`Location`] and for how many bytes of the file it is the answer; at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocationRun {
    /// What holds the bytes.
    pub location: Location,
    /// How many.
    pub len: u64,
}
