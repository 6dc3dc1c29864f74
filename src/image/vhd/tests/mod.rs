//! Tests of VHDs built byte by byte.

mod corrupt;
mod read;
mod write;

use super::testing::{Block, Build};
use super::*;
use crate::storage::testing::MemFile;

/// Bits of sectors that are all stored.
const FULL: u8 = 0xFF;

fn open(file: File, options: OpenOptions) -> Result<Box<dyn Image>> {
    crate::image::open::open_as(Format::Vhd, file, &options)
}

fn open_bytes(bytes: Vec<u8>, options: OpenOptions) -> Result<Box<dyn Image>> {
    open(MemFile::new("/t/a.vhd", bytes), options)
}

/// Two stored blocks in reverse order between unused ones.
fn two_blocks() -> Build {
    Build {
        map: vec![None, Some(1), Some(0), None],
        data: vec![Block { bits: FULL, fill: 7 }, Block { bits: FULL, fill: 8 }],
        ..Build::default()
    }
}
