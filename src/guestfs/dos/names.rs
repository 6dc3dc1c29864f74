//! Case-insensitive lookup of names. A directory is unordered, so each lookup would have to read all of it. Instead the
//! hashes of its names are cached, with the slots that hold them.

use crate::guestfs::gaps::Listed;
use crate::guestfs::{Entry, Error, Node, Result};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes of hashes cached for all directories.
const CACHED: u64 = 32 << 20;
/// The expected number of cached directories: small, so that one large directory may use all of the memory.
const DIRECTORIES: usize = 32;

/// A name in a directory.
pub(in crate::guestfs) struct Named {
    /// The index of its first slot.
    pub(in crate::guestfs) start: u64,
    /// What it names.
    pub(in crate::guestfs) entry: Entry,
    /// Another name that lookup accepts but a listing does not show.
    pub(in crate::guestfs) alias: Option<Vec<u8>>,
}

impl Listed for Named {
    fn entry(&mut self) -> &mut Entry {
        &mut self.entry
    }
}

/// Calls a closure for the names of a directory from a slot on, until the closure breaks.
pub(in crate::guestfs) type ListNames<'a> = &'a dyn Fn(u64, &mut dyn FnMut(Named) -> ControlFlow<()>) -> Result<()>;

/// The hashes of a directory's names.
struct Index {
    /// Hash and slot, sorted.
    hashes: Vec<(u32, u32)>,
    /// The error for all other names when these are incomplete: a corrupt directory is read as far as possible.
    missing: Option<Arc<Error>>,
}

#[derive(Clone)]
struct ByMemory;

impl Weighter<Node, Arc<Index>> for ByMemory {
    fn weight(&self, _: &Node, index: &Arc<Index>) -> u64 {
        100 + (index.hashes.capacity() * size_of::<(u32, u32)>()) as u64
    }
}

/// The names of recently used directories.
pub(in crate::guestfs) struct Names {
    upper: Box<dyn Fn(char) -> char + Send + Sync>,
    hasher: RandomState,
    directories: Cache<Node, Arc<Index>, ByMemory>,
}

impl Names {
    /// Creates an empty cache. `upper` converts a character to upper case.
    pub(in crate::guestfs) fn new(upper: impl Fn(char) -> char + Send + Sync + 'static) -> Self {
        let directories = Cache::with_weighter(DIRECTORIES, CACHED, ByMemory);
        Self { upper: Box::new(upper), hasher: RandomState::new(), directories }
    }

    /// Finds the node with a name in a directory: the exact name comes before one that differs in case, and that before
    /// an alias.
    ///
    /// # Errors
    /// Whatever `list` returns, unless the name is found before.
    pub(in crate::guestfs) fn find(&self, directory: Node, name: &[u8], list: ListNames<'_>) -> Result<Option<Node>> {
        let index = self.index(directory, list);
        let folded = self.folded(name);
        let hash = self.hash(&folded);
        let first = index.hashes.partition_point(|(known, _)| *known < hash);
        let (mut similar, mut by_alias) = (None, None);
        for (_, start) in index.hashes[first..].iter().take_while(|(known, _)| *known == hash) {
            let mut found = None;
            list(u64::from(*start), &mut |named| {
                found = Some(named);
                ControlFlow::Break(())
            })?;
            let Some(Named { entry, alias, .. }) = found else { continue };
            if entry.name == name {
                return Ok(Some(entry.node));
            }
            if self.folded(&entry.name) == folded {
                similar = similar.or(Some(entry.node));
            } else if alias.is_some_and(|alias| self.folded(&alias) == folded) {
                by_alias = by_alias.or(Some(entry.node));
            }
        }
        match (similar.or(by_alias), &index.missing) {
            (None, Some(missing)) => Err(Error::Incomplete(missing.clone())),
            (found, _) => Ok(found),
        }
    }

    fn index(&self, directory: Node, list: ListNames<'_>) -> Arc<Index> {
        if let Some(index) = self.directories.get(&directory) {
            return index;
        }
        let mut hashes = Vec::new();
        let reported = list(0, &mut |named| {
            let start = u32::try_from(named.start).unwrap_or(u32::MAX);
            hashes.push((self.hash(&self.folded(&named.entry.name)), start));
            hashes.extend(named.alias.map(|alias| (self.hash(&self.folded(&alias)), start)));
            ControlFlow::Continue(())
        });
        hashes.sort_unstable();
        hashes.dedup();
        hashes.shrink_to_fit();
        let missing = reported.err().map(|error| match error {
            Error::Incomplete(first) => first,
            other => Arc::new(other),
        });
        let index = Arc::new(Index { hashes, missing });
        // A transient failure is not cached.
        if index.missing.as_ref().is_none_or(|error| error.is_lasting()) {
            self.directories.insert(directory, index.clone());
        }
        index
    }

    fn hash(&self, folded: &[u8]) -> u32 {
        u32::try_from(self.hasher.hash_one(folded) >> 32).unwrap_or(0)
    }

    /// A name in upper case. Bytes that are not UTF-8 stay as they are.
    fn folded(&self, name: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(name.len());
        for chunk in name.utf8_chunks() {
            for c in chunk.valid().chars() {
                out.extend((self.upper)(c).encode_utf8(&mut [0; 4]).as_bytes());
            }
            out.extend(chunk.invalid());
        }
        out
    }
}

/// The upper case of a character in Unicode, where that is a single character.
pub(in crate::guestfs) fn upper_case(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guestfs::NodeKind;
    use std::cell::Cell;

    const LISTED: [(&str, Option<&str>); 6] = [
        ("Readme", None),
        ("README", None),
        ("straße.txt", Some("STRAE~1.TXT")),
        ("ÄRGER", None),
        ("ärger", None),
        ("x", None),
    ];

    fn named(i: usize) -> Named {
        let (name, alias) = LISTED[i];
        let node = Node(i as u64 + 100);
        let entry = Entry { name: name.as_bytes().to_vec(), node, kind: NodeKind::File, next: i as u64 * 2 + 1 };
        Named { start: i as u64 * 2, entry, alias: alias.map(|alias| alias.as_bytes().to_vec()) }
    }

    #[test]
    fn prefers_exact_name_then_other_case_then_alias() {
        let calls = Cell::new(0);
        let names = Names::new(upper_case);
        let list: ListNames<'_> = &|from, each| {
            calls.set(calls.get() + 1);
            for i in (0..LISTED.len()).filter(|i| *i as u64 * 2 >= from) {
                if each(named(i)).is_break() {
                    break;
                }
            }
            Ok(())
        };
        let find = |name: &str| names.find(Node(1), name.as_bytes(), list).unwrap().map(|node| node.0);
        for (i, (name, _)) in LISTED.iter().enumerate() {
            assert_eq!(find(name), Some(i as u64 + 100), "{name}");
        }
        assert_eq!(find("reaDME"), Some(100));
        assert_eq!(find("Ärger"), Some(103));
        assert_eq!(find("STRAßE.TXT"), Some(102));
        assert_eq!(find("strae~1.txt"), Some(102));
        assert_eq!(find("y"), None);
        assert!(calls.get() < 20, "the directory was read {} times", calls.get());
    }

    #[test]
    fn finds_readable_names_of_corrupt_directory() {
        let names = Names::new(upper_case);
        let list: ListNames<'_> = &|from, each| {
            for i in (0..3).filter(|i| *i as u64 * 2 >= from) {
                if each(named(i)).is_break() {
                    return Ok(());
                }
            }
            Err(Error::NotDirectory)
        };
        assert_eq!(names.find(Node(1), b"readme", list).unwrap(), Some(Node(100)));
        assert!(names.find(Node(1), b"x", list).is_err());
    }
}
