//! A directory that files are copied into.

use super::attributes::{self, Copied};
use super::{Context, Error, Result};
use crate::view::Attributes;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// As many names as a path of 4096 bytes has at most.
const MAX_DEPTH: usize = 2048;

/// An open directory of the host. It gets its attributes when the last file in it is done, which is when this is
/// dropped.
pub(super) struct Directory<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) fd: OwnedFd,
    /// Its path for messages.
    pub(super) path: PathBuf,
    /// The names that lead to it from the destination on.
    pub(super) names: Vec<OsString>,
    /// It was made by this copy: what is in it is, too.
    is_new: bool,
    /// What it is a copy of; none for the destination itself.
    of: Option<(PathBuf, Attributes)>,
    /// Done after this one, so that its mode does not keep anybody from finishing this one.
    _parent: Option<Arc<Directory<'a>>>,
}

impl<'a> Directory<'a> {
    /// The destination.
    pub(super) fn root(context: &'a Context<'a>, fd: OwnedFd, path: &Path) -> Self {
        Self { context, fd, path: path.to_owned(), names: Vec::new(), is_new: false, of: None, _parent: None }
    }

    /// Makes a directory in this one, or opens the one that is there. `source` is what it is a copy of.
    pub(super) fn enter(self: &Arc<Self>, name: &OsStr, source: &Path, of: Attributes) -> Result<Self> {
        self.check_name(name, source)?;
        if self.names.len() >= MAX_DEPTH {
            return Err(Error::TooDeep { path: source.to_owned() });
        }
        let is_new = match rustix::fs::mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) if self.is_new => return Err(self.taken(name, source)),
            Err(Errno::EXIST) => false,
            Err(e) => return Err(self.wrong(name, source, e)),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty()).map_err(|e| self.wrong(name, source, e))?;
        let names = self.names.iter().cloned().chain([name.to_owned()]).collect();
        Ok(Self {
            context: self.context,
            fd,
            path: self.path.join(name),
            names,
            is_new,
            of: Some((source.to_owned(), of)),
            _parent: Some(self.clone()),
        })
    }

    /// Refuses what is no name of a file. File systems have none of them; their corruption may.
    pub(super) fn check_name(&self, name: &OsStr, source: &Path) -> Result<()> {
        let bytes = name.as_encoded_bytes();
        if matches!(bytes, b"" | b"." | b"..") || bytes.iter().any(|byte| matches!(byte, 0 | b'/')) {
            return Err(Error::Name { path: source.to_owned() });
        }
        Ok(())
    }

    /// Gives a finished file its name, in place of one that was there before this copy.
    pub(super) fn finish(&self, mut file: Unfinished<'_, '_>, name: &OsStr, source: &Path) -> Result<()> {
        let unfinished = &file.name;
        let done = if self.is_new {
            match rustix::fs::renameat_with(&self.fd, unfinished, &self.fd, name, RenameFlags::NOREPLACE) {
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.name(unfinished, name),
                other => other,
            }
        } else {
            self.replace(unfinished, name)
        };
        done.map_err(|e| if e == Errno::EXIST { self.taken(name, source) } else { self.wrong(name, source, e) })?;
        // Renaming a link to another link of the same file leaves both.
        file.is_named = file.is_only_name;
        Ok(())
    }

    /// As renaming without replacing, for file systems that do not know it: they may take two names for one, as FAT.
    fn name(&self, unfinished: &str, name: &OsStr) -> Result<(), Errno> {
        let _one_at_a_time = self.context.naming.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(Errno::EXIST),
            Err(_) => self.replace(unfinished, name),
        }
    }

    fn replace(&self, unfinished: &str, name: &OsStr) -> Result<(), Errno> {
        rustix::fs::renameat(&self.fd, unfinished, &self.fd, name)
    }

    fn taken(&self, name: &OsStr, source: &Path) -> Error {
        Error::Taken { path: source.to_owned(), to: self.path.join(name) }
    }

    /// What the operating system says of a name here.
    pub(super) fn wrong(&self, name: &OsStr, source: &Path, e: Errno) -> Error {
        match e {
            Errno::INVAL | Errno::NAMETOOLONG | Errno::ILSEQ => Error::Name { path: source.to_owned() },
            // exfat-fuse says that there is no such file.
            Errno::NOENT if is_special(name) => Error::Name { path: source.to_owned() },
            e => Error::Host { path: self.path.join(name), source: e.into() },
        }
    }

    /// The copy that another name of a file has, for a link to it: its directory.
    pub(super) fn of_link(&self, root: &Self, names: &[OsString]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut directory = rustix::fs::openat(&root.fd, ".", flags, Mode::empty())?;
        for name in names {
            directory = rustix::fs::openat(&directory, name, flags, Mode::empty())?;
        }
        Ok(directory)
    }
}

impl Drop for Directory<'_> {
    fn drop(&mut self) {
        let Some((source, of)) = &self.of else { return };
        if self.is_new || self.context.options.preserve {
            attributes::set(self, Copied::Name(OsStr::new(".")), &self.path, source, of);
        }
    }
}

/// Whether a name is none on FAT, exFAT and NTFS.
fn is_special(name: &OsStr) -> bool {
    name.as_encoded_bytes().iter().any(|byte| byte.is_ascii_control() || br#""*:<>?\|"#.contains(byte))
}

/// A file that is removed again unless it gets its name.
pub(super) struct Unfinished<'d, 'a> {
    pub(super) directory: &'d Directory<'a>,
    pub(super) name: String,
    /// It is not a link to what has another name, too.
    pub(super) is_only_name: bool,
    /// It has got its name.
    is_named: bool,
}

impl<'d, 'a> Unfinished<'d, 'a> {
    pub(super) fn new(directory: &'d Directory<'a>, is_only_name: bool) -> Self {
        Self { directory, name: directory.context.unfinished_name(), is_only_name, is_named: false }
    }
}

impl Drop for Unfinished<'_, '_> {
    fn drop(&mut self) {
        if !self.is_named {
            // There may be nothing of it yet.
            let _ = rustix::fs::unlinkat(&self.directory.fd, &self.name, AtFlags::empty());
        }
    }
}
