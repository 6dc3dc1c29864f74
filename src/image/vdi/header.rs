//! The VDI header. Field names and offsets are those of VirtualBox's `src/VBox/Storage/VDICore.h`
//! (<https://www.virtualbox.org/browser/vbox/trunk/src/VBox/Storage/VDICore.h>); all numbers are little-endian.

use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use uuid::Uuid;

/// `VDI_IMAGE_SIGNATURE`, at offset 64 (0x40).
pub(crate) const SIGNATURE: u32 = 0xBEDA_107F;
/// Where the signature is; 64 bytes of free text go before it.
pub(crate) const SIGNATURE_AT: usize = 64;
/// Bytes that hold every header version.
pub(crate) const MAX_HEADER: usize = 512;
/// A map entry whose block was never written: ask the parent, or zeros (`VDI_IMAGE_BLOCK_FREE`).
pub(crate) const BLOCK_FREE: u32 = 0xFFFF_FFFF;
/// A map entry whose block is all zeros, whatever the parent has (`VDI_IMAGE_BLOCK_ZERO`).
pub(crate) const BLOCK_ZERO: u32 = 0xFFFF_FFFE;
/// Disks with more blocks are refused: the check for doubly used blocks keeps a bit for each (32 MiB).
pub(crate) const MAX_BLOCKS: u32 = 1 << 28;

/// `enmType`, at 76 (0x4C) in version 1 and 72 in version 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `VDI_IMAGE_TYPE_NORMAL`: grows.
    Normal,
    /// `VDI_IMAGE_TYPE_FIXED`: all blocks are there.
    Fixed,
    /// `VDI_IMAGE_TYPE_UNDO` and `VDI_IMAGE_TYPE_DIFF`: holds what differs from a parent.
    Diff,
}

/// A header whose fields were checked against each other, but not against the file's length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VdiHeader {
    /// `u32Version`: major in the upper half, minor in the lower.
    pub version: u32,
    /// How blocks are allocated.
    pub kind: Kind,
    /// `szComment`, UTF-8.
    pub comment: String,
    /// `offBlocks`: where the block map begins, in bytes.
    pub blocks_offset: u64,
    /// `offData`: where the first block begins, in bytes.
    pub data_offset: u64,
    /// `cbDisk`: the disk's size in bytes, rounded down to whole sectors of 512 bytes as VirtualBox does.
    pub disk_size: u64,
    /// `cbBlock`: a power of two, at least 512 bytes.
    pub block_size: u32,
    /// `cbBlockExtra`: bytes before each block's data in the file; 0 or a power of two.
    pub block_extra: u32,
    /// `cBlocks`: entries of the map, at most [`MAX_BLOCKS`].
    pub blocks: u32,
    /// `cBlocksAllocated`: the next block goes to this index of the data area.
    pub blocks_allocated: u32,
    /// `uuidCreate`; nil where a program left it out.
    pub uuid_create: Uuid,
    /// `uuidModify`.
    pub uuid_modify: Uuid,
    /// `uuidLinkage`: the parent's `uuidCreate`.
    pub uuid_linkage: Uuid,
    /// `uuidParentModify`: the parent's `uuidModify` when this image was made; nil in version 0.
    pub uuid_parent_modify: Uuid,
    /// Where `cBlocksAllocated` is in the file, for writing it back.
    pub blocks_allocated_at: u64,
    /// Where `uuidModify` is in the file.
    pub uuid_modify_at: u64,
}

/// Where the fields after `u32Version` are: they moved between versions.
struct Layout {
    kind: usize,
    flags: usize,
    comment: usize,
    disk_size: usize,
    block_size: usize,
    block_extra: Option<usize>,
    blocks: usize,
    blocks_allocated: usize,
    uuid_create: usize,
    uuid_modify: usize,
    uuid_linkage: usize,
    uuid_parent_modify: Option<usize>,
}

/// `VDIHEADER0`, after the 72 bytes of the pre-header.
const VERSION_0: Layout = Layout {
    kind: 72,
    flags: 76,
    comment: 80,
    disk_size: 352,
    block_size: 360,
    block_extra: None,
    blocks: 364,
    blocks_allocated: 368,
    uuid_create: 372,
    uuid_modify: 388,
    uuid_linkage: 404,
    uuid_parent_modify: None,
};
/// Where version 0 has its map, directly after the header.
const VERSION_0_MAP: u64 = 420;

/// `VDIHEADER1` and `VDIHEADER1PLUS`, which only adds a second geometry at the end.
const VERSION_1: Layout = Layout {
    kind: 76,
    flags: 80,
    comment: 84,
    disk_size: 368,
    block_size: 376,
    block_extra: Some(380),
    blocks: 384,
    blocks_allocated: 388,
    uuid_create: 392,
    uuid_modify: 408,
    uuid_linkage: 424,
    uuid_parent_modify: Some(440),
};
/// `sizeof(VDIHEADER1)`, the least that `cbHeader` (at 72) may be.
const HEADER_1_SIZE: u32 = 384;
/// The pre-header and the smallest version 1 header.
const HEADER_1_END: u64 = 456;
/// The header says 256 bytes of comment.
const COMMENT_SIZE: usize = 256;
/// `VDI_IMAGE_FLAGS_ZERO_EXPAND`: unused blocks of a new image were written as zeros. Nothing follows for a reader.
const FLAG_ZERO_EXPAND: u32 = 1;

impl VdiHeader {
    /// Parses the first bytes of a file ([`MAX_HEADER`] are enough).
    ///
    /// # Errors
    /// [`ParseError`] naming the field that breaks the format's rules or is not supported.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let f = Fields::new("VDI header", bytes, 0);
        let signature = f.u32_le(SIGNATURE_AT)?;
        if signature != SIGNATURE {
            return Err(ParseError::corrupt(
                64,
                "VDI signature",
                format_args!("{SIGNATURE:#010x}"),
                format_args!("{signature:#010x}"),
            ));
        }
        let version = f.u32_le(68)?;
        match (version >> 16, version & 0xFFFF) {
            (0, 2) => Self::version_0(&f, version),
            (1, _) => Self::version_1(&f, version),
            (major, minor) => {
                Err(ParseError::unsupported(68, "VDI version", "0.2 or 1.x", format_args!("{major}.{minor}")))
            }
        }
    }

    fn version_0(f: &Fields<'_>, version: u32) -> Result<Self, ParseError> {
        let blocks = u64::from(f.u32_le(VERSION_0.blocks)?);
        Self::fields(f, version, &VERSION_0, VERSION_0_MAP, VERSION_0_MAP + 4 * blocks)
    }

    fn version_1(f: &Fields<'_>, version: u32) -> Result<Self, ParseError> {
        let header_size = f.u32_le(72)?;
        if header_size < HEADER_1_SIZE {
            return Err(ParseError::corrupt(
                72,
                "VDI header size",
                format_args!("at least {HEADER_1_SIZE}"),
                header_size,
            ));
        }
        let blocks_offset = u64::from(f.u32_le(340)?);
        if blocks_offset < HEADER_1_END {
            return Err(ParseError::corrupt(
                340,
                "offset of the VDI block map",
                format_args!("at least {HEADER_1_END}"),
                blocks_offset,
            ));
        }
        let data_offset = u64::from(f.u32_le(344)?);
        let map_end = blocks_offset + 4 * u64::from(f.u32_le(VERSION_1.blocks)?);
        if data_offset < map_end {
            return Err(ParseError::corrupt(
                344,
                "offset of the VDI data",
                format_args!("at least {map_end}, the end of the block map"),
                data_offset,
            ));
        }
        Self::fields(f, version, &VERSION_1, blocks_offset, data_offset)
    }

    fn fields(
        f: &Fields<'_>,
        version: u32,
        at: &Layout,
        blocks_offset: u64,
        data_offset: u64,
    ) -> Result<Self, ParseError> {
        let kind = match f.u32_le(at.kind)? {
            1 => Kind::Normal,
            2 => Kind::Fixed,
            3 | 4 => Kind::Diff,
            other => return Err(ParseError::corrupt(at.kind as u64, "VDI image type", "1 to 4", other)),
        };
        let flags = f.u32_le(at.flags)?;
        if flags & !FLAG_ZERO_EXPAND != 0 {
            return Err(ParseError::unsupported(at.flags as u64, "VDI flags", "0 or 1", format_args!("{flags:#x}")));
        }
        let disk_size = f.u64_le(at.disk_size)? & !511;
        if disk_size == 0 || i64::try_from(disk_size).is_err() {
            return Err(ParseError::corrupt(at.disk_size as u64, "VDI disk size", "512 to 2^63 bytes", disk_size));
        }
        let block_size = f.u32_le(at.block_size)?;
        if !block_size.is_power_of_two() || block_size < 512 {
            return Err(ParseError::corrupt(
                at.block_size as u64,
                "VDI block size",
                "a power of two from 512 bytes on",
                block_size,
            ));
        }
        let block_extra = at.block_extra.map_or(Ok(0), |at| f.u32_le(at))?;
        if block_extra != 0 && !block_extra.is_power_of_two() {
            let at = at.block_extra.unwrap_or_default() as u64;
            return Err(ParseError::corrupt(at, "VDI extra bytes per block", "0 or a power of two", block_extra));
        }
        let blocks = f.u32_le(at.blocks)?;
        let needed = disk_size.div_ceil(u64::from(block_size));
        if u64::from(blocks) < needed {
            return Err(ParseError::corrupt(
                at.blocks as u64,
                "number of VDI blocks",
                format_args!("at least {needed} for {disk_size} bytes"),
                blocks,
            ));
        }
        if blocks > MAX_BLOCKS {
            return Err(ParseError::unsupported(
                at.blocks as u64,
                "number of VDI blocks",
                format_args!("at most {MAX_BLOCKS}"),
                blocks,
            ));
        }
        let blocks_allocated = f.u32_le(at.blocks_allocated)?;
        if blocks_allocated > blocks {
            return Err(ParseError::corrupt(
                at.blocks_allocated as u64,
                "number of allocated VDI blocks",
                format_args!("at most {blocks}, the number of blocks"),
                blocks_allocated,
            ));
        }
        let uuid_linkage = f.uuid_le(at.uuid_linkage)?;
        if kind == Kind::Diff && uuid_linkage.is_nil() {
            return Err(ParseError::corrupt(
                at.uuid_linkage as u64,
                "parent UUID of a differencing VDI",
                "a UUID",
                "the nil UUID",
            ));
        }
        Ok(Self {
            version,
            kind,
            comment: f.text(at.comment, COMMENT_SIZE)?,
            blocks_offset,
            data_offset,
            disk_size,
            block_size,
            block_extra,
            blocks,
            blocks_allocated,
            uuid_create: f.uuid_le(at.uuid_create)?,
            uuid_modify: f.uuid_le(at.uuid_modify)?,
            uuid_linkage,
            uuid_parent_modify: at.uuid_parent_modify.map_or(Ok(Uuid::nil()), |at| f.uuid_le(at))?,
            blocks_allocated_at: at.blocks_allocated as u64,
            uuid_modify_at: at.uuid_modify as u64,
        })
    }

    /// Bytes that a block takes in the file.
    #[must_use]
    pub(crate) fn stride(&self) -> u64 {
        u64::from(self.block_size) + u64::from(self.block_extra)
    }

    /// Where the block with an index of the data area begins in the file: its extra bytes, then its data.
    #[must_use]
    pub(crate) fn block_at(&self, index: u32) -> u64 {
        self.data_offset + u64::from(index) * self.stride()
    }

    /// Where the data of the block with an index of the data area begins in the file. The index is below
    /// [`MAX_BLOCKS`], so this cannot overflow.
    #[must_use]
    pub(crate) fn data_at(&self, index: u32) -> u64 {
        self.block_at(index) + u64::from(self.block_extra)
    }

    /// Where the map has the entry of a block.
    #[must_use]
    pub(crate) fn entry_at(&self, block: u64) -> u64 {
        self.blocks_offset + 4 * block
    }

    /// Bytes of the disk that a block holds: fewer for the last one where the disk ends within it, none for blocks
    /// past the disk's end.
    #[must_use]
    pub(crate) fn bytes_of_block(&self, block: u64) -> u64 {
        let size = u64::from(self.block_size);
        self.disk_size.saturating_sub(block * size).min(size)
    }
}
