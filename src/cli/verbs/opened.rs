//! The view that a verb works on.

use super::arguments::Common;
use crate::cli::actions::{lookup, open_disks, warn};
use crate::cli::error::Error;
use crate::open::{DiskOptions, OpenDisks};
use crate::view::{Appearance, View};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// A view of what was opened for reading, which stays locked as long as this is there.
pub(super) struct Opened {
    pub(super) view: View,
    pub(super) open: OpenDisks,
}

impl Opened {
    /// Whether the disks are in directories that are named as their slots.
    pub(super) fn is_named(&self) -> bool {
        self.open.disks.iter().any(|(slot, _)| slot.is_some())
    }
}

/// The view of open disks, and what a user should know of their file systems.
pub(super) fn shown(open: OpenDisks, with_guests: bool) -> Result<(Opened, Vec<String>), Error> {
    let shown = View::of_open(&open, with_guests, Appearance::default());
    let (view, warnings) = shown.map_err(crate::mount::Error::from)?;
    Ok((Opened { view, open }, warnings))
}

/// Opens the disks that the arguments name, with their file systems where a path needs them.
pub(super) fn view(common: &Common, paths: &[PathBuf]) -> Result<Opened, Error> {
    let lookup = lookup(&common.which)?;
    let options = DiskOptions { force: common.force, ..DiskOptions::default() };
    let open = open_disks(&common.which, &lookup, &common.which.which(), options)?;
    // They do not need the passwords any more.
    drop(lookup);
    let with_guests = paths.is_empty() || !paths.iter().all(|path| is_without_guests(path));
    let (mut opened, warnings) = shown(open, with_guests)?;
    warn(&warnings.into_iter().filter(|warning| concerns(warning, paths)).collect::<Vec<_>>());
    warn(&opened.open.warnings_of_writers());
    Ok(opened)
}

/// Whether a path is the disk or a volume, so that no file system need be opened.
pub(super) fn is_without_guests(path: &Path) -> bool {
    let mut names = path.components().rev().filter_map(|component| component.as_os_str().to_str());
    let is_volume = |name: &str| name == "vhdd" || name.strip_prefix("vol").is_some_and(is_number);
    names.next().is_some_and(is_volume) && names.all(|name| !name.strip_prefix("fs").is_some_and(is_number))
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a warning is about a path: one in the file system that it names, or one without any.
fn concerns(warning: &str, paths: &[PathBuf]) -> bool {
    let about = |path: &PathBuf| {
        let mut names = path.iter().filter_map(OsStr::to_str);
        match names.find(|name| name.strip_prefix("fs").is_some_and(is_number)) {
            Some(name) => warning.contains(&format!("{name}: ")),
            None => true,
        }
    };
    paths.is_empty() || paths.iter().any(about)
}
