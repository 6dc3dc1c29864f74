//! Finds images near an image that name it as their parent. Writing to it would corrupt them.

use super::hint::Hint;
use super::next_to::{MAX_HEADERS, is_image};
use crate::image::{self, ImageInfo};
use crate::registry::{Chain, Identify};
use crate::storage::local::Devices;
use crate::storage::{Allowed, FileIdentity, file_identity, gate};
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Directories below the image's own that are searched, as levels and as a number.
const DEPTH: usize = 3;
const MAX_DIRECTORIES: usize = 256;

/// Adds the images to [`Chain::children`] that lie near the leaf and name it as their parent, whatever a registry has:
/// in its directory and three levels below (`Snapshots` is one), and in the directory above. `allowed` are files that
/// images may name although they lie elsewhere.
pub(crate) fn find_children(chain: &mut Chain, allowed: &Allowed) {
    add_children(chain, &|path, devices| image::identify_allowing(path, devices, allowed));
}

pub(in crate::registry) fn add_children(chain: &mut Chain, identify: &Identify<'_>) {
    let Some(leaf) = chain.links.first().and_then(|link| link.path.canonicalize().ok()) else { return };
    // A problem with the leaf is reported when it is opened.
    let Ok(info) = identify(&leaf, Devices::Allowed) else { return };
    let leaf_id = file_identity(&leaf);
    let mut seen: HashSet<FileIdentity> = chain.children.iter().filter_map(|child| file_identity(child)).collect();
    seen.extend(leaf_id);
    let mut left = MAX_HEADERS;
    for path in near(&leaf) {
        if left == 0 {
            log::warn!(
                "More than {MAX_HEADERS} files lie around {}; not all of them were asked whether they depend on it",
                leaf.display()
            );
            break;
        }
        if file_identity(&path).is_none_or(|id| !seen.insert(id)) {
            continue;
        }
        left -= 1;
        let Ok(image) = identify(&path, Devices::Refused) else { continue };
        if depends(&image, &path, &info, leaf_id) {
            chain.children.push(path);
        }
    }
}

/// Whether `image` at `path` names the leaf as its parent: by identity, or by a name that leads to it.
fn depends(image: &ImageInfo, path: &Path, leaf: &ImageInfo, leaf_id: Option<FileIdentity>) -> bool {
    let Some(parent) = &image.parent else { return false };
    if parent.uuid.is_some() && leaf.uuid.is_some() {
        return parent.identifies(leaf);
    }
    let directory = gate::directory_of(path);
    let mut elsewhere = Vec::new();
    let mut leads_somewhere = false;
    for text in &parent.hints {
        let hint = Hint::parse(directory, text);
        let direct = hint.as_ref().ok().and_then(|hint| hint.direct.clone());
        // With links on the way, `..` means one thing to VirtualBox and another to the kernel.
        let named: Vec<FileIdentity> =
            direct.into_iter().chain([directory.join(text)]).filter_map(|path| file_identity(&path)).collect();
        if named.iter().any(|id| Some(*id) == leaf_id) {
            return true;
        }
        leads_somewhere |= !named.is_empty();
        elsewhere.extend(hint.into_iter().flat_map(|hint| hint.elsewhere).flatten());
    }
    // The images were moved, or the leaf was renamed.
    !leads_somewhere
        && (parent.identifies(leaf) || elsewhere.iter().any(|path| leaf_id.is_some() && file_identity(path) == leaf_id))
}

/// The files around an image that may be its children, nearest first. Those next to it and in `Snapshots` may have any
/// name: other programs call a snapshot's image after the snapshot.
fn near(leaf: &Path) -> Vec<PathBuf> {
    let home = gate::directory_of(leaf);
    let mut files = Vec::new();
    let mut directories = vec![home.to_path_buf()];
    let mut level = directories.clone();
    let device = fs::metadata(home).map(|attributes| attributes.dev()).ok();
    // Other file systems are left alone: a mount may be one of ours, or hang.
    let here = |path: &Path| fs::metadata(path).ok().map(|attributes| attributes.dev()) == device;
    for depth in 0..=DEPTH {
        let mut below = Vec::new();
        for directory in &level {
            let any_name = depth == 0 || directory.file_name().is_some_and(|name| name == "Snapshots");
            let (inner, found) = entries(directory);
            files.extend(found.into_iter().filter(|path| any_name || is_image(path)));
            below.extend(inner.into_iter().filter(|path| path.ends_with("Snapshots") || here(path)));
        }
        below.truncate(MAX_DIRECTORIES.saturating_sub(directories.len()));
        directories.extend(below.iter().cloned());
        level = below;
    }
    if let Some(above) = home.parent() {
        files.extend(entries(above).1.into_iter().filter(|path| is_image(path)));
    }
    files
}

/// The directories and the files of a directory, each by name. Of links to directories, only
/// `Snapshots` is followed.
fn entries(directory: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut directories, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => directories.push(entry.path()),
            Ok(kind) if kind.is_symlink() && entry.file_name() == "Snapshots" && entry.path().is_dir() => {
                directories.push(entry.path());
            }
            Ok(kind) if kind.is_file() || kind.is_symlink() && entry.path().is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    directories.sort();
    files.sort();
    (directories, files)
}
