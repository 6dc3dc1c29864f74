//! Finding items in trees. On the way down every node must match its pointer: offset, generation, level and first key,
//! with all keys below its neighbour's. So a walk always moves forward and ends.

use super::checksum::{Checksum, Sum};
use super::chunk::Chunks;
use super::node::{Key, Node, Pointer, Tree, owner_fits};
use crate::disk::Disk;
use crate::error_kind::message;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, ControlFlow, RangeBounds};
use std::sync::Arc;

/// Bytes of nodes that are cached.
const CACHE: u64 = 32 << 20;

#[derive(Clone)]
struct BySize;

impl Weighter<(u64, u64), Arc<Node>> for BySize {
    fn weight(&self, _key: &(u64, u64), node: &Arc<Node>) -> u64 {
        node.size() as u64
    }
}

/// All nodes of the file system.
pub(super) struct Nodes {
    pub(super) volume: Arc<dyn Disk>,
    pub(super) chunks: Chunks,
    pub(super) checksum: Checksum,
    uuid: [u8; 16],
    size: usize,
    /// By the number of their tree.
    pub(super) overlays: HashMap<u64, Overlay>,
    /// By logical address and generation.
    cache: Cache<(u64, u64), Arc<Node>, BySize>,
}

/// An item of a leaf.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) key: Key,
    data: Data,
}

#[derive(Debug, Clone)]
enum Data {
    Leaf(Arc<Node>, usize),
    /// Bytes that are no longer, or never were, in a leaf, and where they were.
    Own(Arc<[u8]>, u64),
}

impl Item {
    /// Its data.
    pub(super) fn fields(&self) -> Result<Fields<'_>, ParseError> {
        match &self.data {
            Data::Leaf(leaf, index) => leaf.item(*index),
            Data::Own(bytes, at) => Ok(Fields::new("item", bytes, *at)),
        }
    }

    /// Its offset on the volume; 0 for one that a replay of the log made.
    pub(super) fn at(&self) -> u64 {
        match &self.data {
            Data::Leaf(leaf, index) => leaf.offset(*index),
            Data::Own(_, at) => *at,
        }
    }

    /// The same without the leaf, which takes much more memory.
    pub(super) fn own(&self) -> Result<Self, ParseError> {
        let f = self.fields()?;
        Ok(Self { key: self.key, data: Data::Own(f.bytes(0, f.len())?.into(), f.offset(0)) })
    }

    /// Bytes that it takes in memory without a leaf.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.fields().map_or(0, |f| f.len())
    }
}

/// What a replay of the log makes of a tree: items that are new or changed, none for those that are gone.
pub(super) type Overlay = BTreeMap<Key, Option<Arc<[u8]>>>;

/// A position in a tree, between items.
pub(super) struct Cursor<'a> {
    nodes: &'a Nodes,
    tree: Tree,
    /// From the root to a leaf: each node, the next of its items or pointers, and what its keys are below.
    path: Vec<(Arc<Node>, usize, Option<Key>)>,
    overlay: Option<&'a Overlay>,
    /// Nodes of higher keys only are not read; none for no limit.
    last: Option<Key>,
    /// With an overlay: what the key of the next item is at least or above, and the item of the tree that was read
    /// ahead.
    next: Bound<Key>,
    ahead: Option<Item>,
}

impl Nodes {
    /// Nodes of `size` bytes with this `uuid`.
    pub(super) fn new(volume: Arc<dyn Disk>, chunks: Chunks, checksum: Checksum, uuid: [u8; 16], size: u32) -> Self {
        let size = usize::try_from(size).unwrap_or(0);
        let expected = usize::try_from(CACHE).unwrap_or(0) / size.max(1);
        let cache = Cache::with_weighter(expected, CACHE, BySize);
        Self { volume, chunks, checksum, uuid, size, overlays: HashMap::new(), cache }
    }

    /// The node that a pointer means: from its first valid copy.
    fn node(&self, pointer: &Pointer) -> Result<Arc<Node>> {
        let key = (pointer.logical, pointer.generation);
        if let Some(node) = self.cache.get(&key).filter(|node| node.level == pointer.level) {
            return Ok(node);
        }
        let mut first: Option<Error> = None;
        for offset in self.chunks.copies(pointer.logical, self.size as u64)? {
            match self.read(offset, pointer) {
                Ok(node) => {
                    if let Some(error) = first {
                        log::warn!("{}; its other copy is used", message(&error));
                    }
                    let node = Arc::new(node);
                    self.cache.insert(key, node.clone());
                    return Ok(node);
                }
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| {
            Error::from(ParseError::corrupt(
                0,
                "offset of a node",
                "a copy on this device",
                format_args!("none of {}", key.0),
            ))
        }))
    }

    fn read(&self, offset: u64, pointer: &Pointer) -> Result<Node> {
        let mut bytes = vec![0; self.size];
        self.volume.read_at(offset, &mut bytes)?;
        let (stated, found) = (Sum::stored(&bytes[..self.checksum.size()]), self.checksum.of(&bytes[32..]));
        if stated != found {
            return Err(ParseError::corrupt(offset, "checksum of a node", found, stated).into());
        }
        Node::parse(bytes, offset, pointer, &self.uuid).map_err(Error::from)
    }

    /// The position before the last item that is not above `key`; the start of the tree when there is none.
    pub(super) fn cursor(&self, tree: &Tree, key: Key) -> Result<Cursor<'_>> {
        let overlay = self.overlays.get(&tree.id);
        let mut cursor = self.stored(tree, key)?;
        let Some(overlay) = overlay else { return Ok(cursor) };
        // The last item that is stored and still there.
        let mut wanted = key;
        let stored = loop {
            let found = cursor.next_stored()?;
            match found {
                Some(item) if item.key > wanted => break None,
                Some(item) if matches!(overlay.get(&item.key), Some(None)) => {
                    let Some(before) = item.key.before() else { break None };
                    wanted = before;
                    cursor = self.stored(tree, wanted)?;
                }
                Some(item) => break Some(item.key),
                None => break None,
            }
        };
        let newer = overlay.range(..=key).rev().find(|(_, data)| data.is_some()).map(|(key, _)| *key);
        let start = stored.max(newer).unwrap_or(key);
        cursor = self.stored(tree, start)?;
        cursor.overlay = Some(overlay);
        cursor.next = Bound::Included(start);
        Ok(cursor)
    }

    fn stored(&self, tree: &Tree, key: Key) -> Result<Cursor<'_>> {
        let mut cursor = self.at_root(tree, key)?;
        cursor.descend(Some(key))?;
        Ok(cursor)
    }

    /// The position of a key, as far as the root of the tree has it.
    fn at_root(&self, tree: &Tree, key: Key) -> Result<Cursor<'_>> {
        let mut cursor = Cursor {
            nodes: self,
            tree: *tree,
            path: Vec::new(),
            overlay: None,
            last: None,
            next: Bound::Unbounded,
            ahead: None,
        };
        let root = self.node(&tree.root)?;
        if root.count() == 0 && root.level > 0 {
            return Err(ParseError::corrupt(root.at(), "pointers of an inner node", "at least 1", 0).into());
        }
        cursor.push(root, None, Some(key))?;
        Ok(cursor)
    }

    /// The item with exactly this key.
    pub(super) fn get(&self, tree: &Tree, key: Key) -> Result<Option<Item>> {
        match self.overlays.get(&tree.id).and_then(|overlay| overlay.get(&key)) {
            Some(data) => Ok(data.clone().map(|data| Item { key, data: Data::Own(data, 0) })),
            None => Ok(self.stored(tree, key)?.next_stored()?.filter(|item| item.key == key)),
        }
    }

    /// Tells the items of an object that are of a kind, from an offset on.
    pub(super) fn items(
        &self,
        tree: &Tree,
        from: Key,
        each: &mut dyn FnMut(&Item) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut failed = Ok(());
        self.readable_items(tree, from, &mut |item| {
            let reported = item.and_then(&mut *each);
            reported.unwrap_or_else(|error| {
                failed = Err(error);
                ControlFlow::Break(())
            })
        })?;
        failed
    }

    /// As [`items`](Self::items), but also reports a node that cannot be read, and goes on after it.
    pub(super) fn readable_items(
        &self,
        tree: &Tree,
        from: Key,
        each: &mut dyn FnMut(Result<&Item>) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut cursor = self.at_root(tree, from)?;
        cursor.last = Some(Key::new(from.objectid, from.kind, u64::MAX));
        if let Err(error) = cursor.descend(Some(from))
            && each(Err(error)).is_break()
        {
            return Ok(());
        }
        cursor.overlay = self.overlays.get(&tree.id);
        cursor.next = Bound::Included(from);
        loop {
            let reported = match cursor.next() {
                Ok(None) => break,
                Ok(Some(item)) if item.key < from => ControlFlow::Continue(()),
                Ok(Some(item)) if (item.key.objectid, item.key.kind) != (from.objectid, from.kind) => break,
                Ok(Some(item)) => each(Ok(&item)),
                // The pointer to the node is already passed.
                Err(error) => each(Err(error)),
            };
            if reported.is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Cursor<'_> {
    /// The item after this position, which moves past it.
    pub(super) fn next(&mut self) -> Result<Option<Item>> {
        let Some(overlay) = self.overlay else { return self.next_stored() };
        loop {
            while self.ahead.as_ref().is_none_or(|item| !(self.next, Bound::Unbounded).contains(&item.key)) {
                self.ahead = self.next_stored()?;
                if self.ahead.is_none() {
                    break;
                }
            }
            let newer = overlay.range((self.next, Bound::Unbounded)).next();
            let stored = self.ahead.as_ref().map(|item| item.key);
            let Some(key) = newer.map(|(key, _)| *key).into_iter().chain(stored).min() else { return Ok(None) };
            self.next = Bound::Excluded(key);
            match newer {
                Some((newer, data)) if *newer == key => {
                    if let Some(data) = data {
                        return Ok(Some(Item { key, data: Data::Own(data.clone(), 0) }));
                    }
                }
                _ => return Ok(self.ahead.take()),
            }
        }
    }

    fn next_stored(&mut self) -> Result<Option<Item>> {
        loop {
            let Some((node, index, _)) = self.path.last_mut() else { return Ok(None) };
            if *index >= node.count() {
                self.path.pop();
                continue;
            }
            if node.level == 0 {
                let (leaf, index) = (node.clone(), std::mem::replace(index, *index + 1));
                let key = leaf.key(index)?;
                return Ok(Some(Item { key, data: Data::Leaf(leaf, index) }));
            }
            self.descend(None)?;
        }
    }

    /// Goes down from the next pointer of the last node to a leaf: to where `key` belongs, or to the first item.
    fn descend(&mut self, key: Option<Key>) -> Result<()> {
        while let Some((node, index, high)) = self.path.last_mut() {
            if node.level == 0 {
                break;
            }
            let pointer = node.child(*index)?;
            let low = node.key(*index)?;
            *index += 1;
            if self.last.is_some_and(|last| low > last) {
                self.path.clear();
                break;
            }
            let high = if *index < node.count() { Some(node.key(*index)?) } else { *high };
            let child = self.nodes.node(&pointer)?;
            fits(&child, low, high)?;
            self.push(child, high, key)?;
        }
        Ok(())
    }

    fn push(&mut self, node: Arc<Node>, high: Option<Key>, key: Option<Key>) -> Result<()> {
        if !owner_fits(self.tree.id, node.owner) {
            let what = "owner of a node";
            return Err(ParseError::corrupt(node.at(), what, format_args!("tree {}", self.tree.id), node.owner).into());
        }
        let index = match key {
            Some(key) => node.not_above(key)?.saturating_sub(1),
            None => 0,
        };
        self.path.push((node, index, high));
        Ok(())
    }
}

/// Checks a child against its pointer's key and that of the next pointer.
fn fits(child: &Node, low: Key, high: Option<Key>) -> Result<()> {
    let Some(last) = child.count().checked_sub(1) else {
        return Err(ParseError::corrupt(child.at(), "items of a node", "at least 1", 0).into());
    };
    let (first, last) = (child.key(0)?, child.key(last)?);
    if first != low {
        return Err(ParseError::corrupt(child.offset(0), "first key of a node", low, first).into());
    }
    if let Some(high) = high.filter(|high| last >= *high) {
        return Err(ParseError::corrupt(child.at(), "last key of a node", format_args!("below {high}"), last).into());
    }
    Ok(())
}
