//! From what the user asked to what is open: the registry, the chain of images, its locks, the disk, its volumes and
//! their file systems. Listing, mounting and copying all come through here, so they cannot disagree.
//!
//! [`Lookup::find`] finds the disks that a [`Which`] means, [`which::Selection::open`] opens them. What a user should
//! know of what was found is returned as warnings, a sentence each.

mod contents;
mod disk;
mod error;
mod lookup;
mod spec;
mod time;
mod which;

pub(crate) use contents::{Guest, VolumeContent};
pub(crate) use disk::{DiskOptions, OpenDisk};
pub(crate) use error::{Error, Result};
pub(crate) use lookup::{Lookup, failure, shortened};
pub(crate) use time::parse_time;
pub use which::Which;

pub(crate) use which::{OpenDisks, is_chain_spec, of_slot};
