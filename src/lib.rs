//! Reads and mounts the disks of VirtualBox machines without VirtualBox.
//!
//! Data flows one way. A module knows those above it in this list and none below, and a test holds the code to that:
//!
//! * [`error_kind`]: the few kinds of failure, each with one exit code and one errno
//! * [`ondisk`]: reading on-disk structures from bytes
//! * [`storage`]: the files that images lie in
//! * [`image`]: one image file: its header, and where in the file each byte of the disk is
//! * [`crypt`]: the key stores and ciphers of encrypted disks and machines
//! * [`lock`]: who may read or write an image at the moment
//! * [`registry`]: VirtualBox's settings files: machines, snapshots, media, and the [`registry::Chain`] that a name means
//! * [`disk`]: a chain of images as one flat disk; all reading and writing of guest data
//! * [`volume`]: partition tables: named ranges of a disk
//! * [`guestfs`]: file systems inside a volume
//! * [`open`]: from what the user asked to what is open
//! * [`view`]: the tree of names over what is open
//! * [`mount`]: the view over FUSE
//! * [`listing`]: tables of machines, media and partitions
//! * [`diff`]: what differs between two states of a disk
//! * [`verbs`]: listing, reading, finding, hashing and comparing the files of a view
//! * [`copy`]: copying them to the host
//! * [`browse`]: the full-screen browser
//! * [`cli`]: the command line
//!
//! The library prints nothing; it reports through return values and the `log` crate.

pub mod browse;
pub mod cli;
pub mod copy;
pub mod crypt;
pub mod diff;
pub mod disk;
pub mod error_kind;
pub mod guestfs;
pub mod image;
pub mod listing;
pub mod lock;
pub mod mount;
pub mod ondisk;
pub mod open;
pub mod registry;
pub mod storage;
pub mod verbs;
pub mod view;
pub mod volume;

pub use error_kind::ErrorKind;

#[cfg(test)]
mod module_order;
