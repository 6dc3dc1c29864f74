//! squashfs, version 4.0, with every compressor that it may have.
//!
//! The reader is ours: that of the crate backhand (0.25.5) decompresses all inodes and directories into memory and
//! walks the whole tree when it opens a volume, follows nested directories by recursion, reads a file only from its
//! start on, and knows no extended attributes. This one retains only bounded caches, finds any byte of a file by cached
//! sums of block sizes, and reads blocks that are not compressed straight from the disk.

mod blocks;
mod decompress;
mod directory;
mod inode;
mod metadata;
mod superblock;
mod xattr;

use super::gaps::Gaps;
use super::{Attributes, Entry, Error, Facts, FileRun, GuestFs, Node, Result, shortage};
use crate::disk::Disk;
use crate::ondisk::ParseError;
use blocks::Compressed;
use inode::{Content, Inode};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::ops::ControlFlow;
use std::sync::Arc;
use superblock::Superblock;

const TYPE: &str = "squashfs";
/// Blocks of metadata in memory, 8 KiB each.
const METADATA_CACHED: usize = 1024;
const INODES_CACHED: usize = 16 << 10;
/// Bytes of decompressed blocks of files in memory.
const DATA_CACHED: u64 = 16 << 20;

#[derive(Clone)]
struct ByLength;

impl Weighter<Compressed, Arc<[u8]>> for ByLength {
    fn weight(&self, _key: &Compressed, bytes: &Arc<[u8]>) -> u64 {
        64 + bytes.len() as u64
    }
}

/// An opened file system.
pub(crate) struct Squashfs {
    volume: Arc<dyn Disk>,
    sb: Superblock,
    facts: Facts,
    /// Users and groups by their numbers in inodes.
    ids: Vec<u32>,
    xattrs: Option<xattr::Table>,
    metadata: Cache<u64, Arc<metadata::Block>>,
    inodes: Cache<u64, Arc<Inode>>,
    data: Cache<Compressed, Arc<[u8]>, ByLength>,
    gaps: Gaps,
}

impl Squashfs {
    /// Opens the file system of a volume.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Unsupported`]; disk errors.
    pub(crate) fn open(volume: Arc<dyn Disk>) -> Result<Self> {
        let mut bytes = vec![0; superblock::SIZE.min(usize::try_from(volume.size()).unwrap_or(usize::MAX))];
        volume.read_at(0, &mut bytes)?;
        let sb = Superblock::parse(&bytes)?;
        let short = shortage(sb.bytes_used, volume.size());
        // They lie last; a file that has some reports it when they are asked for.
        let xattrs = match xattr::Table::read(&*volume, &sb) {
            Err(Error::Corrupt(_)) if short.is_some() => None,
            read => read?,
        };
        let is_short = short.is_some();
        let facts = Facts {
            type_name: TYPE,
            has_owners: true,
            block_size: sb.block_size,
            blocks: sb.bytes_used.div_ceil(sb.block_size.into()),
            files: sb.inodes.into(),
            name_max: u32::try_from(directory::NAME_MAX).unwrap_or(u32::MAX),
            notes: short.into_iter().collect(),
            ..Facts::default()
        };
        let blocks = usize::try_from(DATA_CACHED / u64::from(sb.block_size)).unwrap_or(0);
        let mut fs = Self {
            xattrs,
            volume,
            facts,
            ids: Vec::new(),
            metadata: Cache::new(METADATA_CACHED),
            inodes: Cache::new(INODES_CACHED),
            data: Cache::with_weighter(blocks, DATA_CACHED, ByLength),
            gaps: Gaps::new(TYPE),
            sb,
        };
        for index in 0..fs.sb.ids {
            let (raw, _) = match fs.table_entry(fs.sb.id_table, index.into(), 4, "owners") {
                Ok(entry) => entry,
                // Without this table no file can be read, and it lies near the end.
                Err(error) if is_short => return Err(error),
                // The files of the owners that can be read are there.
                Err(error) => {
                    fs.facts.notes.push(format!("Not all owners can be read, so that files are missing. {error}"));
                    break;
                }
            };
            fs.ids.push(u32::from_le_bytes(*raw.first_chunk().unwrap_or(&[0; 4])));
        }
        match fs.inode(fs.root())?.content {
            Content::Directory(_) => Ok(fs),
            _ => Err(ParseError::corrupt(32, "inode of the root", "a directory", "something else").into()),
        }
    }

    fn inode(&self, node: Node) -> Result<Arc<Inode>> {
        if let Some(inode) = self.inodes.get(&node.0) {
            return Ok(inode);
        }
        let inode = Arc::new(self.parse_inode(node.0)?);
        self.inodes.insert(node.0, inode.clone());
        Ok(inode)
    }
}

impl GuestFs for Squashfs {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn root(&self) -> Node {
        Node(self.sb.root)
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        self.find(directory, name)
    }

    fn attributes(&self, node: Node) -> Result<Attributes> {
        Ok(self.inode(node)?.attributes)
    }

    fn read_directory(&self, directory: Node, from: u64, each: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<()> {
        let inode = self.inode(directory)?;
        self.gaps.list(directory, from, each, |each, skip| self.entries(&inode, from, each, skip))
    }

    fn extent(&self, file: Node, offset: u64, len: u64) -> Result<FileRun> {
        self.file_run(&*self.inode(file)?, offset, len)
    }

    fn decode(&self, file: Node, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.decompress_file(&*self.inode(file)?, offset, buf)
    }

    fn read_link(&self, link: Node) -> Result<Vec<u8>> {
        match &self.inode(link)?.content {
            Content::Symlink(target) => Ok(target.clone()),
            _ => Err(Error::NotSymlink),
        }
    }

    fn xattr_names(&self, node: Node) -> Result<Vec<Vec<u8>>> {
        self.inode(node)?.xattr.map_or(Ok(Vec::new()), |number| self.attribute_names(number))
    }

    fn xattr(&self, node: Node, name: &[u8]) -> Result<Option<Vec<u8>>> {
        self.inode(node)?.xattr.map_or(Ok(None), |number| self.attribute(number, name))
    }
}
