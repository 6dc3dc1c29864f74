//! The tree of names over what is open: of one disk `vhdd`, `vol0`, `fs0/etc/hostname` and a symbolic link to the
//! image; of several disks a directory for each with the same inside.
//!
//! [`View`] answers what a front end asks: names, attributes, bytes, and where the bytes lie in files of the host. It
//! knows neither FUSE nor the terminal.

mod attributes;
mod error;
mod file;
mod guests;
mod location;
mod source;
#[cfg(test)]
mod tests;
mod tree;

pub use attributes::{Attributes, Kind, Times};
pub(crate) use error::{Error, Result};
pub(crate) use file::within;
pub(crate) use guests::is_missing_name;
pub(crate) use location::{Location, LocationRun};
pub(crate) use source::Source;
pub(crate) use tree::{Appearance, DirEntry, ROOT, Statfs, View};
