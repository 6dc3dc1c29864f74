//! The header of a copy-on-write disk (`COWDisk_Header`, magic "COWD"): the sparse extents of ESX, `VMFSSPARSE`. Field
//! names and offsets are those of VMware's "Virtual Disk Format 1.1"; numbers are little-endian, offsets and sizes
//! sectors of 512 bytes.

use super::geometry::{Geometry, SECTOR};
use crate::image::MAX_CLUSTER;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// `magicNumber`.
pub(super) const MAGIC: &[u8] = b"COWD";
/// Bytes of the header.
pub(super) const HEADER: usize = 2048;
/// Entries of a grain table.
const TABLE_ENTRIES: u32 = 4096;
/// With more cylinders than this the bytes are no geometry but the parent's name.
const MAX_CYLINDERS: u32 = 0x00FF_FFFF;

/// The parent as the header states it, when there is no descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parent {
    /// The disk is a base: it has a geometry instead of a parent.
    None,
    /// `parentFileName`.
    Named(String),
    /// Neither: the descriptor states it.
    Unknown,
}

/// A header whose fields were checked against each other, but not against the file's length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CowdHeader {
    /// `numSectors`.
    pub(super) capacity: u64,
    /// `grainSize`: a power of two.
    pub(super) grain_size: u64,
    /// `gdOffset`.
    pub(super) gd_offset: u64,
    /// `numGDEntries`.
    pub(super) gd_entries: u64,
    /// `uncleanShutdown`.
    pub(super) unclean_shutdown: bool,
    /// `parentFileName`, or the geometry that stands there instead.
    pub(super) parent: Parent,
    /// `description`.
    pub(super) description: String,
}

impl CowdHeader {
    /// Parses the first [`HEADER`] bytes of a file.
    ///
    /// # Errors
    /// [`ParseError`] naming the field that breaks the format's rules or is not supported.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let f = Fields::new("COWD header", bytes, 0);
        let magic = f.bytes(0, 4)?;
        if magic != MAGIC {
            let found = format!("{:?}", String::from_utf8_lossy(magic));
            return Err(ParseError::corrupt(0, "COWD header signature", "\"COWD\"", found));
        }
        let version = f.u32_le(4)?;
        if version != 1 {
            return Err(ParseError::unsupported(4, "COWD header version", 1, version));
        }
        let flags = f.u32_le(8)?;
        if flags & !3 != 0 {
            return Err(ParseError::unsupported(8, "COWD header flags", "0 to 3", format_args!("{flags:#x}")));
        }
        let grain_size = u64::from(f.u32_le(16)?);
        if !grain_size.is_power_of_two() || grain_size > MAX_CLUSTER / SECTOR {
            let expected = format!("a power of two up to {}", MAX_CLUSTER / SECTOR);
            return Err(ParseError::corrupt(16, "COWD grain size", expected, grain_size));
        }
        let header = Self {
            capacity: u64::from(f.u32_le(12)?),
            grain_size,
            gd_offset: u64::from(f.u32_le(20)?),
            gd_entries: u64::from(f.u32_le(24)?),
            unclean_shutdown: f.u32_le(1648)? != 0,
            parent: Self::parent(&f)?,
            description: f.text(1124, 512)?,
        };
        if header.gd_offset * SECTOR < HEADER as u64 {
            return Err(ParseError::corrupt(20, "COWD grain directory offset", "at least 4", header.gd_offset));
        }
        let needed = header.capacity.div_ceil(u64::from(TABLE_ENTRIES) * grain_size);
        if header.gd_entries < needed {
            let expected = format!("at least {needed} for {} sectors", header.capacity);
            return Err(ParseError::corrupt(24, "COWD grain directory entries", expected, header.gd_entries));
        }
        Ok(header)
    }

    fn parent(f: &Fields<'_>) -> Result<Parent, ParseError> {
        let (cylinders, heads, sectors) = (f.u32_le(32)?, f.u32_le(36)?, f.u32_le(40)?);
        Ok(match cylinders {
            0 => Parent::Unknown,
            1..=MAX_CYLINDERS if heads > 0 && sectors > 0 => Parent::None,
            1..=MAX_CYLINDERS => Parent::Unknown,
            _ => Parent::Named(f.text(32, 1024)?),
        })
    }

    /// How the extent is laid out.
    pub(super) fn geometry(&self) -> Geometry {
        Geometry {
            format: "COWD",
            capacity: self.capacity * SECTOR,
            grain: self.grain_size * SECTOR,
            table_entries: u64::from(TABLE_ENTRIES),
            directory_at: self.gd_offset * SECTOR,
            redundant_at: None,
            reserved: [0..HEADER as u64, 0..0],
            data_at: 0,
            zero_grains: false,
            compressed: false,
        }
    }
}
