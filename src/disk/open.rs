//! Opening a chain and checking that each image is the one it should be.

use super::{ChainDisk, Result};
use crate::registry::Chain;

/// How a chain is to be opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenMode {
    /// Open the leaf for writing.
    pub writable: bool,
    /// Go on where a parent was changed, or (reading) where an image is damaged.
    pub force: bool,
}

/// Opens all images of a chain and checks their identities.
///
/// # Errors
/// What an image says; [`super::Error::Identity`]; [`super::Error::ParentChanged`] for a writable open without force.
pub fn open_chain(chain: &Chain, mode: OpenMode) -> Result<ChainDisk> {
    let _ = (chain, mode);
    todo!()
}
