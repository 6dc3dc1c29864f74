//! The metadata region: sizes of the disk, its blocks and sectors, and the parent. [MS-VHDX] section 2.6.

use super::locator::Locator;
use super::region::Region;
use crate::image::Result;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use crate::storage;
use crate::storage::InFile;
use crate::storage::Storage;
use uuid::{Uuid, uuid};

/// Bytes of the metadata table, which goes before the items.
const TABLE: usize = 64 << 10;
/// `EntryCount` is at most this.
const MAX_ENTRIES: u16 = 2047;
/// Bytes of the largest item.
const MAX_ITEM: u32 = 1 << 20;
/// `VirtualDiskSize` is at most this.
const MAX_DISK: u64 = 64 << 40;

const FILE_PARAMETERS: Uuid = uuid!("caa16737-fa36-4d43-b3b6-33f0aa44e76b");
const VIRTUAL_DISK_SIZE: Uuid = uuid!("2fa54224-cd1b-4876-b211-5dbed83bf4b8");
const VIRTUAL_DISK_ID: Uuid = uuid!("beca12ab-b2e6-4523-93ef-c309e000c746");
const LOGICAL_SECTOR_SIZE: Uuid = uuid!("8141bf1d-a96f-4709-ba47-f233a8faab5f");
const PHYSICAL_SECTOR_SIZE: Uuid = uuid!("cda348c7-445d-4471-9cc9-e9885251c556");
const PARENT_LOCATOR: Uuid = uuid!("a8d35f2d-b30b-454d-abf7-d3d84834ab0c");

/// Where an item is: from the start of the region, in bytes.
#[derive(Debug, Clone, Copy)]
struct Item {
    offset: u32,
    length: u32,
}

/// The items that matter here. The disk's id (SCSI page 83) and the size of physical sectors change no byte.
#[derive(Debug, Default)]
struct Table {
    file_parameters: Option<Item>,
    disk_size: Option<Item>,
    logical_sector: Option<Item>,
    parent_locator: Option<Item>,
}

impl Table {
    fn parse(bytes: &[u8], region: Region) -> Result<Self, ParseError> {
        let f = Fields::new("VHDX metadata table", bytes, region.offset);
        let signature = f.bytes(0, 8)?;
        if signature != b"metadata" {
            let found = String::from_utf8_lossy(signature);
            let what = "VHDX metadata table signature";
            return Err(ParseError::corrupt(region.offset, what, "\"metadata\"", format_args!("{found:?}")));
        }
        let count = f.u16_le(10)?;
        if count > MAX_ENTRIES {
            let expected = format_args!("at most {MAX_ENTRIES}");
            return Err(ParseError::corrupt(f.offset(10), "number of VHDX metadata items", expected, count));
        }
        let mut table = Self::default();
        for entry in 0..usize::from(count) {
            let at = 32 + 32 * entry;
            let (id, flags) = (f.uuid_le(at)?, f.u32_le(at + 24)?);
            let (user, required) = (flags & 1 == 1, flags & 4 == 4);
            let slot = match id {
                FILE_PARAMETERS if !user => &mut table.file_parameters,
                VIRTUAL_DISK_SIZE if !user => &mut table.disk_size,
                LOGICAL_SECTOR_SIZE if !user => &mut table.logical_sector,
                PARENT_LOCATOR if !user => &mut table.parent_locator,
                VIRTUAL_DISK_ID | PHYSICAL_SECTOR_SIZE if !user => continue,
                _ if required => {
                    return Err(ParseError::unsupported(
                        f.offset(at),
                        "required VHDX metadata item",
                        "a known one",
                        id,
                    ));
                }
                _ => continue,
            };
            if slot.replace(Self::item(&f, at, region)?).is_some() {
                let found = format_args!("{id} again");
                return Err(ParseError::corrupt(f.offset(at), "VHDX metadata item", "one of each kind", found));
            }
        }
        Ok(table)
    }

    /// The item that the entry at `at` describes.
    fn item(f: &Fields<'_>, at: usize, region: Region) -> Result<Item, ParseError> {
        let (offset, length) = (f.u32_le(at + 16)?, f.u32_le(at + 20)?);
        let end = u64::from(offset) + u64::from(length);
        if (offset as usize) < TABLE || length > MAX_ITEM || end > region.length {
            return Err(ParseError::corrupt(
                f.offset(at + 16),
                "offset of a VHDX metadata item",
                format_args!("at most {MAX_ITEM} bytes, from {TABLE} to {} of the region", region.length),
                format_args!("{length} bytes at {offset}"),
            ));
        }
        Ok(Item { offset, length })
    }
}

/// The metadata of a disk, checked.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    /// `BlockSize`: bytes; a power of two from 1 MiB to 256 MiB.
    pub(super) block_size: u32,
    /// `LeaveBlockAllocated`: a fixed disk.
    pub(super) leave_allocated: bool,
    /// `VirtualDiskSize`: bytes, whole logical sectors, at most 64 TiB.
    pub(super) disk_size: u64,
    /// `LogicalSectorSize`: 512 or 4096.
    pub(super) logical_sector: u32,
    /// The parent of a differencing disk (`HasParent`).
    pub(super) parent: Option<Locator>,
}

/// Reads the metadata of a disk.
pub(super) fn read(file: &dyn Storage, region: Region) -> Result<Metadata> {
    let in_file = |cause: ParseError| cause.in_file(file.path());
    let mut bytes = vec![0; TABLE];
    storage::read_exact(file, &mut bytes, region.offset, "VHDX metadata table")?;
    let table = Table::parse(&bytes, region).in_file(file.path())?;
    let item = |item: Option<Item>, name: &'static str| {
        let item = item.ok_or_else(|| {
            in_file(ParseError::corrupt(region.offset, "VHDX metadata table", format_args!("the {name}"), "none"))
        })?;
        let mut bytes = vec![0; item.length as usize];
        storage::read_exact(file, &mut bytes, region.offset + u64::from(item.offset), name)?;
        Ok::<_, crate::image::Error>((bytes, region.offset + u64::from(item.offset)))
    };
    let (bytes, base) = item(table.file_parameters, "VHDX file parameters")?;
    let (block_size, flags) = file_parameters(&bytes, base).in_file(file.path())?;
    let (bytes, base) = item(table.logical_sector, "VHDX logical sector size")?;
    let logical_sector = sector_size(&bytes, base).in_file(file.path())?;
    let (bytes, base) = item(table.disk_size, "VHDX virtual disk size")?;
    let disk_size = disk_size(&bytes, base, logical_sector).in_file(file.path())?;
    let parent = if flags & 2 == 2 {
        let (bytes, base) = item(table.parent_locator, "VHDX parent locator")?;
        Some(Locator::parse(&bytes, base).in_file(file.path())?)
    } else {
        None
    };
    Ok(Metadata { block_size, leave_allocated: flags & 1 == 1, disk_size, logical_sector, parent })
}

/// `BlockSize` and the flags.
fn file_parameters(bytes: &[u8], base: u64) -> Result<(u32, u32), ParseError> {
    let f = Fields::new("VHDX file parameters", bytes, base);
    let (block_size, flags) = (f.u32_le(0)?, f.u32_le(4)?);
    if !block_size.is_power_of_two() || !(1 << 20..=256 << 20).contains(&block_size) {
        let expected = "a power of two from 1 MiB to 256 MiB";
        return Err(ParseError::corrupt(base, "VHDX block size", expected, block_size));
    }
    if flags & !3 != 0 {
        let found = format_args!("{flags:#x}");
        return Err(ParseError::unsupported(f.offset(4), "flags of the VHDX file parameters", "0 to 3", found));
    }
    Ok((block_size, flags))
}

fn sector_size(bytes: &[u8], base: u64) -> Result<u32, ParseError> {
    match Fields::new("VHDX logical sector size", bytes, base).u32_le(0)? {
        size @ (512 | 4096) => Ok(size),
        other => Err(ParseError::corrupt(base, "VHDX logical sector size", "512 or 4096", other)),
    }
}

fn disk_size(bytes: &[u8], base: u64, sector: u32) -> Result<u64, ParseError> {
    let size = Fields::new("VHDX virtual disk size", bytes, base).u64_le(0)?;
    if size == 0 || !size.is_multiple_of(u64::from(sector)) || size > MAX_DISK {
        let expected = format_args!("whole sectors of {sector} bytes, up to 64 TiB");
        return Err(ParseError::corrupt(base, "VHDX virtual disk size", expected, size));
    }
    Ok(size)
}
