//! The header of a Parallels image. Field names and offsets are those of QEMU's `docs/interop/parallels.txt`
//! (<https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/parallels.txt>); all numbers are little-endian.

use crate::image::Sample;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// `magic` of images whose map counts in sectors of 512 bytes; the only ones that VirtualBox knows.
pub(super) const MAGIC: &[u8; 16] = b"WithoutFreeSpace";
/// `magic` of images whose map counts in clusters.
pub(super) const MAGIC_EXT: &[u8; 16] = b"WithouFreSpacExt";
/// Bytes of the header; the block allocation table (BAT) follows at once.
pub(super) const SIZE: usize = 64;
/// Where `in_use` is.
pub(super) const IN_USE_AT: u64 = 44;
/// Where `flags` is.
pub(super) const FLAGS_AT: u64 = 52;
/// `in_use` of an image that a program has open for writing.
pub(super) const IN_USE: u32 = 0x746F_6E59;
/// `flags`: the image should be considered clear.
pub(super) const FLAG_EMPTY: u32 = 1;
/// Images with more clusters are refused: the check for overlaps sorts the positions of all of them (512 MiB).
const MAX_ENTRIES: u32 = 1 << 26;
const SECTOR: u64 = 512;

/// A header whose fields were checked against each other, but not against the file's length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ParallelsHeader {
    /// The map counts in clusters, not in sectors: the magic is [`MAGIC_EXT`].
    pub(super) extended: bool,
    /// `tracks` in bytes: a cluster. VirtualBox makes 63 sectors, so not always a power of two.
    pub(super) cluster: u64,
    /// `nb_bat_entries`, at most [`MAX_ENTRIES`].
    pub(super) entries: u32,
    /// `nb_sectors` in bytes: the disk's size.
    pub(super) disk_size: u64,
    /// `in_use`.
    pub(super) in_use: u32,
    /// `data_off` in bytes, but never before the end of the map.
    pub(super) data_offset: u64,
    /// `flags`.
    pub(super) flags: u32,
    /// `ext_off` in bytes: where the format extension is, if there is one.
    pub(super) extension: Option<u64>,
}

/// Whether a file begins as a Parallels image does.
pub(super) fn probe(sample: &Sample) -> bool {
    sample.starts_with(0, MAGIC) || sample.starts_with(0, MAGIC_EXT)
}

/// Whether a file begins nearly as a Parallels image does: its signature is corrupt.
pub(super) fn probe_corrupt(sample: &Sample) -> bool {
    [MAGIC, MAGIC_EXT].iter().any(|magic| {
        let same = sample.head.iter().zip(*magic).filter(|(found, expected)| found == expected).count();
        same >= magic.len() / 2
    })
}

impl ParallelsHeader {
    /// Parses the first [`SIZE`] bytes of a file.
    ///
    /// # Errors
    /// [`ParseError`] naming the field that breaks the format's rules or is not supported.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let f = Fields::new("Parallels header", bytes, 0);
        let magic = f.bytes(0, 16)?;
        let extended = magic == MAGIC_EXT;
        if !extended && magic != MAGIC {
            let expected = "WithoutFreeSpace or WithouFreSpacExt";
            return Err(ParseError::corrupt(0, "Parallels signature", expected, magic.escape_ascii()));
        }
        let version = f.u32_le(16)?;
        if version != 2 {
            return Err(ParseError::unsupported(16, "Parallels version", 2, version));
        }
        let tracks = f.u32_le(28)?;
        if tracks == 0 {
            return Err(ParseError::corrupt(28, "sectors of a Parallels cluster", "at least 1", 0));
        }
        let cluster = u64::from(tracks) * SECTOR;
        // Images of the old kind have a 32-bit size, and what follows it is not defined.
        let sectors = if extended { f.u64_le(36)? } else { u64::from(f.u32_le(36)?) };
        let disk_size = sectors.checked_mul(SECTOR).filter(|size| *size > 0 && i64::try_from(*size).is_ok());
        let disk_size = disk_size.ok_or_else(|| {
            ParseError::corrupt(36, "sectors of the Parallels disk", "1 to 2^54 - 1 sectors", sectors)
        })?;
        let entries = f.u32_le(32)?;
        if entries > MAX_ENTRIES {
            let expected = format_args!("at most {MAX_ENTRIES}");
            return Err(ParseError::unsupported(32, "number of Parallels BAT entries", expected, entries));
        }
        let needed = disk_size.div_ceil(cluster);
        if u64::from(entries) < needed {
            let expected = format_args!("at least {needed} for {disk_size} bytes");
            return Err(ParseError::corrupt(32, "number of Parallels BAT entries", expected, entries));
        }
        let extension = f.u64_le(56)?;
        let extension = extension.checked_mul(SECTOR).ok_or_else(|| {
            ParseError::corrupt(56, "offset of the Parallels format extension", "below 2^55", extension)
        })?;
        let header = Self {
            extended,
            cluster,
            entries,
            disk_size,
            in_use: f.u32_le(usize_of(IN_USE_AT))?,
            data_offset: u64::from(f.u32_le(48)?) * SECTOR,
            flags: f.u32_le(usize_of(FLAGS_AT))?,
            extension: Some(extension).filter(|at| *at > 0),
        };
        Ok(Self { data_offset: header.data_offset.max(header.map_end()), ..header })
    }

    /// Where the map has the entry of a cluster.
    pub(super) fn entry_at(&self, cluster: u64) -> u64 {
        SIZE as u64 + 4 * cluster
    }

    /// The first byte after the map.
    pub(super) fn map_end(&self) -> u64 {
        self.entry_at(u64::from(self.entries))
    }

    /// Bytes that one step of a map entry means.
    pub(super) fn entry_unit(&self) -> u64 {
        if self.extended { self.cluster } else { SECTOR }
    }

    /// Bytes of the disk that a cluster holds: the last one may be cut by the disk's end.
    pub(super) fn bytes_of_cluster(&self, cluster: u64) -> u64 {
        self.disk_size.saturating_sub(cluster.saturating_mul(self.cluster)).min(self.cluster)
    }

    /// Whether the image was not closed by the last program that wrote to it.
    pub(super) fn is_in_use(&self) -> bool {
        self.in_use == IN_USE
    }
}

/// Offsets in the header fit.
fn usize_of(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use crate::image::{OpenOptions, open::open_file, parallels::testing::Build};
    use crate::storage::testing::MemFile;

    /// A `.hdd` file without signature is a flat image, and what was read of a corrupt one would not be the disk.
    #[test]
    fn a_corrupt_signature_is_not_taken_for_a_flat_image() {
        for extended in [false, true] {
            let build = Build { extended, ..Build::default() };
            for corrupt in (0..16).map(|at| at..at + 1).chain([0..8, 8..16]) {
                let mut bytes = build.bytes();
                bytes[corrupt].fill(0);
                let error = open_file(MemFile::new("/t/a.hdd", bytes), OpenOptions::default()).err().unwrap();
                let text = error.to_string();
                assert!(text.contains("Parallels signature at offset 0 (0x0): expected WithoutFreeSpace"), "{text}");
            }
        }
        let flat = open_file(MemFile::new("/t/a.hdd", vec![b'W'; 1024]), OpenOptions::default());
        assert_eq!(flat.unwrap().info().size, 1024);
    }
}
