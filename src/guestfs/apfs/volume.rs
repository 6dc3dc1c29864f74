//! One volume of a container.

use super::{MAX_ATTRIBUTE, corrupt, failed};
use crate::guestfs::foreign::{Blocks, Pool, Stream};
use crate::guestfs::gaps::escaped;
use crate::guestfs::{Attributes, Error, NodeKind, Result};
use crate::ondisk::Time;
use ferrosys::Limits;
use ferrosys::apfs::{Container, Node, Reader, Timestamp, VolumeEntry};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use std::collections::HashMap;
use std::sync::Arc;

/// The inode of a volume's root directory.
pub(super) const ROOT: u64 = 2;
const NODES_CACHED: usize = 16 << 10;
/// Directories whose names are cached, and the bytes of those. Listing needs the whole directory in memory, so the
/// bytes allow for large ones.
const DIRECTORIES_CACHED: usize = 64;
const NAMES_CACHED: u64 = 256 << 20;
/// The largest value that an extended attribute can have in the kernel's interface.
const MAX_VALUE: usize = 65_536;
/// The namespace under which Linux programs see the attributes.
const NAMESPACE: &[u8] = b"user.";

/// A volume that can be read.
pub(super) struct Volume {
    pub(super) name: Vec<u8>,
    readers: Pool<Reader<Stream>>,
    nodes: Cache<u64, Arc<Node>>,
    directories: Cache<u64, Arc<Directory>, ByNames>,
}

/// A name in a directory.
pub(super) struct Named {
    pub(super) name: Vec<u8>,
    pub(super) inode: u64,
    pub(super) kind: NodeKind,
}

/// The names of a directory in the volume's order, and where they are.
pub(super) struct Directory {
    pub(super) entries: Vec<Named>,
    names: HashMap<Vec<u8>, usize>,
}

#[derive(Clone)]
struct ByNames;

impl Weighter<u64, Arc<Directory>> for ByNames {
    fn weight(&self, _key: &u64, directory: &Arc<Directory>) -> u64 {
        // A name is stored twice, with the overhead of the map and the list.
        directory.entries.iter().map(|entry| 120 + 2 * entry.name.len() as u64).sum::<u64>() + 64
    }
}

/// An unsharded cache, so that a large directory fits.
fn directories() -> Cache<u64, Arc<Directory>, ByNames> {
    let mut options = OptionsBuilder::new();
    let options = options.estimated_items_capacity(DIRECTORIES_CACHED).weight_capacity(NAMES_CACHED).shards(1).build();
    let options = options.expect("both capacities are given");
    Cache::with_options(options, ByNames, DefaultHashBuilder::default(), DefaultLifecycle::default())
}

/// How containers are opened.
pub(super) fn options() -> ferrosys::OpenOptions {
    ferrosys::OpenOptions::new().limits(Limits::new().max_file_bytes(MAX_ATTRIBUTE))
}

impl Volume {
    pub(super) fn open(blocks: &Arc<Blocks>, entry: &VolumeEntry) -> Result<Self> {
        if let Some(refusal) = entry.refusal() {
            return Err(failed(refusal));
        }
        let (blocks, wanted) = (blocks.clone(), entry.clone());
        let readers = Pool::new(move || {
            let container = Container::open_with(Stream::new(blocks.clone()), &options()).map_err(failed)?;
            Reader::over(container, wanted.clone()).map_err(failed)
        })?;
        let mut name: Vec<u8> = entry.name().iter().map(|byte| if *byte == b'/' { b':' } else { *byte }).collect();
        if matches!(name.as_slice(), b"" | b"." | b"..") {
            name = format!("volume {}", entry.slot).into_bytes();
        }
        let volume = Self { name, readers, nodes: Cache::new(NODES_CACHED), directories: directories() };
        volume.node(ROOT)?;
        Ok(volume)
    }

    pub(super) fn label(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    fn node(&self, inode: u64) -> Result<Arc<Node>> {
        if let Some(node) = self.nodes.get(&inode) {
            return Ok(node);
        }
        let node = Arc::new(self.readers.with(|reader| reader.inode(inode).map_err(failed))?);
        self.nodes.insert(inode, node.clone());
        Ok(node)
    }

    pub(super) fn directory(&self, inode: u64) -> Result<Arc<Directory>> {
        if let Some(directory) = self.directories.get(&inode) {
            return Ok(directory);
        }
        let node = self.node(inode)?;
        let entries = self.readers.with(|reader| reader.read_dir(&node).map_err(failed))?;
        let mut directory = Directory { entries: Vec::with_capacity(entries.len()), names: HashMap::new() };
        for entry in entries {
            let name = escaped(&entry.name).unwrap_or(entry.name);
            // The kind bits of a mode.
            let kind = NodeKind::of_mode(u32::from(entry.entry_type) << 12).unwrap_or(NodeKind::File);
            directory.names.insert(name.clone(), directory.entries.len());
            directory.entries.push(Named { name, inode: entry.file_id, kind });
        }
        let directory = Arc::new(directory);
        self.directories.insert(inode, directory.clone());
        Ok(directory)
    }

    /// A name as it is stored, or as the volume compares names.
    pub(super) fn lookup(&self, inode: u64, name: &[u8]) -> Result<Option<u64>> {
        let directory = self.directory(inode)?;
        if let Some(found) = directory.names.get(name).and_then(|index| directory.entries.get(*index)) {
            return Ok(Some(found.inode));
        }
        let node = self.node(inode)?;
        let found = self.readers.with(|reader| reader.find_entry(&node, name).map_err(failed))?;
        Ok(found.map(|entry| entry.file_id))
    }

    pub(super) fn attributes(&self, inode: u64) -> Result<Attributes> {
        let node = self.node(inode)?;
        let kind = kind(&node);
        let data = node.metadata();
        let device = node.device.filter(|_| matches!(kind, NodeKind::CharDevice | NodeKind::BlockDevice));
        let device = device.unwrap_or(0);
        Ok(Attributes {
            kind,
            mode: data.mode.into(),
            uid: data.uid,
            gid: data.gid,
            links: if kind == NodeKind::Directory { 1 } else { u32::try_from(node.links()).unwrap_or(1).max(1) },
            size: if matches!(kind, NodeKind::File | NodeKind::Symlink) { node.size() } else { 0 },
            allocated: node.stream.map_or(0, |stream| stream.allocated),
            accessed: time(data.atime),
            modified: time(data.mtime),
            changed: time(data.ctime),
            created: data.btime.map(time),
            device: (device >> 24, device & 0xFF_FFFF),
        })
    }

    pub(super) fn read(&self, inode: u64, offset: u64, buf: &mut [u8]) -> Result<()> {
        let node = self.node(inode)?;
        self.readers.with(|reader| {
            let mut done = 0;
            while done < buf.len() {
                match reader.read_into(&node, offset + done as u64, &mut buf[done..]).map_err(failed)? {
                    0 => {
                        let expected = format!("{} bytes of inode {inode}", offset + buf.len() as u64);
                        return Err(corrupt(&expected, &format!("{} bytes", offset + done as u64)));
                    }
                    more => done += more,
                }
            }
            Ok(())
        })
    }

    pub(super) fn read_link(&self, inode: u64) -> Result<Vec<u8>> {
        let node = self.node(inode)?;
        self.readers.with(|reader| reader.link_target(&node).map_err(failed))
    }

    pub(super) fn xattr_names(&self, inode: u64) -> Result<Vec<Vec<u8>>> {
        let node = self.node(inode)?;
        let all = self.readers.with(|reader| reader.xattrs(&node).map_err(failed))?;
        Ok(all.into_iter().map(|attribute| [NAMESPACE, attribute.name.as_slice()].concat()).collect())
    }

    pub(super) fn xattr(&self, inode: u64, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(name) = name.strip_prefix(NAMESPACE) else { return Ok(None) };
        let node = self.node(inode)?;
        let all = self.readers.with(|reader| reader.xattrs(&node).map_err(failed))?;
        let found = all.into_iter().find(|attribute| attribute.name == name).map(|attribute| attribute.value);
        match found {
            Some(value) if value.len() > MAX_VALUE => {
                let name = String::from_utf8_lossy(name);
                let what = format!("the attribute {name} of {} bytes is larger than Linux allows", value.len());
                Err(Error::Unsupported(what))
            }
            found => Ok(found),
        }
    }
}

fn kind(node: &Node) -> NodeKind {
    NodeKind::of_mode(node.file_type().into()).unwrap_or(NodeKind::File)
}

fn time(time: Timestamp) -> Time {
    Time { seconds: time.secs, nanoseconds: time.nanos.min(999_999_999) }
}
