//! Puts the media of all settings files together into one forest.

use super::model::is_file_format;
use super::xml::ParsedMedium;
use super::{Error, Media, Medium, MediumId, location};
use crate::image::{self};
use crate::storage::local::Devices;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The forest while it grows.
#[derive(Default)]
pub(super) struct Forest {
    pub(super) media: Media,
    pub(super) problems: Vec<Error>,
    /// Where the media are registered that were found elsewhere.
    registered_at: HashMap<MediumId, PathBuf>,
}

impl Forest {
    /// Adds the media that `file` registers.
    pub(super) fn add(&mut self, file: &Path, parsed: Vec<ParsedMedium>) {
        let file: Arc<Path> = file.into();
        let folder = file.parent().unwrap_or(&file);
        let mut ids: Vec<MediumId> = Vec::with_capacity(parsed.len());
        for medium in parsed {
            let parent = medium.parent.map(|index| ids[index]);
            let known = self.media.find(medium.uuid);
            let id = match known {
                Some(id) => {
                    self.compare(id, folder, &medium, parent, &file);
                    id
                }
                None => self.add_one(folder, medium, parent, &file),
            };
            ids.push(id);
        }
    }

    fn add_one(&mut self, folder: &Path, parsed: ParsedMedium, parent: Option<MediumId>, file: &Arc<Path>) -> MediumId {
        let mut medium = Medium {
            uuid: parsed.uuid,
            location: place(folder, &parsed),
            format: parsed.format,
            device: parsed.device,
            kind: parsed.kind,
            auto_reset: parsed.auto_reset,
            description: parsed.description,
            properties: parsed.properties,
            parent,
            children: Vec::new(),
            registered_in: file.clone(),
        };
        if medium.is_file() && location::is_absolute(&parsed.location) && !medium.location.exists() {
            let moved_from = self.search(folder, &parsed.location, &mut medium);
            let id = self.media.add(medium);
            self.registered_at.extend(moved_from.map(|registered| (id, registered)));
            return id;
        }
        self.media.add(medium)
    }

    /// Looks for an image that is not where it was when its host still ran. Only one with the registered UUID in its
    /// header is taken. Answers where it was.
    fn search(&mut self, folder: &Path, written: &str, medium: &mut Medium) -> Option<PathBuf> {
        let mut like = None;
        for path in location::relocations(folder, written).into_iter().filter(|path| path.is_file()) {
            match image::identify(&path, Devices::Refused) {
                Ok(info) if info.uuid == Some(medium.uuid) => {
                    let what = format!("The medium {}", medium.uuid);
                    let registered = std::mem::replace(&mut medium.location, path.clone());
                    self.problems.push(Error::Moved { what, registered: registered.clone(), found: path });
                    return Some(registered);
                }
                _ => like = like.or(Some(path)),
            }
        }
        if let Some(path) = like {
            let hint = format!(
                "{} has the same name, but not the UUID {} in its header; give its path if it is the right one",
                path.display(),
                medium.uuid
            );
            self.problems.push(Error::Missing { path: medium.location.clone(), hint });
        }
        None
    }

    /// Two files may register one medium, as long as they agree. Else the first counts, unless only the second's image
    /// is there.
    fn compare(&mut self, id: MediumId, folder: &Path, again: &ParsedMedium, parent: Option<MediumId>, file: &Path) {
        let known = self.media.get(id);
        let registered_at = self.registered_at.get(&id).unwrap_or(&known.location);
        let location = place(folder, again);
        if *registered_at == location && known.parent == parent {
            return;
        }
        let entry = |location: &Path, parent: Option<MediumId>, file: &Path| {
            let parent = match parent {
                Some(parent) => format!("child of {}", self.media.get(parent).uuid),
                None => "base".to_owned(),
            };
            format!("{} ({parent}, in {})", location.display(), file.display())
        };
        let first = entry(registered_at, known.parent, &known.registered_in);
        let second = entry(&location, parent, file);
        let takes_second = known.parent == parent && !known.location.exists() && location.exists();
        let (kept, ignored) = if takes_second { (second, first) } else { (first, second) };
        self.problems.push(Error::Duplicate { what: format!("The medium {}", known.uuid), kept, ignored });
        if takes_second {
            self.media.list[id.0].location = location;
        }
    }
}

/// Where a medium is registered to be.
fn place(folder: &Path, parsed: &ParsedMedium) -> PathBuf {
    if is_file_format(&parsed.format) {
        location::absolute(folder, &parsed.location)
    } else {
        PathBuf::from(&parsed.location)
    }
}
