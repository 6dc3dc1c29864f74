//! ISO 9660 (ECMA-119): with the names and attributes of Rock Ridge if present, else the names of Joliet, else its own.
//!
//! A node is the offset of a directory record in bytes: for a file the record in its directory, for a directory its own
//! record (`.`). Volume descriptors are read from sector 16, so of a multi-session disk the session they describe is
//! read; programs that append sessions to an image file update them.

mod directory;
mod names;
mod record;
mod rock_ridge;
mod susp;
#[cfg(test)]
mod tests;
mod volume;
mod zisofs;

use super::foreign::Blocks;
use super::gaps::Gaps;
use super::names::Names;
use super::{Attributes, Entry, Error, Facts, FileExtent, FileRun, GuestFs, Node, NodeKind, Result, shortage};
use crate::disk::Disk;
use crate::ondisk::ParseError;
use names::Naming;
use quick_cache::sync::Cache;
use record::{Record, SECTOR};
use rock_ridge::RockRidge;
use std::ops::ControlFlow;
use std::sync::Arc;
use susp::Skip;
use volume::Volume;

pub(crate) use volume::probe;

const TYPE: &str = "ISO 9660";
const FILES_CACHED: usize = 16 << 10;
/// Decompressed blocks of compressed files, at most 1 MiB each.
const BLOCKS_CACHED: usize = 32;
/// The most extents of a file. An extent has up to 4 GiB, so this is far above real ones.
const MAX_EXTENTS: usize = 16 << 10;

/// An opened file system.
pub(crate) struct Iso {
    blocks: Blocks,
    volume: Volume,
    facts: Facts,
    naming: Naming,
    /// Offset of the first record of the root directory.
    root: u64,
    /// Bytes before the fields of Rock Ridge in a record, if there are any.
    rock_ridge: Option<Skip>,
    files: Cache<u64, Arc<Opened>>,
    directories: Names,
    gaps: Gaps,
    decompressed: Cache<(u64, u64), Arc<[u8]>>,
}

/// A contiguous range of a file.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// Its offset in the file.
    first: u64,
    /// Its length in bytes, at least 1.
    len: u64,
    /// Its offset on the volume.
    at: u64,
}

/// A file with the information from its records.
struct Opened {
    record: Record,
    kind: NodeKind,
    rock_ridge: RockRidge,
    extents: Vec<Extent>,
    /// Bytes on the volume, before decompression.
    stored: u64,
    interleaved: bool,
}

impl Iso {
    /// Opens the file system of a volume.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; any error of the disk.
    pub(crate) fn open(disk: Arc<dyn Disk>) -> Result<Self> {
        let volume = Volume::read(&*disk)?;
        let mut iso = Self {
            root: volume.root,
            facts: facts(&volume, disk.size()),
            volume,
            naming: Naming::Plain,
            rock_ridge: None,
            blocks: Blocks::new(disk),
            files: Cache::new(FILES_CACHED),
            directories: Names::new(),
            gaps: Gaps::new(TYPE),
            decompressed: Cache::new(BLOCKS_CACHED),
        };
        let root = iso.own_record(iso.root)?;
        iso.rock_ridge = iso.find_rock_ridge(&root)?;
        iso.facts.has_owners = iso.rock_ridge.is_some();
        if let (None, Some(joliet)) = (iso.rock_ridge, iso.volume.joliet_root) {
            match iso.own_record(joliet) {
                Ok(_) => (iso.root, iso.naming) = (joliet, Naming::Joliet),
                Err(error) => {
                    iso.note(format!("Its long names (Joliet) cannot be read, so the short ones are shown. {error}"));
                }
            }
        }
        Ok(iso)
    }

    /// Adds a note for the user.
    pub(super) fn note(&mut self, note: String) {
        self.facts.notes.push(note);
    }

    fn block_size(&self) -> u64 {
        u64::from(self.volume.block_size)
    }

    /// Reads bytes of metadata.
    fn bytes(&self, at: u64, len: u64, what: &str) -> Result<Vec<u8>> {
        self.inside(at, len, what)?;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.blocks.read_at(at, &mut bytes)?;
        Ok(bytes)
    }

    fn inside(&self, at: u64, len: u64, what: &str) -> Result<()> {
        let size = self.blocks.size();
        if at.checked_add(len).is_some_and(|end| end <= size) {
            return Ok(());
        }
        let expected = format!("at most {size}, the size of the volume");
        Err(ParseError::corrupt(at, format!("end of the {what}"), expected, at.saturating_add(len)).into())
    }

    /// Reads the record at an offset; `None` when the rest of the sector is unused.
    fn record(&self, at: u64) -> Result<Option<Record>> {
        let len = u64::from(self.bytes(at, 1, "directory record")?[0]);
        if len == 0 {
            return Ok(None);
        }
        Record::parse(&self.bytes(at, len, "directory record")?, at).map(Some).map_err(Error::from)
    }

    /// Reads a directory's own record, which is the first in it.
    fn own_record(&self, at: u64) -> Result<Record> {
        let record = self.record(at)?;
        record.filter(|record| record.is_directory() && self.is_own(record)).ok_or_else(|| {
            Error::from(ParseError::corrupt(at, "first record of a directory", "the directory's own", "another"))
        })
    }

    /// Whether a record is the directory's own: by its name, or by its offset at the start of the directory.
    fn is_own(&self, record: &Record) -> bool {
        record.is_self() || record.data_at(self.block_size()) == record.at
    }

    fn opened(&self, node: Node) -> Result<Arc<Opened>> {
        if let Some(opened) = self.files.get(&node.0) {
            return Ok(opened);
        }
        let record = self.record(node.0)?;
        let record = record.ok_or_else(|| ParseError::corrupt(node.0, "directory record", "one", "none"))?;
        if record.is_directory() && !self.is_own(&record) {
            let what = "first record of a directory";
            return Err(ParseError::corrupt(node.0, what, "the directory's own", "another").into());
        }
        let mut rock_ridge = self.rock_ridge(&record);
        let directory = record.is_directory();
        // The content of a file may depend on the fields that failed.
        if let Some(error) = rock_ridge.error.take().filter(|_| !directory) {
            return Err(error);
        }
        let stated = rock_ridge.posix.and_then(|posix| posix.kind());
        let kind = kind(directory, &rock_ridge);
        if stated.is_some_and(|stated| stated != kind) && !directory {
            let expected = "that of a file";
            let found = format!("{:#o}", rock_ridge.posix.map_or(0, |posix| posix.mode));
            return Err(ParseError::corrupt(record.at, "mode in a directory record", expected, found).into());
        }
        let mut opened = Opened { kind, rock_ridge, extents: Vec::new(), stored: 0, interleaved: false, record };
        if kind == NodeKind::File {
            self.find_extents(&mut opened)?;
        }
        let opened = Arc::new(opened);
        self.files.insert(node.0, opened.clone());
        Ok(opened)
    }

    /// Collects the extents of a file, one for each of its records.
    fn find_extents(&self, opened: &mut Opened) -> Result<()> {
        let mut record = opened.record.clone();
        for _ in 0..MAX_EXTENTS {
            let (at, len) = (record.data_at(self.block_size()), u64::from(record.data_len));
            // The location of an empty extent is meaningless.
            if len > 0 {
                // The rest of a file that a short volume cuts is there; what lies past its end is an error to read.
                opened.extents.push(Extent { first: opened.stored, len, at });
                opened.stored += len;
            }
            opened.interleaved |= record.interleaved;
            if !record.has_more() {
                return Ok(());
            }
            record = self.next_record(&record)?;
        }
        let what = "extents of a file";
        Err(ParseError::corrupt(opened.record.at, what, format_args!("at most {MAX_EXTENTS}"), "more").into())
    }

    /// Reads the next record of a file that continues.
    fn next_record(&self, record: &Record) -> Result<Record> {
        let mut at = record.at + record.len;
        let next = match self.record(at)? {
            None => {
                at = next_sector(at);
                self.record(at)?
            }
            next => next,
        };
        next.filter(|next| next.identifier == record.identifier && !next.is_directory()).ok_or_else(|| {
            Error::from(ParseError::corrupt(at, "next extent of a file", "a record with the same name", "none"))
        })
    }

    /// Fills `buf` with a file's stored bytes from `offset` on. Returns the offset of the first one on the volume.
    fn read_stored(&self, opened: &Opened, offset: u64, buf: &mut [u8]) -> Result<u64> {
        let (mut done, mut start) = (0, 0);
        while done < buf.len() {
            let (at, len) = opened.locate(offset.saturating_add(done as u64))?;
            let now = usize::try_from(len).unwrap_or(usize::MAX).min(buf.len() - done);
            self.blocks.read_at(at, &mut buf[done..done + now])?;
            start = if done == 0 { at } else { start };
            done += now;
        }
        Ok(start)
    }

    /// Returns a decompressed block of a compressed file.
    fn decompressed(&self, node: Node, opened: &Opened, how: zisofs::Compression, index: u64) -> Result<Arc<[u8]>> {
        if let Some(bytes) = self.decompressed.get(&(node.0, index)) {
            return Ok(bytes);
        }
        let mut header = vec![0; how.header];
        let at = self.read_stored(opened, 0, &mut header)?;
        how.check(&header, at)?;
        let (offset, len) = how.pointers_of(index);
        let mut pointers = vec![0; len];
        let at = self.read_stored(opened, offset, &mut pointers)?;
        let (offset, len) = how.stored(&pointers, at)?;
        let mut compressed = vec![0; len];
        let at = self.read_stored(opened, offset, &mut compressed)?;
        let mut bytes = vec![0; how.len_of(index)];
        zisofs::decompress(&compressed, at, &mut bytes)?;
        let bytes: Arc<[u8]> = bytes.into();
        self.decompressed.insert((node.0, index), bytes.clone());
        Ok(bytes)
    }
}

impl Opened {
    fn size(&self) -> u64 {
        match self.kind {
            NodeKind::File => self.rock_ridge.compression.map_or(self.stored, |how| how.size),
            NodeKind::Directory => u64::from(self.record.data_len),
            NodeKind::Symlink => self.rock_ridge.target().map_or(0, |target| target.len() as u64),
            _ => 0,
        }
    }

    /// Maps a file's stored byte `offset` to its offset on the volume, with the number of contiguous bytes.
    fn locate(&self, offset: u64) -> Result<(u64, u64)> {
        let extent = self
            .extents
            .partition_point(|extent| extent.first <= offset)
            .checked_sub(1)
            .map(|index| self.extents[index]);
        let extent = extent.filter(|extent| offset - extent.first < extent.len).ok_or_else(|| {
            let expected = format!("more than {offset}");
            ParseError::corrupt(self.record.at, "bytes of a file", expected, self.stored)
        })?;
        let skip = offset - extent.first;
        Ok((extent.at + skip, extent.len - skip))
    }

    /// Refuses files whose bytes are not simply stored in their extents.
    fn check_readable(&self) -> Result<()> {
        if self.kind != NodeKind::File {
            return Err(Error::NotFile);
        }
        let unknown = self.rock_ridge.compression.and_then(|how| how.unknown());
        let what = match unknown {
            Some(what) => what,
            None if self.interleaved => "is interleaved with others".to_owned(),
            None if self.rock_ridge.sparse => "is stored as a sparse file with a table (SF)".to_owned(),
            None => return Ok(()),
        };
        Err(Error::Unsupported(format!("the file with the record at byte {} {what}", self.record.at)))
    }
}

/// The kind of a record's file. Only ISO 9660's own flag makes it a directory.
fn kind(directory: bool, rock_ridge: &RockRidge) -> NodeKind {
    match rock_ridge.posix.and_then(|posix| posix.kind()) {
        _ if directory => NodeKind::Directory,
        Some(kind) if kind != NodeKind::Directory => kind,
        _ => NodeKind::File,
    }
}

/// The offset of the next sector.
fn next_sector(at: u64) -> u64 {
    at - at % SECTOR + SECTOR
}

fn facts(volume: &Volume, size: u64) -> Facts {
    let stated = volume.blocks * u64::from(volume.block_size);
    Facts {
        type_name: TYPE,
        label: volume.label.clone(),
        uuid: volume.uuid.clone(),
        block_size: volume.block_size,
        blocks: volume.blocks,
        name_max: 255,
        notes: shortage(stated, size).into_iter().collect(),
        ..Facts::default()
    }
}

impl GuestFs for Iso {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn root(&self) -> Node {
        Node(self.root)
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        self.directories.lookup(directory, name, |each| self.read_directory(directory, 0, each))
    }

    fn attributes(&self, node: Node) -> Result<Attributes> {
        let opened = self.opened(node)?;
        let directory = opened.kind == NodeKind::Directory;
        let posix = opened.rock_ridge.posix;
        let recorded = opened.record.recorded;
        let [created, modified, accessed, changed] = opened.rock_ridge.times.0;
        let modified = modified.unwrap_or(recorded);
        let stored = if directory { opened.size() } else { opened.stored };
        Ok(Attributes {
            kind: opened.kind,
            mode: posix.map_or(if directory { 0o555 } else { 0o444 }, |posix| posix.mode & 0o7777),
            uid: posix.map_or(0, |posix| posix.uid),
            gid: posix.map_or(0, |posix| posix.gid),
            links: posix.map_or(1, |posix| posix.links),
            size: opened.size(),
            allocated: stored.div_ceil(SECTOR) * SECTOR,
            accessed: accessed.unwrap_or(modified),
            modified,
            changed: changed.unwrap_or(modified),
            created,
            device: opened.rock_ridge.device,
        })
    }

    fn read_directory(&self, directory: Node, from: u64, each: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<()> {
        self.gaps.list(directory, from, each, |each, skip| self.entries(directory, from, each, skip))
    }

    fn extent(&self, file: Node, offset: u64, len: u64) -> Result<FileRun> {
        let opened = self.opened(file)?;
        opened.check_readable()?;
        if opened.rock_ridge.compression.is_some() {
            return Ok(FileRun { extent: FileExtent::Decoded, len });
        }
        let (at, segment) = opened.locate(offset)?;
        Ok(FileRun { extent: FileExtent::Stored(at), len: len.min(segment) })
    }

    fn decode(&self, file: Node, offset: u64, buf: &mut [u8]) -> Result<()> {
        let opened = self.opened(file)?;
        opened.check_readable()?;
        let Some(how) = opened.rock_ridge.compression else {
            self.read_stored(&opened, offset, buf)?;
            return Ok(());
        };
        let mut done = 0;
        while done < buf.len() {
            let at = offset.saturating_add(done as u64);
            let bytes = self.decompressed(file, &opened, how, at / how.block_size())?;
            let skip = usize::try_from(at % how.block_size()).unwrap_or(usize::MAX);
            let rest = bytes
                .get(skip..)
                .filter(|rest| !rest.is_empty())
                .ok_or_else(|| ParseError::corrupt(opened.record.at, "bytes of a compressed file", at, how.size))?;
            let now = rest.len().min(buf.len() - done);
            buf[done..done + now].copy_from_slice(&rest[..now]);
            done += now;
        }
        Ok(())
    }

    fn read_link(&self, link: Node) -> Result<Vec<u8>> {
        let opened = self.opened(link)?;
        if opened.kind != NodeKind::Symlink {
            return Err(Error::NotSymlink);
        }
        let target = opened.rock_ridge.target().filter(|_| opened.rock_ridge.is_whole());
        let target = target
            .ok_or_else(|| ParseError::corrupt(opened.record.at, "target of a symbolic link", "a whole one", "none"))?;
        Ok(target.to_vec())
    }
}
