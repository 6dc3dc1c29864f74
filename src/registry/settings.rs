//! Reading the settings files themselves.

use super::xml::{Global, ParseError, ParsedMachine, Sealed, Version, parse_global, parse_machine, parse_unsealed};
use super::{Error, Result, location};
use crate::crypt::{Cipher, KeyStore, Passwords, decrypt_machine};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The largest settings file that is read, in bytes. A machine with 10,000 snapshots has some 40 MiB.
const LARGEST: u64 = 256 << 20;

/// What the name of a previous copy ends with.
const PREVIOUS: &str = "-prev";

/// The name of the file that registers machines.
const GLOBAL: &str = "VirtualBox.xml";

/// Whether a file is `VirtualBox.xml` or, by its name, a copy of it, such as `VirtualBox.xml-prev`.
pub(super) fn is_global_name(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(GLOBAL))
}

/// Whether a folder has `VirtualBox.xml` or its previous copy.
pub(super) fn are_in(folder: &Path) -> bool {
    let path = folder.join(GLOBAL);
    path.exists() || previous(&path).exists()
}

/// What `VirtualBox.xml` says, and which copy of it was used instead.
pub(super) struct GlobalFile {
    pub(super) path: PathBuf,
    pub(super) global: Global,
    /// The copy, when it may lack the last changes.
    pub(super) copy: Option<PathBuf>,
}

/// Reads `VirtualBox.xml`, or its previous copy where it is missing or broken, which is then a problem.
///
/// # Errors
/// [`Error::NotFound`] when neither is there; otherwise what is wrong with `VirtualBox.xml`.
pub(super) fn read_global(folder: &Path, problems: &mut Vec<Error>) -> Result<GlobalFile> {
    let path = folder.join(GLOBAL);
    let error = match parse(&path, parse_global) {
        Ok(global) => {
            problems.extend(emptied(&path, &global));
            return Ok(GlobalFile { path, global, copy: None });
        }
        Err(error @ Error::Io { .. }) if !is_missing(&error) => return Err(error),
        Err(error) => error,
    };
    let copy = previous(&path);
    match parse(&copy, parse_global) {
        Ok(global) => {
            problems.push(Error::Previous { path: copy.clone(), source: Box::new(error) });
            Ok(GlobalFile { path, global, copy: Some(copy) })
        }
        Err(_) if is_missing(&error) => Err(Error::NotFound {
            what: path.display().to_string(),
            hint:
                "the folder holds no settings of VirtualBox; give the one that does with --settings or VBOX_USER_HOME"
                    .to_owned(),
        }),
        Err(_) => Err(error),
    }
}

/// What a list without machines was before its last change: VirtualBox was seen to drop all of them when it could not
/// load one.
fn emptied(path: &Path, global: &Global) -> Option<Error> {
    if !global.machines.is_empty() {
        return None;
    }
    let copy = previous(path);
    let machines = parse(&copy, parse_global).ok()?.machines.len();
    (machines > 0).then(|| Error::Emptied { path: path.to_path_buf(), copy, machines })
}

/// Reads a file that is `VirtualBox.xml` or a copy of it.
///
/// # Errors
/// [`Error::Io`] and what is wrong with the file.
pub(super) fn read_global_file(path: &Path) -> Result<GlobalFile> {
    let copy = path.file_name().is_none_or(|name| name != GLOBAL).then(|| path.to_owned());
    Ok(GlobalFile { path: path.to_owned(), global: parse(path, parse_global)?, copy })
}

/// The UUID of the machine that a settings file is of, encrypted or not.
///
/// # Errors
/// [`Error::Io`] and what is wrong with the file.
pub(super) fn machine_uuid(path: &Path) -> Result<Uuid> {
    match parse_machine(&read(path)?) {
        Ok(parsed) => Ok(parsed.machine.uuid),
        Err(ParseError::Encrypted(sealed)) => Ok(sealed.uuid),
        Err(cause) => Err(cause.in_file(path, previous(path).exists())),
    }
}

/// Reads a machine's settings file, with paths made absolute. `expected` is the UUID that it is registered with; without
/// it the user named the file. An encrypted one is opened when its password is known or the user, who named it, can be
/// asked.
///
/// # Errors
/// [`Error::Missing`], [`Error::Io`], and what is wrong with the file: [`Error::Settings`], [`Error::Crypt`],
/// [`Error::Unsupported`].
pub(super) fn read_machine(path: &Path, expected: Option<Uuid>, passwords: &Passwords) -> Result<ParsedMachine> {
    let bytes = read(path).map_err(|error| if is_missing(&error) { missing(path) } else { error })?;
    let mut parsed = match parse_machine(&bytes) {
        Err(ParseError::Encrypted(sealed)) if expected.is_none() || passwords.has(&sealed.key_id) => {
            unseal(path, &sealed, passwords)?
        }
        other => other.map_err(|cause| cause.in_file(path, previous(path).exists()))?,
    };
    let found = parsed.machine.uuid;
    if let Some(expected) = expected.filter(|uuid| *uuid != found) {
        let expected = format!("the UUID {expected} that VirtualBox.xml registers the machine with");
        let cause = ParseError::Broken { line: parsed.line, expected, found: found.to_string() };
        return Err(cause.in_file(path, previous(path).exists()));
    }
    let folder = path.parent().unwrap_or(path);
    let machine = &mut parsed.machine;
    machine.snapshot_folder = snapshot_folder(path, folder, &machine.snapshot_folder, parsed.version, machine.uuid);
    machine.state_file = machine.state_file.take().map(|file| location::absolute(folder, &file.to_string_lossy()));
    Ok(parsed)
}

fn unseal(path: &Path, sealed: &Sealed, passwords: &Passwords) -> Result<ParsedMachine> {
    let what = path.display().to_string();
    let store = KeyStore::parse(&sealed.key_store, Cipher::Gcm, &what)?;
    let key = store.unlock(&passwords.get(&what, &sealed.key_id)?, &sealed.key_id)?;
    let machine = decrypt_machine(&sealed.text, &key, sealed.uuid, &what)?;
    parse_unsealed(&machine, &sealed.version).map_err(|cause| cause.in_file(path, previous(path).exists()))
}

/// The folder for snapshots. Before VirtualBox 4.0 a machine's file could lie in a folder with those of others, and
/// the default was then a folder of the machine's UUID.
fn snapshot_folder(path: &Path, folder: &Path, written: &Path, version: Version, uuid: Uuid) -> PathBuf {
    if !written.as_os_str().is_empty() {
        return location::absolute(folder, &written.to_string_lossy());
    }
    let in_own_folder = path.file_stem() == folder.file_name();
    if version >= Version::MACHINE_FOLDERS || in_own_folder {
        folder.join("Snapshots")
    } else {
        folder.join(format!("{{{uuid}}}"))
    }
}

fn parse<T>(path: &Path, parser: impl Fn(&[u8]) -> Result<T, ParseError>) -> Result<T> {
    parser(&read(path)?).map_err(|cause| cause.in_file(path, previous(path).exists()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |source| Error::Io { path: path.to_path_buf(), action: "read", source };
    let refused = |reason: String| Error::Unsupported { path: path.to_path_buf(), reason };
    // Asked first: opening a FIFO would wait for a writer.
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(refused("it is not a regular file".to_owned()));
    }
    if metadata.len() > LARGEST {
        let len = metadata.len();
        return Err(refused(format!("it has {len} bytes, and no settings file has more than {LARGEST}")));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(bytes)
}

/// The copy that VirtualBox leaves of a settings file when it writes a new one.
fn previous(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(PREVIOUS);
    PathBuf::from(name)
}

/// Whether a file is such a copy, by its name.
pub(super) fn is_previous(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(PREVIOUS.as_bytes())
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

fn missing(path: &Path) -> Error {
    let copy = previous(path);
    let hint = if copy.exists() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        format!("its previous copy {name}-prev is there; copy it to {name}, or give it with --settings")
    } else {
        "restore it from a backup, or give the paths of the machine's images".to_owned()
    };
    Error::Missing { path: path.to_path_buf(), hint }
}
