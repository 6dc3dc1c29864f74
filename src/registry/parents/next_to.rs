//! Searches the directories near an image for its parent, by UUID.

use super::compare;
use crate::image::{ImageInfo, ParentLink};
use crate::registry::nearness::{Identity, Rank};
use crate::registry::{Error, Identify, Link, Result};
use crate::storage::local::Devices;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The most headers that are read while one chain is followed.
pub(super) const MAX_HEADERS: usize = 4096;

/// The extensions of images; other files are not opened.
const EXTENSIONS: [&str; 14] =
    ["vdi", "vmdk", "vhd", "vhdx", "avhd", "avhdx", "hdd", "hds", "qcow", "qcow2", "qed", "img", "raw", "dmg"];

/// The images of the directories that were searched.
pub(in crate::registry) struct NextTo<'a> {
    identify: &'a Identify<'a>,
    directories: HashMap<PathBuf, Vec<ImageInfo>>,
    /// Headers that may still be read.
    left: usize,
    /// Whether some were left out.
    cut: bool,
}

impl<'a> NextTo<'a> {
    pub(super) fn new(identify: &'a Identify<'a>) -> Self {
        Self::with_limit(identify, MAX_HEADERS)
    }

    /// For so many headers at most.
    pub(in crate::registry) fn with_limit(identify: &'a Identify<'a>, limit: usize) -> Self {
        Self { identify, directories: HashMap::new(), left: limit, cut: false }
    }

    /// The images in a directory that have the identity of `parent`.
    ///
    /// # Errors
    /// [`Error::Chain`] when there are too many images to look at all of them.
    pub(super) fn find(&mut self, directory: &Path, child: &Path, parent: &ParentLink) -> Result<Vec<ImageInfo>> {
        let is_parent = |image: &&ImageInfo| match parent.uuid {
            Some(_) => image.uuid == parent.uuid,
            // A content id alone is too small a number to find an image by.
            None => parent.modification.is_some() && compare(parent, image) == Identity::Exact,
        };
        let images = self.images(directory).iter().filter(|image| image.path != child);
        let found: Vec<ImageInfo> = images.filter(is_parent).cloned().collect();
        if found.is_empty() && self.cut {
            let reason = format!(
                "its parent is not among the first {MAX_HEADERS} images around it; move both into another directory"
            );
            return Err(Error::Chain { what: child.display().to_string(), reason });
        }
        Ok(found)
    }

    /// The images in a directory, by the names of their files.
    pub(in crate::registry) fn images(&mut self, directory: &Path) -> &[ImageInfo] {
        if !self.directories.contains_key(directory) {
            let mut found = Vec::new();
            for path in files(directory) {
                if self.left == 0 {
                    self.cut = true;
                    break;
                }
                self.left -= 1;
                // An unreadable file is not a match; the final error lists what was searched.
                found.extend((self.identify)(&path, Devices::Refused));
            }
            self.directories.insert(directory.to_path_buf(), found);
        }
        self.directories.get(directory).map_or(&[], Vec::as_slice)
    }
}

/// Replaces the path of each link whose file has another UUID than the registered one by that of the only image near it
/// that has the registered one. Without such an image the link stays, and opening it reports the other UUID.
pub(in crate::registry) fn correct(links: &mut [Link], identify: &Identify<'_>, notes: &mut Vec<String>) {
    let mut near = NextTo::new(identify);
    for link in links {
        let Some(uuid) = link.registered_uuid else { continue };
        let found = identify(&link.path, Devices::Refused).ok().and_then(|info| info.uuid);
        let Some(found) = found.filter(|found| *found != uuid) else { continue };
        let mut paths = Vec::new();
        for (_, step) in directories_near(&link.path).iter().filter(|(rank, _)| *rank <= Rank::Machine) {
            let same = step.iter().flat_map(|directory| {
                let images = near.images(directory).iter().filter(|image| image.uuid == Some(uuid));
                images.map(|image| image.path.clone()).collect::<Vec<_>>()
            });
            paths.extend(same);
            if !paths.is_empty() {
                break;
            }
        }
        if let [path] = &*paths {
            notes.push(format!(
                "{} has the UUID {found}, not {uuid} as registered; {} has it and is used instead",
                link.path.display(),
                path.display()
            ));
            link.path.clone_from(path);
        }
    }
}

/// The files of a directory that may be images, by name.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| is_image(path)).collect();
    files.sort();
    files
}

/// Whether a path leads to a file that has the extension of an image.
pub(super) fn is_image(path: &Path) -> bool {
    has_image_name(path) && path.is_file()
}

/// Whether a path has the extension of an image.
pub(in crate::registry) fn has_image_name(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    EXTENSIONS.iter().any(|known| extension == *known)
}

/// The directories that may hold the parent of an image, nearest first: VirtualBox keeps a machine's base images in its
/// directory and the differencing ones in `Snapshots` below it; a base may also be in another machine's directory. The
/// directories of one step are equally near.
pub(super) fn directories_near(child: &Path) -> Vec<(Rank, Vec<PathBuf>)> {
    let Some(directory) = child.parent() else { return Vec::new() };
    let mut directories = vec![(Rank::NextTo, vec![directory.to_path_buf()])];
    let machine = directory.parent();
    directories.extend(machine.map(|machine| (Rank::Machine, vec![machine.to_path_buf()])));
    directories.push((Rank::Machine, vec![directory.join("Snapshots")]));
    directories.extend(machine.map(|machine| (Rank::Machine, vec![machine.join("Snapshots")])));
    if directory.file_name().is_some_and(|name| name == "Snapshots")
        && let Some(machines) = machine.and_then(Path::parent)
    {
        let entries = fs::read_dir(machines).into_iter().flatten().flatten();
        let mut others: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        others.sort();
        directories.push((Rank::Given, others));
    }
    directories
}
