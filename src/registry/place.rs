//! What a path that a user gives for the settings is: VirtualBox's directory or a file in it, somebody's home in a backup,
//! a machine's file, or a directory of machines.

use super::directory::{self, Platform};
use super::{Error, Result, copies, settings};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Directories that are looked into at most for `.vbox` files.
const MAX_DIRECTORIES: usize = 20_000;

/// How deep below the given directory they are looked for. VirtualBox puts a machine into `GROUP/.../NAME/NAME.vbox`.
const DEEPEST: usize = 8;

/// Where settings are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A directory with `VirtualBox.xml` or a copy of it.
    Directory(PathBuf),
    /// `VirtualBox.xml`, or a copy of it whose name begins so.
    GlobalFile(PathBuf),
    /// A machine's file.
    MachineFile(PathBuf),
    /// Machines' files that no `VirtualBox.xml` names.
    Machines {
        /// The files, sorted.
        files: Vec<PathBuf>,
        /// Whether there were too many directories to look into all of them.
        cut: bool,
    },
}

impl Place {
    /// Finds out what `path` is.
    ///
    /// # Errors
    /// [`Error::Io`] when it is not there or cannot be read; [`Error::NotFound`] for a directory without any settings.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let failed = |source| Error::Io { path: path.to_path_buf(), action: "find the settings", source };
        let is_directory = match fs::metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && copies::is_any_there(path) => false,
            other => other.map_err(failed)?.is_dir(),
        };
        if !is_directory {
            let is_global = settings::is_global_name(path);
            return Ok(if is_global { Self::GlobalFile(path.to_owned()) } else { Self::MachineFile(path.to_owned()) });
        }
        let homes = [Platform::Unix, Platform::MacOs, Platform::Windows];
        let in_home =
            homes.into_iter().flat_map(|platform| directory::candidates(platform, |_| None, Some(path), path));
        let mut directories = std::iter::once(path.to_owned()).chain(in_home);
        if let Some(directory) = directories.find(|directory| settings::are_in(directory)) {
            return Ok(Self::Directory(directory));
        }
        let (files, cut) = machine_files(path, DEEPEST).map_err(failed)?;
        if files.is_empty() {
            return Err(Error::NotFound {
                what: path.display().to_string(),
                hint:
                    "it has no VirtualBox.xml, nor .vbox files in it or below; give a directory that has with --settings"
                        .to_owned(),
            });
        }
        Ok(Self::Machines { files, cut })
    }
}

/// The `.vbox` files in a directory and at most `deepest` below, sorted, and whether some may be missing. A file of which
/// only copies are left is one of them. Links to directories are not followed.
pub(super) fn machine_files(directory: &Path, deepest: usize) -> io::Result<(Vec<PathBuf>, bool)> {
    let mut files = Vec::new();
    let mut waiting = vec![(directory.to_owned(), 0)];
    let mut left = MAX_DIRECTORIES;
    while let Some((directory, depth)) = waiting.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(e) if depth == 0 => return Err(e),
            // Directories of other users: what can be read is shown.
            Err(e) => {
                log::debug!("Cannot look into {}: {e}", directory.display());
                continue;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < deepest => {
                    if left == 0 {
                        return Ok((sorted(files), true));
                    }
                    left -= 1;
                    waiting.push((path, depth + 1));
                }
                Ok(kind) if !kind.is_dir() => {
                    let file = copies::original(&path).unwrap_or(path);
                    files.extend(Some(file).filter(|file| file.extension().is_some_and(|end| end == "vbox")));
                }
                _ => {}
            }
        }
    }
    Ok((sorted(files), false))
}

fn sorted(mut files: Vec<PathBuf>) -> Vec<PathBuf> {
    files.sort();
    files.dedup();
    files
}
