//! Reads the settings files themselves.

use super::xml::{Encrypted, Global, ParseError, ParsedMachine, Version, parse_decrypted, parse_global, parse_machine};
use super::{Error, Result, copies, location};
use crate::crypt::{Cipher, KeyStore, Passwords, decrypt_machine};
use crate::error_kind::IoError;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The largest settings file that is read, in bytes. A machine with 10,000 snapshots has some 40 MiB.
const LARGEST: u64 = 256 << 20;

/// The name of the file that registers machines.
const GLOBAL: &str = "VirtualBox.xml";

/// Whether a file is `VirtualBox.xml` or, by its name, a copy of it, such as `VirtualBox.xml-prev`.
pub(super) fn is_global_name(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(GLOBAL))
}

/// Whether a file is `VirtualBox.xml`.
pub(super) fn is_global(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == GLOBAL)
}

/// Whether a directory has `VirtualBox.xml` or a copy of it.
pub(super) fn are_in(directory: &Path) -> bool {
    copies::is_any_there(&directory.join(GLOBAL))
}

/// The content of `VirtualBox.xml`, and the copy that was read in its place.
pub(super) struct GlobalFile {
    pub(super) path: PathBuf,
    pub(super) global: Global,
    /// The copy, when it may lack the last changes.
    pub(super) copy: Option<PathBuf>,
}

/// Reads `VirtualBox.xml` in a directory, as [`read_global_file`].
///
/// # Errors
/// [`Error::NotFound`] when neither it nor a copy is there; as [`read_global_file`].
pub(super) fn read_global(directory: &Path, problems: &mut Vec<Error>) -> Result<GlobalFile> {
    let path = directory.join(GLOBAL);
    read_global_file(&path, problems).map_err(|error| match error {
        error if copies::is_missing(&error) => Error::NotFound {
            what: path.display().to_string(),
            hint:
                "the directory holds no settings of VirtualBox; give the one that does with --settings or VBOX_USER_HOME"
                    .to_owned(),
        },
        error => error,
    })
}

/// Reads a file that is `VirtualBox.xml`, or its newest copy where it is missing or broken, which is then a problem; or
/// a copy that the user chose.
///
/// # Errors
/// [`Error::Io`] and what is wrong with the file.
pub(super) fn read_global_file(path: &Path, problems: &mut Vec<Error>) -> Result<GlobalFile> {
    let (global, copy) = copies::read_newest(path, |path| parse(path, parse_global))?;
    let is_copy = !is_global(path);
    if copy.is_none() && !is_copy {
        problems.extend(emptied(path, &global));
    }
    let copy = match copy {
        Some((copy, problem)) => {
            problems.push(problem);
            Some(copy)
        }
        None => is_copy.then(|| path.to_owned()),
    };
    Ok(GlobalFile { path: path.to_owned(), global, copy })
}

/// What a list without machines was before its last change: VirtualBox was seen to drop all of them when it could not
/// load one.
fn emptied(path: &Path, global: &Global) -> Option<Error> {
    if !global.machines.is_empty() {
        return None;
    }
    let copy = copies::previous(path);
    let machines = parse(&copy, parse_global).ok()?.machines.len();
    (machines > 0).then(|| Error::Emptied { path: path.to_path_buf(), copy, machines })
}

/// The UUID of the machine that a settings file or, if it is lost, its newest copy is of, encrypted or not.
///
/// # Errors
/// [`Error::Io`] and what is wrong with the file.
pub(super) fn machine_uuid(path: &Path) -> Result<Uuid> {
    let read_uuid = |path: &Path| match parse_machine(&read(path)?) {
        Ok(parsed) => Ok(parsed.machine.uuid),
        Err(ParseError::Encrypted(encrypted)) => Ok(encrypted.uuid),
        Err(cause) => Err(cause.in_file(path)),
    };
    copies::read_newest(path, read_uuid).map(|(uuid, _)| uuid).map_err(|error| or_missing(path, error))
}

/// A machine's settings.
pub(super) struct MachineFile {
    /// Their content, with absolute paths.
    pub(super) parsed: ParsedMachine,
    /// The copy that was read because the file itself is lost, and why.
    pub(super) copy: Option<(PathBuf, Error)>,
}

/// Reads a machine's settings file or, where it is missing or broken, its newest copy. `expected` is the UUID that it
/// is registered with; without it the user named the file. An encrypted one is opened when its password is known or the
/// user, who named it, can be asked.
///
/// # Errors
/// [`Error::Missing`], [`Error::Io`], and what is wrong with the file: [`Error::Settings`], [`Error::Crypt`],
/// [`Error::Unsupported`].
pub(super) fn read_machine(path: &Path, expected: Option<Uuid>, passwords: &Passwords) -> Result<MachineFile> {
    let read_one = |path: &Path| match parse_machine(&read(path)?) {
        Err(ParseError::Encrypted(encrypted)) if expected.is_none() || passwords.has(&encrypted.key_id) => {
            decrypt(path, &encrypted, passwords)
        }
        other => other.map_err(|cause| cause.in_file(path)),
    };
    let (mut parsed, copy) = copies::read_newest(path, read_one).map_err(|error| or_missing(path, error))?;
    let found = parsed.machine.uuid;
    if let Some(expected) = expected.filter(|uuid| *uuid != found) {
        let expected = format!("the UUID {expected} that VirtualBox.xml registers the machine with");
        let cause = ParseError::Broken { line: parsed.line, expected, found: found.to_string() };
        return Err(cause.in_file(copy.as_ref().map_or(path, |(copy, _)| copy)));
    }
    let directory = path.parent().unwrap_or(path);
    let machine = &mut parsed.machine;
    machine.snapshot_directory =
        snapshot_directory(path, directory, &machine.snapshot_directory, parsed.version, machine.uuid);
    machine.state_file = machine.state_file.take().map(|file| location::absolute(directory, &file.to_string_lossy()));
    Ok(MachineFile { parsed, copy })
}

fn decrypt(path: &Path, encrypted: &Encrypted, passwords: &Passwords) -> Result<ParsedMachine> {
    let what = path.display().to_string();
    let store = KeyStore::parse(&encrypted.key_store, Cipher::Gcm, &what)?;
    let key = store.unlock(&passwords.get(&what, &encrypted.key_id)?, &encrypted.key_id)?;
    let machine = decrypt_machine(&encrypted.text, &key, encrypted.uuid, &what)?;
    parse_decrypted(&machine, &encrypted.version).map_err(|cause| cause.in_file(path))
}

/// The directory for snapshots. Before VirtualBox 4.0 a machine's file could lie in a directory with those of others,
/// and the default was then a directory of the machine's UUID.
fn snapshot_directory(path: &Path, directory: &Path, written: &Path, version: Version, uuid: Uuid) -> PathBuf {
    if !written.as_os_str().is_empty() {
        return location::absolute(directory, &written.to_string_lossy());
    }
    let in_own_directory = path.file_stem() == directory.file_name();
    if version >= Version::MACHINE_DIRECTORIES || in_own_directory {
        directory.join("Snapshots")
    } else {
        directory.join(format!("{{{uuid}}}"))
    }
}

fn parse<T>(path: &Path, parser: impl Fn(&[u8]) -> Result<T, ParseError>) -> Result<T> {
    parser(&read(path)?).map_err(|cause| cause.in_file(path))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = |source| IoError::new(path, "read", source);
    let refused = |reason: String| Error::Unsupported { path: path.to_path_buf(), reason };
    log::debug!("Reading {}", path.display());
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

fn or_missing(path: &Path, error: Error) -> Error {
    if copies::is_missing(&error) {
        let hint = "restore it from a backup, or give the paths of the machine's images".to_owned();
        return Error::Missing { path: path.to_path_buf(), hint };
    }
    error
}
