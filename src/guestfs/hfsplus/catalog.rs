//! The catalog: names, directories and files. Field names and offsets are from `HFSPlusCatalogKey`,
//! `HFSPlusCatalogDirectory` and `HFSPlusCatalogFile` in Apple's TN1150
//! (<https://developer.apple.com/library/archive/technotes/tn/tn1150.html#CatalogFile>). A node's ID is the location of
//! its record. Finding a record by its catalog node ID instead would require comparing names exactly like the program
//! that wrote the volume, and relying on a second record, the thread.

use super::btree::{Record, RecordId};
use super::header::Fork;
use super::{HfsPlus, names};
use crate::guestfs::{Attributes, Error, Node, NodeKind, Result};
use crate::ondisk::ParseError;
use crate::ondisk::Time;
use crate::ondisk::fields::Fields;
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// IDs of the root's parent and of the root directory.
const ROOT_PARENT: u32 = 1;
pub(super) const ROOT: u32 = 2;
/// `recordType`.
const DIRECTORY: u16 = 1;
const FILE: u16 = 2;
/// Bit of `ownerFlags`: compressed.
const COMPRESSED: u8 = 0x20;
/// `fdType` and `fdCreator` of a hard link to a file, and to a directory.
const FILE_LINK: &[u8; 8] = b"hlnkhfs+";
const DIRECTORY_LINK: &[u8; 8] = b"fdrpMACS";
/// Names of the directories that hold the targets of hard links.
const FILE_LINKS: &str = "\0\0\0\0HFS+ Private Data";
const DIRECTORY_LINKS: &str = ".HFS+ Private Directory Data\r";
/// Seconds from 1904, the epoch of HFS+, to 1970.
const EPOCH: i64 = 2_082_844_800;

/// IDs of the directories that hold the targets of hard links.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hidden {
    files: Option<u32>,
    directories: Option<u32>,
    /// `createDate` of the directory of linked files, of the root and of the volume. Genuine links have one of these.
    dates: [Option<u32>; 3],
}

/// A record of a file or directory.
pub(super) struct Item {
    pub(super) record_id: RecordId,
    /// Offset of its B-tree node on the volume.
    pub(super) at: u64,
    /// `directoryID` or `fileID`.
    pub(super) id: u32,
    pub(super) attributes: Attributes,
    /// `createDate`.
    created: u32,
    /// A link's target number, a linked file's link count, or device numbers.
    special: u32,
    /// The target, if it is a hard link.
    pub(super) link: Option<Link>,
    pub(super) compressed: bool,
    /// `userInfo` and `finderInfo`.
    pub(super) finder: [u8; 32],
    pub(super) data: Fork,
    pub(super) resource: Fork,
}

/// The target of a hard link: the number in its name in a hidden directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    number: u32,
    directory: bool,
}

/// A key's parent and name.
pub(super) struct Key {
    pub(super) parent: u32,
    pub(super) name: Vec<u16>,
}

/// `HFSPlusCatalogKey` without its length.
pub(super) fn key(raw: &[u8], at: u64) -> Result<Key, ParseError> {
    let f = Fields::new("key of the catalog", raw, at);
    let len = usize::from(f.u16_be(4)?);
    let name = f.bytes(6, 2 * len)?.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    Ok(Key { parent: f.u32_be(0)?, name })
}

/// Compares a key with the first one of a directory.
pub(super) fn order_of_parent(raw: &[u8], parent: u32) -> Result<Ordering, ParseError> {
    let f = Fields::new("key of the catalog", raw, 0);
    // The empty name of the directory's own thread comes first.
    Ok(f.u32_be(0)?.cmp(&parent).then(f.u16_be(4)?.cmp(&0)))
}

pub(super) fn node(id: RecordId) -> Node {
    Node(u64::from(id.node) << 16 | u64::from(id.record))
}

fn record_id(node: Node) -> Result<RecordId> {
    let number = u32::try_from(node.0 >> 16);
    let number = number
        .map_err(|_| Error::from(ParseError::corrupt(0, "number of a node", "one that a directory gave", node.0)))?;
    Ok(RecordId { node: number, record: u16::try_from(node.0 & 0xFFFF).unwrap_or(0) })
}

impl Item {
    /// Parses a record's data; `None` for a thread.
    pub(super) fn parse(record: &Record<'_>, block_size: u32) -> Result<Option<Self>, ParseError> {
        let f = Fields::new("record of the catalog", record.data, record.at);
        match f.u16_be(0)? {
            DIRECTORY => Self::fields(&f, record, true, block_size).map(Some),
            FILE => Self::fields(&f, record, false, block_size).map(Some),
            3 | 4 => Ok(None),
            other => Err(ParseError::corrupt(record.at, "type of a record of the catalog", "1 to 4", other)),
        }
    }

    /// Sets the link count of a file in a hidden directory. Linked directories record theirs elsewhere.
    fn counted(mut self) -> Self {
        if self.attributes.kind != NodeKind::Directory {
            self.attributes.links = self.special.max(1);
        }
        self
    }

    fn fields(f: &Fields<'_>, record: &Record<'_>, directory: bool, block_size: u32) -> Result<Self, ParseError> {
        let mut finder = [0; 32];
        finder.copy_from_slice(f.bytes(48, 32)?);
        let (data, resource) = if directory { <_>::default() } else { (Fork::parse(f, 88)?, Fork::parse(f, 168)?) };
        let mode = f.u16_be(42)?;
        let kind = match NodeKind::of_mode(mode.into()) {
            _ if directory => NodeKind::Directory,
            None | Some(NodeKind::Directory) => NodeKind::File,
            Some(kind) => kind,
        };
        let created = f.u32_be(12)?;
        let special = f.u32_be(44)?;
        let link = match finder.first_chunk() {
            Some(FILE_LINK) if !directory => Some(Link { number: special, directory: false }),
            Some(DIRECTORY_LINK) if !directory => Some(Link { number: special, directory: true }),
            _ => None,
        };
        let has_size = matches!(kind, NodeKind::File | NodeKind::Symlink);
        let blocks = u64::from(data.blocks) + u64::from(resource.blocks);
        let attributes = Attributes {
            kind,
            mode: match mode {
                // Written by a program without modes, as before Mac OS X.
                0 if directory => 0o755,
                0 => 0o644,
                mode => u32::from(mode & 0o7777),
            },
            uid: f.u32_be(32)?,
            gid: f.u32_be(36)?,
            links: 1,
            size: if has_size { data.size } else { 0 },
            allocated: blocks * u64::from(block_size),
            modified: time(f.u32_be(16)?),
            changed: time(f.u32_be(20)?),
            accessed: time(f.u32_be(24)?),
            created: Some(time(created)),
            device: match kind {
                NodeKind::CharDevice | NodeKind::BlockDevice => (special >> 24, special & 0xFF_FFFF),
                _ => (0, 0),
            },
        };
        Ok(Self {
            record_id: record.record_id,
            at: record.at,
            id: f.u32_be(8)?,
            attributes,
            created,
            special,
            link,
            compressed: !directory && f.u8(41)? & COMPRESSED != 0,
            finder,
            data,
            resource,
        })
    }
}

/// Converts a time. Times before 1970, including 0 for none, become 1970, as on macOS.
fn time(raw: u32) -> Time {
    Time { seconds: (i64::from(raw) - EPOCH).max(0), nanoseconds: 0 }
}

impl HfsPlus {
    /// Calls `each` for the files and directories in a directory, and with an error for those that cannot be read.
    pub(super) fn children(
        &self,
        parent: u32,
        each: &mut dyn FnMut(Result<(Key, Item)>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.walk(&self.catalog, &|raw| order_of_parent(raw, parent), &mut |record| {
            let reported = match record {
                Ok(record) => match key(record.key, record.at) {
                    Ok(key) if key.parent != parent => return Ok(ControlFlow::Break(())),
                    Ok(key) => Item::parse(record, self.header.block_size).map(|item| item.map(|item| (key, item))),
                    Err(cause) => Err(cause),
                }
                .map_err(Error::from),
                Err(error) => Err(error),
            };
            Ok(reported.transpose().map_or(ControlFlow::Continue(()), &mut *each))
        })
    }

    /// The root directory and its name.
    pub(super) fn find_root(&self) -> Result<(Item, String)> {
        let (mut found, mut failed) = (None, None);
        self.children(ROOT_PARENT, &mut |reported| match reported {
            Ok((key, item)) if item.id == ROOT && item.attributes.kind == NodeKind::Directory => {
                found = Some((item, String::from_utf8_lossy(&names::shown(&key.name)).into_owned()));
                ControlFlow::Break(())
            }
            Ok(_) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        found.ok_or_else(|| {
            let at = self.source.bounds.start;
            failed.unwrap_or_else(|| {
                Error::from(ParseError::corrupt(at, "catalog", "a record of the root directory", "none"))
            })
        })
    }

    /// Finds the directories of hard links, which are in the root. Corruption elsewhere in the root is reported by
    /// listing it.
    pub(super) fn find_hidden(&self, root: &Item) -> Hidden {
        let mut hidden = Hidden { dates: [None, Some(root.created), Some(self.header.created)], ..Hidden::default() };
        let mut failed = None;
        let reported = self.children(root.id, &mut |reported| {
            match reported {
                Ok((key, item)) if item.attributes.kind == NodeKind::Directory => {
                    if is_name(&key.name, FILE_LINKS) {
                        hidden.files = Some(item.id);
                        hidden.dates[0] = Some(item.created);
                    } else if is_name(&key.name, DIRECTORY_LINKS) {
                        hidden.directories = Some(item.id);
                    }
                }
                Ok(_) => {}
                Err(error) => failed = Some(error),
            }
            ControlFlow::Continue(())
        });
        if let Some(e) = reported.err().or(failed) {
            log::warn!("Hard links may not be followed: {e}");
        }
        hidden
    }

    /// Whether a name in a directory is one of the file system's own, which are hidden.
    pub(super) fn is_hidden(&self, key: &Key) -> bool {
        key.parent == ROOT && (is_name(&key.name, FILE_LINKS) || is_name(&key.name, DIRECTORY_LINKS))
    }

    /// The record of a node; for a hard link, that of its target.
    pub(super) fn item(&self, node: Node) -> Result<Item> {
        let id = record_id(node)?;
        let leaf = self.leaf(&self.catalog, id.node)?;
        let record = leaf.record(id.record, None)?;
        let item = Item::parse(&record, self.header.block_size)?;
        let item =
            item.ok_or_else(|| ParseError::corrupt(record.at, "record of a node", "a file or directory", "a thread"))?;
        let parent = Some(key(record.key, record.at)?.parent);
        if parent == self.hidden.files || parent == self.hidden.directories {
            return Ok(item.counted());
        }
        self.resolved(item)
    }

    /// Follows a hard link to its target; returns anything else unchanged.
    pub(super) fn resolved(&self, item: Item) -> Result<Item> {
        let Some(link) = item.link.filter(|link| self.is_link(&item, *link)) else { return Ok(item) };
        let (directory, prefix) =
            if link.directory { (self.hidden.directories, "dir_") } else { (self.hidden.files, "iNode") };
        let name = format!("{prefix}{}", link.number);
        let found = directory.map(|directory| self.find(directory, &name)).transpose()?.flatten();
        found.filter(|target| target.link.is_none()).ok_or_else(|| {
            let what = format!("target of the hard link with number {}", item.id);
            Error::from(ParseError::corrupt(item.at, what, format_args!("a hidden file {name}"), "none"))
        })
    }

    /// Whether a file that looks like a link is one: other files may have the same type.
    fn is_link(&self, item: &Item, link: Link) -> bool {
        if link.directory { self.hidden.directories.is_some() } else { self.hidden.dates.contains(&Some(item.created)) }
    }

    /// The record of a name in a hidden directory. Names there consist of ASCII letters, digits and underscores.
    fn find(&self, parent: u32, name: &str) -> Result<Option<Item>> {
        let wanted: Vec<u16> = name.encode_utf16().collect();
        let order = |raw: &[u8]| {
            let key = key(raw, 0)?;
            let names = if self.catalog.case_sensitive {
                key.name.cmp(&wanted)
            } else {
                key.name.iter().map(lower).cmp(wanted.iter().map(lower))
            };
            Ok(key.parent.cmp(&parent).then(names))
        };
        let found = self.last(&self.catalog, &order, |record| {
            if order(record.key)?.is_ne() {
                return Ok(None);
            }
            let item = Item::parse(record, self.header.block_size)?;
            Ok(item.map(Item::counted))
        })?;
        Ok(found.flatten())
    }
}

fn lower(unit: &u16) -> u16 {
    if (0x41..=0x5A).contains(unit) { unit + 0x20 } else { *unit }
}

fn is_name(name: &[u16], wanted: &str) -> bool {
    name.iter().copied().eq(wanted.encode_utf16())
}

/// The ID of a directory; an error for anything else.
pub(super) fn directory(item: &Item) -> Result<u32> {
    if item.attributes.kind == NodeKind::Directory { Ok(item.id) } else { Err(Error::NotDirectory) }
}
