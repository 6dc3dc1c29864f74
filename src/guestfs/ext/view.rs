//! Overlays the volume with the changes of fast commits. These describe inodes, names and ranges of blocks, so the
//! overlay holds those, not the blocks that the kernel would write.
//!
//! The outcome is that of the kernel's `ext4_fc_replay` in `fs/ext4/fast_commit.c`, with these exceptions. Times that
//! it sets to the time of the replay are left alone. The kernel fails on files that were open when they lost their last
//! name, and loses directories that reuse the inode number of a deleted one; this shows them as synced. Data that
//! outgrew its inode (`inline_data`), which the kernel drops, is refused.

use super::Ext;
use super::inode::{BLOCK_BYTES, Inode, flags};
use super::journal::Change;
use super::map::{self, Mapped};
use crate::guestfs::{Entry, Error, GuestFs, Node, NodeKind, Result};
use crate::ondisk::ParseError;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Offsets in an inode: `i_links_count`, `i_flags`, `i_block`, and `i_generation` after it.
const LINKS: usize = 0x1A;
const FLAGS: usize = 0x20;
const BLOCK: usize = 0x28;
const GENERATION: usize = BLOCK + BLOCK_BYTES;
/// An extent tree without entries, of which there is room for four.
const EMPTY_TREE: [u8; 12] = [0x0A, 0xF3, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0];
/// Where the listing of new names begins, after all positions in a directory's blocks.
const ADDED: u64 = 1 << 40;
/// Names of directories on the volume that are retained in memory at most while changes are merged.
const MAX_NAMES: usize = 8 << 20;

/// All changes, merged.
#[derive(Debug, Default)]
pub(super) struct View {
    /// The bytes of inodes.
    inodes: HashMap<u32, Vec<u8>>,
    /// Ranges of files by their first block; they take precedence over the inode's map.
    maps: HashMap<u32, BTreeMap<u64, Segment>>,
    directories: HashMap<u32, Names>,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    /// The block of the file after the last one.
    end: u64,
    /// The first one on the volume; none for a hole or what was never written.
    block: Option<u64>,
}

/// The names of a directory over those on the volume.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Ignore the names on the volume.
    is_new: bool,
    removed: HashSet<Vec<u8>>,
    /// In the order in which they were added.
    added: BTreeMap<u64, (Vec<u8>, u32)>,
    /// The position of each name in `added`.
    positions: HashMap<Vec<u8>, u64>,
    next: u64,
}

impl Names {
    fn add(&mut self, name: &[u8], inode: u32) {
        self.positions.insert(name.to_vec(), self.next);
        self.added.insert(self.next, (name.to_vec(), inode));
        self.next += 1;
    }

    fn remove(&mut self, name: &[u8]) {
        match self.positions.remove(name) {
            Some(position) => {
                self.added.remove(&position);
            }
            None => {
                self.removed.insert(name.to_vec());
            }
        }
    }

    fn added(&self, name: &[u8]) -> Option<u32> {
        self.added.get(self.positions.get(name)?).map(|(_, inode)| *inode)
    }
}

impl View {
    /// The bytes of an inode that was changed.
    pub(super) fn inode(&self, number: u32) -> Option<&[u8]> {
        self.inodes.get(&number).map(Vec::as_slice)
    }

    /// What a file has at a block, by what its map on the volume has there.
    pub(super) fn mapped(&self, inode: u32, block: u64, stored: impl FnOnce() -> Result<Mapped>) -> Result<Mapped> {
        let Some(map) = self.maps.get(&inode) else { return stored() };
        if let Some((first, segment)) = map.range(..=block).next_back()
            && segment.end > block
        {
            let block_there = segment.block.map(|start| start + (block - first));
            return Ok(Mapped { block: block_there, count: segment.end - block });
        }
        let mut mapped = stored()?;
        if let Some((next, _)) = map.range(block + 1..).next() {
            mapped.count = mapped.count.min(next - block);
        }
        Ok(mapped)
    }

    /// The names of a directory that were changed.
    pub(super) fn names(&self, directory: u32) -> Option<&Names> {
        self.directories.get(&directory)
    }

    /// Notes what a file has from its block `first` on up to before `end`.
    fn put(&mut self, inode: u32, first: u64, end: u64, block: Option<u64>) {
        let map = self.maps.entry(inode).or_default();
        let before = map.range(..first).next_back().map(|(at, segment)| (*at, *segment));
        if let Some((at, segment)) = before.filter(|(_, segment)| segment.end > first) {
            map.insert(at, Segment { end: first, ..segment });
            if segment.end > end {
                map.insert(end, rest(at, segment, end));
            }
        }
        while let Some((at, segment)) = map.range(first..end).next().map(|(at, segment)| (*at, *segment)) {
            map.remove(&at);
            if segment.end > end {
                map.insert(end, rest(at, segment, end));
            }
        }
        map.insert(first, Segment { end, block });
    }
}

/// What a range that begins at a file's block `first` has from block `from` on.
fn rest(first: u64, segment: Segment, from: u64) -> Segment {
    Segment { block: segment.block.map(|block| block + (from - first)), ..segment }
}

impl Ext {
    /// Passes a changed directory's entries from `from` on to `each`, with those on the volume from `stored`.
    pub(super) fn changed_entries(
        &self,
        names: &Names,
        from: u64,
        stored: impl FnOnce(&mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<()>,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut reported = ControlFlow::Continue(());
        if !names.is_new && from < ADDED {
            stored(&mut |entry| {
                if !names.removed.contains(&entry.name) {
                    reported = each(entry);
                }
                reported
            })?;
        }
        for (position, (name, inode)) in names.added.range(from.saturating_sub(ADDED)..) {
            if reported.is_break() {
                break;
            }
            let kind = self.inode(*inode).map_or(NodeKind::File, |inode| inode.attributes.kind);
            let node = Node(u64::from(*inode));
            reported = each(Entry { name: name.clone(), node, kind, next: ADDED + position + 1 });
        }
        Ok(())
    }

    /// Merges changes in their order.
    pub(super) fn view(&self, changes: Vec<Change>) -> Result<View> {
        let mut apply = Apply { ext: self, view: View::default(), stored: HashMap::new(), names: 0 };
        changes.into_iter().try_for_each(|change| apply.change(change))?;
        Ok(apply.view)
    }
}

/// Changes being merged.
struct Apply<'a> {
    /// The file system without the changes.
    ext: &'a Ext,
    view: View,
    /// Names of directories on the volume, and how many they are.
    stored: HashMap<u32, HashMap<Vec<u8>, Node>>,
    names: usize,
}

impl Apply<'_> {
    fn change(&mut self, change: Change) -> Result<()> {
        match change {
            Change::Inode { inode, raw } => self.inode(inode, &raw),
            Change::Add { inode, extent } => self.add_range(inode, &extent),
            Change::Delete { inode, first, count } => {
                if let Some(file) = self.file(inode)? {
                    let first = u64::from(first);
                    if count > 0 {
                        self.view.put(file.number, first, first + u64::from(count), None);
                    }
                }
                Ok(())
            }
            Change::Create { directory, inode, name } => self.create(directory, inode, &name),
            Change::Link { directory, inode, name } => self.link(directory, inode, &name),
            Change::Unlink { directory, inode, name } => self.unlink(directory, inode, &name),
        }
    }

    /// An inode that has names; none for one that is not in use, which the kernel then passes over.
    fn present(&self, number: u32) -> Result<Option<Arc<Inode>>> {
        let found = match self.view.inode(number) {
            Some(raw) => self.ext.changed_inode(number, raw).map(Arc::new),
            None => self.ext.inode(number),
        };
        match found {
            Ok(inode) => Ok(Some(inode).filter(|inode| inode.attributes.links > 0)),
            Err(Error::Corrupt(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// An inode whose blocks are changed.
    fn file(&self, number: u32) -> Result<Option<Arc<Inode>>> {
        let Some(inode) = self.present(number)? else { return Ok(None) };
        if inode.has(flags::EXTENTS) {
            return Ok(Some(inode));
        }
        let what = format!("map of inode {number}, whose blocks a fast commit changes");
        Err(ParseError::corrupt(0, what, "an extent tree", "none").into())
    }

    /// The bytes of an inode, for changing.
    fn raw(&mut self, number: u32) -> Result<&mut Vec<u8>> {
        let raw = match self.view.inodes.remove(&number) {
            Some(raw) => raw,
            None => self.ext.raw_inode(number)?.1,
        };
        Ok(self.view.inodes.entry(number).or_insert(raw))
    }

    /// Takes all fields but the map, which the changes of ranges have.
    fn inode(&mut self, number: u32, new: &[u8]) -> Result<()> {
        let raw = self.raw(number)?;
        raw[..BLOCK].copy_from_slice(&new[..BLOCK]);
        raw[GENERATION..new.len()].copy_from_slice(&new[GENERATION..]);
        let new_flags = new[FLAGS..].first_chunk().map_or(0, |raw| u32::from_le_bytes(*raw));
        let mapped = matches!(new[1] >> 4, 0x4 | 0x8);
        if new_flags & flags::EXTENTS != 0 {
            if raw[BLOCK..BLOCK + 2] != EMPTY_TREE[..2] {
                raw[BLOCK..BLOCK + EMPTY_TREE.len()].copy_from_slice(&EMPTY_TREE);
            }
        } else if new_flags & flags::INLINE_DATA != 0 || !mapped {
            raw[BLOCK..GENERATION].copy_from_slice(&new[BLOCK..GENERATION]);
        }
        Ok(())
    }

    fn add_range(&mut self, number: u32, extent: &[u8; 12]) -> Result<()> {
        let Some(file) = self.file(number)? else { return Ok(()) };
        let (first, Mapped { block, count }) = map::extent(extent, false);
        let end = block.unwrap_or(0).checked_add(count);
        if count == 0 || end.is_none_or(|end| end > self.ext.sb.blocks) {
            let what = format!("block {first} of inode {number} in a fast commit");
            let found = format!("{count} from {block:?} on");
            return Err(ParseError::corrupt(0, what, format_args!("blocks below {}", self.ext.sb.blocks), found).into());
        }
        self.view.put(file.number, first, first + count, block);
        Ok(())
    }

    fn create(&mut self, directory: u32, number: u32, name: &[u8]) -> Result<()> {
        let Some(inode) = self.present(number)? else {
            let what = format!("inode {number}, which a fast commit makes");
            return Err(ParseError::corrupt(0, what, "an inode in use", "none").into());
        };
        if inode.attributes.kind == NodeKind::Directory {
            self.view.directories.insert(number, Names { is_new: true, ..Names::default() });
        }
        self.link(directory, number, name)?;
        self.set_links(number, 1)
    }

    fn link(&mut self, directory: u32, number: u32, name: &[u8]) -> Result<()> {
        let Some(inode) = self.present(number)? else { return Ok(()) };
        if !self.has_directory(directory)? || self.named(directory, name)?.is_some() {
            return Ok(());
        }
        if matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
            let found = String::from_utf8_lossy(name).into_owned();
            return Err(ParseError::corrupt(0, "name in a fast commit", "one without / and zero bytes", found).into());
        }
        self.view.directories.entry(directory).or_default().add(name, number);
        self.set_links(number, inode.attributes.links + 1)
    }

    fn unlink(&mut self, directory: u32, number: u32, name: &[u8]) -> Result<()> {
        let Some(inode) = self.present(number)? else { return Ok(()) };
        if !self.has_directory(directory)? {
            return Ok(());
        }
        let Some(named) = self.named(directory, name)? else { return Ok(()) };
        // Else the name was given to another one since then.
        if named == number {
            self.view.directories.entry(directory).or_default().remove(name);
        }
        let links = inode.attributes.links - 1;
        if links == 0 && inode.has(flags::EXTENTS) {
            self.view.maps.remove(&number);
            self.raw(number)?[BLOCK..BLOCK + EMPTY_TREE.len()].copy_from_slice(&EMPTY_TREE);
        }
        self.set_links(number, links)
    }

    fn set_links(&mut self, number: u32, links: u32) -> Result<()> {
        let links = u16::try_from(links).unwrap_or(u16::MAX).to_le_bytes();
        self.raw(number)?[LINKS..LINKS + 2].copy_from_slice(&links);
        Ok(())
    }

    /// Whether a directory is in use and has names that can be compared.
    fn has_directory(&self, number: u32) -> Result<bool> {
        let Some(directory) = self.present(number)? else { return Ok(false) };
        if directory.attributes.kind != NodeKind::Directory {
            let what = format!("inode {number}, in which a fast commit changes a name");
            return Err(ParseError::corrupt(0, what, "a directory", "none").into());
        }
        if directory.has(flags::ENCRYPT) || directory.has(flags::CASEFOLD) {
            let what = format!("directory with inode {number}, in which a fast commit changes a name");
            return Err(ParseError::corrupt(0, what, "names as they are", "encrypted ones or any case").into());
        }
        Ok(true)
    }

    /// The inode that has a name.
    fn named(&mut self, directory: u32, name: &[u8]) -> Result<Option<u32>> {
        if let Some(names) = self.view.directories.get(&directory) {
            if let Some(inode) = names.added(name) {
                return Ok(Some(inode));
            }
            if names.is_new || names.removed.contains(name) {
                return Ok(None);
            }
        }
        if !self.stored.contains_key(&directory) {
            let mut names = HashMap::new();
            let reported = self.ext.read_directory(Node(u64::from(directory)), 0, &mut |entry| {
                names.insert(entry.name, entry.node);
                if self.names + names.len() > MAX_NAMES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            // An unreadable inode stays unreadable.
            if !matches!(reported, Err(Error::Incomplete(_))) {
                reported?;
            }
            self.names += names.len();
            if self.names > MAX_NAMES {
                let expected = format!("at most {MAX_NAMES}");
                return Err(
                    ParseError::corrupt(0, "names in directories of the fast commits", expected, self.names).into()
                );
            }
            self.stored.insert(directory, names);
        }
        let found = self.stored.get(&directory).and_then(|names| names.get(name));
        Ok(found.and_then(|node| u32::try_from(node.0).ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_replace_what_they_overlap() {
        let mut view = View::default();
        let stored = |block: u64| Ok(Mapped { block: Some(1000 + block), count: 100 - block });
        let at = |view: &View, block: u64| {
            let mapped = view.mapped(7, block, || stored(block)).unwrap();
            (mapped.block, mapped.count)
        };
        assert_eq!(at(&view, 5), (Some(1005), 95));
        view.put(7, 10, 20, Some(500));
        view.put(7, 12, 14, None);
        assert_eq!(at(&view, 5), (Some(1005), 5));
        assert_eq!(at(&view, 10), (Some(500), 2));
        assert_eq!(at(&view, 13), (None, 1));
        assert_eq!(at(&view, 15), (Some(505), 5));
        assert_eq!(at(&view, 20), (Some(1020), 80));
        view.put(7, 0, 13, Some(2000));
        assert_eq!(at(&view, 12), (Some(2012), 1));
        assert_eq!(at(&view, 13), (None, 1));
        view.put(7, 11, 40, None);
        assert_eq!(at(&view, 0), (Some(2000), 11));
        assert_eq!(at(&view, 11), (None, 29));
        assert_eq!(at(&view, 40), (Some(1040), 60));
    }
}
