//! The library's face: what programs other than `vboximg-mount` use. A thin layer over [`open`](crate::open), so that
//! it shows what the program shows.
//!
//! What is plain data is that of the modules themselves (machines, media, chains, volumes); what is open is a type of
//! its own here, so that the traits and errors inside can change. It only reads: writing is left to the mount, which
//! can hold the guest's flushes in order.

mod disk;
mod error;
mod guest;
mod registry;
#[cfg(test)]
mod tests;
mod view;

pub use disk::{Disk, Extent};
pub use error::{Error, Result};
pub use guest::GuestFs;
pub use registry::Registry;
pub use view::{DirEntry, File, View};
