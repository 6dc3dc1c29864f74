//! The entries of a directory: sorted, filtered, with a selected one.

use super::cursor::Cursor;
use super::message::{JobId, Opened};
use super::tree::NodeId;
use crate::browse::content::shown;
use crate::view::{Attributes, Kind};
use std::cmp::{Ordering, Reverse};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

/// What is known of the attributes of an entry: nothing yet, them, or why they cannot be read.
pub(crate) type Seen = Option<Result<Attributes, String>>;

/// An entry of a directory.
pub(crate) struct Entry {
    /// Its name.
    pub(crate) name: OsString,
    /// Its inode number in the view.
    pub(crate) inode: u64,
    /// What it is.
    pub(crate) kind: Kind,
    /// Its attributes.
    pub(crate) seen: Seen,
}

impl Entry {
    /// The name as it is shown.
    pub(crate) fn label(&self) -> String {
        shown(self.name.as_bytes())
    }

    /// Its attributes, where they were read.
    pub(crate) fn attributes(&self) -> Option<&Attributes> {
        self.seen.as_ref()?.as_ref().ok()
    }
}

/// What entries are sorted by; directories always come first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    /// The bytes of their names.
    #[default]
    Name,
    /// Their size, the largest first.
    Size,
    /// When they were modified, the latest first.
    Time,
}

impl Sort {
    /// The next one, in a circle.
    pub(crate) fn next(self) -> Self {
        match self {
            Self::Name => Self::Size,
            Self::Size => Self::Time,
            Self::Time => Self::Name,
        }
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Size => "size",
            Self::Time => "time",
        }
    }

    fn compare(self, a: &Entry, b: &Entry) -> Ordering {
        let is_file = |entry: &Entry| entry.kind != Kind::Directory;
        let by_name = || a.name.cmp(&b.name);
        is_file(a).cmp(&is_file(b)).then_with(|| match self {
            Self::Name => by_name(),
            Self::Size => {
                let size = |entry: &Entry| Reverse(entry.attributes().map(|seen| seen.size));
                size(a).cmp(&size(b)).then_with(by_name)
            }
            Self::Time => {
                let time = |entry: &Entry| Reverse(entry.attributes().map(|seen| seen.times.modified));
                time(a).cmp(&time(b)).then_with(by_name)
            }
        })
    }
}

/// A directory whose entries are shown.
pub(crate) struct Listing {
    /// Its node in the tree.
    pub(crate) node: NodeId,
    /// Its disk.
    pub(crate) opened: Arc<Opened>,
    /// Its path in the view.
    pub(crate) path: PathBuf,
    /// The job that lists it.
    pub(crate) job: JobId,
    /// All entries, in the order of the directory.
    pub(crate) entries: Vec<Entry>,
    /// Those that are shown, in the order of the screen: indexes into `entries`.
    pub(crate) order: Vec<usize>,
    /// The selected one.
    pub(crate) cursor: Cursor,
    /// Only names that have this are shown; in lower case.
    pub(crate) filter: String,
    /// Whether all names are known, or why not.
    pub(crate) complete: Option<Result<(), String>>,
    /// The name to select when it comes.
    pub(crate) wanted: Option<OsString>,
    /// Attributes came since it was sorted.
    pub(crate) is_unsorted: bool,
}

impl Listing {
    /// A directory of which nothing is known yet.
    pub(crate) fn new(node: NodeId, opened: Arc<Opened>, path: PathBuf, job: JobId) -> Self {
        Self {
            node,
            opened,
            path,
            job,
            entries: Vec::new(),
            order: Vec::new(),
            cursor: Cursor::default(),
            filter: String::new(),
            complete: None,
            wanted: None,
            is_unsorted: false,
        }
    }

    /// The selected entry.
    pub(crate) fn selected(&self) -> Option<&Entry> {
        self.order.get(self.cursor.at).map(|at| &self.entries[*at])
    }

    fn is_shown(&self, entry: &Entry, hidden: bool) -> bool {
        (hidden || !entry.name.as_bytes().starts_with(b"."))
            && (self.filter.is_empty() || entry.label().to_lowercase().contains(&self.filter))
    }

    /// Adds entries that were listed.
    pub(crate) fn add(&mut self, more: Vec<Entry>, sort: Sort, hidden: bool) {
        let from = self.entries.len();
        self.entries.extend(more);
        let shown = (from..self.entries.len()).filter(|at| self.is_shown(&self.entries[*at], hidden));
        let shown: Vec<usize> = shown.collect();
        self.order.extend(shown);
        self.sort(sort);
        if let Some(at) = self.wanted.as_ref().and_then(|wanted| self.position(wanted)) {
            self.cursor.at = at;
            self.wanted = None;
        }
    }

    /// The line of a name.
    pub(crate) fn position(&self, name: &OsString) -> Option<usize> {
        self.order.iter().position(|at| self.entries[*at].name == *name)
    }

    /// Sorts, and keeps the selected entry.
    pub(crate) fn sort(&mut self, sort: Sort) {
        let selected = self.order.get(self.cursor.at).copied();
        // Stable, and quick for what is sorted but for its end.
        self.order.sort_by(|a, b| sort.compare(&self.entries[*a], &self.entries[*b]));
        self.is_unsorted = false;
        // Before anything was chosen, the first line stays selected.
        if self.cursor.at > 0
            && let Some(at) = selected.and_then(|selected| self.order.iter().position(|at| *at == selected))
        {
            self.cursor.at = at;
        }
    }

    /// Chooses again what is shown, after the filter or hidden files were changed.
    pub(crate) fn choose(&mut self, sort: Sort, hidden: bool) {
        let selected = self.order.get(self.cursor.at).copied();
        self.order = (0..self.entries.len()).filter(|at| self.is_shown(&self.entries[*at], hidden)).collect();
        self.cursor.at = 0;
        self.sort(sort);
        self.cursor.at = selected.and_then(|selected| self.order.iter().position(|at| *at == selected)).unwrap_or(0);
    }
}
