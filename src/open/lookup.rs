//! The registry that a user means, and the disk in it. Machines that are encrypted whole are opened when they are meant
//! or may hide what is meant; their passwords are asked for then, and not for a mere list.

use super::{Error, Result};
use crate::crypt::{self, Passwords};
use crate::disk;
use crate::error_kind::{ErrorKind, message};
use crate::registry::{self, Chain, MachineEntry, Registry};
use crate::storage::Allowed;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Problems that are told one by one; the rest is counted.
const SHOWN: usize = 8;

/// Where machines and disks are looked for.
pub(crate) struct Lookup {
    /// The settings to read in place of the user's own.
    pub settings: Option<PathBuf>,
    /// Files that images may name although they lie elsewhere.
    pub allowed: Allowed,
    /// The passwords of encrypted machines and disks.
    pub passwords: Passwords,
}

/// A disk that was found.
pub(crate) struct Found {
    /// Its images.
    pub chain: Chain,
    /// What a user should know, a sentence each.
    pub warnings: Vec<String>,
}

impl Lookup {
    /// The registry, in which the machine of that name or UUID is opened if it is encrypted.
    ///
    /// # Errors
    /// [`Error::Registry`] when the settings cannot be read; [`Error::Crypt`] when the machine cannot be opened.
    pub(crate) fn registry(&self, machine: Option<&str>) -> Result<Registry> {
        let registry = self.load()?;
        let named = machine.and_then(|name| registry.find_machine(name).ok());
        match named {
            Some(at) if self.can_open(&registry.machines[at]) => self.open_machine(registry, at),
            _ => Ok(registry),
        }
    }

    fn load(&self) -> Result<Registry> {
        let registry = match &self.settings {
            Some(path) => Registry::load_from(path, &self.passwords)?,
            None => Registry::load_default(&self.passwords)?,
        };
        log::info!("Settings: {}", registry.directory.display());
        Ok(registry)
    }

    /// Whether a machine is encrypted, not yet opened, and its password known or to be asked for.
    fn can_open(&self, entry: &MachineEntry) -> bool {
        entry.key_id().is_some_and(|key_id| self.passwords.can_get(key_id))
    }

    /// Gets the password of an encrypted machine and opens it.
    fn open_machine(&self, registry: Registry, at: usize) -> Result<Registry> {
        let encrypted = &registry.machines[at];
        self.passwords.get(&encrypted.path.display().to_string(), encrypted.key_id().unwrap_or_default())?;
        Ok(registry.open_machine(at, &self.passwords)?)
    }

    /// The images behind a UUID or a path. A path means something without any registry too; but where there is one that
    /// cannot be read, nobody knows what depends on the image, and it is only read.
    ///
    /// # Errors
    /// [`Error::Registry`] when the disk is not found or must not be written; [`Error::Crypt`] when its machine is
    /// encrypted and cannot be opened.
    pub(crate) fn chain(&self, image: &OsStr, writable: bool) -> Result<Found> {
        let is_uuid = image.to_str().is_some_and(registry::is_uuid);
        let optional = self.settings.is_none() && !is_uuid;
        let mut warnings = Vec::new();
        let mut registry = match self.load() {
            Ok(registry) => Some(registry),
            Err(e) if optional && e.kind() == ErrorKind::NotFound => None,
            Err(e) if optional && !writable => {
                warnings.push(message(&e));
                None
            }
            Err(e) => return Err(e),
        };
        // Where it is gone, relative paths lead nowhere and absolute ones as ever.
        let current = std::env::current_dir().unwrap_or_default();
        let chain = loop {
            let found = registry::resolve_allowing(registry.as_ref(), image, &current, &self.allowed);
            // Each turn opens one more machine, or ends with why it cannot be.
            let in_the_way = registry.as_ref().and_then(|registry| self.in_the_way(registry, image, &found));
            match (registry.take(), in_the_way) {
                (Some(closed), Some(at)) => registry = Some(self.open_machine(closed, at)?),
                (same, _) => {
                    registry = same;
                    break found;
                }
            }
        };
        let chain = self.checked(registry.as_ref(), chain, image, writable, &mut warnings)?;
        Ok(Found { chain, warnings })
    }

    /// What can be found of a chain that [`chain`](Self::chain) does not find: none where `image` is no file.
    pub(crate) fn part_of_chain(&self, image: &OsStr) -> Option<Chain> {
        let path = std::env::current_dir().unwrap_or_default().join(image);
        registry::resolve_partly(self.load().ok().as_ref(), &path, &self.allowed)
    }

    /// A chain that was found in a registry, with what a user should know of it added to the warnings.
    ///
    /// # Errors
    /// As [`chain`](Self::chain).
    pub(super) fn checked(
        &self,
        registry: Option<&Registry>,
        chain: registry::Result<Chain>,
        image: &OsStr,
        writable: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Chain> {
        let outdated = registry.and_then(|registry| registry.outdated_for(chain.as_ref().ok()?));
        let concerns = |problem: &&registry::Error| match problem {
            // What was not found may be in what the copy lacks.
            registry::Error::Copy { path, .. } => chain.is_err() || outdated == Some(path),
            problem => concerns_all(problem),
        };
        let problems = registry.iter().flat_map(|registry| &registry.problems).filter(concerns);
        add_new(warnings, shortened(problems));
        // An error says less than what may be the reason for it.
        let chain = chain.inspect_err(|_| warnings.iter().for_each(|warning| log::warn!("{warning}")))?;
        if let Some(path) = outdated.filter(|_| writable) {
            let (image, path) = (image.to_string_lossy().into_owned(), path.to_owned());
            return Err(registry::Error::Outdated { image, path }.into());
        }
        if let Some(given) = chain.outside.clone().filter(|_| writable) {
            let path = chain.links.first().map(|link| link.path.clone()).unwrap_or_default();
            return Err(registry::Error::NotWrittenOutside { path, given }.into());
        }
        disk::check_names(&chain, &self.allowed)?;
        add_new(warnings, chain.outside_note().into_iter().chain(chain.notes.iter().cloned()));
        Ok(chain)
    }

    /// The encrypted machine without which what was found may be wrong, as an index.
    fn in_the_way(&self, registry: &Registry, image: &OsStr, found: &registry::Result<Chain>) -> Option<usize> {
        let find = |is_it: &dyn Fn(&MachineEntry) -> bool| {
            registry.machines.iter().position(|entry| entry.key_id().is_some() && is_it(entry))
        };
        match found {
            // A file in the directory of such a machine is most likely one of its disks: encrypted, which no image file
            // says.
            Ok(chain) => {
                let leaf = chain.links.first().filter(|leaf| leaf.registered_uuid.is_none())?;
                find(&|entry| is_in_directory_of(&leaf.path, &entry.path))
            }
            Err(registry::Error::Hidden { .. }) => find(&|entry| self.can_open(entry)),
            Err(registry::Error::NotFound { .. }) => {
                let named = registry.find_machine(image.to_str()?).ok()?;
                registry.machines[named].key_id().map(|_| named)
            }
            Err(_) => None,
        }
    }
}

/// Why a list is not a success: a listed machine stayed closed although there was a password for it, because that is
/// wrong or its file cannot be read; or no listed machine can be read at all, encrypted ones apart.
pub(crate) fn failure(registry: &mut Registry, machine: Option<&str>) -> Option<Error> {
    let named = machine.and_then(|name| registry.find_machine(name).ok());
    let listed = named.map_or(0..registry.machines.len(), |at| at..at + 1);
    let all_lost =
        registry.machines[listed.clone()].iter().all(|entry| entry.machine.is_err() && entry.key_id().is_none());
    let failed = listed.into_iter().find(|at| match &registry.machines[*at].machine {
        Err(registry::Error::Crypt(crypt::Error::WrongPassword { .. } | crypt::Error::PasswordFile { .. })) => true,
        _ => all_lost,
    })?;
    // It was listed, so nobody else needs it any more.
    registry.machines.swap_remove(failed).machine.err().map(Error::from)
}

/// The messages of problems, of which many are only counted.
pub(crate) fn shortened<'a>(problems: impl IntoIterator<Item = &'a registry::Error>) -> Vec<String> {
    let mut problems = problems.into_iter();
    let mut texts: Vec<String> = problems.by_ref().take(SHOWN).map(|problem| message(problem)).collect();
    let more = problems.count();
    if more > 0 {
        texts.push(format!("The settings have {more} more problems; -l --json has them all"));
    }
    texts
}

/// Adds what has not been said of another disk.
fn add_new(warnings: &mut Vec<String>, more: impl IntoIterator<Item = String>) {
    for warning in more {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
}

/// Whether any disk may be another than the one that is meant, or be missing.
fn concerns_all(problem: &registry::Error) -> bool {
    matches!(problem, registry::Error::TooMany { .. } | registry::Error::Emptied { .. })
}

fn is_in_directory_of(image: &Path, settings: &Path) -> bool {
    let directory = settings.parent().and_then(|directory| directory.canonicalize().ok());
    directory.is_some_and(|directory| image.starts_with(directory))
}
