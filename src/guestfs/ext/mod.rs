//! ext2, ext3 and ext4.
//!
//! A file system that was not cleanly unmounted is read through its journal, which is replayed in memory:
//! every block is taken from its newest copy.

mod directory;
mod group;
mod inode;
mod journal;
mod map;
mod superblock;
mod view;
mod xattr;

use super::gaps::Gaps;
use super::names::Names;
use super::{Attributes, Entry, Error, Facts, FileExtent, FileRun, GuestFs, Node, NodeKind, Result, shortage};
use crate::disk::Disk;
use crate::ondisk::ParseError;
use inode::{BLOCK_BYTES, Inode, flags};
use journal::{Area, Replay};
use quick_cache::sync::Cache;
use std::ops::ControlFlow;
use std::sync::Arc;
use superblock::Superblock;
use view::View;

/// The name of all versions in messages.
const TYPE: &str = "ext";
const ROOT: u64 = 2;
const BLOCKS_CACHED: usize = 4096;
const NODES_CACHED: usize = 1024;
const INODES_CACHED: usize = 16 << 10;
/// The longest target of a symbolic link.
const MAX_LINK: u64 = 4096;

/// An opened file system.
pub(crate) struct Ext {
    volume: Arc<dyn Disk>,
    sb: Superblock,
    replay: Replay,
    /// What fast commits changed.
    view: View,
    facts: Facts,
    blocks: Cache<u64, Arc<[u8]>>,
    /// Nodes of extent trees by inode and block.
    nodes: Cache<(u32, u64), Arc<[u8]>>,
    inodes: Cache<u32, Arc<Inode>>,
    directories: Names,
    gaps: Gaps,
}

/// Whether a volume begins like one of these file systems; `head` is its first 2 KiB at least.
#[must_use]
pub(crate) fn probe(head: &[u8]) -> bool {
    head.get(1024 + 0x38..).is_some_and(|rest| rest.starts_with(&[0x53, 0xEF]))
}

/// Which version a superblock is of, for a volume that [`probe`] knows; `head` is its first 2 KiB at least.
#[must_use]
pub(crate) fn type_name(head: &[u8]) -> &'static str {
    let word =
        |at: usize| head.get(1024 + at..).and_then(|rest| rest.first_chunk()).map_or(0, |raw| u32::from_le_bytes(*raw));
    superblock::type_name(word(0x5C), word(0x60))
}

/// CRC-32C as the kernel's `ext4_chksum`: neither turned over before nor after.
fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

fn same_checksum(what: &str, at: u64, found: u32, stated: u32) -> Result<()> {
    if found == stated {
        return Ok(());
    }
    Err(ParseError::corrupt(at, what, format_args!("{found:#010x}"), format_args!("{stated:#010x}")).into())
}

impl Ext {
    /// Opens the file system of a volume.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Unsupported`]; disk errors.
    pub(crate) fn open(volume: Arc<dyn Disk>) -> Result<Self> {
        let mut bytes = vec![0; superblock::SIZE];
        volume.read_at(superblock::AT, &mut bytes)?;
        let mut sb = Superblock::parse(&bytes)?;
        let with = |sb, replay, view| Self::with(volume.clone(), sb, replay, view);
        let mut ext = with(sb.clone(), Replay::default(), View::default());
        let short = shortage(ext.byte_of(sb.blocks), ext.volume.size());
        let replay = sb.journal_inode.filter(|_| sb.needs_recovery).map(|journal| ext.replay(&*ext.inode(journal)?));
        let mut notes = Vec::new();
        if let (Some(Err(Error::Corrupt(cause))), Some(_)) = (&replay, &short) {
            notes.push(format!(
                "It was not cleanly unmounted and its journal cannot be replayed ({cause}): recent changes may be missing"
            ));
        } else if let Some(replay) = replay {
            let mut replay = replay?;
            let changes = std::mem::take(&mut replay.area.changes);
            // The superblock may be one of the blocks.
            ext = with(sb.clone(), replay, View::default());
            let block = u64::from(sb.first_data_block == 1);
            let start = if block == 1 { 0 } else { 1024 };
            let newest = ext.block(block, "superblock")?;
            if let Some(bytes) = newest.get(start..start + superblock::SIZE) {
                sb = Superblock::parse(bytes)?;
                ext = with(sb.clone(), ext.replay, View::default());
            }
            let view = match ext.view(changes) {
                Err(Error::Corrupt(cause)) => {
                    ext.replay.area.cause = Some(cause);
                    View::default()
                }
                view => view?,
            };
            notes.push(recovery_note(&ext.replay));
            ext = with(sb.clone(), ext.replay, view);
        } else if sb.needs_recovery {
            notes.push(
                "It was not cleanly unmounted and its journal is elsewhere: recent changes may be missing".to_owned(),
            );
        } else if !sb.clean && sb.journal_inode.is_none() {
            notes.push("It was not cleanly unmounted and has no journal: it may be inconsistent".to_owned());
        }
        notes.extend(ext.note_of_groups());
        if ext.sb.has_errors {
            notes.push("The guest found errors in it; check it from within the guest".to_owned());
        }
        notes.extend(short);
        ext.facts.notes = notes;
        Ok(ext)
    }

    fn with(volume: Arc<dyn Disk>, sb: Superblock, replay: Replay, view: View) -> Self {
        let facts = Facts {
            type_name: sb.type_name,
            label: sb.label.clone(),
            uuid: sb.uuid.to_string(),
            has_owners: true,
            block_size: sb.block_size,
            blocks: sb.blocks.saturating_sub(sb.overhead).max(sb.free_blocks),
            free_blocks: sb.free_blocks,
            files: u64::from(sb.inodes),
            free_files: u64::from(sb.free_inodes),
            name_max: 255,
            notes: Vec::new(),
        };
        Self {
            volume,
            sb,
            replay,
            view,
            facts,
            blocks: Cache::new(BLOCKS_CACHED),
            nodes: Cache::new(NODES_CACHED),
            inodes: Cache::new(INODES_CACHED),
            directories: Names::new(),
            gaps: Gaps::new(TYPE),
        }
    }

    fn byte_of(&self, block: u64) -> u64 {
        block.saturating_mul(u64::from(self.sb.block_size))
    }

    /// A block as it is on the volume.
    fn raw_block(&self, block: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.sb.block_size).unwrap_or(0)];
        self.volume.read_at(self.byte_of(block), &mut bytes)?;
        Ok(bytes)
    }

    /// The newest content of a block.
    fn newest(&self, block: u64) -> Result<Vec<u8>> {
        let Some(copy) = self.replay.copies.get(&block) else { return self.raw_block(block) };
        let mut bytes = self.raw_block(copy.block)?;
        if copy.escaped {
            bytes[..4].copy_from_slice(&0xC03B_3998_u32.to_be_bytes());
        }
        Ok(bytes)
    }

    /// The newest content of a block of metadata; `what` names it for an error.
    fn block(&self, block: u64, what: &str) -> Result<Arc<[u8]>> {
        if let Some(bytes) = self.blocks.get(&block) {
            return Ok(bytes);
        }
        if block >= self.sb.blocks {
            return Err(ParseError::corrupt(0, what, format_args!("a block below {}", self.sb.blocks), block).into());
        }
        let bytes: Arc<[u8]> = self.newest(block)?.into();
        self.blocks.insert(block, bytes.clone());
        Ok(bytes)
    }

    fn inode(&self, number: u32) -> Result<Arc<Inode>> {
        if let Some(inode) = self.inodes.get(&number) {
            return Ok(inode);
        }
        let inode = match self.view.inode(number) {
            Some(raw) => self.changed_inode(number, raw)?,
            None => {
                let (at, raw) = self.raw_inode(number)?;
                Inode::parse(&raw, at, number, &self.sb)?
            }
        };
        let inode = Arc::new(inode);
        self.inodes.insert(number, inode.clone());
        Ok(inode)
    }

    /// An inode whose bytes are `raw` and not those on the volume.
    fn changed_inode(&self, number: u32, raw: &[u8]) -> Result<Inode> {
        let (block, start) = self.inode_position(number)?;
        Inode::parse_changed(raw, self.byte_of(block) + start as u64, number, &self.sb).map_err(Error::from)
    }

    /// The block that an inode is in, and where in it.
    fn inode_position(&self, number: u32) -> Result<(u64, usize)> {
        if number == 0 || number > self.sb.inodes {
            return Err(ParseError::corrupt(0, "inode number", format_args!("1 to {}", self.sb.inodes), number).into());
        }
        let index = u64::from(number - 1);
        let group = index / u64::from(self.sb.inodes_per_group);
        if group >= self.sb.groups() {
            let expected = format!("one of {} groups", self.sb.groups());
            return Err(ParseError::corrupt(0, format!("group of inode {number}"), expected, group).into());
        }
        let table = self.inode_table(group)?;
        let byte = index % u64::from(self.sb.inodes_per_group) * u64::from(self.sb.inode_size);
        let block = table.saturating_add(byte / u64::from(self.sb.block_size));
        Ok((block, usize::try_from(byte % u64::from(self.sb.block_size)).unwrap_or(0)))
    }

    /// The bytes of an inode, and where they are on the volume.
    fn raw_inode(&self, number: u32) -> Result<(u64, Vec<u8>)> {
        let (block, start) = self.inode_position(number)?;
        let bytes = self.block(block, "inode table")?;
        let raw = bytes.get(start..start + usize::from(self.sb.inode_size)).unwrap_or_default();
        Ok((self.byte_of(block) + start as u64, raw.to_vec()))
    }

    fn node(&self, node: Node) -> Result<Arc<Inode>> {
        self.inode(u32::try_from(node.0).unwrap_or(0))
    }

    /// Fills `buf` with the first bytes that an inode's map has, whatever kind it is.
    fn read_blocks(&self, inode: &Inode, buf: &mut [u8]) -> Result<()> {
        let size = usize::try_from(self.sb.block_size).unwrap_or(1);
        for (number, part) in (0..).zip(buf.chunks_mut(size)) {
            match self.map_metadata(inode, number)?.block {
                Some(block) => part.copy_from_slice(&self.newest(block)?[..part.len()]),
                None => part.fill(0),
            }
        }
        Ok(())
    }

    /// For how many of `count` blocks from `block` on no newer copy is in the journal; 0 when the first has one.
    fn unchanged(&self, block: u64, count: u64) -> u64 {
        if self.replay.copies.is_empty() {
            return count;
        }
        (0..count.min(8192)).take_while(|i| !self.replay.copies.contains_key(&(block + i))).count() as u64
    }
}

fn recovery_note(replay: &Replay) -> String {
    let count = replay.transactions;
    let mut note = format!("It was not cleanly unmounted; {count} transactions of its journal are replayed in memory");
    if let Some(torn) = replay.torn {
        note += &format!("; transaction {torn} is not whole and left out");
    }
    match &replay.area {
        Area { cause: Some(cause), .. } => {
            note += &format!("; its fast commits cannot be read ({cause}): the newest changes are missing");
        }
        Area { commits: 0, .. } => {}
        Area { commits, .. } => note += &format!(", and {commits} fast commits"),
    }
    note
}

impl GuestFs for Ext {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn root(&self) -> Node {
        Node(ROOT)
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        self.directories.lookup(directory, name, |each| self.read_directory(directory, 0, each))
    }

    fn attributes(&self, node: Node) -> Result<Attributes> {
        Ok(self.node(node)?.attributes)
    }

    fn read_directory(&self, directory: Node, from: u64, each: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<()> {
        self.entries(&*self.node(directory)?, from, each)
    }

    fn extent(&self, file: Node, offset: u64, len: u64) -> Result<FileRun> {
        let inode = self.node(file)?;
        inode.readable("file")?;
        if inode.has(flags::INLINE_DATA) {
            return Ok(FileRun { extent: FileExtent::Decoded, len });
        }
        let size = u64::from(self.sb.block_size);
        let mapped = self.map(&inode, offset / size)?;
        let skip = offset % size;
        let run = |extent, blocks: u64| FileRun { extent, len: (blocks.saturating_mul(size) - skip).min(len) };
        Ok(match mapped.block {
            None => run(FileExtent::Zero, mapped.count),
            Some(block) => match self.unchanged(block, mapped.count) {
                0 => run(FileExtent::Decoded, 1),
                count => run(FileExtent::Stored(self.byte_of(block) + skip), count),
            },
        })
    }

    fn decode(&self, file: Node, offset: u64, buf: &mut [u8]) -> Result<()> {
        let inode = self.node(file)?;
        let size = u64::from(self.sb.block_size);
        let (bytes, start) = if inode.has(flags::INLINE_DATA) {
            (self.inline_data(&inode)?, offset)
        } else {
            match self.map(&inode, offset / size)?.block {
                Some(block) => (self.newest(block)?, offset % size),
                None => (vec![0; usize::try_from(size).unwrap_or(0)], offset % size),
            }
        };
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let part = start.checked_add(buf.len()).and_then(|end| bytes.get(start..end));
        let part = part.ok_or_else(|| {
            let what = format!("inline data of inode {}", inode.number);
            ParseError::corrupt(0, what, format_args!("{} bytes", start.saturating_add(buf.len())), bytes.len())
        })?;
        buf.copy_from_slice(part);
        Ok(())
    }

    fn read_link(&self, link: Node) -> Result<Vec<u8>> {
        let inode = self.node(link)?;
        let size = inode.attributes.size;
        if inode.attributes.kind != NodeKind::Symlink {
            return Err(Error::NotSymlink);
        }
        inode.readable("symbolic link")?;
        if size > MAX_LINK {
            let what = format!("length of the symbolic link with inode {}", inode.number);
            return Err(ParseError::corrupt(0, what, format_args!("at most {MAX_LINK}"), size).into());
        }
        if inode.has(flags::INLINE_DATA) {
            return self.inline_data(&inode);
        }
        let mut target = vec![0; usize::try_from(size).unwrap_or(0)];
        // A target takes the place of the map when no blocks belong to the inode, whatever its flags say.
        let own = if inode.file_acl == 0 { 0 } else { self.sb.cluster_size };
        if inode.attributes.allocated <= own {
            let len = target.len();
            let short = inode.block.get(..len).filter(|_| len < BLOCK_BYTES).ok_or_else(|| {
                let what = format!("length of the symbolic link with inode {}, which has no blocks", inode.number);
                ParseError::corrupt(0, what, format_args!("below {BLOCK_BYTES}"), size)
            })?;
            target.copy_from_slice(short);
        } else {
            self.read_blocks(&inode, &mut target)?;
        }
        Ok(target)
    }

    fn xattr_names(&self, node: Node) -> Result<Vec<Vec<u8>>> {
        self.attribute_names(&*self.node(node)?)
    }

    fn xattr(&self, node: Node, name: &[u8]) -> Result<Option<Vec<u8>>> {
        self.attribute(&*self.node(node)?, name)
    }
}
