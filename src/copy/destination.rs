//! Where the copies go. What the user names may be a symbolic link; nothing below it is followed.

use super::{Error, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A directory, and the name in it where one is given.
pub(super) struct Target {
    pub(super) directory: OwnedFd,
    pub(super) name: Option<OsString>,
}

/// Opens the directory that is copied to, or for one source, which may get a new name, that which it would be in.
pub(super) fn open(destination: &Path, is_one: bool) -> Result<Target> {
    let wrong = |e: Errno| Error::Host { path: destination.to_owned(), source: e.into() };
    match directory(destination) {
        Ok(directory) => Ok(Target { directory, name: None }),
        Err(e @ (Errno::NOENT | Errno::NOTDIR)) if is_one && !destination.as_os_str().as_bytes().ends_with(b"/") => {
            let name = destination.file_name().ok_or_else(|| wrong(e))?;
            let parent = destination.parent().filter(|parent| !parent.as_os_str().is_empty());
            let directory = directory(parent.unwrap_or(Path::new("."))).map_err(wrong)?;
            Ok(Target { directory, name: Some(name.to_owned()) })
        }
        Err(e) => Err(wrong(e)),
    }
}

fn directory(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}
