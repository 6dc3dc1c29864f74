//! A directory of images without any settings: the chains that they form by their headers.

use super::nearness::Scope;
use super::parents::{NearestParents, has_image_name};
use super::settings_source::{DEEPEST, walk};
use super::uses::Uses;
use super::{DeviceKind, Error, MAX_LINKS, Media, Medium, MediumKind, Registry, Result};
use crate::error_kind::IoError;
use crate::image::{self, Format, ImageInfo, ParentLink};
use crate::storage::local::Devices;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// The most images that are listed.
const MAX_IMAGES: usize = 1 << 16;
/// The most files that are opened without having the name of an image.
const MAX_OTHERS: usize = 4096;
/// The descriptor of a Parallels disk, whose directory holds nothing but its parts.
const BUNDLE: &str = "DiskDescriptor.xml";
/// The namespace of UUIDs for images without one; made at random, for this program.
const DERIVED: Uuid = Uuid::from_u128(0x1c25_8a5e_7d0d_4b53_8f8a_0c4d_9be1_7f36);

/// Loads the images in a directory and below it. Other files are passed over; images that are corrupt are media all the
/// same, and so are parents elsewhere that the images name.
///
/// # Errors
/// [`Error::Io`]; [`Error::NotFound`] where there are none.
pub(super) fn load(root: &Path) -> Result<Registry> {
    let (files, is_cut) = files(root)?;
    let mut images: Vec<Found> = files.into_iter().filter_map(identify).collect();
    if images.is_empty() {
        return Err(Error::NotFound {
            what: root.display().to_string(),
            hint: "it has no VirtualBox.xml, nor .vbox files, nor disk images in it or below; give a directory that has with --settings"
                .to_owned(),
        });
    }
    follow(&mut images);
    let media = forest(root, &images);
    let (uses, mut problems) = Uses::collect(&[], &media);
    if is_cut {
        problems.push(Error::TooMany { path: root.to_path_buf() });
    }
    let (directory, machines, outdated) = (root.to_path_buf(), Vec::new(), Vec::new());
    Ok(Registry {
        directory,
        machines,
        media,
        problems,
        outdated,
        uses,
        scope: Scope::new(root, true),
        is_found: true,
        parsed: None,
    })
}

/// An image that was found.
struct Found {
    path: PathBuf,
    /// Its header; none for one that is corrupt.
    info: Option<ImageInfo>,
    /// Its parent, as an index.
    parent: Option<usize>,
    /// Why it cannot be opened, although its header can be read.
    problem: Option<String>,
}

/// The files that may be images, sorted, and whether there are more of them.
fn files(root: &Path) -> Result<(Vec<PathBuf>, bool)> {
    let (mut files, mut others) = (Vec::new(), Vec::new());
    let mut is_cut = walk(root, DEEPEST, &mut |_, path| {
        let (list, most) = if is_named(&path) { (&mut files, MAX_IMAGES) } else { (&mut others, MAX_OTHERS) };
        if list.len() < most {
            list.push(path);
            return true;
        }
        false
    })
    .map_err(|source| IoError::new(root, "look for images in", source))?;
    is_cut |= files.len() == MAX_IMAGES;
    let is_part_of_bundle = |path: &PathBuf| !path.ends_with(BUNDLE) && path.with_file_name(BUNDLE).is_file();
    files.append(&mut others);
    files.retain(|path| !is_part_of_bundle(path));
    files.sort();
    Ok((files, is_cut))
}

/// Whether a path has the extension of an image, also of one of a CD.
fn is_named(path: &Path) -> bool {
    let of_cd = |extension: &OsStr| ["iso", "cue"].iter().any(|known| extension.eq_ignore_ascii_case(known));
    has_image_name(path) || path.extension().is_some_and(of_cd)
}

/// The image that a file is. None for a file that is none, and for a part of an image that others describe.
fn identify(path: PathBuf) -> Option<Found> {
    let is_named = is_named(&path);
    let info = match image::identify(&path, Devices::Refused) {
        // Any file could be one.
        Ok(info) if info.format == Format::Raw && !is_named => return None,
        Ok(info) => Some(info),
        Err(image::Error::Foreign { .. } | image::Error::Refused { .. }) => return None,
        Err(_) if !is_named => return None,
        Err(_) => None,
    };
    Some(Found { path, info, parent: None, problem: None })
}

/// Finds the parents of all images; those that lie elsewhere are added.
fn follow(images: &mut Vec<Found>) {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let mut known: HashMap<PathBuf, usize> =
        images.iter().enumerate().map(|(at, image)| (real(&image.path), at)).collect();
    let mut search = NearestParents::new(MAX_IMAGES);
    let mut at = 0;
    while at < images.len() {
        if let Some(stated) = images[at].info.as_ref().and_then(|info| info.parent.clone()) {
            match search.find(&images[at].path, &stated) {
                Ok(path) => {
                    let next = images.len();
                    let parent = *known.entry(real(&path)).or_insert(next);
                    if parent == next {
                        let info = image::identify(&path, Devices::Refused).ok();
                        images.push(Found { path, info, parent: None, problem: None });
                    }
                    images[at].parent = Some(parent);
                }
                Err(error) => images[at].problem = Some(missing(&stated, error)),
            }
        }
        at += 1;
    }
    for at in 0..images.len() {
        if is_own_ancestor(images, at) {
            images[at].parent = None;
            images[at].problem = Some("it is its own ancestor; restore the images from a backup".to_owned());
        }
    }
}

fn missing(stated: &ParentLink, error: Error) -> String {
    let name = match (stated.uuid, stated.hints.first()) {
        (Some(uuid), _) => format!("its parent {uuid}"),
        (None, Some(hint)) => format!("its parent {hint:?}"),
        (None, None) => "its parent".to_owned(),
    };
    match error {
        Error::NotFound { hint, .. } => format!("{name} is missing: {hint}"),
        Error::Chain { reason, .. } => format!("{name} is not known for sure: {reason}"),
        other => format!("{name} cannot be opened: {}", crate::error_kind::message(&other)),
    }
}

fn is_own_ancestor(images: &[Found], image: usize) -> bool {
    let parents = std::iter::successors(images[image].parent, |at| images[*at].parent);
    parents.take(MAX_LINKS).any(|at| at == image)
}

/// The images as media, a parent before its children.
fn forest(root: &Path, images: &[Found]) -> Media {
    let mut media = Media::default();
    let registered_in: Arc<Path> = Arc::from(root);
    let mut ids = vec![None; images.len()];
    for at in 0..images.len() {
        let line: Vec<usize> =
            std::iter::successors(Some(at), |at| images[*at].parent.filter(|at| ids[*at].is_none())).collect();
        for at in line.into_iter().rev() {
            let Found { path, info, parent, problem } = &images[at];
            if ids[at].is_some() {
                continue;
            }
            let format = info.as_ref().map(|info| info.format);
            let optical = matches!(format, Some(Format::Iso | Format::Cue));
            ids[at] = Some(media.add(Medium {
                uuid: info.as_ref().and_then(|info| info.uuid).unwrap_or_else(|| {
                    Uuid::new_v3(&DERIVED, path.strip_prefix(root).unwrap_or(path).as_os_str().as_encoded_bytes())
                }),
                location: path.clone(),
                format: format.map_or_else(|| by_name(path), |format| format.name().to_owned()),
                device: if optical { DeviceKind::Dvd } else { DeviceKind::HardDisk },
                kind: MediumKind::Normal,
                auto_reset: false,
                description: String::new(),
                properties: BTreeMap::new(),
                parent: parent.and_then(|parent| ids[parent]),
                children: Vec::new(),
                registered_in: registered_in.clone(),
                named_in: None,
                problem: problem.clone(),
            }));
        }
    }
    media
}

/// The format of an image whose header cannot be read.
fn by_name(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_ascii_uppercase()
}
