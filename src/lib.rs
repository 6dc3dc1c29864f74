//! Reads and mounts the disks of VirtualBox machines without VirtualBox.
//!
//! Data flows one way through the modules, and each knows only those before it:
//!
//! ```text
//! argv > cli > registry > lock > image > disk > volume > guestfs > mount
//! ```
//!
//! * [`storage`]: which files may be opened: the gate for file names that stand inside files
//! * [`registry`]: VirtualBox's settings files: machines, snapshots, media, and the [`registry::Chain`] that a name means
//! * [`crypt`]: the key stores and ciphers of encrypted disks and machines
//! * [`lock`]: who may read or write an image at the moment
//! * [`image`]: one image file: its header, and where in the file each byte of the disk is
//! * [`disk`]: a chain of images as one flat disk; all reading and writing of guest data
//! * [`volume`]: partition tables: named ranges of a disk
//! * [`guestfs`]: file systems inside a volume
//! * [`mount`]: the tree a user sees, served over FUSE
//! * [`listing`]: tables of machines, media and partitions
//! * [`cli`]: the command line
//!
//! The library prints nothing; it reports through return values and the `log` crate.

pub mod cli;
pub mod crypt;
pub mod disk;
pub mod error;
pub mod guestfs;
pub mod image;
pub mod listing;
pub mod lock;
pub mod mount;
pub mod registry;
pub mod storage;
pub mod volume;

pub use error::{Error, ErrorKind};
