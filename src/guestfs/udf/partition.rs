//! Mapping of partition blocks to the volume (UDF 2.60, 2.2.8 to 2.2.13).

use super::entry::{FileEntry, file_type};
use super::tag::{self, Expected, TAG, id};
use super::volume::{Partition, PartitionMap};
use super::{Address, Opened, Udf};
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// Blocks at the end of the volume that are searched for the virtual allocation table.
const VIRTUAL_SEARCH: u64 = 512;
/// The largest table in bytes: 2^26 blocks, 128 GiB.
const MAX_VIRTUAL: u64 = 256 << 20;
/// No block, in that table.
const UNUSED: u32 = u32::MAX;
/// Identifiers of the tables.
const VIRTUAL_TABLE: &[u8] = b"*UDF Virtual Alloc Tbl";
const SPARING_TABLE: &[u8] = b"*UDF Sparing Table";
/// The first value that stands for a free or defective packet rather than an original block.
const SPARING_FREE: u32 = 0xFFFF_FFF0;

/// The mapping of a partition's blocks.
#[derive(Debug, Clone)]
pub(super) enum Blocks {
    /// `len` blocks from block `start` of the volume on.
    Physical { start: u64, len: u64 },
    /// By a table of blocks in a physical partition.
    Virtual { partition: u16, table: Vec<u32> },
    /// Like a physical one, except for moved packets: pairs of the first block in the partition and the block of the
    /// volume.
    Sparable { start: u64, len: u64, packet: u64, moved: Vec<(u32, u32)> },
    /// By the extents of a file: first block, count, and the block in a physical partition.
    Metadata { partition: u16, extents: Vec<(u64, u64, u32)> },
}

impl Udf {
    /// Opens the partitions, in an order in which each depends only on those before it.
    pub(super) fn open_partitions(&mut self, partitions: &[Partition]) -> Result<()> {
        for partition in partitions {
            self.partitions.push(Blocks::Physical { start: partition.start.into(), len: partition.len.into() });
        }
        for (index, partition) in partitions.iter().enumerate() {
            if let PartitionMap::Sparable { packet, tables } = &partition.map {
                let (start, len) = (u64::from(partition.start), u64::from(partition.len));
                let packet = u64::from(*packet);
                if !packet.is_power_of_two() {
                    return Err(ParseError::corrupt(0, "length of a packet", "a power of two", packet).into());
                }
                let moved = self.sparing_table(tables)?;
                self.partitions[index] = Blocks::Sparable { start, len, packet, moved };
            }
        }
        for (index, partition) in partitions.iter().enumerate() {
            let base = || {
                let same = |other: &Partition| {
                    other.number == partition.number
                        && matches!(other.map, PartitionMap::Physical | PartitionMap::Sparable { .. })
                };
                let base = partitions.iter().position(same).and_then(|base| u16::try_from(base).ok());
                let what = format!("partition with number {} below another", partition.number);
                base.ok_or_else(|| Error::from(ParseError::corrupt(0, what, "one with blocks of its own", "none")))
            };
            match partition.map {
                PartitionMap::Physical | PartitionMap::Sparable { .. } => {}
                PartitionMap::Virtual => self.partitions[index] = self.virtual_partition(base()?)?,
                PartitionMap::Metadata { file, mirror } => {
                    self.partitions[index] = self.metadata_partition(base()?, file, mirror)?;
                }
            }
        }
        Ok(())
    }

    /// Maps a block to its offset on the volume in bytes, with the number of contiguous blocks.
    pub(super) fn locate(&self, address: Address) -> Result<(u64, u64)> {
        let Address { partition, block } = address;
        let bad = |expected: String| {
            let what = format!("block of partition {partition}");
            Error::from(ParseError::corrupt(0, what, expected, block))
        };
        let at = u64::from(block);
        let (absolute, count) = match self.partitions.get(usize::from(partition)) {
            None => return Err(bad(format!("one of the {} partitions", self.partitions.len()))),
            Some(Blocks::Physical { start, len }) => {
                let left = len.checked_sub(at).filter(|left| *left > 0);
                (start + at, left.ok_or_else(|| bad(format!("less than {len}")))?)
            }
            Some(Blocks::Sparable { start, len, packet, moved }) => {
                let left = len.checked_sub(at).filter(|left| *left > 0);
                let left = left.ok_or_else(|| bad(format!("less than {len}")))?;
                let (first, skip) = (at - at % packet, at % packet);
                let found = moved.binary_search_by_key(&first, |(original, _)| u64::from(*original));
                let absolute = found.map_or(start + at, |index| u64::from(moved[index].1) + skip);
                (absolute, left.min(packet - skip))
            }
            Some(Blocks::Virtual { partition, table }) => {
                let mapped = usize::try_from(block).ok().and_then(|index| table.get(index).copied());
                let mapped = mapped.filter(|mapped| *mapped != UNUSED);
                let block = mapped.ok_or_else(|| bad("one in the virtual allocation table".to_owned()))?;
                return Ok((self.locate(Address { partition: *partition, block })?.0, 1));
            }
            Some(Blocks::Metadata { partition, extents }) => {
                let index = extents.partition_point(|(first, ..)| *first <= at).checked_sub(1);
                let extent = index.map(|index| extents[index]).filter(|(first, count, _)| at - first < *count);
                let (first, count, block) = extent.ok_or_else(|| bad("one in the metadata file".to_owned()))?;
                let skip = at - first;
                let block = u32::try_from(u64::from(block) + skip).unwrap_or(u32::MAX);
                let (offset, follow) = self.locate(Address { partition: *partition, block })?;
                return Ok((offset, follow.min(count - skip)));
            }
        };
        let (size, volume) = (self.block_size(), self.blocks.size());
        let offset =
            absolute.checked_mul(size).filter(|offset| offset.checked_add(size).is_some_and(|end| end <= volume));
        let offset = offset.ok_or_else(|| {
            let what = format!("end of block {block} of partition {partition}");
            let found = absolute.saturating_add(1).saturating_mul(size);
            ParseError::corrupt(absolute.saturating_mul(size), what, format_args!("at most {volume}"), found)
        })?;
        Ok((offset, count.min((volume - offset) / size)))
    }

    /// The moved packets, sorted, from the first valid table.
    fn sparing_table(&self, tables: &[u32]) -> Result<Vec<(u32, u32)>> {
        let mut first = None;
        for table in tables {
            match self.read_sparing_table(*table) {
                Ok(moved) => return Ok(moved),
                Err(error @ Error::Disk(_)) => return Err(error),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first
            .unwrap_or_else(|| Error::from(ParseError::corrupt(0, "sparing tables of a partition", "at least one", 0))))
    }

    fn read_sparing_table(&self, block: u32) -> Result<Vec<(u32, u32)>> {
        let at = u64::from(block) * self.block_size();
        let head = self.bytes(at, self.block_size(), "sparing table")?;
        let f = Fields::new("sparing table", &head, at);
        let count = usize::from(f.u16_le(48)?);
        let bytes = self.bytes(at, (56 + count as u64 * 8).max(self.block_size()), "sparing table")?;
        let ids = [id::SPARING_TABLE];
        tag::check(&bytes, at, &Expected { what: "sparing table", ids: &ids, location: Some(block) })?;
        let f = Fields::new("sparing table", &bytes, at);
        if !f.bytes(17, 23)?.starts_with(SPARING_TABLE) {
            return Err(
                ParseError::corrupt(at + 17, "name of the sparing table", "*UDF Sparing Table", "another").into()
            );
        }
        let mut moved = Vec::new();
        for entry in 0..count {
            let (original, target) = (f.u32_le(56 + entry * 8), f.u32_le(60 + entry * 8));
            let (original, target) = (original?, target?);
            if original < SPARING_FREE {
                moved.push((original, target));
            }
        }
        moved.sort_unstable();
        Ok(moved)
    }

    /// Opens the virtual partition over partition `base`. Its table is the file whose entry was written last.
    fn virtual_partition(&self, base: u16) -> Result<Blocks> {
        let Blocks::Physical { start, len } = self.partitions[usize::from(base)] else {
            return Err(Error::Unsupported("it has a virtual partition on one that is not physical".to_owned()));
        };
        let last = (self.blocks.size() / self.block_size()).min(start.saturating_add(len)).saturating_sub(1);
        for absolute in (start..=last).rev().take(usize::try_from(VIRTUAL_SEARCH).unwrap_or(0)) {
            let Ok(block) = u32::try_from(absolute - start) else { break };
            let address = Address { partition: base, block };
            let entry = match self.read_entry(address) {
                Ok(entry) => entry,
                Err(error @ Error::Disk(_)) => return Err(error),
                Err(_) => continue,
            };
            if !matches!(entry.file_type, file_type::VIRTUAL_TABLE | file_type::UNSPECIFIED) {
                continue;
            }
            if let Some(table) = self.virtual_table(address, &entry)? {
                return Ok(Blocks::Virtual { partition: base, table });
            }
        }
        let at = last.saturating_mul(self.block_size());
        let expected = format!("one in the last {VIRTUAL_SEARCH} blocks");
        Err(ParseError::corrupt(at, "virtual allocation table", expected, "none").into())
    }

    /// Reads the table in a file: with a header since revision 2.00, with a trailer before. `None` when the file is not
    /// a table.
    fn virtual_table(&self, address: Address, entry: &FileEntry) -> Result<Option<Vec<u32>>> {
        let size = entry.attributes.size;
        // The table has four bytes for each block that was ever written, and a header.
        let most = MAX_VIRTUAL.min(self.blocks.size() / self.block_size() * 4 + (64 << 10));
        if size > most {
            let what = "size of the virtual allocation table";
            return Err(ParseError::corrupt(self.locate(address)?.0, what, format_args!("at most {most}"), size).into());
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let file = Opened { entry: entry.clone(), extents: self.extents(address, entry)? };
        self.read_file(&file, 0, &mut bytes)?;
        let table = if entry.file_type == file_type::VIRTUAL_TABLE {
            let header = bytes.first_chunk::<2>().map_or(0, |raw| usize::from(u16::from_le_bytes(*raw)));
            bytes.get(header..).filter(|_| header >= 152)
        } else {
            let trailer = bytes.len().saturating_sub(36);
            let named = bytes.get(trailer + 1..).is_some_and(|rest| rest.starts_with(VIRTUAL_TABLE));
            bytes.get(..trailer).filter(|_| named)
        };
        let words =
            |raw: &[u8]| raw.chunks_exact(4).map(|raw| u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]])).collect();
        Ok(table.map(words))
    }

    /// Opens the metadata partition over partition `base`: the blocks of a file, or of its mirror if the file is
    /// corrupt.
    fn metadata_partition(&self, base: u16, file: u32, mirror: u32) -> Result<Blocks> {
        let main = self.metadata_file(Address { partition: base, block: file }, file_type::METADATA);
        let extents = match main {
            Err(error @ Error::Disk(_)) => return Err(error),
            Err(error) => self
                .metadata_file(Address { partition: base, block: mirror }, file_type::METADATA_MIRROR)
                .map_err(|_| error)?,
            Ok(extents) => extents,
        };
        Ok(Blocks::Metadata { partition: base, extents })
    }

    fn metadata_file(&self, address: Address, kind: u8) -> Result<Vec<(u64, u64, u32)>> {
        let entry = self.read_entry(address)?;
        if entry.file_type != kind {
            let at = self.locate(address)?.0;
            return Err(
                ParseError::corrupt(at + TAG as u64 + 11, "type of the metadata file", kind, entry.file_type).into()
            );
        }
        let size = self.block_size();
        let extents = self.extents(address, &entry)?;
        // Holes and extents in other partitions map no blocks.
        Ok(extents
            .iter()
            .filter_map(|extent| {
                let recorded = extent.recorded.filter(|recorded| recorded.partition == address.partition)?;
                Some((extent.first / size, extent.len.div_ceil(size), recorded.block))
            })
            .collect())
    }
}
