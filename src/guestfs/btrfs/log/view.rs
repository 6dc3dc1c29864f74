//! A subvolume while its log is replayed: reads see all changes so far.

use crate::guestfs::btrfs::directory::{DirItem, dir_items, name_hash};
use crate::guestfs::btrfs::kind;
use crate::guestfs::btrfs::node::{Key, Tree};
use crate::guestfs::btrfs::tree::{Item, Nodes, Overlay};
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use std::ops::ControlFlow;

/// Bytes of items that are retained in memory at most: of changed ones for all subvolumes, and of those of one list.
const MAX_BYTES: usize = 256 << 20;
/// What a changed item takes besides its data.
const ITEM_BYTES: usize = 96;

/// A subvolume that is changed.
pub(super) struct View<'a> {
    pub(super) nodes: &'a mut Nodes,
    pub(super) tree: Tree,
    /// Bytes of changed items so far.
    pub(super) bytes: usize,
}

impl View<'_> {
    pub(super) fn get(&self, key: Key) -> Result<Option<Item>> {
        self.nodes.get(&self.tree, key)
    }

    /// All items of an object that are of a kind, from an offset on to another.
    pub(super) fn all(&self, from: Key, to: u64) -> Result<Vec<Item>> {
        all(self.nodes, &self.tree, from, to)
    }

    pub(super) fn put(&mut self, key: Key, data: Vec<u8>) -> Result<()> {
        self.change(key, Some(data))
    }

    pub(super) fn delete(&mut self, key: Key) -> Result<()> {
        self.change(key, None)
    }

    fn change(&mut self, key: Key, data: Option<Vec<u8>>) -> Result<()> {
        self.bytes += ITEM_BYTES + data.as_ref().map_or(0, Vec::len);
        check_bytes(self.bytes)?;
        let overlay: &mut Overlay = self.nodes.overlays.entry(self.tree.id).or_default();
        overlay.insert(key, data.map(Into::into));
        Ok(())
    }

    /// Stores the remaining entries of an item, or deletes the item when there are none.
    pub(super) fn put_or_delete(&mut self, key: Key, data: Vec<u8>) -> Result<()> {
        if data.is_empty() { self.delete(key) } else { self.put(key, data) }
    }

    /// Whether there is an inode of this number.
    pub(super) fn has_inode(&self, inode: u64) -> Result<bool> {
        Ok(self.get(Key::new(inode, kind::INODE_ITEM, 0))?.is_some())
    }

    /// `mode` of an inode.
    pub(super) fn mode(&self, inode: u64) -> Result<Option<u32>> {
        let item = self.get(Key::new(inode, kind::INODE_ITEM, 0))?;
        item.map(|item| item.fields().and_then(|f| f.u32_le(52)).map_err(Error::from)).transpose()
    }

    /// The key of what a name in a directory means, and its kind.
    pub(super) fn named(&self, directory: u64, name: &[u8]) -> Result<Option<(Key, u8)>> {
        entry(self.get(Key::new(directory, kind::DIR_ITEM, name_hash(name)))?.as_ref(), name)
    }

    /// As [`named`](Self::named), by the name's index too.
    pub(super) fn indexed(&self, directory: u64, index: u64, name: &[u8]) -> Result<Option<(Key, u8)>> {
        entry(self.get(Key::new(directory, kind::DIR_INDEX, index))?.as_ref(), name)
    }

    /// Takes the entry of a name out of an item of a directory's entries or of attributes.
    pub(super) fn remove_entry(&mut self, key: Key, name: &[u8]) -> Result<()> {
        let Some(item) = self.get(key)? else { return Ok(()) };
        let left = dir_items(&item)?.iter().filter(|entry| entry.name != name).flat_map(raw).collect();
        self.put_or_delete(key, left)
    }

    /// Adds an entry to a directory, unless it has one of this name.
    pub(super) fn add_entry(&mut self, directory: u64, index: u64, name: &[u8], inode: u64) -> Result<bool> {
        if self.named(directory, name)?.is_some() {
            return Ok(false);
        }
        let Some(mode) = self.mode(inode)? else { return Ok(false) };
        let location = Key::new(inode, kind::INODE_ITEM, 0);
        let new = raw(&DirItem { location, kind: entry_kind(mode), name, data: &[] });
        let key = Key::new(directory, kind::DIR_ITEM, name_hash(name));
        let mut bytes = match self.get(key)? {
            Some(item) => {
                let f = item.fields()?;
                f.bytes(0, f.len())?.to_vec()
            }
            None => Vec::new(),
        };
        bytes.extend_from_slice(&new);
        self.put(key, bytes)?;
        self.put(Key::new(directory, kind::DIR_INDEX, index), new)?;
        Ok(true)
    }
}

/// All items of an object that are of a kind, from an offset on to another.
pub(super) fn all(nodes: &Nodes, tree: &Tree, from: Key, to: u64) -> Result<Vec<Item>> {
    let (mut items, mut bytes) = (Vec::new(), 0);
    nodes.items(tree, from, &mut |item| {
        if item.key.offset > to {
            return Ok(ControlFlow::Break(()));
        }
        bytes += item.size();
        check_bytes(bytes)?;
        items.push(item.own()?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(items)
}

/// No log is so large that this many bytes of it are needed at once.
pub(super) fn check_bytes(bytes: usize) -> Result<()> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    Err(ParseError::corrupt(0, "size of the log", format_args!("at most {MAX_BYTES} bytes"), "more").into())
}

/// The entry of a name in an item.
pub(super) fn entry(item: Option<&Item>, name: &[u8]) -> Result<Option<(Key, u8)>> {
    let Some(item) = item else { return Ok(None) };
    let entries = dir_items(item)?;
    Ok(entries.iter().find(|entry| entry.name == name).map(|entry| (entry.location, entry.kind)))
}

/// An entry as it is stored.
fn raw(entry: &DirItem<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(entry.location.objectid.to_le_bytes());
    bytes.push(entry.location.kind);
    bytes.extend(entry.location.offset.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(u16::try_from(entry.data.len()).unwrap_or(u16::MAX).to_le_bytes());
    bytes.extend(u16::try_from(entry.name.len()).unwrap_or(u16::MAX).to_le_bytes());
    bytes.push(entry.kind);
    bytes.extend_from_slice(entry.name);
    bytes.extend_from_slice(entry.data);
    bytes
}

/// The kind that a directory's entry has for an inode with this mode.
fn entry_kind(mode: u32) -> u8 {
    match mode >> 12 {
        0x1 => 5,
        0x2 => 3,
        0x4 => 2,
        0x6 => 4,
        0x8 => 1,
        0xA => 7,
        0xC => 6,
        _ => 0,
    }
}
