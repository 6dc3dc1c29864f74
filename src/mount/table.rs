//! The kernel's mount table, `/proc/self/mountinfo` (proc(5)).

use super::{Error, Result, process};
use std::ffi::OsString;
use std::io::ErrorKind::{NotConnected, PermissionDenied};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The file system type of our mounts.
pub(crate) const TYPE: &str = "fuse.vboximg-mount";

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Major and minor number of the device, as `stat` shows them for its files.
    pub device: (u64, u64),
    /// Where it is mounted.
    pub point: PathBuf,
    /// The file system type.
    pub kind: String,
    /// The mount source, such as `vboximg-mount`.
    pub source: OsString,
    /// The file system's own options, such as `rw,user_id=1000,group_id=1000`.
    pub options: String,
}

impl Entry {
    /// Whether it is a mount of this program.
    #[must_use]
    pub(crate) fn is_ours(&self) -> bool {
        self.kind == TYPE
    }

    /// The number after `name=` in the options.
    #[must_use]
    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        self.options.split(',').find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    }
}

/// Reads the table. Later mounts follow earlier ones.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn read() -> Result<Vec<Entry>> {
    Ok(parse(&text()?))
}

fn text() -> Result<Vec<u8>> {
    let path = Path::new("/proc/self/mountinfo");
    process::read(path).map_err(Error::io(path, "read"))
}

/// Whether a mount of this program is seen; true when the table cannot be read.
#[must_use]
pub(crate) fn has_ours() -> bool {
    read().map_or(true, |entries| entries.iter().any(Entry::is_ours))
}

/// The mount that is seen at `point`: the last of those made there.
///
/// # Errors
/// As [`read`].
pub(crate) fn at(point: &Path) -> Result<Option<Entry>> {
    Ok(last_at(&text()?, point))
}

fn last_at(text: &[u8], point: &Path) -> Option<Entry> {
    let is_there = |line: &&[u8]| line.split(|byte| *byte == b' ').nth(4).is_some_and(|field| unescape(field) == point);
    text.rsplit(|byte| *byte == b'\n').filter(is_there).find_map(parse_line)
}

/// Parses the table's text; lines that do not follow proc(5) are skipped.
fn parse(text: &[u8]) -> Vec<Entry> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse_line(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let point = unescape(fields.nth(1)?);
    fields.find(|field| *field == b"-")?;
    let kind = unescape(fields.next()?);
    let source = unescape(fields.next()?);
    let options = unescape(fields.next()?);
    Some(Entry {
        device: (major.parse().ok()?, minor.parse().ok()?),
        point: point.into(),
        kind: kind.to_string_lossy().into_owned(),
        source,
        options: options.to_string_lossy().into_owned(),
    })
}

/// Space, tab, newline and backslash are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// A path as the table has it: absolute, without symbolic links. Works too for a mount that answers nobody, or not us.
///
/// # Errors
/// [`Error::Io`] when there is nothing at the path.
pub(crate) fn canonical(point: &Path) -> Result<PathBuf> {
    let seen = std::fs::canonicalize(point);
    let absolute = std::path::absolute(point).map_err(Error::io(point, "find"))?;
    match (&seen, absolute.parent(), absolute.file_name()) {
        (Err(e), Some(directory), Some(name)) if matches!(e.kind(), NotConnected | PermissionDenied) => {
            Ok(std::fs::canonicalize(directory).map_err(Error::io(directory, "find"))?.join(name))
        }
        _ => seen.map_err(Error::io(point, "find")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        40 22 0:35 / /mnt/with\\040space\\134 ro,nosuid - fuse.vboximg-mount my\\011disk ro,user_id=1000,group_id=100\n\
        broken line\n\
        41 22 0:36 / /mnt/two rw shared:5 master:6 - tmpfs none rw\n";

    #[test]
    fn reads_fields_and_escapes() {
        let entries = parse(TEXT);
        assert_eq!(entries.len(), 3);
        let ours = &entries[1];
        assert_eq!(ours.point, Path::new("/mnt/with space\\"));
        assert_eq!(ours.device, (0, 35));
        assert_eq!(ours.source, "my\tdisk");
        assert!(ours.is_ours());
        assert_eq!((ours.number("user_id"), ours.number("group_id"), ours.number("id")), (Some(1000), Some(100), None));
        assert_eq!((entries[2].kind.as_str(), entries[2].is_ours()), ("tmpfs", false));
    }

    #[test]
    fn keeps_a_backslash_that_is_no_escape() {
        assert_eq!(unescape(b"a\\9b\\04"), "a\\9b\\04");
        assert_eq!(unescape(b"\\040\\"), " \\");
    }

    #[test]
    fn finds_the_root() {
        assert_eq!(at(Path::new("/")).unwrap().unwrap().point, Path::new("/"));
        assert_eq!(at(Path::new("/no/such/mount")).unwrap(), None);
    }

    #[test]
    fn follows_links_to_a_mount_point() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("point")).unwrap();
        std::os::unix::fs::symlink(real.join("point"), real.join("link")).unwrap();
        assert_eq!(canonical(&real.join("link")).unwrap(), real.join("point"));
        assert!(matches!(canonical(&real.join("none")), Err(Error::Io(_))));
    }
}
