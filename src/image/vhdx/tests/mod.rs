//! Tests of VHDXs built byte by byte.

mod corrupt;
mod log;
mod read;
mod write;

use super::testing::{Build, MIB, TABLE};
use super::*;
use crate::storage::testing::MemFile;
use uuid::Uuid;

fn open(file: File, options: OpenOptions) -> Result<Box<dyn Image>> {
    crate::image::open::open_as(Format::Vhdx, file, &options)
}

fn open_bytes(bytes: Vec<u8>, options: OpenOptions) -> Result<Box<dyn Image>> {
    open(MemFile::new("/t/a.vhdx", bytes), options)
}

fn open_good(bytes: Vec<u8>) -> Box<dyn Image> {
    open_bytes(bytes, OpenOptions::default()).unwrap()
}

fn message(bytes: Vec<u8>) -> String {
    match open_bytes(bytes, OpenOptions::default()) {
        Ok(_) => panic!("a corrupt image was opened"),
        Err(error) => crate::error_kind::message(&error),
    }
}

/// Two stored blocks in reverse order, one of zeros, one that is not there.
fn two_blocks() -> Build {
    Build { map: vec![(6, 1), (0, 0), (6, 0), (2, 0)], data: vec![7, 8], ..Build::default() }
}

/// A differencing disk: one block not there, one in full, one in part, one of zeros. The disk ends within the last.
fn leaf() -> Build {
    let mut bitmap = vec![0; 4 * 256];
    // Sectors 0 to 3, 8, and the last one of block 2. The bits of block 0, which is not there, mean nothing.
    bitmap[..256].fill(0xFF);
    (bitmap[512], bitmap[513], bitmap[767]) = (0x0F, 0x01, 0x80);
    Build {
        size: 3 * MIB as u64 + 4096,
        flags: 2,
        map: vec![(0, 0), (6, 0), (7, 1), (2, 0)],
        data: vec![33, 44],
        bitmap: Some(bitmap),
        data_write: Uuid::from_u128(2),
        locator: vec![("parent_linkage", Uuid::from_u128(1).braced().to_string())],
        ..Build::default()
    }
}

/// The parent of [`leaf`].
fn base() -> Build {
    Build { size: leaf().size, map: vec![(6, 0), (0, 0), (6, 1), (6, 2)], data: vec![11, 22, 23], ..Build::default() }
}

/// What [`leaf`] shows over [`base`].
fn chain_bytes() -> Vec<u8> {
    let mut bytes = vec![0; 3 * MIB + 4096];
    bytes[..MIB].fill(11);
    bytes[MIB..2 * MIB].fill(33);
    bytes[2 * MIB..3 * MIB].fill(22);
    bytes[2 * MIB..][..2048].fill(44);
    bytes[2 * MIB + 4096..][..512].fill(44);
    bytes[3 * MIB - 512..3 * MIB].fill(44);
    bytes
}
