//! Loads a whole registry: first all files are read, then the media are put together, because a medium may be
//! registered in another machine's file than the one that uses it.

use super::media::Forest;
use super::place::Place;
use super::settings::GlobalFile;
use super::uses::Uses;
use super::xml::ParsedMedium;
use super::{Error, MachineEntry, Registry, Result, copies, folder, location, settings};
use crate::crypt::Passwords;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Settings files that are worth a thread.
const ENTRIES_PER_THREAD: usize = 64;

/// Threads that read settings files at most.
const MAX_THREADS: usize = 8;

impl Registry {
    /// Loads the registry of the user who runs this program: [`folder::find`], then [`Registry::load`].
    ///
    /// # Errors
    /// As both.
    pub fn load_default(passwords: &Passwords) -> Result<Self> {
        let registry = folder::find().and_then(|folder| Self::load(&folder, passwords));
        registry.map_err(|error| folder::name_invoking_user(error, std::env::var_os("SUDO_USER")))
    }

    /// Loads what a user names: VirtualBox's folder, or the home that has it; `VirtualBox.xml` or its copy; a machine's
    /// `.vbox` file; or any other folder, of which all `.vbox` files are loaded.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::NotFound`] for a folder without settings; as [`Registry::load`] and
    /// [`Registry::load_machine_file`].
    pub fn load_from(path: &Path, passwords: &Passwords) -> Result<Self> {
        match Place::of(&absolute(path)?)? {
            Place::Folder(folder) => Self::load(&folder, passwords),
            Place::GlobalFile(file) => {
                let mut loader = Loader::default();
                let global = settings::read_global_file(&file, &mut loader.forest.problems)?;
                Ok(loader.load_global(global, passwords))
            }
            Place::MachineFile(file) => Self::load_machine_file(&file, passwords),
            Place::Machines { files, cut } => {
                let mut loader = Loader::default();
                if cut {
                    loader.forest.problems.push(Error::TooMany { path: path.to_path_buf() });
                }
                for path in files {
                    loader.add_found_file(path, passwords);
                }
                Ok(loader.finish(absolute(path)?))
            }
        }
    }

    /// Loads `VirtualBox.xml` in `folder` and the machines that it names. Encrypted machines are opened when
    /// their password is known; nobody is asked. A machine that cannot be read is listed with its error; other things
    /// that are wrong are in [`Registry::problems`].
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no `VirtualBox.xml` nor a copy of it; what is wrong with it when neither
    /// can be used.
    pub fn load(folder: &Path, passwords: &Passwords) -> Result<Self> {
        let mut loader = Loader::default();
        let global = settings::read_global(&absolute(folder)?, &mut loader.forest.problems)?;
        Ok(loader.load_global(global, passwords))
    }

    /// Loads a single machine's `.vbox` file, without any `VirtualBox.xml`. The password of an encrypted one is asked for.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn load_machine_file(path: &Path, passwords: &Passwords) -> Result<Self> {
        let path = absolute(path)?;
        let file = settings::read_machine(&path, None, passwords)?;
        let folder = path.parent().unwrap_or(&path).to_path_buf();
        let outdated = copies::original(&path).map(|_| path.clone()).into_iter().collect();
        let mut loader = Loader { outdated, ..Loader::default() };
        loader.add_machine(Found { uuid: file.parsed.machine.uuid, path, file: Ok(file), registered: None });
        Ok(loader.finish(folder))
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    let full = std::path::absolute(path).map_err(|source| Error::Io {
        path: path.to_path_buf(),
        action: "find the full path of",
        source,
    })?;
    Ok(location::normalize(&full))
}

#[derive(Default)]
struct Loader {
    machines: Vec<MachineEntry>,
    /// The settings files and the media that they register, not yet put together.
    files: Vec<(PathBuf, Vec<ParsedMedium>)>,
    forest: Forest,
    outdated: Vec<PathBuf>,
}

impl Loader {
    /// Loads the machines that a `VirtualBox.xml` names.
    fn load_global(mut self, file: GlobalFile, passwords: &Passwords) -> Registry {
        let GlobalFile { path, global, copy } = file;
        let folder = path.parent().unwrap_or(&path).to_path_buf();
        self.outdated.extend(copy);
        self.files.push((path, global.media));
        self.machines.reserve_exact(global.machines.len());
        let mut entries = global.machines;
        // Said twice, it is one machine all the same.
        let mut seen = HashSet::new();
        entries.retain(|entry| seen.insert(entry.clone()));
        for found in find_all(&folder, &entries, passwords).into_iter().flatten() {
            self.add_machine(found);
        }
        self.finish(folder)
    }

    /// Adds a machine whose file lay somewhere below the folder that the user gave.
    fn add_found_file(&mut self, path: PathBuf, passwords: &Passwords) {
        let (uuid, file) = match settings::machine_uuid(&path) {
            Ok(uuid) => (uuid, settings::read_machine(&path, Some(uuid), passwords)),
            Err(error) => (Uuid::nil(), Err(error)),
        };
        self.add_machine(Found { uuid, path, file, registered: None });
    }

    fn add_machine(&mut self, found: Found) {
        let Found { uuid, path, file, registered } = found;
        let machine = file.map(|settings::MachineFile { parsed, copy }| {
            if let Some((copy, problem)) = copy {
                self.outdated.push(copy);
                self.forest.problems.push(problem);
            }
            if let Some(registered) = registered {
                let what = format!("The machine {:?}", parsed.machine.name);
                self.forest.problems.push(Error::Moved { what, registered, found: path.clone() });
            }
            let problems = parsed.problems.into_iter().map(|cause| cause.in_file(&path));
            self.forest.problems.extend(problems);
            self.files.push((path.clone(), parsed.media));
            parsed.machine
        });
        self.machines.push(MachineEntry { uuid, path, machine });
    }

    fn finish(self, folder: PathBuf) -> Registry {
        let Self { machines, files, mut forest, outdated } = self;
        forest.media.reserve(files.iter().map(|(_, media)| media.len()).sum());
        for (file, media) in files {
            forest.add(&file, media);
        }
        let Forest { media, mut problems, .. } = forest;
        problems.extend(duplicates(&machines));
        let (uses, unregistered) = Uses::collect(&machines, &media);
        problems.extend(unregistered);
        Registry { folder, machines, media, problems, outdated, uses }
    }
}

/// A machine's settings file, read.
struct Found {
    uuid: Uuid,
    path: PathBuf,
    file: Result<settings::MachineFile>,
    /// Where it is registered, when it was found elsewhere.
    registered: Option<PathBuf>,
}

/// Reads the files of all machines, in their order, in several parts. Thousands are read on several threads, which hides the time that
/// each waits for the disk.
fn find_all(folder: &Path, entries: &[(Uuid, String)], passwords: &Passwords) -> Vec<Vec<Found>> {
    let wanted = entries.len().div_ceil(ENTRIES_PER_THREAD).min(MAX_THREADS);
    let size = entries.len().div_ceil(wanted.max(1)).max(1);
    let find_some = |some: &[(Uuid, String)]| -> Vec<Found> {
        some.iter().map(|(uuid, written)| find(folder, *uuid, written, passwords)).collect()
    };
    if wanted <= 1 {
        return vec![find_some(entries)];
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = entries.chunks(size).map(|some| scope.spawn(move || find_some(some))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn find(folder: &Path, uuid: Uuid, written: &str, passwords: &Passwords) -> Found {
    let path = location::absolute(folder, written);
    let file = settings::read_machine(&path, Some(uuid), passwords);
    if let Err(Error::Missing { .. }) = file
        && location::is_absolute(written)
    {
        // It may have moved together with the settings folder.
        for place in location::relocations(folder, written).into_iter().filter(|place| copies::is_any_there(place)) {
            if let Ok(file) = settings::read_machine(&place, Some(uuid), passwords) {
                return Found { uuid, path: place, file: Ok(file), registered: Some(path) };
            }
        }
    }
    Found { uuid, path, file, registered: None }
}

fn duplicates(machines: &[MachineEntry]) -> Vec<Error> {
    let mut seen: HashMap<Uuid, &Path> = HashMap::new();
    let mut problems = Vec::new();
    for entry in machines.iter().filter(|entry| !entry.uuid.is_nil()) {
        if let Some(first) = seen.get(&entry.uuid) {
            problems.push(Error::Duplicate {
                what: format!("The machine {}", entry.uuid),
                kept: first.display().to_string(),
                ignored: entry.path.display().to_string(),
            });
        } else {
            seen.insert(entry.uuid, &entry.path);
        }
    }
    problems
}
