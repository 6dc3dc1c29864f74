//! Advisory locks on images, as VirtualBox's LockRead and LockWrite; and who else uses an image without a lock.
//!
//! VirtualBox itself keeps its locks in the memory of its service and puts none on the disk, so these exclude only the
//! processes of this program; [`Search`] finds all others.
//!
//! The kernel holds the locks, so none outlives its process. There are two, and both must be acquired:
//!
//! * on a lock file next to the image, `.NAME.vboximg-lock`, where each holder leaves a record of itself for the
//!   messages of others. Where that cannot be made it is in the user's runtime directory.
//! * on the image itself, for those whose lock files are in different directories.

pub(crate) mod error;
pub(crate) mod users;

mod file;
mod image_lock;
mod ofd;
mod record;
mod target;
#[cfg(test)]
mod tests;

pub(crate) use error::{Error, Result};
pub(crate) use users::{Search, User, check_writable};

use file::LockFile;
use image_lock::{Flock, Outcome};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread;
use std::time::SystemTime;
use target::Target;

/// How often taking a lock starts again because its holder was gone when asked for its name.
const MAX_ATTEMPTS: usize = 5;

/// What a lock is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Many may read.
    Read,
    /// One writes, and nobody reads.
    Write,
}

/// Who holds a lock, from its record. For messages only: the kernel's lock is the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Read or write.
    pub mode: Mode,
    /// The process.
    pub pid: u32,
    /// The host that the process runs on.
    pub host: String,
    /// Since when.
    pub since: SystemTime,
    /// Where the disk is mounted.
    pub mount_point: Option<PathBuf>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = humantime::format_rfc3339_seconds(self.since);
        write!(f, "{} on host {} since {since}", self.pid, self.host)?;
        match &self.mount_point {
            Some(mount_point) => write!(f, " (mounted at {})", mount_point.display()),
            None => Ok(()),
        }
    }
}

/// Whether an image is locked now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// By nobody.
    Free,
    /// By readers; those that left a record.
    Read(Vec<Holder>),
    /// By a writer; if it left a record.
    Write(Option<Holder>),
}

/// A held lock, given back when dropped (or by the kernel when the process ends).
///
/// It belongs to the process that took it: its record has that process's number.
#[derive(Debug)]
pub(crate) struct Guard {
    /// None where the image's file system has no such lock.
    image: Option<File>,
    /// `None` where it can be neither next to the image nor in a directory of the user.
    _lock_file: Option<LockFile>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Closing it would not do: a process that is being started may have inherited it.
        if let Some(Err(e)) = self.image.as_ref().map(File::unlock) {
            log::debug!("Cannot unlock an image: {e}");
        }
    }
}

/// Locks an image without waiting. `mount_point` is for the messages of those who come later.
///
/// # Errors
/// [`Error::Locked`] when another process holds it in a way that conflicts; [`Error::DeviceInUse`];
/// [`Error::ForeignLockFile`]; [`Error::Io`] when the image or the lock file cannot be opened.
pub(crate) fn acquire(image: &Path, mode: Mode, mount_point: Option<&Path>) -> Result<Guard> {
    let target = Target::find(image)?;
    let mut attempt = 1;
    loop {
        if let Some(guard) = try_acquire(&target, mode, mount_point)? {
            return Ok(guard);
        }
        let (locked, holders, processes) = match Prober::new().state_of(&target) {
            (State::Free, _) if attempt < MAX_ATTEMPTS => {
                attempt += 1;
                continue;
            }
            (State::Read(holders), processes) => (Mode::Read, holders, processes),
            (State::Write(holder), processes) => (Mode::Write, holder.into_iter().collect(), processes),
            // A holder that this system does not show. Only a writer keeps a reader out; a writer, mostly readers.
            (State::Free, processes) if mode == Mode::Read => (Mode::Write, Vec::new(), processes),
            (State::Free, processes) => (Mode::Read, Vec::new(), processes),
        };
        return Err(Error::Locked { path: target.path, mode: locked, holders, processes });
    }
}

/// Locks a chain, the leaf first in `images`: the leaf in this mode, the others for reading.
///
/// # Errors
/// As [`acquire`]; then nothing stays locked.
pub(crate) fn acquire_chain(images: &[&Path], mode: Mode, mount_point: Option<&Path>) -> Result<Vec<Guard>> {
    log::info!("Attempting to lock medium chain from leaf image to base image");
    let modes = std::iter::once(mode).chain(std::iter::repeat(Mode::Read));
    let lock = |(image, mode): (&&Path, Mode)| {
        let purpose = if mode == Mode::Write { "write" } else { "read" };
        log::info!("  {} ... Locking for {purpose}", image.display());
        acquire(image, mode, mount_point)
    };
    images.iter().zip(modes).map(lock).collect()
}

/// One attempt; none when others hold a lock.
fn try_acquire(target: &Target, mode: Mode, mount_point: Option<&Path>) -> Result<Option<Guard>> {
    let mut lock_file = open_lock_file(target, mode)?;
    if let Some(lock_file) = &lock_file
        && !lock_file.lock(mode).map_err(|e| Error::io(&target.path, "lock", e))?
    {
        return Ok(None);
    }
    let image = match image_lock::lock(target, mode) {
        Ok(Outcome::Held(image)) => Some(image),
        Ok(Outcome::NoLocks) => None,
        Ok(Outcome::Conflict) => return Ok(None),
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
            return Err(Error::DeviceInUse { path: target.path.clone() });
        }
        Err(e) if mode == Mode::Write => return Err(Error::io(&target.path, "open for writing", e)),
        Err(e) => return Err(Error::io(&target.path, "open", e)),
    };
    if mode == Mode::Write && image.is_none() && lock_file.is_none() {
        return Err(Error::NoLocks { path: target.path.clone() });
    }
    let record = record::of_this_process(mode, mount_point);
    if let Some(Err(e)) = lock_file.as_mut().map(|lock_file| lock_file.write_record(&record)) {
        log::debug!("No record in the lock file of {}: {e}", target.path.display());
    }
    Ok(Some(Guard { image, _lock_file: lock_file }))
}

fn open_lock_file(target: &Target, mode: Mode) -> Result<Option<LockFile>> {
    if let Some(path) = target.next_to() {
        match LockFile::open(&path, target.lock_file_permissions(), &target.attributes) {
            Ok(file) if mode == Mode::Write && !file.writable() => return Err(Error::ForeignLockFile { path }),
            Ok(file) => return Ok(Some(file)),
            Err(e) => log::debug!("No lock file next to {}: {e}", target.path.display()),
        }
    }
    let Some(directory) = target::make_runtime_directory() else { return Ok(None) };
    let attributes = directory.metadata().map_err(|e| Error::io(&directory, "read the attributes of", e))?;
    let path = directory.join(target.name_in_runtime());
    match LockFile::open(&path, 0o600, &attributes) {
        Ok(file) => Ok(Some(file)),
        Err(e) => {
            log::debug!("No lock file {}: {e}", path.display());
            Ok(None)
        }
    }
}

/// The kernel's table of locks, which is read by a thread of its own: the kernel takes some ten milliseconds for it.
type Table = LazyLock<Vec<Flock>, Box<dyn FnOnce() -> Vec<Flock> + Send>>;

/// Reports who holds images now, for many images: the kernel's table for the whole machine is read once.
#[derive(Debug)]
pub(crate) struct Prober {
    flocks: Table,
    runtime_directory: Option<(PathBuf, HashSet<OsString>)>,
}

impl Prober {
    /// Begins to read the kernel's table of locks, and reads which lock files are in the user's runtime directory.
    #[must_use]
    pub(crate) fn new() -> Self {
        let reading = thread::spawn(image_lock::flocks);
        // A table that the kernel does not provide counts as empty.
        Self::with(Box::new(move || reading.join().unwrap_or_default()))
    }

    /// Checks lock files only, those next to images and those in the user's runtime directory. Enough where no mount of
    /// this program is seen: the kernel's table adds only who holds an image through a lock file in another
    /// user's runtime directory.
    #[must_use]
    pub(crate) fn of_lock_files() -> Self {
        Self::with(Box::new(Vec::new))
    }

    fn with(flocks: Box<dyn FnOnce() -> Vec<Flock> + Send>) -> Self {
        Self { flocks: LazyLock::new(flocks), runtime_directory: target::look_into_runtime_directory() }
    }

    /// Who holds an image now, without taking or disturbing any lock.
    ///
    /// # Errors
    /// When the image is not there.
    pub(crate) fn state(&self, image: &Path) -> Result<State> {
        Target::look_at(image).map(|target| self.state_of(&target).0)
    }

    /// The state, and the processes that the kernel's table names for it.
    fn state_of(&self, target: &Target) -> (State, Vec<User>) {
        let flocks: Vec<&Flock> = self.flocks.iter().filter(|lock| lock.is_on(target)).collect();
        let in_runtime = self
            .runtime_directory
            .as_ref()
            .and_then(|(directory, names)| names.get(&target.name_in_runtime()).map(|name| directory.join(name)));
        let mut mode = flocks.first().map(|lock| lock.mode);
        let mut holders = Vec::new();
        for path in target.next_to().into_iter().chain(in_runtime) {
            match file::holders(&path, &target.attributes) {
                Ok(Some((found_mode, found))) => {
                    mode = Some(found_mode);
                    holders.extend(found);
                }
                Ok(None) => {}
                Err(e) => log::debug!("Cannot read the lock file {}: {e}", path.display()),
            }
        }
        let state = match mode {
            None => State::Free,
            Some(Mode::Read) => State::Read(holders),
            Some(Mode::Write) => State::Write(holders.pop()),
        };
        let as_user = |lock: &&Flock| users::process(lock.pid, lock.mode == Mode::Write, &target.path);
        (state, flocks.iter().map(as_user).collect())
    }
}
