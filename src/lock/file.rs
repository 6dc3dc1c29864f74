//! The lock file: its layout, and how processes agree on one that is created and removed.
//!
//! A lock file has a line of text that identifies it, and a [record] per holder. The locks are on
//! bytes far past its end, because some file systems (SMB) keep others from reading locked bytes:
//!
//! | bytes | lock |
//! |---|---|
//! | [`MAIN`] | the image's lock: shared by readers, or of one writer |
//! | [`PRESENCE`] | shared by all who use this lock file; exclusive for who removes it |
//! | [`SLOTS`] | one byte per record: of the holder that wrote it |
//!
//! The last holder removes the file if it can. A process that opened it in the meantime notices, once it holds
//! `PRESENCE`, that the path no longer leads to its file, and starts over.

use super::ofd::{self, Bytes};
use super::record;
use super::{Holder, Mode};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::libc::off_t;
use nix::sys::stat::fstatat;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// How a lock file begins.
const TITLE: &[u8] = b"Lock file of vboximg-mount, version 1\n";
/// Where the records begin, in bytes.
const RECORDS: u64 = 1024;
/// How many holders can leave a record. More of them still get the lock.
const SLOT_COUNT: off_t = 4096;

const MAIN: Bytes = 0x4000_0000..0x4000_0001;
const PRESENCE: Bytes = 0x4000_0001..0x4000_0002;
pub(super) const SLOTS: Bytes = 0x4000_1000..0x4000_1000 + SLOT_COUNT;

/// How often opening starts again because the file was removed under it. Each time some other process made progress.
const MAX_ATTEMPTS: usize = 1000;

/// An open lock file that cannot be removed by others.
#[derive(Debug)]
pub(super) struct LockFile {
    file: File,
    path: PathBuf,
    entry: DirectoryEntry,
    writable: bool,
    /// The first byte of the slot that is ours.
    slot: Option<off_t>,
}

impl LockFile {
    /// Opens the lock file, made with these permissions and the owner of `owned_as` when there is none. One that may
    /// only be read does for a reader.
    ///
    /// Fails also when the file is something else, or its file system has no locks.
    pub(super) fn open(path: &Path, permissions: u32, owned_as: &fs::Metadata) -> io::Result<Self> {
        let entry = DirectoryEntry::of(path)?;
        for _ in 0..MAX_ATTEMPTS {
            let (file, writable) = match open_existing(path, owned_as) {
                Ok(opened) => opened,
                Err(e) if e.kind() == io::ErrorKind::NotFound => match create(path, permissions, owned_as) {
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                    created => (created?, true),
                },
                Err(e) => return Err(e),
            };
            // Not given: somebody is about to remove the file.
            if ofd::try_lock(&file, Mode::Read, &PRESENCE)? && entry.has(&file)? {
                return Ok(Self { file, path: path.to_path_buf(), entry, writable, slot: None });
            }
            std::thread::yield_now();
        }
        Err(io::Error::other("it is made and removed again and again"))
    }

    /// Whether the file may be written: a reader leaves no record otherwise, and a writer cannot lock.
    pub(super) fn writable(&self) -> bool {
        self.writable
    }

    /// Takes the image's lock without waiting; `false` when others hold it.
    pub(super) fn lock(&self, mode: Mode) -> io::Result<bool> {
        ofd::try_lock(&self.file, mode, &MAIN)
    }

    /// Writes a record of ourselves, if there is a free slot. Nothing depends on it but messages.
    pub(super) fn write_record(&mut self, holder: &Holder) -> io::Result<()> {
        if !self.writable {
            return Ok(());
        }
        if self.file.metadata()?.len() == 0 {
            self.file.write_all_at(TITLE, 0)?;
        }
        for slot in SLOTS {
            if ofd::try_lock(&self.file, Mode::Write, &(slot..slot + 1))? {
                self.slot = Some(slot);
                return self.file.write_all_at(&record::encode(holder), record_place(slot));
            }
        }
        Ok(())
    }

    /// Gives the locks back, and removes the file if nobody else uses it.
    ///
    /// Closing the file would not do: a process that is being started may have inherited it.
    fn leave(&self) -> io::Result<()> {
        ofd::unlock(&self.file, &MAIN)?;
        if let Some(slot) = self.slot {
            self.file.write_all_at(&[0; record::SIZE], record_place(slot))?;
            ofd::unlock(&self.file, &(slot..slot + 1))?;
        }
        // Of several that leave at once, each sees the others until the last one is here.
        ofd::unlock(&self.file, &PRESENCE)?;
        if self.writable && ofd::try_lock(&self.file, Mode::Write, &PRESENCE)? {
            if self.entry.has(&self.file)? {
                self.entry.remove()?;
            }
            ofd::unlock(&self.file, &PRESENCE)?;
        }
        Ok(())
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if let Err(e) = self.leave() {
            // The kernel frees the locks when the file is closed, and whoever comes next takes over the file.
            log::debug!("Cannot tidy up the lock file {}: {e}", self.path.display());
        }
    }
}

/// Who holds the lock of the lock file at `path`, from its records. `None` when nobody does or the file does not exist.
pub(super) fn holders(path: &Path, image: &fs::Metadata) -> io::Result<Option<(Mode, Vec<Holder>)>> {
    let file = match open_checked(path, image, false) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let Some((mode, _)) = ofd::held_by_others(&file, &MAIN)? else {
        return Ok(None);
    };
    let mut slots = held_slots(&file)?;
    slots.sort_unstable();
    let read_record = |slot| {
        let mut bytes = [0; record::SIZE];
        file.read_exact_at(&mut bytes, record_place(slot)).ok().and_then(|()| record::decode(&bytes))
    };
    // A process that just fails to get the lock may hold a slot too, hence the comparison.
    Ok(Some((mode, slots.into_iter().filter_map(read_record).filter(|holder| holder.mode == mode).collect())))
}

/// The slots that are locked. The kernel names any one conflicting lock of a range, so the rest of the range on both
/// sides is asked next.
fn held_slots(file: &File) -> io::Result<Vec<off_t>> {
    let mut held = Vec::new();
    let mut to_ask = vec![SLOTS];
    while let Some(range) = to_ask.pop() {
        if range.is_empty() {
            continue;
        }
        if let Some((_, locked)) = ofd::held_by_others(file, &range)? {
            held.extend(locked.clone());
            to_ask.extend([range.start..locked.start, locked.end.max(range.start + 1)..range.end]);
        }
    }
    Ok(held)
}

fn record_place(slot: off_t) -> u64 {
    RECORDS + u64::try_from(slot - SLOTS.start).unwrap_or(0) * record::SIZE as u64
}

/// Opens for writing too where that is allowed, and returns whether it was.
fn open_existing(path: &Path, image: &fs::Metadata) -> io::Result<(File, bool)> {
    match open_checked(path, image, true) {
        Ok(file) => Ok((file, true)),
        Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
            open_checked(path, image, false).map(|file| (file, false))
        }
        Err(e) => Err(e),
    }
}

/// Opens a file that is there and checks that it is a lock file. Its directory may be in the hands of somebody who
/// wants us to write into a file of their choice, or to wait for them: no symbolic link is followed, a file with other
/// content is left alone, and so is what another user put into a directory that all may write, such as `/tmp`.
fn open_checked(path: &Path, image: &fs::Metadata, writable: bool) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).write(writable).custom_flags(flags.bits()).open(path)?;
    let attributes = file.metadata()?;
    if !is_trusted(path, attributes.uid(), image)? {
        return Err(io::Error::other("another user made it"));
    }
    let mut start = [0; TITLE.len()];
    let mut titled = || file.read_exact_at(&mut start, 0).is_ok() && start == TITLE;
    if attributes.is_file() && attributes.nlink() <= 1 && (attributes.len() == 0 || titled()) {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a lock file of this program"))
    }
}

/// Whether a lock file's owner may keep others from the image. In a directory with the sticky bit only those may who
/// could replace the image there; in others, whoever may write to the directory.
fn is_trusted(path: &Path, owner: u32, image: &fs::Metadata) -> io::Result<bool> {
    let directory = path.parent().unwrap_or(path).metadata()?;
    let is_shared = directory.mode() & 0o1000 != 0 && directory.mode() & 0o022 != 0;
    Ok(!is_shared || [0, nix::unistd::geteuid().as_raw(), image.uid(), directory.uid()].contains(&owner))
}

fn create(path: &Path, permissions: u32, owned_as: &fs::Metadata) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(permissions).open(path)?;
    if nix::unistd::geteuid().is_root() {
        // So that the image's owner can use and remove it.
        fchown(&file, Some(owned_as.uid()), Some(owned_as.gid()))?;
    }
    // Whatever the umask is.
    file.set_permissions(Permissions::from_mode(permissions))?;
    Ok(file)
}

/// A name in a directory. The directory is kept open: something may be mounted over it before the lock is released.
#[derive(Debug)]
struct DirectoryEntry {
    dir: File,
    name: OsString,
}

impl DirectoryEntry {
    fn of(path: &Path) -> io::Result<Self> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let dir = OpenOptions::new().read(true).custom_flags(flags.bits()).open(dir)?;
        Ok(Self { dir, name: name.to_owned() })
    }

    /// Whether it still leads to the open file.
    fn has(&self, file: &File) -> io::Result<bool> {
        let ours = file.metadata()?;
        match fstatat(&self.dir, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(there) => Ok((there.st_dev, there.st_ino) == (ours.dev(), ours.ino())),
            Err(Errno::ENOENT) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn remove(&self) -> io::Result<()> {
        Ok(unlinkat(&self.dir, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir)?)
    }
}
