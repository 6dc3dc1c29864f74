//! The tree of names of a disk, by paths.

use super::{Disk, GuestFs, Result};
use crate::lock;
use crate::verbs::{Error, Found, Links, Name, locate, names};
use crate::view::{self, Appearance, Attributes, Kind, ROOT};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The tree of names of a disk, the same that a mount shows: `vhdd` is the whole disk, `vol0`, `vol1`... are its
/// volumes, and `fs0`, `fs1`... the directories of the file systems on them.
///
/// Paths are relative to its root. Symbolic links of a guest are followed as within the guest, and none leads out of
/// its file system. Copies are cheap, and are the same view.
#[derive(Clone)]
pub struct View(Arc<Inner>);

struct Inner {
    view: view::View,
    /// Held as long as the images may be read.
    _locks: Vec<lock::Guard>,
    warnings: Vec<String>,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name. A guest's need not be UTF-8.
    pub name: OsString,
    /// What kind of file it is.
    pub kind: Kind,
}

impl View {
    /// The view of a disk.
    ///
    /// # Errors
    /// When the image's file can no longer be looked at. A file system that cannot be read is a
    /// [warning](Self::warnings).
    pub fn new(disk: Disk) -> Result<Self> {
        let mut warnings = disk.warnings().to_vec();
        let open = disk.into_open();
        let (view, of_guests) = view::View::of_open(&open, true, Appearance::default())?;
        warnings.extend(of_guests);
        Ok(Self(Arc::new(Inner { view, _locks: open.into_locks(), warnings })))
    }

    pub(super) fn tree(&self) -> &view::View {
        &self.0.view
    }

    /// What a user should know, a sentence each: the disk's [warnings](Disk::warnings), and those of its file systems.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.0.warnings
    }

    /// The file systems of the disk's volumes that can be read.
    ///
    /// # Errors
    /// None is expected.
    pub fn file_systems(&self) -> Result<Vec<GuestFs>> {
        let view = self.tree();
        let names = names(view, ROOT)?.into_iter();
        let guest = |Name { name, inode, .. }| Some(GuestFs::new(self.clone(), name.into(), view.facts(inode)?));
        Ok(names.filter_map(guest).collect())
    }

    /// The entries of a directory, in its own order, without `.` and `..`.
    ///
    /// # Errors
    /// When it is not there, is no directory, or has entries that cannot be read.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> Result<Vec<DirEntry>> {
        self.list(&locate(self.tree(), path.as_ref(), Links::Follow)?)
    }

    pub(super) fn list(&self, directory: &Found) -> Result<Vec<DirEntry>> {
        let names = names(self.tree(), directory.attributes.inode).map_err(Error::at(&directory.path))?;
        Ok(names.into_iter().map(|Name { name, kind, .. }| DirEntry { name, kind }).collect())
    }

    /// What `stat` shows of a file. A symbolic link is followed.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub fn attributes(&self, path: impl AsRef<Path>) -> Result<Attributes> {
        Ok(locate(self.tree(), path.as_ref(), Links::Follow)?.attributes)
    }

    /// What `lstat` shows of a file: of a symbolic link itself.
    ///
    /// # Errors
    /// As [`attributes`](Self::attributes).
    pub fn link_attributes(&self, path: impl AsRef<Path>) -> Result<Attributes> {
        Ok(locate(self.tree(), path.as_ref(), Links::Keep)?.attributes)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// When it is not there, or no link.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        let inode = locate(self.tree(), path, Links::Keep)?.attributes.inode;
        Ok(self.tree().read_link(inode).map_err(Error::at(path))?)
    }

    /// The extended attributes of a file, with their namespace (`user.`, `security.`...). A symbolic link is followed.
    ///
    /// # Errors
    /// When it is not there or they cannot be read.
    pub fn xattrs(&self, path: impl AsRef<Path>) -> Result<Vec<(OsString, Vec<u8>)>> {
        let (view, path) = (self.tree(), path.as_ref());
        let inode = locate(view, path, Links::Follow)?.attributes.inode;
        let wrong = Error::at(path);
        let names = view.xattr_names(inode).map_err(&wrong)?.into_iter();
        let pairs = names.map(|name| Ok((view.xattr(inode, &name).map_err(&wrong)?, name)));
        pairs.map(|pair| pair.map(|(value, name)| (name, value))).collect()
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// When it is not there, has no bytes (a directory, a device), or cannot be read.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<File> {
        self.open_found(locate(self.tree(), path.as_ref(), Links::Follow)?)
    }

    pub(super) fn open_found(&self, Found { path, attributes }: Found) -> Result<File> {
        // For what has no bytes.
        self.tree().read(attributes.inode, 0, &mut []).map_err(Error::at(&path))?;
        Ok(File { view: self.clone(), path, attributes, position: 0 })
    }
}

/// A file of a [`View`], read with [`Read`] and [`Seek`]. Bytes that cannot be read are an [`io::Error`], whose
/// [inner error](io::Error::get_ref) is an [`Error`](super::Error) with the reason.
pub struct File {
    view: View,
    /// As it was opened, for messages.
    path: PathBuf,
    attributes: Attributes,
    position: u64,
}

impl File {
    /// What `stat` shows of it.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    fn wrong(&self, error: view::Error) -> io::Error {
        io::Error::other(super::Error::from(Error::at(&self.path)(error)))
    }

    /// Where the next data, or else the next hole, begins, at `offset` or after it, as `lseek` with `SEEK_DATA` and
    /// `SEEK_HOLE` tells. The end of the file is a hole; `None` for no more data and past the end.
    ///
    /// # Errors
    /// When the file's map cannot be read.
    pub fn find(&self, offset: u64, data: bool) -> io::Result<Option<u64>> {
        match self.view.tree().seek(self.attributes.inode, offset, data) {
            Ok(found) => Ok(Some(found)),
            Err(view::Error::PastEnd) => Ok(None),
            Err(e) => Err(self.wrong(e)),
        }
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.view.tree().read(self.attributes.inode, self.position, buf).map_err(|e| self.wrong(e))?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for File {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let new = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(by) => self.attributes.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        let before_start = || io::Error::new(io::ErrorKind::InvalidInput, "Cannot seek to before the start");
        self.position = new.ok_or_else(before_start)?;
        Ok(self.position)
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.path).field("position", &self.position).finish_non_exhaustive()
    }
}
