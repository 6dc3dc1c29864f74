//! The registry that the arguments mean, and the disk in it. Machines that are encrypted whole are opened when they are
//! meant or may hide what is meant; their passwords are asked for then, and not for a mere list.

use super::arguments::Arguments;
use super::problems;
use crate::crypt::{self, Passwords};
use crate::error::Error;
use crate::error_kind::{ErrorKind, message};
use crate::registry::{self, Chain, MachineEntry, Registry};
use crate::storage::Allowed;
use crate::{disk, image};
use std::ffi::OsStr;
use std::path::Path;

/// The registry for a list of machines, or of the one that the arguments name, which is then opened.
pub(super) fn registry(arguments: &Arguments, passwords: &Passwords) -> Result<Registry, Error> {
    let registry = load(arguments, passwords)?;
    let named = arguments.vm.as_deref().and_then(|name| registry.find_machine(name).ok());
    match named.map(|at| &registry.machines[at]) {
        Some(entry) if can_open(entry, passwords) => open_machine(arguments, entry, passwords),
        _ => Ok(registry),
    }
}

/// The files that images may name although they lie elsewhere.
pub(super) fn allowed(arguments: &Arguments) -> Result<Allowed, Error> {
    Ok(Allowed::new(&arguments.allow_files).map_err(image::Error::from)?)
}

/// The registry that the arguments name, or the user's.
fn load(arguments: &Arguments, passwords: &Passwords) -> Result<Registry, Error> {
    let registry = match &arguments.settings {
        Some(path) => Registry::load_from(path, passwords)?,
        None => Registry::load_default(passwords)?,
    };
    log::info!("Settings: {}", registry.folder.display());
    Ok(registry)
}

/// Whether a machine is encrypted, not yet opened, and its password known or to be asked for.
fn can_open(entry: &MachineEntry, passwords: &Passwords) -> bool {
    entry.key_id().is_some_and(|key_id| passwords.can_get(key_id))
}

/// Why a listed machine stayed closed for which there was a password: it is wrong, or its file cannot be read.
pub(super) fn wrong_password<'a>(arguments: &Arguments, registry: &'a Registry) -> Option<&'a crypt::Error> {
    let named = arguments.vm.as_deref().and_then(|name| registry.find_machine(name).ok());
    let listed = named.map_or(&*registry.machines, |at| &registry.machines[at..=at]);
    listed.iter().find_map(|entry| match &entry.machine {
        Err(registry::Error::Crypt(
            error @ (crypt::Error::WrongPassword { .. } | crypt::Error::PasswordFile { .. }),
        )) => Some(error),
        _ => None,
    })
}

/// Gets the password of an encrypted machine and loads the registry with it.
fn open_machine(arguments: &Arguments, sealed: &MachineEntry, passwords: &Passwords) -> Result<Registry, Error> {
    let what = sealed.path.display().to_string();
    passwords.get(&what, sealed.key_id().unwrap_or_default())?;
    let mut registry = load(arguments, passwords)?;
    let again = registry.machines.iter().position(|entry| entry.path == sealed.path && entry.machine.is_err());
    match again.map(|at| registry.machines.swap_remove(at).machine) {
        Some(Err(e)) => Err(e.into()),
        _ => Ok(registry),
    }
}

/// The images behind a name on the command line. A path means something without any registry too; but where there is
/// one that cannot be read, nobody knows what depends on the image, and it is only read.
pub(super) fn chain(
    arguments: &Arguments,
    image: &OsStr,
    passwords: &Passwords,
    allowed: &Allowed,
) -> Result<Chain, Error> {
    let is_uuid = image.to_str().is_some_and(registry::is_uuid);
    let optional = arguments.settings.is_none() && !is_uuid;
    let mut registry = match load(arguments, passwords) {
        Ok(registry) => Some(registry),
        Err(e) if optional && e.kind() == ErrorKind::NotFound => None,
        Err(e) if optional && !arguments.rw => {
            log::warn!("{}", message(&e));
            None
        }
        Err(e) => return Err(e),
    };
    let problems = registry.iter().flat_map(|registry| &registry.problems);
    problems::warn(problems.filter(|problem| problems::concerns_all(problem)));
    // Where it is gone, relative paths lead nowhere and absolute ones as ever.
    let current = std::env::current_dir().unwrap_or_default();
    let chain = loop {
        let found = registry::resolve_allowing(registry.as_ref(), image, &current, allowed);
        // Each turn opens one more machine, or ends with why it cannot be.
        match registry.as_ref().and_then(|registry| in_the_way(registry, image, &found, passwords)) {
            Some(sealed) => registry = Some(open_machine(arguments, sealed, passwords)?),
            None => break found?,
        }
    };
    if let Some(path) = registry.and_then(|registry| registry.outdated).filter(|_| arguments.rw && !arguments.list) {
        return Err(registry::Error::Outdated { image: image.to_string_lossy().into_owned(), path }.into());
    }
    disk::check_names(&chain, allowed)?;
    chain.notes.iter().for_each(|note| log::warn!("{note}"));
    Ok(chain)
}

/// The encrypted machine without which what was found may be wrong.
fn in_the_way<'a>(
    registry: &'a Registry,
    image: &OsStr,
    found: &registry::Result<Chain>,
    passwords: &Passwords,
) -> Option<&'a MachineEntry> {
    let mut sealed = registry.machines.iter().filter(|entry| entry.key_id().is_some());
    match found {
        // A file in the folder of such a machine is most likely one of its disks: encrypted, which no image file says.
        Ok(chain) => {
            let leaf = chain.links.first().filter(|leaf| leaf.registered_uuid.is_none())?;
            sealed.find(|entry| is_in_folder_of(&leaf.path, &entry.path))
        }
        Err(registry::Error::Hidden { .. }) => sealed.find(|entry| can_open(entry, passwords)),
        Err(registry::Error::NotFound { .. }) => {
            let named = &registry.machines[registry.find_machine(image.to_str()?).ok()?];
            named.key_id().map(|_| named)
        }
        Err(_) => None,
    }
}

fn is_in_folder_of(image: &Path, settings: &Path) -> bool {
    let folder = settings.parent().and_then(|folder| folder.canonicalize().ok());
    folder.is_some_and(|folder| image.starts_with(folder))
}
