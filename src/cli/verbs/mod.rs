//! The verbs: what is done with the files of a disk without mounting it.

mod arguments;
mod cp;
mod opened;
mod values;

pub(super) use arguments::{VerbLine, begins_with_verb, modern};

use super::error::Error;
use super::terminal::{self, Verbosity};
use crate::copy::Options;
use crate::error_kind::ErrorKind;
use crate::verbs::{self, Filter, Form, Range, Stream};
use crate::view::View;
use arguments::Verb;
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
    terminal::start_log(Verbosity::of(common.verbose));
    let paths = line.verb.paths();
    let mut failures = Failures::default();
    let done = opened::view(common, &paths).and_then(|opened| act(&line.verb, &opened.view, &paths, &mut failures));
    match done {
        Err(Error::Verb(e)) if e.is_broken_pipe() => {}
        Err(e) => {
            failures.add(&e, e.kind());
        }
        Ok(()) => {}
    }
    if let Some(signal) = failures.signal {
        // Whoever started this is to see what ended it. Nothing is open or locked any more.
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
    failures.first.map_or(ExitCode::SUCCESS, |kind| ExitCode::from(kind.exit_code()))
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

fn act(verb: &Verb, view: &View, paths: &[PathBuf], failures: &mut Failures) -> Result<(), Error> {
    if let Verb::Cp { words, recursive, preserve, .. } = verb {
        let options = Options { recursive: *recursive, preserve: *preserve };
        let destination = words.last().map_or(Path::new("."), PathBuf::as_path);
        return cp::copy(view, paths, destination, options, failures);
    }
    let on_terminal = io::stdout().is_terminal();
    let report = &mut |error: verbs::Error| failures.add(&error, error.kind());
    let mut out = BufWriter::new(io::stdout().lock());
    let done = match verb {
        Verb::Cp { .. } => Ok(()),
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
        Verb::Stat { json, .. } => verbs::stat(view, paths, *json, on_terminal, &mut out, report),
        Verb::Hash { .. } => verbs::hash(view, paths, on_terminal, &mut out, report),
    };
    Ok(done?)
}
