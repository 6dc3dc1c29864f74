//! Finding a volume: its recognition sequence, anchors, volume descriptors and logical volume (ECMA-167, parts 2 and 3;
//! UDF 2.60, 2.2).

use super::tag::{self, Expected, id};
use super::text;
use crate::disk::Disk;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// Offset of the recognition sequence, and the most structures read from it.
const RECOGNITION: u64 = 0x8000;
const MAX_STRUCTURES: u64 = 64;
/// Possible sector sizes in bytes.
const SECTORS: [u32; 4] = [512, 1024, 2048, 4096];
/// The most descriptors read from a sequence, and the most chained sequences.
const MAX_DESCRIPTORS: u32 = 1024;
const MAX_POINTERS: usize = 16;
/// The most partition maps of a volume: UDF has at most 2.
const MAX_MAPS: u32 = 16;
/// The newest supported revision of UDF.
const REVISION: u16 = 0x0260;

/// A partition's map in the logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PartitionMap {
    /// Blocks are stored in order.
    Physical,
    /// Blocks are mapped by a table that is written last (write-once disks).
    Virtual,
    /// Blocks may have been moved in packets of `packet` blocks; `tables` are the blocks of the sparing tables.
    Sparable { packet: u16, tables: Vec<u32> },
    /// Blocks are stored in a file with a mirror; both are given by the block of their file entry.
    Metadata { file: u32, mirror: u32 },
}

/// A partition of the logical volume.
#[derive(Debug, Clone)]
pub(super) struct Partition {
    pub(super) map: PartitionMap,
    /// Its partition number.
    pub(super) number: u16,
    /// Its first block on the volume.
    pub(super) start: u32,
    /// Its length in blocks.
    pub(super) len: u32,
}

/// An extent in blocks of the volume (`extent_ad`).
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// Length in bytes.
    len: u32,
    location: u32,
}

/// The information in the volume descriptors.
#[derive(Debug, Clone)]
pub(super) struct Volume {
    /// Bytes in a block.
    pub(super) block_size: u32,
    pub(super) label: String,
    pub(super) uuid: String,
    pub(super) partitions: Vec<Partition>,
    /// The partition (its index in the list) and block of the file set.
    pub(super) file_set: (u16, u32),
    pub(super) free_blocks: u64,
    pub(super) notes: Vec<String>,
}

/// The prevailing descriptors of a sequence.
#[derive(Default)]
struct Sequence {
    primary: Option<(u32, Vec<u8>, u64)>,
    logical: Option<(u32, Vec<u8>, u64)>,
    partitions: Vec<(u32, Vec<u8>, u64)>,
}

/// Whether a volume has the recognition sequence of UDF.
///
/// # Errors
/// Any error of the disk.
pub(crate) fn probe(disk: &dyn Disk) -> Result<bool> {
    // With sectors larger than 2048 bytes, each structure takes a sector.
    for step in [2048, 4096] {
        for index in 0..MAX_STRUCTURES {
            let at = RECOGNITION + index * step;
            let mut bytes = [0; 6];
            if at + step > disk.size() {
                break;
            }
            disk.read_at(at, &mut bytes)?;
            match &bytes[1..] {
                b"NSR02" | b"NSR03" => return Ok(true),
                b"BEA01" | b"BOOT2" | b"CD001" | b"CDW02" => {}
                _ => break,
            }
        }
    }
    Ok(false)
}

impl Volume {
    /// Finds and reads the descriptors.
    pub(super) fn read(disk: &dyn Disk) -> Result<Self> {
        let mut sizes = SECTORS.to_vec();
        // The disk's own size of sectors first, then that of optical disks.
        sizes.sort_by_key(|size| (*size != disk.sector_size(), *size != 2048));
        let mut first = None;
        for size in sizes {
            let mut anchors = Vec::new();
            for block in anchor_blocks(disk.size() / u64::from(size)) {
                match anchor(disk, size, block) {
                    Ok(anchor) => anchors.push(anchor),
                    Err(error @ Error::Disk(_)) => return Err(error),
                    Err(_) => {}
                }
            }
            for [main, reserve] in anchors {
                let error = match Self::of_sequence(disk, size, main) {
                    Ok(volume) => return Ok(volume),
                    Err(error @ (Error::Disk(_) | Error::Unsupported(_))) => return Err(error),
                    Err(error) => error,
                };
                if let Ok(mut volume) = Self::of_sequence(disk, size, reserve) {
                    volume.notes.insert(0, format!("The reserve of its volume descriptors is used: {error}"));
                    return Ok(volume);
                }
                first = first.or(Some(error));
            }
        }
        Err(first.unwrap_or_else(|| {
            let expected = "one in block 256, 512 or the last ones, with blocks of 512 to 4096 bytes";
            Error::from(ParseError::corrupt(0, "anchor volume descriptor", expected, "none"))
        }))
    }

    fn of_sequence(disk: &dyn Disk, block_size: u32, extent: Extent) -> Result<Self> {
        let sequence = Sequence::read(disk, block_size, extent)?;
        let offset = u64::from(extent.location) * u64::from(block_size);
        let missing = |what: &str| {
            let expected = format!("a {what} descriptor");
            Error::from(ParseError::corrupt(offset, "volume descriptors", expected, "none"))
        };
        let (_, logical, at) = sequence.logical.as_ref().ok_or_else(|| missing("logical volume"))?;
        let f = Fields::new("logical volume descriptor", logical, *at);
        let mut volume = Self::of_logical(&f, block_size)?;
        for partition in &mut volume.partitions {
            let described = sequence.partitions.iter().find_map(|(_, bytes, at)| {
                let f = Fields::new("partition descriptor", bytes, *at);
                (f.u16_le(22).ok()? == partition.number).then_some((f.u32_le(188).ok()?, f.u32_le(192).ok()?))
            });
            (partition.start, partition.len) =
                described.ok_or_else(|| missing(&format!("partition (number {})", partition.number)))?;
        }
        if let Some((_, bytes, _)) = &sequence.primary {
            volume.uuid = text::uuid(&text::dstring(bytes.get(72..200).unwrap_or_default()));
        }
        let integrity = Extent { len: f.u32_le(432)?, location: f.u32_le(436)? };
        volume.read_integrity(disk, integrity)?;
        Ok(volume)
    }

    /// Parses the logical volume and its partition maps.
    fn of_logical(f: &Fields<'_>, sector: u32) -> Result<Self> {
        let number = |at: usize| f.u32_le(at).map_err(Error::from);
        let (block_size, table_len, maps) = (number(212)?, number(264)?, number(268)?);
        if block_size != sector {
            return Err(Error::Unsupported(format!("it has blocks of {block_size} bytes on sectors of {sector}")));
        }
        if maps > MAX_MAPS {
            let cause = ParseError::corrupt(
                f.offset(268),
                "number of partition maps",
                format_args!("at most {MAX_MAPS}"),
                maps,
            );
            return Err(cause.into());
        }
        let table = f.bytes(440, usize::try_from(table_len).unwrap_or(usize::MAX))?;
        let mut partitions = Vec::new();
        let mut at = 0;
        for _ in 0..maps {
            let len = usize::from(*table.get(at + 1).unwrap_or(&0));
            let raw = table.get(at..at + len).filter(|raw| raw.len() >= 6).ok_or_else(|| {
                let offset = f.offset(440 + at);
                ParseError::corrupt(offset, "length of a partition map", format_args!("from 6 to {}", table.len()), len)
            })?;
            partitions.push(partition(raw, f.offset(440 + at))?);
            at += len;
        }
        Ok(Self {
            block_size,
            label: text::dstring(f.bytes(84, 128)?),
            uuid: String::new(),
            partitions,
            file_set: (f.u16_le(256)?, f.u32_le(252)?),
            free_blocks: 0,
            notes: Vec::new(),
        })
    }

    /// Reads the newest integrity descriptor: whether the volume was closed, its free space, and the revision needed to
    /// read it. Only these are unknown when it is missing or corrupt.
    fn read_integrity(&mut self, disk: &dyn Disk, mut extent: Extent) -> Result<()> {
        let mut newest = None;
        for _ in 0..MAX_POINTERS {
            let mut next = Extent { len: 0, location: 0 };
            for index in 0..(extent.len / self.block_size).min(MAX_DESCRIPTORS) {
                let block_number = u64::from(extent.location) + u64::from(index);
                let Some(bytes) = block(disk, self.block_size, block_number)? else { break };
                let at = block_number * u64::from(self.block_size);
                let location = u32::try_from(block_number).ok();
                let expected = Expected { what: "integrity descriptor", ids: &[id::INTEGRITY], location };
                if tag::check(&bytes, at, &expected).is_err() {
                    break;
                }
                let f = Fields::new("integrity descriptor", &bytes, at);
                if let (Ok(len), Ok(location)) = (f.u32_le(32), f.u32_le(36)) {
                    next = Extent { len, location };
                }
                newest = Some((bytes, at));
            }
            if next.len == 0 {
                break;
            }
            extent = next;
        }
        let Some((bytes, at)) = newest else { return Ok(()) };
        let f = Fields::new("integrity descriptor", &bytes, at);
        // Write-once disks are never closed this way.
        let closes = self.partitions.iter().all(|partition| partition.map != PartitionMap::Virtual);
        if closes && f.u32_le(28).is_ok_and(|kind| kind == 0) {
            self.notes.push("It was not cleanly unmounted: the newest changes may be missing".to_owned());
        }
        let partitions = f.u32_le(72).map_or(0, |count| usize::try_from(count.min(MAX_MAPS)).unwrap_or(0));
        let free = (0..partitions).filter_map(|index| f.u32_le(80 + index * 4).ok()).filter(|free| *free != u32::MAX);
        self.free_blocks = free.map(u64::from).sum();
        match f.u16_le(80 + partitions * 8 + 40) {
            Ok(needed) if needed > REVISION => {
                Err(Error::Unsupported(format!("it needs a reader of UDF {:x}.{:02x}", needed >> 8, needed & 0xFF)))
            }
            _ => Ok(()),
        }
    }
}

impl Sequence {
    /// Reads a sequence and those chained to it.
    fn read(disk: &dyn Disk, block_size: u32, mut extent: Extent) -> Result<Self> {
        let mut sequence = Self::default();
        for _ in 0..MAX_POINTERS {
            let mut next = None;
            for index in 0..(extent.len / block_size).min(MAX_DESCRIPTORS) {
                let block_number = u64::from(extent.location) + u64::from(index);
                let at = block_number * u64::from(block_size);
                let bytes = block(disk, block_size, block_number)?.ok_or_else(|| {
                    let expected = format!("within the {} bytes of the volume", disk.size());
                    ParseError::corrupt(at, "volume descriptors", expected, at)
                })?;
                // The rest was never written.
                if bytes[..tag::TAG].iter().all(|byte| *byte == 0) {
                    break;
                }
                let location = u32::try_from(block_number).ok();
                let id = tag::check(&bytes, at, &Expected { what: "volume descriptor", ids: &[], location });
                match id? {
                    id::TERMINATING => break,
                    id::POINTER => {
                        let f = Fields::new("volume descriptor pointer", &bytes, at);
                        let (len, location) = (f.u32_le(20)?, f.u32_le(24)?);
                        next = Some(Extent { len, location });
                    }
                    id => sequence.add(id, bytes, at)?,
                }
            }
            match next {
                Some(more) => extent = more,
                None => break,
            }
        }
        Ok(sequence)
    }

    /// Adds a descriptor. Among several of the same kind, the one with the highest sequence number prevails.
    fn add(&mut self, id: u16, bytes: Vec<u8>, at: u64) -> Result<(), ParseError> {
        let f = Fields::new("volume descriptor", &bytes, at);
        let sequence = f.u32_le(16)?;
        let slot = match id {
            id::PRIMARY_VOLUME => &mut self.primary,
            id::LOGICAL_VOLUME => &mut self.logical,
            id::PARTITION => {
                let partition = f.u16_le(22)?;
                let same =
                    |other: &Vec<u8>| Fields::new("partition", other, 0).u16_le(22).is_ok_and(|n| n == partition);
                self.partitions.retain(|(old, other, _)| !same(other) || *old > sequence);
                if !self.partitions.iter().any(|(_, other, _)| same(other)) {
                    self.partitions.push((sequence, bytes, at));
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        if slot.as_ref().is_none_or(|(old, ..)| *old <= sequence) {
            *slot = Some((sequence, bytes, at));
        }
        Ok(())
    }
}

/// Reads a block of the volume; `None` past its end.
fn block(disk: &dyn Disk, size: u32, number: u64) -> Result<Option<Vec<u8>>> {
    let at = number * u64::from(size);
    if at + u64::from(size) > disk.size() {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    disk.read_at(at, &mut bytes)?;
    Ok(Some(bytes))
}

/// The blocks that may hold an anchor on a volume of `blocks` blocks.
fn anchor_blocks(blocks: u64) -> Vec<u64> {
    let last = blocks.saturating_sub(1);
    let mut candidates = vec![256, last, last.saturating_sub(256), blocks.saturating_sub(256), 512];
    candidates.retain(|block| *block > 0 && *block < blocks);
    candidates.dedup();
    candidates
}

/// Reads an anchor: the extents of the main and the reserve sequence.
fn anchor(disk: &dyn Disk, size: u32, block_number: u64) -> Result<[Extent; 2]> {
    let at = block_number * u64::from(size);
    let bytes = block(disk, size, block_number)?.unwrap_or_default();
    let expected =
        Expected { what: "anchor volume descriptor", ids: &[id::ANCHOR], location: u32::try_from(block_number).ok() };
    tag::check(&bytes, at, &expected)?;
    let f = Fields::new("anchor volume descriptor", &bytes, at);
    let extent =
        |at: usize| -> Result<Extent, ParseError> { Ok(Extent { len: f.u32_le(at)?, location: f.u32_le(at + 4)? }) };
    Ok([extent(16)?, extent(24)?])
}

/// Parses a partition map at byte `at` of the volume.
fn partition(raw: &[u8], at: u64) -> Result<Partition> {
    let f = Fields::new("partition map", raw, at);
    let kind = f.u8(0)?;
    if kind == 1 {
        let number = f.u16_le(4)?;
        return Ok(Partition { map: PartitionMap::Physical, number, start: 0, len: 0 });
    }
    let parse = || -> Result<(Option<PartitionMap>, u16, String), ParseError> {
        let name = f.text(5, 23)?;
        let map = match name.as_str() {
            "*UDF Virtual Partition" => Some(PartitionMap::Virtual),
            "*UDF Sparable Partition" => {
                let count = usize::from(f.u8(42)?).min(4);
                let tables = (0..count).map(|table| f.u32_le(48 + table * 4)).collect::<Result<_, _>>()?;
                Some(PartitionMap::Sparable { packet: f.u16_le(40)?, tables })
            }
            "*UDF Metadata Partition" => Some(PartitionMap::Metadata { file: f.u32_le(40)?, mirror: f.u32_le(44)? }),
            _ => None,
        };
        Ok((map, f.u16_le(38)?, name))
    };
    let (map, number, name) = parse()?;
    let map = map.ok_or_else(|| Error::Unsupported(format!("it has a partition map of type {kind} {name:?}")))?;
    Ok(Partition { map, number, start: 0, len: 0 })
}
