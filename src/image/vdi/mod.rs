//! VDI.

use super::open::Sample;
use super::{File, Image, ImageInfo, OpenOptions, Result};

/// Whether a file is a VDI.
#[must_use]
pub fn probe(sample: &Sample) -> bool {
    sample.starts_with(64, &0xBEDA_107F_u32.to_le_bytes())
}

/// Header only.
///
/// # Errors
/// See open.
pub fn identify(_sample: &Sample) -> Result<ImageInfo> {
    todo!()
}

/// Opens a VDI.
///
/// # Errors
/// Later.
pub fn open(_file: File, _options: OpenOptions) -> Result<Box<dyn Image>> {
    todo!()
}
