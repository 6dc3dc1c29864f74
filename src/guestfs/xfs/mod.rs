//! XFS, versions 4 and 5.
//!
//! A file system that was not cleanly unmounted is read through its journal, which is replayed in memory:
//! metadata is taken from its newest copy. The journal never holds data of files.

mod directory;
mod inode;
mod log;
mod map;
mod replay;
mod superblock;
mod xattr;

use super::gaps::Gaps;
use super::names::Names;
use super::overlay::Overlay;
use super::{Attributes, Entry, Error, Facts, FileExtent, FileRun, GuestFs, Node, NodeKind, Result, shortage};
use crate::disk::Disk;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use inode::{Fork, Format, Inode};
use quick_cache::sync::Cache;
use std::ops::ControlFlow;
use std::sync::Arc;
use superblock::Superblock;

const TYPE: &str = "XFS";
const BLOCKS_CACHED: usize = 4096;
const NODES_CACHED: usize = 1024;
const INODES_CACHED: usize = 16 << 10;
/// The longest target of a symbolic link.
const MAX_LINK: u64 = 1024;
/// Targets of links that are too long for the inode: `XSLM`.
const LINK: Remote = Remote { name: "symbolic link", magic: 0x5853_4C4D, by_extent: true };
/// What version 5 has before a segment of a target or of an attribute's value.
const REMOTE_HEADER: usize = 56;
const REMOTE_FIELDS: HeaderFields = HeaderFields { crc: 12, block: 40, uuid: 16 };

/// An opened file system.
pub(crate) struct Xfs {
    volume: Arc<dyn Disk>,
    sb: Superblock,
    overlay: Overlay,
    facts: Facts,
    blocks: Cache<u64, Arc<Block>>,
    /// Blocks of extent trees that were checked.
    nodes: Cache<u64, Arc<Block>>,
    inodes: Cache<u64, Arc<Inode>>,
    directories: Names,
    gaps: Gaps,
}

/// A block of metadata.
#[derive(Debug, Clone)]
struct Block {
    bytes: Vec<u8>,
    /// Where on the volume it is, in bytes.
    at: u64,
    /// Whether some of it is from the journal, so that its checksum is of older bytes.
    replayed: bool,
}

/// Where a kind of block has what all blocks of version 5 have: checksum, own address in 512-byte sectors, and UUID.
struct HeaderFields {
    crc: usize,
    block: usize,
    uuid: usize,
}

/// A kind of content that a fork's blocks hold.
struct Remote {
    name: &'static str,
    /// At the start of each segment in version 5.
    magic: u32,
    /// Whether a segment is all of an extent, not one block.
    by_extent: bool,
}

/// Checks a structure at byte `at` of the volume against the CRC-32C in its field `crc`, which counts as zero.
fn same_checksum(what: &str, bytes: &[u8], at: u64, crc: usize) -> Result<(), ParseError> {
    let stated = Fields::new("checksum", bytes, at).u32_le(crc)?;
    let found = crc32c::crc32c_append(crc32c::crc32c(&bytes[..crc]), &[0; 4]);
    let found = crc32c::crc32c_append(found, &bytes[crc + 4..]);
    if found == stated {
        return Ok(());
    }
    Err(ParseError::corrupt(
        at.saturating_add(crc as u64),
        what,
        format_args!("{found:#010x}"),
        format_args!("{stated:#010x}"),
    ))
}

impl Xfs {
    /// Opens the file system of a volume.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Unsupported`]; disk errors.
    pub(crate) fn open(volume: Arc<dyn Disk>) -> Result<Self> {
        let mut bytes = vec![0; usize::try_from(volume.size().min(superblock::MAX_SIZE)).unwrap_or(0)];
        volume.read_at(0, &mut bytes)?;
        let mut sb = Superblock::parse(&bytes, true)?;
        let (overlay, note) = replay::replay(&*volume, &sb)?;
        if overlay.patch(0, &mut bytes) {
            sb = Superblock::parse(&bytes, false)?;
        }
        let mut notes: Vec<String> = note.into_iter().collect();
        if sb.needs_repair {
            notes.push("It is marked as in need of a repair; run xfs_repair within the guest".to_owned());
        }
        notes.extend(shortage(sb.blocks * u64::from(sb.block_size), volume.size()));
        Ok(Self {
            volume,
            facts: facts(&sb, notes),
            sb,
            overlay,
            blocks: Cache::new(BLOCKS_CACHED),
            nodes: Cache::new(NODES_CACHED),
            inodes: Cache::new(INODES_CACHED),
            directories: Names::new(),
            gaps: Gaps::new(TYPE),
        })
    }

    /// The newest content of a block of metadata; `block` is counted from the start of the volume.
    fn block(&self, block: u64, what: &str) -> Result<Arc<Block>> {
        if let Some(known) = self.blocks.get(&block) {
            return Ok(known);
        }
        if block >= self.sb.blocks {
            return Err(ParseError::corrupt(0, what, format_args!("a block below {}", self.sb.blocks), block).into());
        }
        let at = block * u64::from(self.sb.block_size);
        let mut bytes = vec![0; usize::try_from(self.sb.block_size).unwrap_or(0)];
        self.volume.read_at(at, &mut bytes)?;
        let replayed = self.overlay.patch(at, &mut bytes);
        let block_read = Arc::new(Block { bytes, at, replayed });
        self.blocks.insert(block, block_read.clone());
        Ok(block_read)
    }

    /// As [`block`](Self::block), for a number as metadata has them, with the group in the upper bits.
    fn block_at(&self, number: u64, what: &str) -> Result<Arc<Block>> {
        let offset = self.sb.offset_of(number, 1).ok_or_else(|| {
            ParseError::corrupt(
                0,
                format!("offset of a block of the {what}"),
                "in a group",
                format_args!("{number:#x}"),
            )
        })?;
        self.block(offset, what)
    }

    /// The block of a fork at its block number `number`.
    fn fork_block(&self, inode: &Inode, fork: &Fork, number: u64, what: &str) -> Result<Arc<Block>> {
        let offset = self.map(inode, fork, number)?.block.ok_or_else(|| {
            let what = format!("{what} of inode {}", inode.number);
            ParseError::corrupt(fork.at, what, format_args!("a block at {number}"), "a hole")
        })?;
        self.block(offset, what)
    }

    /// Checks a block of version 5 against its own header.
    fn check(&self, block: &Block, what: &str, fields: &HeaderFields) -> Result<()> {
        if !self.sb.v5 {
            return Ok(());
        }
        if !block.replayed {
            same_checksum(&format!("checksum of the {what}"), &block.bytes, block.at, fields.crc)?;
        }
        let f = Fields::new("block", &block.bytes, block.at);
        let offset = f.u64_be(fields.block)?;
        if offset != block.at / 512 {
            let what = format!("own address of the {what}");
            return Err(ParseError::corrupt(f.offset(fields.block), what, block.at / 512, offset).into());
        }
        if f.bytes(fields.uuid, 16)? != self.sb.meta_uuid {
            let what = format!("UUID of the {what}");
            return Err(ParseError::corrupt(f.offset(fields.uuid), what, "the file system's", "another").into());
        }
        Ok(())
    }

    fn inode(&self, number: u64) -> Result<Arc<Inode>> {
        if let Some(inode) = self.inodes.get(&number) {
            return Ok(inode);
        }
        let at = self
            .sb
            .inode_offset(number)
            .ok_or_else(|| ParseError::corrupt(0, "inode number", "one in a group", format_args!("{number:#x}")))?;
        let size = u64::from(self.sb.block_size);
        let block = self.block(at / size, "inodes")?;
        let start = usize::try_from(at % size).unwrap_or(0);
        let end = start + usize::try_from(self.sb.inode_size).unwrap_or(0);
        let raw = block.bytes.get(start..end).unwrap_or_default();
        let inode = Arc::new(Inode::parse(raw, at, number, &self.sb, !block.replayed)?);
        self.inodes.insert(number, inode.clone());
        Ok(inode)
    }

    /// The `len` bytes that a fork has from its block `first` on. In version 5 they are in segments with a header each:
    /// one for each block, or (`by_extent`) for each extent.
    fn remote(&self, inode: &Inode, fork: &Fork, (first, len): (u64, usize), remote: &Remote) -> Result<Vec<u8>> {
        let size = usize::try_from(self.sb.block_size).unwrap_or(1);
        let header = if self.sb.v5 { REMOTE_HEADER } else { 0 };
        let end = first.saturating_add(len.div_ceil(size - header) as u64);
        let mut all = Vec::new();
        let mut number = first;
        while all.len() < len && number < end {
            let mut chunk = Block::clone(&*self.fork_block(inode, fork, number, remote.name)?);
            let mapped = self.map(inode, fork, number)?;
            let count = if remote.by_extent { mapped.count.min(end - number) } else { 1 };
            for more in number + 1..number + count {
                let block = self.fork_block(inode, fork, more, remote.name)?;
                chunk.bytes.extend_from_slice(&block.bytes);
                chunk.replayed |= block.replayed;
            }
            if self.sb.v5 {
                self.check_remote(inode, &chunk, remote)?;
            }
            let part = chunk.bytes.get(header..).unwrap_or_default();
            all.extend_from_slice(&part[..part.len().min(len - all.len())]);
            number += count;
        }
        Ok(all)
    }

    fn check_remote(&self, inode: &Inode, chunk: &Block, remote: &Remote) -> Result<()> {
        self.check(chunk, remote.name, &REMOTE_FIELDS)?;
        let f = Fields::new(remote.name, &chunk.bytes, chunk.at);
        let header = (f.u32_be(0)?, f.u64_be(32)?);
        if header == (remote.magic, inode.number) {
            return Ok(());
        }
        let expected = format!("{:#x} of inode {}", remote.magic, inode.number);
        let found = format!("{:#x} of inode {}", header.0, header.1);
        Err(ParseError::corrupt(chunk.at, remote.name, expected, found).into())
    }
}

fn facts(sb: &Superblock, notes: Vec<String>) -> Facts {
    let log = sb.log_start.map_or(0, |_| u64::from(sb.log_blocks));
    let blocks = sb.blocks.saturating_sub(log);
    // Inodes are made as they are needed, up to a share of the space.
    let possible = sb.inodes.saturating_add(sb.free_blocks.saturating_mul(1 << sb.inode_bits));
    let limit = match sb.inode_percent {
        0 => u64::MAX,
        percent => (sb.blocks / 100).saturating_mul(percent.into()).saturating_mul(1 << sb.inode_bits),
    };
    let files = possible.min(limit.max(sb.inodes));
    Facts {
        type_name: TYPE,
        label: sb.label.clone(),
        uuid: sb.uuid.to_string(),
        has_owners: true,
        block_size: sb.block_size,
        blocks,
        free_blocks: sb.free_blocks.min(blocks),
        files,
        free_files: files.saturating_sub(sb.inodes.saturating_sub(sb.free_inodes)),
        name_max: 255,
        notes,
    }
}

impl GuestFs for Xfs {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn root(&self) -> Node {
        Node(self.sb.root)
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        self.directories.lookup(directory, name, |each| self.read_directory(directory, 0, each))
    }

    fn attributes(&self, node: Node) -> Result<Attributes> {
        Ok(self.inode(node.0)?.attributes)
    }

    fn read_directory(&self, directory: Node, from: u64, each: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<()> {
        let inode = self.inode(directory.0)?;
        self.gaps.list(directory, from, each, |each, skip| self.entries(&inode, from, each, skip))
    }

    fn extent(&self, file: Node, offset: u64, len: u64) -> Result<FileRun> {
        let inode = self.inode(file.0)?;
        if inode.attributes.kind != NodeKind::File {
            return Err(Error::NotFile);
        }
        if inode.realtime {
            let what = format!("the file with inode {} is on its realtime device", inode.number);
            return Err(Error::Unsupported(what));
        }
        let size = u64::from(self.sb.block_size);
        let mapped = self.map(&inode, &inode.data, offset / size)?;
        let skip = offset % size;
        let extent = match mapped.block {
            None => FileExtent::Zero,
            Some(block) => FileExtent::Stored(block * size + skip),
        };
        Ok(FileRun { extent, len: (mapped.count.saturating_mul(size) - skip).min(len.max(1)) })
    }

    fn read_link(&self, link: Node) -> Result<Vec<u8>> {
        let inode = self.inode(link.0)?;
        if inode.attributes.kind != NodeKind::Symlink {
            return Err(Error::NotSymlink);
        }
        let size = inode.attributes.size;
        let bad = |expected: String| {
            let what = format!("length of the symbolic link with inode {}", inode.number);
            Error::from(ParseError::corrupt(inode.data.at, what, expected, size))
        };
        let len = usize::try_from(size).ok().filter(|_| size <= MAX_LINK);
        let len = len.ok_or_else(|| bad(format!("at most {MAX_LINK}")))?;
        if inode.data.format == Format::Local {
            let target = inode.data.bytes.get(..len);
            return Ok(target.ok_or_else(|| bad(format!("at most {}", inode.data.bytes.len())))?.to_vec());
        }
        self.remote(&inode, &inode.data, (0, len), &LINK)
    }

    fn xattr_names(&self, node: Node) -> Result<Vec<Vec<u8>>> {
        self.attribute_names(&*self.inode(node.0)?)
    }

    fn xattr(&self, node: Node, name: &[u8]) -> Result<Option<Vec<u8>>> {
        self.attribute(&*self.inode(node.0)?, name)
    }
}
