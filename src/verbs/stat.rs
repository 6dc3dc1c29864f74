//! `stat`: the attributes of files, as stat(1) prints them.

use super::json::File;
use super::time::moment;
use super::{Error, Links, Report, Result, locate, text};
use crate::listing::write_json;
use crate::view::{Attributes, Kind, View};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Writes the attributes of files; of a symbolic link its own.
///
/// # Errors
/// [`Error::Write`].
pub(crate) fn stat(
    view: &View,
    paths: &[PathBuf],
    json: bool,
    on_terminal: bool,
    out: &mut dyn Write,
    report: Report<'_>,
) -> Result<()> {
    let mut files = Vec::new();
    for path in paths {
        let found = locate(view, path, Links::Keep).and_then(|found| {
            let target = (found.attributes.kind == Kind::Symlink).then(|| view.read_link(found.attributes.inode));
            Ok((target.transpose().map_err(Error::at(path))?, found.attributes))
        });
        match found {
            Ok((target, attributes)) if json => files.push(File::new(path, &attributes, target.as_deref())),
            Ok((target, attributes)) => write(out, path, &attributes, target.as_deref(), on_terminal)?,
            Err(e) => report(e),
        }
    }
    if json {
        write_json(out, &files)?;
    }
    Ok(out.flush()?)
}

fn write(
    out: &mut dyn Write,
    path: &Path,
    of: &Attributes,
    target: Option<&Path>,
    on_terminal: bool,
) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    write!(out, "  File: ")?;
    out.write_all(&text::name(path.as_os_str().as_bytes(), on_terminal))?;
    if let Some(target) = target {
        write!(out, " -> ")?;
        out.write_all(&text::name(target.as_os_str().as_bytes(), on_terminal))?;
    }
    writeln!(out, "\n  Size: {:<10}\tBlocks: {:<10} {}", of.size, of.blocks, text::kind(of))?;
    write!(out, "Inode: {:<11}\tLinks: {}", of.inode, of.links)?;
    if matches!(of.kind, Kind::CharDevice | Kind::BlockDevice) {
        write!(out, "     Device type: {},{}", of.device.0, of.device.1)?;
    }
    writeln!(out, "\nAccess: ({:04o}/{})  Uid: {}   Gid: {}", of.mode, text::mode(of), of.uid, of.gid)?;
    let line = |time: SystemTime| {
        let moment = moment(time);
        format!("{} {}:{} +0000", moment.date, moment.minute, moment.second)
    };
    writeln!(out, "Access: {}", line(of.times.accessed))?;
    writeln!(out, "Modify: {}", line(of.times.modified))?;
    writeln!(out, "Change: {}", line(of.times.changed))
}
