//! UDF, revisions 1.02 to 2.60 (<http://www.osta.org/specs/pdf/udf260.pdf>), a profile of ECMA-167.
//!
//! A node is the address of a file entry: the partition in the upper 32 bits, the block in the lower ones.

mod directory;
mod entry;
mod extents;
mod partition;
mod tag;
mod text;
mod volume;

use super::gaps::Gaps;
use super::names::Names;
use super::{Attributes, Entry, Error, Facts, FileExtent, FileRun, GuestFs, Node, NodeKind, Result, foreign, shortage};
use crate::disk::Disk;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use entry::{FileEntry, Form};
use extents::Extent;
use partition::Blocks;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::ops::ControlFlow;
use std::sync::Arc;
use tag::{Expected, id};
use volume::Volume;

pub(crate) use volume::probe;

const TYPE: &str = "UDF";
/// Cached bytes of file entries and extents, and the expected number of files.
const CACHE: u64 = 16 << 20;
const FILES_CACHED: usize = 16 << 10;
/// The most bytes in the components of a symbolic link.
const MAX_LINK: u64 = 64 << 10;
/// The longest target in bytes; the kernel has the same limit.
const MAX_TARGET: usize = 4095;

/// An opened file system.
pub(crate) struct Udf {
    blocks: foreign::Blocks,
    volume: Volume,
    partitions: Vec<Blocks>,
    root: Address,
    facts: Facts,
    files: Cache<u64, Arc<Opened>, BySize>,
    directories: Names,
    gaps: Gaps,
}

/// A block of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Address {
    /// Index of its map in the logical volume.
    partition: u16,
    block: u32,
}

impl From<Address> for Node {
    fn from(address: Address) -> Self {
        Self(u64::from(address.partition) << 32 | u64::from(address.block))
    }
}

/// A file entry and its extents.
struct Opened {
    entry: FileEntry,
    extents: Vec<Extent>,
}

#[derive(Clone)]
struct BySize;

impl Weighter<u64, Arc<Opened>> for BySize {
    fn weight(&self, _node: &u64, opened: &Arc<Opened>) -> u64 {
        let extents = opened.extents.len() * size_of::<Extent>();
        (size_of::<Opened>() + opened.entry.descriptors.len() + extents) as u64
    }
}

impl Udf {
    /// Opens the file system of a volume.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Unsupported`]; any error of the disk.
    pub(crate) fn open(disk: Arc<dyn Disk>) -> Result<Self> {
        let mut volume = Volume::read(&*disk)?;
        let partitions = std::mem::take(&mut volume.partitions);
        let mut udf = Self {
            facts: facts(&volume, &partitions, disk.size()),
            blocks: foreign::Blocks::new(disk),
            volume,
            partitions: Vec::new(),
            root: Address { partition: 0, block: 0 },
            files: Cache::with_weighter(FILES_CACHED, CACHE, BySize),
            directories: Names::new(),
            gaps: Gaps::new(TYPE),
        };
        udf.open_partitions(&partitions)?;
        udf.root = udf.find_root()?;
        let root = udf.opened(udf.root())?;
        if root.entry.attributes.kind != NodeKind::Directory {
            let at = udf.locate(udf.root)?.0;
            return Err(
                ParseError::corrupt(at, "type of the root directory", "a directory", root.entry.file_type).into()
            );
        }
        udf.facts.has_owners = root.entry.owned;
        Ok(udf)
    }

    fn find_root(&self) -> Result<Address> {
        let (partition, block) = self.volume.file_set;
        let (bytes, at) = self.block(Address { partition, block })?;
        let expected = Expected { what: "file set descriptor", ids: &[id::FILE_SET], location: Some(block) };
        tag::check(&bytes, at, &expected)?;
        let f = Fields::new("file set descriptor", &bytes, at);
        Ok(Address { block: f.u32_le(404)?, partition: f.u16_le(408)? })
    }

    fn block_size(&self) -> u64 {
        u64::from(self.volume.block_size)
    }

    /// Reads bytes of metadata.
    fn bytes(&self, at: u64, len: u64, what: &str) -> Result<Vec<u8>> {
        let size = self.blocks.size();
        if at.checked_add(len).is_none_or(|end| end > size) {
            let found = at.saturating_add(len);
            return Err(
                ParseError::corrupt(at, format!("end of the {what}"), format_args!("at most {size}"), found).into()
            );
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.blocks.read_at(at, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads a block of metadata, and returns its offset on the volume too.
    fn block(&self, address: Address) -> Result<(Vec<u8>, u64)> {
        let at = self.locate(address)?.0;
        Ok((self.bytes(at, self.block_size(), "block")?, at))
    }

    fn read_entry(&self, address: Address) -> Result<FileEntry> {
        let (bytes, at) = self.block(address)?;
        let mut entry = FileEntry::parse(&bytes, at, address.block)?.map_err(Error::Unsupported)?;
        entry.attributes.allocated = entry.attributes.allocated.saturating_mul(self.block_size());
        Ok(entry)
    }

    fn opened(&self, node: Node) -> Result<Arc<Opened>> {
        if let Some(opened) = self.files.get(&node.0) {
            return Ok(opened);
        }
        let bad = || Error::from(ParseError::corrupt(0, "address of a file", "one in a partition", node.0));
        let partition = u16::try_from(node.0 >> 32).map_err(|_| bad())?;
        let block = u32::try_from(node.0 & u64::from(u32::MAX)).map_err(|_| bad())?;
        let address = Address { partition, block };
        let mut entry = self.read_entry(address)?;
        let extents = self.extents(address, &entry)?;
        if entry.attributes.kind == NodeKind::Symlink {
            // The recorded size is that of the components; programs expect that of the target.
            let target = self.target(&Opened { entry: entry.clone(), extents: extents.clone() })?;
            entry.attributes.size = target.len() as u64;
            entry.form = Form::Embedded;
            entry.descriptors = target;
        }
        let opened = Arc::new(Opened { entry, extents });
        self.files.insert(node.0, opened.clone());
        Ok(opened)
    }

    /// The run that holds a file's bytes from `offset` on.
    fn run(&self, opened: &Opened, offset: u64) -> Result<FileRun> {
        let entry = &opened.entry;
        let missing = |have: u64| {
            let expected = format!("for {} bytes", entry.attributes.size);
            Error::from(ParseError::corrupt(entry.descriptors_at, "extents of a file", expected, have))
        };
        if entry.form == Form::Embedded {
            let have = entry.descriptors.len() as u64;
            let len = have.checked_sub(offset).filter(|len| *len > 0).ok_or_else(|| missing(have))?;
            return Ok(FileRun { extent: FileExtent::Stored(entry.descriptors_at.saturating_add(offset)), len });
        }
        let index = opened.extents.partition_point(|extent| extent.first <= offset).checked_sub(1);
        let extent = index.map(|index| opened.extents[index]).filter(|extent| offset - extent.first < extent.len);
        let extent = extent.ok_or_else(|| {
            missing(opened.extents.last().map_or(0, |extent| extent.first.saturating_add(extent.len)))
        })?;
        let skip = offset - extent.first;
        let left = extent.len - skip;
        let Some(recorded) = extent.recorded else { return Ok(FileRun { extent: FileExtent::Zero, len: left }) };
        let size = self.block_size();
        let block = u64::from(recorded.block) + skip / size;
        let block = u32::try_from(block)
            .map_err(|_| ParseError::corrupt(entry.descriptors_at, "block of a file", "a number of 32 bits", block))?;
        let (at, count) = self.locate(Address { block, ..recorded })?;
        let within = skip % size;
        let len = left.min(count.saturating_mul(size) - within);
        Ok(FileRun { extent: FileExtent::Stored(at + within), len })
    }

    /// Fills `buf` with a file's bytes from `offset` on. Returns the offset of the first one on the volume.
    fn read_file(&self, opened: &Opened, offset: u64, buf: &mut [u8]) -> Result<u64> {
        let (mut done, mut start) = (0, 0);
        while done < buf.len() {
            let run = self.run(opened, offset.saturating_add(done as u64))?;
            let now = usize::try_from(run.len).unwrap_or(usize::MAX).min(buf.len() - done);
            let chunk = &mut buf[done..done + now];
            match run.extent {
                FileExtent::Stored(at) => {
                    self.blocks.read_at(at, chunk)?;
                    start = if done == 0 { at } else { start };
                }
                FileExtent::Zero | FileExtent::Decoded => chunk.fill(0),
            }
            done += now;
        }
        Ok(start)
    }

    /// The target of a symbolic link, which is stored as components (ECMA-167, 4/14.16).
    fn target(&self, opened: &Opened) -> Result<Vec<u8>> {
        let size = opened.entry.attributes.size;
        let at = opened.entry.descriptors_at;
        if size > MAX_LINK {
            return Err(
                ParseError::corrupt(at, "size of a symbolic link", format_args!("at most {MAX_LINK}"), size).into()
            );
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let at = self.read_file(opened, 0, &mut bytes)?;
        let target = components(&Fields::new("symbolic link", &bytes, at))?;
        if target.is_empty() || target.len() > MAX_TARGET {
            let expected = format!("from 1 to {MAX_TARGET}");
            return Err(ParseError::corrupt(at, "length of a symbolic link's target", expected, target.len()).into());
        }
        Ok(target)
    }
}

/// Joins components to a path.
fn components(f: &Fields<'_>) -> Result<Vec<u8>, ParseError> {
    let mut target = Vec::new();
    let mut at = 0;
    while at < f.len() {
        let (kind, len) = (f.u8(at)?, usize::from(f.u8(at + 1)?));
        let raw = f.bytes(at + 4, len)?;
        if !target.is_empty() && !target.ends_with(b"/") {
            target.push(b'/');
        }
        match kind {
            // The root of this volume, or a directory that sender and receiver agreed on.
            1 | 2 => target = b"/".to_vec(),
            3 => target.extend_from_slice(b".."),
            4 => target.extend_from_slice(b"."),
            5 => {
                let name = text::cs0(raw).ok_or_else(|| {
                    let found = format!("{:?}", raw.first());
                    ParseError::corrupt(f.offset(at + 4), "width of the characters of a target", "8 or 16", found)
                })?;
                target.extend_from_slice(name.as_bytes());
            }
            other => {
                return Err(ParseError::corrupt(
                    f.offset(at),
                    "component of a symbolic link's target",
                    "1 to 5",
                    other,
                ));
            }
        }
        at += 4 + len;
    }
    Ok(target)
}

fn facts(volume: &Volume, partitions: &[volume::Partition], size: u64) -> Facts {
    let blocks = partitions.iter().map(|partition| u64::from(partition.len)).sum();
    let end = partitions.iter().map(|partition| u64::from(partition.start) + u64::from(partition.len)).max();
    let stated = end.unwrap_or(0) * u64::from(volume.block_size);
    Facts {
        type_name: TYPE,
        label: volume.label.clone(),
        uuid: volume.uuid.clone(),
        block_size: volume.block_size,
        blocks,
        free_blocks: volume.free_blocks.min(blocks),
        name_max: 255,
        notes: volume.notes.iter().cloned().chain(shortage(stated, size)).collect(),
        ..Facts::default()
    }
}

impl GuestFs for Udf {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn root(&self) -> Node {
        self.root.into()
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        self.directories.lookup(directory, name, |each| self.read_directory(directory, 0, each))
    }

    fn attributes(&self, node: Node) -> Result<Attributes> {
        Ok(self.opened(node)?.entry.attributes)
    }

    fn read_directory(&self, directory: Node, from: u64, each: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<()> {
        let opened = self.opened(directory)?;
        self.gaps.list(directory, from, each, |each, skip| self.entries(&opened, from, each, skip))
    }

    fn extent(&self, file: Node, offset: u64, len: u64) -> Result<FileRun> {
        let opened = self.opened(file)?;
        if opened.entry.attributes.kind != NodeKind::File {
            return Err(Error::NotFile);
        }
        let run = self.run(&opened, offset)?;
        Ok(FileRun { len: run.len.min(len.max(1)), ..run })
    }

    fn read_link(&self, link: Node) -> Result<Vec<u8>> {
        let opened = self.opened(link)?;
        if opened.entry.attributes.kind != NodeKind::Symlink {
            return Err(Error::NotSymlink);
        }
        Ok(opened.entry.descriptors.clone())
    }
}
