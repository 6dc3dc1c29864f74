//! The gate: the one policy for which files are opened, and above all for file names that stand inside files.
//!
//! Whoever made an image chose the names in it, so such a name leads to a regular file next to the image or below its
//! directory, or to one that the user allowed (`--allow-file`), and nowhere else. What is checked is the opened
//! descriptor, never the path again, so that a link swapped meanwhile changes nothing: `openat2(2)` with
//! `RESOLVE_BENEATH` resolves the name, `O_PATH` lets a FIFO or device be seen without being opened, and the descriptor
//! itself is then opened through `/proc/self/fd`. The table of cases is in `docs/security.md`.

use super::FileIdentity;
use crate::error_kind::{ErrorKind, IoError};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// How often the kernel is asked again that could not resolve a name because something was renamed meanwhile.
const ATTEMPTS: usize = 64;

/// File systems whose files are the kernel's own state (`statfs(2)`): proc, sysfs, debugfs, tracefs, securityfs,
/// cgroup, cgroup2, efivarfs, pstore, bpf, configfs, selinux, smack, binfmt_misc.
const KERNEL_FILE_SYSTEMS: [u32; 14] = [
    0x9fa0,
    0x6265_6572,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0x0027_e0eb,
    0x6367_7270,
    0xde5e_81e4,
    0x6165_676c,
    0xcafe_4a11,
    0x6265_6570,
    0xf97c_ff8c,
    0x4341_5d53,
    0x4249_4e4d,
];

/// Who named a path, and so where it may lead.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Policy<'a> {
    /// The user: regular files and block devices, anywhere.
    Given,
    /// The registry, or a rule that verifies the file's identity: regular files anywhere but in the kernel's own file
    /// systems.
    Registered,
    /// A file in `directory` did: regular files in `directory` or below, and those that the user allowed.
    Named {
        /// The directory of the file that has the name in it. Relative names begin there.
        directory: &'a Path,
        /// Files elsewhere that the user named.
        allowed: &'a Allowed,
    },
}

/// Files that the user allowed images to name (`--allow-file`), under whatever name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allowed(Option<Vec<FileIdentity>>);

impl Allowed {
    /// No file.
    pub(crate) const NONE: Self = Self(None);

    /// The files at these paths.
    ///
    /// # Errors
    /// [`Error::Io`] for a path that leads nowhere; [`Error::Refused`] for one that leads to no regular file.
    pub(crate) fn new<P: AsRef<Path>>(paths: &[P]) -> Result<Self> {
        let identify = |path: &Path| {
            let attributes = fs::metadata(path).map_err(|e| Error::io(path, "find", e))?;
            check_kind(path, attributes.file_type(), false)?;
            Ok(FileIdentity::of(&attributes))
        };
        paths.iter().map(|path| identify(path.as_ref())).collect::<Result<_>>().map(|files| Self(Some(files)))
    }

    fn has(&self, file: FileIdentity) -> bool {
        self.0.as_ref().is_some_and(|files| files.contains(&file))
    }
}

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The name may not be followed, or leads to what is no file for an image.
    #[error("{} is refused: {reason}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why, and what to do about it.
        reason: String,
    },
    /// A name in a file leads out of that file's directory.
    #[error(
        "{} is refused: an image in {} names it, and an image may only name files next to it or below its directory; if \
         it is meant, allow it with {}", path.display(), directory.display(), option(path)
    )]
    Elsewhere {
        /// The file that the name leads to.
        path: PathBuf,
        /// The directory of the image.
        directory: PathBuf,
    },
}

/// The option that allows a file, for a shell.
fn option(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,=@%:".contains(c);
    if text.chars().all(plain) {
        format!("--allow-file {text}")
    } else {
        format!("--allow-file '{}'", text.replace('\'', r"'\''"))
    }
}

impl Error {
    fn io(path: &Path, action: &'static str, source: impl Into<io::Error>) -> Self {
        IoError::new(path, action, source).into()
    }

    fn refused(path: &Path, reason: impl Into<String>) -> Self {
        Self::Refused { path: path.to_path_buf(), reason: reason.into() }
    }

    fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }

    /// Whether the path leads into a file as if that were a directory.
    pub(super) fn is_below_file(&self) -> bool {
        matches!(self, Self::Io(e) if e.source.kind() == io::ErrorKind::NotADirectory)
    }

    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(e) => e.kind(),
            Self::Refused { .. } | Self::Elsewhere { .. } => ErrorKind::Refused,
        }
    }
}

/// The result of passing the gate.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Opens `path` for reading, and for writing too when `writable`, if `policy` allows what it leads to.
///
/// # Errors
/// [`Error::Io`]; [`Error::Refused`]; [`Error::Elsewhere`] for [`Policy::Named`].
pub(crate) fn open(path: &Path, writable: bool, policy: Policy<'_>) -> Result<fs::File> {
    let (directory, allowed) = match policy {
        Policy::Named { directory, allowed } => (directory, allowed),
        // O_NONBLOCK: a FIFO must not block before its kind is known.
        Policy::Given | Policy::Registered => {
            let access = if writable { OFlags::RDWR } else { OFlags::RDONLY };
            let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let given = matches!(policy, Policy::Given);
            let resolve = if given { ResolveFlags::empty() } else { ResolveFlags::NO_MAGICLINKS };
            let file = fs::File::from(resolve_at(CWD, path, flags, resolve).map_err(|e| unopened(path, writable, e))?);
            let attributes = file.metadata().map_err(|e| Error::io(path, "read the attributes of", e))?;
            check_kind(path, attributes.file_type(), given)?;
            if !given {
                check_file_system(path, &file)?;
            }
            return Ok(file);
        }
    };
    let found = find(directory, path)?;
    let path = &*directory.join(path);
    let attributes = found.file.metadata().map_err(|e| Error::io(path, "read the attributes of", e))?;
    check_kind(path, attributes.file_type(), false)?;
    check_file_system(path, &found.file)?;
    if let Some(path) = found.elsewhere.filter(|_| !allowed.has(FileIdentity::of(&attributes))) {
        return Err(Error::Elsewhere { path, directory: directory.to_path_buf() });
    }
    // The descriptor, not the path: what was checked is what is opened.
    let descriptor = descriptor_path(&found.file);
    fs::OpenOptions::new().read(true).write(writable).open(descriptor).map_err(|e| Error::io(path, how(writable), e))
}

/// What a name leads to, not opened for reading yet (`O_PATH`).
struct Found {
    file: fs::File,
    /// Where it is, when that is not in the directory or below.
    elsewhere: Option<PathBuf>,
}

/// Follows a name from `directory`.
fn find(directory: &Path, name: &Path) -> Result<Found> {
    let home_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let home = rustix::fs::open(directory, home_flags, Mode::empty()).map_err(|e| Error::io(directory, "open", e))?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match openat2(home.as_fd(), name, flags, beneath) {
        Ok(file) => return Ok(Found { file: file.into(), elsewhere: None }),
        // It is absolute, or leads out on its way; or the kernel is older than 5.6, or a sandbox hides the call.
        Err(Errno::XDEV | Errno::NOSYS | Errno::PERM) => {}
        Err(e) => return Err(unopened(&directory.join(name), false, e)),
    }
    let path = directory.join(name);
    let file = resolve_at(home.as_fd(), name, flags, ResolveFlags::NO_MAGICLINKS);
    let file = fs::File::from(file.map_err(|e| unopened(&path, false, e))?);
    let (real, home) = (real_path(&path, &file)?, real_path(directory, &home)?);
    Ok(Found { file, elsewhere: Some(real).filter(|real| !real.starts_with(home)) })
}

/// `openat2`, or `openat` where there is no such call; what it opens is checked all the same.
fn resolve_at(from: impl AsFd, path: &Path, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    match openat2(from.as_fd(), path, flags, resolve) {
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::openat(from, path, flags, Mode::empty()),
        result => result,
    }
}

fn openat2(from: impl AsFd, path: &Path, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    let mut attempt = 1;
    loop {
        match rustix::fs::openat2(&from, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if attempt < ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

fn unopened(path: &Path, writable: bool, error: Errno) -> Error {
    if error == Errno::LOOP {
        let reason = "it leads through a link of /proc to an open file, or through too many symbolic links";
        return Error::refused(path, reason);
    }
    Error::io(path, how(writable), error)
}

fn how(writable: bool) -> &'static str {
    if writable { "open for writing" } else { "open" }
}

fn descriptor_path(file: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd())
}

/// The path of an open file, from the kernel.
fn real_path(path: &Path, file: &impl AsFd) -> Result<PathBuf> {
    let read = rustix::fs::readlink(descriptor_path(file), Vec::new());
    let read = read.map_err(|e| Error::io(path, "find out through /proc where it is:", e))?;
    Ok(PathBuf::from(OsString::from_vec(read.into_bytes())))
}

fn check_kind(path: &Path, kind: fs::FileType, devices: bool) -> Result<()> {
    if kind.is_file() || devices && kind.is_block_device() {
        return Ok(());
    }
    let reason = if kind.is_dir() {
        "it is a directory, and an image is a file"
    } else if kind.is_block_device() || kind.is_char_device() {
        "it is a device, and not a regular file; devices are opened only when given with -i"
    } else {
        "it is not a regular file"
    };
    Err(Error::refused(path, reason))
}

/// Refuses the kernel's own files, wherever their file systems are mounted, and what is mounted over them.
fn check_file_system(path: &Path, file: &fs::File) -> Result<()> {
    let found = rustix::fs::fstatfs(file).map_err(|e| Error::io(path, "find the file system of", e))?;
    // The field's width and sign depend on the machine; the number has 32 bits.
    let kind = u32::try_from(i128::from(found.f_type) & 0xffff_ffff).unwrap_or_default();
    let real = real_path(path, file)?;
    if KERNEL_FILE_SYSTEMS.contains(&kind) || ["/proc", "/sys"].iter().any(|kernels| real.starts_with(kernels)) {
        return Err(Error::refused(path, "it is a file of the kernel's own (/proc, /sys), and no image"));
    }
    Ok(())
}

/// Opens the file that `image` names as `name`, and says where it is. A relative name begins at the image's directory.
/// An absolute one is taken as it is when it leads below that directory or to an allowed file, and else the file is
/// looked for next to the image, which may have been moved. Names that Windows wrote are understood.
///
/// # Errors
/// As [`open`] with [`Policy::Named`]; [`Error::Refused`] for a name that is empty, a device's or an address.
pub(crate) fn open_named(image: &Path, name: &OsStr, writable: bool, allowed: &Allowed) -> Result<(fs::File, PathBuf)> {
    let refused = |reason: String| Err(Error::refused(image, reason));
    if name.is_empty() || name.as_bytes().contains(&0) {
        return refused(format!("it names the file {name:?}, which is no file name"));
    }
    let directory = directory_of(image);
    let mut why = None;
    for (path, how) in candidates(name) {
        match open(&path, writable, Policy::Named { directory, allowed }) {
            Ok(file) => {
                let path = directory.join(path);
                log::info!("  {} names {name:?}: {how}, {}", image.display(), path.display());
                return Ok((file, path));
            }
            Err(error @ Error::Elsewhere { .. }) => why = Some(error),
            Err(error) if error.is_not_found() => {
                why.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match why {
        Some(error @ Error::Elsewhere { .. }) => Err(error),
        _ if is_device_name(name) => refused(format!("it names the device {name:?}; give the device itself with -i")),
        _ if has_protocol(&name.to_string_lossy()) && !is_windows_absolute(name) => {
            refused(format!("it names {name:?}; only local files are opened"))
        }
        Some(Error::Io(IoError { path, source, .. })) => {
            let source = io::Error::new(source.kind(), format!("{source}; {} names it", image.display()));
            Err(Error::io(&path, "find", source))
        }
        Some(error) => Err(error),
        None => refused(format!("it names {name:?}, which leads nowhere")),
    }
}

/// The directory that a file is in, as a path that can be opened.
#[must_use]
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a name has a protocol in front, as in `nbd://host/disk` and `json:{...}`: a colon before any slash.
#[must_use]
pub(crate) fn has_protocol(name: &str) -> bool {
    name.split('/').next().is_some_and(|start| start.contains(':'))
}

/// Whether a name is one that Unix or Windows gives to devices.
fn is_device_name(name: &OsStr) -> bool {
    let starts = |start: &str| name.as_bytes().starts_with(start.as_bytes());
    starts("/dev/") || starts(r"\\.\") || starts(r"\\?\GLOBALROOT")
}

fn is_windows_absolute(name: &OsStr) -> bool {
    matches!(name.as_bytes(), [b'\\', b'\\', ..] | [_, b':', b'\\' | b'/', ..])
}

/// What a name may mean, best first (at least one path), and the words for it. Relative paths begin at the directory of
/// the image.
fn candidates(name: &OsStr) -> Vec<(PathBuf, &'static str)> {
    let bytes = name.as_bytes();
    let absolute = bytes.starts_with(b"/");
    let mut all = vec![(PathBuf::from(name), if absolute { "as written" } else { "next to it" })];
    if absolute || is_windows_absolute(name) {
        let last = bytes.rsplit(|b| matches!(b, b'/' | b'\\')).next().unwrap_or_default();
        if !last.is_empty() {
            all.push((PathBuf::from(OsStr::from_bytes(last)), "not there, so the file of that name next to it"));
        }
    } else if bytes.contains(&b'\\') {
        let converted = bytes.iter().map(|b| if *b == b'\\' { b'/' } else { *b }).collect();
        all.push((PathBuf::from(OsString::from_vec(converted)), "with the separators of Windows, next to it"));
    }
    all
}

#[cfg(test)]
mod tests;
