//! Finds files that an image names but that exist under another name, when their content leaves no doubt.

use super::{Error, Result};
use crate::error_kind::{ErrorKind, IoError};
use crate::storage::File;
use crate::storage::local;
use crate::storage::local::of_file;
use crate::storage::{Allowed, Policy, gate, near};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// How far a candidate's name is from the one that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nearness {
    /// The same but for case or Unicode form.
    Alike,
    /// Another name.
    Other,
}

/// Whether a file can only be the one that is missing, by its size and header.
pub(super) type Fits<'a> = &'a dyn Fn(&File, Nearness) -> Result<bool>;

/// Names of near misses that a message lists.
const SHOWN: usize = 3;

/// As [`local::open_named`]. Where nothing is there, a file whose name differs in case or Unicode form is opened when
/// it is the only one that fits, and else one with another name and the same extension.
///
/// # Errors
/// As [`local::open_named`]; the error for a missing file names the near misses.
pub(super) fn open(image: &Path, name: &OsStr, writable: bool, allowed: &Allowed, fits: Fits<'_>) -> Result<File> {
    let missing = match local::open_named(image, name, writable, allowed) {
        Err(error) if error.kind() == ErrorKind::NotFound => error,
        opened => return opened,
    };
    let directory = gate::directory_of(image);
    let open = |path: &PathBuf, writable| -> Result<File> {
        let file = gate::open(path, writable, Policy::Named { directory, allowed })?;
        of_file(file, &directory.join(path))
    };
    let near = near::find(directory, name);
    let fitting = |paths: &[PathBuf], nearness| -> Vec<PathBuf> {
        let is = |path: &&PathBuf| open(path, false).and_then(|file| fits(&file, nearness)).unwrap_or(false);
        paths.iter().filter(is).cloned().collect()
    };
    let mut found = fitting(&near.alike, Nearness::Alike);
    if near.alike.is_empty() {
        found = fitting(&near.others, Nearness::Other);
    }
    if let [only] = &*found {
        return open(only, writable);
    }
    let misses = if found.is_empty() { &near.alike } else { &found };
    match missing {
        Error::Io(IoError { path, action, source }) if !misses.is_empty() => {
            let names: Vec<String> = misses.iter().take(SHOWN).map(|path| path.display().to_string()).collect();
            let why =
                if found.is_empty() { "does not fit by size and header" } else { "is not the only one that fits" };
            let text = format!("{source}; near it is {}, which {why}; rename the right file", names.join(" and "));
            Err(IoError::new(&path, action, io::Error::new(io::ErrorKind::NotFound, text)).into())
        }
        missing => Err(missing),
    }
}

/// What to report about a file that was found under another name than `name`.
pub(super) fn note(name: &OsStr, file: &File) -> Option<String> {
    let name = name.to_string_lossy();
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let found = file.path().file_name().unwrap_or_default().to_string_lossy();
    (found != last).then(|| format!("It names {name:?}, which is not there; {found} is used, the only file that fits"))
}
