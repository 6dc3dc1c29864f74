//! Directories and extended attributes, which are stored alike. Field names and offsets are those of
//! <https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html> (`DIR_ITEM`, `DIR_INDEX`, `XATTR_ITEM`).

use super::node::{KEY, Key};
use super::number::Location;
use super::tree::Item;
use super::{Btrfs, kind, objectid};
use crate::guestfs::gaps::{Skip, may_be_escaped};
use crate::guestfs::{Entry, Error, GuestFs, Node, NodeKind, Result};
use crate::ondisk::ParseError;
use std::ops::ControlFlow;

/// Bytes before the name.
const HEAD: usize = KEY + 13;
/// Bit of `type`: the name is encrypted.
const ENCRYPTED: u8 = 0x80;
/// The longest name.
pub(super) const NAME_MAX: usize = 255;

/// An entry of a directory, or an extended attribute.
#[derive(Debug, Clone, Copy)]
pub(super) struct DirItem<'a> {
    /// What a directory's entry names.
    pub(super) location: Key,
    /// `type`
    pub(super) kind: u8,
    pub(super) name: &'a [u8],
    /// The value of an attribute.
    pub(super) data: &'a [u8],
}

/// All of an item: names with the same hash share one.
pub(super) fn dir_items(item: &Item) -> Result<Vec<DirItem<'_>>, ParseError> {
    let f = item.fields()?;
    let mut all = Vec::new();
    let mut at = 0;
    while at < f.len() {
        let (data_len, name_len) = (usize::from(f.u16_le(at + KEY + 8)?), usize::from(f.u16_le(at + KEY + 10)?));
        all.push(DirItem {
            location: Key::parse(&f, at)?,
            kind: f.u8(at + KEY + 12)?,
            name: f.bytes(at + HEAD, name_len)?,
            data: f.bytes(at + HEAD + name_len, data_len)?,
        });
        at += HEAD + name_len + data_len;
    }
    Ok(all)
}

/// The hash of a name by which entries and attributes are found: CRC-32C from a start of its own, not turned over.
pub(super) fn name_hash(name: &[u8]) -> u64 {
    u64::from(!crc32c::crc32c_append(1, name))
}

impl Btrfs {
    /// A directory's location.
    fn directory(&self, node: Node) -> Result<Location> {
        let location = self.location(node)?;
        if !location.absent && self.inode(location)?.attributes.kind != NodeKind::Directory {
            return Err(Error::NotDirectory);
        }
        Ok(location)
    }

    /// The node that has a name in a directory.
    pub(super) fn find(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        let location = self.directory(directory)?;
        if location.absent {
            return Ok(None);
        }
        if may_be_escaped(name) {
            return self.find_listed(directory, name);
        }
        if name.len() > NAME_MAX {
            return Ok(None);
        }
        let tree = self.subvolume(location.subvolume)?.tree;
        let Some(item) = self.nodes.get(&tree, Key::new(location.inode, kind::DIR_ITEM, name_hash(name)))? else {
            return Ok(None);
        };
        for entry in dir_items(&item)? {
            if entry.name == name {
                return Ok(Some(self.named(location, &entry, &item)?.0));
            }
        }
        Ok(None)
    }

    /// The node that has a name in a directory's listing, which may not be the name that is stored.
    fn find_listed(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        let mut found = None;
        self.read_directory(directory, 0, &mut |entry| {
            if entry.name != name {
                return ControlFlow::Continue(());
            }
            found = Some(entry.node);
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Tells the entries of a directory whose index is not below `from`. A leaf that cannot be read is passed over.
    pub(super) fn entries(
        &self,
        directory: Node,
        from: u64,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
        skip: Skip<'_>,
    ) -> Result<()> {
        let location = self.directory(directory)?;
        if location.absent {
            return Ok(());
        }
        let tree = self.subvolume(location.subvolume)?.tree;
        self.nodes.readable_items(&tree, Key::new(location.inode, kind::DIR_INDEX, from), &mut |item| {
            let item = match item {
                Ok(item) => item,
                Err(error) => return skip(error),
            };
            let (next, entries) = match self.dir_item(location, item) {
                Ok(found) => found,
                Err(error) => return skip(error),
            };
            for entry in entries {
                let reported = match self.named(location, &entry, item) {
                    Ok((node, kind)) => each(Entry { name: entry.name.to_vec(), node, kind, next }),
                    Err(error) => skip(error),
                };
                if reported.is_break() {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })
    }

    /// The entries of an item of a directory, and the location after them.
    fn dir_item<'a>(&self, directory: Location, item: &'a Item) -> Result<(u64, Vec<DirItem<'a>>)> {
        // Programs see places as signed numbers.
        let next = item.key.offset.checked_add(1).filter(|next| i64::try_from(*next).is_ok()).ok_or_else(|| {
            let what = format!("index in the directory with inode {}", directory.inode);
            ParseError::corrupt(item.at(), what, "below 2^63 - 1", item.key.offset)
        })?;
        Ok((next, dir_items(item)?))
    }

    /// What an entry of a directory names.
    fn named(&self, directory: Location, entry: &DirItem<'_>, item: &Item) -> Result<(Node, NodeKind)> {
        if entry.kind & ENCRYPTED != 0 {
            let what = format!("the names in the directory with inode {} are encrypted by the guest", directory.inode);
            return Err(Error::Unsupported(what));
        }
        let bad = |what: &str, expected: &str, found: String| {
            Error::from(ParseError::corrupt(item.at(), what, expected, found))
        };
        let location = match entry.location {
            Key { objectid: inode, kind: kind::INODE_ITEM, .. } => Location { inode, absent: false, ..directory },
            Key { objectid: id, kind: kind::ROOT_ITEM, .. } if objectid::is_subvolume(id) => {
                match self.nested(directory.subvolume, directory.inode, entry.name, id) {
                    Ok(Some(found)) => Location { subvolume: id, inode: found.top, absent: false },
                    Ok(None) => Location { absent: true, ..directory },
                    // It has a name all the same, and the number that the kernel gives to all of them.
                    Err(_) => Location { subvolume: id, inode: objectid::FIRST_FREE, absent: false },
                }
            }
            other => return Err(bad("what a directory's entry names", "an inode or a subvolume", other.to_string())),
        };
        let kind = match NodeKind::of_entry(entry.kind) {
            Some(kind) => kind,
            None if location.absent => NodeKind::Directory,
            // What is corrupt has a name all the same.
            None => self.inode(location).map_or(NodeKind::File, |inode| inode.attributes.kind),
        };
        Ok((self.numbers.node(location)?, kind))
    }

    /// Tells the extended attributes of a node.
    pub(super) fn attribute_names(&self, location: Location) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        if location.absent {
            return Ok(names);
        }
        let tree = self.subvolume(location.subvolume)?.tree;
        self.nodes.items(&tree, Key::new(location.inode, kind::XATTR_ITEM, 0), &mut |item| {
            for attribute in dir_items(item)? {
                names.push(attribute.name.to_vec());
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(names)
    }

    /// The value of an extended attribute.
    pub(super) fn attribute(&self, location: Location, name: &[u8]) -> Result<Option<Vec<u8>>> {
        if location.absent {
            return Ok(None);
        }
        let tree = self.subvolume(location.subvolume)?.tree;
        let key = Key::new(location.inode, kind::XATTR_ITEM, name_hash(name));
        let Some(item) = self.nodes.get(&tree, key)? else { return Ok(None) };
        let all = dir_items(&item)?;
        Ok(all.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.data.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hash_as_the_kernel_has_it() {
        // The key of the entry "default" of every file system's tree of trees.
        assert_eq!(name_hash(b"default"), 2_378_154_706);
    }
}
