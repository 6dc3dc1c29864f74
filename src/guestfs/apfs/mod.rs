//! APFS, read by the crate ferrosys. It verifies the checksum of every object, and reads the images of the project
//! dissect.apfs, which macOS wrote, exactly as that project does, including every compression, attributes and a
//! converted HFS+ volume.
//!
//! A container with one volume is shown as that volume; with several, each volume is a directory. Names are shown as
//! stored.

mod volume;

use super::foreign::{Blocks, Stream};
use super::{Attributes, Entry, Error, Facts, FileExtent, FileRun, GuestFs, Node, NodeKind, Result, shortage};
use crate::disk::Disk;
use crate::ondisk::ParseError;
use ferrosys::apfs::{Container, ReadError};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;
use volume::Volume;

const TYPE: &str = "APFS";
/// Low bits of a node, which hold the inode number; above them is the index of the volume, from 1. The directory of
/// volumes is 0.
const INODE_BITS: u32 = 48;
/// The largest value of an attribute that is read into memory: a resource fork may be one.
const MAX_ATTRIBUTE: u64 = 16 << 20;

/// An opened container.
pub(crate) struct Apfs {
    volumes: Vec<Volume>,
    /// The volumes by their names, when there are several.
    names: HashMap<Vec<u8>, usize>,
    facts: Facts,
}

/// Converts the crate's error.
fn failed(error: ReadError) -> Error {
    match error {
        ReadError::Io { kind: std::io::ErrorKind::UnexpectedEof, .. } => {
            corrupt("blocks within the volume (it may be cut short)", "one past its end")
        }
        ReadError::Io { kind, message, .. } => {
            let error = std::io::Error::new(kind, message);
            Error::Disk(Box::new(crate::image::Error::io(Path::new("the APFS volume"), "read", error).into()))
        }
        ReadError::UnsupportedCheckpoint
        | ReadError::UnsupportedFeatures { .. }
        | ReadError::Encrypted { .. }
        | ReadError::EncryptionChanging { .. }
        | ReadError::RevertPending { .. }
        | ReadError::UnhashedNames { .. }
        | ReadError::AttributeTooLarge { .. }
        | ReadError::UnsupportedCompression { .. } => Error::Unsupported(error.to_string()),
        ReadError::NotADirectory { .. } => Error::NotDirectory,
        ReadError::NotASymlink { .. } => Error::NotSymlink,
        other => corrupt("one that its reader can follow", &other.to_string()),
    }
}

fn corrupt(expected: &str, found: &str) -> Error {
    ParseError::corrupt(0, "structure", expected, found).into()
}

impl Apfs {
    /// Opens the container of a volume.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Unsupported`] also when no volume in it can be read; disk errors.
    pub(crate) fn open(disk: Arc<dyn Disk>) -> Result<Self> {
        let blocks = Arc::new(Blocks::new(disk));
        // The crate may panic on corruption, here as in a pool.
        let container = super::foreign::guarded(|| {
            Container::open_with(Stream::new(blocks.clone()), &volume::options()).map_err(failed)
        })?;
        let (mut volumes, mut notes) = (Vec::new(), Vec::new());
        for entry in container.volumes() {
            let name = String::from_utf8_lossy(entry.name()).into_owned();
            match Volume::open(&blocks, entry) {
                Ok(volume) => volumes.push(volume),
                Err(e) => notes.push(format!("Its volume {name:?} is not shown. {e}")),
            }
        }
        for unreadable in container.unreadable_volumes() {
            notes.push(format!("Its volume in slot {} is not shown. {}", unreadable.slot, unreadable.error));
        }
        if volumes.is_empty() {
            let why = notes.first().map_or("it has no volumes", String::as_str).to_owned();
            return Err(Error::Unsupported(why));
        }
        let superblock = container.superblock();
        notes.extend(shortage(superblock.block_count.saturating_mul(superblock.block_size.into()), blocks.size()));
        let used: u64 = container.volumes().iter().map(|volume| volume.superblock.allocated_blocks).sum();
        let facts = Facts {
            type_name: TYPE,
            label: volumes.first().filter(|_| volumes.len() == 1).map(|only| only.label()).unwrap_or_default(),
            uuid: Uuid::from_bytes(superblock.uuid).to_string(),
            has_owners: true,
            block_size: superblock.block_size,
            blocks: superblock.block_count,
            free_blocks: superblock.block_count.saturating_sub(used),
            name_max: 255 * 3,
            notes,
            ..Facts::default()
        };
        let mut names = HashMap::new();
        for (index, volume) in volumes.iter_mut().enumerate() {
            // Two volumes may have the same name.
            while names.contains_key(&volume.name) {
                volume.name.extend_from_slice(b"~");
            }
            names.insert(volume.name.clone(), index);
        }
        Ok(Self { volumes, names, facts })
    }

    /// The volume and the inode number of a node; `None` for the directory of volumes.
    fn find(&self, node: Node) -> Result<Option<(&Volume, usize, u64)>> {
        let number = usize::try_from(node.0 >> INODE_BITS).unwrap_or(usize::MAX);
        let Some(index) = number.checked_sub(1) else { return Ok(None) };
        let volume = self.volumes.get(index).ok_or_else(|| corrupt("a node of a directory", "another"))?;
        Ok(Some((volume, index, node.0 & ((1 << INODE_BITS) - 1))))
    }

    /// As [`find`](Self::find), for what is in a volume.
    fn inside(&self, node: Node, other: Error) -> Result<(&Volume, usize, u64)> {
        self.find(node)?.ok_or(other)
    }
}

fn number(index: usize, inode: u64) -> Result<Node> {
    if inode >> INODE_BITS != 0 {
        return Err(corrupt("inode numbers below 2^48", &inode.to_string()));
    }
    Ok(Node((index as u64 + 1) << INODE_BITS | inode))
}

impl GuestFs for Apfs {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn root(&self) -> Node {
        if self.volumes.len() == 1 { Node(1 << INODE_BITS | volume::ROOT) } else { Node(0) }
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        match self.find(directory)? {
            None => self.names.get(name).map(|index| number(*index, volume::ROOT)).transpose(),
            Some((volume, index, inode)) => volume.lookup(inode, name)?.map(|found| number(index, found)).transpose(),
        }
    }

    fn attributes(&self, node: Node) -> Result<Attributes> {
        match self.find(node)? {
            Some((volume, _, inode)) => volume.attributes(inode),
            None => Ok(Attributes::BARE_DIRECTORY),
        }
    }

    fn read_directory(&self, directory: Node, from: u64, each: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<()> {
        let skip = usize::try_from(from).unwrap_or(usize::MAX);
        let Some((volume, index, inode)) = self.find(directory)? else {
            for ((index, volume), next) in self.volumes.iter().enumerate().zip(1..).skip(skip) {
                let node = number(index, volume::ROOT)?;
                if each(Entry { name: volume.name.clone(), node, kind: NodeKind::Directory, next }).is_break() {
                    break;
                }
            }
            return Ok(());
        };
        for (found, next) in volume.directory(inode)?.entries.iter().zip(1..).skip(skip) {
            let node = number(index, found.inode)?;
            if each(Entry { name: found.name.clone(), node, kind: found.kind, next }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn extent(&self, file: Node, _offset: u64, len: u64) -> Result<FileRun> {
        let (volume, _, inode) = self.inside(file, Error::NotFile)?;
        if volume.attributes(inode)?.kind != NodeKind::File {
            return Err(Error::NotFile);
        }
        Ok(FileRun { extent: FileExtent::Decoded, len: len.max(1) })
    }

    fn decode(&self, file: Node, offset: u64, buf: &mut [u8]) -> Result<()> {
        let (volume, _, inode) = self.inside(file, Error::NotFile)?;
        volume.read(inode, offset, buf)
    }

    fn read_link(&self, link: Node) -> Result<Vec<u8>> {
        let (volume, _, inode) = self.inside(link, Error::NotSymlink)?;
        volume.read_link(inode)
    }

    fn xattr_names(&self, node: Node) -> Result<Vec<Vec<u8>>> {
        self.find(node)?.map_or(Ok(Vec::new()), |(volume, _, inode)| volume.xattr_names(inode))
    }

    fn xattr(&self, node: Node, name: &[u8]) -> Result<Option<Vec<u8>>> {
        self.find(node)?.map_or(Ok(None), |(volume, _, inode)| volume.xattr(inode, name))
    }
}
