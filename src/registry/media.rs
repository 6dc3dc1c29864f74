//! Joins the media of all settings files into one forest.

use super::model::is_file_format;
use super::nearness::{self, Candidate, Choice, Identity, Rank, Scope};
use super::parents::NextTo;
use super::xml::ParsedMedium;
use super::{DeviceKind, Error, Machine, Media, Medium, MediumId, MediumKind, location};
use crate::image::{self, Format, ImageInfo};
use crate::storage::local::Devices;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// The most headers that are read to find files that are not where they are registered.
const MAX_HEADERS: usize = 1 << 16;

/// The forest under construction.
pub(super) struct Forest {
    pub(super) media: Media,
    pub(super) problems: Vec<Error>,
    pub(super) scope: Scope,
    /// Where the media are registered that were found elsewhere.
    registered_at: HashMap<MediumId, PathBuf>,
    near: NextTo<'static>,
}

impl Forest {
    pub(super) fn new(scope: Scope) -> Self {
        Self {
            media: Media::default(),
            problems: Vec::new(),
            scope,
            registered_at: HashMap::new(),
            near: NextTo::with_limit(&image::identify, MAX_HEADERS),
        }
    }

    /// Adds the media that `file` registers.
    pub(super) fn add(&mut self, file: &Path, parsed: Vec<ParsedMedium>) {
        let file: Arc<Path> = file.into();
        let directory = file.parent().unwrap_or(&file);
        let mut ids: Vec<MediumId> = Vec::with_capacity(parsed.len());
        for medium in parsed {
            let parent = medium.parent.map(|index| ids[index]);
            let registered = registered_path(directory, &medium);
            let known = self.media.find_near(medium.uuid, &file);
            ids.push(match known {
                Some(id)
                    if self.is_at(id, &registered)
                        && self.media.get(id).parent == parent
                        && self.scope.is_near(directory, &registered) =>
                {
                    id
                }
                _ => {
                    let (location, problem) = self.locate(directory, &medium, &registered);
                    match known.and_then(|id| self.compare(id, &location, parent, &file)) {
                        Some(id) => id,
                        None => {
                            self.problems.extend(problem);
                            self.problems.extend(outside(
                                &self.scope,
                                &format!("The medium {}", medium.uuid),
                                &location,
                            ));
                            self.add_one(medium, location, registered, parent, &file)
                        }
                    }
                }
            });
        }
    }

    /// Whether a medium is registered at a path where it is.
    fn is_at(&self, id: MediumId, registered: &Path) -> bool {
        !self.registered_at.contains_key(&id) && self.media.get(id).location == registered
    }

    fn add_one(
        &mut self,
        parsed: ParsedMedium,
        location: PathBuf,
        registered: PathBuf,
        parent: Option<MediumId>,
        file: &Arc<Path>,
    ) -> MediumId {
        let moved = location != registered;
        let id = self.media.add(Medium {
            uuid: parsed.uuid,
            location,
            format: parsed.format,
            device: parsed.device,
            kind: parsed.kind,
            auto_reset: parsed.auto_reset,
            description: parsed.description,
            properties: parsed.properties,
            parent,
            children: Vec::new(),
            registered_in: file.clone(),
            named_in: None,
            problem: None,
        });
        if moved {
            self.registered_at.insert(id, registered);
        }
        id
    }

    /// The file of a medium: where it is registered, unless it is not there or the user pointed elsewhere. Returns
    /// a problem to report as well.
    fn locate(&mut self, directory: &Path, medium: &ParsedMedium, registered: &Path) -> (PathBuf, Option<Error>) {
        if !is_file_format(&medium.format) || self.scope.is_near(directory, registered) && registered.exists() {
            return (registered.to_path_buf(), None);
        }
        let mut search = Search { medium, choice: Choice::new(), like: None };
        self.search(directory, registered, &mut search);
        let Search { choice, like, .. } = search;
        let what = format!("The medium {}", medium.uuid);
        let missing = |hint| Error::Missing { path: registered.to_path_buf(), hint };
        match choice.take() {
            Ok(Some(chosen)) => {
                let Candidate { path, identity, .. } = chosen.candidate;
                let by = if identity == Identity::Uuid { "UUID" } else { "name" };
                if registered.exists() {
                    let at = registered.display();
                    log::info!("{what} is registered at {at}; {} has its {by} and is nearer", path.display());
                    return (path, None);
                }
                let (registered, found) = (registered.to_path_buf(), path.clone());
                (path, Some(Error::Moved { what, registered, found, by }))
            }
            Ok(None) => {
                let problem = like.map(|path| {
                    missing(format!(
                        "{} has the same name, but not the UUID {} in its header; give its path if it is the right one",
                        path.display(),
                        medium.uuid
                    ))
                });
                (registered.to_path_buf(), problem)
            }
            Err(equal) => {
                let names: Vec<String> = equal.iter().map(|path| path.display().to_string()).collect();
                let problem = missing(format!(
                    "{} have its UUID, and none of them is nearer; give the path of one",
                    names.join(" and ")
                ));
                // None of them, and not the one of another copy either.
                (directory.join(registered.file_name().unwrap_or_default()), Some(problem))
            }
        }
    }

    fn search(&mut self, directory: &Path, registered: &Path, search: &mut Search<'_>) {
        let written = &search.medium.location;
        let is_absolute = location::is_absolute(written);
        if is_absolute {
            for path in self.scope.copies(directory, written) {
                search.offer_named(path, Rank::Given);
                if search.choice.is_decided() {
                    return;
                }
            }
        }
        // A name may have been changed, or be in another form of Unicode.
        let expected = match location::parts(written).last() {
            Some(name) if is_absolute && !self.scope.is_near(directory, registered) => directory.join(name),
            _ => registered.to_path_buf(),
        };
        search.offer_alike(nearness::alike(&expected));
        let mut directories = vec![
            expected.parent().unwrap_or(directory).to_path_buf(),
            directory.to_path_buf(),
            directory.join("Snapshots"),
        ];
        directories.dedup();
        for directory in directories {
            search.offer_by_uuid(self.near.images(&directory));
        }
        let in_other_home = self.scope.contains(registered) && registered.exists();
        if search.choice.is_decided() || !is_absolute || in_other_home {
            return;
        }
        for path in self.scope.elsewhere(directory, written) {
            search.offer_named(path, Rank::Absolute);
            if search.choice.is_decided() {
                return;
            }
        }
    }

    /// Adds the hard disks that a machine has attached and no settings file registers, when they are found by their
    /// UUIDs in the machine's directory.
    pub(super) fn adopt(&mut self, machine: &Machine, file: &Path) {
        let file: Arc<Path> = file.into();
        let slots = machine.snapshots.iter().flat_map(|snapshot| &snapshot.attachments).chain(&machine.attachments);
        let disks = slots.filter(|slot| slot.kind == DeviceKind::HardDisk);
        for uuid in disks.filter_map(|slot| slot.medium) {
            self.adopt_one(uuid, machine, &file, 0);
        }
    }

    fn adopt_one(&mut self, uuid: Uuid, machine: &Machine, file: &Arc<Path>, depth: usize) -> Option<MediumId> {
        if let Some(id) = self.media.find_near(uuid, file) {
            return Some(id);
        }
        let mut choice = Choice::new();
        for directory in [file.parent()?, &machine.snapshot_directory] {
            let same = self.near.images(directory).iter().filter(|info| info.uuid == Some(uuid));
            let same = same.map(|info| candidate(info.path.clone(), Rank::Machine, Identity::Uuid, info.clone()));
            choice.offer(same.collect::<Vec<_>>());
        }
        let what = format!("The medium {uuid}, which the machine {:?} has attached,", machine.name);
        let info = match choice.take() {
            Ok(found) => found?.candidate.value,
            Err(equal) => {
                let names: Vec<String> = equal.iter().map(|path| path.display().to_string()).collect();
                let hint = format!("{} have its UUID; give the path of the right one", names.join(" and "));
                self.problems.push(Error::Missing { path: PathBuf::from(what), hint });
                return None;
            }
        };
        let parent = info.parent.and_then(|parent| parent.uuid).filter(|_| depth < super::MAX_LINKS);
        let parent = parent.and_then(|parent| self.adopt_one(parent, machine, file, depth + 1));
        self.problems.push(Error::Unregistered { what, found: info.path.clone() });
        Some(self.media.add(Medium {
            uuid,
            location: info.path,
            format: info.format.name().to_owned(),
            device: DeviceKind::HardDisk,
            kind: MediumKind::Normal,
            auto_reset: false,
            description: String::new(),
            properties: BTreeMap::new(),
            parent,
            children: Vec::new(),
            registered_in: file.clone(),
            named_in: None,
            problem: None,
        }))
    }

    /// Two files may register one medium, as long as they agree. Else the first counts, unless only the second's image
    /// is there. None when each has an image of its own: a copy, which has its own media.
    fn compare(&mut self, id: MediumId, location: &Path, parent: Option<MediumId>, file: &Path) -> Option<MediumId> {
        let known = self.media.get(id);
        // A backup may share files with another by hard links, so only their paths distinguish copies.
        let both = fs::canonicalize(&known.location).ok().zip(fs::canonicalize(location).ok());
        let is_same = both.as_ref().map_or(known.location == location, |(first, second)| first == second);
        if is_same && known.parent == parent {
            return Some(id);
        }
        if both.is_some() && !is_same {
            log::info!("The medium {} is at {} and at {}", known.uuid, known.location.display(), location.display());
            return None;
        }
        let entry = |location: &Path, parent: Option<MediumId>, file: &Path| {
            let parent = match parent {
                Some(parent) => format!("child of {}", self.media.get(parent).uuid),
                None => "base".to_owned(),
            };
            format!("{} ({parent}, in {})", location.display(), file.display())
        };
        let first = entry(&known.location, known.parent, &known.registered_in);
        let second = entry(location, parent, file);
        let takes_second = known.parent == parent && !known.location.exists() && location.exists();
        let (cached, ignored) = if takes_second { (second, first) } else { (first, second) };
        self.problems.push(Error::Duplicate { what: format!("The medium {}", known.uuid), cached, ignored });
        if takes_second {
            self.media.list[id.0].location = location.to_path_buf();
        }
        Some(id)
    }
}

/// The search for one medium that is not where it is registered.
struct Search<'a> {
    medium: &'a ParsedMedium,
    choice: Choice<()>,
    /// A file of its name with another identity.
    like: Option<PathBuf>,
}

impl Search<'_> {
    /// Offers the file that a registered path may mean now.
    fn offer_named(&mut self, path: PathBuf, rank: Rank) {
        let identity = identity(&path, self.medium);
        if identity == Identity::Different && path.is_file() {
            self.like.get_or_insert_with(|| path.clone());
        }
        self.choice.offer([candidate(path, rank, identity, ())]);
    }

    /// Offers files whose names are like the registered one, which an identity must confirm.
    fn offer_alike(&mut self, paths: Vec<PathBuf>) {
        let (same, others): (Vec<PathBuf>, Vec<PathBuf>) =
            paths.into_iter().partition(|path| identity(path, self.medium) == Identity::Uuid);
        self.choice.offer(same.into_iter().map(|path| candidate(path, Rank::Machine, Identity::Uuid, ())));
        let like = others.into_iter().find(|path| path.is_file());
        self.like = self.like.take().or(like);
    }

    fn offer_by_uuid(&mut self, images: &[ImageInfo]) {
        let same = images.iter().filter(|info| info.uuid == Some(self.medium.uuid));
        self.choice.offer(same.map(|info| candidate(info.path.clone(), Rank::Machine, Identity::Uuid, ())));
    }
}

fn candidate<T>(path: PathBuf, rank: Rank, identity: Identity, value: T) -> Candidate<T> {
    Candidate { path, rank, identity, value }
}

/// How a file compares to a registered medium. Only formats that have UUIDs can prove to be the one.
fn identity(path: &Path, medium: &ParsedMedium) -> Identity {
    match image::identify(path, Devices::Refused) {
        Ok(info) if info.uuid == Some(medium.uuid) => Identity::Uuid,
        Ok(info) if info.uuid.is_some() || info.format == Format::Vdi => Identity::Different,
        Ok(info) if super::is_format(&medium.format, info.format) => Identity::Unknown,
        _ => Identity::Different,
    }
}

/// The warning for what was found only outside of what the user gave.
pub(super) fn outside(scope: &Scope, what: &str, path: &Path) -> Option<Error> {
    let given = scope.given().filter(|_| !scope.contains(path) && path.exists())?;
    Some(Error::Outside { what: what.to_owned(), path: path.to_path_buf(), given: given.to_path_buf() })
}

/// The path that a medium is registered at.
fn registered_path(directory: &Path, parsed: &ParsedMedium) -> PathBuf {
    if is_file_format(&parsed.format) {
        location::absolute(directory, &parsed.location)
    } else {
        PathBuf::from(&parsed.location)
    }
}
