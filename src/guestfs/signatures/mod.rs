//! The signatures of file systems, encryption and volume managers. Offsets and names are those of `blkid`, the system's
//! own tool for this (<https://github.com/util-linux/util-linux>, `libblkid`).

mod table;
mod volumes;
mod zfs;

use super::content::Content;
use super::dos::serial;
use super::{Result, ext, iso, udf};
use crate::disk::Disk;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use table::{Find, Label, SIGNATURES, Uuid};

pub(super) use table::Signature;

/// Bytes read at once from the start of the volume: they hold the signatures and labels of most contents.
const NEAR: u64 = 4100;

/// Returns the first signature of the table that matches the volume, and the content it identifies.
///
/// # Errors
/// When the volume cannot be read.
pub(super) fn find(volume: &dyn Disk) -> Result<Option<(&'static Signature, Content)>> {
    let scan = Scan::new(volume)?;
    for signature in SIGNATURES {
        if let Some(content) = signature.content(&scan)? {
            return Ok(Some((signature, content)));
        }
    }
    Ok(None)
}

/// A volume being identified.
pub(super) struct Scan<'a> {
    volume: &'a dyn Disk,
    near: Vec<u8>,
}

impl<'a> Scan<'a> {
    fn new(volume: &'a dyn Disk) -> Result<Self> {
        let mut near = vec![0; usize::try_from(volume.size().min(NEAR)).unwrap_or(0)];
        volume.read_at(0, &mut near)?;
        Ok(Self { volume, near })
    }

    fn size(&self) -> u64 {
        self.volume.size()
    }

    /// The first bytes.
    fn near(&self) -> &[u8] {
        &self.near
    }

    fn fields(&self) -> Fields<'_> {
        Fields::new("start of the volume", &self.near, 0)
    }

    /// Reads `len` bytes at an offset, or fewer at the end of the volume.
    fn bytes(&self, at: u64, len: usize) -> Result<Vec<u8>> {
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        if let Some(known) = start.checked_add(len).and_then(|end| self.near.get(start..end)) {
            return Ok(known.to_vec());
        }
        let left = usize::try_from(self.size().saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(len)];
        if !bytes.is_empty() {
            self.volume.read_at(at, &mut bytes)?;
        }
        Ok(bytes)
    }
}

impl Signature {
    /// The content that this signature identifies; `None` when the volume does not have it.
    fn content(&self, scan: &Scan<'_>) -> Result<Option<Content>> {
        let (name, at, magic, uuid, label) = match &self.find {
            Find::With(find) => return find(scan),
            Find::Magic { name, at, magic, uuid, label } => (name, *at, magic, *uuid, *label),
        };
        if scan.bytes(at as u64, magic.len())? != *magic {
            return Ok(None);
        }
        let field = |at: usize, len: usize| scan.bytes(at as u64, len).unwrap_or_default();
        let uuid = match uuid {
            Uuid::None => Ok(String::new()),
            Uuid::Raw(at) => table::uuid(&Fields::new("UUID", &field(at, 16), at as u64), 0),
            Uuid::Serial32(at) => Fields::new("serial number", &field(at, 4), at as u64).u32_le(0).map(serial),
            Uuid::Serial64(at) => {
                Fields::new("serial number", &field(at, 8), at as u64).u64_le(0).map(|number| format!("{number:016X}"))
            }
            Uuid::Words(at) => {
                let raw = field(at, 8);
                let f = Fields::new("UUID", &raw, at as u64);
                f.u32_le(0).and_then(|first| Ok(format!("{first:08x}{:08x}", f.u32_le(4)?)))
            }
        };
        let label = match label {
            Label::None => Ok(String::new()),
            Label::Bytes(at, len) => Fields::new("label", &field(at, len), at as u64).text(0, len),
            Label::Utf16(at, len) => Ok(table::utf16(&field(at, len))),
        };
        Ok(Some(Content {
            uuid: uuid.unwrap_or_default(),
            label: label.unwrap_or_default().trim_end().to_owned(),
            ..Content::named(name)
        }))
    }
}

fn optical(scan: &Scan<'_>) -> Result<Option<Content>> {
    if udf::probe(scan.volume)? {
        return Ok(Some(Content::named("UDF")));
    }
    let named = || -> Result<Content> {
        let label = scan.bytes(0x8028, 32)?;
        let label = Fields::new("label", &label, 0x8028).text(0, 32).unwrap_or_default();
        Ok(Content { label: label.trim_end().to_owned(), ..Content::named("ISO 9660") })
    };
    iso::probe(scan.volume)?.then(named).transpose()
}

/// ext2, ext3 or ext4. The magic number has only two bytes, so other data may match it by chance.
fn ext_family(scan: &Scan<'_>) -> Result<Option<Content>> {
    let f = scan.fields();
    let parse = || -> Result<Content, ParseError> {
        Ok(Content {
            label: f.text(1024 + 0x78, 16)?,
            uuid: table::uuid(&f, 1024 + 0x68)?,
            ..Content::named(ext::type_name(scan.near()))
        })
    };
    Ok(if ext::probe(scan.near()) { parse().ok() } else { None })
}

/// `struct cache_sb` of the kernel, whose `offset` is its own sector. bcachefs once had the same magic number.
fn bcache(scan: &Scan<'_>) -> Result<Option<Content>> {
    let bytes = scan.bytes(4096, 104)?;
    let f = Fields::new("bcache superblock", &bytes, 4096);
    let parse = || -> Result<Option<Content>, ParseError> {
        if f.bytes(24, 16)? != table::BCACHE {
            return Ok(None);
        }
        if f.u64_le(8)? == 8 {
            return Ok(Some(Content { uuid: table::uuid(&f, 40)?, ..Content::named("bcache") }));
        }
        Ok(Some(Content { uuid: table::uuid(&f, 56)?, label: f.text(72, 32)?, ..Content::named("bcachefs") }))
    };
    Ok(parse().ok().flatten())
}

/// OS/2's HPFS: its super and spare blocks, and a serial number and label in the boot sector where that is valid.
fn hpfs(scan: &Scan<'_>) -> Result<Option<Content>> {
    let magic = |at, magic: u32| Ok(scan.bytes(at, 4)? == magic.to_le_bytes()) as Result<bool>;
    if !magic(16 * 512, 0xF995_E849)? || !magic(17 * 512, 0xF991_1849)? {
        return Ok(None);
    }
    let f = scan.fields();
    let parse = || -> Result<Content, ParseError> {
        let mut content = Content::named("HPFS");
        if f.bytes(510, 2)? == [0x55, 0xAA] && f.u8(38)? == 0x28 && f.bytes(54, 4)? == b"HPFS" {
            content.uuid = serial(f.u32_le(39)?);
            content.label = f.text(43, 11)?.trim_end().to_owned();
        }
        Ok(content)
    };
    Ok(Some(parse().unwrap_or_else(|_| Content::named("HPFS"))))
}

/// minix has magic numbers of only two bytes, so its counts must be consistent as well (`struct minix_super_block`).
fn minix(scan: &Scan<'_>) -> Result<Option<Content>> {
    const AT: usize = 1024;
    let f = scan.fields();
    let sane = || -> Result<bool, ParseError> {
        let third = f.u16_le(AT + 24)? == 0x4D5A;
        if !third && !matches!(f.u16_le(AT + 16)?, 0x137F | 0x138F | 0x2468 | 0x2478) {
            return Ok(false);
        }
        let (inodes, maps) = if third { (f.u32_le(AT)?, AT + 6) } else { (u32::from(f.u16_le(AT)?), AT + 4) };
        let (inode_map, zone_map, first_zone) = (f.u16_le(maps)?, f.u16_le(maps + 2)?, f.u16_le(maps + 4)?);
        // Each block of the inode map has at least 8192 bits.
        let sane = inodes > 0 && u32::from(inode_map) >= inodes.div_ceil(8 * 4096) && zone_map > 0;
        Ok(sane && u32::from(first_zone) > u32::from(inode_map) + u32::from(zone_map))
    };
    Ok(sane().unwrap_or(false).then(|| Content::named("minix")))
}
