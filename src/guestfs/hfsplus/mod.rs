//! HFS+ and HFSX, including those embedded in a volume of the old HFS.
//!
//! The journal of a volume that was not cleanly unmounted is replayed in memory. Names are shown composed (NFC), as on
//! other file systems.
//!
//! The crate hfsplus (0.4.0) is not used: when streaming, it follows only the eight extents in the record of a file and
//! of the catalog itself. It supports neither hard links nor the journal, orders names by a table of Latin letters
//! only, and loops forever in a corrupt B-tree with a cycle.

mod attributes;
mod btree;
mod catalog;
mod compressed;
mod extents;
mod header;
mod journal;
mod names;
mod source;

use super::content::Content;
use super::gaps::Gaps;
use super::{Attributes, Entry, Error, Facts, FileExtent, FileRun, GuestFs, Node, NodeKind, Result, shortage};
use crate::disk::Disk;
use crate::ondisk::ParseError;
use btree::Tree;
use catalog::{Hidden, Item};
use compressed::Compressed;
use header::VolumeHeader;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use source::{Owned, Source};
use std::collections::HashMap;
use std::hash::Hash;
use std::ops::ControlFlow;
use std::sync::Arc;

const TYPE: &str = "HFS+";
/// Cached nodes of B-trees, mostly of 4 or 8 KiB.
const NODES_CACHED: usize = 1024;
const FILES_CACHED: usize = 16 << 10;
/// Directories whose names are cached, and the bytes of these names. Listings are served from memory, so the limit must
/// allow for large directories.
const DIRECTORIES_CACHED: usize = 64;
const NAMES_CACHED: u64 = 256 << 20;
/// Cached bytes of decompressed blocks, and cached block tables.
const DECOMPRESSED_CACHED: u64 = 16 << 20;
const TABLES_CACHED: usize = 16;
/// The longest target of a symbolic link.
const MAX_LINK: u64 = 4096;
/// Names of the extended attributes for the resource fork and for the Finder's flags and colours.
const NAMESPACE: &str = "user.";
const RESOURCE_FORK: &str = "com.apple.ResourceFork";
const FINDER_INFO: &str = "com.apple.FinderInfo";

#[derive(Clone)]
struct ByLength;

impl Weighter<(u32, u64), Arc<[u8]>> for ByLength {
    fn weight(&self, _key: &(u32, u64), bytes: &Arc<[u8]>) -> u64 {
        64 + bytes.len() as u64
    }
}

impl Weighter<u32, Arc<Directory>> for ByLength {
    fn weight(&self, _key: &u32, directory: &Arc<Directory>) -> u64 {
        // A name is stored at most three times, with the overhead of the maps and the list.
        directory.entries.iter().map(|entry| 200 + 3 * entry.name.len() as u64).sum::<u64>() + 64
    }
}

/// A cache with a single shard, so that a large item fits.
fn one_shard<K: Hash + Eq, V: Clone>(items: usize, bytes: u64) -> Cache<K, V, ByLength>
where
    ByLength: Weighter<K, V>,
{
    let options = OptionsBuilder::new().estimated_items_capacity(items).weight_capacity(bytes).shards(1).build();
    let options = options.expect("both capacities are given");
    Cache::with_options(options, ByLength, DefaultHashBuilder::default(), DefaultLifecycle::default())
}

/// An opened file system.
pub(crate) struct HfsPlus {
    source: Source,
    header: VolumeHeader,
    catalog: Tree,
    extents: Option<Tree>,
    attributes: Option<Tree>,
    /// The reason why the attributes cannot be read.
    attributes_error: Option<ParseError>,
    gaps: Gaps,
    hidden: Hidden,
    root: Node,
    facts: Facts,
    nodes: Cache<(btree::Kind, u32), Arc<btree::Node>>,
    files: Cache<u64, Arc<Opened>>,
    directories: Cache<u32, Arc<Directory>, ByLength>,
    decompressed: Cache<(u32, u64), Arc<[u8]>, ByLength>,
    tables: Cache<u32, Arc<compressed::Table>>,
}

/// A file or directory with its frequently used attributes.
struct Opened {
    item: Item,
    compressed: Option<Compressed>,
}

/// The entries of a directory in the volume's order, and indexes of their names.
struct Directory {
    entries: Vec<Entry>,
    names: HashMap<Vec<u8>, usize>,
    /// Names that differ from their folded form.
    folded: HashMap<Vec<u8>, usize>,
    /// The reason why entries are missing.
    missing: Option<Arc<Error>>,
}

/// Identifies a volume that starts like this file system by its header; `head` is its first 4 KiB.
pub(super) fn content(head: &[u8]) -> Option<Content> {
    header::probe(head).then(|| Content { uuid: header::uuid_of(head), ..Content::named(TYPE) })
}

/// Identifies a volume of the old HFS, which cannot be read.
pub(super) fn classic(head: &[u8]) -> Option<Content> {
    header::probe_classic(head).then(|| {
        let (label, uuid) = header::classic_names(head);
        Content { label, uuid, ..Content::named("HFS") }
    })
}

impl HfsPlus {
    /// Opens the file system of a volume.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Unsupported`]; any error of the disk.
    pub(crate) fn open(volume: Arc<dyn Disk>) -> Result<Self> {
        let bounds = header::bounds(&*volume)?;
        let mut source = Source { volume, bounds, overlay: super::overlay::Overlay::default() };
        let mut header = read_header(&source)?;
        let (mut notes, mut replayed) = (Vec::new(), false);
        if let Some(block) = header.journal {
            let (overlay, note) = journal::replay(&source, u64::from(block) * u64::from(header.block_size))?;
            replayed = note.is_some();
            notes.extend(note);
            source.overlay = overlay;
            header = read_header(&source)?;
        }
        if !header.unmounted && !replayed && header.journal.is_none() {
            notes.push("It was not cleanly unmounted: the newest changes may be missing".to_owned());
        }
        if header.inconsistent {
            notes.push("It is marked as inconsistent; check it with Disk Utility within the guest".to_owned());
        }
        notes.extend(shortage(header.least_size(), source.bounds.size));
        let none = || Tree::none(btree::Kind::Catalog);
        let mut fs = Self {
            facts: Facts::default(),
            source,
            catalog: none(),
            extents: None,
            attributes: None,
            attributes_error: None,
            gaps: Gaps::new(TYPE),
            hidden: Hidden::default(),
            root: Node(0),
            nodes: Cache::new(NODES_CACHED),
            files: Cache::new(FILES_CACHED),
            directories: one_shard(DIRECTORIES_CACHED, NAMES_CACHED),
            decompressed: one_shard(64, DECOMPRESSED_CACHED),
            tables: Cache::new(TABLES_CACHED),
            header,
        };
        fs.extents = fs.open_tree(btree::Kind::Extents, &fs.header.extents)?;
        fs.catalog = fs.open_tree(btree::Kind::Catalog, &fs.header.catalog)?.unwrap_or_else(none);
        match fs.open_tree(btree::Kind::Attributes, &fs.header.attributes) {
            // Files that are not compressed can be read without the attributes.
            Err(Error::Corrupt(cause)) => {
                notes.push(format!("Its extended attributes cannot be read, nor its compressed files. {cause}"));
                fs.attributes_error = Some(*cause);
            }
            tree => fs.attributes = tree?,
        }
        let (root, label) = fs.find_root()?;
        fs.hidden = fs.find_hidden(&root);
        fs.root = catalog::node(root.record_id);
        fs.facts = fs.read_facts(label, notes);
        Ok(fs)
    }

    fn read_facts(&self, label: String, notes: Vec<String>) -> Facts {
        Facts {
            type_name: if self.header.is_hfsx { "HFSX" } else { TYPE },
            label,
            uuid: header::uuid_of_id(self.header.id),
            has_owners: true,
            block_size: self.header.block_size,
            blocks: self.header.blocks.into(),
            free_blocks: self.header.free_blocks.min(self.header.blocks).into(),
            // 255 UTF-16 units.
            name_max: 255 * 3,
            notes,
            ..Facts::default()
        }
    }

    fn file(&self, node: Node) -> Result<Arc<Opened>> {
        if let Some(opened) = self.files.get(&node.0) {
            return Ok(opened);
        }
        self.open_item(node, self.item(node)?)
    }

    fn open_item(&self, node: Node, mut item: Item) -> Result<Arc<Opened>> {
        let compressed = self.compressed(&item)?;
        if let Some(compressed) = compressed {
            item.attributes.size = compressed.size;
        }
        let opened = Arc::new(Opened { item, compressed });
        self.files.insert(node.0, opened.clone());
        Ok(opened)
    }

    fn directory(&self, node: Node) -> Result<Arc<Directory>> {
        let id = catalog::directory(&self.file(node)?.item)?;
        if let Some(directory) = self.directories.get(&id) {
            return Ok(directory);
        }
        let directory = Arc::new(self.read_names(node, id)?);
        // A transient failure is not cached.
        if directory.missing.as_ref().is_none_or(|error| error.is_lasting()) {
            self.directories.insert(id, directory.clone());
        }
        Ok(directory)
    }

    fn read_names(&self, node: Node, id: u32) -> Result<Directory> {
        let (mut entries, mut names, mut folded) = (Vec::new(), HashMap::new(), HashMap::new());
        let mut add = |entry: Entry| {
            let index = entries.len();
            let spelled = names::folded(&entry.name, self.catalog.case_sensitive);
            if spelled != entry.name {
                folded.entry(spelled).or_insert(index);
            }
            names.entry(entry.name.clone()).or_insert(index);
            entries.push(Entry { next: index as u64 + 1, ..entry });
            ControlFlow::Continue(())
        };
        let reported = self.gaps.list(node, 0, &mut add, |each, skip| {
            self.children(id, &mut |reported| match reported {
                Ok((key, _)) if self.is_hidden(&key) => ControlFlow::Continue(()),
                Ok((key, item)) => each(self.entry(names::shown(&key.name), item, 0)),
                Err(error) => skip(error),
            })
        });
        let missing = match reported {
            Ok(()) => None,
            Err(Error::Incomplete(first)) => Some(first),
            Err(error) => return Err(error),
        };
        Ok(Directory { entries, names, folded, missing })
    }

    /// The entry for the target of a name. A hard link without a target stands for itself, and fails when it is opened.
    fn entry(&self, name: Vec<u8>, item: Item, next: u64) -> Entry {
        let own = (catalog::node(item.record_id), item.attributes.kind);
        let (node, kind) = match self.resolved(item) {
            Ok(target) => (catalog::node(target.record_id), target.attributes.kind),
            Err(_) => own,
        };
        Entry { name, node, kind, next }
    }

    /// The names of a node's visible extended attributes.
    fn visible(&self, opened: &Opened) -> Result<Vec<String>> {
        let mut names = self.attribute_names(opened.item.id)?;
        names.retain(|name| opened.compressed.is_none() || name != compressed::ATTRIBUTE);
        if opened.item.resource.size > 0 && !opened.compressed.is_some_and(Compressed::in_resource_fork) {
            names.push(RESOURCE_FORK.to_owned());
        }
        if finder_info(&opened.item).is_some() {
            names.push(FINDER_INFO.to_owned());
        }
        Ok(names)
    }
}

fn read_header(source: &Source) -> Result<VolumeHeader> {
    let mut bytes = [0; header::SIZE];
    source.read(header::AT, &mut bytes)?;
    VolumeHeader::parse(&bytes, source.bounds)
}

/// The Finder's information without the fields that macOS hides: the time when a file was added to its directory, a
/// document ID, and a counter.
fn finder_info(item: &Item) -> Option<[u8; 32]> {
    let mut info = item.finder;
    info[16..24].fill(0);
    info[28..].fill(0);
    if item.attributes.kind == NodeKind::Symlink {
        // The type and creator that identify a symbolic link.
        info[..8].fill(0);
    }
    (info != [0; 32]).then_some(info)
}

impl GuestFs for HfsPlus {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn root(&self) -> Node {
        self.root
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        let directory = self.directory(directory)?;
        let exact = directory.names.get(name);
        let found = exact.or_else(|| {
            let folded = names::folded(name, self.catalog.case_sensitive);
            directory.names.get(&folded).or_else(|| directory.folded.get(&folded))
        });
        let found = found.and_then(|index| directory.entries.get(*index)).map(|entry| entry.node);
        match (found, &directory.missing) {
            (None, Some(missing)) => Err(Error::Incomplete(missing.clone())),
            (found, _) => Ok(found),
        }
    }

    fn attributes(&self, node: Node) -> Result<Attributes> {
        Ok(self.file(node)?.item.attributes)
    }

    fn read_directory(&self, directory: Node, from: u64, each: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<()> {
        let directory = self.directory(directory)?;
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        for entry in directory.entries.iter().skip(from) {
            if each(entry.clone()).is_break() {
                return Ok(());
            }
        }
        directory.missing.clone().map_or(Ok(()), |missing| Err(Error::Incomplete(missing)))
    }

    fn extent(&self, file: Node, offset: u64, len: u64) -> Result<FileRun> {
        let opened = self.file(file)?;
        let item = &opened.item;
        if item.attributes.kind != NodeKind::File {
            return Err(Error::NotFile);
        }
        if opened.compressed.is_some() {
            return Ok(FileRun { extent: FileExtent::Decoded, len: len.max(1) });
        }
        let chunk = self.fork_chunk(data_fork(item), offset)?;
        let len = chunk.len.min(len.max(1));
        // The journal's blocks are not on the volume yet.
        let extent = if self.source.overlay.touches(chunk.at, len) {
            FileExtent::Decoded
        } else {
            FileExtent::Stored(self.source.bounds.start + chunk.at)
        };
        Ok(FileRun { extent, len })
    }

    fn decode(&self, file: Node, offset: u64, buf: &mut [u8]) -> Result<()> {
        let opened = self.file(file)?;
        match opened.compressed {
            Some(compressed) => self.decompress(&opened.item, compressed, offset, buf),
            None => self.read_fork(data_fork(&opened.item), offset, buf),
        }
    }

    fn read_link(&self, link: Node) -> Result<Vec<u8>> {
        let opened = self.file(link)?;
        let item = &opened.item;
        if item.attributes.kind != NodeKind::Symlink {
            return Err(Error::NotSymlink);
        }
        let size = item.data.size;
        if size > MAX_LINK {
            let what = format!("length of the symbolic link {}", item.id);
            return Err(ParseError::corrupt(item.at, what, format_args!("at most {MAX_LINK}"), size).into());
        }
        let mut target = vec![0; usize::try_from(size).unwrap_or(0)];
        self.read_fork(data_fork(item), 0, &mut target)?;
        Ok(target)
    }

    fn xattr_names(&self, node: Node) -> Result<Vec<Vec<u8>>> {
        let names = self.visible(&*self.file(node)?)?;
        Ok(names.into_iter().map(|name| format!("{NAMESPACE}{name}").into_bytes()).collect())
    }

    fn xattr(&self, node: Node, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let opened = self.file(node)?;
        let item = &opened.item;
        let name = name.strip_prefix(NAMESPACE.as_bytes()).and_then(|name| str::from_utf8(name).ok());
        match name {
            None => Ok(None),
            Some(FINDER_INFO) => Ok(finder_info(item).map(|info| info.to_vec())),
            Some(compressed::ATTRIBUTE) if opened.compressed.is_some() => Ok(None),
            Some(RESOURCE_FORK)
                if item.resource.size > 0 && !opened.compressed.is_some_and(Compressed::in_resource_fork) =>
            {
                let size = item.resource.size;
                if size > attributes::MAX_VALUE {
                    let what = format!("the resource fork of {size} bytes is too large for an extended attribute");
                    return Err(Error::Unsupported(what));
                }
                let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
                self.read_fork(compressed::resource_fork(item), 0, &mut bytes)?;
                Ok(Some(bytes))
            }
            Some(name) => self.attribute(item.id, name),
        }
    }
}

fn data_fork(item: &Item) -> Owned<'_> {
    Owned { fork: &item.data, resource: false, file: item.id }
}
