//! The extents of a file: allocation descriptors (ECMA-167, 4/12.1 and 4/14.14), and the blocks in which they continue.

use super::entry::{FileEntry, Form};
use super::tag::{self, Expected, id};
use super::{Address, Udf};
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::collections::HashSet;

/// The most descriptors of one file, and blocks of descriptors: far above real ones.
const MAX_EXTENTS: usize = 1 << 20;
const MAX_BLOCKS: usize = 1 << 16;
/// Bytes in the header of a block of descriptors.
const HEADER: usize = 24;
/// Values of the upper two bits of a length.
const RECORDED: u32 = 0;
const CONTINUES: u32 = 3;

/// A contiguous range of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Its offset in the file.
    pub(super) first: u64,
    /// Its length in bytes, at least 1.
    pub(super) len: u64,
    /// The address of its first block; `None` for zeros.
    pub(super) recorded: Option<Address>,
}

/// An allocation descriptor.
struct Descriptor {
    kind: u32,
    len: u64,
    address: Address,
}

impl Udf {
    /// The sorted extents of the file whose entry is at address `of`. Empty for a file with embedded bytes.
    pub(super) fn extents(&self, of: Address, entry: &FileEntry) -> Result<Vec<Extent>> {
        let mut extents = Vec::new();
        if entry.form == Form::Embedded {
            return Ok(extents);
        }
        let (mut area, mut area_at) = (entry.descriptors.clone(), entry.descriptors_at);
        let mut first = 0_u64;
        let mut seen = HashSet::new();
        let too_many = |most: usize| {
            Error::from(ParseError::corrupt(
                entry.descriptors_at,
                "extents of a file",
                format_args!("at most {most}"),
                "more",
            ))
        };
        for _ in 0..MAX_BLOCKS {
            let mut next = None;
            let mut at = 0;
            while at < area.len() {
                let (descriptor, size) = descriptor(&area, area_at, at, entry.form, of.partition)?;
                if descriptor.len == 0 {
                    break;
                }
                if descriptor.kind == CONTINUES {
                    next = Some(descriptor.address);
                    break;
                }
                if extents.len() == MAX_EXTENTS {
                    return Err(too_many(MAX_EXTENTS));
                }
                let end = first.saturating_add(descriptor.len);
                if !first.is_multiple_of(self.block_size()) && first < entry.attributes.size {
                    let what = "length of an extent before another";
                    let expected = format!("a multiple of {}", self.block_size());
                    return Err(ParseError::corrupt(area_at + at as u64, what, expected, first).into());
                }
                let recorded = (descriptor.kind == RECORDED).then_some(descriptor.address);
                extents.push(Extent { first, len: descriptor.len, recorded });
                first = end;
                at += size;
            }
            let Some(address) = next else { return Ok(extents) };
            if !seen.insert((address.partition, address.block)) {
                let expected = "blocks that end";
                return Err(
                    ParseError::corrupt(area_at, "allocation descriptors of a file", expected, "a circle").into()
                );
            }
            (area, area_at) = self.more_descriptors(address)?;
        }
        Err(too_many(MAX_BLOCKS))
    }

    /// Reads a block of descriptors, and returns their offset on the volume too.
    fn more_descriptors(&self, address: Address) -> Result<(Vec<u8>, u64)> {
        let (bytes, at) = self.block(address)?;
        let ids = [id::ALLOCATION_EXTENT];
        let expected = Expected { what: "allocation extent descriptor", ids: &ids, location: Some(address.block) };
        tag::check(&bytes, at, &expected)?;
        let f = Fields::new("allocation extent descriptor", &bytes, at);
        let len = usize::try_from(f.u32_le(20)?).unwrap_or(usize::MAX);
        let descriptors = f.bytes(HEADER, len)?;
        Ok((descriptors.to_vec(), f.offset(HEADER)))
    }
}

/// Parses the descriptor at byte `at` of an area, which starts at byte `area_at` of the volume. Returns its size too.
fn descriptor(
    area: &[u8],
    area_at: u64,
    at: usize,
    form: Form,
    partition: u16,
) -> Result<(Descriptor, usize), ParseError> {
    let f = Fields::new("allocation descriptor", area, area_at);
    let len = f.u32_le(at)?;
    let (address, size) = match form {
        Form::Short => (Address { partition, block: f.u32_le(at + 4)? }, 8),
        Form::Long => (Address { partition: f.u16_le(at + 8)?, block: f.u32_le(at + 4)? }, 16),
        _ => (Address { partition: f.u16_le(at + 16)?, block: f.u32_le(at + 12)? }, 20),
    };
    Ok((Descriptor { kind: len >> 30, len: u64::from(len & 0x3FFF_FFFF), address }, size))
}
