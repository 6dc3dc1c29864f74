//! Walking two directory trees in step.

use super::file::{At, Comparer};
use super::names::{Name, SortedNames};
use super::state::{Pair, State};
use super::{Change, Each, End, Error, FileChange, Result, Side, Watch, Which, emit, finish};
use crate::view::Kind;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Compares a file or a directory with everything in it. `inodes` are those in the old and the new state; none where a
/// state does not have it. `path` is what it is called.
///
/// # Errors
/// [`Error::Interrupted`]. What else goes wrong is passed to `each`.
pub(crate) fn compare_trees(
    old: &State<'_>,
    new: &State<'_>,
    path: &Path,
    inodes: (Option<u64>, Option<u64>),
    watch: &Watch<'_>,
    each: Each<'_>,
) -> Result<()> {
    finish(walk(Pair { old, new }, path, inodes, watch, each))
}

pub(super) fn walk(
    pair: Pair<'_>,
    path: &Path,
    (old, new): (Option<u64>, Option<u64>),
    watch: &Watch<'_>,
    each: Each<'_>,
) -> Result<(), End> {
    let mut walker = Walker { comparer: Comparer::new(pair, *watch), each, met: HashSet::new() };
    let mut open: Vec<Frame> = walker.visit(At { directory: path, name: &[] }, old, new)?.into_iter().collect();
    while let Some(mut frame) = open.pop() {
        watch.check()?;
        let Some((old, new)) = walker.next(&mut frame)? else { continue };
        let name = old.as_ref().or(new.as_ref()).map_or(&[][..], |name| &name.name);
        let inode = |name: &Option<Name>| name.as_ref().map(|name| name.inode);
        let within = walker.visit(At { directory: &frame.path, name }, inode(&old), inode(&new))?;
        open.push(frame);
        open.extend(within);
    }
    Ok(())
}

/// A directory whose entries are being compared.
struct Frame {
    path: PathBuf,
    old: Option<SortedNames>,
    new: Option<SortedNames>,
}

struct Walker<'a, 'e> {
    comparer: Comparer<'a>,
    each: Each<'e>,
    /// The directories that were met, by their inode numbers in both states.
    met: HashSet<(Option<u64>, Option<u64>)>,
}

/// What both states have next: the same name, or a name that only one of them has.
type Step = Option<(Option<Name>, Option<Name>)>;

impl Walker<'_, '_> {
    /// The next name of a directory.
    fn next(&mut self, frame: &mut Frame) -> Result<Step, End> {
        let Pair { old: a, new: b } = self.comparer.pair;
        let Frame { path, old, new } = frame;
        loop {
            let first = |names: &mut Option<SortedNames>, state: &State<'_>| -> Result<Option<Box<[u8]>>> {
                let Some(names) = names else { return Ok(None) };
                Ok(names.peek(state.view).map_err(state.at(path))?.map(|name| name.name.clone()))
            };
            let (of_old, of_new) = match (first(old, a), first(new, b)) {
                (Ok(of_old), Ok(of_new)) => (of_old, of_new),
                (Err(e), _) | (_, Err(e)) => {
                    emit(self.each, Err(e))?;
                    return Ok(None);
                }
            };
            let order = match (&of_old, &of_new) {
                (None, None) => return Ok(None),
                (Some(a), Some(b)) => a.cmp(b),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
            };
            let take = |names: &mut Option<SortedNames>, other: Ordering| {
                if order == other { None } else { names.as_mut().and_then(SortedNames::take) }
            };
            let step = (take(old, Ordering::Greater), take(new, Ordering::Less));
            let is_incomplete = |names: &Option<SortedNames>| names.as_ref().is_some_and(|names| names.is_incomplete);
            // The other state may have it among the entries that cannot be read.
            match order {
                Ordering::Less if is_incomplete(new) => {}
                Ordering::Greater if is_incomplete(old) => {}
                _ => return Ok(Some(step)),
            }
        }
    }

    /// Compares one file, and opens the directory that it is.
    fn visit(&mut self, at: At<'_>, old: Option<u64>, new: Option<u64>) -> Result<Option<Frame>, End> {
        let mut wrong = Vec::new();
        let seen = self.compare(at, old, new, &mut |e| wrong.push(e));
        for error in wrong {
            emit(self.each, Err(error))?;
        }
        let change = match seen {
            Ok(change) => change,
            Err(e @ Error::Interrupted) => return Err(e.into()),
            Err(e) => {
                emit(self.each, Err(e))?;
                return Ok(None);
            }
        };
        let directory = |side: &Option<Side>| {
            side.as_ref().map(|side| side.attributes).filter(|of| of.kind == Kind::Directory).map(|of| of.inode)
        };
        let (old, new) = (directory(&change.old), directory(&change.new));
        let is_one_sided = change.old.is_none() || change.new.is_none();
        if is_one_sided || !change.aspects.is_empty() {
            let path = at.path();
            emit(self.each, Ok(Change::File(FileChange { path, ..change })))?;
        }
        if old.is_none() && new.is_none() {
            return Ok(None);
        }
        if !self.met.insert((old, new)) {
            emit(self.each, Err(Error::MetBefore { path: at.path() }))?;
            return Ok(None);
        }
        self.open(at.path(), old, new)
    }

    /// The change of one file, whose path is left empty.
    fn compare(
        &mut self,
        at: At<'_>,
        old: Option<u64>,
        new: Option<u64>,
        report: &mut dyn FnMut(Error),
    ) -> Result<FileChange> {
        let comparer = &mut self.comparer;
        let a = old.map(|inode| comparer.side(Which::Old, inode, at, report)).transpose();
        let b = new.map(|inode| comparer.side(Which::New, inode, at, report)).transpose();
        let (old, new) = match (a, b) {
            (Ok(a), Ok(b)) => (a, b),
            (Err(a), Err(b)) => {
                report(a);
                return Err(b);
            }
            (Err(e), _) | (_, Err(e)) => return Err(e),
        };
        let aspects = match (&old, &new) {
            (Some(a), Some(b)) => comparer.aspects(a, b, at, report)?,
            _ => {
                (comparer.watch.progress)(super::Step::File);
                Vec::new()
            }
        };
        Ok(FileChange { path: PathBuf::new(), old, new, aspects })
    }

    /// Lists a directory in the states that have it.
    fn open(&mut self, path: PathBuf, old: Option<u64>, new: Option<u64>) -> Result<Option<Frame>, End> {
        let mut lists = [None, None];
        for ((inode, which), list) in [(old, Which::Old), (new, Which::New)].into_iter().zip(&mut lists) {
            let Some(inode) = inode else { continue };
            let state = self.comparer.pair.get(which);
            match SortedNames::new(state.view, inode).map_err(state.at(&path)) {
                Ok(names) => {
                    if names.is_incomplete {
                        let state = state.name.to_owned();
                        emit(self.each, Err(Error::Incomplete { path: path.clone(), state }))?;
                    }
                    *list = Some(names);
                }
                // What the other state has in it may be there, too.
                Err(e) => {
                    emit(self.each, Err(e))?;
                    return Ok(None);
                }
            }
        }
        let [old, new] = lists;
        Ok(Some(Frame { path, old, new }))
    }
}
