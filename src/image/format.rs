//! The names of the formats.

use std::fmt;

/// A file format of disk images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub(crate) enum Format {
    /// VirtualBox's own.
    Vdi,
    /// VMware's.
    Vmdk,
    /// Microsoft's Virtual PC and Hyper-V, first generation.
    Vhd,
    /// Hyper-V, second generation.
    Vhdx,
    /// Parallels' `.hdd`.
    Parallels,
    /// QEMU's copy-on-write, versions 1 to 3.
    Qcow,
    /// QEMU's enhanced disk.
    Qed,
    /// Apple's UDIF.
    Dmg,
    /// CD images described by a cue sheet.
    Cue,
    /// ISO 9660 or UDF content: an optical disk.
    Iso,
    /// The disk's bytes as they are.
    Raw,
}

impl Format {
    /// The format's name as VirtualBox writes it in its settings files and listings.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vdi => "VDI",
            Self::Vmdk => "VMDK",
            Self::Vhd => "VHD",
            Self::Vhdx => "VHDX",
            Self::Parallels => "Parallels",
            Self::Qcow => "QCOW",
            Self::Qed => "QED",
            Self::Dmg => "DMG",
            Self::Cue => "CUE",
            Self::Iso => "ISO",
            Self::Raw => "RAW",
        }
    }

    /// Whether images of the format can hold internal snapshots.
    #[must_use]
    pub(crate) fn has_snapshots(self) -> bool {
        matches!(self, Self::Qcow | Self::Parallels)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How an image stores its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub(crate) enum Variant {
    /// Blocks are added when first written.
    Dynamic,
    /// All space is there from the start.
    Fixed,
    /// Only what differs from the parent.
    Differencing,
    /// Compressed for transport; written once.
    Stream,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Dynamic => "dynamic",
            Self::Fixed => "fixed",
            Self::Differencing => "differencing",
            Self::Stream => "stream-optimized",
        })
    }
}
