//! The tree that a user sees: names, inode numbers and attributes. Knows nothing of FUSE's interface.

use super::process::Process;
use super::{Error, Options, Result};
use crate::disk::{ChainDisk, Disk, Slice};
use crate::volume::Volume;
use nix::errno::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is to be mounted.
pub struct Source {
    /// The disk, shown as `vhdd`.
    pub disk: Arc<dyn Disk>,
    /// Its volumes, shown as `vol<N>` with N their index.
    pub volumes: Vec<Volume>,
    /// The leaf image, absolute. It gives the symbolic link its name and target, and the files their times.
    pub image: PathBuf,
    /// Bytes that the images of the chain take up on the host. A disk larger than that is sparse for `du` and `cp`.
    pub stored: u64,
}

impl Source {
    /// What a chain of images gives to mount.
    #[must_use]
    pub fn of_chain(chain: &ChainDisk, disk: Arc<dyn Disk>, volumes: Vec<Volume>) -> Self {
        let image = chain.links().first().map(|leaf| leaf.info().path.clone()).unwrap_or_default();
        let files = chain.links().iter().flat_map(|link| link.files());
        let stored = files.map(|file| stored_bytes(file.path())).fold(0, u64::saturating_add);
        Self { disk, volumes, image, stored }
    }
}

/// What a file takes up on the host. A device, or what cannot be looked at, counts as if it stored everything.
fn stored_bytes(file: &Path) -> u64 {
    let metadata = std::fs::metadata(file).ok().filter(Metadata::is_file);
    metadata.map_or(u64::MAX, |metadata| metadata.blocks().saturating_mul(512))
}

/// The inode number of the root folder.
pub const ROOT: u64 = 1;
/// The inode number of the first entry of the root folder; the others follow.
const FIRST: u64 = ROOT + 1;

/// The extended attribute of the root folder that holds the number of the process that serves the mount.
pub const PID_ATTRIBUTE: &str = "user.vboximg-mount.pid";
/// The one that holds when that process started, as [`Process::started`].
pub const STARTED_ATTRIBUTE: &str = "user.vboximg-mount.started";

/// What kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file with a disk's bytes.
    File,
    /// A symbolic link.
    Link,
}

/// What `stat` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// The inode number.
    pub number: u64,
    /// What kind of file.
    pub kind: Kind,
    /// The size in bytes.
    pub size: u64,
    /// The 512-byte blocks that it takes up.
    pub blocks: u64,
    /// The permission bits.
    pub mode: u16,
    /// How many names it has.
    pub links: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The times of the leaf image.
    pub times: Times,
}

/// When a file was last read, written and changed in its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// `st_atime`
    pub accessed: SystemTime,
    /// `st_mtime`
    pub modified: SystemTime,
    /// `st_ctime`
    pub changed: SystemTime,
}

impl Times {
    fn of(metadata: &Metadata) -> Self {
        Self {
            accessed: moment(metadata.atime(), metadata.atime_nsec()),
            modified: moment(metadata.mtime(), metadata.mtime_nsec()),
            changed: moment(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Seconds since 1970, which may be negative, and nanoseconds after them. What no clock can show is 1970.
fn moment(seconds: i64, nanoseconds: i64) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    let part = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0));
    second.and_then(|second| second.checked_add(part)).unwrap_or(UNIX_EPOCH)
}

enum Node {
    Link(PathBuf),
    File(Arc<dyn Disk>),
}

struct Entry {
    name: OsString,
    node: Node,
}

/// The tree of one mount.
pub struct Tree {
    disk: Arc<dyn Disk>,
    entries: Vec<Entry>,
    image: PathBuf,
    stored: u64,
    writable: bool,
    uid: u32,
    gid: u32,
    umask: u16,
    times: Times,
    process: Process,
}

impl Tree {
    /// The tree of a source, served by `process` for the user who runs it.
    ///
    /// # Errors
    /// [`Error::Io`] when the image's times cannot be read.
    pub fn new(source: Source, options: &Options, process: Process) -> Result<Self> {
        let Source { disk, volumes, image, stored } = source;
        let metadata = std::fs::metadata(&image).map_err(Error::io(&image, "look at"))?;
        let mut entries = vec![Entry { name: "vhdd".into(), node: Node::File(disk.clone()) }];
        entries.extend(volumes.iter().map(|volume| Entry {
            name: format!("vol{}", volume.index).into(),
            node: Node::File(Arc::new(Slice::new(disk.clone(), volume.offset, volume.size))),
        }));
        let mut name = image.file_name().unwrap_or(image.as_os_str()).to_owned();
        if entries.iter().any(|entry| entry.name == name) {
            name.push(".image");
        }
        entries.insert(0, Entry { name, node: Node::Link(image.clone()) });
        Ok(Self {
            disk,
            entries,
            image,
            stored,
            writable: options.writable,
            uid: options.uid.unwrap_or_else(|| nix::unistd::geteuid().as_raw()),
            gid: options.gid.unwrap_or_else(|| nix::unistd::getegid().as_raw()),
            umask: options.umask,
            times: Times::of(&metadata),
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
        if parent != ROOT {
            return Err(Errno::ENOTDIR);
        }
        let index = self.entries.iter().position(|entry| entry.name == name).ok_or(Errno::ENOENT)?;
        self.attributes(FIRST + index as u64)
    }

    /// The attributes of an inode.
    ///
    /// # Errors
    /// `ENOENT` without such an inode.
    pub fn attributes(&self, number: u64) -> Result<Attributes, Errno> {
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
            times: self.times(),
        })
    }

    fn times(&self) -> Times {
        // Only a mount that writes changes them.
        let now = if self.writable { std::fs::metadata(&self.image).ok() } else { None };
        now.map_or(self.times, |metadata| Times::of(&metadata))
    }

    fn node(&self, number: u64) -> Option<&Node> {
        let index = usize::try_from(number.checked_sub(FIRST)?).ok()?;
        Some(&self.entries.get(index)?.node)
    }

    /// The entries of a folder from the one with the given cookie on (0 for all), each with its name, attributes and
    /// the cookie of the next one.
    ///
    /// # Errors
    /// `ENOTDIR` when it is no folder.
    pub fn list(&self, folder: u64, cookie: u64) -> Result<impl Iterator<Item = (&OsStr, Attributes, u64)>, Errno> {
        if folder != ROOT {
            return Err(Errno::ENOTDIR);
        }
        let own = [".", ".."].map(|name| (OsStr::new(name), ROOT));
        let entries = self.entries.iter().map(|entry| entry.name.as_os_str()).zip(FIRST..);
        let all = own.into_iter().chain(entries).zip(1..);
        Ok(all
            .skip(usize::try_from(cookie).unwrap_or(usize::MAX))
            .filter_map(|((name, number), next)| Some((name, self.attributes(number).ok()?, next))))
    }

    /// Where a symbolic link points.
    ///
    /// # Errors
    /// `EINVAL` when it is no link.
    pub fn link(&self, number: u64) -> Result<&Path, Errno> {
        match self.node(number) {
            Some(Node::Link(target)) => Ok(target),
            _ => Err(Errno::EINVAL),
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

    /// What `statfs` shows: the blocks of the whole disk, the bytes of a block, and the number of files.
    #[must_use]
    pub fn statistics(&self) -> (u64, u32, u64) {
        let disk = &self.disk;
        let block = disk.sector_size().max(1);
        (disk.size().div_ceil(u64::from(block)), block, 1 + self.entries.len() as u64)
    }

    /// The value of an extended attribute.
    ///
    /// # Errors
    /// `ENODATA` without such an attribute.
    pub fn extended(&self, number: u64, name: &OsStr) -> Result<String, Errno> {
        match name.to_str() {
            Some(PID_ATTRIBUTE) if number == ROOT => Ok(self.process.pid.to_string()),
            Some(STARTED_ATTRIBUTE) if number == ROOT => Ok(self.process.started.to_string()),
            _ => Err(Errno::ENODATA),
        }
    }

    /// The names of the extended attributes.
    #[must_use]
    pub fn extended_names(&self, number: u64) -> &'static [&'static str] {
        if number == ROOT { &[PID_ATTRIBUTE, STARTED_ATTRIBUTE] } else { &[] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::testing::MemoryDisk;

    const PROCESS: Process = Process { pid: 4711, started: 99 };

    fn volume(index: usize, offset: u64, size: u64) -> Volume {
        Volume { index, linux_number: 1, offset, size, type_name: "Linux", name: String::new(), bootable: false }
    }

    fn tree(image: &Path, options: &Options) -> Tree {
        let disk = Arc::new(MemoryDisk::new(vec![0; 5000]));
        let volumes = vec![volume(0, 512, 1024), volume(1, 4096, 9999)];
        Tree::new(Source { disk, volumes, image: image.into(), stored: 2048 }, options, PROCESS).unwrap()
    }

    fn names(tree: &Tree, cookie: u64) -> Vec<String> {
        tree.list(ROOT, cookie).unwrap().map(|(name, ..)| name.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn shows_the_image_the_disk_and_the_volumes() {
        let image = tempfile::NamedTempFile::with_suffix(".vdi").unwrap();
        let tree = tree(image.path(), &Options { uid: Some(7), gid: Some(8), ..Options::default() });
        let name = image.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(names(&tree, 0), [".", "..", name, "vhdd", "vol0", "vol1"]);
        assert_eq!(names(&tree, 4), ["vol0", "vol1"]);
        assert_eq!(tree.list(ROOT, 0).unwrap().map(|(.., next)| next).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        assert!(tree.list(ROOT, 6).unwrap().next().is_none());

        let whole = tree.lookup(ROOT, "vhdd".as_ref()).unwrap();
        assert_eq!((whole.kind, whole.size, whole.blocks, whole.mode), (Kind::File, 5000, 4, 0o444));
        assert_eq!((whole.uid, whole.gid, whole.links), (7, 8, 1));
        let second = tree.lookup(ROOT, "vol1".as_ref()).unwrap();
        // Cut at the disk's end.
        assert_eq!((second.size, second.blocks), (904, 2));
        assert_eq!(tree.disk(second.number).unwrap().size(), 904);
        let link = tree.lookup(ROOT, name.as_ref()).unwrap();
        assert_eq!((link.kind, link.mode, tree.link(link.number)), (Kind::Link, 0o777, Ok(image.path())));
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
        assert_eq!(writable.attributes(ROOT).unwrap().times.modified, before);
    }

    #[test]
    fn modes_follow_writing_and_umask() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let options = Options { writable: true, umask: 0o027, ..Options::default() };
        let tree = tree(image.path(), &options);
        let modes: Vec<u16> = tree.list(ROOT, 2).unwrap().map(|(_, attributes, _)| attributes.mode).collect();
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
        assert_eq!(tree.list(vhdd, 0).err(), Some(Errno::ENOTDIR));
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
        let values: Vec<_> = tree.extended_names(ROOT).iter().map(|name| tree.extended(ROOT, name.as_ref())).collect();
        assert_eq!(values, [Ok("4711".to_owned()), Ok("99".to_owned())]);
        assert_eq!(tree.extended(ROOT, "security.capability".as_ref()), Err(Errno::ENODATA));
        assert_eq!((tree.extended_names(3).len(), tree.extended(3, PID_ATTRIBUTE.as_ref())), (0, Err(Errno::ENODATA)));
    }
}
