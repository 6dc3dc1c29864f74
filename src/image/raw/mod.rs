//! Raw images: the disk's bytes as they are.

use super::open::Sample;
use super::{File, Format, Image, ImageInfo, OpenOptions, Result, Variant};

/// What a raw image is taken for.
///
/// # Errors
/// None now.
pub fn identify(sample: &Sample) -> Result<ImageInfo> {
    Ok(ImageInfo {
        path: sample.path.clone(),
        format: Format::Raw,
        variant: Variant::Fixed,
        details: String::new(),
        size: sample.len,
        sector_size: 512,
        block_size: 0,
        uuid: None,
        modification: None,
        content_id: None,
        parent: None,
        comment: String::new(),
        notes: Vec::new(),
    })
}

/// Opens a raw image.
///
/// # Errors
/// None now.
pub fn open(_file: File, _options: OpenOptions) -> Result<Box<dyn Image>> {
    todo!()
}
