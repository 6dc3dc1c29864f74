//! VirtualBox's settings files as plain data, and what a name, UUID or path on the command line means.
//!
//! Knows nothing of the bytes in images beyond the UUIDs that [`crate::image::identify`] reads from their headers.
//! VirtualBox's files are read and never written.

pub mod chain;
pub mod error;
pub mod folder;
pub mod model;
pub mod uses;

mod find;
mod load;
mod location;
mod media;
mod parents;
mod resolve;
mod settings;
mod xml;

#[cfg(test)]
mod tests;

pub use chain::{Chain, Link, MAX_LINKS};
pub use error::{Error, Result};
pub use model::{
    Attachment, DeviceKind, Machine, MachineEntry, MachineState, Media, Medium, MediumId, MediumKind, Registry,
    Snapshot,
};
pub use resolve::resolve;
pub use uses::Use;

use crate::image::{self, ImageInfo, local::Devices};
use std::path::Path;

/// Reads the identity in an image's header: [`image::identify`], or a stand-in in tests.
type Identify<'a> = dyn Fn(&Path, Devices) -> image::Result<ImageInfo> + 'a;
