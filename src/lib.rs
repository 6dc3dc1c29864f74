//! Reads the disks of VirtualBox machines without VirtualBox: machines and their snapshots from its settings, chains of
//! images of all its formats as flat disks, partitions, and the files of guests' file systems.
//!
//! This is the library of the program `vboximg-mount`, which mounts the same. It only reads, prints nothing (it uses
//! the [`log`](https://docs.rs/log) crate), and never changes a file but for the lock files next to images that are
//! open.
//!
//! * [`Registry`] has the [`Machine`]s with their [`Snapshot`]s and [`Attachment`]s, and all [`Medium`]s.
//! * [`Registry::open`] opens the disk that a [`Which`] means, [`Disk::open`] an image by its path. A [`Disk`] has bytes,
//!   [`Extent`]s and [`Volume`]s; its [`Chain`] says which images it consists of.
//! * A [`View`] is the tree of names of a disk, as in a mount, and a [`GuestFs`] one file system in it. A [`File`] of
//!   either is read with [`std::io::Read`].
//! * Each [`Error`] has an [`ErrorKind`], and a text that says what to do next. Nothing panics, whatever an image holds.
//!
//! ```
//! # fn fixture() -> (tempfile::TempDir, std::path::PathBuf) {
//! #     let directory = tempfile::tempdir().unwrap();
//! #     let packed = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/registry.tar.zst");
//! #     let tar = std::process::Command::new("tar").args(["--zstd", "-xSf", packed, "-C"]).arg(directory.path()).status();
//! #     assert!(tar.unwrap().success());
//! #     let home = directory.path().join("home");
//! #     (directory, home)
//! # }
//! use std::io::Read;
//! use vboximg_mount::{Passwords, Registry, View, Which};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (_directory, home) = fixture();
//! // `Registry::load` takes the settings of this user.
//! let registry = Registry::load_from(home, Passwords::default())?;
//! for machine in registry.machines() {
//!     println!("{} has {} snapshots", machine.name, machine.snapshots.len());
//! }
//!
//! // What was attached to a machine when a snapshot of it was taken.
//! let which = Which {
//!     machine: Some("alpine tree".to_owned()),
//!     snapshot: Some("Clean install".to_owned()),
//!     ..Which::default()
//! };
//! for disk in registry.open(&which)? {
//!     println!("{} bytes in {} images", disk.size(), disk.chain().links.len());
//!     // Its file systems, and a file in one of them.
//!     let view = View::new(disk)?;
//!     for fs in view.file_systems()?.iter().filter(|fs| fs.type_name() == "ext4") {
//!         let mut name = String::new();
//!         fs.open("/etc/hostname")?.read_to_string(&mut name)?;
//!         assert_eq!(name, "lab\n");
//!     }
//! }
//! # Ok(())
//! # }
//! ```

// Data flows one way. A module knows those above it in this list and none below, and a test holds the code to that:
//
// * `error_kind`: the few kinds of failure, each with one exit code and one errno
// * `ondisk`: reading on-disk structures from bytes
// * `storage`: the files that images lie in
// * `image`: one image file: its header, and where in the file each byte of the disk is
// * `crypt`: the key stores and ciphers of encrypted disks and machines
// * `lock`: who may read or write an image at the moment
// * `registry`: VirtualBox's settings files: machines, snapshots, media, and the chain of images that a name means
// * `disk`: a chain of images as one flat disk; all reading and writing of guest data
// * `volume`: partition tables: named ranges of a disk
// * `guestfs`: file systems inside a volume
// * `open`: from what the user asked to what is open
// * `check`: whether the images, tables and file systems of a disk are valid
// * `view`: the tree of names over what is open
// * `mount`: the view over FUSE
// * `listing`: tables of machines, media and partitions
// * `diff`: what differs between two states of a disk
// * `verbs`: listing, reading, finding, hashing and comparing the files of a view
// * `copy`: copying them to the host
// * `browse`: the full-screen browser
// * `face`: what other programs use of the library
// * `cli`: the command line
mod browse;
mod check;
mod cli;
mod copy;
mod crypt;
mod diff;
mod disk;
mod error_kind;
mod face;
mod guestfs;
mod image;
mod listing;
mod lock;
mod mount;
mod ondisk;
mod open;
mod registry;
mod storage;
mod verbs;
mod view;
mod volume;

pub use crypt::Passwords;
pub use error_kind::ErrorKind;
pub use face::{DirEntry, Disk, Error, Extent, File, GuestFs, Registry, Result, View};
pub use open::Which;
pub use registry::{Attachment, Chain, DeviceKind, Link, Machine, MachineState, Medium, MediumKind, Snapshot};
pub use uuid::Uuid;
pub use view::{Attributes, Kind as FileKind, Times};
pub use volume::Volume;

#[doc(hidden)]
pub use cli::run;

#[cfg(fuzzing)]
pub mod fuzzing;

#[cfg(test)]
mod against;
#[cfg(test)]
mod module_order;
#[cfg(test)]
use against::support;
