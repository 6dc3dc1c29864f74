//! The names of folders, kept for looking them up, for file systems whose folders have no index, or one that is no
//! quicker than a listing.

use super::{Entry, Node, Result};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of names kept in memory, for one file system.
const CACHE: u64 = 32 << 20;
/// The most bytes of a folder that is kept beside them: millions of names.
const LARGE: u64 = 512 << 20;
/// Folders expected in that.
const FOLDERS: usize = 256;
/// What an entry takes besides its name, roughly.
const ENTRY: u64 = 56;

/// The names of a folder, and the bytes that they take.
struct Folder {
    nodes: HashMap<Vec<u8>, Node>,
    size: u64,
}

#[derive(Clone)]
struct BySize;

impl Weighter<Node, Arc<Folder>> for BySize {
    fn weight(&self, _node: &Node, folder: &Arc<Folder>) -> u64 {
        folder.size
    }
}

/// The names of the folders that were used last.
pub(super) struct Names {
    kept: Cache<Node, Arc<Folder>, BySize>,
    /// The last folder that is too large for others beside it.
    large: Mutex<Option<(Node, Arc<Folder>)>>,
    /// The most bytes that it may have.
    most: u64,
}

impl Names {
    /// None yet.
    pub(super) fn new() -> Self {
        // One shard: a folder may take half of all.
        let options = OptionsBuilder::new().estimated_items_capacity(FOLDERS).weight_capacity(CACHE).shards(1).build();
        let options = options.expect("both capacities are given");
        let kept = Cache::with_options(options, BySize, DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self { kept, large: Mutex::default(), most: LARGE }
    }

    fn known(&self, node: Node) -> Option<Arc<Folder>> {
        let large = || self.large.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.kept.get(&node).or_else(|| large().filter(|(of, _)| *of == node).map(|(_, folder)| folder))
    }

    /// The node that has a name in a folder, whose entries `list` tells. Of several entries with the same name the
    /// first counts. A folder that is too large to be kept is searched each time.
    pub(super) fn lookup(
        &self,
        folder: Node,
        name: &[u8],
        list: impl FnOnce(&mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<()>,
    ) -> Result<Option<Node>> {
        if let Some(known) = self.known(folder) {
            return Ok(known.nodes.get(name).copied());
        }
        let (mut nodes, mut size, mut found) = (HashMap::new(), ENTRY, None);
        list(&mut |entry| {
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
        })?;
        if size <= CACHE / 2 {
            self.kept.insert(folder, Arc::new(Folder { nodes, size }));
        } else if size <= self.most {
            let large = Some((folder, Arc::new(Folder { nodes, size })));
            *self.large.lock().unwrap_or_else(PoisonError::into_inner) = large;
        }
        Ok(found)
    }
}

/// A name that can be in a folder: what separates folders or ends a name is replaced.
pub(super) fn usable(mut name: Vec<u8>) -> Vec<u8> {
    for byte in &mut name {
        if matches!(byte, b'/' | 0) {
            *byte = b'_';
        }
    }
    match &*name {
        b"" | b"." | b".." => [b"_", &*name].concat(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guestfs::NodeKind;

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
    fn names_become_usable() {
        assert_eq!(usable(b"a/b\0".to_vec()), b"a_b_");
        assert_eq!((usable(b"..".to_vec()), usable(Vec::new())), (b"_..".to_vec(), b"_".to_vec()));
    }

    #[test]
    fn names_are_kept_unless_there_are_too_many() {
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
        assert_eq!(names.lookup(Node(1), &name(9), unused).unwrap(), Some(Node(9)), "beside a large one");
        for _ in 0..2 {
            assert_eq!(names.lookup(Node(2), &name(99_000), entries(100_000)).unwrap(), Some(Node(99_000)));
            assert_eq!(names.lookup(Node(2), &name(3), entries(100_000)).unwrap(), Some(Node(3)));
            assert_eq!(names.lookup(Node(2), b"none", entries(100_000)).unwrap(), None);
        }
    }
}
