//! Loads a whole registry. All files are read before the media are joined, because a medium may be registered in the
//! file of a machine other than the one that uses it.

use super::media::{Forest, outside};
use super::nearness::Scope;
use super::settings::GlobalFile;
use super::settings_source::{SettingsSource, SettingsTree, settings_in};
use super::uses::Uses;
use super::xml::ParsedMedium;
use super::{Error, MachineEntry, Registry, Result, copies, directory, found, location, ovf, settings};
use crate::crypt::Passwords;
use crate::error_kind::IoError;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The number of settings files that justifies another thread.
const ENTRIES_PER_THREAD: usize = 64;

/// The most threads that read settings files.
const MAX_THREADS: usize = 8;

impl Registry {
    /// Loads the registry of the user who runs this program: [`directory::find`], then [`Registry::load`].
    ///
    /// # Errors
    /// As both.
    pub(crate) fn load_default(passwords: &Passwords) -> Result<Self> {
        let registry = directory::find().and_then(|directory| Self::load(&directory, passwords));
        registry.map_err(|error| directory::name_invoking_user(error, std::env::var_os("SUDO_USER")))
    }

    /// Loads the settings that a user names: VirtualBox's directory, or the home that has it; `VirtualBox.xml` or its
    /// copy; a machine's `.vbox` file; an appliance; or any other directory, where each `VirtualBox.xml` and `.vbox`
    /// file is loaded, a machine once.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::NotFound`] for a directory without settings; as [`Registry::load`] and
    /// [`Registry::load_machine_file`].
    pub(crate) fn load_from(path: &Path, passwords: &Passwords) -> Result<Self> {
        let path = &*absolute(path)?;
        match SettingsSource::of(path)? {
            SettingsSource::Directory(directory) => {
                let root = if directory == *path { Scope::home_of(&directory) } else { path };
                Loader::new(Scope::new(root, true)).load_directory(&directory, passwords)
            }
            SettingsSource::GlobalFile(file) => {
                let mut loader = Loader::new(Scope::new(Scope::home_of(file.parent().unwrap_or(&file)), true));
                let global = settings::read_global_file(&file, &mut loader.forest.problems)?;
                let directory = loader.add_global(global, passwords);
                Ok(loader.finish(directory))
            }
            SettingsSource::NoSettings => found::load(path),
            SettingsSource::Appliance(descriptor) => ovf::load(&descriptor),
            SettingsSource::MachineFile(file) => Self::load_machine_file(&file, passwords),
            SettingsSource::Tree(tree) => {
                let homes = tree.directories.iter().map(|directory| Scope::home_of(directory).to_path_buf()).collect();
                Loader::new(Scope::new(path, true).with_homes(homes)).load_tree(path, tree, passwords)
            }
        }
    }

    /// Loads `VirtualBox.xml` in `directory` and the machines that it names. Encrypted machines are opened when
    /// their password is known; the user is not prompted. A machine that cannot be read is listed with its error; other
    /// problems are in [`Registry::problems`].
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is neither a `VirtualBox.xml` nor a copy of it; the error of `VirtualBox.xml`
    /// when neither can be used.
    pub(crate) fn load(directory: &Path, passwords: &Passwords) -> Result<Self> {
        let directory = absolute(directory)?;
        Loader::new(Scope::new(Scope::home_of(&directory), false)).load_directory(&directory, passwords)
    }

    /// Opens an encrypted machine, whose password is known. The other settings are not read again.
    ///
    /// # Errors
    /// What is wrong with the password or the machine's file.
    pub(crate) fn open_machine(mut self, at: usize, passwords: &Passwords) -> Result<Self> {
        let MachineEntry { uuid, path, .. } = self.machines.swap_remove(at);
        let file = settings::read_machine(&path, Some(uuid).filter(|uuid| !uuid.is_nil()), passwords)?;
        let Parsed { mut closed, files, problems } = self.parsed.unwrap_or_default();
        let registered = closed.remove(&path);
        self.problems.truncate(problems);
        let mut forest = Forest::new(self.scope);
        forest.problems = self.problems;
        let mut loader = Loader { machines: self.machines, closed, files, forest, outdated: self.outdated };
        loader.add_machine(Found { uuid, path, file: Ok(file), registered });
        // Back to where it was listed: the last one had taken its position.
        let last = loader.machines.len() - 1;
        loader.machines.swap(at, last);
        Ok(loader.finish(self.directory))
    }

    /// Loads a single machine's `.vbox` file, without any `VirtualBox.xml`. Prompts for the password of an encrypted
    /// one.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn load_machine_file(path: &Path, passwords: &Passwords) -> Result<Self> {
        let path = absolute(path)?;
        let file = settings::read_machine(&path, None, passwords)?;
        let directory = path.parent().unwrap_or(&path).to_path_buf();
        let outdated = copies::original(&path).map(|_| path.clone()).into_iter().collect();
        let mut loader = Loader { outdated, ..Loader::new(Scope::new(&directory, true)) };
        loader.add_machine(Found { uuid: file.parsed.machine.uuid, path, file: Ok(file), registered: None });
        Ok(loader.finish(directory))
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    let full = std::path::absolute(path).map_err(|e| IoError::new(path, "find the full path of", e))?;
    Ok(location::normalize(&full))
}

struct Loader {
    machines: Vec<MachineEntry>,
    /// Where encrypted machines are registered that were found elsewhere, by where they were found.
    closed: HashMap<PathBuf, PathBuf>,
    /// The settings files and the media that they register, not yet put together.
    files: Vec<(PathBuf, Vec<ParsedMedium>)>,
    forest: Forest,
    outdated: Vec<PathBuf>,
}

impl Loader {
    fn new(scope: Scope) -> Self {
        Self {
            machines: Vec::new(),
            closed: HashMap::new(),
            files: Vec::new(),
            forest: Forest::new(scope),
            outdated: Vec::new(),
        }
    }

    fn load_directory(mut self, directory: &Path, passwords: &Passwords) -> Result<Registry> {
        let global = settings::read_global(directory, &mut self.forest.problems)?;
        let directory = self.add_global(global, passwords);
        Ok(self.finish(directory))
    }

    /// Loads all settings below the directory that the user gave. What cannot be read is a problem, unless nothing else
    /// is there.
    fn load_tree(mut self, root: &Path, tree: SettingsTree, passwords: &Passwords) -> Result<Registry> {
        if tree.cut {
            self.forest.problems.push(Error::TooMany { path: root.to_path_buf() });
        }
        let mut unreadable = Vec::new();
        for directory in &tree.directories {
            match settings::read_global(directory, &mut self.forest.problems) {
                Ok(global) => {
                    self.add_global(global, passwords);
                }
                Err(error) => unreadable.push(error),
            }
        }
        // By path, because backups may share files by hard links.
        let mut seen = HashSet::new();
        let mut is_new = |path: &Path| seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf()));
        self.machines.retain(|entry| is_new(&entry.path));
        for path in tree.machines {
            if is_new(&path) {
                self.add_found_file(path, passwords);
            }
        }
        if unreadable.len() == tree.directories.len() && self.machines.is_empty() && !unreadable.is_empty() {
            return Err(unreadable.swap_remove(0));
        }
        self.forest.problems.append(&mut unreadable);
        Ok(self.finish(root.to_path_buf()))
    }

    /// Adds the machines and media that a `VirtualBox.xml` names, and returns its directory.
    fn add_global(&mut self, file: GlobalFile, passwords: &Passwords) -> PathBuf {
        let GlobalFile { path, global, copy } = file;
        let directory = path.parent().unwrap_or(&path).to_path_buf();
        self.outdated.extend(copy);
        self.files.push((path, global.media));
        self.machines.reserve_exact(global.machines.len());
        let mut entries = global.machines;
        // An entry that is repeated is one machine.
        let mut seen = HashSet::new();
        entries.retain(|entry| seen.insert(entry.clone()));
        let found = find_all(&self.forest.scope, &directory, &entries, passwords);
        let mut renamed = Renamed::default();
        for (found, (_, written)) in found.into_iter().flatten().zip(&entries) {
            let found = renamed.find(&self.forest.scope, &directory, written, found, passwords);
            self.add_machine(found);
        }
        directory
    }

    /// Adds a machine whose file was found below the directory that the user gave.
    fn add_found_file(&mut self, path: PathBuf, passwords: &Passwords) {
        let (uuid, file) = match settings::machine_uuid(&path) {
            Ok(uuid) => (uuid, settings::read_machine(&path, Some(uuid), passwords)),
            Err(error) => (Uuid::nil(), Err(error)),
        };
        self.add_machine(Found { uuid, path, file, registered: None });
    }

    fn add_machine(&mut self, found: Found) {
        let Found { uuid, path, file, registered } = found;
        if let (Err(Error::Crypt(_)), Some(registered)) = (&file, &registered) {
            self.closed.insert(path.clone(), registered.clone());
        }
        let machine = file.map(|settings::MachineFile { parsed, copy }| {
            if let Some((copy, problem)) = copy {
                self.outdated.push(copy);
                self.forest.problems.push(problem);
            }
            let what = format!("The machine {:?}", parsed.machine.name);
            self.forest.problems.extend(outside(&self.forest.scope, &what, &path));
            match registered {
                // Both exist, and the user pointed at one of them.
                Some(registered) if registered.exists() => {
                    log::info!("{what} is registered at {}; {} is nearer", registered.display(), path.display());
                }
                Some(registered) => {
                    self.forest.problems.push(Error::Moved { what, registered, found: path.clone(), by: "UUID" });
                }
                None => {}
            }
            let problems = parsed.problems.into_iter().map(|cause| cause.in_file(&path));
            self.forest.problems.extend(problems);
            self.files.push((path.clone(), parsed.media));
            parsed.machine
        });
        self.machines.push(MachineEntry { uuid, path, machine });
    }

    fn finish(self, directory: PathBuf) -> Registry {
        let Self { machines, closed, files, mut forest, outdated } = self;
        let is_closed = machines.iter().any(|entry| entry.key_id().is_some());
        let parsed = is_closed.then(|| Parsed { closed, files: files.clone(), problems: forest.problems.len() });
        forest.media.reserve(files.iter().map(|(_, media)| media.len()).sum());
        for (file, media) in files {
            forest.add(&file, media);
        }
        for entry in &machines {
            if let Ok(machine) = &entry.machine {
                forest.adopt(machine, &entry.path);
            }
        }
        let Forest { media, mut problems, scope, .. } = forest;
        problems.extend(duplicates(&machines));
        let (uses, unregistered) = Uses::collect(&machines, &media);
        problems.extend(unregistered);
        Registry { directory, machines, media, problems, outdated, uses, scope, parsed, is_found: false }
    }
}

/// What the settings files of a registry say, for joining the media once more when an encrypted machine is opened.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    closed: HashMap<PathBuf, PathBuf>,
    files: Vec<(PathBuf, Vec<ParsedMedium>)>,
    /// How many of the registry's problems were found while reading.
    problems: usize,
}

/// A machine's settings file, read.
struct Found {
    uuid: Uuid,
    path: PathBuf,
    file: Result<settings::MachineFile>,
    /// Where it is registered, when it was found elsewhere.
    registered: Option<PathBuf>,
}

/// Reads the files of all machines, in order and in several batches. Thousands are read on several threads, which hides
/// the latency of the disk.
fn find_all(scope: &Scope, directory: &Path, entries: &[(Uuid, String)], passwords: &Passwords) -> Vec<Vec<Found>> {
    let wanted = entries.len().div_ceil(ENTRIES_PER_THREAD).min(MAX_THREADS);
    let size = entries.len().div_ceil(wanted.max(1)).max(1);
    let find_some = |some: &[(Uuid, String)]| -> Vec<Found> {
        some.iter().map(|(uuid, written)| find(scope, directory, *uuid, written, passwords)).collect()
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

fn find(scope: &Scope, directory: &Path, uuid: Uuid, written: &str, passwords: &Passwords) -> Found {
    let path = location::absolute(directory, written);
    let read = |path: &Path| settings::read_machine(path, Some(uuid), passwords);
    let is_inside = scope.is_near(directory, &path);
    let file = if is_inside { read(&path) } else { Err(missing(&path, "look for its settings file")) };
    if !matches!(file, Err(Error::Missing { .. })) {
        return Found { uuid, path, file, registered: None };
    }
    // It may have moved along with the settings directory, or be a copy.
    read_first(scope.copies(directory, written), &path, uuid, passwords).unwrap_or(Found {
        uuid,
        file,
        path,
        registered: None,
    })
}

/// The first of these files that is the machine's. Without its password an encrypted one is known by its UUID all the
/// same.
fn read_first(files: Vec<PathBuf>, registered: &Path, uuid: Uuid, passwords: &Passwords) -> Option<Found> {
    files.into_iter().filter(|file| copies::is_any_there(file) && file != registered).find_map(|path| {
        let file = settings::read_machine(&path, Some(uuid), passwords);
        let is_it = file.is_ok() || matches!(file, Err(Error::Crypt(_)));
        is_it.then(|| Found { uuid, path, file, registered: Some(registered.to_path_buf()) })
    })
}

fn missing(path: &Path, hint: &str) -> Error {
    Error::Missing { path: path.to_path_buf(), hint: hint.to_owned() }
}

/// The machines' files of directories in which some were renamed, by their UUIDs.
#[derive(Default)]
struct Renamed(HashMap<PathBuf, HashMap<Uuid, Vec<PathBuf>>>);

impl Renamed {
    /// Looks for a machine that was not found in the directories that its own may have been renamed in, and at last
    /// outside of what the user gave.
    fn find(&mut self, scope: &Scope, directory: &Path, written: &str, found: Found, passwords: &Passwords) -> Found {
        if !matches!(found.file, Err(Error::Missing { .. })) {
            return found;
        }
        let Found { uuid, path, file, .. } = found;
        // A file that was set aside under another name does not count.
        let is_named = |file: &Path| {
            file.file_name() == path.file_name() || file.file_stem() == file.parent().and_then(Path::file_name)
        };
        let mut directories = scope.directories_around(directory, written);
        directories.extend(
            path.ancestors().nth(2).filter(|directory| scope.contains(&directory.join("x"))).map(Path::to_path_buf),
        );
        for directory in directories {
            let same = self.files_in(&directory).get(&uuid).map_or(&[] as &[PathBuf], Vec::as_slice);
            match *same.iter().filter(|file| is_named(file)).collect::<Vec<_>>() {
                [same] => {
                    let file = settings::read_machine(same, Some(uuid), passwords);
                    return Found { uuid, path: same.clone(), file, registered: Some(path) };
                }
                [first, second, ..] => {
                    let hint = format!(
                        "{} and {} have its UUID; give the right one with --settings",
                        first.display(),
                        second.display()
                    );
                    return Found { uuid, file: Err(missing(&path, &hint)), path, registered: None };
                }
                [] => {}
            }
        }
        let in_other_home = scope.contains(&path) && !scope.is_near(directory, &path);
        if !(in_other_home && copies::is_any_there(&path))
            && let Some(found) = read_first(scope.elsewhere(directory, written), &path, uuid, passwords)
        {
            return found;
        }
        let file = match scope.is_near(directory, &path) {
            true => file,
            false => settings::read_machine(&path, Some(uuid), passwords),
        };
        Found { uuid, path, file, registered: None }
    }

    /// The machines' files in a directory and those in it.
    fn files_in(&mut self, directory: &Path) -> &HashMap<Uuid, Vec<PathBuf>> {
        self.0.entry(directory.to_path_buf()).or_insert_with(|| {
            let mut by_uuid: HashMap<Uuid, Vec<PathBuf>> = HashMap::new();
            for file in settings_in(directory, 1).unwrap_or_default().machines {
                if let Ok(uuid) = settings::machine_uuid(&file) {
                    by_uuid.entry(uuid).or_default().push(file);
                }
            }
            by_uuid
        })
    }
}

/// The problems of machines that are listed more than once.
fn duplicates(machines: &[MachineEntry]) -> Vec<Error> {
    let mut seen: HashMap<Uuid, &Path> = HashMap::new();
    let mut problems = Vec::new();
    for entry in machines.iter().filter(|entry| !entry.uuid.is_nil()) {
        if let Some(first) = seen.get(&entry.uuid) {
            problems.push(Error::Copies {
                what: format!("The machine {}", entry.uuid),
                first: first.to_path_buf(),
                second: entry.path.clone(),
            });
        } else {
            seen.insert(entry.uuid, &entry.path);
        }
    }
    problems
}
