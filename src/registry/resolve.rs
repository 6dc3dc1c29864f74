//! Resolves an argument of the command line: a medium's UUID or file name, or the path of an image.

use super::parents::{correct, follow, follow_far};
use super::xml::{parse_bare_uuid, parse_uuid};
use super::{Chain, Error, Identify, MediumId, Registry, Result, copies, named, ovf, settings};
use crate::error_kind::IoError;
use crate::image;
pub(super) use crate::storage::file_identity as file_id;
use crate::storage::{Allowed, archive};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use uuid::Uuid;

/// The chain that `what` means: a medium's UUID (in any case, with or without braces), or else a path, relative to
/// `current`. Where there is no such file it may be a UUID without hyphens, the file name of one registered medium, or
/// the beginning of a UUID. The parents of a registered image are those of the registry; those of any other are found
/// by its header: in the registry, by the header's own hints, or next to the file.
///
/// `allowed` are files that images may name although they lie elsewhere.
///
/// # Errors
/// [`Error::NotFound`], which explains `what` when it names a machine or a snapshot; [`Error::Chain`];
/// [`Error::Image`] when a header cannot be read; [`Error::Io`]; as [`Registry::chain_of_medium`].
pub(crate) fn resolve_allowing(
    registry: Option<&Registry>,
    what: impl AsRef<OsStr>,
    current: &Path,
    allowed: &Allowed,
) -> Result<Chain> {
    let identify = |path: &Path, devices| image::identify_allowing(path, devices, allowed);
    resolve_with(registry, what.as_ref(), current, &identify)
}

pub(super) fn resolve_with(
    registry: Option<&Registry>,
    what: &OsStr,
    current: &Path,
    identify: &Identify<'_>,
) -> Result<Chain> {
    if let Some(uuid) = what.to_str().and_then(parse_uuid) {
        return by_uuid(registry, uuid, identify);
    }
    if what.is_empty() {
        let hint = "it is empty; give the UUID of a medium, or the path of an image".to_owned();
        return Err(Error::NotFound { what: "The image \"\"".to_owned(), hint });
    }
    let path = current.join(what);
    match fs::canonicalize(&path) {
        // VirtualBox names a machine's directory as the machine.
        Ok(real) if real.is_dir() && explain(registry, what).is_some() => Err(unknown(registry, what, &path)),
        Ok(real) => by_path(registry, &path, &real, identify),
        Err(_)
            if let Some((real, member)) =
                archive::split(&path).and_then(|(archive, member)| Some((fs::canonicalize(archive).ok()?, member))) =>
        {
            by_path(registry, &path, &real.join(member), identify)
        }
        Err(source) if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            match what.to_str().and_then(parse_bare_uuid) {
                Some(uuid) => by_uuid(registry, uuid, identify),
                None => by_name(registry, what, &path, identify),
            }
        }
        Err(source) => Err(IoError::new(&path, "find", source).into()),
    }
}

fn by_uuid(registry: Option<&Registry>, uuid: Uuid, identify: &Identify<'_>) -> Result<Chain> {
    let not_found = |hint| Error::NotFound { what: format!("The medium {uuid}"), hint };
    let Some(registry) = registry else {
        return Err(not_found("there is no registry to look it up in; give the path of the image".to_owned()));
    };
    match *registry.media.find_all(uuid) {
        [id] => registered(registry, id, identify),
        [_, _, ..] => Err(registry.several(uuid)),
        [] => Err(match (registry.explain_uuid(uuid), registry.encrypted()) {
            (Some(hint), _) => not_found(hint),
            (None, Some(machines)) => Error::Hidden { what: format!("The medium {uuid}"), machines },
            (None, None) => {
                let directory = registry.directory.display();
                let unreadable = registry.unreadable().map_or_else(String::new, |text| format!("; {text}"));
                not_found(format!(
                    "the registry in {directory} has no medium of that UUID; list them with -l, or give a path{unreadable}"
                ))
            }
        }),
    }
}

/// The chain of the registered medium whose file has that name, or whose UUID begins so.
fn by_name(registry: Option<&Registry>, what: &OsStr, path: &Path, identify: &Identify<'_>) -> Result<Chain> {
    let (Some(registry), Some(name)) = (registry, what.to_str()) else { return Err(unknown(registry, what, path)) };
    let media = || registry.media.iter().map(|(_, medium)| medium);
    match *named::find(media(), name) {
        [index] => registered(registry, MediumId(index), identify),
        [] => match registry.encrypted().filter(|_| named::digits(name).is_some()) {
            Some(machines) => Err(Error::Hidden { what: format!("The medium {name}"), machines }),
            None => Err(unknown(Some(registry), what, path)),
        },
        ref several => {
            let candidates = several.iter().map(|index| registry.media.get(MediumId(*index)));
            Err(named::ambiguous(format!("The image {name:?}"), candidates, "the UUID or the path of one"))
        }
    }
}

fn registered(registry: &Registry, id: MediumId, identify: &Identify<'_>) -> Result<Chain> {
    if registry.is_found {
        let medium = registry.media.get(id);
        let children = medium.children.iter().map(|child| registry.media.get(*child).location.clone()).collect();
        return Ok(Chain { children, ..follow(Some(registry), &medium.location, identify)? });
    }
    let mut chain = registry.chain_of_medium(id)?;
    correct(&mut chain.links, identify, &mut chain.notes);
    Ok(chain)
}

/// The images of a chain of which not all can be found: those from the file at `path` up to the one whose parent is
/// missing, or the file alone where its header cannot be read.
pub(crate) fn resolve_partly(registry: Option<&Registry>, path: &Path, allowed: &Allowed) -> Option<Chain> {
    let identify = |path: &Path, devices| image::identify_allowing(path, devices, allowed);
    let real = fs::canonicalize(path).ok().filter(|real| explain_settings(real).is_none())?;
    match follow_far(registry, &real, &identify) {
        Ok((chain, _)) => Some(chain),
        Err(_) => Some(Chain::of_file(real)),
    }
}

/// Replaces the links of a registered chain whose files are other images than registered by those with the right UUIDs
/// next to them, as [`resolve_allowing`] does, and adds a note for each.
pub(crate) fn correct_chain(chain: &mut Chain, allowed: &Allowed) {
    let identify = |path: &Path, devices| image::identify_allowing(path, devices, allowed);
    correct(&mut chain.links, &identify, &mut chain.notes);
}

/// The machine or snapshot that has the name `what`.
fn explain(registry: Option<&Registry>, what: &OsStr) -> Option<String> {
    registry?.explain_name(what.to_str()?)
}

/// The error for what is neither a UUID nor a file.
fn unknown(registry: Option<&Registry>, what: &OsStr, path: &Path) -> Error {
    let hint = explain(registry, what).unwrap_or_else(|| {
        let stem = || Path::new(what).file_stem()?.to_str();
        let near = || named::did_you_mean(registry?.media.iter().map(|(_, medium)| medium), stem()?);
        let near = near().map_or_else(String::new, |near| format!("; {near}"));
        format!("there is no file {}, and it is no UUID{near}", path.display())
    });
    Error::NotFound { what: format!("The image {:?}", what.to_string_lossy()), hint }
}

fn by_path(registry: Option<&Registry>, path: &Path, real: &Path, identify: &Identify<'_>) -> Result<Chain> {
    let settings = registry.filter(|registry| !registry.is_found);
    if let Some((registry, id)) = settings.and_then(|registry| Some((registry, registry.medium_at(path, real)?))) {
        log::debug!("{} is registered as {}", real.display(), registry.media.get(id).uuid);
        // The user gave the very image, wherever it lies.
        let mut chain = Chain { outside: None, ..registry.chain_of_medium(id)? };
        correct(&mut chain.links[1..], identify, &mut chain.notes);
        return Ok(chain);
    }
    if let Some(descriptor) = ovf::descriptor_of(real)? {
        let appliance = ovf::load(&descriptor)?;
        return registered(&appliance, appliance.only_disk(real)?, identify);
    }
    // Settings begin with a line of text, so any probe would take them for a raw disk.
    if let Some(hint) = explain_settings(real) {
        return Err(Error::NotFound { what: format!("The image {}", real.display()), hint: hint.to_owned() });
    }
    follow(registry, real, identify)
}

/// What a settings file is, where an image was asked for; none when it is no settings file by its name.
fn explain_settings(path: &Path) -> Option<&'static str> {
    if settings::is_global_name(path) {
        return Some("it is VirtualBox's list of machines; give it with --settings, and an image with --image");
    }
    let original = copies::original(path);
    let extension = original.as_deref().unwrap_or(path).extension()?;
    extension
        .eq_ignore_ascii_case("vbox")
        .then_some("it is the settings file of a machine; give the path or UUID of one of its images")
}

impl Registry {
    /// The error for a UUID that copies of a medium have.
    fn several(&self, uuid: Uuid) -> Error {
        let paths = self.media.find_all(uuid).into_iter().map(|id| self.media.get(id).location.display().to_string());
        Error::Ambiguous {
            what: format!("The medium {uuid}"),
            candidates: paths.collect::<Vec<_>>().join(", "),
            how: "the path of one",
        }
    }

    /// The registered medium whose image is at `path`, which is `real` without symbolic links.
    pub(super) fn medium_at(&self, path: &Path, real: &Path) -> Option<MediumId> {
        let files = || self.media.iter().filter(|(_, medium)| medium.is_file());
        let by_name = files().find(|(_, medium)| medium.location == path || medium.location == real);
        by_name.map(|(id, _)| id).or_else(|| {
            let wanted = file_id(real)?;
            files().find(|(_, medium)| file_id(&medium.location) == Some(wanted)).map(|(id, _)| id)
        })
    }
}
