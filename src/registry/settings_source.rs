//! Classifies the path that a user gives for the settings: VirtualBox's directory or a file in it, somebody's home in a
//! backup, a machine's file, or a directory of homes and machines.

use super::directory::{self, Platform};
use super::ovf::{self, Descriptor};
use super::{Result, copies, settings};
use crate::error_kind::IoError;
use crate::storage::archive;
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The most directories that are searched for settings.
const MAX_DIRECTORIES: usize = 20_000;

/// The depth of the search below the given directory. VirtualBox puts a machine into `GROUP/.../NAME/NAME.vbox`.
pub(super) const DEEPEST: usize = 8;

/// A source of settings.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SettingsSource {
    /// A directory with `VirtualBox.xml` or a copy of it.
    Directory(PathBuf),
    /// `VirtualBox.xml`, or a copy of it whose name begins so.
    GlobalFile(PathBuf),
    /// An appliance.
    Appliance(Descriptor),
    /// A machine's file.
    MachineFile(PathBuf),
    /// A directory of homes and machines.
    Tree(SettingsTree),
    /// A directory without any settings in it or below.
    NoSettings,
}

/// The settings in a directory and below it, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SettingsTree {
    /// The directories with `VirtualBox.xml` or a copy of it.
    pub(super) directories: Vec<PathBuf>,
    /// The `.vbox` files.
    pub(super) machines: Vec<PathBuf>,
    /// Whether there were too many directories to look into all of them.
    pub(super) cut: bool,
}

impl SettingsSource {
    /// Classifies `path`.
    ///
    /// # Errors
    /// [`Error::Io`](super::Error::Io) when it does not exist or cannot be read; what is wrong with an appliance.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let failed = |source| IoError::new(path, "find the settings", source);
        let is_directory = match fs::metadata(archive::host_file(path)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && copies::is_any_there(path) => false,
            other => other.map_err(failed)?.is_dir(),
        };
        if !is_directory {
            let is_global = settings::is_global_name(path);
            let original = copies::original(path).unwrap_or_else(|| path.to_owned());
            // A copy may be read in place of settings that are broken.
            if !is_global && !original.extension().is_some_and(|end| end == "vbox" || end == "xml") {
                if let Some(descriptor) = ovf::descriptor_of(path)? {
                    return Ok(Self::Appliance(descriptor));
                }
                ovf::refuse_others(path)?;
            }
            return Ok(if is_global { Self::GlobalFile(path.to_owned()) } else { Self::MachineFile(path.to_owned()) });
        }
        let homes = [Platform::Unix, Platform::MacOs, Platform::Windows];
        let in_home =
            homes.into_iter().flat_map(|platform| directory::candidates(platform, |_| None, Some(path), path));
        let mut directories = std::iter::once(path.to_owned()).chain(in_home);
        if let Some(directory) = directories.find(|directory| settings::are_in(directory)) {
            return Ok(Self::Directory(directory));
        }
        let tree = settings_in(path, DEEPEST).map_err(failed)?;
        if tree.machines.is_empty() && tree.directories.is_empty() {
            return Ok(Self::NoSettings);
        }
        Ok(Self::Tree(tree))
    }
}

/// The settings in a directory and at most `deepest` levels below it. A file of which only copies are left counts.
pub(super) fn settings_in(directory: &Path, deepest: usize) -> io::Result<SettingsTree> {
    let mut tree = SettingsTree::default();
    tree.cut = walk(directory, deepest, &mut |directory, path| {
        let file = copies::original(&path).unwrap_or(path);
        if settings::is_global(&file) {
            tree.directories.push(directory.to_path_buf());
        } else if file.extension().is_some_and(|end| end == "vbox") {
            tree.machines.push(file);
        }
        true
    })?;
    for paths in [&mut tree.directories, &mut tree.machines] {
        paths.sort();
        paths.dedup();
    }
    Ok(tree)
}

/// Shows the files of a directory, and at most `deepest` levels below it, with their directories, and returns whether
/// some were left out: there are too many directories, or a file was not wanted any more. Links to directories are not
/// followed.
pub(super) fn walk(
    directory: &Path,
    deepest: usize,
    visit: &mut dyn FnMut(&Path, PathBuf) -> bool,
) -> io::Result<bool> {
    let mut is_cut = false;
    // The shallow ones first, so that a limit cuts off the deep ones of all homes and not whole homes.
    let mut waiting = VecDeque::from([(directory.to_owned(), 0)]);
    let mut left = MAX_DIRECTORIES;
    while let Some((directory, depth)) = waiting.pop_front() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(e) if depth == 0 => return Err(e),
            // A directory of another user: show what can be read.
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
                        is_cut = true;
                        continue;
                    }
                    left -= 1;
                    waiting.push_back((path, depth + 1));
                }
                Ok(kind) if !kind.is_dir() => is_cut |= !visit(&directory, path),
                _ => {}
            }
        }
    }
    Ok(is_cut)
}
