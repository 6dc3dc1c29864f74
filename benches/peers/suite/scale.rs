//! How much is measured.

/// Bytes of a MiB.
pub(crate) const MIB: u64 = 1 << 20;

/// A volume of the disk, in MiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// `vfat`, `ext4`, `xfs`, `ntfs`, or `noise` without a file system.
    pub(crate) kind: &'static str,
    pub(crate) size: u64,
    /// The size of its large file.
    pub(crate) big: u64,
}

const fn part(kind: &'static str, size: u64, big: u64) -> Part {
    Part { kind, size, big }
}

/// The sizes of a measurement.
#[derive(Debug)]
pub(crate) struct Scale {
    pub(crate) name: &'static str,
    /// MiB of the disk.
    pub(crate) disk: u64,
    /// Its volumes; the first begins at 1 MiB.
    pub(crate) parts: &'static [Part],
    /// Files of the directory with many of them.
    pub(crate) files: u32,
    /// MiB read in order.
    pub(crate) sequential: u64,
    /// Reads of 4 KiB by one reader, and by each of eight.
    pub(crate) random: (u64, u64),
    /// MiB of the disks that are chains, and their depths.
    pub(crate) chain: u64,
    pub(crate) depths: &'static [u32],
    /// MiB written in order.
    pub(crate) written: u64,
    /// Writes of 4 KiB, and the MiB that they are spread over.
    pub(crate) written_random: (u64, u64),
    /// Machines of the registries.
    pub(crate) machines: &'static [u32],
    /// TiB of the huge disk, and random reads of it by each of eight readers.
    pub(crate) huge: (u64, u64),
}

/// What the committed results are of.
pub(crate) const FULL: Scale = Scale {
    name: "full",
    disk: 6144,
    parts: &[part("vfat", 64, 0), part("ext4", 3072, 1024), part("xfs", 1024, 640), part("ntfs", 1024, 640)],
    files: 10_000,
    sequential: 900,
    random: (38_400, 12_800),
    chain: 512,
    depths: &[1, 8, 32, 128],
    written: 512,
    written_random: (4096, 256),
    machines: &[10, 1000, 10_000],
    huge: (2, 12_500),
};

pub(crate) const QUICK: Scale = Scale {
    name: "quick",
    disk: 2304,
    parts: &[part("vfat", 64, 0), part("ext4", 1536, 1024), part("xfs", 320, 96), part("ntfs", 320, 192)],
    files: 10_000,
    sequential: 180,
    random: (8192, 2048),
    chain: 128,
    depths: &[1, 8, 128],
    written: 64,
    written_random: (512, 32),
    machines: &[10, 1000],
    huge: (2, 2000),
};

pub(crate) const TINY: Scale = Scale {
    name: "tiny",
    disk: 24,
    parts: &[part("noise", 20, 0)],
    files: 0,
    sequential: 8,
    random: (256, 64),
    chain: 8,
    depths: &[1, 3],
    written: 4,
    written_random: (16, 4),
    machines: &[10],
    huge: (1, 16),
};
