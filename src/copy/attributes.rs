//! What a copy has beside its bytes: owner, extended attributes, mode, times.

use super::directory::Directory;
use super::{Error, reading};
use crate::view::{Attributes, Kind, View};
use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Mode bits that give the owner's rights to others.
const SET_ID: u16 = 0o6000;

/// A copy that gets attributes.
#[derive(Clone, Copy)]
pub(super) enum Copied<'c> {
    /// An open file: no name has to be looked up.
    File(&'c File),
    /// A name in the directory, of what is not opened.
    Name(&'c OsStr),
}

/// Gives a copy in a directory the attributes of its source; what cannot be had is reported, of the path `to`.
pub(super) fn set(directory: &Directory<'_>, copied: Copied<'_>, to: &Path, source: &Path, of: &Attributes) {
    let context = directory.context;
    let wrong = |e: Errno| context.report(Error::Host { path: to.to_owned(), source: e.into() });
    let mut mode = of.mode & !SET_ID;
    if context.options.preserve {
        // The highest number means none.
        let uid = (of.uid != u32::MAX).then(|| Uid::from_raw(of.uid));
        let gid = (of.gid != u32::MAX).then(|| Gid::from_raw(of.gid));
        let owned = match copied {
            Copied::File(file) => rustix::fs::fchown(file, uid, gid),
            Copied::Name(name) => rustix::fs::chownat(&directory.fd, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
        };
        match owned {
            Ok(()) => mode = of.mode,
            // Only root can give files away, as with cp(1).
            Err(Errno::PERM) if !context.is_root => {}
            Err(e) => wrong(e),
        }
        extended(directory, copied, to, source, of);
    }
    let mode = Mode::from_raw_mode(mode.into());
    let times = Timestamps { last_access: timespec(of.times.accessed), last_modification: timespec(of.times.modified) };
    let (moded, timed) = match copied {
        Copied::File(file) => (rustix::fs::fchmod(file, mode), rustix::fs::futimens(file, &times)),
        Copied::Name(name) => (
            if of.kind == Kind::Symlink {
                Ok(())
            } else {
                rustix::fs::chmodat(&directory.fd, name, mode, AtFlags::empty())
            },
            rustix::fs::utimensat(&directory.fd, name, &times, AtFlags::SYMLINK_NOFOLLOW),
        ),
    };
    moded.unwrap_or_else(wrong);
    timed.unwrap_or_else(wrong);
}

/// Sets the extended attributes: without root's rights only the users' own ones.
fn extended(directory: &Directory<'_>, copied: Copied<'_>, to: &Path, source: &Path, of: &Attributes) {
    let context = directory.context;
    let names = match attributes_of(context.view, of.inode, context.is_root) {
        Ok(names) if names.is_empty() => return,
        Ok(names) => names,
        Err(e) => return context.report(reading(source)(e)),
    };
    for attribute in names {
        let value = match context.view.xattr(of.inode, &attribute) {
            Ok(value) => value,
            Err(e) => {
                context.report(reading(source)(e));
                continue;
            }
        };
        let set = match copied {
            Copied::File(file) => rustix::fs::fsetxattr(file, attribute.as_os_str(), &value, XattrFlags::empty()),
            // No call sets one relative to a directory; this link of the kernel's leads to the directory itself.
            Copied::Name(name) => {
                let path = PathBuf::from(format!("/proc/self/fd/{}", directory.fd.as_raw_fd())).join(name);
                rustix::fs::lsetxattr(&path, attribute.as_os_str(), &value, XattrFlags::empty())
            }
        };
        if let Err(e) = set {
            let attribute = attribute.to_string_lossy();
            let source = std::io::Error::other(format!("its attribute {attribute:?}: {}", std::io::Error::from(e)));
            context.report(Error::Host { path: to.to_owned(), source });
        }
    }
}

fn attributes_of(view: &View, inode: u64, is_root: bool) -> crate::view::Result<Vec<OsString>> {
    let mut names = view.xattr_names(inode)?;
    names.retain(|name| is_root || name.as_bytes().starts_with(b"user."));
    Ok(names)
}

/// A time as the system has it; before 1970 the seconds are negative, the nanoseconds not.
fn timespec(time: SystemTime) -> Timespec {
    let (negative, since) = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => (false, since),
        Err(before) => (true, before.duration()),
    };
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let part = i64::from(since.subsec_nanos());
    let (tv_sec, tv_nsec) = match (negative, part) {
        (false, part) => (seconds, part),
        (true, 0) => (-seconds, 0),
        (true, part) => (-seconds - 1, 1_000_000_000 - part),
    };
    Timespec { tv_sec, tv_nsec: tv_nsec as _ }
}
