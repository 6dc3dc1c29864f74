//! The view that a verb works on.

use super::arguments::Common;
use crate::cli::actions::{lookup, open_disk, warn};
use crate::cli::error::Error;
use crate::lock;
use crate::open::{DiskOptions, VolumeContent};
use crate::view::{Appearance, Source, View};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// A view of what was opened for reading, which stays locked as long as this is there.
pub(super) struct Opened {
    pub(super) view: View,
    _locks: Vec<lock::Guard>,
}

/// Opens the disk that the arguments name, with its file systems where a path needs them.
pub(super) fn view(common: &Common, paths: &[PathBuf]) -> Result<Opened, Error> {
    let lookup = lookup(&common.which)?;
    let options = DiskOptions { force: common.force, ..DiskOptions::default() };
    let disk = common.which.image.as_deref().unwrap_or(OsStr::new(""));
    let mut disk = open_disk(&common.which, &lookup, disk, options)?;
    // It does not need the passwords any more.
    drop(lookup);
    warn(&disk.warnings);
    warn(&disk.table.notes);
    let contents = if paths.iter().all(|path| is_without_guests(path)) { Vec::new() } else { disk.contents() };
    contents.iter().filter(|volume| concerns(volume, paths)).for_each(|volume| warn(&volume.warnings()));
    let guests = contents.into_iter().filter_map(|volume| volume.guest).collect();
    let source = Source { guests, ..Source::of_disk(&disk) };
    let view = View::new(source, Appearance::default()).map_err(crate::mount::Error::from)?;
    disk.warning_of_writers().iter().for_each(|warning| log::warn!("{warning}"));
    Ok(Opened { view, _locks: disk.into_locks() })
}

/// Whether a path is the disk or a volume, so that no file system need be opened.
fn is_without_guests(path: &Path) -> bool {
    let mut names = path.components().rev().filter_map(|component| component.as_os_str().to_str());
    let is_volume = |name: &str| name == "vhdd" || name.strip_prefix("vol").is_some_and(is_number);
    names.next().is_some_and(is_volume) && names.all(|name| !name.strip_prefix("fs").is_some_and(is_number))
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether what there is to say of a volume is about a path: one in its file system, or one without any.
fn concerns(volume: &VolumeContent, paths: &[PathBuf]) -> bool {
    let own = format!("fs{}", volume.index);
    paths.iter().any(|path| {
        let mut names = path.iter().filter_map(OsStr::to_str);
        match names.find(|name| name.strip_prefix("fs").is_some_and(is_number)) {
            Some(name) => name == own,
            None => true,
        }
    })
}
