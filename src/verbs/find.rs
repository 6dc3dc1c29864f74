//! `find`: the paths of files that meet conditions, as find(1) has them.
//!
//! The crate `globset` matches the names: it takes bytes, and its time does not explode on patterns with many stars.

use super::{Error, Links, Report, Result, locate, names, text};
use crate::view::{Attributes, Kind, View};
use globset::GlobMatcher;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A condition on sizes: `+4k` is more than 4 KiB, `-4k` less, `4k` neither. Sizes are rounded up to whole units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SizeTest {
    /// How the size compares.
    pub is: Ordering,
    /// To how many units.
    pub count: u64,
    /// Bytes of a unit; at least 1.
    pub unit: u64,
}

/// What is to be found: what meets all conditions that are there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// The last name matches.
    pub name: Option<GlobMatcher>,
    /// It is one of these kinds.
    pub kinds: Vec<Kind>,
    /// It was modified after this time.
    pub newer: Option<SystemTime>,
    /// Its size.
    pub size: Option<SizeTest>,
}

impl Filter {
    fn takes_name(&self, path: &Path, kind: Kind) -> bool {
        let name = path.file_name().unwrap_or(path.as_os_str());
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && self.name.as_ref().is_none_or(|glob| glob.is_match(Path::new(name)))
    }

    fn needs_attributes(&self) -> bool {
        self.newer.is_some() || self.size.is_some()
    }

    fn takes(&self, attributes: &Attributes) -> bool {
        let size = |test: SizeTest| attributes.size.div_ceil(test.unit).cmp(&test.count) == test.is;
        self.newer.is_none_or(|time| attributes.times.modified > time) && self.size.is_none_or(size)
    }
}

/// Writes the paths of what is found, a line each, in each directory sorted by their bytes. Links are not followed.
///
/// # Errors
/// [`Error::Write`].
pub(crate) fn find(
    view: &View,
    paths: &[PathBuf],
    filter: &Filter,
    on_terminal: bool,
    out: &mut dyn Write,
    report: Report<'_>,
) -> Result<()> {
    for start in paths {
        let found = match locate(view, start, Links::Keep) {
            Ok(found) => found.attributes,
            Err(e) => {
                report(e);
                continue;
            }
        };
        let mut met = HashSet::new();
        let mut open = vec![(start.clone(), found.inode, found.kind)];
        while let Some((path, inode, kind)) = open.pop() {
            match is_found(view, &path, inode, kind, filter) {
                Ok(true) => {
                    out.write_all(&text::name(path.as_os_str().as_bytes(), on_terminal))?;
                    writeln!(out)?;
                }
                Ok(false) => {}
                Err(e) => report(e),
            }
            if kind != Kind::Directory {
                continue;
            }
            if !met.insert(inode) {
                report(Error::MetBefore { path });
                continue;
            }
            match names(view, inode) {
                Ok(mut names) => {
                    names.sort_unstable_by(|a, b| b.name.cmp(&a.name));
                    open.extend(names.into_iter().map(|entry| (path.join(entry.name), entry.inode, entry.kind)));
                }
                Err(e) => report(Error::at(&path)(e)),
            }
        }
    }
    Ok(out.flush()?)
}

/// Whether a file is to be told. The top has no name.
fn is_found(view: &View, path: &Path, inode: u64, kind: Kind, filter: &Filter) -> Result<bool> {
    if path.as_os_str().is_empty() || !filter.takes_name(path, kind) {
        return Ok(false);
    }
    if !filter.needs_attributes() {
        return Ok(true);
    }
    Ok(filter.takes(&view.attributes(inode).map_err(Error::at(path))?))
}
