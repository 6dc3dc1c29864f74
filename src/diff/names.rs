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
        let mut names = Self { directory, portion: Vec::new(), more_after: None, is_incomplete: false };
        names.fill(view, None, PORTION)?;
        Ok(names)
    }

    /// The next name, which stays.
    pub(super) fn peek(&mut self, view: &View) -> view::Result<Option<&Name>> {
        if self.portion.is_empty()
            && let Some(last) = self.more_after.take()
        {
            self.fill(view, Some(&last), PORTION)?;
        }
        Ok(self.portion.last())
    }

    /// Takes the name that was peeked at.
    pub(super) fn take(&mut self) -> Option<Name> {
        self.portion.pop()
    }

    /// Gets the first names after `after`.
    fn fill(&mut self, view: &View, after: Option<&[u8]>, limit: usize) -> view::Result<()> {
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
