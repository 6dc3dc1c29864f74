//! `diff`: opening the two states that are compared.

use super::arguments::{Common, from_top};
use super::opened::is_without_guests;
use super::states::{States, bar, step};
use super::{Failures, Outcome};
use crate::cli::error::Error;
use crate::diff::{State, Watch};
use crate::open::Which;
use crate::verbs::{self, DiffForm};
use clap::Args;
use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// The word for the state that a machine or an image has now.
const CURRENT: &str = "current";

/// Follows `--help`.
pub(super) const STATES: &str = "\
OLD and NEW are, with --vm, snapshots of the machine by name or UUID, or current; with --image, snapshots that the image \
file itself has, or current; and everywhere media, by UUID, path or file name. Without NEW, it is current. \
PATH is what a mount of NEW with -g would show: fs0, fs0/etc, vol1, vhdd. Without it, everything is compared. \
A is added, D removed, M changed.";

/// The words of `diff`.
#[derive(Debug, Args)]
pub(super) struct DiffArguments {
    #[command(flatten)]
    pub(super) common: Common,
    /// The ranges of the disk that differ, in bytes, rather than files
    #[arg(long)]
    ranges: bool,
    /// With --ranges: read nothing, and list all ranges whose bytes the states do not share
    #[arg(long, requires = "ranges")]
    no_read: bool,
    /// As JSON, with all attributes of both states
    #[arg(long)]
    json: bool,
    /// Exit with 1 when there are differences; what otherwise exits with 1 exits with 2 then
    #[arg(long)]
    pub(super) exit_code: bool,
    /// The state before
    #[arg(value_name = "OLD", required = true)]
    old: OsString,
    /// The state after
    #[arg(value_name = "NEW")]
    new: Option<OsString>,
    /// What to compare
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
}

impl DiffArguments {
    /// What is wrong with the words together.
    pub(super) fn mistake(&self) -> Option<&'static str> {
        let which = &self.common.which;
        let is_named = which.image.is_some() || which.vm.is_some();
        let is_current = [Some(&self.old), self.new.as_ref()].into_iter().flatten().any(|word| word == CURRENT);
        match is_named {
            true => None,
            false if self.new.is_none() => Some("which state is NEW? Give it after OLD, or the machine with --vm"),
            false if is_current => Some("current of which machine? Give it with --vm, or an image with --image"),
            false => None,
        }
    }

    /// What a word may mean, the likeliest first.
    fn meanings(&self, word: Option<&OsString>) -> Vec<Which> {
        let named = self.common.which.which();
        let is_named = named.image.is_some() || named.machine.is_some();
        let Some(word) = word.filter(|word| !is_named || *word != CURRENT || named.machine.is_some()) else {
            return vec![named];
        };
        let medium = Which { image: Some(word.clone()), ..Which::default() };
        match word.to_str().filter(|_| is_named) {
            Some(snapshot) => vec![Which { snapshot: Some(snapshot.to_owned()), ..named }, medium],
            None => vec![medium],
        }
    }
}

/// Compares two states. Returns whether they differ.
pub(super) fn run(arguments: &DiffArguments, failures: &mut Failures) -> Result<Outcome, Error> {
    let path = from_top(arguments.path.as_deref().unwrap_or("".as_ref()));
    let is_of_files = if arguments.ranges { !path.as_os_str().is_empty() } else { true };
    let mut states = States::new(&arguments.common, is_of_files && !is_without_guests(&path))?;
    if let Some(machine) = &arguments.common.which.vm {
        // Else its snapshots would be taken for media.
        states.lookup().registry(Some(machine))?.find_machine(machine)?;
    }
    let meanings = (arguments.meanings(Some(&arguments.old)), arguments.meanings(arguments.new.as_ref()));
    let (mut old, mut new) = (states.open(&meanings.0, false)?, states.open(&meanings.1, false)?);
    // A machine may have had another number of disks.
    match (old.is_named(), new.is_named()) {
        (true, false) => new = states.open(&meanings.1, true)?,
        (false, true) => old = states.open(&meanings.0, true)?,
        _ => {}
    }
    let name =
        |word: Option<&OsString>| word.map_or_else(|| CURRENT.into(), |word| word.to_string_lossy().into_owned());
    let names = (name(Some(&arguments.old)), name(arguments.new.as_ref()));
    let (a, b) = (State::new(&names.0, &old.open, &old.view), State::new(&names.1, &new.open, &new.view));
    let form = DiffForm { json: arguments.json, on_terminal: io::stdout().is_terminal() };
    let bar = bar();
    let watch = Watch { progress: &|done| step(&bar, done), stop: &AtomicBool::new(false) };
    let report = &mut |error: verbs::Error| bar.suspend(|| failures.add(&error, error.kind()));
    let mut out = BufWriter::new(io::stdout().lock());
    let differ = match arguments.ranges {
        false => verbs::diff(a, b, &path, form, &watch, &mut out, report),
        true => verbs::diff_ranges(&a, &b, &path, (form, !arguments.no_read), &watch, &mut out, report),
    };
    bar.finish_and_clear();
    Ok(Outcome { differ: differ? })
}
