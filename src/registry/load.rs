//! Loads a whole registry: first all files are read, then the media are put together, because a medium may be
//! registered in another machine's file than the one that uses it.

use super::media::Forest;
use super::xml::{ParsedMachine, ParsedMedium};
use super::{Error, Identify, MachineEntry, Registry, Result, Uses, folder, location, settings};
use crate::image;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use uuid::Uuid;

impl Registry {
    /// Loads the registry of the user who runs this program: [`folder::find`], then [`Registry::load`].
    ///
    /// # Errors
    /// As both.
    pub fn load_default() -> Result<Self> {
        Self::load(&folder::find()?)
    }

    /// Loads `VirtualBox.xml` in `folder` and the machines that it names. A machine that cannot be read is listed
    /// with its error; other things that are wrong are in [`Registry::problems`].
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no `VirtualBox.xml` nor a previous copy; what is wrong with it when neither
    /// can be used.
    pub fn load(folder: &Path) -> Result<Self> {
        Self::load_with(folder, &image::identify)
    }

    /// Loads a single machine's `.vbox` file, without any `VirtualBox.xml`.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn load_machine_file(path: &Path) -> Result<Self> {
        Self::load_machine_file_with(path, &image::identify)
    }

    pub(super) fn load_with(folder: &Path, identify: &Identify<'_>) -> Result<Self> {
        let folder = absolute(folder)?;
        let mut loader = Loader::new(identify);
        let global = settings::read_global(&folder, &mut loader.forest.problems)?;
        loader.files.push((folder.join("VirtualBox.xml"), global.media));
        for (uuid, written) in global.machines {
            loader.add_machine(&folder, uuid, &written);
        }
        Ok(loader.finish(folder))
    }

    pub(super) fn load_machine_file_with(path: &Path, identify: &Identify<'_>) -> Result<Self> {
        let path = absolute(path)?;
        let parsed = settings::read_machine(&path, None)?;
        let folder = path.parent().unwrap_or(&path).to_path_buf();
        let mut loader = Loader::new(identify);
        loader.add_parsed(parsed.machine.uuid, path, Ok(parsed));
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

struct Loader<'a> {
    machines: Vec<MachineEntry>,
    /// The settings files and the media that they register, not yet put together.
    files: Vec<(PathBuf, Vec<ParsedMedium>)>,
    forest: Forest<'a>,
}

impl<'a> Loader<'a> {
    fn new(identify: &'a Identify<'a>) -> Self {
        Self { machines: Vec::new(), files: Vec::new(), forest: Forest::new(identify) }
    }

    fn add_machine(&mut self, folder: &Path, uuid: Uuid, written: &str) {
        let path = location::absolute(folder, written);
        let parsed = settings::read_machine(&path, Some(uuid));
        if let Err(Error::Missing { .. }) = parsed
            && location::is_absolute(written)
            && let Some((found, parsed)) = search(folder, uuid, written)
        {
            let what = format!("The machine {:?}", parsed.machine.name);
            self.forest.problems.push(Error::Moved { what, registered: path, found: found.clone() });
            self.add_parsed(uuid, found, Ok(parsed));
        } else {
            self.add_parsed(uuid, path, parsed);
        }
    }

    fn add_parsed(&mut self, uuid: Uuid, path: PathBuf, parsed: Result<ParsedMachine>) {
        let machine = parsed.map(|parsed| {
            let problems = parsed.problems.into_iter().map(|fault| fault.in_file(&path, false));
            self.forest.problems.extend(problems);
            self.files.push((path.clone(), parsed.media));
            parsed.machine
        });
        self.machines.push(MachineEntry { uuid, path, machine });
    }

    fn finish(self, folder: PathBuf) -> Registry {
        let Self { machines, files, mut forest } = self;
        for (file, media) in files {
            forest.add(&file, media);
        }
        let Forest { media, mut problems, .. } = forest;
        problems.extend(duplicates(&machines));
        let (uses, unregistered) = Uses::collect(&machines, &media);
        problems.extend(unregistered);
        Registry { folder, machines, media, problems, uses }
    }
}

/// Looks for a machine whose settings file is not where it was when its host still ran.
fn search(folder: &Path, uuid: Uuid, written: &str) -> Option<(PathBuf, ParsedMachine)> {
    let places = location::relocations(folder, written).into_iter().filter(|path| path.is_file());
    places.into_iter().find_map(|path| settings::read_machine(&path, Some(uuid)).ok().map(|parsed| (path, parsed)))
}

fn duplicates(machines: &[MachineEntry]) -> Vec<Error> {
    let mut seen: HashMap<Uuid, &Path> = HashMap::new();
    let mut problems = Vec::new();
    for entry in machines {
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
