//! `history`: what became of one file from snapshot to snapshot.

use super::diff::is_absent;
use super::json::{Seen, names};
use super::time::moment;
use super::{DiffForm, Error, Links, Report, Result, locate, text};
use crate::diff::{self, Aspect, Change, FileChange, Side, State, Watch};
use crate::error_kind::{ErrorKind, message};
use crate::listing::{Columns, printable, write_json_array};
use crate::open::OpenDisks;
use crate::registry::Machine;
use crate::view::{Kind, View};
use serde::Serialize;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use uuid::Uuid;

/// A state of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Point {
    /// The snapshot's name, or `current`.
    pub name: String,
    /// Its UUID; none for the current state.
    pub uuid: Option<Uuid>,
    /// When it was taken, as the settings have it; empty for the current state.
    pub taken: String,
    /// The state that it came from: an index into the same list, smaller than its own.
    pub parent: Option<usize>,
}

/// The states of a machine on the way to one of them, oldest first: to a snapshot by its index, or to the current
/// state. With `all`, all states that the machine has.
#[must_use]
pub(crate) fn points(machine: &Machine, to: Option<usize>, all: bool) -> Vec<Point> {
    let mut chosen: Vec<usize> = if all {
        (0..machine.snapshots.len()).collect()
    } else {
        let start = to.or(machine.current_snapshot);
        std::iter::successors(start, |at| machine.snapshots.get(*at)?.parent).collect()
    };
    // Parents come before their children in the settings, and so they do among those of the same second.
    chosen.sort_by(|a, b| (&machine.snapshots[*a].time_stamp, a).cmp(&(&machine.snapshots[*b].time_stamp, b)));
    // Clocks go wrong, but no child is older than its parent.
    let mut ordered: Vec<usize> = Vec::new();
    while let Some(next) = chosen.iter().position(|at| {
        let parent = machine.snapshots[*at].parent;
        parent.is_none_or(|parent| ordered.contains(&parent) || !chosen.contains(&parent))
    }) {
        ordered.push(chosen.remove(next));
    }
    let index = |snapshot: Option<usize>| ordered.iter().position(|at| Some(*at) == snapshot);
    let mut points: Vec<Point> = ordered
        .iter()
        .map(|at| &machine.snapshots[*at])
        .map(|snapshot| Point {
            name: snapshot.name.clone(),
            uuid: Some(snapshot.uuid),
            taken: snapshot.time_stamp.clone(),
            parent: index(snapshot.parent),
        })
        .collect();
    if all || to.is_none() {
        let parent = index(machine.current_snapshot);
        points.push(Point { name: "current".to_owned(), uuid: None, taken: String::new(), parent });
    }
    points
}

/// An open state.
pub(crate) struct OpenState {
    /// Its disks.
    pub open: OpenDisks,
    /// Their view, with file systems.
    pub view: View,
}

/// An open state, or why it cannot be opened.
pub(super) type Opening = std::result::Result<OpenState, (String, ErrorKind)>;

/// What a file is in a state.
enum Seeing {
    /// It is there.
    There(Side),
    /// It is not there.
    Absent,
    /// The state or the file cannot be read, and why.
    Unreadable(String, ErrorKind),
}

/// What became of it since the state before.
enum Became {
    /// Nobody knows, or there is none before.
    Unknown,
    /// It is as it was.
    Unchanged,
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
    /// It was and is not there.
    Absent,
    /// It changed in this.
    Changed(Vec<Aspect>),
}

/// Writes what a path is in each of some states, and whether it changed since the one before. `open` opens a state and
/// reports why it cannot. Every state that cannot be read has a line that says why; of the first one the kind of
/// that is returned.
///
/// # Errors
/// [`Error::Write`]; [`Error::View`] when no state has the file.
pub(crate) fn history(
    points: &[Point],
    open: &mut dyn FnMut(&Point) -> Opening,
    path: &Path,
    form: DiffForm,
    watch: &Watch<'_>,
    out: &mut dyn Write,
    report: Report<'_>,
) -> Result<Option<ErrorKind>> {
    let mut historian = Historian { points, open, path, watch, report, last: None, seen: Vec::new() };
    if form.json {
        let done = write_json_array(out, |add| {
            (0..points.len()).try_for_each(|at| {
                let (became, compared) = historian.look(at)?;
                Ok(add(&Item::new(points, at, path, &historian.seen[at], &became, compared))?)
            })
        })?;
        done.and_then(|()| historian.is_anywhere())?;
    } else {
        let with_parents = points.iter().enumerate().any(|(at, point)| point.parent != at.checked_sub(1));
        let mut rows = vec![heading(with_parents)];
        for at in 0..points.len() {
            let (became, _) = historian.look(at)?;
            rows.push(row(points, at, &historian.seen[at], &became, with_parents));
        }
        historian.is_anywhere()?;
        let mut columns = Columns::new(if with_parents { &[3] } else { &[2] });
        rows.iter().for_each(|row| columns.fit(row));
        for line in columns.lines(rows) {
            out.write_all(&text::name(line.as_bytes(), form.on_terminal))?;
            writeln!(out)?;
        }
    }
    out.flush()?;
    Ok(historian.seen.iter().find_map(|seen| match seen {
        Seeing::Unreadable(_, kind) => Some(*kind),
        _ => None,
    }))
}

struct Historian<'a> {
    points: &'a [Point],
    open: &'a mut dyn FnMut(&Point) -> Opening,
    path: &'a Path,
    watch: &'a Watch<'a>,
    report: Report<'a>,
    /// The state that was opened last.
    last: Option<(usize, OpenState)>,
    seen: Vec<Seeing>,
}

impl Historian<'_> {
    /// Looks at the file in the next state. Returns what became of it, since which state.
    fn look(&mut self, at: usize) -> Result<(Became, Option<usize>)> {
        let now = match (self.open)(&self.points[at]) {
            Ok(now) => now,
            Err((why, kind)) => {
                self.seen.push(Seeing::Unreadable(why, kind));
                return Ok((Became::Unknown, None));
            }
        };
        let seeing = self.see(&now);
        self.seen.push(seeing);
        let compared = self.before(at);
        let became = match (compared.map(|before| &self.seen[before]), &self.seen[at]) {
            (_, Seeing::Unreadable(..)) | (None, _) | (Some(Seeing::Unreadable(..)), _) => Became::Unknown,
            (Some(Seeing::Absent), Seeing::Absent) => Became::Absent,
            (Some(Seeing::Absent), Seeing::There(_)) => Became::Added,
            (Some(Seeing::There(_)), Seeing::Absent) => Became::Removed,
            (Some(Seeing::There(_)), Seeing::There(_)) => self.compare(compared.unwrap_or_default(), at, &now)?,
        };
        self.last = Some((at, now));
        Ok((became, compared))
    }

    /// The nearest state before one in which the file could be read, or that it was not there.
    fn before(&self, at: usize) -> Option<usize> {
        let parent = |at: &usize| self.points[*at].parent.filter(|parent| parent < at);
        std::iter::successors(parent(&at), parent).find(|at| !matches!(self.seen[*at], Seeing::Unreadable(..)))
    }

    fn see(&self, state: &OpenState) -> Seeing {
        match locate(&state.view, self.path, Links::Keep) {
            Ok(found) => {
                let of = found.attributes;
                let target = (of.kind == Kind::Symlink).then(|| state.view.read_link(of.inode).ok()).flatten();
                Seeing::There(Side { attributes: of, target })
            }
            Err(e) if is_absent(&e) => Seeing::Absent,
            Err(e) => Seeing::Unreadable(message(&e), e.kind()),
        }
    }

    /// Compares the file with what it was, everything in a directory too.
    fn compare(&mut self, before: usize, at: usize, now: &OpenState) -> Result<Became> {
        let reopened;
        let old = match &self.last {
            Some((last, old)) if *last == before => old,
            _ => match (self.open)(&self.points[before]) {
                Ok(again) => {
                    reopened = again;
                    &reopened
                }
                Err(_) => return Ok(Became::Unknown),
            },
        };
        let inode = |at: usize| match &self.seen[at] {
            Seeing::There(side) => Some(side.attributes.inode),
            _ => None,
        };
        let inodes = (inode(before), inode(at));
        let a = State::new(&self.points[before].name, &old.open, &old.view);
        let b = State::new(&self.points[at].name, &now.open, &now.view);
        let mut aspects = Vec::new();
        let mut failed = false;
        let report = &mut self.report;
        diff::compare_trees(&a, &b, self.path, inodes, self.watch, &mut |found| match found {
            Ok(Change::File(FileChange { path, aspects: of, .. })) if path == self.path => {
                aspects.extend(of);
                ControlFlow::Continue(())
            }
            Ok(_) => {
                // Something in the directory.
                aspects.push(Aspect::Content);
                ControlFlow::Break(())
            }
            Err(e) => {
                failed = true;
                report(e.into());
                ControlFlow::Continue(())
            }
        })?;
        Ok(match (aspects.is_empty(), failed) {
            (true, false) => Became::Unchanged,
            (true, true) => Became::Unknown,
            (false, _) => Became::Changed(aspects),
        })
    }

    /// An error when no state that could be read has the file.
    fn is_anywhere(&self) -> Result<()> {
        let is_all_absent = !self.seen.is_empty() && self.seen.iter().all(|seen| matches!(seen, Seeing::Absent));
        if is_all_absent { Err(Error::at(self.path)(crate::view::Error::NotFound)) } else { Ok(()) }
    }
}

fn heading(with_parents: bool) -> Vec<String> {
    let mut cells = vec!["STATE".to_owned(), "TAKEN".to_owned()];
    cells.extend(with_parents.then(|| "AFTER".to_owned()));
    cells.extend(["SIZE", "MODIFIED", "CHANGE"].map(str::to_owned));
    cells
}

/// A state as a row.
fn row(points: &[Point], at: usize, seen: &Seeing, became: &Became, with_parents: bool) -> Vec<String> {
    let none = || "-".to_owned();
    let point = &points[at];
    let taken = if point.taken.is_empty() { none() } else { point.taken.clone() };
    let mut cells = vec![printable(&point.name).into_owned(), taken];
    let after = || point.parent.map_or_else(none, |parent| printable(&points[parent].name).into_owned());
    cells.extend(with_parents.then(after));
    match seen {
        Seeing::There(side) => {
            let modified = moment(side.attributes.times.modified);
            cells.push(if side.attributes.kind == Kind::File { side.attributes.size.to_string() } else { none() });
            cells.push(format!("{} {}:{}", modified.date, modified.minute, &modified.second[..2]));
        }
        _ => cells.extend([none(), none()]),
    }
    let kind = |side: &Side| match side.attributes.kind {
        Kind::File => String::new(),
        _ => format!(" ({})", text::kind(&side.attributes)),
    };
    cells.push(match (seen, became) {
        (Seeing::Unreadable(why, _), _) => format!("unreadable: {}", printable(why)),
        (Seeing::Absent, Became::Removed) => "removed".to_owned(),
        (Seeing::Absent, _) => "absent".to_owned(),
        (Seeing::There(side), Became::Changed(aspects)) => format!("{}{}", listed(aspects), kind(side)),
        (Seeing::There(side), became) => format!("{}{}", name(became), kind(side)),
    });
    cells
}

fn listed(aspects: &[Aspect]) -> String {
    aspects.iter().map(|aspect| aspect.name()).collect::<Vec<_>>().join(", ")
}

fn name(became: &Became) -> &'static str {
    match became {
        Became::Unknown => "present",
        Became::Unchanged => "unchanged",
        Became::Added => "added",
        Became::Removed => "removed",
        Became::Absent => "absent",
        Became::Changed(_) => "changed",
    }
}

/// A state in JSON.
#[derive(Serialize)]
struct Item {
    /// The snapshot's name, or `current`.
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_uuid: Option<Uuid>,
    /// When the snapshot was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    taken: Option<String>,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    /// `present`, `unchanged`, `added`, `removed`, `absent`, `changed`, `unreadable`.
    change: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aspects: Vec<&'static str>,
    /// The state that it was compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    compared_with: Option<Compared>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<Seen>,
    /// Why the state or the file cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The exit code of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u8>,
}

#[derive(Serialize)]
struct Compared {
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_uuid: Option<Uuid>,
}

impl Item {
    fn new(points: &[Point], at: usize, path: &Path, seen: &Seeing, became: &Became, compared: Option<usize>) -> Self {
        let point = &points[at];
        let (path, path_bytes) = names(path);
        let (file, error, exit_code) = match seen {
            Seeing::There(side) => (Some(Seen::new(&side.attributes, side.target.as_deref())), None, None),
            Seeing::Absent => (None, None, None),
            Seeing::Unreadable(why, kind) => (None, Some(why.clone()), Some(kind.exit_code())),
        };
        Self {
            state: point.name.clone(),
            snapshot_uuid: point.uuid,
            taken: (!point.taken.is_empty()).then(|| point.taken.clone()),
            path,
            path_bytes,
            change: match (seen, became) {
                (Seeing::Unreadable(..), _) => "unreadable",
                (Seeing::Absent, Became::Unknown) => "absent",
                (_, became) => name(became),
            },
            aspects: match became {
                Became::Changed(aspects) => aspects.iter().map(|aspect| aspect.name()).collect(),
                _ => Vec::new(),
            },
            compared_with: compared
                .map(|at| &points[at])
                .map(|point| Compared { state: point.name.clone(), snapshot_uuid: point.uuid }),
            file,
            error,
            exit_code,
        }
    }
}
