//! The tree that a user sees: names, inode numbers and attributes. Knows nothing of FUSE's interface.

use super::attributes::{Attributes, Kind, Times};
use super::file;
use super::guests::{Guests, Owners};
use super::process::Process;
use super::{Error, Options, Result, Source};
use crate::disk::{Disk, Part, Slice};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

/// The inode number of the root folder.
pub const ROOT: u64 = 1;
/// The inode number of the first entry of the root folder; the others follow.
const FIRST: u64 = ROOT + 1;

/// The extended attribute of the root folder that holds the number of the process that serves the mount.
pub const PID_ATTRIBUTE: &str = "user.vboximg-mount.pid";
/// The one that holds when that process started, as [`Process::started`].
pub const STARTED_ATTRIBUTE: &str = "user.vboximg-mount.started";

enum Node {
    Link(PathBuf),
    File(Arc<dyn Disk>),
}

struct Entry {
    name: OsString,
    node: Node,
}

impl Entry {
    fn kind(&self) -> Kind {
        match self.node {
            Node::Link(_) => Kind::Link,
            Node::File(_) => Kind::File,
        }
    }
}

/// The tree of one mount.
pub struct Tree {
    disk: Arc<dyn Disk>,
    entries: Vec<Entry>,
    /// The leaf image. Its path is not looked at once there is a mount, which may lie over it: that would be to wait for
    /// ourselves.
    image: File,
    stored: u64,
    writable: bool,
    uid: u32,
    gid: u32,
    umask: u16,
    times: Times,
    process: Process,
    guests: Guests,
}

impl Tree {
    /// The tree of a source, served by `process` for the user who runs it.
    ///
    /// # Errors
    /// [`Error::Io`] when the image's times cannot be read.
    pub fn new(source: Source, options: &Options, process: Process) -> Result<Self> {
        let Source { disk, volumes, image, guests, stored } = source;
        // Enough for the attributes, and as open to everybody as they are.
        let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_PATH.bits()).open(&image);
        let (opened, times) = opened
            .and_then(|file| file.metadata().map(|metadata| (file, Times::of(&metadata))))
            .map_err(Error::io(&image, "look at"))?;
        let mut entries = vec![Entry { name: "vhdd".into(), node: Node::File(disk.clone()) }];
        entries.extend(volumes.iter().map(|volume| Entry {
            name: format!("vol{}", volume.index).into(),
            node: Node::File(Arc::new(Slice::new(disk.clone(), volume.offset, volume.size))),
        }));
        let mut name = image.file_name().unwrap_or(image.as_os_str()).to_owned();
        if entries.iter().any(|entry| entry.name == name) {
            name.push(".image");
        }
        entries.insert(0, Entry { name, node: Node::Link(image) });
        let user = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        let owners = Owners { uid: options.uid, gid: options.gid, fallback: user, umask: options.umask };
        Ok(Self {
            disk,
            entries,
            guests: Guests::new(guests, owners),
            image: opened,
            stored,
            writable: options.writable,
            uid: options.uid.unwrap_or(user.0),
            gid: options.gid.unwrap_or(user.1),
            umask: options.umask,
            times,
            process,
        })
    }

    /// Whether the files may be written to.
    #[must_use]
    pub fn writable(&self) -> bool {
        self.writable
    }

    /// The attributes of the entry of a folder.
    ///
    /// # Errors
    /// `ENOENT` without such an entry, `ENOTDIR` when `parent` is no folder.
    pub fn lookup(&self, parent: u64, name: &OsStr) -> Result<Attributes, Errno> {
        if let Some(found) = self.guests.lookup(parent, name.as_encoded_bytes()) {
            return found;
        }
        if parent != ROOT {
            return Err(Errno::ENOTDIR);
        }
        if let Some((_, root)) = self.guests.roots().find(|(guest, _)| name == *guest) {
            return self.attributes(root);
        }
        let index = self.entries.iter().position(|entry| entry.name == name).ok_or(Errno::ENOENT)?;
        self.attributes(FIRST + index as u64)
    }

    /// The attributes of an inode.
    ///
    /// # Errors
    /// `ENOENT` without such an inode.
    pub fn attributes(&self, number: u64) -> Result<Attributes, Errno> {
        if let Some(found) = self.guests.attributes(number) {
            return found;
        }
        let (kind, size, mode) = match self.node(number) {
            _ if number == ROOT => (Kind::Folder, 0, if self.writable { 0o755 } else { 0o555 }),
            Some(Node::File(disk)) => (Kind::File, disk.size(), if self.writable { 0o644 } else { 0o444 }),
            Some(Node::Link(target)) => (Kind::Link, target.as_os_str().len() as u64, 0o777),
            None => return Err(Errno::ENOENT),
        };
        let stored = if kind == Kind::File { size.min(self.stored) } else { 0 };
        Ok(Attributes {
            number,
            kind,
            size,
            blocks: stored.div_ceil(512),
            mode: if kind == Kind::Link { mode } else { mode & !self.umask },
            links: if kind == Kind::Folder { 2 } else { 1 },
            uid: self.uid,
            gid: self.gid,
            device: (0, 0),
            times: self.times(),
        })
    }

    fn times(&self) -> Times {
        // Only a mount that writes changes them.
        let now = if self.writable { self.image.metadata().ok() } else { None };
        now.map_or(self.times, |metadata| Times::of(&metadata))
    }

    fn node(&self, number: u64) -> Option<&Node> {
        let index = usize::try_from(number.checked_sub(FIRST)?).ok()?;
        Some(&self.entries.get(index)?.node)
    }

    /// Tells the entries of a folder from the one with the given cookie on (0 for all), each with its name, number, kind
    /// and the cookie of the next one, until `each` says that it has enough.
    ///
    /// # Errors
    /// `ENOTDIR` when it is no folder; the errno of what is wrong with a guest's folder.
    pub fn list(
        &self,
        folder: u64,
        cookie: u64,
        each: &mut dyn FnMut(&OsStr, u64, Kind, u64) -> bool,
    ) -> Result<(), Errno> {
        let own = [".", ".."].into_iter().zip(1..).skip(usize::try_from(cookie).unwrap_or(usize::MAX));
        for (name, next) in own {
            // The kernel knows the parent itself.
            if each(OsStr::new(name), folder, Kind::Folder, next) {
                return Ok(());
            }
        }
        // Behind the two come the guest's own places.
        let guest = self.guests.list(folder, cookie.saturating_sub(2), &mut |name, listed, next| {
            each(OsStr::from_bytes(name), listed.number, listed.kind, next.saturating_add(2))
        });
        if let Some(told) = guest {
            return told;
        }
        if folder != ROOT {
            return Err(Errno::ENOTDIR);
        }
        let files =
            self.entries.iter().zip(FIRST..).map(|(entry, number)| (entry.name.as_os_str(), number, entry.kind()));
        let guests = self.guests.roots().map(|(name, number)| (OsStr::new(name), number, Kind::Folder));
        let skipped = usize::try_from(cookie.saturating_sub(2)).unwrap_or(usize::MAX);
        for ((name, number, kind), next) in files.chain(guests).zip(3..).skip(skipped) {
            if each(name, number, kind, next) {
                break;
            }
        }
        Ok(())
    }

    /// Where a symbolic link points.
    ///
    /// # Errors
    /// `EINVAL` when it is no link; the errno of what is wrong with a guest's.
    pub fn link(&self, number: u64) -> Result<Cow<'_, [u8]>, Errno> {
        if let Some(target) = self.guests.link(number) {
            return target.map(Cow::Owned);
        }
        match self.node(number) {
            Some(Node::Link(target)) => Ok(Cow::Borrowed(target.as_os_str().as_encoded_bytes())),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Whether an inode is one of the guest's.
    #[must_use]
    pub fn is_guests(&self, number: u64) -> bool {
        self.guests.statistics(number).is_some()
    }

    /// The errno for who wants to change a folder or a file other than its bytes: the tree has the names that it has,
    /// and the guest's file systems are for reading, whatever the mount is.
    #[must_use]
    pub fn unchangeable(&self, number: u64) -> Errno {
        if self.is_guests(number) { Errno::EROFS } else { Errno::EPERM }
    }

    /// Fills `buf` with the bytes of a file from `offset` on and tells how many there were.
    ///
    /// # Errors
    /// `EISDIR` for a folder, `EINVAL` for what has no bytes; the errno of what is wrong with the disk or the file.
    pub fn read(&self, number: u64, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        match self.guests.read(number, offset, buf) {
            Some(read) => read,
            None => file::read(self.disk(number)?, offset, buf),
        }
    }

    /// Where the bytes of a file from `offset` on lie, up to its end, when all of them lie in files of the host.
    #[must_use]
    pub fn parts(&self, number: u64, offset: u64, len: u64) -> Option<Vec<Part>> {
        if self.is_guests(number) {
            return self.guests.parts(number, offset, len);
        }
        let disk = self.disk(number).ok()?;
        disk.parts(offset, len.min(disk.size().checked_sub(offset)?))
    }

    /// Where the next data (`SEEK_DATA`) or hole (`SEEK_HOLE`) of a file begins, at `offset` or after it.
    ///
    /// # Errors
    /// As [`file::seek`]; the errno of what is wrong with a guest's file.
    pub fn seek(&self, number: u64, offset: i64, whence: i32) -> Result<u64, Errno> {
        match self.guests.seek(number, offset, file::wants_data(whence)?) {
            Some(found) => found,
            None => file::seek(self.disk(number)?, offset, whence),
        }
    }

    /// The disk whose bytes a file has.
    ///
    /// # Errors
    /// `EISDIR` for a folder, `EINVAL` for what has no bytes.
    pub fn disk(&self, number: u64) -> Result<&dyn Disk, Errno> {
        match self.node(number) {
            Some(Node::File(disk)) => Ok(&**disk),
            _ if number == ROOT => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    /// What `statfs` shows: the bytes of a block, blocks, free blocks, files and free files; of the guest's file system
    /// in its folder, else of the whole disk.
    #[must_use]
    pub fn statistics(&self, number: u64) -> (u32, u64, u64, u64, u64) {
        self.guests.statistics(number).unwrap_or_else(|| {
            let block = self.disk.sector_size().max(1);
            (block, self.disk.size().div_ceil(u64::from(block)), 0, 1 + self.entries.len() as u64, 0)
        })
    }

    /// The value of an extended attribute.
    ///
    /// # Errors
    /// `ENODATA` without such an attribute; the errno of what is wrong with a guest's file.
    pub fn extended(&self, number: u64, name: &OsStr) -> Result<Vec<u8>, Errno> {
        if let Some(value) = self.guests.xattr(number, name.as_encoded_bytes()) {
            return value;
        }
        match name.to_str() {
            Some(PID_ATTRIBUTE) if number == ROOT => Ok(self.process.pid.to_string().into_bytes()),
            Some(STARTED_ATTRIBUTE) if number == ROOT => Ok(self.process.started.to_string().into_bytes()),
            _ => Err(Errno::ENODATA),
        }
    }

    /// The names of the extended attributes.
    ///
    /// # Errors
    /// The errno of what is wrong with a guest's file.
    pub fn extended_names(&self, number: u64) -> Result<Vec<Vec<u8>>, Errno> {
        if let Some(names) = self.guests.xattr_names(number) {
            return names;
        }
        let own: &[&str] = if number == ROOT { &[PID_ATTRIBUTE, STARTED_ATTRIBUTE] } else { &[] };
        Ok(own.iter().map(|name| name.as_bytes().to_vec()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::memory::MemoryDisk;
    use crate::volume::Volume;
    use std::path::Path;
    use std::time::{Duration, UNIX_EPOCH};

    const PROCESS: Process = Process { pid: 4711, started: 99 };

    fn volume(index: usize, offset: u64, size: u64) -> Volume {
        Volume { index, linux_number: 1, offset, size, type_name: "Linux".into(), name: String::new(), bootable: false }
    }

    fn tree(image: &Path, options: &Options) -> Tree {
        let disk = Arc::new(MemoryDisk::new(vec![0; 5000]));
        let volumes = vec![volume(0, 512, 1024), volume(1, 4096, 9999)];
        Tree::new(Source { disk, volumes, image: image.into(), guests: Vec::new(), stored: 2048 }, options, PROCESS)
            .unwrap()
    }

    /// Names, numbers and the cookies after them.
    fn told(tree: &Tree, cookie: u64) -> Vec<(String, u64, u64)> {
        let mut all = Vec::new();
        let list = tree.list(ROOT, cookie, &mut |name, number, _, next| {
            all.push((name.to_str().unwrap().to_owned(), number, next));
            false
        });
        list.unwrap();
        all
    }

    fn names(tree: &Tree, cookie: u64) -> Vec<String> {
        told(tree, cookie).into_iter().map(|(name, ..)| name).collect()
    }

    #[test]
    fn shows_the_image_the_disk_and_the_volumes() {
        let image = tempfile::NamedTempFile::with_suffix(".vdi").unwrap();
        let tree = tree(image.path(), &Options { uid: Some(7), gid: Some(8), ..Options::default() });
        let name = image.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(names(&tree, 0), [".", "..", name, "vhdd", "vol0", "vol1"]);
        assert_eq!(names(&tree, 4), ["vol0", "vol1"]);
        assert_eq!(told(&tree, 0).into_iter().map(|(.., next)| next).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(names(&tree, 6), [""; 0]);

        let whole = tree.lookup(ROOT, "vhdd".as_ref()).unwrap();
        assert_eq!((whole.kind, whole.size, whole.blocks, whole.mode), (Kind::File, 5000, 4, 0o444));
        assert_eq!((whole.uid, whole.gid, whole.links), (7, 8, 1));
        let second = tree.lookup(ROOT, "vol1".as_ref()).unwrap();
        // Cut at the disk's end.
        assert_eq!((second.size, second.blocks), (904, 2));
        assert_eq!(tree.disk(second.number).unwrap().size(), 904);
        let link = tree.lookup(ROOT, name.as_ref()).unwrap();
        assert_eq!(
            (link.kind, link.mode, tree.link(link.number).unwrap()),
            (Kind::Link, 0o777, image.path().as_os_str().as_encoded_bytes().into())
        );
        let root = tree.attributes(ROOT).unwrap();
        assert_eq!((root.kind, root.mode, root.links), (Kind::Folder, 0o555, 2));
    }

    #[test]
    fn the_image_gives_the_times() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let before = UNIX_EPOCH - Duration::from_millis(1500);
        image.as_file().set_modified(before).unwrap();
        let read_only = tree(image.path(), &Options::default());
        let writable = tree(image.path(), &Options { writable: true, ..Options::default() });
        assert_eq!(read_only.attributes(ROOT).unwrap().times.modified, before);
        let after = UNIX_EPOCH + Duration::from_nanos(1_000_000_007);
        image.as_file().set_modified(after).unwrap();
        assert_eq!(writable.attributes(ROOT).unwrap().times.modified, after);
        image.close().unwrap();
        assert_eq!(writable.attributes(ROOT).unwrap().times.modified, after);
    }

    #[test]
    fn modes_follow_writing_and_umask() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let options = Options { writable: true, umask: 0o027, ..Options::default() };
        let tree = tree(image.path(), &options);
        let modes: Vec<u16> =
            told(&tree, 2).into_iter().map(|(_, number, _)| tree.attributes(number).unwrap().mode).collect();
        assert_eq!(modes, [0o777, 0o640, 0o640, 0o640]);
        assert_eq!(tree.attributes(ROOT).unwrap().mode, 0o750);
    }

    #[test]
    fn an_image_named_as_one_of_ours_gets_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("vol1");
        std::fs::write(&image, "").unwrap();
        assert_eq!(names(&tree(&image, &Options::default()), 2), ["vol1.image", "vhdd", "vol0", "vol1"]);
    }

    #[test]
    fn errors() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let tree = tree(image.path(), &Options::default());
        let vhdd = tree.lookup(ROOT, "vhdd".as_ref()).unwrap().number;
        assert_eq!(tree.lookup(ROOT, "vol2".as_ref()), Err(Errno::ENOENT));
        assert_eq!(tree.lookup(vhdd, "x".as_ref()), Err(Errno::ENOTDIR));
        assert_eq!(tree.list(vhdd, 2, &mut |_, _, _, _| false), Err(Errno::ENOTDIR));
        assert_eq!(tree.link(vhdd), Err(Errno::EINVAL));
        assert_eq!(tree.disk(ROOT).err(), Some(Errno::EISDIR));
        for number in [0, 6, u64::MAX] {
            assert_eq!(tree.attributes(number), Err(Errno::ENOENT));
        }
    }

    #[test]
    fn the_root_names_its_process() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let tree = tree(image.path(), &Options::default());
        let names = tree.extended_names(ROOT).unwrap();
        let values: Vec<_> = names.iter().map(|name| tree.extended(ROOT, OsStr::from_bytes(name))).collect();
        assert_eq!(values, [Ok(b"4711".to_vec()), Ok(b"99".to_vec())]);
        assert_eq!(tree.extended(ROOT, "security.capability".as_ref()), Err(Errno::ENODATA));
        assert_eq!(
            (tree.extended_names(3).unwrap().len(), tree.extended(3, PID_ATTRIBUTE.as_ref())),
            (0, Err(Errno::ENODATA))
        );
    }
}
