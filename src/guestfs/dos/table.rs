//! The FAT, the table that links clusters to chains: one entry for each cluster, with the index of the next one
//! (<https://academy.cba.mit.edu/classes/networking_communications/SD/FAT.pdf>, chapter 4;
//! <https://learn.microsoft.com/en-us/windows/win32/fileio/exfat-specification>, section 4).

use super::FIRST_CLUSTER;
use crate::guestfs::foreign::Blocks;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use std::sync::Arc;

/// Bytes of the table that a cursor buffers.
const WINDOW: u64 = 4096;
/// An entry of 12 bits may begin with the last byte of a window.
const OVERLAP: u64 = 2;

/// The width of the table's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::guestfs) enum Width {
    /// 12 bits, two entries in three bytes.
    Fat12,
    /// 16 bits.
    Fat16,
    /// 28 bits, and 4 reserved ones.
    Fat32,
    /// 32 bits.
    Exfat,
}

impl Width {
    /// The bits of an entry that are not reserved.
    fn mask(self) -> u32 {
        match self {
            Self::Fat12 => 0xFFF,
            Self::Fat16 => 0xFFFF,
            Self::Fat32 => 0x0FFF_FFFF,
            Self::Exfat => u32::MAX,
        }
    }

    /// The offset of a cluster's entry in the table in bytes.
    fn entry_offset(self, cluster: u32) -> u64 {
        let cluster = u64::from(cluster);
        match self {
            Self::Fat12 => cluster + cluster / 2,
            Self::Fat16 => cluster * 2,
            Self::Fat32 | Self::Exfat => cluster * 4,
        }
    }

    /// The number of entries in a table of `len` bytes.
    pub(in crate::guestfs) fn entries(self, len: u64) -> u64 {
        match self {
            Self::Fat12 => (len * 2) / 3,
            Self::Fat16 => len / 2,
            Self::Fat32 | Self::Exfat => len / 4,
        }
    }

    fn is_end(self, value: u32) -> bool {
        match self {
            Self::Exfat => value == u32::MAX,
            _ => value >= self.mask() - 7,
        }
    }

    fn is_bad(self, value: u32) -> bool {
        value == self.mask() - 8
    }
}

/// The meaning of a cluster's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::guestfs) enum Link {
    /// Another cluster follows.
    To(u32),
    /// The cluster is the last of its chain.
    End,
    /// A value that no cluster in use has.
    Broken(u32),
}

/// A table of a volume.
pub(in crate::guestfs) struct Table {
    pub(in crate::guestfs) blocks: Arc<Blocks>,
    /// Its offset on the volume in bytes.
    pub(in crate::guestfs) at: u64,
    /// Its length in bytes.
    pub(in crate::guestfs) len: u64,
    /// The width of its entries.
    pub(in crate::guestfs) width: Width,
    /// The number of clusters of the volume, all of which have an entry.
    pub(in crate::guestfs) clusters: u32,
}

impl Table {
    /// The index after that of the last cluster.
    pub(in crate::guestfs) fn end(&self) -> u32 {
        FIRST_CLUSTER.saturating_add(self.clusters)
    }

    /// Whether there is a cluster with this index.
    pub(in crate::guestfs) fn has(&self, cluster: u32) -> bool {
        (FIRST_CLUSTER..self.end()).contains(&cluster)
    }

    /// The offset of a cluster's entry on the volume in bytes.
    pub(in crate::guestfs) fn entry_offset(&self, cluster: u32) -> u64 {
        self.at.saturating_add(self.width.entry_offset(cluster))
    }

    /// A reader of entries that is fast for neighbouring clusters.
    pub(in crate::guestfs) fn cursor(&self) -> Cursor<'_> {
        Cursor { table: self, start: 0, window: Vec::new() }
    }

    /// The error for an entry with a value that no cluster in use has.
    pub(super) fn broken(&self, cluster: u32, value: u32) -> Error {
        let found = match value {
            0 => "0, a free cluster".to_owned(),
            _ if self.width.is_bad(value) => "a bad cluster".to_owned(),
            _ => format!("{value:#x}"),
        };
        let expected = format!("a cluster from {FIRST_CLUSTER} to {:#x} or the chain's end", self.end() - 1);
        Error::from(ParseError::corrupt(
            self.entry_offset(cluster),
            format!("link of cluster {cluster:#x}"),
            expected,
            found,
        ))
    }
}

/// Reads a table's entries.
pub(in crate::guestfs) struct Cursor<'a> {
    table: &'a Table,
    start: u64,
    window: Vec<u8>,
}

impl Cursor<'_> {
    /// The value of a cluster's entry without reserved bits.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the table has no such entry; any error of the disk.
    pub(in crate::guestfs) fn value(&mut self, cluster: u32) -> Result<u32> {
        let table = self.table;
        let offset = table.width.entry_offset(cluster);
        let len: usize = if matches!(table.width, Width::Fat12 | Width::Fat16) { 2 } else { 4 };
        if offset + len as u64 > table.len {
            let expected = format!("within {} bytes", table.len);
            return Err(ParseError::corrupt(table.at, "offset of a cluster's link", expected, offset).into());
        }
        let buffered = offset.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        let skip = match buffered.filter(|skip| skip + len <= self.window.len()) {
            Some(skip) => skip,
            None => {
                let start = offset - offset % WINDOW;
                let fill = (WINDOW + OVERLAP).min(table.len - start);
                self.window.resize(usize::try_from(fill).unwrap_or(0), 0);
                if let Err(e) = table.blocks.read_at(table.at.saturating_add(start), &mut self.window) {
                    self.window.clear();
                    return Err(e.into());
                }
                self.start = start;
                usize::try_from(offset % WINDOW).unwrap_or(0)
            }
        };
        let mut raw = [0; 4];
        raw[..len].copy_from_slice(&self.window[skip..skip + len]);
        let value = u32::from_le_bytes(raw);
        let in_upper_bits = table.width == Width::Fat12 && cluster % 2 == 1;
        Ok(if in_upper_bits { value >> 4 } else { value & table.width.mask() })
    }

    /// The meaning of a cluster's entry.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub(in crate::guestfs) fn link(&mut self, cluster: u32) -> Result<Link> {
        let value = self.value(cluster)?;
        Ok(match value {
            _ if self.table.has(value) => Link::To(value),
            _ if self.table.width.is_end(value) => Link::End,
            _ => Link::Broken(value),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::memory::MemoryDisk;

    pub(super) fn table(bytes: Vec<u8>, width: Width, clusters: u32) -> Table {
        let len = bytes.len() as u64;
        let blocks = Arc::new(Blocks::new(Arc::new(MemoryDisk::new(bytes))));
        Table { blocks, at: 0, len, width, clusters }
    }

    #[test]
    fn reads_12_bit_entries() {
        // 0: FF8, 1: FFF, 2: 003, 3: 004, 4: FFF, 5: FF7.
        let bytes = vec![0xF8, 0xFF, 0xFF, 0x03, 0x40, 0x00, 0xFF, 0x7F, 0xFF];
        let table = table(bytes, Width::Fat12, 4);
        let mut cursor = table.cursor();
        let links: Vec<Link> = (2..6).map(|cluster| cursor.link(cluster).unwrap()).collect();
        assert_eq!(links, [Link::To(3), Link::To(4), Link::End, Link::Broken(0xFF7)]);
        assert!(table.broken(5, 0xFF7).to_string().contains("at offset 7 "), "{}", table.broken(5, 0xFF7));
        assert!(table.broken(5, 0xFF7).to_string().contains("bad cluster"), "{}", table.broken(5, 0xFF7));
        assert!(cursor.value(6).is_err());
    }

    #[test]
    fn reads_entries_across_window_boundaries() {
        for width in [Width::Fat12, Width::Fat16, Width::Fat32] {
            let count = 12_000_u32;
            let mut bytes = vec![0; usize::try_from(width.entry_offset(count)).unwrap() + 4];
            for cluster in 0..count {
                let at = usize::try_from(width.entry_offset(cluster)).unwrap();
                // The upper 4 bits of a FAT32 entry are reserved.
                let value = (cluster % 4000 + 2) | if width == Width::Fat32 { 0xA000_0000 } else { 0 };
                let value = if width == Width::Fat12 && cluster % 2 == 1 { value << 4 } else { value };
                for (byte, bits) in bytes[at..].iter_mut().zip(value.to_le_bytes()) {
                    *byte |= bits;
                }
            }
            let table = table(bytes, width, count - 2);
            let mut cursor = table.cursor();
            for cluster in (0..count).chain((0..count).rev().step_by(7)) {
                assert_eq!(cursor.value(cluster).unwrap(), cluster % 4000 + 2, "{width:?} {cluster}");
            }
        }
    }

    #[test]
    fn end_and_bad_cluster_values_depend_on_width() {
        let entries: Vec<u8> = [0, 0, 3, 0x0FFF_FFF8, 0xFFFF_FFF8, u32::MAX, 0xFFFF_FFF7, 0, 9]
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .collect();
        let exfat = table(entries.clone(), Width::Exfat, 7);
        let mut cursor = exfat.cursor();
        let links: Vec<Link> = (2..9).map(|cluster| cursor.link(cluster).unwrap()).collect();
        let broken = Link::Broken;
        assert_eq!(
            links,
            [
                Link::To(3),
                broken(0x0FFF_FFF8),
                broken(0xFFFF_FFF8),
                Link::End,
                broken(0xFFFF_FFF7),
                broken(0),
                broken(9)
            ]
        );
        let fat32 = table(entries, Width::Fat32, 7);
        let mut cursor = fat32.cursor();
        let links: Vec<Link> = (2..9).map(|cluster| cursor.link(cluster).unwrap()).collect();
        assert_eq!(links, [Link::To(3), Link::End, Link::End, Link::End, broken(0x0FFF_FFF7), broken(0), broken(9)]);
    }
}
