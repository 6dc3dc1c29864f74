//! The guest's file systems in the tree: folders `fs<N>`, whose inode numbers carry the number of the file system and
//! that of the guest's file.

use super::attributes::{Attributes, Kind, Times, moment};
use super::file;
use crate::disk::{Disk, Part};
use crate::error_kind::message;
use crate::guestfs::{self, Entry, GuestFs, Node, NodeKind};
use nix::errno::Errno;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The bits of an inode number that are the guest's; above them is the file system's number, from 1. No file system
/// that is read numbers its files further.
const NODE_BITS: u32 = 56;

/// A name that directories get whose listing is incomplete. Nothing about it can be read. An error of the listing
/// itself would make `cp` and `tar` leave out the whole directory.
pub(super) const MISSING_NAME: &str = "entries-are-missing-here";
/// Its number in its file system, and the place after it in a listing.
const MISSING: Node = Node((1 << NODE_BITS) - 1);
const MISSING_NEXT: u64 = (i64::MAX as u64) - 2;

/// A guest's file system on a volume.
pub struct Guest {
    /// The name of its folder: `fs` and the number of its volume.
    pub name: String,
    /// Its reader.
    pub fs: Box<dyn GuestFs>,
    /// The volume, from which the files' bytes come.
    pub volume: Arc<dyn Disk>,
}

/// How the owners and modes of the guest are shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owners {
    /// All files are this user's, if one is given, and can be read by it.
    pub(super) uid: Option<u32>,
    /// All files are this group's, if one is given.
    pub(super) gid: Option<u32>,
    /// The user and group for file systems that know no owners.
    pub(super) fallback: (u32, u32),
    /// Permissions that are taken away.
    pub(super) umask: u16,
}

/// All guest file systems of a mount.
pub(super) struct Guests {
    list: Vec<Guest>,
    owners: Owners,
}

impl Guests {
    pub(super) fn new(list: Vec<Guest>, owners: Owners) -> Self {
        Self { list, owners }
    }

    /// The names of the folders, with the inode numbers of the file systems' roots.
    pub(super) fn roots(&self) -> impl Iterator<Item = (&str, u64)> {
        self.list.iter().zip(1_u64..).map(|(guest, index)| (guest.name.as_str(), number(index, guest.fs.root())))
    }

    /// The file system and the file that an inode number means; none for the mount's own.
    fn find(&self, number: u64) -> Option<(&Guest, u64, Node)> {
        let index = number >> NODE_BITS;
        let guest = self.list.get(usize::try_from(index.checked_sub(1)?).ok()?)?;
        Some((guest, index, Node(number & ((1 << NODE_BITS) - 1))))
    }

    pub(super) fn lookup(&self, folder: u64, name: &[u8]) -> Option<Result<Attributes, Errno>> {
        let (guest, index, node) = self.find(folder)?;
        let found = guest.fs.lookup(node, name).map_err(|e| errno(&e));
        // An index that finds names without the listing knows nothing of this one.
        if name == MISSING_NAME.as_bytes()
            && found == Ok(None)
            && let Err(guestfs::Error::Incomplete(_)) =
                guest.fs.read_folder(node, 0, &mut |_| ControlFlow::Continue(()))
        {
            return Some(Err(Errno::EIO));
        }
        Some(found.and_then(|found| self.shown(guest, index, found.ok_or(Errno::ENOENT)?)))
    }

    pub(super) fn attributes(&self, number: u64) -> Option<Result<Attributes, Errno>> {
        let (guest, index, node) = self.find(number)?;
        Some(self.shown(guest, index, node))
    }

    fn shown(&self, guest: &Guest, index: u64, node: Node) -> Result<Attributes, Errno> {
        if node == MISSING {
            return Err(Errno::EIO);
        }
        let seen = guest.fs.attributes(node).map_err(|e| errno(&e))?;
        let time = |time: guestfs::Time| moment(time.seconds, i64::from(time.nanoseconds));
        let (uid, gid) = if guest.fs.facts().has_owners { (seen.uid, seen.gid) } else { self.owners.fallback };
        let own = u16::try_from(seen.mode & 0o7777).unwrap_or(0);
        let mode = match self.owners.uid {
            // Whoever asks for the guest's files as his own wants to read them, also what nobody but root may.
            Some(_) if seen.kind == NodeKind::Folder => own | 0o500,
            Some(_) => own | 0o400,
            None => own,
        };
        Ok(Attributes {
            number: number(index, node),
            kind: kind(seen.kind),
            size: seen.size,
            blocks: seen.allocated.div_ceil(512),
            mode: if seen.kind == NodeKind::Symlink { own } else { mode & !self.owners.umask },
            links: seen.links,
            uid: self.owners.uid.unwrap_or(uid),
            gid: self.owners.gid.unwrap_or(gid),
            device: seen.device,
            times: Times { accessed: time(seen.accessed), modified: time(seen.modified), changed: time(seen.changed) },
        })
    }

    /// Tells the entries of a folder from a place on, with the place after each, until `each` says that it has enough.
    /// A file whose attributes are damaged has a name all the same, and entries that cannot be read have one together.
    pub(super) fn list(
        &self,
        folder: u64,
        from: u64,
        each: &mut dyn FnMut(&[u8], Listed, u64) -> bool,
    ) -> Option<Result<(), Errno>> {
        let (guest, index, node) = self.find(folder)?;
        if from == MISSING_NEXT {
            return Some(Ok(()));
        }
        let mut any = from > 0;
        let told = guest.fs.read_folder(node, from, &mut |entry: Entry| {
            any = true;
            let listed = Listed { number: number(index, entry.node), kind: kind(entry.kind) };
            if each(&entry.name, listed, entry.next) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Err(guestfs::Error::Incomplete(_)) = told
            && any
        {
            let listed = Listed { number: number(index, MISSING), kind: Kind::File };
            each(MISSING_NAME.as_bytes(), listed, MISSING_NEXT);
            return Some(Ok(()));
        }
        Some(told.map_err(|e| errno(&e)))
    }

    pub(super) fn link(&self, number: u64) -> Option<Result<Vec<u8>, Errno>> {
        let (guest, _, node) = self.find(number)?;
        Some(guest.fs.read_link(node).map_err(|e| errno(&e)))
    }

    /// Fills `buf` with a file's bytes from `offset` on and tells how many there were.
    pub(super) fn read(&self, number: u64, offset: u64, buf: &mut [u8]) -> Option<Result<usize, Errno>> {
        let (guest, _, node) = self.find(number)?;
        let read = guest
            .fs
            .attributes(node)
            .and_then(|attributes| guestfs::read::read(&*guest.fs, &*guest.volume, node, &attributes, offset, buf));
        Some(read.map_err(|e| errno(&e)))
    }

    /// Where a file's bytes lie, when all of them lie in files of the host; `None` for what is not the guest's, too.
    pub(super) fn parts(&self, number: u64, offset: u64, len: u64) -> Option<Vec<Part>> {
        let (guest, _, node) = self.find(number)?;
        let attributes = guest.fs.attributes(node).ok()?;
        guestfs::read::parts(&*guest.fs, &*guest.volume, node, &attributes, offset, len)
    }

    /// The next data (or hole) of a file, at `offset` or after it.
    pub(super) fn seek(&self, number: u64, offset: i64, data: bool) -> Option<Result<u64, Errno>> {
        let (guest, _, node) = self.find(number)?;
        let found = guest.fs.attributes(node).and_then(|attributes| {
            let offset = u64::try_from(offset).ok().filter(|offset| *offset < attributes.size);
            offset.map_or(Ok(None), |offset| guestfs::read::seek(&*guest.fs, node, &attributes, offset, data))
        });
        Some(found.map_err(|e| errno(&e)).and_then(|found| found.ok_or(Errno::ENXIO)))
    }

    pub(super) fn xattr_names(&self, number: u64) -> Option<Result<Vec<Vec<u8>>, Errno>> {
        let (guest, _, node) = self.find(number)?;
        let names = guest.fs.xattr_names(node).map(|mut names| {
            // A list that programs take apart at zero bytes has no room for those.
            names.retain(|name| !name.is_empty() && !name.contains(&0));
            names
        });
        Some(names.map_err(|e| errno(&e)))
    }

    pub(super) fn xattr(&self, number: u64, name: &[u8]) -> Option<Result<Vec<u8>, Errno>> {
        let (guest, _, node) = self.find(number)?;
        let value = guest.fs.xattr(node, name).map_err(|e| errno(&e));
        Some(value.and_then(|value| value.ok_or(Errno::ENODATA)))
    }

    /// What `statfs` shows within a file system: block size, blocks, free blocks, files, free files.
    pub(super) fn statistics(&self, number: u64) -> Option<(u32, u64, u64, u64, u64)> {
        let facts = self.find(number)?.0.fs.facts();
        Some((facts.block_size, facts.blocks, facts.free_blocks, facts.files, facts.free_files))
    }
}

/// What a folder alone says of an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed {
    pub(super) number: u64,
    pub(super) kind: Kind,
}

fn number(index: u64, node: Node) -> u64 {
    index << NODE_BITS | node.0 & ((1 << NODE_BITS) - 1)
}

fn kind(kind: NodeKind) -> Kind {
    match kind {
        NodeKind::File => Kind::File,
        NodeKind::Folder => Kind::Folder,
        NodeKind::Symlink => Kind::Link,
        NodeKind::CharDevice => Kind::CharDevice,
        NodeKind::BlockDevice => Kind::BlockDevice,
        NodeKind::Fifo => Kind::Fifo,
        NodeKind::Socket => Kind::Socket,
    }
}

/// The errno of a failure, which is logged unless it is the caller's own mistake.
fn errno(error: &guestfs::Error) -> Errno {
    match error {
        guestfs::Error::NotFolder => Errno::ENOTDIR,
        guestfs::Error::NotFile => Errno::EISDIR,
        guestfs::Error::NotSymlink => Errno::EINVAL,
        guestfs::Error::Disk(e) => file::errno(e),
        _ => {
            log::error!("{}", message(error));
            error.kind().errno()
        }
    }
}
