//! Tables inside of a primary partition of a boot record: BSD disk labels, Solaris' table of contents, the
//! subpartitions of Minix and the slices of UnixWare. Partitions and their order are those of
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
    /// The type in the table.
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
        0xA5 => match bsd::of_slice(disk, slice, sector_size, Flavour::Free)? {
            None => bsd::dragonfly(disk, slice),
            found => Ok(found),
        },
        0x6C => bsd::dragonfly(disk, slice),
        0xA6 => bsd::of_slice(disk, slice, sector_size, Flavour::Open),
        0xA9 => bsd::of_slice(disk, slice, sector_size, Flavour::Net),
        SOLARIS_X86 | NEW_SOLARIS => parsed(disk, slice, sector_size, 1, solaris),
        UNIXWARE => parsed(disk, slice, sector_size, 29, unixware),
        MINIX => minix(disk, slice, sector_size),
        _ => Ok(None),
    }
}

/// Parses a table of a slice with sectors of so many bytes; `None` when there is none.
type Parse = fn(&Fields<'_>, &Slice, u64) -> Result<Option<Vec<Inner>>, ParseError>;

/// A table in a sector of a slice, which is given to its parser as sectors of `sector_size` bytes.
fn parsed(disk: &dyn Disk, slice: &Slice, sector_size: u32, sector: u64, parse: Parse) -> Result<Option<Vec<Inner>>> {
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
    // v_nparts: 8 in old tables, whatever they state
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

#[cfg(test)]
mod tests {
    use crate::volume::read_table;
    use crate::volume::test_disk::TestDisk;

    /// A disk of 4096 sectors with one slice, 3000 sectors from sector 100 on, and the volumes inside of it: Linux's
    /// number, the first sector, the sectors, the type and the name of each.
    fn inner(kind: u8, at: u64, bytes: &[u8]) -> Vec<(u32, u64, u64, String, String)> {
        let mut disk = TestDisk::new(4096 * 512, 512);
        disk.put(446, &[0x80, 0, 0, 0, kind, 0, 0, 0, 100, 0, 0, 0, 0xB8, 0x0B, 0, 0]);
        disk.put(510, &[0x55, 0xAA]);
        disk.put(100 * 512 + at, bytes);
        let volumes = read_table(&disk).unwrap().volumes;
        assert_eq!((volumes[0].linux_number, volumes[0].offset), (1, 100 * 512));
        let shown = |v: &crate::volume::Volume| (v.linux_number, v.offset / 512, v.size / 512);
        let all = volumes[1..].iter().map(|v| (shown(v), v.type_name.to_string(), v.name.clone()));
        all.map(|((number, first, count), kind, name)| (number, first, count, kind, name)).collect()
    }

    /// A label with partitions: first sector, sectors, type.
    fn label(partitions: &[(u32, u32, u8)]) -> Vec<u8> {
        let mut label = vec![0; 148 + 16 * partitions.len()];
        label[..4].copy_from_slice(&0x8256_4557_u32.to_le_bytes());
        label[40..44].copy_from_slice(&512_u32.to_le_bytes());
        label[132..136].copy_from_slice(&0x8256_4557_u32.to_le_bytes());
        label[138..140].copy_from_slice(&u16::try_from(partitions.len()).unwrap().to_le_bytes());
        for ((first, count, kind), raw) in partitions.iter().zip(label[148..].chunks_mut(16)) {
            raw[..4].copy_from_slice(&count.to_le_bytes());
            raw[4..8].copy_from_slice(&first.to_le_bytes());
            raw[12] = *kind;
        }
        let checksum = label.chunks(2).fold(0, |sum, word| sum ^ u16::from_le_bytes([word[0], word[1]]));
        label[136..138].copy_from_slice(&checksum.to_le_bytes());
        label
    }

    fn row(number: u32, first: u64, count: u64, kind: &str, name: &str) -> (u32, u64, u64, String, String) {
        (number, first, count, kind.to_owned(), name.to_owned())
    }

    #[test]
    fn partitions_of_a_label_in_a_slice_are_volumes() {
        let expected = [row(5, 116, 800, "4.2BSD", "a"), row(6, 1000, 500, "swap", "b")];
        // FreeBSD's are relative to 'c', whatever that begins at.
        for base in [0, 100] {
            let partitions = [(base + 16, 800, 7), (base + 900, 500, 1), (base, 3000, 0)];
            assert_eq!(inner(0xA5, 512, &label(&partitions)), expected, "{base}");
        }
        // The others' are offsets on the disk, of which 'c' is all; what leaves the slice is another slice.
        for kind in [0xA6, 0xA9] {
            let partitions = [(116, 800, 7), (1000, 500, 1), (0, 4096, 0), (3100, 100, 17)];
            assert_eq!(inner(kind, 512, &label(&partitions)), expected, "{kind:#x}");
        }
    }

    #[test]
    fn a_slice_of_solaris_is_reported_from_linux_swap() {
        let mut table = vec![0; 512];
        table[12..16].copy_from_slice(&super::VTOC_SANE.to_le_bytes());
        table[16] = 1;
        table[30] = 16;
        table[72..84].copy_from_slice(&[2, 0, 0, 0, 8, 0, 0, 0, 100, 0, 0, 0]);
        table[72 + 15 * 12..][..12].copy_from_slice(&[8, 0, 0, 0, 200, 0, 0, 0, 50, 0, 0, 0]);
        let expected = [row(5, 108, 100, "Solaris root", "s0"), row(6, 300, 50, "Solaris home", "s15")];
        for kind in [0x82, 0xBF] {
            assert_eq!(inner(kind, 512, &table), expected);
        }
        assert_eq!(inner(0x82, 512, &[0; 512]), []);
    }

    #[test]
    fn subpartitions_of_minix_are_volumes() {
        let mut record = vec![0; 512];
        record[446..462].copy_from_slice(&[0, 0, 0, 0, 0x81, 0, 0, 0, 101, 0, 0, 0, 50, 0, 0, 0]);
        record[510..].copy_from_slice(&[0x55, 0xAA]);
        assert_eq!(inner(0x81, 0, &record), [row(5, 101, 50, "Minix", "s0")]);
    }
}
