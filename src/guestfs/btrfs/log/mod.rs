//! The log: what programs synced since the last transaction, for each subvolume a tree with copies of the changed items
//! (<https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html>, `TREE_LOG`). The kernel merges them into
//! the subvolume on mounting; this merges them in memory, with the same outcome except for the timestamps that the
//! kernel sets meanwhile.

mod extents;
mod names;
mod view;

use super::checksum::Sum;
use super::directory::dir_items;
use super::node::{Key, Tree};
use super::refs::{extended_key, plain_key, refs};
use super::superblock::Superblock;
use super::tree::{Item, Nodes};
use super::{kind, objectid, subvolume};
use crate::guestfs::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use view::{View, all, check_bytes, entry};

/// Bytes of an inode.
const INODE: usize = 160;

/// Checksums of data that are only in logs, by the logical addresses of their sectors.
pub(super) type LoggedSums = BTreeMap<u64, Sum>;

/// One subvolume and its log.
struct Replay<'a> {
    view: View<'a>,
    log: Tree,
    sector: u64,
    /// Inodes whose names are to be counted anew.
    changed: BTreeSet<u64>,
}

/// Replays the logs of all subvolumes into the nodes' overlays; the number of subvolumes that had one.
pub(super) fn replay(
    nodes: &mut Nodes,
    sb: &Superblock,
    logs: &Tree,
    find: impl Fn(&Nodes, u64) -> Result<Option<Tree>>,
) -> Result<(LoggedSums, usize)> {
    let (mut sums, mut bytes, mut count) = (LoggedSums::new(), 0, 0);
    for item in all(nodes, logs, Key::new(objectid::TREE_LOG, kind::ROOT_ITEM, 0), u64::MAX)? {
        let log = subvolume::subvolume(&item)?.tree;
        // That of a subvolume which was deleted since then has no use.
        let Some(tree) = find(nodes, item.key.offset)? else { continue };
        nodes.items(&log, Key::new(objectid::EXTENT_CSUM, kind::EXTENT_CSUM, 0), &mut |item| {
            let f = item.fields()?;
            let stored = f.bytes(0, f.len())?.chunks_exact(nodes.checksum.size());
            let offsets = (item.key.offset..).step_by(usize::try_from(sb.sector_size).unwrap_or(1));
            sums.extend(offsets.zip(stored.map(Sum::stored)));
            check_bytes(sums.len() * size_of::<(u64, Sum)>())?;
            Ok(ControlFlow::Continue(()))
        })?;
        let view = View { nodes, tree, bytes };
        let mut replay = Replay { view, log, sector: sb.sector_size.into(), changed: BTreeSet::new() };
        replay.run()?;
        bytes = replay.view.bytes;
        count += 1;
    }
    Ok((sums, count))
}

impl Replay<'_> {
    fn run(&mut self) -> Result<()> {
        let items = self.logged()?;
        for item in items.iter().filter(|item| item.key.kind == kind::INODE_ITEM) {
            self.inode(item)?;
        }
        for item in items.iter().filter(|item| item.key.kind == kind::DIR_INDEX) {
            self.entry(item)?;
        }
        for item in &items {
            match item.key.kind {
                kind::XATTR_ITEM => self.copy(item)?,
                kind::INODE_REF | kind::INODE_EXTREF => self.names(item)?,
                kind::EXTENT_DATA => self.extent(item)?,
                _ => {}
            }
        }
        let touched: BTreeSet<u64> = items.iter().map(|item| item.key.objectid).chain(self.changed.clone()).collect();
        while let Some(inode) = self.changed.pop_last() {
            self.count_names(inode)?;
        }
        touched.into_iter().try_for_each(|inode| self.count_bytes(inode))
    }

    /// The items of the log, but for those of inodes that have no name any more.
    fn logged(&self) -> Result<Vec<Item>> {
        let (mut items, mut bytes) = (Vec::new(), 0);
        let mut nameless = None;
        let mut cursor = self.view.nodes.cursor(&self.log, Key::new(0, 0, 0))?;
        while let Some(item) = cursor.next()? {
            if item.key.kind == kind::INODE_ITEM {
                let links = item.fields().and_then(|f| f.u32_le(40))?;
                nameless = (links == 0).then_some(item.key.objectid);
            }
            if nameless == Some(item.key.objectid) || !objectid::is_subvolume(item.key.objectid) {
                continue;
            }
            bytes += item.size();
            check_bytes(bytes)?;
            items.push(item.own()?);
        }
        Ok(items)
    }

    fn in_log(&self, key: Key) -> Result<Option<Item>> {
        self.view.nodes.get(&self.log, key)
    }

    fn copy(&mut self, item: &Item) -> Result<()> {
        let f = item.fields()?;
        self.view.put(item.key, f.bytes(0, f.len())?.to_vec())
    }

    /// An inode: attributes and names that the log does not have are gone, and so is data after its new end.
    fn inode(&mut self, item: &Item) -> Result<()> {
        let inode = item.key.objectid;
        for old in self.view.all(Key::new(inode, kind::XATTR_ITEM, 0), u64::MAX)? {
            let logged = self.in_log(old.key)?;
            for attribute in dir_items(&old)? {
                if entry(logged.as_ref(), attribute.name)?.is_none() {
                    self.view.remove_entry(old.key, attribute.name)?;
                }
            }
        }
        let f = item.fields()?;
        let mut new = f.bytes(0, INODE)?.to_vec();
        let (generation, size) = (f.u64_le(0)?, f.u64_le(16)?);
        let is = |mode: u32, kind: u32| mode >> 12 == kind;
        let (directory, file) = (0x4, 0x8);
        let mode = f.u32_le(52)?;
        if is(mode, directory) {
            self.deleted_entries(inode)?;
        }
        if let Some(old) = self.view.get(item.key)? {
            let old = old.fields()?;
            let old_mode = old.u32_le(52)?;
            let both = |kind| is(mode, kind) && is(old_mode, kind);
            if generation == 0 {
                // It was only noted that it exists.
                new = old.bytes(0, INODE)?.to_vec();
                if both(file) && size != 0 {
                    new[16..24].copy_from_slice(&size.to_le_bytes());
                }
            } else if both(directory) {
                new[16..24].copy_from_slice(old.bytes(16, 8)?);
            }
        }
        let size = new[16..].first_chunk().map_or(0, |raw| u64::from_le_bytes(*raw));
        self.view.put(item.key, new)?;
        if is(mode, file) {
            self.drop_extents(inode, size.checked_next_multiple_of(self.sector).unwrap_or(u64::MAX), u64::MAX)?;
        }
        self.changed.insert(inode);
        Ok(())
    }

    /// In the ranges of a directory's index that the log knows, entries that it does not have are gone.
    fn deleted_entries(&mut self, directory: u64) -> Result<()> {
        if !self.view.has_inode(directory)? {
            return Ok(());
        }
        let mut next = 0;
        for range in all(self.view.nodes, &self.log, Key::new(directory, kind::DIR_LOG_INDEX, 0), u64::MAX)? {
            let end = range.fields().and_then(|f| f.u64_le(0))?;
            let start = range.key.offset.max(next);
            next = end.saturating_add(1).max(next);
            for old in self.view.all(Key::new(directory, kind::DIR_INDEX, start), end)? {
                let logged = self.in_log(old.key)?;
                for gone in dir_items(&old)? {
                    if entry(logged.as_ref(), gone.name)?.is_none() {
                        self.drop_entry(directory, gone.location.objectid, gone.name)?;
                        self.view.remove_entry(old.key, gone.name)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// An entry of a directory, which is replayed when what it names is there.
    fn entry(&mut self, item: &Item) -> Result<()> {
        let (directory, index) = (item.key.objectid, item.key.offset);
        for new in dir_items(item)? {
            let target = new.location.objectid;
            let exists = new.location.kind == kind::INODE_ITEM && self.view.has_inode(target)?;
            let mut same = 0;
            for by_index in [false, true] {
                let old = if by_index {
                    self.view.indexed(directory, index, new.name)?
                } else {
                    self.view.named(directory, new.name)?
                };
                match old {
                    Some(old) if old == (new.location, new.kind) => same += 1,
                    Some((location, _)) if exists => self.drop_entry(directory, location.objectid, new.name)?,
                    _ => {}
                }
            }
            // When the log has it among the inode's names, it comes with those.
            if same == 2 || !exists || self.is_logged_name(target, directory, new.name)? {
                continue;
            }
            if self.view.has_inode(directory)? && self.view.add_entry(directory, index, new.name, target)? {
                self.add_name(target, directory, index, new.name)?;
                if new.kind != 2 {
                    self.changed.insert(target);
                }
            }
        }
        Ok(())
    }

    /// Whether the log has a name among those of an inode.
    fn is_logged_name(&self, inode: u64, directory: u64, name: &[u8]) -> Result<bool> {
        for key in [plain_key(inode, directory), extended_key(inode, directory, name)] {
            if let Some(item) = self.in_log(key)?
                && refs(&item)?.iter().any(|known| known.parent == directory && known.name == name)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Counts the names of an inode. A directory without one is gone with all that is in it.
    fn count_names(&mut self, inode: u64) -> Result<()> {
        let key = Key::new(inode, kind::INODE_ITEM, 0);
        let Some(item) = self.view.get(key)? else { return Ok(()) };
        let mut names = 0_u32;
        for kind in [kind::INODE_REF, kind::INODE_EXTREF] {
            for item in self.view.all(Key::new(inode, kind, 0), u64::MAX)? {
                let count = refs(&item)?.len();
                names = names.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
            }
        }
        let f = item.fields()?;
        let mut bytes = f.bytes(0, f.len())?.to_vec();
        if f.u32_le(40)? != names {
            bytes[40..44].copy_from_slice(&names.to_le_bytes());
            self.view.put(key, bytes)?;
        }
        if names == 0 {
            for old in self.view.all(Key::new(inode, kind::DIR_INDEX, 0), u64::MAX)? {
                for gone in dir_items(&old)? {
                    self.drop_entry(inode, gone.location.objectid, gone.name)?;
                }
                self.view.delete(old.key)?;
            }
        }
        Ok(())
    }

    /// Counts the bytes that a file takes, and those of a directory's names, twice each as btrfs does.
    fn count_bytes(&mut self, inode: u64) -> Result<()> {
        let key = Key::new(inode, kind::INODE_ITEM, 0);
        let Some(item) = self.view.get(key)? else { return Ok(()) };
        let f = item.fields()?;
        let mut bytes = f.bytes(0, f.len())?.to_vec();
        let (offset, count) = match f.u32_le(52)? >> 12 {
            0x4 => (16, self.name_bytes(inode)?),
            0x8 => (24, self.data_bytes(inode)?),
            _ => return Ok(()),
        };
        bytes[offset..offset + 8].copy_from_slice(&count.to_le_bytes());
        self.view.put(key, bytes)
    }

    fn name_bytes(&self, directory: u64) -> Result<u64> {
        let mut count = 0;
        self.view.nodes.items(&self.view.tree, Key::new(directory, kind::DIR_INDEX, 0), &mut |item| {
            let entries = dir_items(item)?;
            count += entries.iter().map(|entry| 2 * entry.name.len() as u64).sum::<u64>();
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(count)
    }
}
