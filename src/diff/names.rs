//! The names of a directory in the order of their bytes, a bounded number of them at a time.

use crate::view::{self, View};
use std::ops::ControlFlow;

/// Names that are in memory at a time. A larger directory is listed once for so many of its names.
const PORTION: usize = 1 << 18;

/// A name in a directory.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) name: Box<[u8]>,
    pub(super) inode: u64,
}

/// The names of a directory, sorted, each once.
pub(super) struct SortedNames {
    directory: u64,
    /// Names of a portion.
    limit: usize,
    /// The portion at hand, the next name last.
    portion: Vec<Name>,
    /// The last name of the portion when more follow it.
    more_after: Option<Box<[u8]>>,
    /// Whether there are entries that cannot be read.
    pub(super) is_incomplete: bool,
}

impl SortedNames {
    /// Lists a directory.
    pub(super) fn new(view: &View, directory: u64) -> view::Result<Self> {
        Self::in_portions(view, directory, PORTION)
    }

    fn in_portions(view: &View, directory: u64, limit: usize) -> view::Result<Self> {
        let mut names = Self { directory, limit, portion: Vec::new(), more_after: None, is_incomplete: false };
        names.fill(view, None)?;
        Ok(names)
    }

    /// The next name, which stays.
    pub(super) fn peek(&mut self, view: &View) -> view::Result<Option<&Name>> {
        if self.portion.is_empty()
            && let Some(last) = self.more_after.take()
        {
            self.fill(view, Some(&last))?;
        }
        Ok(self.portion.last())
    }

    /// Takes the name that was peeked at.
    pub(super) fn take(&mut self) -> Option<Name> {
        self.portion.pop()
    }

    /// Gets the first names after `after`.
    fn fill(&mut self, view: &View, after: Option<&[u8]>) -> view::Result<()> {
        let limit = self.limit;
        let mut names: Vec<Name> = Vec::new();
        let mut is_cut = false;
        let mut missing = None;
        view.entries(self.directory, 0, &mut |entry| {
            let name = entry.name.as_encoded_bytes();
            if view::is_missing_name(entry.name) {
                missing = Some(entry.inode);
            }
            if after.is_none_or(|after| name > after) {
                names.push(Name { name: name.into(), inode: entry.inode });
                if names.len() == 2 * limit {
                    is_cut = true;
                    names.select_nth_unstable_by(limit, |a, b| a.name.cmp(&b.name));
                    names.truncate(limit);
                }
            }
            ControlFlow::Continue(())
        })?;
        // A file may really have that name.
        if let Some(inode) = missing.filter(|inode| matches!(view.attributes(*inode), Err(view::Error::Missing))) {
            self.is_incomplete = true;
            names.retain(|name| name.inode != inode);
        }
        names.sort_by(|a, b| a.name.cmp(&b.name));
        if names.len() > limit {
            is_cut = true;
            names.truncate(limit);
        }
        self.more_after = names.last().filter(|_| is_cut).map(|last| last.name.clone());
        names.dedup_by(|b, a| a.name == b.name);
        names.reverse();
        self.portion = names;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::memory::MemoryDisk;
    use crate::view::{Appearance, ROOT, Source};
    use crate::volume::Volume;
    use std::sync::Arc;

    #[test]
    fn names_are_sorted_in_portions_of_any_size() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let disk = Arc::new(MemoryDisk::new(vec![0; 4096]));
        let volumes = (0..12).map(|index| Volume { index, ..Volume::whole(&*disk) }).collect();
        let source =
            Source { disk, volumes, image: image.path().into(), guests: Vec::new(), only_guests: false, stored: 0 };
        let view = View::new(source, Appearance::default()).unwrap();
        let sorted = |limit| {
            let mut names = SortedNames::in_portions(&view, ROOT, limit).unwrap();
            let mut all = Vec::new();
            while names.peek(&view).unwrap().is_some() {
                assert!(names.portion.len() <= limit, "{limit}");
                all.extend(names.take().map(|name| String::from_utf8(name.name.to_vec()).unwrap()));
            }
            all
        };
        let whole = sorted(100);
        assert_eq!(whole.len(), 14);
        assert!(whole.is_sorted() && whole.contains(&"vol11".to_owned()), "{whole:?}");
        for limit in 1..16 {
            assert_eq!(sorted(limit), whole, "{limit}");
        }
    }
}
