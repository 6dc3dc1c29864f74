//! The paths of a mount with `-g` that begin with what is typed.

use super::line::Line;
use crate::open::DiskOptions;
use crate::verbs::{Links, Name, locate, names};
use crate::view::{Appearance, Kind, View};
use clap_complete::CompletionCandidate;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// The entries of the directory that the word is in. A directory ends with a slash.
pub(super) fn guest(line: &Line, current: &OsStr) -> Vec<CompletionCandidate> {
    if line.is_named { entries(line, current).unwrap_or_default() } else { Vec::new() }
}

fn entries(line: &Line, current: &OsStr) -> Option<Vec<CompletionCandidate>> {
    let bytes = current.as_bytes();
    let (directory, begun) = bytes.split_at(bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1));
    let view = view(line)?;
    let path = Path::new(OsStr::from_bytes(directory));
    let inode = locate(&view, path, Links::Follow).ok()?.attributes.inode;
    let is_wanted = |name: &Name| {
        let name = name.name.as_bytes();
        name.starts_with(begun) && (!name.starts_with(b".") || begun.starts_with(b"."))
    };
    let mut found: Vec<Name> = names(&view, inode).ok()?.into_iter().filter(is_wanted).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let candidate = |Name { name, kind, .. }: Name| {
        let full = [directory, name.as_bytes()].concat();
        let target = match kind {
            // One that leads out of the guest, as that to the image file does, cannot be opened.
            Kind::Symlink => locate(&view, Path::new(OsStr::from_bytes(&full)), Links::Follow).ok()?.attributes.kind,
            kind => kind,
        };
        let end: &[u8] = if target == Kind::Directory { b"/" } else { b"" };
        Some(CompletionCandidate::new(OsString::from_vec([&full, end].concat())))
    };
    Some(found.into_iter().filter_map(candidate).collect())
}

/// The disks that the line names, read without locks: they stay free for whoever writes to them.
fn view(line: &Line) -> Option<View> {
    let lookup = line.lookup()?;
    let options = DiskOptions {
        force: line.force,
        allowed_devices: line.allow_devices.clone(),
        unlocked: true,
        ..DiskOptions::default()
    };
    let open = lookup.find(&line.which, false).ok()?.open(&lookup, &options).ok()?;
    View::of_open(&open, true, Appearance::default()).ok().map(|(view, _)| view)
}
