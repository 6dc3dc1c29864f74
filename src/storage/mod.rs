//! The files that images lie in: local files and devices, files in memory, cached metadata.
//!
//! Formats know files only through [`Storage`]; this module knows no formats.

mod access;
pub mod error;
pub mod local;
pub mod meta;
pub mod sibling;
#[cfg(test)]
pub(crate) mod testing;

pub use access::{File, Storage, Stretch, clear, length, read_exact, read_up_to, set_len, sync, write_all, zero};
pub use error::{Error, Rescue, Result};
