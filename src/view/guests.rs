//! The guests' file systems in the tree: directories `fs<N>`, whose inode numbers carry the index of the file system
//! and the guest's own inode number.

use super::attributes::{Attributes, Kind, Times, moment};
use super::location::{Location, LocationRun};
use super::{DirEntry, Error, Result, Statfs};
use crate::disk::{Derivation, Disk, FileRange, Origin};
use crate::guestfs::{self, DecodedFrom, Entry, Facts, FileExtent, Node, NodeKind};
use crate::open::Guest;
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;

/// The bits of an inode number that are the guest's; above them is the file system's index, from 1. No file system
/// that is read has larger inode numbers.
const NODE_BITS: u32 = 56;
/// A name that directories get whose listing is incomplete. Nothing about it can be read. An error of the listing
/// itself would make `cp` and `tar` leave out the whole directory.
const MISSING_NAME: &str = "entries-are-missing-here";
/// Whether a name is the one that directories get whose listing is incomplete. A file may have it, too; only the
/// attributes tell.
pub(crate) fn is_missing_name(name: &OsStr) -> bool {
    name == MISSING_NAME
}

/// Its inode number in its file system, and the offset after it in a listing.
const MISSING: Node = Node((1 << NODE_BITS) - 1);
const MISSING_NEXT: u64 = (i64::MAX as u64) - 2;
/// The most file systems that fit above these bits.
const MOST: usize = (1 << (u64::BITS - NODE_BITS)) - 1;

/// Bytes whose origin is put together from those of several ranges: one range that differs makes all of them unknown.
const DERIVED: u64 = 1 << 20;

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

/// The guest file systems of all disks of a view.
pub(super) struct Guests {
    /// Each with the index of its disk.
    list: Vec<(Guest, usize)>,
    owners: Owners,
}

impl Guests {
    pub(super) fn new(owners: Owners) -> Self {
        Self { list: Vec::new(), owners }
    }

    /// Adds a file system of a disk and returns the inode number of its root; `None` when there are too many.
    pub(super) fn add(&mut self, guest: Guest, disk: usize) -> Option<u64> {
        if self.list.len() == MOST {
            return None;
        }
        let root = guest.root;
        self.list.push((guest, disk));
        Some(inode(self.list.len() as u64, root))
    }

    /// The file system and the file that an inode number means; `None` for a file that is not a guest's.
    fn find(&self, inode: u64) -> Option<(&Guest, u64, Node)> {
        let index = inode >> NODE_BITS;
        let (guest, _) = self.list.get(usize::try_from(index.checked_sub(1)?).ok()?)?;
        Some((guest, index, Node(inode & ((1 << NODE_BITS) - 1))))
    }

    pub(super) fn facts(&self, inode: u64) -> Option<&Facts> {
        self.find(inode).map(|(guest, ..)| guest.fs.facts())
    }

    /// Where the bytes of a file from `offset` on are.
    pub(super) fn location(&self, inode: u64, offset: u64, len: u64) -> Option<Result<LocationRun>> {
        let (guest, index, node) = self.find(inode)?;
        let disk = self.list.get(usize::try_from(index - 1).ok()?)?.1;
        let run = guest.fs.extent(node, offset, len).map_err(|e| Error::of_guest(guest, e));
        Some(run.map(|run| {
            let location = match run.extent {
                FileExtent::Stored(at) => Location::Disk { disk, offset: guest.start.saturating_add(at) },
                FileExtent::Zero => Location::Hole,
                FileExtent::Decoded => Location::Decoded,
            };
            LocationRun { location, len: run.len.clamp(1, len) }
        }))
    }

    pub(super) fn lookup(&self, directory: u64, name: &OsStr) -> Option<Result<Attributes>> {
        let (guest, index, node) = self.find(directory)?;
        let found = guest.fs.lookup(node, name.as_bytes());
        // An index that finds names without the listing knows nothing of this one.
        if name == MISSING_NAME
            && matches!(found, Ok(None))
            && let Err(error @ guestfs::Error::Incomplete(_)) =
                guest.fs.read_directory(node, 0, &mut |_| ControlFlow::Continue(()))
        {
            return Some(Err(Error::of_guest(guest, error)));
        }
        let found = found.map_err(|e| Error::of_guest(guest, e));
        Some(found.and_then(|found| self.shown(guest, index, found.ok_or(Error::NotFound)?)))
    }

    pub(super) fn attributes(&self, inode: u64) -> Option<Result<Attributes>> {
        let (guest, index, node) = self.find(inode)?;
        if node == MISSING {
            return Some(Err(Error::Missing));
        }
        Some(self.shown(guest, index, node))
    }

    fn shown(&self, guest: &Guest, index: u64, node: Node) -> Result<Attributes> {
        let seen = guest.fs.attributes(node).map_err(|e| Error::of_guest(guest, e))?;
        let time = |time: crate::ondisk::Time| moment(time.seconds, i64::from(time.nanoseconds));
        let (uid, gid) = if guest.fs.facts().has_owners { (seen.uid, seen.gid) } else { self.owners.fallback };
        let own = u16::try_from(seen.mode & 0o7777).unwrap_or(0);
        let mode = match self.owners.uid {
            // Whoever asks for the guest's files as his own wants to read them, also what nobody but root may.
            Some(_) if seen.kind == NodeKind::Directory => own | 0o500,
            Some(_) => own | 0o400,
            None => own,
        };
        Ok(Attributes {
            inode: inode(index, node),
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

    /// Passes the entries of a directory from an offset on to `each`, until it breaks. A file whose attributes are
    /// corrupt has an entry all the same, and entries that cannot be read have one together.
    pub(super) fn entries(
        &self,
        directory: u64,
        from: u64,
        each: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> Option<Result<()>> {
        let (guest, index, node) = self.find(directory)?;
        if from == MISSING_NEXT {
            return Some(Ok(()));
        }
        let mut any = from > 0;
        let listed = guest.fs.read_directory(node, from, &mut |entry: Entry| {
            any = true;
            let (inode, kind) = (inode(index, entry.node), kind(entry.kind));
            each(DirEntry { name: OsStr::from_bytes(&entry.name), inode, kind, next: entry.next })
        });
        if matches!(listed, Err(guestfs::Error::Incomplete(_))) && any {
            let (name, inode) = (OsStr::new(MISSING_NAME), inode(index, MISSING));
            // It is the last entry, so nothing is left to break off.
            let _ = each(DirEntry { name, inode, kind: Kind::File, next: MISSING_NEXT });
            return Some(Ok(()));
        }
        Some(listed.map_err(|e| Error::of_guest(guest, e)))
    }

    pub(super) fn read_link(&self, inode: u64) -> Option<Result<Vec<u8>>> {
        let (guest, _, node) = self.find(inode)?;
        Some(guest.fs.read_link(node).map_err(|e| Error::of_guest(guest, e)))
    }

    /// Fills `buf` with a file's bytes from `offset` on and returns how many there were.
    pub(super) fn read(&self, inode: u64, offset: u64, buf: &mut [u8]) -> Option<Result<usize>> {
        let (guest, _, node) = self.find(inode)?;
        let read = guest
            .fs
            .attributes(node)
            .and_then(|attributes| guestfs::read::read(&*guest.fs, &*guest.volume, node, &attributes, offset, buf));
        Some(read.map_err(|e| Error::of_guest(guest, e)))
    }

    /// Where a file's bytes lie, when all of them lie in files of the host; `None` for what is not a guest's, too.
    pub(super) fn extents(&self, inode: u64, offset: u64, len: u64) -> Option<Vec<FileRange>> {
        let (guest, _, node) = self.find(inode)?;
        let attributes = guest.fs.attributes(node).ok()?;
        guestfs::read::file_ranges(&*guest.fs, &*guest.volume, node, &attributes, offset, len)
    }

    /// As [`Disk::origin`], of a file's bytes, which the range lies within.
    pub(super) fn origin(&self, inode: u64, offset: u64, len: u64) -> Option<Result<(Option<Origin>, u64)>> {
        let (guest, _, node) = self.find(inode)?;
        let origin = || {
            let run = guest.fs.extent(node, offset, len)?;
            let len = run.len.min(len);
            Ok(match run.extent {
                FileExtent::Stored(at) => guest.volume.origin(at, len)?,
                FileExtent::Zero => (Some(Origin::ZERO), len),
                FileExtent::Decoded => {
                    let len = len.min(DERIVED);
                    match guest.fs.decoded_from(node, offset, len) {
                        None => (None, len),
                        Some(from) => decoded(&*guest.volume, &from, len)?,
                    }
                }
            })
        };
        Some(origin().map_err(|e| Error::of_guest(guest, e)))
    }

    /// The file system that an inode is in, and what that lies on.
    pub(super) fn file_system(&self, inode: u64) -> Option<(&Facts, &dyn Disk)> {
        self.find(inode).map(|(guest, ..)| (guest.fs.facts(), &*guest.volume))
    }

    /// The next data (or hole) of a file, at `offset` or after it.
    pub(super) fn seek(&self, inode: u64, offset: u64, data: bool) -> Option<Result<u64>> {
        let (guest, _, node) = self.find(inode)?;
        let found = guest.fs.attributes(node).and_then(|attributes| {
            if offset >= attributes.size {
                return Ok(None);
            }
            guestfs::read::seek(&*guest.fs, node, &attributes, offset, data)
        });
        Some(found.map_err(|e| Error::of_guest(guest, e)).and_then(|found| found.ok_or(Error::PastEnd)))
    }

    pub(super) fn xattr_names(&self, inode: u64) -> Option<Result<Vec<Vec<u8>>>> {
        let (guest, _, node) = self.find(inode)?;
        let names = guest.fs.xattr_names(node).map(|mut names| {
            // A list that programs take apart at zero bytes has no room for those.
            names.retain(|name| !name.is_empty() && !name.contains(&0));
            names
        });
        Some(names.map_err(|e| Error::of_guest(guest, e)))
    }

    pub(super) fn xattr(&self, inode: u64, name: &OsStr) -> Option<Result<Vec<u8>>> {
        let (guest, _, node) = self.find(inode)?;
        let value = guest.fs.xattr(node, name.as_bytes()).map_err(|e| Error::of_guest(guest, e));
        Some(value.and_then(|value| value.ok_or(Error::NoAttribute)))
    }

    /// What `statfs` shows within a guest's file system.
    pub(super) fn statfs(&self, inode: u64) -> Option<Statfs> {
        let facts = self.find(inode)?.0.fs.facts();
        Some(Statfs {
            block_size: facts.block_size,
            blocks: facts.blocks,
            free_blocks: facts.free_blocks,
            files: facts.files,
            free_files: facts.free_files,
        })
    }
}

/// The origin of `len` bytes that are decoded, and for how many of them.
fn decoded(volume: &dyn Disk, from: &DecodedFrom, len: u64) -> crate::disk::Result<(Option<Origin>, u64)> {
    if let ([], [(at, _)]) = (&from.how[..], &from.ranges[..]) {
        return volume.origin(*at, len);
    }
    let mut derivation = Derivation::new(&from.how);
    for (start, whole) in &from.ranges {
        let mut done = 0;
        while done < *whole {
            let (origin, now) = volume.origin(start.saturating_add(done), whole - done)?;
            let Some(origin) = origin else { return Ok((None, len)) };
            derivation.add(origin, now);
            done += now;
        }
    }
    Ok((Some(derivation.finish()), len))
}

fn inode(index: u64, node: Node) -> u64 {
    index << NODE_BITS | node.0 & ((1 << NODE_BITS) - 1)
}

fn kind(kind: NodeKind) -> Kind {
    match kind {
        NodeKind::File => Kind::File,
        NodeKind::Directory => Kind::Directory,
        NodeKind::Symlink => Kind::Symlink,
        NodeKind::CharDevice => Kind::CharDevice,
        NodeKind::BlockDevice => Kind::BlockDevice,
        NodeKind::Fifo => Kind::Fifo,
        NodeKind::Socket => Kind::Socket,
    }
}
