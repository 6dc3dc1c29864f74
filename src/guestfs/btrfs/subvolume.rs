//! Subvolumes and snapshots: separate trees, which appear as directories in others. Field names and offsets are
//! those of <https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html> (`ROOT_ITEM`, `ROOT_REF`).

use super::directory::dir_items;
use super::node::{Key, Pointer, Tree};
use super::tree::{Item, Nodes};
use super::{Btrfs, kind, objectid};
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use std::ops::ControlFlow;

/// Where `refs` is in a `ROOT_ITEM`: 0 when it is being deleted, and in logs.
const REFS: usize = 216;
/// Where `level` is.
const LEVEL: usize = 238;
/// Directories above a subvolume that its path is shown with.
const MAX_DEPTH: usize = 64;

/// A subvolume: its tree and its top directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subvolume {
    pub(super) tree: Tree,
    /// `root_dirid`
    pub(super) top: u64,
}

impl Btrfs {
    /// The newest tree with this id; `None` when it does not exist or is being deleted.
    pub(super) fn tree(&self, id: u64) -> Result<Option<Subvolume>> {
        if let Some(known) = self.subvolumes.get(&id) {
            return Ok(known);
        }
        let found = find(&self.nodes, &self.sb.root, id)?;
        self.subvolumes.insert(id, found);
        Ok(found)
    }

    /// The subvolume with this number, which is known to be there.
    pub(super) fn subvolume(&self, id: u64) -> Result<Subvolume> {
        self.tree(id)?
            .ok_or_else(|| Error::from(ParseError::corrupt(self.sb.at, format!("tree {id}"), "a ROOT_ITEM", "none")))
    }

    /// The subvolume `id` where a directory of another names it; none when it is not meant to be there, as with a name
    /// in a snapshot for a subvolume that its original has.
    pub(super) fn nested(&self, parent: u64, directory: u64, name: &[u8], id: u64) -> Result<Option<Subvolume>> {
        let Some(item) = self.nodes.get(&self.sb.root, Key::new(parent, kind::ROOT_REF, id))? else { return Ok(None) };
        let (dir, stated) = reference(&item)?;
        if dir != directory || stated != name {
            return Ok(None);
        }
        self.tree(id)
    }

    /// The number of the subvolume that is mounted when none is asked for; none when the top level is.
    pub(super) fn default_subvolume(&self) -> Result<Option<u64>> {
        let mut found = None;
        let from = Key::new(objectid::ROOT_TREE_DIR, kind::DIR_ITEM, 0);
        self.nodes.items(&self.sb.root, from, &mut |item| {
            for entry in dir_items(item)? {
                if entry.name == b"default" {
                    found = Some(entry.location.objectid);
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found.filter(|id| *id != objectid::FS_TREE && objectid::is_subvolume(*id)))
    }

    /// The path of a subvolume from the top level; none when it has none.
    pub(super) fn subvolume_path(&self, id: u64) -> Result<Option<String>> {
        let mut names: Vec<String> = Vec::new();
        let mut at = id;
        while at != objectid::FS_TREE {
            if names.len() >= MAX_DEPTH {
                return Ok(None);
            }
            let mut above = None;
            self.nodes.items(&self.sb.root, Key::new(at, kind::ROOT_BACKREF, 0), &mut |item| {
                let (directory, name) = reference(item)?;
                above = Some((item.key.offset, directory, name.to_vec()));
                Ok(ControlFlow::Break(()))
            })?;
            let Some((parent, mut directory, name)) = above else { return Ok(None) };
            names.push(String::from_utf8_lossy(&name).into_owned());
            let subvolume = self.subvolume(parent)?;
            while directory != subvolume.top {
                if names.len() >= MAX_DEPTH {
                    return Ok(None);
                }
                let Some((above, name)) = self.parent_of(&subvolume, directory)? else { return Ok(None) };
                names.push(name);
                directory = above;
            }
            at = parent;
        }
        names.reverse();
        Ok(Some(names.join("/")))
    }

    /// The directory that a directory is in, and its name there.
    fn parent_of(&self, subvolume: &Subvolume, directory: u64) -> Result<Option<(u64, String)>> {
        let mut found = None;
        self.nodes.items(&subvolume.tree, Key::new(directory, kind::INODE_REF, 0), &mut |item| {
            let f = item.fields()?;
            let name = f.bytes(10, usize::from(f.u16_le(8)?))?;
            found = Some((item.key.offset, String::from_utf8_lossy(name).into_owned()));
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }
}

/// The newest tree with this id; `None` when it does not exist or is being deleted.
pub(super) fn find(nodes: &Nodes, root: &Tree, id: u64) -> Result<Option<Subvolume>> {
    let mut found = None;
    nodes.items(root, Key::new(id, kind::ROOT_ITEM, 0), &mut |item| {
        let refs = item.fields().and_then(|f| f.u32_le(REFS))?;
        found = if refs > 0 { Some(subvolume(item)?) } else { None };
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// The tree of a `ROOT_ITEM`.
pub(super) fn subvolume(item: &Item) -> Result<Subvolume, ParseError> {
    let f = item.fields()?;
    let root = Pointer { logical: f.u64_le(176)?, generation: f.u64_le(160)?, level: f.u8(LEVEL)? };
    if root.level >= super::superblock::MAX_LEVEL {
        let what = format!("level of tree {}", item.key.objectid);
        return Err(ParseError::corrupt(f.offset(LEVEL), what, "below 8", root.level));
    }
    Ok(Subvolume { tree: Tree { id: item.key.objectid, root }, top: f.u64_le(168)? })
}

/// The directory and the name in a `ROOT_REF` or `ROOT_BACKREF`.
fn reference(item: &Item) -> Result<(u64, &[u8]), ParseError> {
    let f = item.fields()?;
    Ok((f.u64_le(0)?, f.bytes(18, usize::from(f.u16_le(16)?))?))
}
