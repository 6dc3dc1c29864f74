//! [`Storage`] on a file or block device of this machine.

use super::{Error, Result};
use crate::storage::{Allowed, Policy, archive, gate};
use crate::storage::{File, Segment, Storage};
use nix::errno::Errno;
use nix::fcntl::FallocateFlags;
use nix::unistd::{Whence, lseek};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Zeros are written in chunks of this many bytes where a hole cannot be punched.
const ZERO_CHUNK: usize = 1 << 20;

/// A local file.
#[derive(Debug)]
struct LocalFile {
    file: fs::File,
    path: PathBuf,
    /// Block devices have no length in their attributes; they do not grow, so it is asked once.
    device_len: Option<u64>,
}

/// Whether a path may be a device: only one that the user gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Devices {
    /// The user named this path: files and block devices.
    Allowed,
    /// A file or a registry named this path: regular files only.
    Refused,
}

/// Opens `path`, which may lead into an archive.
///
/// # Errors
/// [`Error::Io`]; [`Error::Refused`] for what is neither a regular file nor an allowed block device; as
/// [`archive::open`].
pub(crate) fn open(path: &Path, writable: bool, devices: Devices) -> Result<File> {
    let policy = match devices {
        Devices::Allowed => Policy::Given,
        Devices::Refused => Policy::Registered,
    };
    through(path, path, writable, policy)
}

/// Opens `path`, which must lie in `directory` or below, or be allowed. In a directory of an archive, it is another
/// member of the archive.
///
/// # Errors
/// [`Error::Io`]; [`Error::Refused`]; [`Error::Elsewhere`]; as [`archive::open`].
pub(crate) fn open_near(path: &Path, writable: bool, directory: &Path, allowed: &Allowed) -> Result<File> {
    let full = directory.join(path);
    match archive::split(&directory.join("member")) {
        // The archive was opened before by whoever named it.
        Some((whole, _)) => match full.strip_prefix(whole) {
            Ok(member) => archive::open(open(whole, false, Devices::Refused)?, member, writable),
            Err(_) => Err(gate::Error::Elsewhere { path: full, directory: directory.to_path_buf() }.into()),
        },
        None => through(path, &full, writable, Policy::Named { directory, allowed }),
    }
}

/// Opens what `path` leads to from where `policy` lets it begin: a file, or a member of an archive. `full` is the same
/// path from the working directory.
fn through(path: &Path, full: &Path, writable: bool, policy: Policy<'_>) -> Result<File> {
    let error = match gate::open(path, writable, policy) {
        Err(error) if error.is_below_file() => error,
        opened => return of_file(opened?, full),
    };
    let Some((whole, member)) = archive::split(full) else { return Err(error.into()) };
    archive::open(of_file(gate::open(whole, false, policy)?, whole)?, member, writable)
}

/// Opens the file that `image` names as `name`, as [`gate::open_named`] does. A member of an archive names others of
/// it.
///
/// # Errors
/// [`Error::Io`]; [`Error::Refused`]; [`Error::Elsewhere`]; as [`archive::open`].
pub(crate) fn open_named(image: &Path, name: impl AsRef<OsStr>, writable: bool, allowed: &Allowed) -> Result<File> {
    if archive::split(image).is_some() {
        return open_near(Path::new(name.as_ref()), writable, gate::directory_of(image), allowed);
    }
    let (file, path) = gate::open_named(image, name.as_ref(), writable, allowed)?;
    of_file(file, &path)
}

/// A file that passed the gate.
pub(crate) fn of_file(file: fs::File, path: &Path) -> Result<File> {
    let kind = file.metadata().map_err(|e| Error::io(path, "read the attributes of", e))?.file_type();
    let device_len = kind.is_block_device().then(|| (&file).seek(SeekFrom::End(0))).transpose();
    let device_len = device_len.map_err(|e| Error::io(path, "find the length of", e))?;
    Ok(Arc::new(LocalFile { file, path: path.to_path_buf(), device_len }))
}

impl LocalFile {
    fn write_zeros(&self, offset: u64, len: u64) -> io::Result<()> {
        let zeros = vec![0; ZERO_CHUNK.min(usize::try_from(len).unwrap_or(ZERO_CHUNK))];
        let mut done = 0;
        while done < len {
            let chunk = usize::try_from(len - done).unwrap_or(ZERO_CHUNK).min(ZERO_CHUNK);
            self.file.write_all_at(&zeros[..chunk], offset + done)?;
            done += chunk as u64;
        }
        Ok(())
    }
}

impl Storage for LocalFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn length(&self) -> io::Result<u64> {
        match self.device_len {
            Some(len) => Ok(len),
            None => Ok(self.file.metadata()?.len()),
        }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn local(&self) -> Option<&fs::File> {
        Some(&self.file)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.device_len.is_some() {
            return Err(io::Error::other("a device cannot change its size"));
        }
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        let signed = |n: u64| i64::try_from(n).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match nix::fcntl::fallocate(&self.file, flags, signed(offset)?, signed(len)?) {
            Ok(()) => Ok(()),
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::ENODEV) => self.write_zeros(offset, len),
            Err(e) => Err(e.into()),
        }
    }

    fn segment(&self, offset: u64) -> io::Result<Segment> {
        let end = self.length()?;
        let to_end = end.saturating_sub(offset);
        let from = i64::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // The file's own position is not used by anything else: all reads and writes name theirs.
        let data = match lseek(&self.file, from, Whence::SeekData) {
            Ok(at) => u64::try_from(at).unwrap_or(offset),
            Err(Errno::ENXIO) => return Ok(Segment::Hole(to_end)),
            Err(_) => return Ok(Segment::Data(to_end)),
        };
        if data > offset {
            return Ok(Segment::Hole((data - offset).min(to_end)));
        }
        match lseek(&self.file, from, Whence::SeekHole) {
            Ok(at) => {
                Ok(Segment::Data(u64::try_from(at).unwrap_or(end).saturating_sub(offset).clamp(1, to_end.max(1))))
            }
            Err(_) => Ok(Segment::Data(to_end)),
        }
    }
}
