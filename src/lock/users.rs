//! Which other processes have an image open. VirtualBox and most others take no lock that could be queried, but the
//! kernel lists what each process of the user (or, for root, each process) has open.
//!
//! The crate `procfs` does not serve here: it makes values of all descriptors and mappings of a process by their paths,
//! while this looks for a few files by device and inode, in thousands of processes, before a mount is ready.

use super::target::Target;
use super::{Error, Result};
use crate::storage::{FileIdentity, file_identity};
use nix::fcntl::OFlag;
use rustix::fs::{Mode, OFlags, RawDir};
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry};
use std::mem::{self, MaybeUninit};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

/// Programs that run machines or serve their disks, as the beginnings of their names.
const MACHINE_PROGRAMS: [&str; 6] = ["VirtualBox", "VBoxHeadless", "VBoxSDL", "VBoxSVC", "vboximg-mount", "qemu-"];

/// Where the kernel lists its block devices.
const BLOCK_DEVICES: &str = "/sys/block";

/// Threads that look at processes at once.
const MAX_WORKERS: usize = 4;

/// A process that has an image open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The process.
    pub pid: u32,
    /// The name of its program.
    pub name: String,
    /// Whether it may write the image.
    pub writes: bool,
    /// The image.
    pub path: PathBuf,
}

impl User {
    /// Whether the program runs machines or serves their disks.
    #[must_use]
    pub fn is_machine_program(&self) -> bool {
        MACHINE_PROGRAMS.iter().any(|name| self.name.starts_with(name))
    }
}

/// Refuses to write to `leaf` while others use it: a process that may write it or one of its `parents`, a machine's
/// program that has it open at all, a loop device, which for a parent may be one that only reads. Machines may read the
/// parents, as linked clones do.
///
/// To be called with the locks held, which other processes of this program respect.
///
/// # Errors
/// [`Error::InUse`], [`Error::LoopDevice`].
pub(crate) fn check_writable(leaf: &Path, parents: &[&Path]) -> Result<()> {
    let leaf = Target::find(leaf)?.path;
    let images: Vec<&Path> = std::iter::once(leaf.as_path()).chain(parents.iter().copied()).collect();
    let in_the_way = |user: &User| user.writes || (user.path == leaf && user.is_machine_program());
    let search = Search::new(&images);
    if let Some(user) = search.users().into_iter().find(in_the_way) {
        return Err(Error::InUse { user });
    }
    let in_the_way = |device: LoopDevice| {
        let path = search.images.get(&device.file).filter(|path| device.writes || **path == leaf)?;
        Some(Error::LoopDevice { path: path.clone(), device: device.path })
    };
    LoopDevice::all(Path::new(BLOCK_DEVICES)).into_iter().find_map(in_the_way).map_or(Ok(()), Err)
}

/// A process of which only the number is known.
pub(super) fn process(pid: u32, writes: bool, path: &Path) -> User {
    User { pid, name: program_name(pid), writes, path: path.to_path_buf() }
}

/// A search for processes that have certain images open. The images are identified when it is made, so that it may be
/// used when something is mounted over their directory.
pub(crate) struct Search {
    images: HashMap<FileIdentity, PathBuf>,
    /// Their file names.
    names: HashSet<OsString>,
    /// None of them has several names. What has another name is then not one of them, and need not be asked for its
    /// attributes: that takes time, and never ends on a network file system that is gone.
    one_name_each: bool,
}

impl Search {
    /// Looks at the images.
    #[must_use]
    pub(crate) fn new(images: &[&Path]) -> Self {
        let targets: Vec<Target> = images.iter().filter_map(|image| Target::find(image).ok()).collect();
        let one_name = |target: &Target| target.is_block_device() || target.attributes.nlink() == 1;
        let one_name_each = targets.iter().all(one_name);
        let names = targets.iter().filter_map(|target| target.path.file_name().map(OsStr::to_os_string)).collect();
        let identified = targets.into_iter().map(|target| (FileIdentity::of(&target.attributes), target.path));
        Self { images: identified.collect(), names, one_name_each }
    }

    /// The other processes that have one of the images open, each once per image. Images that are not there have none,
    /// and processes of other users are seen by root only.
    #[must_use]
    pub(crate) fn users(&self) -> Vec<User> {
        let ourselves = std::process::id();
        // Processes come and go during the search, and those of other users are hidden: what cannot be read is skipped.
        let processes: Vec<u32> = entries(Path::new("/proc"))
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| *pid != ourselves)
            .collect();
        // The kernel takes a while to write down the mappings of large processes.
        let workers = thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
        let share = processes.len().div_ceil(workers).max(1);
        thread::scope(|scope| {
            let look = |part: &[u32]| part.iter().flat_map(|pid| self.users_in(*pid)).collect::<Vec<User>>();
            let parts: Vec<_> = processes.chunks(share).map(|part| scope.spawn(move || look(part))).collect();
            let join = |part: thread::ScopedJoinHandle<'_, _>| part.join().unwrap_or_else(|e| resume_unwind(e));
            parts.into_iter().flat_map(join).collect()
        })
    }

    /// The warning for a reader of the images while another process may write one of them.
    #[must_use]
    pub(crate) fn warning_for_reading(&self) -> Option<String> {
        let Some(writer) = self.users().into_iter().find(|user| user.writes) else {
            let devices = LoopDevice::all(Path::new(BLOCK_DEVICES)).into_iter().filter(|device| device.writes);
            let used = |device: LoopDevice| Some((self.images.get(&device.file)?, device.path));
            let (path, device) = devices.into_iter().find_map(used)?;
            let path = path.display();
            return Some(format!("The loop device {device} may write to {path}: the disk may change while it is read"));
        };
        Some(format!(
            "Process {} ({}) has {} open for writing: the disk may change while it is read",
            writer.pid,
            writer.name,
            writer.path.display()
        ))
    }

    /// The images that a process has open. System calls relative to its directory and one buffer for all answers take a
    /// third of the time that paths take, and a mount goes to the background only after this.
    fn users_in(&self, pid: u32) -> Vec<User> {
        let mut found: Vec<User> = Vec::new();
        let path = PathBuf::from(format!("/proc/{pid}/fd"));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(directory) = rustix::fs::open(&path, flags, Mode::empty()) else { return found };
        let (mut buf, mut target) = ([MaybeUninit::uninit(); 8 << 10], Vec::new());
        let mut links = RawDir::new(&directory, &mut buf);
        while let Some(Ok(link)) = links.next() {
            let Ok(read) = rustix::fs::readlinkat(&directory, link.file_name(), mem::take(&mut target)) else {
                continue;
            };
            target = read.into_bytes();
            let number = OsStr::from_bytes(link.file_name().to_bytes());
            let Some(image) = self.find(Path::new(OsStr::from_bytes(&target)), &path.join(number)) else { continue };
            let writes = may_write(&path.with_file_name("fdinfo").join(number));
            add(&mut found, pid, writes, image);
        }
        self.mapped_in(pid, &mut found);
        found
    }

    /// The images that a process has mapped into its memory, which it may do without keeping them open.
    fn mapped_in(&self, pid: u32, found: &mut Vec<User>) {
        let Ok(maps) = fs::read(format!("/proc/{pid}/maps")) else { return };
        for mapping in maps.split(|b| *b == b'\n').filter_map(Mapping::parse) {
            // Some file systems report another device or inode here than elsewhere.
            let by_path = || {
                let path = Path::new(OsStr::from_bytes(mapping.path));
                self.names.contains(path.file_name()?).then(|| file_identity(path)).flatten()
            };
            let image = self.images.get(&mapping.file).or_else(|| self.images.get(&by_path()?));
            if let Some(image) = image {
                add(found, pid, mapping.writes, image);
            }
        }
    }

    /// The image of `/proc/PID/fd/N`, a link that leads to `target`.
    fn find(&self, target: &Path, link: &Path) -> Option<&PathBuf> {
        let other_name = || target.file_name().is_none_or(|name| !self.names.contains(name));
        // Sockets, pipes and the like have names such as `pipe:[123]`.
        if !target.is_absolute() || self.one_name_each && other_name() {
            return None;
        }
        self.images.get(&file_identity(link)?)
    }
}

/// Notes that a process uses an image, once for each.
fn add(found: &mut Vec<User>, pid: u32, writes: bool, image: &Path) {
    match found.iter_mut().find(|user| user.path == image) {
        Some(user) => user.writes |= writes,
        None => found.push(process(pid, writes, image)),
    }
}

/// A file that a process has mapped.
#[derive(Debug, PartialEq, Eq)]
struct Mapping<'a> {
    file: FileIdentity,
    /// What is written to the memory goes to the file.
    writes: bool,
    path: &'a [u8],
}

impl<'a> Mapping<'a> {
    /// Reads a line of `/proc/PID/maps`: `00400000-00452000 rw-s 00000000 08:02 173521      /path`, that is addresses,
    /// permissions (the last is `s` for shared), offset, device (hexadecimal), inode, path. None for memory without a
    /// file. Source: Linux `proc_pid_maps(5)`.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut words = line.splitn(6, |b| *b == b' ');
        let permissions = words.nth(1)?;
        let device = std::str::from_utf8(words.nth(1)?).ok()?;
        let inode = std::str::from_utf8(words.next()?).ok()?.parse().ok().filter(|inode| *inode != 0)?;
        let (major, minor) = device.split_once(':')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let device = nix::sys::stat::makedev(number(major)?, number(minor)?);
        let path = words.next().unwrap_or_default().trim_ascii_start();
        let writes = permissions.get(1) == Some(&b'w') && permissions.get(3) == Some(&b's');
        Some(Self { file: FileIdentity::File { device, inode }, writes, path })
    }
}

/// Whether `/proc/PID/fdinfo/N` reports the file as open for writing. Source: Linux `proc_pid_fdinfo(5)`: a line
/// `flags:` with the octal flags of `open(2)`.
fn may_write(fdinfo: &Path) -> bool {
    let Ok(text) = fs::read_to_string(fdinfo) else { return false };
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|octal| i32::from_str_radix(octal.trim(), 8).ok()).unwrap_or(0);
    let access = OFlag::from_bits_truncate(flags) & OFlag::O_ACCMODE;
    access != OFlag::O_RDONLY
}

/// The file name of a machine's program, however it was started, or else the name that the process was
/// started with; the kernel's name of the process, which has at most 15 bytes, when that is not known.
fn program_name(pid: u32) -> String {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let program = program.file_name().unwrap_or_default().to_string_lossy();
    if MACHINE_PROGRAMS.iter().any(|name| program.starts_with(name)) {
        return program.trim_end_matches(" (deleted)").to_owned();
    }
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let program = command.split(|b| *b == 0).next().unwrap_or_default();
    let program = String::from_utf8_lossy(program);
    let name = program.rsplit('/').next().unwrap_or_default();
    let name = if name.is_empty() {
        fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_else(|_| "unknown".to_owned())
    } else {
        name.to_owned()
    };
    name.trim_end().chars().filter(|c| !c.is_control()).take(80).collect()
}

/// A loop device that serves a file.
#[derive(Debug, PartialEq, Eq)]
struct LoopDevice {
    path: String,
    file: FileIdentity,
    writes: bool,
}

impl LoopDevice {
    /// All that `block_devices`, the kernel's list of block devices, has.
    fn all(block_devices: &Path) -> Vec<Self> {
        let look = |device: DirEntry| {
            let backing_file = fs::read(device.path().join("loop/backing_file")).ok()?;
            let backing_file = backing_file.strip_suffix(b"\n").unwrap_or(&backing_file);
            let file = file_identity(Path::new(OsStr::from_bytes(backing_file)))?;
            let writes = fs::read(device.path().join("ro")).is_ok_and(|text| text.starts_with(b"0"));
            Some(Self { path: format!("/dev/{}", device.file_name().to_string_lossy()), file, writes })
        };
        entries(block_devices).filter_map(look).collect()
    }
}

fn entries(directory: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten()
}

#[cfg(test)]
mod tests;
