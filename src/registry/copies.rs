//! Chooses among the copies that VirtualBox leaves of a settings file when the file itself is lost.
//!
//! VirtualBox writes a new file as `NAME-tmp`, renames `NAME` to `NAME-prev` and then `NAME-tmp` to `NAME`
//! ([`XmlFileWriter::write`](https://www.virtualbox.org/browser/vbox/trunk/src/VBox/Runtime/r3/xml.cpp)). A crash in
//! between leaves a missing `NAME`, or one whose blocks never reached the disk: empty, cut, or full of NULs.

use super::{Chain, Error, Registry, Result, settings};
use crate::error_kind::ErrorKind;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The suffixes of copies, the newest copy first.
const SUFFIXES: [&str; 2] = ["-tmp", PREVIOUS];

/// The suffix of the copy from before the last change.
const PREVIOUS: &str = "-prev";

/// The copy from before the last change.
pub(super) fn previous(path: &Path) -> PathBuf {
    with_suffix(path, PREVIOUS)
}

/// The settings file that `path` is a copy of, by its name; `None` when it is not a copy.
pub(super) fn original(path: &Path) -> Option<PathBuf> {
    let (parent, name) = (path.parent()?, path.file_name()?.to_str()?);
    SUFFIXES.iter().find_map(|suffix| Some(parent.join(name.strip_suffix(suffix)?)))
}

/// Whether a settings file or a copy of it exists.
pub(super) fn is_any_there(path: &Path) -> bool {
    path.exists() || copies(path).any(|copy| copy.exists())
}

fn copies(path: &Path) -> impl Iterator<Item = PathBuf> {
    SUFFIXES.iter().map(|suffix| with_suffix(path, suffix))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Calls `read` on a settings file or, when that is missing or broken, on its newest copy that is neither. The
/// second value is the copy that was read, and [why](Error::Copy).
///
/// # Errors
/// That of `read` for the file itself. An encrypted copy without its password is valid, so its error is returned.
pub(super) fn read_newest<T>(path: &Path, read: impl Fn(&Path) -> Result<T>) -> Result<(T, Option<(PathBuf, Error)>)> {
    let lost = match read(path) {
        Err(error) if is_missing(&error) || matches!(error, Error::Settings { .. }) => error,
        other => return other.map(|value| (value, None)),
    };
    for copy in copies(path) {
        match read(&copy) {
            Ok(value) => {
                let error = Error::Copy { path: copy.clone(), source: Box::new(lost) };
                return Ok((value, Some((copy, error))));
            }
            Err(error @ Error::Crypt(_)) => return Err(error),
            Err(_) => {}
        }
    }
    Err(lost)
}

/// Whether a file could not be read because it does not exist.
pub(super) fn is_missing(error: &Error) -> bool {
    match error {
        Error::Missing { .. } => true,
        Error::Io(e) => e.kind() == ErrorKind::NotFound,
        _ => false,
    }
}

impl Registry {
    /// The copy of settings, read instead of them, that may not know of everything that needs an image of `chain`. That
    /// is any copy of `VirtualBox.xml`; a machine's copy where an image is in the machine's directory, or is registered
    /// or attached by it.
    #[must_use]
    pub(crate) fn outdated_for(&self, chain: &Chain) -> Option<&Path> {
        let concerns = |copy: &&PathBuf| {
            settings::is_global_name(copy) || copy.parent().is_none_or(|directory| self.is_used_in(directory, chain))
        };
        self.outdated.iter().find(concerns).map(PathBuf::as_path)
    }

    fn is_used_in(&self, directory: &Path, chain: &Chain) -> bool {
        let real = directory.canonicalize();
        let is_in = |path: &Path| path.starts_with(directory) || real.as_ref().is_ok_and(|real| path.starts_with(real));
        chain.links.iter().any(|link| {
            let medium = link.registered_uuid.and_then(|uuid| self.media.find(uuid));
            is_in(&link.path)
                || medium.is_some_and(|id| {
                    is_in(&self.media.get(id).registered_in)
                        || self.uses_of(id).iter().any(|one| is_in(&self.machines[one.machine].path))
                })
        })
    }
}
