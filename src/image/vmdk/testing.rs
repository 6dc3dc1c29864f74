//! Hosted sparse extents built byte by byte, for tests.

use super::header::MAGIC;

/// An entry of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Absent,
    /// The number 1, which means zeros where the flags allow it.
    One,
    /// A grain of [`Build::data`], by its index there.
    Data(u32),
}
use Entry::{Absent, Data};

/// What a test image should be. Its grain tables are all there, in order, and grains follow them.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    pub(crate) version: u32,
    pub(crate) flags: u32,
    /// Sectors of the disk.
    pub(crate) capacity: u64,
    /// Sectors of a grain.
    pub(crate) grain: u64,
    pub(crate) table_entries: u32,
    pub(crate) descriptor: String,
    pub(crate) map: Vec<Entry>,
    /// The grains, each filled with one byte.
    pub(crate) data: Vec<u8>,
    pub(crate) unclean: bool,
}

/// Sectors of the embedded descriptor.
const DESCRIPTOR_SECTORS: usize = 3;

impl Default for Build {
    fn default() -> Self {
        Self {
            version: 1,
            flags: 3,
            capacity: 6 * 8,
            grain: 8,
            table_entries: 4,
            descriptor: descriptor("RW 48 SPARSE \"a.vmdk\""),
            map: vec![Data(0), Data(1), Absent, Absent, Data(2), Absent],
            data: vec![11, 22, 33],
            unclean: false,
        }
    }
}

/// A descriptor as VirtualBox writes it, with these extents.
pub(crate) fn descriptor(extents: &str) -> String {
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"custom\"\n\n\
         # Extent description\n{extents}\n\n# The disk Data Base \n#DDB\n\nddb.virtualHWVersion = \"4\"\n\
         ddb.uuid.image=\"00000000-0000-0000-0000-000000000001\"\n\
         ddb.uuid.parent=\"00000000-0000-0000-0000-000000000000\"\n\
         ddb.uuid.modification=\"00000000-0000-0000-0000-000000000002\"\n\
         ddb.uuid.parentmodification=\"00000000-0000-0000-0000-000000000000\"\n\
         ddb.longContentID = \"000102030405060708090a0b12345678\"\n"
    )
}

impl Build {
    /// A difference of VirtualBox's kind.
    pub(crate) fn difference(mut self) -> Self {
        let uuid = |number: u32| format!("00000000-0000-0000-0000-{number:012}");
        self.descriptor =
            self.descriptor.replace(&format!("parent=\"{}\"", uuid(0)), &format!("parent=\"{}\"", uuid(7)));
        self.descriptor = self
            .descriptor
            .replace(&format!("parentmodification=\"{}\"", uuid(0)), &format!("parentmodification=\"{}\"", uuid(8)));
        self
    }

    pub(crate) fn tables(&self) -> usize {
        usize::try_from(self.capacity.div_ceil(self.grain * u64::from(self.table_entries))).unwrap()
    }

    fn table_sectors(&self) -> usize {
        (4 * self.table_entries as usize).div_ceil(512)
    }

    fn directory_sectors(&self) -> usize {
        (4 * self.tables()).div_ceil(512)
    }

    /// Where the redundant grain directory begins, in bytes.
    pub(crate) fn redundant_directory(&self) -> usize {
        512 * (1 + DESCRIPTOR_SECTORS)
    }

    /// Where a redundant grain table begins, in bytes.
    pub(crate) fn redundant_table(&self, table: usize) -> usize {
        self.redundant_directory() + 512 * (self.directory_sectors() + table * self.table_sectors())
    }

    /// Where the grain directory begins, in bytes.
    pub(crate) fn directory(&self) -> usize {
        self.redundant_table(self.tables())
    }

    /// Where a grain table begins, in bytes.
    pub(crate) fn table(&self, table: usize) -> usize {
        self.directory() + 512 * (self.directory_sectors() + table * self.table_sectors())
    }

    /// Where the entry of a grain is, in bytes.
    pub(crate) fn entry(&self, grain: usize) -> usize {
        let entries = self.table_entries as usize;
        self.table(grain / entries) + 4 * (grain % entries)
    }

    /// Where a grain of the data begins, in bytes.
    pub(crate) fn data_at(&self, index: u32) -> usize {
        let grain = usize::try_from(self.grain * 512).unwrap();
        self.table(self.tables()).next_multiple_of(grain) + grain * index as usize
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; self.data_at(0)];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        let sectors = |at: usize| (at as u64 / 512).to_le_bytes();
        put(0, MAGIC);
        put(4, &self.version.to_le_bytes());
        put(8, &self.flags.to_le_bytes());
        put(12, &self.capacity.to_le_bytes());
        put(20, &self.grain.to_le_bytes());
        if !self.descriptor.is_empty() {
            assert!(self.descriptor.len() < 512 * DESCRIPTOR_SECTORS);
            put(28, &1_u64.to_le_bytes());
            put(36, &(DESCRIPTOR_SECTORS as u64).to_le_bytes());
            put(512, self.descriptor.as_bytes());
        }
        put(44, &self.table_entries.to_le_bytes());
        put(48, &sectors(self.redundant_directory()));
        put(56, &sectors(self.directory()));
        put(64, &sectors(self.data_at(0)));
        put(72, &[u8::from(self.unclean)]);
        put(73, b"\n \r\n");
        for table in 0..self.tables() {
            put(self.redundant_directory() + 4 * table, &sectors(self.redundant_table(table))[..4]);
            put(self.directory() + 4 * table, &sectors(self.table(table))[..4]);
        }
        for (grain, entry) in self.map.iter().enumerate() {
            let raw = match entry {
                Absent => 0,
                Entry::One => 1,
                Data(index) => u32::try_from(self.data_at(*index) / 512).unwrap(),
            };
            put(self.entry(grain), &raw.to_le_bytes());
            put(self.entry(grain) + self.redundant_directory() - self.directory(), &raw.to_le_bytes());
        }
        for fill in &self.data {
            out.extend(vec![*fill; usize::try_from(512 * self.grain).unwrap()]);
        }
        out
    }
}
