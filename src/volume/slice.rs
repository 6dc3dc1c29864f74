//! Tables inside of a primary partition of a boot record: BSD disk labels, Solaris' table of contents, the
//! subpartitions of Minix and the slices of UnixWare. What is taken for a partition, and in which order, is as in
//! Linux' `block/partitions/msdos.c`.

use super::bsd::{self, Flavour};
use super::{BOOT_RECORD, Result, mbr};
use crate::disk::Disk;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// A primary partition of a boot record that may have a table of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice {
    /// The type in the boot record.
    pub(super) kind: u8,
    /// The first byte on the disk.
    pub(super) offset: u64,
    /// The size in bytes that the boot record states.
    pub(super) size: u64,
}

/// A partition inside of a [`Slice`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inner {
    /// The first byte on the disk.
    pub(super) offset: u64,
    /// The size in bytes.
    pub(super) size: u64,
    /// What the table says it is.
    pub(super) type_name: &'static str,
    /// Its letter or number in the table.
    pub(super) name: String,
    /// Whether Linux gives it a number.
    pub(super) of_linux: bool,
}

/// The type of Linux swap space, which Solaris' was until 2005.
pub(super) const SOLARIS_X86: u8 = 0x82;
/// Its type since then.
pub(super) const NEW_SOLARIS: u8 = 0xBF;
const MINIX: u8 = 0x81;
const UNIXWARE: u8 = 0x63;

/// The partitions inside of a slice; `None` when it has no table. `sector_size` is that of the boot record.
pub(super) fn read(disk: &dyn Disk, slice: &Slice, sector_size: u32) -> Result<Option<Vec<Inner>>> {
    match slice.kind {
        0xA5 => match bsd::of_slice(disk, slice, sector_size, Flavour::FreeBsd)? {
            None => bsd::dragonfly(disk, slice),
            found => Ok(found),
        },
        0x6C => bsd::dragonfly(disk, slice),
        0xA6 => bsd::of_slice(disk, slice, sector_size, Flavour::OpenBsd),
        0xA9 => bsd::of_slice(disk, slice, sector_size, Flavour::NetBsd),
        SOLARIS_X86 | NEW_SOLARIS => parsed(disk, slice, sector_size, 1, solaris),
        UNIXWARE => parsed(disk, slice, sector_size, 29, unixware),
        MINIX => minix(disk, slice, sector_size),
        _ => Ok(None),
    }
}

/// A table in a sector of a slice, which is given to its parser as sectors of `sector_size` bytes.
fn parsed(
    disk: &dyn Disk,
    slice: &Slice,
    sector_size: u32,
    sector: u64,
    parse: fn(&Fields<'_>, &Slice, u64) -> Result<Option<Vec<Inner>>, ParseError>,
) -> Result<Option<Vec<Inner>>> {
    let sector_size = u64::from(sector_size);
    let Some(bytes) = read_sector(disk, slice.offset.saturating_add(sector * sector_size))? else { return Ok(None) };
    Ok(parse(&Fields::new("table of a slice", &bytes, slice.offset), slice, sector_size).unwrap_or_else(|cause| {
        log::debug!("No table in the slice: {cause}");
        None
    }))
}

fn read_sector(disk: &dyn Disk, offset: u64) -> Result<Option<[u8; BOOT_RECORD]>> {
    if offset.checked_add(BOOT_RECORD as u64).is_none_or(|end| end > disk.size()) {
        return Ok(None);
    }
    let mut sector = [0; BOOT_RECORD];
    disk.read_at(offset, &mut sector)?;
    Ok(Some(sector))
}

/// `SOLARIS_X86_VTOC_SANE`, which UnixWare uses too.
const VTOC_SANE: u32 = 0x600D_DEEE;

/// Solaris' `struct dk_label` of x86; offsets are relative to the slice.
fn solaris(f: &Fields<'_>, slice: &Slice, sector_size: u64) -> Result<Option<Vec<Inner>>, ParseError> {
    // v_sanity, v_version
    if f.u32_le(12)? != VTOC_SANE || f.u32_le(16)? != 1 {
        return Ok(None);
    }
    // v_nparts: 8 in old tables, whatever they say
    let count = if f.u16_le(30)? > 8 { 16 } else { 8 };
    let mut inner = Vec::new();
    for number in 0..count {
        let at = 72 + 12 * number; // v_slice
        let (tag, start, size) = (f.u16_le(at)?, f.u32_le(at + 4)?, f.u32_le(at + 8)?);
        if size > 0 {
            inner.push(Inner {
                offset: slice.offset.saturating_add(u64::from(start) * sector_size),
                size: u64::from(size) * sector_size,
                type_name: solaris_tag(tag),
                name: format!("s{number}"),
                of_linux: true,
            });
        }
    }
    Ok(Some(inner))
}

/// What Solaris calls the tags of slices.
fn solaris_tag(tag: u16) -> &'static str {
    match tag {
        1 => "Solaris boot",
        2 => "Solaris root",
        3 => "Solaris swap",
        4 => "Solaris usr",
        5 => "Solaris whole disk",
        7 => "Solaris var",
        8 => "Solaris home",
        9 => "Solaris alternate sectors",
        _ => "Solaris",
    }
}

/// UnixWare's `struct disklabel`, in sector 29 of the slice; offsets are of the disk.
fn unixware(f: &Fields<'_>, _: &Slice, sector_size: u64) -> Result<Option<Vec<Inner>>, ParseError> {
    const MAGIC: u32 = 0xCA5E_600D;
    // d_magic, v_magic
    if f.u32_le(4)? != MAGIC || f.u32_le(156)? != VTOC_SANE {
        return Ok(None);
    }
    let mut inner = Vec::new();
    // The first one is the whole disk.
    for number in 1..16 {
        let at = 216 + 12 * number; // v_slice
        let (kind, start, size) = (f.u16_le(at)?, f.u32_le(at + 4)?, f.u32_le(at + 8)?);
        if kind != 0 && size > 0 {
            inner.push(Inner {
                offset: u64::from(start) * sector_size,
                size: u64::from(size) * sector_size,
                type_name: "UnixWare",
                name: number.to_string(),
                of_linux: true,
            });
        }
    }
    Ok(Some(inner))
}

/// The subpartitions of Minix: a boot record in the first sector of the slice, with offsets of the disk.
fn minix(disk: &dyn Disk, slice: &Slice, sector_size: u32) -> Result<Option<Vec<Inner>>> {
    let Some(record) = read_sector(disk, slice.offset)?.as_ref().and_then(mbr::Record::parse) else { return Ok(None) };
    let inner = record.ranges_of(MINIX).zip(0..).map(|((first, count), number)| Inner {
        offset: first * u64::from(sector_size),
        size: count * u64::from(sector_size),
        type_name: super::type_names::mbr(MINIX),
        name: format!("s{number}"),
        of_linux: true,
    });
    Ok(Some(inner.collect()))
}
