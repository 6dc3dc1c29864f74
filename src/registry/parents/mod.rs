//! Follows the parents of an image that is not registered, by what the headers say.

mod beside;
mod children;
mod hint;

#[cfg(test)]
pub(super) use children::add_children;
pub use children::find_children;

use super::chain::{BY_REGISTRY, too_long};
use super::resolve::file_id;
use super::{Chain, Error, Identify, Link, MAX_LINKS, MediumId, MediumKind, Registry, Result};
use crate::image::{ImageInfo, ParentLink};
use crate::storage::FileIdentity;
use crate::storage::local::Devices;
use beside::Beside;
use hint::Hint;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// Follows an image's parents to the base.
///
/// # Errors
/// [`Error::NotFound`] when a parent is not found, with all that was tried; [`Error::Chain`] for a cycle, too many
/// links, or files that could equally be the parent; [`Error::Image`] when the leaf's header cannot be read.
pub(super) fn follow(registry: Option<&Registry>, leaf: &Path, identify: &Identify<'_>) -> Result<Chain> {
    let info = identify(leaf, Devices::Allowed)?;
    let mut search = Search { registry, identify, beside: Beside::new(identify), notes: Vec::new() };
    let (uuid, mut next) = (info.uuid, info.parent);
    let mut links = Links::new(leaf)?;
    let mut base_properties = BTreeMap::new();
    while let Some(parent) = next.take() {
        let child = links.last().to_path_buf();
        let found = search.parent(&child, &parent)?;
        log::info!("  Parent of {}: found by {}", child.display(), found.by());
        links.set_found_by(found.by());
        match found {
            Found::Registered(registry, id) => {
                for link in registry.links_from(id)? {
                    links.push(link)?;
                }
                base_properties.clone_from(&registry.media.get(registry.media.base(id)).properties);
            }
            Found::File { path, parent: further, .. } => {
                links.push(unregistered(path, parent.format))?;
                next = further;
            }
        }
    }
    let (links, notes) = (links.list, search.notes);
    Ok(Chain {
        links,
        uuid,
        kind: MediumKind::Normal,
        children: Vec::new(),
        saved_in: Vec::new(),
        base_properties,
        notes,
    })
}

fn unregistered(path: PathBuf, stated_format: Option<String>) -> Link {
    Link { path, registered_uuid: None, registered_format: None, stated_format, found_by: String::new() }
}

/// The links found so far. It refuses chains that have no end.
struct Links {
    list: Vec<Link>,
    seen: HashSet<FileIdentity>,
}

impl Links {
    fn new(leaf: &Path) -> Result<Self> {
        let mut links = Self { list: Vec::new(), seen: HashSet::new() };
        links.push(unregistered(leaf.to_path_buf(), None))?;
        Ok(links)
    }

    fn push(&mut self, link: Link) -> Result<()> {
        let leaf = self.list.first().map_or(&link.path, |leaf| &leaf.path);
        if self.list.len() == MAX_LINKS {
            return Err(too_long(leaf));
        }
        if file_id(&link.path).is_some_and(|id| !self.seen.insert(id)) {
            let reason = format!("{} is its own ancestor; restore the images from a backup", link.path.display());
            return Err(Error::Chain { what: leaf.display().to_string(), reason });
        }
        self.list.push(link);
        Ok(())
    }

    fn last(&self) -> &Path {
        self.list.last().map_or(Path::new(""), |link| &link.path)
    }

    fn set_found_by(&mut self, by: String) {
        if let Some(link) = self.list.last_mut() {
            link.found_by = by;
        }
    }
}

/// A parent, and how it was found.
enum Found<'a> {
    Registered(&'a Registry, MediumId),
    File {
        path: PathBuf,
        /// What its own header says of a parent.
        parent: Option<ParentLink>,
        by: String,
    },
}

impl Found<'_> {
    fn by(&self) -> String {
        match self {
            Self::Registered(..) => BY_REGISTRY.to_owned(),
            Self::File { by, .. } => by.clone(),
        }
    }
}

fn not_found(child: &Path, parent: &ParentLink, tried: &[String]) -> Error {
    let name = match (parent.uuid, parent.hints.first()) {
        (Some(uuid), _) => uuid.to_string(),
        (None, Some(hint)) => format!("{hint:?}"),
        (None, None) => "without a name".to_owned(),
    };
    let tried = if tried.is_empty() { "its header does not say where it is".to_owned() } else { tried.join("; ") };
    Error::NotFound {
        what: format!("The parent {name} of {}", child.display()),
        hint: format!("{tried}; put the parent's image into the same folder"),
    }
}

/// How a file's header compares to what a child says of its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identity {
    Same,
    Different,
    /// The child states no identity.
    Unknown,
}

fn compare(parent: &ParentLink, info: &ImageInfo) -> Identity {
    // A content id changes with the content, so another one does not make it another image.
    let same_content = parent.content_id.is_some() && parent.content_id == info.content_id;
    match (parent.uuid, info.uuid) {
        (Some(expected), Some(found)) if expected == found => Identity::Same,
        (Some(_), Some(_)) => Identity::Different,
        _ if same_content => Identity::Same,
        (Some(_), None) => Identity::Different,
        (None, _) => Identity::Unknown,
    }
}

struct Search<'a> {
    registry: Option<&'a Registry>,
    identify: &'a Identify<'a>,
    beside: Beside<'a>,
    notes: Vec<String>,
}

impl<'a> Search<'a> {
    fn parent(&mut self, child: &Path, parent: &ParentLink) -> Result<Found<'a>> {
        let mut tried = Vec::new();
        let found = self.look(child, parent, &mut tried)?;
        for reason in &tried {
            log::info!("  Parent of {}: {reason}", child.display());
        }
        found.ok_or_else(|| not_found(child, parent, &tried))
    }

    /// Looks in the registry, then where the header says, then beside the file. What led to nothing is in `tried`.
    fn look(&mut self, child: &Path, parent: &ParentLink, tried: &mut Vec<String>) -> Result<Option<Found<'a>>> {
        if let Some(found) = self.in_registry(parent, tried) {
            return Ok(Some(found));
        }
        let folder = child.parent().unwrap_or(child);
        if let Some(found) = parent.hints.iter().find_map(|text| self.by_hint(folder, text, parent, tried)) {
            return Ok(Some(found));
        }
        if parent.uuid.is_none() {
            return Ok(None);
        }
        let beside = self.beside.find(child, parent, &mut self.notes)?;
        if beside.is_none() {
            tried.push(format!("no image in {} or the folders around it has its UUID", folder.display()));
        }
        let by = "its UUID, beside the file".to_owned();
        Ok(beside.map(|info| Found::File { path: info.path, parent: info.parent, by }))
    }

    fn in_registry(&self, parent: &ParentLink, tried: &mut Vec<String>) -> Option<Found<'a>> {
        let (registry, uuid) = self.registry.zip(parent.uuid)?;
        let Some(id) = registry.media.find(uuid) else {
            tried.push("the registry does not have it".to_owned());
            return None;
        };
        let medium = registry.media.get(id);
        if medium.is_file() && !medium.location.exists() {
            tried.push(format!("it is registered at {}, where it is not", medium.location.display()));
            return None;
        }
        Some(Found::Registered(registry, id))
    }

    /// Tries the places that one hint of a header may mean.
    fn by_hint(&self, folder: &Path, text: &str, parent: &ParentLink, tried: &mut Vec<String>) -> Option<Found<'a>> {
        let hint = match Hint::parse(folder, text) {
            Ok(hint) => hint,
            Err(reason) => {
                tried.push(format!("the header's hint {text:?} is never followed, for it is {reason}"));
                return None;
            }
        };
        let by = format!("the header's hint {text:?}");
        if let Some(path) = &hint.direct {
            // Without an identity it is only a name, but what the registry names may lie anywhere.
            if let (None, Some(registry)) = (parent.uuid, self.registry)
                && let Some(id) = path.canonicalize().ok().and_then(|real| registry.medium_at(path, &real))
            {
                return Some(Found::Registered(registry, id));
            }
            if parent.format.as_deref().is_some_and(|format| format.eq_ignore_ascii_case("raw")) && path.is_file() {
                return Some(Found::File { path: path.clone(), parent: None, by });
            }
            match self.inspect(path, parent) {
                Ok((info, Identity::Same | Identity::Unknown)) => {
                    return Some(Found::File { path: path.clone(), parent: info.parent, by });
                }
                Ok((info, Identity::Different)) => {
                    let found = info.uuid.map_or("no UUID".to_owned(), |uuid| format!("the UUID {uuid}"));
                    tried.push(format!("{}, which the header names, has {found}", path.display()));
                }
                Err(reason) => tried.push(reason),
            }
        }
        // Other places are guesses, which only an identity confirms.
        hint.elsewhere.into_iter().find_map(|path| match self.inspect(&path, parent) {
            Ok((info, Identity::Same)) => Some(Found::File { path, parent: info.parent, by: by.clone() }),
            _ => None,
        })
    }

    fn inspect(&self, path: &Path, parent: &ParentLink) -> Result<(ImageInfo, Identity), String> {
        if !path.exists() {
            return Err(format!("{}, which the header names, is not there", path.display()));
        }
        let info = (self.identify)(path, Devices::Refused).map_err(|error| crate::error_kind::message(&error))?;
        let identity = compare(parent, &info);
        Ok((info, identity))
    }
}
