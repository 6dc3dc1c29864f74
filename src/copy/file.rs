//! Copying what is no directory: under a name of its own first, which it keeps only when it is complete.

use super::attributes::{self, Copied};
use super::content::Content;
use super::directory::{Directory, Unfinished};
use super::{Error, Result, reading};
use crate::view::{Attributes, Kind};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::Path;

/// Copies one file to a name in a directory. `root` is the destination, from which links are found.
pub(super) fn copy(
    root: &Directory<'_>,
    directory: &Directory<'_>,
    name: &OsStr,
    source: &Path,
    inode: u64,
    buf: &mut [u8],
) -> Result<()> {
    let context = directory.context;
    if context.is_stopped() {
        return Ok(());
    }
    directory.check_name(name, source)?;
    let of = context.view.attributes(inode).map_err(reading(source))?;
    if of.links < 2 {
        return copy_alone(directory, name, source, &of, buf);
    }
    // One at a time, so that the second name finds the copy of the first.
    let mut links = context.links.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(first) = links.get(&inode)
        && link(root, directory, name, source, first).is_ok()
    {
        return Ok(());
    }
    copy_alone(directory, name, source, &of, buf)?;
    let names: Vec<OsString> = directory.names.iter().cloned().chain([name.to_owned()]).collect();
    links.insert(inode, names);
    Ok(())
}

/// Makes a further name of a copy.
fn link(
    root: &Directory<'_>,
    directory: &Directory<'_>,
    name: &OsStr,
    source: &Path,
    first: &[OsString],
) -> Result<()> {
    let Some((first_name, names)) = first.split_last() else { return Err(Error::Name { path: source.to_owned() }) };
    let unfinished = Unfinished::new(directory, false);
    let linked = directory
        .of_link(root, names)
        .and_then(|from| rustix::fs::linkat(&from, first_name, &directory.fd, &unfinished.name, AtFlags::empty()));
    linked.map_err(|e| directory.wrong(name, source, e))?;
    directory.finish(unfinished, name, source)
}

fn copy_alone(directory: &Directory<'_>, name: &OsStr, source: &Path, of: &Attributes, buf: &mut [u8]) -> Result<()> {
    let context = directory.context;
    let unfinished = Unfinished::new(directory, true);
    let unfinished_name = unfinished.name.clone();
    let path = OsStr::new(&unfinished_name);
    let to = directory.path.join(name);
    let wrong = |e| directory.wrong(name, source, e);
    let special = |file_type| {
        if !context.options.preserve || !context.is_root {
            return Err(Error::Special { path: source.to_owned() });
        }
        let device = rustix::fs::makedev(of.device.0, of.device.1);
        rustix::fs::mknodat(&directory.fd, path, file_type, Mode::RUSR | Mode::WUSR, device).map_err(wrong)
    };
    match of.kind {
        Kind::File => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(&directory.fd, path, flags, Mode::RUSR | Mode::WUSR).map_err(wrong)?;
            let file = File::from(fd);
            Content { context, source, of, file: &file, path: &to, buf }.copy()?;
            attributes::set(directory, Copied::File(&file), &to, source, of);
        }
        Kind::Symlink => {
            let target = context.view.read_link(of.inode).map_err(reading(source))?;
            rustix::fs::symlinkat(&target, &directory.fd, path).map_err(wrong)?;
        }
        Kind::CharDevice => special(FileType::CharacterDevice)?,
        Kind::BlockDevice => special(FileType::BlockDevice)?,
        Kind::Fifo => special(FileType::Fifo)?,
        Kind::Socket => special(FileType::Socket)?,
        Kind::Directory => return Err(Error::IsDirectory { path: source.to_owned() }),
    }
    if of.kind != Kind::File {
        attributes::set(directory, Copied::Name(path), &to, source, of);
    }
    directory.finish(unfinished, name, source)
}
