//! Looks for images near an image: for its parent by UUID.

use crate::image::{ImageInfo, ParentLink};
use crate::registry::resolve::file_id;
use crate::registry::{Error, Identify, Result};
use crate::storage::local::Devices;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Headers that are read at most while one chain is followed.
pub(super) const MAX_HEADERS: usize = 4096;

/// The extensions of images; other files beside them are not opened.
const EXTENSIONS: [&str; 14] =
    ["vdi", "vmdk", "vhd", "vhdx", "avhd", "avhdx", "hdd", "hds", "qcow", "qcow2", "qed", "img", "raw", "dmg"];

/// The images of the folders that were looked into.
pub(super) struct Beside<'a> {
    identify: &'a Identify<'a>,
    folders: HashMap<PathBuf, Vec<ImageInfo>>,
    /// Headers that may still be read.
    left: usize,
    /// Whether some were left out.
    cut: bool,
}

impl<'a> Beside<'a> {
    pub(super) fn new(identify: &'a Identify<'a>) -> Self {
        Self { identify, folders: HashMap::new(), left: MAX_HEADERS, cut: false }
    }

    /// The image with the UUID of `parent` near `child`, nearest first.
    pub(super) fn find(
        &mut self,
        child: &Path,
        parent: &ParentLink,
        notes: &mut Vec<String>,
    ) -> Result<Option<ImageInfo>> {
        for places in places(child) {
            let mut same = Vec::new();
            for place in places {
                let images = self.images(&place).iter();
                same.extend(images.filter(|image| image.uuid == parent.uuid && image.path != child).cloned());
            }
            let mut seen = HashSet::new();
            same.retain(|image| file_id(&image.path).is_none_or(|id| seen.insert(id)));
            if !same.is_empty() {
                return choose(child, parent, same, notes).map(Some);
            }
            if self.cut {
                let reason = format!(
                    "its parent is not among the first {MAX_HEADERS} images around it; move both into another folder"
                );
                return Err(Error::Chain { what: child.display().to_string(), reason });
            }
        }
        Ok(None)
    }

    fn images(&mut self, folder: &Path) -> &[ImageInfo] {
        if !self.folders.contains_key(folder) {
            let mut found = Vec::new();
            for path in files(folder) {
                if self.left == 0 {
                    self.cut = true;
                    break;
                }
                self.left -= 1;
                // What cannot be read is not what is looked for; the error at the end says where was looked.
                found.extend((self.identify)(&path, Devices::Refused));
            }
            self.folders.insert(folder.to_path_buf(), found);
        }
        self.folders.get(folder).map_or(&[], Vec::as_slice)
    }
}

/// The files of a folder that may be images, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| is_image(path)).collect();
    files.sort();
    files
}

/// Whether a path leads to a file that has the extension of an image.
pub(super) fn is_image(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    EXTENSIONS.iter().any(|known| extension == *known) && path.is_file()
}

/// Where the parent of an image may lie, nearest first: VirtualBox keeps a machine's base images in its folder and the
/// differencing ones in `Snapshots` below it; a base may also be in another machine's folder.
fn places(child: &Path) -> Vec<Vec<PathBuf>> {
    let Some(folder) = child.parent() else { return Vec::new() };
    let mut places = vec![vec![folder.to_path_buf()]];
    let machine = folder.parent();
    places.extend(machine.map(|machine| vec![machine.to_path_buf()]));
    places.push(vec![folder.join("Snapshots")]);
    places.extend(machine.map(|machine| vec![machine.join("Snapshots")]));
    if folder.file_name().is_some_and(|name| name == "Snapshots")
        && let Some(machines) = machine.and_then(Path::parent)
    {
        let entries = fs::read_dir(machines).into_iter().flatten().flatten();
        let mut others: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        others.sort();
        places.push(others);
    }
    places
}

/// Chooses among images with the UUID of the parent. Copies have it too, but only what was not written to since the
/// child was made has its modification UUID.
fn choose(child: &Path, parent: &ParentLink, same: Vec<ImageInfo>, notes: &mut Vec<String>) -> Result<ImageInfo> {
    let count = same.len();
    let unchanged = |image: &&ImageInfo| parent.modification.is_some() && image.modification == parent.modification;
    if let [only] = &*same {
        return Ok(only.clone());
    }
    match same.iter().find(unchanged) {
        Some(image) => {
            notes.push(format!(
                "{count} images beside {} have the UUID of its parent; {} is used, which was not changed since",
                child.display(),
                image.path.display()
            ));
            Ok(image.clone())
        }
        None => {
            let names: Vec<String> = same.iter().map(|image| image.path.display().to_string()).collect();
            let reason = format!(
                "{} have the UUID of its parent, and each was changed since; move all but the right one away",
                names.join(" and ")
            );
            Err(Error::Chain { what: child.display().to_string(), reason })
        }
    }
}
