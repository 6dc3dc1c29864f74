//! Files in tar archives, read where they are: `box.ova/disk.vmdk` is the member `disk.vmdk` of the archive `box.ova`.
//!
//! The crate `tar` reads the headers: old, POSIX and GNU ones, long names and sizes of both kinds. It gets a reader
//! that skips the data and gives up on an archive that is mostly headers, since a header may ask for any length of
//! name. The members' bytes are read by offset, not through the crate.

use super::{Error, File, Result, Segment, Storage};
use crate::ondisk::ParseError;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use tar::EntryType;

/// The bytes of a header.
const HEADER: usize = 512;
/// The most members that are listed. Appliances have a handful.
const MAX_MEMBERS: usize = 4096;
/// The most bytes of headers, long names and extensions that are read.
const MAX_READ: u64 = 8 << 20;
/// Names of members that a message lists.
const SHOWN: usize = 8;

/// A member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// The path in the archive, without `./` in front.
    pub path: PathBuf,
    /// Where its bytes begin in the archive, in bytes.
    pub offset: u64,
    /// How many bytes it has.
    pub size: u64,
    /// Why it cannot be read in place.
    unreadable: Option<&'static str>,
}

/// Whether a file begins as a tar archive: with a header of POSIX's `ustar` or an older one, whose checksum (`chksum`,
/// at 148) is right. That is the sum of all bytes, in which its own 8 are blanks. Some programs added signed bytes.
#[must_use]
pub(crate) fn is_tar(head: &[u8]) -> bool {
    let Some(header) = head.get(..HEADER).filter(|header| header[0] != 0) else { return false };
    let digits = header[148..156].trim_ascii_start();
    let digits = digits.split(|byte| !(b'0'..=b'7').contains(byte)).next().unwrap_or_default();
    let Some(stored) = std::str::from_utf8(digits).ok().and_then(|digits| i64::from_str_radix(digits, 8).ok()) else {
        return false;
    };
    let bytes = || header.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
    stored == bytes().map(i64::from).sum::<i64>()
        || stored == bytes().map(|byte| i64::from(byte.cast_signed())).sum::<i64>()
}

/// Splits a path that leads into a regular file, as if that were a directory, into the path of the file and what
/// follows. None for every other path.
#[must_use]
pub(crate) fn split(path: &Path) -> Option<(&Path, &Path)> {
    let is_below_file = |error: &io::Error| error.kind() == io::ErrorKind::NotADirectory;
    if !fs::metadata(path).is_err_and(|error| is_below_file(&error)) {
        return None;
    }
    for ancestor in path.ancestors().skip(1) {
        match fs::metadata(ancestor) {
            Ok(attributes) => return attributes.is_file().then_some((ancestor, path.strip_prefix(ancestor).ok()?)),
            Err(error) if is_below_file(&error) => {}
            Err(_) => return None,
        }
    }
    None
}

/// The file of this host that has the bytes of what a path leads to: an archive for its members.
#[must_use]
pub(crate) fn host_file(path: &Path) -> &Path {
    split(path).map_or(path, |(archive, _)| archive)
}

/// The files of an archive, in its order.
///
/// # Errors
/// [`Error::Io`]; [`Error::Corrupt`] for headers that are not valid; [`Error::Unsupported`] for too many of them.
pub(crate) fn members(archive: &File) -> Result<Vec<Member>> {
    let mut reader = tar::Archive::new(Headers { archive, position: 0, left: MAX_READ });
    let mut members = Vec::new();
    // Where the header that is read next begins.
    let mut at = 0;
    let failed = |at: u64, error: io::Error| match error.kind() {
        io::ErrorKind::FileTooLarge => {
            let expected = format!("at most {MAX_MEMBERS} files, and {MAX_READ} bytes of names");
            ParseError::unsupported(at, "tar archive", expected, "more").in_file(archive.path())
        }
        // What the crate says of headers; an error of the system has another kind.
        io::ErrorKind::Other | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            ParseError::corrupt(at, "tar header", "a valid one", error).in_file(archive.path())
        }
        _ => Error::io(archive.path(), format!("read the tar header at offset {at} of"), error),
    };
    for entry in reader.entries_with_seek().map_err(|error| failed(0, error))? {
        let mut entry = entry.map_err(|error| failed(at, error))?;
        let (offset, size) = (entry.raw_file_position(), entry.size());
        let is_sparse = entry.pax_extensions().map_err(|error| failed(at, error))?.is_some_and(|extensions| {
            extensions.flatten().any(|extension| extension.key_bytes().starts_with(b"GNU.sparse."))
        });
        at = offset.saturating_add(size.next_multiple_of(HEADER as u64));
        let unreadable = match entry.header().entry_type() {
            EntryType::Directory | EntryType::XGlobalHeader => continue,
            EntryType::GNUSparse => Some("it is stored sparsely"),
            _ if is_sparse => Some("it is stored sparsely"),
            EntryType::Regular | EntryType::Continuous => None,
            _ => Some("it is a link or a device"),
        };
        if members.len() == MAX_MEMBERS {
            return Err(failed(at, io::ErrorKind::FileTooLarge.into()));
        }
        let path = without_dots(Path::new(OsStr::from_bytes(&entry.path_bytes())));
        members.push(Member { path, offset, size, unreadable });
    }
    Ok(members)
}

/// Opens a member of an archive for reading. Its path is that of the archive and its own.
///
/// # Errors
/// [`Error::Io`] when there is no such member; [`Error::Refused`] for writing, for one that is there twice and for one
/// that is not stored in one go; as [`members`].
pub(crate) fn open(archive: File, member: &Path, writable: bool) -> Result<File> {
    let path = archive.path().join(member);
    let refused = |reason: String| Err(Error::Refused { path: path.clone(), reason });
    if !is_tar(&super::read_up_to(&*archive, 0, HEADER)?) {
        let source = io::Error::from(io::ErrorKind::NotADirectory);
        return Err(Error::io(&path, "open", source));
    }
    if writable {
        return refused("it is in an archive, which is only read; extract it to write to it".to_owned());
    }
    let is_plain = |component| matches!(component, Component::Normal(_));
    let member = without_dots(member);
    let members = members(&archive)?;
    let same = members.iter().filter(|one| one.path == member && member.components().all(is_plain));
    match *same.collect::<Vec<_>>() {
        [found] => {
            if let Some(reason) = found.unreadable {
                return refused(format!("{reason}; extract it with tar -xf and give the file"));
            }
            let (offset, len, end) = (found.offset, found.size, super::length(&*archive)?);
            if offset.saturating_add(len) > end {
                let what = format!("file {:?} in the tar archive", found.path);
                let found = format!("the end of the archive at {end}");
                return Err(ParseError::corrupt(offset, what, format!("{len} bytes"), found).in_file(archive.path()));
            }
            Ok(Arc::new(Slice { archive, path, offset, len }))
        }
        [] => {
            let names = list(members.iter().map(|member| member.path.display().to_string()));
            let text = format!("there is no such file in the archive, which has {names}");
            Err(Error::io(&path, "find", io::Error::new(io::ErrorKind::NotFound, text)))
        }
        _ => refused("the archive has two files of this path; extract the right one".to_owned()),
    }
}

fn without_dots(path: &Path) -> PathBuf {
    path.components().filter(|component| *component != Component::CurDir).collect()
}

/// Names with commas between them, of which many are only counted.
fn list(mut names: impl Iterator<Item = String>) -> String {
    let text = names.by_ref().take(SHOWN).collect::<Vec<_>>().join(", ");
    match names.count() {
        0 if text.is_empty() => "none".to_owned(),
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// Reads the headers of an archive, and not too many of them.
struct Headers<'a> {
    archive: &'a File,
    position: u64,
    left: u64,
}

impl Read for Headers<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.archive.read_at(buf, self.position)?;
        self.left = self.left.checked_sub(read as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for Headers<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        // The crate skips data, and asks where it is.
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(_) => None,
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// A range of a file that is read as a file.
#[derive(Debug)]
struct Slice {
    archive: File,
    path: PathBuf,
    /// Where it begins in the archive, in bytes.
    offset: u64,
    len: u64,
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "a file in an archive is only read")
}

impl Storage for Slice {
    fn path(&self) -> &Path {
        &self.path
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buf.len().min(left);
        if wanted == 0 {
            return Ok(0);
        }
        self.archive.read_at(&mut buf[..wanted], self.offset + offset)
    }

    fn range_of(&self) -> Option<(&File, u64)> {
        Some((&self.archive, self.offset))
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn zero(&self, _: u64, _: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn segment(&self, offset: u64) -> io::Result<Segment> {
        let left = self.len.saturating_sub(offset);
        Ok(match self.archive.segment(self.offset + offset)? {
            Segment::Data(len) => Segment::Data(len.min(left)),
            Segment::Hole(len) => Segment::Hole(len.min(left)),
        })
    }
}

#[cfg(test)]
mod tests;
