//! btrfs on one device.
//!
//! The root is the top level of the file system, whichever subvolume the guest mounts; subvolumes and snapshots are
//! directories at their paths. Metadata and data are verified against their checksums, and a valid copy is used where
//! one is corrupt. The log, with what programs synced just before the guest stopped, is replayed in memory.

mod checksum;
mod chunk;
mod compress;
mod data;
mod directory;
mod inode;
mod log;
mod node;
mod number;
mod refs;
mod subvolume;
mod superblock;
mod tree;

use super::gaps::Gaps;
use super::{
    Attributes, DecodedFrom, Entry, Error, Facts, FileExtent, FileRun, GuestFs, Node, NodeKind, Result, shortage,
};
use crate::disk::Disk;
use crate::ondisk::ParseError;
use chunk::Chunks;
use data::{ByLength, Compressed, Content};
use inode::Inode;
use log::LoggedSums;
use node::{Key, Tree};
use number::{Location, Numbers};
use quick_cache::sync::Cache;
use std::ops::ControlFlow;
use std::sync::Arc;
use subvolume::Subvolume;
use superblock::Superblock;
use tree::Nodes;

const TYPE: &str = "btrfs";
const INODES_CACHED: usize = 16 << 10;
const SUBVOLUMES_CACHED: usize = 1024;
/// Bytes of decompressed extents that are cached.
const DECOMPRESSED_CACHED: u64 = 16 << 20;
/// The longest target of a symbolic link.
const MAX_LINK: u64 = 4096;

/// Object ids of trees and of other well-known items.
mod objectid {
    pub(super) const ROOT_TREE: u64 = 1;
    pub(super) const EXTENT_TREE: u64 = 2;
    pub(super) const CHUNK_TREE: u64 = 3;
    pub(super) const FS_TREE: u64 = 5;
    pub(super) const ROOT_TREE_DIR: u64 = 6;
    pub(super) const CSUM_TREE: u64 = 7;
    pub(super) const BLOCK_GROUP_TREE: u64 = 11;
    pub(super) const FIRST_CHUNK: u64 = 256;
    pub(super) const TREE_LOG: u64 = (-6_i64).cast_unsigned();
    pub(super) const EXTENT_CSUM: u64 = (-10_i64).cast_unsigned();
    pub(super) const FIRST_FREE: u64 = 256;
    const LAST_FREE: u64 = (-256_i64).cast_unsigned();

    /// Whether a tree is of files: the top level or a subvolume.
    pub(super) fn is_subvolume(id: u64) -> bool {
        id == FS_TREE || (FIRST_FREE..=LAST_FREE).contains(&id)
    }
}

/// Kinds of items (`type` of a key).
mod kind {
    pub(super) const INODE_ITEM: u8 = 1;
    pub(super) const INODE_REF: u8 = 12;
    pub(super) const INODE_EXTREF: u8 = 13;
    pub(super) const XATTR_ITEM: u8 = 24;
    pub(super) const DIR_LOG_INDEX: u8 = 72;
    pub(super) const DIR_ITEM: u8 = 84;
    pub(super) const DIR_INDEX: u8 = 96;
    pub(super) const EXTENT_DATA: u8 = 108;
    pub(super) const EXTENT_CSUM: u8 = 128;
    pub(super) const ROOT_ITEM: u8 = 132;
    pub(super) const ROOT_BACKREF: u8 = 144;
    pub(super) const ROOT_REF: u8 = 156;
    pub(super) const BLOCK_GROUP_ITEM: u8 = 192;
    pub(super) const CHUNK_ITEM: u8 = 228;
}

/// An opened file system.
pub(crate) struct Btrfs {
    sb: Superblock,
    nodes: Nodes,
    facts: Facts,
    root: Node,
    numbers: Numbers,
    inodes: Cache<(u64, u64), Inode>,
    /// By number; none for those that are not there.
    subvolumes: Cache<u64, Option<Subvolume>>,
    logged_sums: LoggedSums,
    decompressed: Cache<Compressed, Arc<[u8]>, ByLength>,
    gaps: Gaps,
}

/// A file whose bytes are asked for.
struct Opened {
    tree: Tree,
    number: u64,
    inode: Inode,
}

impl Btrfs {
    /// Opens the file system of a volume.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Unsupported`]; disk errors.
    pub(crate) fn open(volume: Arc<dyn Disk>) -> Result<Self> {
        let sb = superblock::find(&*volume)?;
        let mut chunks = Chunks::of_superblock(&sb)?;
        let nodes = |chunks| Nodes::new(volume.clone(), chunks, sb.checksum, sb.node_uuid, sb.node_size);
        let from = Key::new(objectid::FIRST_CHUNK, kind::CHUNK_ITEM, 0);
        nodes(chunks.clone()).items(&sb.chunk_root, from, &mut |item| {
            chunks.add(&item.fields()?, 0, item.key, &sb)?;
            Ok(ControlFlow::Continue(()))
        })?;
        let compressed = usize::try_from(DECOMPRESSED_CACHED).unwrap_or(0) / (128 << 10);
        let mut btrfs = Self {
            nodes: nodes(chunks),
            sb,
            facts: Facts::default(),
            root: Node(0),
            numbers: Numbers::new(),
            inodes: Cache::new(INODES_CACHED),
            subvolumes: Cache::new(SUBVOLUMES_CACHED),
            logged_sums: LoggedSums::new(),
            decompressed: Cache::with_weighter(compressed, DECOMPRESSED_CACHED, ByLength),
            gaps: Gaps::new(TYPE),
        };
        btrfs.check_chunks()?;
        let log = btrfs.replay()?;
        let top = btrfs.subvolume(objectid::FS_TREE)?.top;
        btrfs.root = btrfs.numbers.node(Location { subvolume: objectid::FS_TREE, inode: top, absent: false })?;
        btrfs.facts = btrfs.read_facts(log);
        Ok(btrfs)
    }

    /// Refuses file systems that need other devices too.
    fn check_chunks(&self) -> Result<()> {
        for chunk in self.nodes.chunks.iter().filter(|chunk| !chunk.readable()) {
            // Making a file system of several devices leaves empty chunks behind.
            let tree = if self.sb.has_block_group_tree { objectid::BLOCK_GROUP_TREE } else { objectid::EXTENT_TREE };
            let key = Key::new(chunk.logical, kind::BLOCK_GROUP_ITEM, chunk.length);
            let used = self.subvolume(tree).and_then(|tree| self.nodes.get(&tree.tree, key)).and_then(|item| {
                item.map(|item| item.fields().and_then(|f| f.u64_le(0)).map_err(Error::from)).transpose()
            });
            if !matches!(used, Ok(Some(0))) {
                return Err(self.nodes.chunks.elsewhere(chunk));
            }
        }
        Ok(())
    }

    /// Replays the log; what the user should know of that. A log that cannot be replayed is passed over.
    fn replay(&mut self) -> Result<Option<String>> {
        let Some(logs) = self.sb.log_root else { return Ok(None) };
        let root = self.sb.root;
        let find = |nodes: &Nodes, id| Ok(subvolume::find(nodes, &root, id)?.map(|found| found.tree));
        match log::replay(&mut self.nodes, &self.sb, &logs, find) {
            Ok((_, 0)) => Ok(None),
            Ok((sums, _)) => {
                self.logged_sums = sums;
                Ok(Some("It was not cleanly unmounted; its log is replayed in memory".to_owned()))
            }
            Err(Error::Corrupt(cause)) => {
                self.nodes.overlays.clear();
                Ok(Some(format!(
                    "It was not cleanly unmounted and its log is corrupt ({cause}): recent changes may be missing"
                )))
            }
            Err(other) => Err(other),
        }
    }

    fn read_facts(&self, log: Option<String>) -> Facts {
        let sb = &self.sb;
        let mut notes: Vec<String> = log.into_iter().collect();
        if sb.at != superblock::OFFSETS[0] {
            notes.push(format!("Its superblock is corrupt; the copy at offset {} is used", sb.at));
        }
        if sb.num_devices > 1 {
            let others = sb.num_devices - 1;
            notes.push(format!(
                "It is on {} devices with the same content, of which this is one; changes that only the other {others} \
                 got are missing",
                sb.num_devices
            ));
        }
        if sb.has_errors {
            notes.push("The guest found errors in it; check it from within the guest".to_owned());
        }
        notes.extend(shortage(sb.device_size, self.nodes.volume.size()));
        // Corruption there is reported by reading the directories.
        let default = self.default_subvolume().and_then(|id| id.map_or(Ok(None), |id| self.subvolume_path(id)));
        if let Ok(Some(path)) = default {
            notes.push(format!("The guest mounts its directory {path} unless its mount options say otherwise"));
        }
        let blocks = sb.total_bytes / u64::from(sb.sector_size);
        Facts {
            type_name: TYPE,
            label: sb.label.clone(),
            uuid: sb.uuid.to_string(),
            has_owners: true,
            block_size: sb.sector_size,
            blocks,
            free_blocks: sb.total_bytes.saturating_sub(sb.bytes_used) / u64::from(sb.sector_size),
            files: 0,
            free_files: 0,
            name_max: u32::try_from(directory::NAME_MAX).unwrap_or(0),
            notes,
        }
    }

    fn location(&self, node: Node) -> Result<Location> {
        let location = self.numbers.location(node);
        location.ok_or_else(|| Error::from(ParseError::corrupt(0, "number of a node", "one that was given", node.0)))
    }

    /// The inode at a location; for a subvolume that is not there, that of the directory that names it.
    fn inode(&self, location: Location) -> Result<Inode> {
        let known = (location.subvolume, location.inode);
        if let Some(inode) = self.inodes.get(&known) {
            return Ok(inode);
        }
        let tree = self.subvolume(location.subvolume)?.tree;
        let item = self.nodes.get(&tree, Key::new(location.inode, kind::INODE_ITEM, 0))?.ok_or_else(|| {
            let what = format!("inode {} of subvolume {}", location.inode, location.subvolume);
            ParseError::corrupt(0, what, "an INODE_ITEM", "none")
        })?;
        let inode = item.fields().and_then(|f| Inode::parse(&f, location.inode))?;
        self.inodes.insert(known, inode);
        Ok(inode)
    }

    /// The node as one of this kind; `error` when it is of another.
    fn opened(&self, node: Node, kind: NodeKind, error: Error) -> Result<Opened> {
        let location = self.location(node)?;
        let inode = self.inode(location)?;
        if location.absent || inode.attributes.kind != kind {
            return Err(error);
        }
        Ok(Opened { tree: self.subvolume(location.subvolume)?.tree, number: location.inode, inode })
    }
}

impl GuestFs for Btrfs {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn root(&self) -> Node {
        self.root
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        self.find(directory, name)
    }

    fn attributes(&self, node: Node) -> Result<Attributes> {
        let location = self.location(node)?;
        let attributes = self.inode(location)?.attributes;
        if location.absent {
            return Ok(Attributes { mode: 0o755, links: 1, size: 0, allocated: 0, ..attributes });
        }
        Ok(attributes)
    }

    fn read_directory(&self, directory: Node, from: u64, each: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<()> {
        self.gaps.list(directory, from, each, |each, skip| self.entries(directory, from, each, skip))
    }

    fn extent(&self, file: Node, offset: u64, len: u64) -> Result<FileRun> {
        let file = self.opened(file, NodeKind::File, Error::NotFile)?;
        let segment = self.segment(&file.tree, file.number, offset)?;
        let len = (segment.end - offset).min(len.max(1));
        let extent = match segment.content {
            Content::Zero => FileExtent::Zero,
            Content::Plain(logical) if !file.inode.has_sums => {
                let at = logical.saturating_add(offset - segment.start);
                FileExtent::Stored(self.nodes.chunks.copies(at, len)?.next().unwrap_or(u64::MAX))
            }
            Content::Plain(_) | Content::Inline(..) | Content::Compressed(..) => FileExtent::Decoded,
        };
        Ok(FileRun { extent, len })
    }

    fn decode(&self, file: Node, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.fill(&self.opened(file, NodeKind::File, Error::NotFile)?, offset, buf)
    }

    fn decoded_from(&self, file: Node, offset: u64, len: u64) -> Option<DecodedFrom> {
        let file = self.opened(file, NodeKind::File, Error::NotFile).ok()?;
        self.made_of(&file, offset, len)
    }

    fn read_link(&self, link: Node) -> Result<Vec<u8>> {
        let link = self.opened(link, NodeKind::Symlink, Error::NotSymlink)?;
        let size = link.inode.attributes.size;
        if size > MAX_LINK {
            let what = format!("length of the symbolic link with inode {}", link.number);
            return Err(ParseError::corrupt(0, what, format_args!("at most {MAX_LINK}"), size).into());
        }
        let mut target = vec![0; usize::try_from(size).unwrap_or(0)];
        self.fill(&link, 0, &mut target)?;
        Ok(target)
    }

    fn xattr_names(&self, node: Node) -> Result<Vec<Vec<u8>>> {
        self.attribute_names(self.location(node)?)
    }

    fn xattr(&self, node: Node, name: &[u8]) -> Result<Option<Vec<u8>>> {
        self.attribute(self.location(node)?, name)
    }
}
