//! A cache of the names of directories, for file systems whose directories have no index, or one that is no faster than
//! a listing.

use super::{Entry, Error, Node, Result};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of names to cache, for one file system.
const CACHE: u64 = 32 << 20;
/// The most bytes of a directory that is cached next to them: millions of names.
const LARGE: u64 = 512 << 20;
/// Directories expected in that.
const DIRECTORIES: usize = 256;
/// What an entry takes besides its name, roughly.
const ENTRY: u64 = 56;

/// The names of a directory, and the bytes that they take.
struct Directory {
    nodes: HashMap<Vec<u8>, Node>,
    size: u64,
    /// What is missing from them, when entries cannot be read.
    missing: Option<Arc<Error>>,
}

impl Directory {
    fn find(&self, name: &[u8]) -> Result<Option<Node>> {
        match (self.nodes.get(name), &self.missing) {
            (None, Some(missing)) => Err(Error::Incomplete(missing.clone())),
            (found, _) => Ok(found.copied()),
        }
    }
}

#[derive(Clone)]
struct BySize;

impl Weighter<Node, Arc<Directory>> for BySize {
    fn weight(&self, _node: &Node, directory: &Arc<Directory>) -> u64 {
        directory.size
    }
}

/// The names of the directories that were used last.
pub(super) struct Names {
    cached: Cache<Node, Arc<Directory>, BySize>,
    /// The last directory that is too large for others next to it.
    large: Mutex<Option<(Node, Arc<Directory>)>>,
    /// The most bytes that it may have.
    most: u64,
}

impl Names {
    /// An empty cache.
    pub(super) fn new() -> Self {
        // One shard: a directory may take half of all.
        let options =
            OptionsBuilder::new().estimated_items_capacity(DIRECTORIES).weight_capacity(CACHE).shards(1).build();
        let options = options.expect("both capacities are given");
        let cached = Cache::with_options(options, BySize, DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self { cached, large: Mutex::default(), most: LARGE }
    }

    fn known(&self, node: Node) -> Option<Arc<Directory>> {
        let large = || self.large.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.cached.get(&node).or_else(|| large().filter(|(of, _)| *of == node).map(|(_, directory)| directory))
    }

    /// The node that has a name in a directory, whose entries `list` returns. Of several entries with the same name the
    /// first counts. A directory that is too large to be cached is searched each time. A name that is not among those
    /// of a directory whose other entries cannot be read is an error.
    pub(super) fn lookup(
        &self,
        directory: Node,
        name: &[u8],
        list: impl FnOnce(&mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<()>,
    ) -> Result<Option<Node>> {
        if let Some(known) = self.known(directory) {
            return known.find(name);
        }
        let (mut nodes, mut size, mut found) = (HashMap::new(), ENTRY, None);
        let reported = list(&mut |entry| {
            if found.is_none() && entry.name == name {
                found = Some(entry.node);
            }
            size += ENTRY + entry.name.len() as u64;
            if size <= self.most {
                nodes.entry(entry.name).or_insert(entry.node);
            } else if found.is_some() {
                return ControlFlow::Break(());
            } else {
                nodes = HashMap::new();
            }
            ControlFlow::Continue(())
        });
        let missing = match reported {
            Ok(()) => None,
            Err(Error::Incomplete(missing)) if missing.is_lasting() => Some(missing),
            // What failed now may work later.
            Err(_) if found.is_some() => return Ok(found),
            Err(error) => return Err(error),
        };
        let failed = found.is_none().then(|| missing.clone()).flatten();
        if size <= CACHE / 2 {
            self.cached.insert(directory, Arc::new(Directory { nodes, size, missing }));
        } else if size <= self.most {
            let large = Some((directory, Arc::new(Directory { nodes, size, missing })));
            *self.large.lock().unwrap_or_else(PoisonError::into_inner) = large;
        }
        failed.map_or(Ok(found), |missing| Err(Error::Incomplete(missing)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guestfs::NodeKind;
    use crate::ondisk::ParseError;

    fn entries(count: u64) -> impl Fn(&mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<()> {
        move |each| {
            for number in 1..=count {
                let name = format!("{number:0200}").into_bytes();
                let entry = Entry { name, node: Node(number), kind: NodeKind::File, next: number };
                if each(entry).is_break() {
                    break;
                }
            }
            Ok(())
        }
    }

    #[test]
    fn finds_names_of_an_incomplete_directory_and_fails_for_others() {
        let names = Names::new();
        let lasting = || {
            let cause = ParseError::corrupt(0, "directory", "a block", "none");
            Arc::new(cause.into())
        };
        let incomplete = |each: &mut dyn FnMut(Entry) -> ControlFlow<()>| {
            entries(9)(each)?;
            Err(Error::Incomplete(lasting()))
        };
        let name = |number: u64| format!("{number:0200}").into_bytes();
        assert!(matches!(names.lookup(Node(1), b"none", incomplete), Err(Error::Incomplete(_))));
        let unused = |_: &mut dyn FnMut(Entry) -> ControlFlow<()>| panic!("listed again");
        assert_eq!(names.lookup(Node(1), &name(7), unused).unwrap(), Some(Node(7)));
        assert!(matches!(names.lookup(Node(1), b"none", unused), Err(Error::Incomplete(_))));
        let failing = |each: &mut dyn FnMut(Entry) -> ControlFlow<()>| entries(9)(each).and(Err(Error::NotFile));
        assert_eq!(names.lookup(Node(2), &name(7), failing).unwrap(), Some(Node(7)));
        assert_eq!(names.lookup(Node(2), b"none", entries(9)).unwrap(), None, "once it can be read");
    }

    #[test]
    fn names_are_cached_unless_there_are_too_many() {
        let names = Names { most: 20 << 20, ..Names::new() };
        let name = |number: u64| format!("{number:0200}").into_bytes();
        assert_eq!(names.lookup(Node(1), &name(7), entries(9)).unwrap(), Some(Node(7)));
        let unused = |_: &mut dyn FnMut(Entry) -> ControlFlow<()>| panic!("listed again");
        assert_eq!(names.lookup(Node(1), &name(9), unused).unwrap(), Some(Node(9)));
        assert_eq!(names.lookup(Node(1), &name(10), unused).unwrap(), None);
        assert_eq!(names.lookup(Node(3), &name(7), entries(60_000)).unwrap(), Some(Node(7)));
        assert_eq!(names.lookup(Node(3), &name(59_000), unused).unwrap(), Some(Node(59_000)));
        assert_eq!(names.lookup(Node(4), &name(7), entries(70_000)).unwrap(), Some(Node(7)));
        assert_eq!(names.lookup(Node(4), &name(69_000), unused).unwrap(), Some(Node(69_000)));
        assert_eq!(names.lookup(Node(1), &name(9), unused).unwrap(), Some(Node(9)), "next to a large one");
        for _ in 0..2 {
            assert_eq!(names.lookup(Node(2), &name(99_000), entries(100_000)).unwrap(), Some(Node(99_000)));
            assert_eq!(names.lookup(Node(2), &name(3), entries(100_000)).unwrap(), Some(Node(3)));
            assert_eq!(names.lookup(Node(2), b"none", entries(100_000)).unwrap(), None);
        }
    }
}
