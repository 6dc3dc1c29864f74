//! Which other processes have an image open. VirtualBox and most others take no lock that we could ask for, but the
//! kernel tells what each process of ours (or, for root, each process) has open.

use super::place::Target;
use super::{Error, Result};
use nix::fcntl::OFlag;
use rustix::fs::{Mode, OFlags, RawDir};
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry, Metadata};
use std::mem::{self, MaybeUninit};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Programs that run machines or serve their disks, as the beginnings of their names.
const MACHINE_PROGRAMS: [&str; 6] = ["VirtualBox", "VBoxHeadless", "VBoxSDL", "VBoxSVC", "vboximg-mount", "qemu-"];

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

/// The other processes that have one of the images open, each once per image. Images that are not there have none, and
/// processes of other users are seen by root only.
#[must_use]
pub fn users(images: &[&Path]) -> Vec<User> {
    Search::new(images).users()
}

/// Refuses to write to `leaf` while others use it: a process that may write it or one of its `parents`, a machine's
/// program that has it open at all, a loop device. Machines may read the parents, as linked clones do.
///
/// To be called with the locks held, which other processes of this program respect.
///
/// # Errors
/// [`Error::InUse`], [`Error::LoopDevice`].
pub fn check_writable(leaf: &Path, parents: &[&Path]) -> Result<()> {
    let leaf = Target::find(leaf)?.path;
    let images: Vec<&Path> = std::iter::once(leaf.as_path()).chain(parents.iter().copied()).collect();
    let in_the_way = |user: &User| user.writes || (user.path == leaf && user.is_machine_program());
    if let Some(user) = users(&images).into_iter().find(in_the_way) {
        return Err(Error::InUse { user });
    }
    match loop_device(Path::new("/sys/block"), &leaf) {
        Some(device) => Err(Error::LoopDevice { path: leaf, device }),
        None => Ok(()),
    }
}

/// A process of which only the number is known.
pub(super) fn process(pid: u32, writes: bool, path: &Path) -> User {
    User { pid, name: program_name(pid), writes, path: path.to_path_buf() }
}

/// What makes two paths lead to one file or device.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Identity {
    File { device: u64, inode: u64 },
    BlockDevice { number: u64 },
}

impl Identity {
    fn of(attributes: &Metadata) -> Self {
        if attributes.file_type().is_block_device() {
            Self::BlockDevice { number: attributes.rdev() }
        } else {
            Self::File { device: attributes.dev(), inode: attributes.ino() }
        }
    }
}

/// A search for processes that have certain images open. The images are looked at when it is made, so that it may be
/// used when something is mounted over their folder.
pub struct Search {
    images: HashMap<Identity, PathBuf>,
    /// Their file names, unless one of them has several. What has another name is then not one of them, and need not be
    /// asked for its attributes: that takes time, and for ever on a network file system that is gone.
    names: Option<HashSet<OsString>>,
}

impl Search {
    /// Looks at the images.
    #[must_use]
    pub fn new(images: &[&Path]) -> Self {
        let targets: Vec<Target> = images.iter().filter_map(|image| Target::find(image).ok()).collect();
        let one_name = |target: &Target| target.is_block_device() || target.attributes.nlink() == 1;
        let names = targets
            .iter()
            .all(one_name)
            .then(|| targets.iter().filter_map(|target| target.path.file_name().map(OsStr::to_os_string)).collect());
        let identified = targets.into_iter().map(|target| (Identity::of(&target.attributes), target.path));
        Self { images: identified.collect(), names }
    }

    /// As [`users`].
    #[must_use]
    pub fn users(&self) -> Vec<User> {
        let ourselves = std::process::id();
        // Processes come and go while they are looked at, and others are not ours to see: what cannot be read is skipped.
        entries(Path::new("/proc"))
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| *pid != ourselves)
            .flat_map(|pid| self.users_in(pid))
            .collect()
    }

    /// What to tell somebody who reads the images while another process may write one of them.
    #[must_use]
    pub fn warning_for_reading(&self) -> Option<String> {
        let writer = self.users().into_iter().find(|user| user.writes)?;
        Some(format!(
            "Process {} ({}) has {} open for writing: the disk may change while it is read",
            writer.pid,
            writer.name,
            writer.path.display()
        ))
    }

    /// The images that a process has open. System calls relative to its folder and one buffer for all answers take a
    /// third of the time that paths take, and a mount goes to the background only after this.
    fn users_in(&self, pid: u32) -> Vec<User> {
        let mut found: Vec<User> = Vec::new();
        let path = PathBuf::from(format!("/proc/{pid}/fd"));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(folder) = rustix::fs::open(&path, flags, Mode::empty()) else { return found };
        let (mut buf, mut target) = ([MaybeUninit::uninit(); 8 << 10], Vec::new());
        let mut links = RawDir::new(&folder, &mut buf);
        while let Some(Ok(link)) = links.next() {
            let Ok(read) = rustix::fs::readlinkat(&folder, link.file_name(), mem::take(&mut target)) else { continue };
            target = read.into_bytes();
            let number = OsStr::from_bytes(link.file_name().to_bytes());
            let Some(image) = self.find(Path::new(OsStr::from_bytes(&target)), &path.join(number)) else { continue };
            let writes = may_write(&path.with_file_name("fdinfo").join(number));
            match found.iter_mut().find(|user| &user.path == image) {
                Some(user) => user.writes |= writes,
                None => found.push(process(pid, writes, image)),
            }
        }
        found
    }

    /// The image behind `/proc/PID/fd/N`, a link that leads to `target`.
    fn find(&self, target: &Path, link: &Path) -> Option<&PathBuf> {
        let other_name = |names: &HashSet<OsString>| target.file_name().is_none_or(|name| !names.contains(name));
        // Sockets, pipes and the like have names such as `pipe:[123]`.
        if !target.is_absolute() || self.names.as_ref().is_some_and(other_name) {
            return None;
        }
        self.images.get(&Identity::of(&fs::metadata(link).ok()?))
    }
}

/// Whether `/proc/PID/fdinfo/N` says that the file is open for writing. Source: Linux `proc_pid_fdinfo(5)`: a line
/// `flags:` with the octal flags of `open(2)`.
fn may_write(fdinfo: &Path) -> bool {
    let Ok(text) = fs::read_to_string(fdinfo) else { return false };
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|octal| i32::from_str_radix(octal.trim(), 8).ok()).unwrap_or(0);
    let access = OFlag::from_bits_truncate(flags) & OFlag::O_ACCMODE;
    access != OFlag::O_RDONLY
}

/// The file name of the program as it was started; the kernel's name of the process, which has at most 15 bytes, when
/// that is not known.
fn program_name(pid: u32) -> String {
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

/// The loop device that serves `image`, a path without symbolic links.
fn loop_device(block_devices: &Path, image: &Path) -> Option<String> {
    entries(block_devices).find_map(|device| {
        let backing_file = fs::read_to_string(device.path().join("loop/backing_file")).ok()?;
        let serves = Path::new(backing_file.trim_end_matches('\n')) == image;
        serves.then(|| format!("/dev/{}", device.file_name().to_string_lossy()))
    })
}

fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_kind::ErrorKind;
    use std::fs::File;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    /// A process called `name` that has an image open.
    struct Opener(Child);

    impl Opener {
        fn start(name: &str, image: &Path, writes: bool) -> Self {
            let file = File::options().read(true).write(writes).open(image).unwrap();
            let child = Command::new("sleep").arg0(name).arg("60").stdin(Stdio::from(file)).spawn().unwrap();
            // The kernel lets us go on a moment before it shows the new program's name.
            while !name.ends_with(&program_name(child.id())) {
                std::thread::yield_now();
            }
            Self(child)
        }

        fn user(&self, name: &str, writes: bool, image: &Path) -> User {
            User { pid: self.0.id(), name: name.to_owned(), writes, path: image.canonicalize().unwrap() }
        }
    }

    impl Drop for Opener {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    fn two_images() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let images = ["leaf.vdi", "base.vdi"].map(|name| folder.path().join(name));
        images.iter().for_each(|image| fs::write(image, "image").unwrap());
        let [leaf, base] = images;
        (folder, leaf, base)
    }

    #[test]
    fn processes_with_an_image_open_are_found() {
        let (_folder, leaf, base) = two_images();
        assert_eq!(users(&[&leaf, &base]), []);
        let reader = Opener::start("/usr/bin/backup", &leaf, false);
        let writer = Opener::start("editor", &base, true);
        let mut found = users(&[&leaf, &base]);
        found.sort_by_key(|user| user.pid != reader.0.id());
        assert_eq!(found, [reader.user("backup", false, &leaf), writer.user("editor", true, &base)]);
        assert_eq!(users(&[&leaf]).len(), 1);
        assert_eq!(users(&[Path::new("/no/such/image")]), []);
    }

    #[test]
    fn this_process_is_not_among_them() {
        let (_folder, leaf, _) = two_images();
        let _open = File::open(&leaf).unwrap();
        // Not that there are none: a process that another test is about to start may have inherited the file.
        assert!(users(&[&leaf]).iter().all(|user| user.pid != std::process::id()));
    }

    #[test]
    fn a_process_is_found_by_any_name_of_the_image() {
        let (folder, leaf, _) = two_images();
        let hard = folder.path().join("hard.vdi");
        fs::hard_link(&leaf, &hard).unwrap();
        let writer = Opener::start("editor", &hard, true);
        assert_eq!(users(&[&leaf]), [writer.user("editor", true, &leaf)]);
    }

    #[test]
    fn writing_is_refused_where_it_would_meet_another_writer() {
        let (_folder, leaf, base) = two_images();
        let check = || check_writable(&leaf, &[&base]);
        check().unwrap();
        for (name, image, writes, refused) in [
            ("cp", &leaf, false, false),
            ("cp", &leaf, true, true),
            ("cp", &base, true, true),
            ("/usr/lib/virtualbox/VirtualBoxVM", &leaf, false, true),
            ("VBoxHeadless", &leaf, true, true),
            ("qemu-system-x86_64", &leaf, false, true),
            ("VBoxHeadless", &base, true, true),
            // A linked clone of the same base runs.
            ("VBoxHeadless", &base, false, false),
        ] {
            let _opener = Opener::start(name, image, writes);
            assert_eq!(check().is_err(), refused, "{name} {} {writes}", image.display());
        }
        check().unwrap();
    }

    #[test]
    fn messages_name_the_process() {
        let (_folder, leaf, base) = two_images();
        let warning = || Search::new(&[&leaf, &base]).warning_for_reading();
        assert_eq!(warning(), None);
        let reader = Opener::start("VBoxHeadless", &leaf, false);
        assert_eq!(warning(), None);
        let refused = check_writable(&leaf, &[]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Locked);
        let (pid, path) = (reader.0.id(), leaf.canonicalize().unwrap());
        let expected = format!(
            "Medium '{}' is in use by process {pid} (VBoxHeadless), which has it open for reading; end it first",
            path.display()
        );
        assert_eq!(refused.to_string(), expected);
        let writer = Opener::start("dd", &base, true);
        let expected = format!(
            "Process {} (dd) has {} open for writing: the disk may change while it is read",
            writer.0.id(),
            base.canonicalize().unwrap().display()
        );
        assert_eq!(warning(), Some(expected));
    }

    #[test]
    fn a_loop_device_is_found() {
        let block_devices = tempfile::tempdir().unwrap();
        for (device, backing_file) in [("loop0", "/images/other.img\n"), ("loop7", "/images/a disk.img\n")] {
            let folder = block_devices.path().join(device).join("loop");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("backing_file"), backing_file).unwrap();
        }
        fs::create_dir(block_devices.path().join("vda")).unwrap();
        let of = |image| loop_device(block_devices.path(), Path::new(image));
        assert_eq!(of("/images/a disk.img"), Some("/dev/loop7".to_owned()));
        assert_eq!(of("/images/a disk"), None);
    }
}
