//! Chooses among copies: the one rule for machines, media and parents.
//!
//! A backup or a copied machine has the UUIDs of the live one, and names the live one's absolute paths. Identity
//! decides which files qualify, and nearness which of them is meant: what lies next to the file that names it, in its
//! machine's directory, elsewhere under what the user gave, then the user's registry, and absolute paths last.

use super::location;
use super::resolve::file_id;
use crate::storage::FileIdentity;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use unicode_normalization::UnicodeNormalization;

/// The most directories above a settings file that are searched for copies, and the most components of a path that are
/// tried.
const MAX_LEVELS: usize = 32;

/// The most names in a directory that are considered equal up to case and Unicode form.
const MAX_NAMES: usize = 16;

/// How far a file lies from the one that names it, nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// In the same directory, or where a relative path leads.
    NextTo,
    /// In the machine's directory, or in the one of its snapshots.
    Machine,
    /// Elsewhere under what the user gave, or in the image's own tree.
    Given,
    /// At the path in the user's own registry.
    Registry,
    /// At an absolute path that leads elsewhere.
    Absolute,
}

/// How a file's header compares to the identity that is wanted, the surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Identity {
    /// All ids are the expected ones, and one of them changes with the content.
    Exact,
    /// The UUID is the expected one, and nothing is known of the content.
    Uuid,
    /// Neither side has an id.
    Unknown,
    /// The same image, or perhaps so, with other content.
    Changed,
    /// Another image.
    Different,
}

/// A file that may be the one that is looked for.
#[derive(Debug)]
pub(super) struct Candidate<T> {
    pub(super) path: PathBuf,
    pub(super) rank: Rank,
    pub(super) identity: Identity,
    /// What was read of it.
    pub(super) value: T,
}

/// The candidates for one file, offered from the nearest to the farthest.
#[derive(Debug)]
pub(super) struct Choice<T> {
    /// With the step in which it was offered: those of one step are equally near.
    offered: Vec<(usize, Candidate<T>)>,
    seen: HashSet<FileIdentity>,
    step: usize,
}

/// The file that is meant, and others that could be.
#[derive(Debug)]
pub(super) struct Chosen<T> {
    pub(super) candidate: Candidate<T>,
    /// Other files that could be it, but are less sure or farther away.
    pub(super) rivals: Vec<PathBuf>,
}

impl<T> Choice<T> {
    pub(super) fn new() -> Self {
        Self { offered: Vec::new(), seen: HashSet::new(), step: 0 }
    }

    /// Adds candidates that are equally near, and farther away than all before. Another name of a file is no candidate.
    pub(super) fn offer(&mut self, candidates: impl IntoIterator<Item = Candidate<T>>) {
        self.step += 1;
        for candidate in candidates.into_iter().filter(|one| one.identity != Identity::Different) {
            if file_id(&candidate.path).is_none_or(|id| self.seen.insert(id)) {
                self.offered.push((self.step, candidate));
            }
        }
    }

    /// Whether nothing farther away can be meant.
    pub(super) fn is_decided(&self) -> bool {
        self.offered.iter().any(|(_, one)| one.identity <= Identity::Uuid)
    }

    /// The file that is meant: of the surest identity, and of those the nearest.
    ///
    /// # Errors
    /// The paths of several that are equally sure and near, when they may differ in content.
    pub(super) fn take(self) -> Result<Option<Chosen<T>>, Vec<PathBuf>> {
        let mut offered = self.offered;
        // The first of those that are equally sure.
        let Some(at) = (0..offered.len()).min_by_key(|at| offered[*at].1.identity) else { return Ok(None) };
        let (step, candidate) = offered.remove(at);
        let is_equal = |other: &&(usize, Candidate<T>)| other.0 == step && other.1.identity == candidate.identity;
        let equal: Vec<PathBuf> = offered.iter().filter(is_equal).map(|(_, one)| one.path.clone()).collect();
        if candidate.identity != Identity::Exact && !equal.is_empty() {
            return Err(std::iter::once(candidate.path).chain(equal).collect());
        }
        Ok(Some(Chosen { candidate, rivals: offered.into_iter().map(|(_, one)| one.path).collect() }))
    }
}

/// What the user pointed at, or the home of the registry that is read by default.
#[derive(Debug, Default)]
pub(super) struct Scope {
    root: PathBuf,
    /// `root` without symbolic links.
    real: PathBuf,
    /// Whether the user gave it, so that what lies outside of it may belong to another copy.
    given: bool,
    /// The homes inside of `root` that have settings of their own: each may be a copy of another.
    homes: Vec<PathBuf>,
    /// Directories, and what they are without symbolic links.
    directories: Mutex<HashMap<PathBuf, PathBuf>>,
    /// Where tails of paths begin, and whether there is such a file or directory.
    present: Mutex<HashMap<PathBuf, bool>>,
}

impl Scope {
    pub(super) fn new(root: &Path, given: bool) -> Self {
        let real = fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
        Self { root: root.to_path_buf(), real, given, ..Self::default() }
    }

    /// The home that a settings directory lies in where VirtualBox keeps it in homes; or else the directory itself.
    pub(super) fn home_of(settings: &Path) -> &Path {
        let up = if settings.ends_with(".VirtualBox") {
            1
        } else if settings.ends_with(".config/VirtualBox") || settings.ends_with("Library/VirtualBox") {
            2
        } else {
            0
        };
        settings.ancestors().nth(up).unwrap_or(settings)
    }

    /// What the user gave; none for the registry that is read by default.
    pub(super) fn given(&self) -> Option<&Path> {
        self.given.then_some(&*self.root)
    }

    /// With homes inside of it.
    pub(super) fn with_homes(self, homes: Vec<PathBuf>) -> Self {
        Self { homes, ..self }
    }

    /// Whether a path is inside, and in the same home as the settings in `dir` where those lie in a home.
    pub(super) fn is_near(&self, dir: &Path, path: &Path) -> bool {
        let home = self.homes.iter().filter(|home| dir.starts_with(home)).max_by_key(|home| home.components().count());
        self.contains(path) && home.is_none_or(|home| path.starts_with(home))
    }

    /// Whether a path, all symbolic links followed, leads to where the user pointed. Everything does when the user
    /// pointed nowhere.
    pub(super) fn contains(&self, path: &Path) -> bool {
        if !self.given {
            return true;
        }
        if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
            return fs::canonicalize(path).is_ok_and(|real| real.starts_with(&self.real));
        }
        path.parent().is_some_and(|directory| self.real_path(directory).starts_with(&self.real))
    }

    /// A directory without symbolic links. Each of its ancestors is checked once, and need not exist.
    fn real_path(&self, directory: &Path) -> PathBuf {
        if let Some(known) = lock(&self.directories).get(directory) {
            return known.clone();
        }
        let is_link = fs::symlink_metadata(directory).is_ok_and(|metadata| metadata.is_symlink());
        let real = match directory.parent().zip(directory.file_name()) {
            Some((parent, name)) if !is_link => self.real_path(parent).join(name),
            _ => fs::canonicalize(directory).unwrap_or_else(|_| directory.to_path_buf()),
        };
        lock(&self.directories).insert(directory.to_path_buf(), real.clone());
        real
    }

    /// The directories from `dir` up to what the user gave.
    fn levels<'a>(&'a self, dir: &'a Path) -> impl Iterator<Item = &'a Path> {
        let inside = |level: &&Path| level.starts_with(&self.root) || level.starts_with(&self.real);
        dir.ancestors().take_while(inside).take(MAX_LEVELS)
    }

    /// The files that are inside where `written`, an absolute path, would be if everything had been copied together,
    /// seen from a file in `dir`: its tails at every level, nearest first.
    pub(super) fn copies(&self, dir: &Path, written: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let parts = location::parts(written);
        for level in self.levels(dir) {
            for path in self.tails(level, &parts) {
                if path.exists() && self.contains(&path) && !found.contains(&path) {
                    found.push(path);
                }
            }
        }
        found
    }

    /// The directories inside that may stand for the one of `written` and have been renamed: what it lay in.
    pub(super) fn directories_around(&self, dir: &Path, written: &str) -> Vec<PathBuf> {
        let mut parts = location::parts(written);
        parts.truncate(parts.len().saturating_sub(2));
        let mut found = Vec::new();
        for level in self.levels(dir) {
            let tails = self.tails(level, &parts);
            let all = tails.into_iter().chain(std::iter::once(level.to_path_buf()));
            found.extend(all.filter(|path| path.is_dir() && self.contains(&path.join("x"))));
        }
        found.dedup();
        found
    }

    /// The tails of a path at one level, the longest first, that can be there.
    fn tails(&self, level: &Path, parts: &[&str]) -> Vec<PathBuf> {
        let from = parts.len().saturating_sub(MAX_LEVELS);
        let tails = (from..parts.len()).filter(|at| {
            let first = level.join(parts[*at]);
            if let Some(known) = lock(&self.present).get(&first) {
                return *known;
            }
            let is_there = first.exists();
            lock(&self.present).insert(first, is_there);
            is_there
        });
        tails.map(|at| level.join(parts[at..].iter().collect::<PathBuf>())).collect()
    }

    /// Where else `written`, an absolute path, may be: around `dir` by the names of its directories.
    pub(super) fn elsewhere(&self, dir: &Path, written: &str) -> Vec<PathBuf> {
        let mut found = location::relocations(dir, written);
        found.retain(|path| path.exists() && (!self.given || !self.contains(path)));
        found
    }
}

fn lock<T>(cache: &Mutex<T>) -> MutexGuard<'_, T> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The files whose paths differ from `path` in nothing but case and Unicode's forms, below the part of it that is
/// there.
pub(super) fn alike(path: &Path) -> Vec<PathBuf> {
    let Some(there) = path.ancestors().find(|ancestor| ancestor.is_dir()) else { return Vec::new() };
    let Ok(rest) = path.strip_prefix(there) else { return Vec::new() };
    let mut found = vec![there.to_path_buf()];
    for name in rest.components().take(MAX_LEVELS) {
        let wanted = folded(&name.as_os_str().to_string_lossy());
        let entries = found.iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten());
        let same = entries.filter(|entry| folded(&entry.file_name().to_string_lossy()) == wanted);
        let mut next: Vec<PathBuf> = same.map(|entry| entry.path()).take(MAX_NAMES).collect();
        next.sort();
        found = next;
    }
    found
}

/// A name as file systems that ignore case and normalize Unicode compare it.
fn folded(name: &str) -> String {
    name.nfd().collect::<String>().to_lowercase().nfc().collect()
}
