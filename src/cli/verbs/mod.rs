//! The verbs: what is done with the files of a disk without mounting it.

mod arguments;
mod browse;
mod check;
mod cp;
mod diff;
mod history;
mod opened;
mod states;
mod stop;
mod values;

pub(super) use arguments::{VerbLine, begins_with_verb, modern};

use super::error::Error;
use super::terminal::{self, Verbosity};
use crate::copy::Options;
use crate::error_kind::ErrorKind;
use crate::verbs::{self, Filter, Form, Range, Stream};
use arguments::Verb;
use opened::Opened;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs a command line that begins with a verb. A broken pipe means that the reader has seen enough.
pub(super) fn run(words: &[OsString]) -> ExitCode {
    let line = match arguments::parse(words) {
        Ok(line) => line,
        Err(e) => return super::explain(&e),
    };
    let common = line.verb.common();
    if let Verb::Browse { common } = &line.verb {
        return browse::run(common);
    }
    terminal::start_log(Verbosity::of(common.verbose));
    let paths = line.verb.paths();
    let mut failures = Failures::default();
    let done = match &line.verb {
        Verb::Diff(arguments) => diff::run(arguments, &mut failures),
        Verb::History(arguments) => history::run(arguments, &mut failures),
        Verb::Check { json, .. } => check::run(common, *json, &mut failures).map(|()| Outcome::default()),
        verb => opened::view(common, &paths)
            .and_then(|opened| act(verb, &opened, &paths, &mut failures))
            .map(|()| Outcome::default()),
    };
    let outcome = match done {
        Err(Error::Verb(e)) if e.is_broken_pipe() => Outcome::default(),
        Err(e) => {
            failures.add(&e, e.kind());
            Outcome::default()
        }
        Ok(outcome) => outcome,
    };
    if let Some(signal) = failures.signal {
        // Whoever started this is to see what ended it. Nothing is open or locked any more.
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
    exit_code(&line.verb, failures.first, outcome)
}

/// What a verb ended with.
#[derive(Default)]
struct Outcome {
    /// Whether it found differences.
    differ: bool,
}

/// The exit code. Of `diff --exit-code`, 1 is for differences, as diff(1) has it, and nothing else.
fn exit_code(verb: &Verb, failed: Option<ErrorKind>, outcome: Outcome) -> ExitCode {
    let code = failed.map_or(0, ErrorKind::exit_code);
    match verb {
        Verb::Diff(arguments) if arguments.exit_code => match code {
            0 => u8::from(outcome.differ).into(),
            1 => 2.into(),
            other => other.into(),
        },
        _ => code.into(),
    }
}

/// What went wrong with single files.
#[derive(Default)]
struct Failures {
    first: Option<ErrorKind>,
    /// The signal that this was ended by.
    signal: Option<i32>,
}

impl Failures {
    fn add(&mut self, error: &dyn std::error::Error, kind: ErrorKind) {
        terminal::report(error);
        self.first.get_or_insert(kind);
    }
}

fn act(verb: &Verb, opened: &Opened, paths: &[PathBuf], failures: &mut Failures) -> Result<(), Error> {
    let view = &opened.view;
    if let Verb::Cp { words, recursive, preserve, .. } = verb {
        let options = Options { recursive: *recursive, preserve: *preserve };
        let destination = words.last().map_or(Path::new("."), PathBuf::as_path);
        return cp::copy(view, paths, destination, options, failures);
    }
    let on_terminal = io::stdout().is_terminal();
    let report = &mut |error: verbs::Error| failures.add(&error, error.kind());
    let mut out = BufWriter::new(io::stdout().lock());
    let done = match verb {
        Verb::Browse { .. } | Verb::Check { .. } | Verb::Cp { .. } | Verb::Diff(_) | Verb::History(_) => Ok(()),
        Verb::Ls { long, recursive, all, json, .. } => {
            let width = on_terminal.then(|| terminal::style().width.unwrap_or(80));
            let form = Form { long: *long, recursive: *recursive, all: *all, json: *json, width };
            verbs::ls(view, paths, form, &mut out, report)
        }
        Verb::Cat { offset, length, .. } => {
            let out = File::from(io::stdout().as_fd().try_clone_to_owned().map_err(verbs::Error::from)?);
            let range = Range { offset: *offset, length: *length };
            verbs::cat(view, paths, range, &mut Stream::new(out), report)
        }
        Verb::Find { name, kinds, newer, size, .. } => {
            let filter = Filter { name: name.clone(), kinds: kinds.clone(), newer: *newer, size: *size };
            verbs::find(view, paths, &filter, on_terminal, &mut out, report)
        }
        Verb::Map { json, words, .. } => {
            let (_, span) = values::path_and_range(words);
            let path = paths.first().map_or(Path::new(""), PathBuf::as_path);
            verbs::map(view, &opened.images(), path, span, *json, &mut out, report)
        }
        Verb::Stat { json, .. } => verbs::stat(view, paths, *json, on_terminal, &mut out, report),
        Verb::Hash { .. } => verbs::hash(view, paths, on_terminal, &mut out, report),
    };
    Ok(done?)
}
