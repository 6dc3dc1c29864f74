//! Looking names up whatever their case. A directory has no order, so that all of it would have to be read for each name;
//! instead the hashes of its names are kept, with the slots that they are in.

use crate::guestfs::gaps::Listed;
use crate::guestfs::{Entry, Error, Node, Result};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes kept of directories' hashes.
const CACHED: u64 = 32 << 20;
/// Directories that these are for, about. So few that one large directory may take all of the memory.
const DIRECTORIES: usize = 32;

/// A name as a directory tells it.
pub(in crate::guestfs) struct Named {
    /// The number of the first of its slots.
    pub(in crate::guestfs) start: u64,
    /// What it names.
    pub(in crate::guestfs) entry: Entry,
    /// Another name, that it is found by too but that is not listed.
    pub(in crate::guestfs) alias: Option<Vec<u8>>,
}

impl Listed for Named {
    fn entry(&mut self) -> &mut Entry {
        &mut self.entry
    }
}

/// Tells the names of a directory from a slot on, until the closure that it is given breaks off.
pub(in crate::guestfs) type Tell<'a> = &'a dyn Fn(u64, &mut dyn FnMut(Named) -> ControlFlow<()>) -> Result<()>;

/// The hashes of a directory's names.
struct Index {
    /// Hash and slot, in order.
    hashes: Vec<(u32, u32)>,
    /// What the others fail with, if these are not all: a directory that is corrupt is read as far as it can be.
    missing: Option<Arc<Error>>,
}

#[derive(Clone)]
struct ByMemory;

impl Weighter<Node, Arc<Index>> for ByMemory {
    fn weight(&self, _: &Node, index: &Arc<Index>) -> u64 {
        100 + (index.hashes.capacity() * size_of::<(u32, u32)>()) as u64
    }
}

/// The names of the directories that were last looked into.
pub(in crate::guestfs) struct Names {
    upper: Box<dyn Fn(char) -> char + Send + Sync>,
    hasher: RandomState,
    directories: Cache<Node, Arc<Index>, ByMemory>,
}

impl Names {
    /// `upper` makes the upper-case letter of a letter.
    pub(in crate::guestfs) fn new(upper: impl Fn(char) -> char + Send + Sync + 'static) -> Self {
        let directories = Cache::with_weighter(DIRECTORIES, CACHED, ByMemory);
        Self { upper: Box::new(upper), hasher: RandomState::new(), directories }
    }

    /// The node that a directory has a name for: the very name if there is one, else the name but for its case, else the
    /// alias.
    ///
    /// # Errors
    /// What `tell` says, unless the name is found before.
    pub(in crate::guestfs) fn find(&self, directory: Node, name: &[u8], tell: Tell<'_>) -> Result<Option<Node>> {
        let index = self.index(directory, tell);
        let folded = self.folded(name);
        let hash = self.hash(&folded);
        let first = index.hashes.partition_point(|(known, _)| *known < hash);
        let (mut similar, mut by_alias) = (None, None);
        for (_, start) in index.hashes[first..].iter().take_while(|(known, _)| *known == hash) {
            let mut found = None;
            tell(u64::from(*start), &mut |named| {
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

    fn index(&self, directory: Node, tell: Tell<'_>) -> Arc<Index> {
        if let Some(index) = self.directories.get(&directory) {
            return index;
        }
        let mut hashes = Vec::new();
        let reported = tell(0, &mut |named| {
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
        // What failed now may work later.
        if index.missing.as_ref().is_none_or(|error| error.is_lasting()) {
            self.directories.insert(directory, index.clone());
        }
        index
    }

    fn hash(&self, folded: &[u8]) -> u32 {
        u32::try_from(self.hasher.hash_one(folded) >> 32).unwrap_or(0)
    }

    /// A name with its letters in upper case. Bytes that are not UTF-8 are themselves.
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

/// The upper-case letter of a letter by the rules of Unicode, where that is one letter.
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
    fn the_very_name_comes_before_one_in_another_case_and_that_before_an_alias() {
        let tells = Cell::new(0);
        let names = Names::new(upper_case);
        let tell: Tell<'_> = &|from, each| {
            tells.set(tells.get() + 1);
            for i in (0..LISTED.len()).filter(|i| *i as u64 * 2 >= from) {
                if each(named(i)).is_break() {
                    break;
                }
            }
            Ok(())
        };
        let find = |name: &str| names.find(Node(1), name.as_bytes(), tell).unwrap().map(|node| node.0);
        for (i, (name, _)) in LISTED.iter().enumerate() {
            assert_eq!(find(name), Some(i as u64 + 100), "{name}");
        }
        assert_eq!(find("reaDME"), Some(100));
        assert_eq!(find("Ärger"), Some(103));
        assert_eq!(find("STRAßE.TXT"), Some(102));
        assert_eq!(find("strae~1.txt"), Some(102));
        assert_eq!(find("y"), None);
        assert!(tells.get() < 20, "the directory was read {} times", tells.get());
    }

    #[test]
    fn what_a_corrupt_directory_still_tells_is_found() {
        let names = Names::new(upper_case);
        let tell: Tell<'_> = &|from, each| {
            for i in (0..3).filter(|i| *i as u64 * 2 >= from) {
                if each(named(i)).is_break() {
                    return Ok(());
                }
            }
            Err(Error::NotDirectory)
        };
        assert_eq!(names.find(Node(1), b"readme", tell).unwrap(), Some(Node(100)));
        assert!(names.find(Node(1), b"x", tell).is_err());
    }
}
