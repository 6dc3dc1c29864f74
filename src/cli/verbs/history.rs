//! `history`: opening the states of a machine one after the other.

use super::arguments::{Common, from_top};
use super::states::{States, bar, step};
use super::{Failures, Outcome};
use crate::cli::error::Error;
use crate::diff::Watch;
use crate::error_kind::message;
use crate::open::{self, Which};
use crate::verbs::{self, DiffForm, OpenState, Point};
use clap::Args;
use std::io::{self, BufWriter, IsTerminal};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// The words of `history`.
#[derive(Debug, Args)]
pub(super) struct HistoryArguments {
    #[command(flatten)]
    pub(super) common: Common,
    /// All snapshots, those of other branches too; without it, those on the way to the current state or to --snapshot
    #[arg(long)]
    all: bool,
    /// As JSON, with all attributes
    #[arg(long)]
    json: bool,
    /// The file or directory
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

/// Writes the history of a file.
pub(super) fn run(arguments: &HistoryArguments, failures: &mut Failures) -> Result<Outcome, Error> {
    let which = arguments.common.which.which();
    let mut states = States::new(&arguments.common, true)?;
    let points = points(&states, &which, arguments.all)?;
    let mut open = |point: &Point| {
        let snapshot = point.uuid.map_or_else(|| "current".to_owned(), |uuid| uuid.to_string());
        let state = Which { snapshot: Some(snapshot), at: None, ..which.clone() };
        let opened = states.open(std::slice::from_ref(&state), false).map_err(|e| (message(&e), e.kind()))?;
        Ok(OpenState { open: opened.open, view: opened.view })
    };
    let form = DiffForm { json: arguments.json, on_terminal: io::stdout().is_terminal() };
    let bar = bar();
    let watch = Watch { progress: &|done| step(&bar, done), stop: &AtomicBool::new(false) };
    let report = &mut |error: verbs::Error| bar.suspend(|| failures.add(&error, error.kind()));
    let mut out = BufWriter::new(io::stdout().lock());
    let unreadable = verbs::history(&points, &mut open, &from_top(&arguments.path), form, &watch, &mut out, report);
    bar.finish_and_clear();
    // The lines say it.
    failures.first = failures.first.or(unreadable?);
    Ok(Outcome::default())
}

/// The states of the machine.
fn points(states: &States, which: &Which, all: bool) -> Result<Vec<Point>, Error> {
    let name = which.machine.as_deref().unwrap_or_default();
    let mut registry = states.lookup().registry(Some(name))?;
    let at = registry.find_machine(name)?;
    match registry.machines.swap_remove(at).machine {
        Ok(machine) => {
            let to = match (&which.snapshot, which.at) {
                (Some(snapshot), _) => machine.find_snapshot(snapshot)?,
                (None, Some(time)) => Some(machine.snapshot_at(time)?),
                (None, None) => None,
            };
            Ok(verbs::points(&machine, to, all))
        }
        Err(e) => Err(open::Error::from(e).into()),
    }
}
