//! Replaying names: an entry of a directory and the same name at the inode, together.

use super::Replay;
use crate::guestfs::btrfs::directory::name_hash;
use crate::guestfs::btrfs::kind;
use crate::guestfs::btrfs::node::Key;
use crate::guestfs::btrfs::refs::{Ref, extended_key, plain_key, raw, refs};
use crate::guestfs::btrfs::tree::Item;
use crate::guestfs::{Error, Result};

/// The most bytes of plain names that an inode has in one directory; further ones are extended.
const MAX_PLAIN: usize = 3900;

impl Replay<'_> {
    /// Takes a name of an inode out of a directory.
    pub(super) fn unlink(&mut self, directory: u64, inode: u64, name: &[u8]) -> Result<()> {
        self.view.remove_entry(Key::new(directory, kind::DIR_ITEM, name_hash(name)), name)?;
        for key in [plain_key(inode, directory), extended_key(inode, directory, name)] {
            let Some(item) = self.view.get(key)? else { continue };
            let (gone, left): (Vec<_>, Vec<_>) =
                refs(&item)?.into_iter().partition(|known| known.parent == directory && known.name == name);
            if gone.is_empty() {
                continue;
            }
            self.view.put_or_delete(key, raw(&left, key.kind))?;
            for gone in gone {
                self.view.remove_entry(Key::new(directory, kind::DIR_INDEX, gone.index), name)?;
            }
        }
        Ok(())
    }

    /// As [`unlink`](Self::unlink), for an inode that may lose its last name by that.
    pub(super) fn drop_entry(&mut self, directory: u64, inode: u64, name: &[u8]) -> Result<()> {
        self.changed.insert(inode);
        self.unlink(directory, inode, name)
    }

    /// Adds a name to an inode.
    pub(super) fn add_name(&mut self, inode: u64, directory: u64, index: u64, name: &[u8]) -> Result<()> {
        let plain = plain_key(inode, directory);
        let known = |item: Option<Item>| item.map_or_else(|| Ok(Vec::new()), |item| refs(&item).map_err(Error::from));
        let (mut key, mut names) = (plain, known(self.view.get(plain)?)?);
        if raw(&names, plain.kind).len() + name.len() + 10 > MAX_PLAIN {
            key = extended_key(inode, directory, name);
            names = known(self.view.get(key)?)?;
        }
        names.push(Ref { parent: directory, index, name: name.to_vec() });
        self.view.put(key, raw(&names, key.kind))
    }

    /// The names that the log has of an inode, in one directory or with one hash: the inode gets these and loses
    /// others.
    pub(super) fn names(&mut self, item: &Item) -> Result<()> {
        let inode = item.key.objectid;
        let logged = refs(item)?;
        // A directory that is neither here nor in the log has no such name.
        let first = logged.first().map_or(item.key.offset, |first| first.parent);
        if !self.view.has_inode(first)? || !self.view.has_inode(inode)? {
            return Ok(());
        }
        for new in &logged {
            if !self.view.has_inode(new.parent)? || self.is_entry(inode, new)? {
                continue;
            }
            if !self.make_room(inode, new)? {
                return Ok(());
            }
            self.view.add_entry(new.parent, new.index, &new.name, inode)?;
        }
        if let Some(old) = self.view.get(item.key)? {
            for gone in refs(&old)? {
                if !logged.iter().any(|new| (new.parent, &new.name) == (gone.parent, &gone.name)) {
                    self.unlink(gone.parent, inode, &gone.name)?;
                }
            }
        }
        let cached = raw(&logged, item.key.kind);
        self.view.put(item.key, cached)
    }

    /// Whether a name of an inode is in its directory already.
    fn is_entry(&self, inode: u64, name: &Ref) -> Result<bool> {
        let by_index = self.view.indexed(name.parent, name.index, &name.name)?;
        let by_name = self.view.named(name.parent, &name.name)?;
        Ok([by_index, by_name].iter().all(|found| found.is_some_and(|(location, _)| location.objectid == inode)))
    }

    /// Takes away what is in the way of a new name; whether it can be added at all.
    fn make_room(&mut self, inode: u64, new: &Ref) -> Result<bool> {
        let (directory, name) = (new.parent, &new.name);
        let plain = plain_key(inode, directory);
        if let Some(old) = self.view.get(plain)? {
            if inode == directory {
                return Ok(false);
            }
            for old in refs(&old)? {
                if !self.has_logged(plain, &old)? {
                    self.unlink(directory, inode, &old.name)?;
                }
            }
        }
        let extended = extended_key(inode, directory, name);
        if let Some(old) = self.view.get(extended)? {
            for old in refs(&old)?.iter().filter(|old| old.parent == directory) {
                if !self.has_logged(extended, old)? {
                    self.unlink(directory, inode, &old.name)?;
                }
            }
        }
        for by_index in [true, false] {
            let found = if by_index {
                self.view.indexed(directory, new.index, name)?
            } else {
                self.view.named(directory, name)?
            };
            if let Some((location, _)) = found {
                self.drop_entry(directory, location.objectid, name)?;
            }
        }
        Ok(true)
    }

    fn has_logged(&self, key: Key, name: &Ref) -> Result<bool> {
        let Some(item) = self.view.nodes.get(&self.log, key)? else { return Ok(false) };
        Ok(refs(&item)?.iter().any(|known| (known.parent, &known.name) == (name.parent, &name.name)))
    }
}
