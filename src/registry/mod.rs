//! VirtualBox's settings files as plain data, and the resolution of names, UUIDs and paths from the command line.
//!
//! Of the images this module uses only the identity that [`crate::image::identify`] reads from their headers.
//! VirtualBox's files are read and never written.

pub(crate) mod chain;
pub(crate) mod directory;
pub(crate) mod error;
pub(crate) mod model;
pub(crate) mod uses;

mod copies;
mod find;
mod found;
mod load;
mod location;
mod media;
mod named;
mod nearness;
pub(crate) mod ovf;
mod parents;
mod policy;
mod resolve;
mod settings;
mod settings_source;
mod state;
mod xml;

#[cfg(test)]
mod tests;

pub use chain::{Chain, Link};
pub(crate) use error::{Error, Result};
pub use model::{Attachment, DeviceKind, Machine, MachineState, Medium, MediumKind, Snapshot};
pub(crate) use parents::find_children;
pub(crate) use policy::check_writable;
pub(crate) use resolve::resolve_partly;
pub(crate) use resolve::{correct_chain, resolve_allowing};
pub(crate) use uses::Use;

pub(crate) use chain::MAX_LINKS;
pub(crate) use model::{MachineEntry, Media, MediumId, Registry, is_format};

use crate::image::{self, ImageInfo};
use crate::storage::local::Devices;
use std::path::Path;

/// Whether a text is a UUID as VirtualBox writes and accepts it: with hyphens, in any case, with or without braces.
#[must_use]
pub(crate) fn is_uuid(text: &str) -> bool {
    xml::parse_uuid(text).is_some()
}

/// Reads the identity in an image's header: [`image::identify`], or a stand-in in tests.
type Identify<'a> = dyn Fn(&Path, Devices) -> image::Result<ImageInfo> + 'a;
