//! Follows the parents of an image that is not registered, by the headers.

mod children;
mod hint;
mod next_to;

#[cfg(test)]
pub(super) use children::add_children;
pub(crate) use children::find_children;

use super::chain::{BY_REGISTRY, too_long};
use super::nearness::{Candidate, Choice, Identity, Rank, Scope};
use super::resolve::file_id;
use super::{Chain, Error, Identify, Link, MAX_LINKS, MediumId, Registry, Result};
use crate::image::{self, ImageInfo, ParentLink};
use crate::storage::local::Devices;
use crate::storage::{FileIdentity, archive};
use hint::Hint;
use next_to::directories_near;
pub(super) use next_to::{NextTo, correct, has_image_name};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Follows an image's parents to the base.
///
/// # Errors
/// [`Error::NotFound`] when a parent is not found, with all that was tried; [`Error::Chain`] for a cycle, too many
/// links, or files that could equally be the parent; [`Error::Image`] when the leaf's header cannot be read.
pub(super) fn follow(registry: Option<&Registry>, leaf: &Path, identify: &Identify<'_>) -> Result<Chain> {
    match follow_far(registry, leaf, identify)? {
        (chain, None) => Ok(chain),
        (_, Some(error)) => Err(error),
    }
}

/// As [`follow`], and where a parent is not found, the images up to there with the reason.
///
/// # Errors
/// [`Error::Image`] when the leaf's header cannot be read.
pub(super) fn follow_far(
    registry: Option<&Registry>,
    leaf: &Path,
    identify: &Identify<'_>,
) -> Result<(Chain, Option<Error>)> {
    let info = identify(leaf, Devices::Allowed)?;
    let mut search = Search { registry, identify, next_to: NextTo::new(identify), notes: Vec::new() };
    let (uuid, mut next, mut last_uuid) = (info.uuid, info.parent, info.uuid);
    let mut links = Links::new(leaf)?;
    let mut base_properties = BTreeMap::new();
    let mut follow = |parent: ParentLink| -> Result<Option<ParentLink>> {
        let child = links.last().to_path_buf();
        let Found { source, by, far, rivals } = search.parent(&child, &parent)?;
        log::info!("  Parent of {}: found by {by}", child.display());
        links.set_found_by(by);
        match source {
            Source::Registered(registry, id) => {
                let mut registered = registry.links_from(id)?;
                correct(&mut registered, identify, &mut search.notes);
                for (at, link) in registered.into_iter().enumerate() {
                    let is_parent = at == 0;
                    links.push(if is_parent { Link { far, rivals: rivals.clone(), ..link } } else { link })?;
                }
                last_uuid = Some(registry.media.get(registry.media.base(id)).uuid);
                Ok(None)
            }
            Source::File(info) => {
                let Header { path, uuid, parent: further } = *info;
                links.push(Link { far, rivals, ..unregistered(path, parent.format) })?;
                last_uuid = uuid;
                Ok(further)
            }
        }
    };
    let mut broken = None;
    while let Some(parent) = next.take() {
        match follow(parent) {
            Ok(further) => next = further,
            Err(error) => broken = Some(error),
        }
    }
    // Encryption is known to the settings only, and to those of a copy as well.
    let base = registry.zip(last_uuid).and_then(|(registry, uuid)| Some((registry, registry.media.find(uuid)?)));
    if let Some((registry, id)) = base {
        base_properties.clone_from(&registry.media.get(id).properties);
    }
    let (links, notes) = (links.list, search.notes);
    let chain = Chain { uuid, links, base_properties, notes, ..Chain::of_file(leaf.to_path_buf()) };
    Ok((chain, broken))
}

fn unregistered(path: PathBuf, stated_format: Option<String>) -> Link {
    Link { path, stated_format, ..Link::default() }
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
struct Found<'a> {
    source: Source<'a>,
    by: String,
    far: bool,
    rivals: Vec<PathBuf>,
}

enum Source<'a> {
    Registered(&'a Registry, MediumId),
    File(Box<Header>),
}

/// The content of a parent's own header.
struct Header {
    path: PathBuf,
    uuid: Option<Uuid>,
    parent: Option<ParentLink>,
}

fn not_found(child: &Path, parent: &ParentLink, tried: &[String]) -> Error {
    let name = match (parent.uuid, parent.hints.first()) {
        (Some(uuid), _) => uuid.to_string(),
        (None, Some(hint)) => format!("{hint:?}"),
        (None, None) => "without a name".to_owned(),
    };
    let tried = if tried.is_empty() { "its header has no path".to_owned() } else { tried.join("; ") };
    Error::NotFound {
        what: format!("The parent {name} of {}", child.display()),
        hint: format!("{tried}; put the parent's image into the same directory"),
    }
}

/// Compares a file's header with what a child records about its parent.
fn compare(parent: &ParentLink, info: &ImageInfo) -> Identity {
    let same_content = parent.content_id.is_some() && parent.content_id == info.content_id;
    match (parent.uuid, info.uuid) {
        (Some(expected), Some(found)) if expected != found => return Identity::Different,
        (Some(_), None) if !same_content => return Identity::Different,
        _ => {}
    }
    let modification = parent.modification.zip(info.modification);
    // A content id changes with the content, so another one does not make it another image.
    let content = parent.content_id.zip(info.content_id);
    let same_modification =
        modification.map(|(expected, found)| expected == found || parent.modification2 == Some(found));
    match same_modification.or(content.map(|(expected, found)| expected == found)) {
        Some(true) => Identity::Exact,
        Some(false) => Identity::Changed,
        None if parent.uuid.is_some() => Identity::Uuid,
        None => Identity::Unknown,
    }
}

/// A path that a hint of the header may mean.
struct Hinted {
    rank: Rank,
    path: PathBuf,
    text: String,
    /// Whether the hint names this very path.
    direct: bool,
}

/// Finds the parents of many images that no registry knows.
pub(super) struct NearestParents(Search<'static>);

impl NearestParents {
    /// Reads so many headers at most.
    pub(super) fn new(headers: usize) -> Self {
        let next_to = NextTo::with_limit(&image::identify, headers);
        Self(Search { registry: None, identify: &image::identify, next_to, notes: Vec::new() })
    }

    /// The path of the parent of an image.
    ///
    /// # Errors
    /// As for each parent of [`follow`].
    pub(super) fn find(&mut self, child: &Path, parent: &ParentLink) -> Result<PathBuf> {
        match self.0.parent(child, parent)?.source {
            Source::File(header) => Ok(header.path),
            Source::Registered(registry, id) => Ok(registry.media.get(id).location.clone()),
        }
    }
}

struct Search<'a> {
    registry: Option<&'a Registry>,
    identify: &'a Identify<'a>,
    next_to: NextTo<'a>,
    notes: Vec<String>,
}

/// What was read of a candidate, and how it was found.
type Read<'a> = (Source<'a>, String);

impl<'a> Search<'a> {
    fn parent(&mut self, child: &Path, parent: &ParentLink) -> Result<Found<'a>> {
        let mut tried = Vec::new();
        let mut choice = Choice::new();
        self.look(child, parent, &mut choice, &mut tried)?;
        for reason in &tried {
            log::info!("  Parent of {}: {reason}", child.display());
        }
        let broken = |equal: Vec<PathBuf>| {
            let names: Vec<String> = equal.iter().map(|path| path.display().to_string()).collect();
            let reason = format!(
                "{} have the UUID of its parent, and none is surely the one that it was made from; move all but the \
                 right one away",
                names.join(" and ")
            );
            Error::Chain { what: child.display().to_string(), reason }
        };
        let chosen = choice.take().map_err(broken)?.ok_or_else(|| not_found(child, parent, &tried))?;
        let Candidate { path, rank, identity, value: (source, by) } = chosen.candidate;
        if identity == Identity::Exact && !chosen.rivals.is_empty() {
            self.notes.push(format!(
                "{} images have the UUID of the parent of {}; {} is used, which was not changed since",
                chosen.rivals.len() + 1,
                child.display(),
                path.display()
            ));
        }
        let scope = self.registry.map(|registry| &registry.scope);
        let leaves = scope.is_some_and(|scope| scope.contains(child) && !scope.contains(&path));
        Ok(Found { source, by, far: rank >= Rank::Registry || leaves, rivals: chosen.rivals })
    }

    /// Offers all that may be the parent, the nearest first, until nothing farther away can be meant. What led to
    /// nothing is in `tried`.
    fn look(
        &mut self,
        child: &Path,
        parent: &ParentLink,
        choice: &mut Choice<Read<'a>>,
        tried: &mut Vec<String>,
    ) -> Result<()> {
        let hints = self.hints(child, parent, tried);
        let directories = directories_near(child);
        for rank in [Rank::NextTo, Rank::Machine, Rank::Given, Rank::Registry, Rank::Absolute] {
            for hint in hints.iter().filter(|hint| hint.rank == rank) {
                choice.offer(self.by_hint(hint, parent, tried));
                if choice.is_decided() {
                    return Ok(());
                }
            }
            for (_, step) in directories.iter().filter(|(at, _)| *at == rank) {
                choice.offer(self.by_identity(child, parent, rank, step)?);
                if choice.is_decided() {
                    return Ok(());
                }
            }
            choice.offer(self.in_registry(child, parent, rank, tried));
            if choice.is_decided() {
                return Ok(());
            }
        }
        if parent.uuid.is_some() {
            let directory = child.parent().unwrap_or(child);
            tried.push(format!("no image in {} or the directories around it has its UUID", directory.display()));
        }
        Ok(())
    }

    /// The images in directories that are equally near.
    fn by_identity(
        &mut self,
        child: &Path,
        parent: &ParentLink,
        rank: Rank,
        directories: &[PathBuf],
    ) -> Result<Vec<Candidate<Read<'a>>>> {
        let mut found = Vec::new();
        let has_identity = parent.uuid.is_some() || parent.modification.is_some();
        for directory in directories.iter().filter(|_| has_identity) {
            for info in self.next_to.find(directory, child, parent)? {
                let by = "its UUID, next to the file".to_owned();
                found.push(self.candidate(info, rank, parent, by));
            }
        }
        Ok(found)
    }

    fn candidate(&self, info: ImageInfo, rank: Rank, parent: &ParentLink, by: String) -> Candidate<Read<'a>> {
        let identity = compare(parent, &info);
        let path = info.path.clone();
        let source = match info.uuid.and_then(|uuid| self.registered_as(uuid, &path)) {
            Some((registry, id)) => Source::Registered(registry, id),
            None => Source::File(Box::new(Header { path: info.path, uuid: info.uuid, parent: info.parent })),
        };
        Candidate { path, rank, identity, value: (source, by) }
    }

    /// The medium with a UUID that is registered to be this very file.
    fn registered_as(&self, uuid: Uuid, path: &Path) -> Option<(&'a Registry, MediumId)> {
        let registry = self.registry?;
        let file = file_id(path)?;
        let mut media = registry.media.find_all(uuid).into_iter();
        let id = media.find(|id| file_id(&registry.media.get(*id).location) == Some(file))?;
        Some((registry, id))
    }

    /// The parent that the registry has, when it is of this rank.
    fn in_registry(
        &self,
        child: &Path,
        parent: &ParentLink,
        rank: Rank,
        tried: &mut Vec<String>,
    ) -> Option<Candidate<Read<'a>>> {
        let (registry, uuid) = self.registry.zip(parent.uuid)?;
        let Some(id) = registry.media.find_near(uuid, child) else {
            if rank == Rank::Registry {
                tried.push("the registry does not have it".to_owned());
            }
            return None;
        };
        let medium = registry.media.get(id);
        let path = medium.location.clone();
        let is_given = registry.scope.given().is_some() && registry.scope.contains(&path);
        if rank != (if is_given { Rank::Given } else { Rank::Registry }) {
            return None;
        }
        if medium.is_file() && !path.exists() {
            tried.push(format!("it is registered at {}, where it is not", path.display()));
            return None;
        }
        let read = medium.is_file().then(|| (self.identify)(&path, Devices::Refused));
        let identity = match read {
            // The registry knows the UUID of what has none of its own.
            Some(Ok(info)) if info.uuid.is_some() => compare(parent, &info),
            _ => Identity::Uuid,
        };
        Some(Candidate { path, rank, identity, value: (Source::Registered(registry, id), BY_REGISTRY.to_owned()) })
    }

    /// The paths that the hints of a header may mean, best first. A relative hint is near by definition, an absolute
    /// one when it leads to a directory near the child.
    fn hints(&self, child: &Path, parent: &ParentLink, tried: &mut Vec<String>) -> Vec<Hinted> {
        let directory = child.parent().unwrap_or(child);
        let near: Vec<(Rank, PathBuf)> = directories_near(child)
            .into_iter()
            .flat_map(|(rank, directories)| {
                directories.into_iter().filter_map(move |directory| Some((rank, directory.canonicalize().ok()?)))
            })
            .collect();
        let scope = self.registry.map(|registry| &registry.scope);
        let rank_of = |path: &Path| {
            let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
            let rank = near.iter().find(|(_, near)| Some(near) == parent.as_ref()).map(|(rank, _)| *rank);
            let is_given = |scope: &Scope| scope.given().is_some() && scope.contains(path);
            rank.unwrap_or(if scope.is_some_and(is_given) { Rank::Given } else { Rank::Absolute })
        };
        let mut all = Vec::new();
        for text in &parent.hints {
            let hint = match Hint::parse(directory, text) {
                Ok(hint) => hint,
                Err(reason) => {
                    tried.push(format!("the header's hint {text:?} is never followed, for it is {reason}"));
                    continue;
                }
            };
            let hinted = |rank, path, direct| Hinted { rank, path, text: text.clone(), direct };
            let is_relative = hint.elsewhere.is_none();
            all.extend(hint.direct.map(|path| {
                let rank = if is_relative { Rank::NextTo } else { rank_of(&path) };
                hinted(rank, path, true)
            }));
            let copies = scope.filter(|_| !is_relative).map(|scope| scope.copies(directory, text)).unwrap_or_default();
            // Other paths are guesses, so they must exist.
            let guesses = copies.into_iter().chain(hint.elsewhere.unwrap_or_default()).filter(|path| path.exists());
            all.extend(guesses.map(|path| hinted(rank_of(&path).min(Rank::Given), path, false)));
        }
        all
    }

    /// The file at one path of a hint.
    fn by_hint(&self, hint: &Hinted, parent: &ParentLink, tried: &mut Vec<String>) -> Option<Candidate<Read<'a>>> {
        let Hinted { rank, path, text, direct } = hint;
        let by = format!("the header's hint {text:?}");
        // Without an identity it is only a name, but what the registry names may lie anywhere.
        let has_identity = parent.uuid.is_some() || parent.modification.is_some() || parent.content_id.is_some();
        if let (true, false, Some(registry)) = (*direct, has_identity, self.registry)
            && let Some(id) = path.canonicalize().ok().and_then(|real| registry.medium_at(path, &real))
        {
            let value = (Source::Registered(registry, id), by);
            return Some(Candidate { path: path.clone(), rank: *rank, identity: Identity::Unknown, value });
        }
        if parent.format.as_deref().is_some_and(|format| format.eq_ignore_ascii_case("raw")) && path.is_file() {
            let header = Header { path: path.clone(), uuid: None, parent: None };
            let value = (Source::File(Box::new(header)), by);
            return Some(Candidate { path: path.clone(), rank: *rank, identity: Identity::Unknown, value });
        }
        let info = match self.inspect(path) {
            Ok(info) => info,
            Err(reason) => {
                tried.extend(direct.then_some(reason));
                return None;
            }
        };
        if *direct && compare(parent, &info) == Identity::Different {
            let found = info.uuid.map_or("no UUID".to_owned(), |uuid| format!("the UUID {uuid}"));
            tried.push(format!("{}, which the header names, has {found}", path.display()));
        }
        Some(self.candidate(ImageInfo { path: path.clone(), ..info }, *rank, parent, by))
    }

    fn inspect(&self, path: &Path) -> Result<ImageInfo, String> {
        if !path.exists() && archive::split(path).is_none() {
            return Err(format!("{}, which the header names, is not there", path.display()));
        }
        (self.identify)(path, Devices::Refused).map_err(|error| crate::error_kind::message(&error))
    }
}
