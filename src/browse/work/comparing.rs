//! Comparing two states, and the history of a file: what the verbs `diff` and `history` write, as lines.

use super::{Teller, Tools};
use crate::browse::content::shown;
use crate::diff::{State, Step, Watch};
use crate::error_kind::{ErrorKind, message};
use crate::open::Which;
use crate::registry;
use crate::verbs::{self, DiffForm, OpenState, Point};
use crate::view::{Appearance, View};
use std::io::{self, Write};
use std::path::Path;

/// Bytes of text that are kept.
const MOST_TEXT: usize = 4 << 20;
const FORM: DiffForm = DiffForm { json: false, on_terminal: true };

/// Text in memory, which ends when it is too long, as a pipe does whose reader has seen enough.
#[derive(Default)]
struct Kept {
    text: Vec<u8>,
    is_cut: bool,
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > MOST_TEXT {
            self.is_cut = true;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What differs between two states, at a path of the new one or everywhere.
pub(super) fn diff(tools: &Tools, (old, new): &(Which, Which), path: &Path, teller: &Teller) -> Vec<String> {
    let states = state(tools, old).and_then(|old| Ok((old, state(tools, new)?)));
    let (old, new) = match states {
        Ok(states) => states,
        Err((text, _)) => return vec![text],
    };
    let (a, b) = (State::new("the first", &old.open, &old.view), State::new("the second", &new.open, &new.view));
    lines(teller, |watch, out, report| verbs::diff(a, b, path, FORM, watch, out, report).map(|_| ()))
}

/// What became of a file of a machine's disk up to the current state.
pub(super) fn history(tools: &Tools, which: &Which, path: &Path, teller: &Teller) -> Vec<String> {
    let points = match points(tools, which) {
        Ok(points) => points,
        Err(text) => return vec![text],
    };
    let mut open = |point: &Point| {
        let snapshot = point.uuid.map_or_else(|| "current".to_owned(), |uuid| uuid.to_string());
        state(tools, &Which { snapshot: Some(snapshot), ..which.clone() })
    };
    lines(teller, |watch, out, report| verbs::history(&points, &mut open, path, FORM, watch, out, report).map(|_| ()))
}

fn points(tools: &Tools, which: &Which) -> Result<Vec<Point>, String> {
    let name = which.machine.as_deref().unwrap_or_default();
    let registry = tools.lookup.registry(Some(name)).map_err(|e| message(&e))?;
    let found = registry.find_machine(name).map(|at| registry.machines[at].machine.as_ref());
    match found {
        Ok(Ok(machine)) => Ok(verbs::points(machine, None, false)),
        Ok(Err(e)) => Err(message(e)),
        Err(e) => Err(message(&e as &registry::Error)),
    }
}

fn state(tools: &Tools, which: &Which) -> Result<OpenState, (String, ErrorKind)> {
    let found = tools.lookup.find(which, false).and_then(|found| found.open(&tools.lookup, &tools.disk));
    let open = found.map_err(|e| (message(&e), e.kind()))?;
    let shown = View::of_open(&open, true, Appearance::default());
    let (view, _) = shown.map_err(|e| (message(&e), e.kind()))?;
    Ok(OpenState { open, view })
}

/// The lines that a verb writes, after what it reports as wrong.
fn lines(
    teller: &Teller,
    verb: impl FnOnce(&Watch<'_>, &mut dyn Write, verbs::Report<'_>) -> verbs::Result<()>,
) -> Vec<String> {
    let watch = Watch { progress: &|_: Step| {}, stop: &teller.stop };
    let (mut out, mut wrong) = (Kept::default(), Vec::new());
    let done = verb(&watch, &mut out, &mut |e| wrong.push(message(&e)));
    wrong.extend(done.err().filter(|e| !e.is_broken_pipe()).map(|e| message(&e)));
    let written = out.text.split(|byte| *byte == b'\n').map(shown).collect::<Vec<_>>();
    let mut lines: Vec<String> = wrong.into_iter().chain(written).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    if out.is_cut {
        lines.push("... and more; the verb diff writes all of it".to_owned());
    }
    if lines.is_empty() {
        lines.push("They do not differ".to_owned());
    }
    lines
}
