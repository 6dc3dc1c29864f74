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

pub use contents::{Guest, VolumeContent};
pub use disk::{DiskOptions, OpenDisk};
pub use error::{Error, Result};
pub use lookup::{Lookup, failure, shortened};
pub use time::parse_time;
pub use which::Which;

pub(crate) use which::{OpenDisks, is_chain_spec, of_slot};
