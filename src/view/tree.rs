//! The nodes of a view: names, inode numbers and attributes.

use super::attributes::{Attributes, Kind, Times};
use super::guests::{Guests, Owners};
use super::{Error, Location, LocationRun, Result, Source, file};
use crate::disk::{Disk, FileRange, Origin, Slice};
use crate::guestfs::Facts;
use nix::fcntl::OFlag;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// The inode number of the root directory. Those of the other nodes follow.
pub(crate) const ROOT: u64 = 1;

/// How the files of a view look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Appearance {
    /// The disks can be written to.
    pub writable: bool,
    /// The owner that is shown instead of this user.
    pub uid: Option<u32>,
    /// The group that is shown instead of this user's.
    pub gid: Option<u32>,
    /// Permission bits that are taken from all modes.
    pub umask: u16,
}

/// An entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DirEntry<'a> {
    /// Its name.
    pub name: &'a OsStr,
    /// Its inode number.
    pub inode: u64,
    /// Its kind.
    pub kind: Kind,
    /// Where to go on reading the directory after it.
    pub next: u64,
}

/// What `statfs` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Statfs {
    /// Bytes of a block.
    pub block_size: u32,
    /// Blocks.
    pub blocks: u64,
    /// Free blocks.
    pub free_blocks: u64,
    /// Files.
    pub files: u64,
    /// Files that could be made.
    pub free_files: u64,
}

/// A node that is not a guest's.
enum Node {
    Directory(Vec<Name>),
    Symlink(PathBuf),
    /// A disk or a volume, and where on the disk it begins.
    File(Arc<dyn Disk>, u64),
}

/// A name in a directory.
struct Name {
    name: OsString,
    inode: u64,
    kind: Kind,
}

/// A disk of the view.
struct Backing {
    disk: Arc<dyn Disk>,
    /// The leaf image. Its path is not used once there is a mount, which may cover it: that would be to wait for
    /// ourselves.
    image: File,
    times: Times,
    /// Bytes that the images take up on the host.
    stored: u64,
}

/// The tree of names of one disk or of several.
pub(crate) struct View {
    /// By inode number from [`ROOT`] on, each with the index of its disk.
    nodes: Vec<(Node, usize)>,
    disks: Vec<Backing>,
    guests: Guests,
    appearance: Appearance,
    /// This process's user and group.
    user: (u32, u32),
}

impl View {
    /// The view of one disk: what it has is in the root directory.
    ///
    /// # Errors
    /// [`Error::Image`] when the image's times cannot be read.
    pub(crate) fn new(source: Source, appearance: Appearance) -> Result<Self> {
        let mut view = Self::empty(appearance);
        let names = view.add_disk(source)?;
        view.nodes[0].0 = Node::Directory(names);
        Ok(view)
    }

    /// The view of several disks: the root has a directory for each, by its name.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn of_disks(disks: Vec<(OsString, Source)>, appearance: Appearance) -> Result<Self> {
        let mut view = Self::empty(appearance);
        let mut directories = Vec::new();
        for (name, source) in disks {
            let names = view.add_disk(source)?;
            let inode = view.add(Node::Directory(names), view.disks.len() - 1);
            directories.push(Name { name, inode, kind: Kind::Directory });
        }
        view.nodes[0].0 = Node::Directory(directories);
        Ok(view)
    }

    fn empty(appearance: Appearance) -> Self {
        let user = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let owners = Owners { uid: appearance.uid, gid: appearance.gid, fallback: user, umask: appearance.umask };
        let root = (Node::Directory(Vec::new()), 0);
        Self { nodes: vec![root], disks: Vec::new(), guests: Guests::new(owners), appearance, user }
    }

    /// Adds a node and returns its inode number.
    fn add(&mut self, node: Node, disk: usize) -> u64 {
        self.nodes.push((node, disk));
        ROOT - 1 + self.nodes.len() as u64
    }

    /// Adds a disk and returns the names of the directory that it is in.
    fn add_disk(&mut self, source: Source) -> Result<Vec<Name>> {
        let Source { disk, volumes, image, guests, only_guests, stored } = source;
        // Enough for the attributes, and as open to everybody as they are.
        let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_PATH.bits()).open(&image);
        let seen = opened.and_then(|file| file.metadata().map(|metadata| (file, Times::of(&metadata))));
        let (opened, times) = seen.map_err(|source| Error::Image { path: image.clone(), source })?;
        let index = self.disks.len();
        let mut files: Vec<(OsString, Arc<dyn Disk>, u64)> = vec![("vhdd".into(), disk.clone(), 0)];
        files.extend(volumes.iter().map(|volume| -> (OsString, Arc<dyn Disk>, u64) {
            let slice = Slice::new(disk.clone(), volume.offset, volume.size);
            (format!("vol{}", volume.index).into(), Arc::new(slice), volume.offset)
        }));
        let mut name = image.file_name().unwrap_or(image.as_os_str()).to_owned();
        let is_taken = |name: &OsStr| {
            files.iter().any(|(taken, ..)| taken == name) || guests.iter().any(|guest| *guest.name == *name)
        };
        if is_taken(&name) {
            name.push(".image");
        }
        let mut names = Vec::new();
        if !only_guests {
            names.push(Name { name, inode: self.add(Node::Symlink(image), index), kind: Kind::Symlink });
            for (name, disk, start) in files {
                names.push(Name { name, inode: self.add(Node::File(disk, start), index), kind: Kind::File });
            }
        }
        for guest in guests {
            let name = OsString::from(&guest.name);
            match self.guests.add(guest, index) {
                Some(inode) => names.push(Name { name, inode, kind: Kind::Directory }),
                None => log::warn!("{} is not shown: there are too many file systems", name.display()),
            }
        }
        self.disks.push(Backing { disk, image: opened, times, stored });
        Ok(names)
    }

    /// Whether the disks may be written to.
    #[must_use]
    pub(crate) fn writable(&self) -> bool {
        self.appearance.writable
    }

    /// The disks, whose bytes the files have.
    pub(crate) fn disks(&self) -> impl Iterator<Item = &Arc<dyn Disk>> {
        self.disks.iter().map(|backing| &backing.disk)
    }

    /// Whether an inode is in a guest's file system, which is never written to.
    #[must_use]
    pub(crate) fn is_guests(&self, inode: u64) -> bool {
        self.guests.statfs(inode).is_some()
    }

    /// What the guest's file system that an inode is in reports of itself; `None` for an inode that is in none.
    #[must_use]
    pub(crate) fn facts(&self, inode: u64) -> Option<&Facts> {
        self.guests.facts(inode)
    }

    fn node(&self, inode: u64) -> Result<&(Node, usize)> {
        let index = inode.checked_sub(ROOT).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.nodes.get(index)).ok_or(Error::NotFound)
    }

    fn names(&self, directory: u64) -> Result<&[Name]> {
        match self.node(directory)? {
            (Node::Directory(names), _) => Ok(names),
            _ => Err(Error::NotDirectory),
        }
    }

    /// The attributes of an entry of a directory.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotDirectory`]; what is wrong with a guest's file system.
    pub(crate) fn lookup(&self, parent: u64, name: &OsStr) -> Result<Attributes> {
        if let Some(found) = self.guests.lookup(parent, name) {
            return found;
        }
        let found = self.names(parent)?.iter().find(|entry| entry.name == name).ok_or(Error::NotFound)?;
        self.attributes(found.inode)
    }

    /// The attributes of the file at a path from the root. Symbolic links are not followed.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    pub(crate) fn find(&self, path: &Path) -> Result<Attributes> {
        let mut parents = Vec::new();
        let mut found = self.attributes(ROOT)?;
        for component in path.components() {
            match component {
                Component::Normal(name) => {
                    let next = self.lookup(found.inode, name)?;
                    parents.push(std::mem::replace(&mut found, next));
                }
                Component::ParentDir => found = parents.pop().unwrap_or(found),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            }
        }
        Ok(found)
    }

    /// The attributes of an inode.
    ///
    /// # Errors
    /// [`Error::NotFound`]; what is wrong with a guest's file system.
    pub(crate) fn attributes(&self, inode: u64) -> Result<Attributes> {
        if let Some(found) = self.guests.attributes(inode) {
            return found;
        }
        let (node, disk) = self.node(inode)?;
        let backing = self.disks.get(*disk);
        let writable = self.appearance.writable;
        let (kind, size, mode) = match node {
            Node::Directory(_) => (Kind::Directory, 0, if writable { 0o755 } else { 0o555 }),
            Node::File(disk, _) => (Kind::File, disk.size(), if writable && disk.writable() { 0o644 } else { 0o444 }),
            Node::Symlink(target) => (Kind::Symlink, target.as_os_str().len() as u64, 0o777),
        };
        let stored = backing.filter(|_| kind == Kind::File).map_or(0, |backing| size.min(backing.stored));
        Ok(Attributes {
            inode,
            kind,
            size,
            blocks: stored.div_ceil(512),
            mode: if kind == Kind::Symlink { mode } else { mode & !self.appearance.umask },
            links: if kind == Kind::Directory { 2 } else { 1 },
            uid: self.appearance.uid.unwrap_or(self.user.0),
            gid: self.appearance.gid.unwrap_or(self.user.1),
            device: (0, 0),
            times: backing.map_or(
                Times { accessed: UNIX_EPOCH, modified: UNIX_EPOCH, changed: UNIX_EPOCH },
                |backing| {
                    // Only a view that writes changes them.
                    let now = if writable { backing.image.metadata().ok() } else { None };
                    now.map_or(backing.times, |metadata| Times::of(&metadata))
                },
            ),
        })
    }

    /// Passes the entries of a directory, without `.` and `..`, to `each` until it breaks: from the start for 0, else
    /// from [`DirEntry::next`] of an entry on.
    ///
    /// # Errors
    /// [`Error::NotDirectory`], [`Error::NotFound`]; what is wrong with a guest's directory.
    pub(crate) fn entries(
        &self,
        directory: u64,
        from: u64,
        each: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        if let Some(listed) = self.guests.entries(directory, from, each) {
            return listed;
        }
        let names = self.names(directory)?.iter().zip(1..);
        let skipped = usize::try_from(from).unwrap_or(usize::MAX);
        for (Name { name, inode, kind }, next) in names.skip(skipped) {
            if each(DirEntry { name, inode: *inode, kind: *kind, next }).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Where a symbolic link points.
    ///
    /// # Errors
    /// [`Error::NotLink`], [`Error::NotFound`]; what is wrong with a guest's link.
    pub(crate) fn read_link(&self, inode: u64) -> Result<PathBuf> {
        if let Some(target) = self.guests.read_link(inode) {
            return target.map(|target| OsString::from_vec(target).into());
        }
        match self.node(inode)? {
            (Node::Symlink(target), _) => Ok(target.clone()),
            _ => Err(Error::NotLink),
        }
    }

    /// Fills `buf` with the bytes of a file from `offset` on and returns how many there were: fewer at its end, none
    /// past it.
    ///
    /// # Errors
    /// [`Error::IsDirectory`], [`Error::NotFile`], [`Error::NotFound`]; what is wrong with the disk or the file.
    pub(crate) fn read(&self, inode: u64, offset: u64, buf: &mut [u8]) -> Result<usize> {
        match self.guests.read(inode, offset, buf) {
            Some(read) => read,
            None => file::read(self.disk(inode)?, offset, buf),
        }
    }

    /// Where the bytes of a file from `offset` on lie, up to its end, when all of them lie as they are in files of the
    /// host: for passing them on without a copy. `None` says nothing but that [`read`](Self::read) is to be used.
    #[must_use]
    pub(crate) fn extents(&self, inode: u64, offset: u64, len: u64) -> Option<Vec<FileRange>> {
        if self.is_guests(inode) {
            return self.guests.extents(inode, offset, len);
        }
        let disk = self.disk(inode).ok()?;
        disk.file_ranges(offset, len.min(disk.size().checked_sub(offset)?))
    }

    /// Where the bytes of a file from `offset` on come from, and for how many bytes, at most `len`: equal origins have
    /// equal bytes, also in different views. The range lies within the file. `None` says nothing of the bytes.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn origin(&self, inode: u64, offset: u64, len: u64) -> Result<(Option<Origin>, u64)> {
        match self.guests.origin(inode, offset, len) {
            Some(origin) => origin,
            None => Ok(self.disk(inode)?.origin(offset, len)?),
        }
    }

    /// The guest's file system that an inode is in: what it reports of itself, and the disk or volume that it lies on.
    #[must_use]
    pub(crate) fn file_system(&self, inode: u64) -> Option<(&Facts, &dyn Disk)> {
        self.guests.file_system(inode)
    }

    /// Where the next data of a file, or else its next hole, begins, at `offset` or after it. The end is a hole.
    ///
    /// # Errors
    /// [`Error::PastEnd`] past the end and for no more data; as [`read`](Self::read).
    pub(crate) fn seek(&self, inode: u64, offset: u64, data: bool) -> Result<u64> {
        match self.guests.seek(inode, offset, data) {
            Some(found) => found,
            None => file::seek(self.disk(inode)?, offset, data),
        }
    }

    /// The disk or volume whose bytes a file has.
    ///
    /// # Errors
    /// [`Error::IsDirectory`], [`Error::NotFile`], [`Error::NotFound`].
    pub(crate) fn disk(&self, inode: u64) -> Result<&dyn Disk> {
        match self.node(inode)? {
            (Node::File(disk, _), _) => Ok(&**disk),
            (Node::Directory(_), _) => Err(Error::IsDirectory),
            (Node::Symlink(_), _) => Err(Error::NotFile),
        }
    }

    /// Where the bytes of a file from `offset` on are, for at most `len` bytes: both within the file, and `len` at
    /// least 1.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn location(&self, inode: u64, offset: u64, len: u64) -> Result<LocationRun> {
        if let Some(found) = self.guests.location(inode, offset, len) {
            return found;
        }
        match self.node(inode)? {
            (Node::File(_, start), disk) => {
                let location = Location::Disk { disk: *disk, offset: start.saturating_add(offset) };
                Ok(LocationRun { location, len })
            }
            (Node::Directory(_), _) => Err(Error::IsDirectory),
            (Node::Symlink(_), _) => Err(Error::NotFile),
        }
    }

    /// What `statfs` shows: of the guest's file system in its directory, else of the whole disk.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) fn statfs(&self, inode: u64) -> Result<Statfs> {
        if let Some(found) = self.guests.statfs(inode) {
            return Ok(found);
        }
        let disk = self.node(inode)?.1;
        let backing = self.disks.get(disk).ok_or(Error::NotFound)?;
        let block_size = backing.disk.sector_size().max(1);
        let nodes = self.nodes.iter().filter(|(node, of)| *of == disk && !matches!(node, Node::Directory(_)));
        Ok(Statfs {
            block_size,
            blocks: backing.disk.size().div_ceil(u64::from(block_size)),
            free_blocks: 0,
            // And the directory.
            files: 1 + nodes.count() as u64,
            free_files: 0,
        })
    }

    /// The value of an extended attribute.
    ///
    /// # Errors
    /// [`Error::NoAttribute`], [`Error::NotFound`]; what is wrong with a guest's file.
    pub(crate) fn xattr(&self, inode: u64, name: &OsStr) -> Result<Vec<u8>> {
        match self.guests.xattr(inode, name) {
            Some(value) => value,
            None => self.node(inode).and(Err(Error::NoAttribute)),
        }
    }

    /// The names of the extended attributes.
    ///
    /// # Errors
    /// [`Error::NotFound`]; what is wrong with a guest's file.
    pub(crate) fn xattr_names(&self, inode: u64) -> Result<Vec<OsString>> {
        match self.guests.xattr_names(inode) {
            Some(names) => Ok(names?.into_iter().map(OsString::from_vec).collect()),
            None => self.node(inode).map(|_| Vec::new()),
        }
    }
}
