//! The verbs: what is done with the files of a disk without mounting it.

mod arguments;
mod opened;
mod values;

pub(super) use arguments::{VerbLine, begins_with_verb};

use super::error::Error;
use super::terminal::{self, Verbosity};
use crate::error_kind::ErrorKind;
use crate::verbs::{self, Filter, Form, Range, Stream};
use crate::view::View;
use arguments::Verb;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs a command line that begins with a verb. A broken pipe means that the reader has seen enough.
pub(super) fn run(words: &[OsString]) -> ExitCode {
    let line = match arguments::parse(words) {
        Ok(line) => line,
        Err(e) => return super::explain(&e),
    };
    let common = line.verb.common();
    terminal::start_log(if common.verbose { Verbosity::Verbose } else { Verbosity::Little });
    let paths = line.verb.paths();
    let mut failures = Failures::default();
    let done = opened::view(common, &paths)
        .and_then(|opened| act(&line.verb, &opened.view, &paths, &mut failures).map_err(Error::from));
    match done {
        Err(Error::Verb(e)) if e.is_broken_pipe() => {}
        Err(e) => {
            terminal::report(&e);
            failures.first.get_or_insert(e.kind());
        }
        Ok(()) => {}
    }
    failures.first.map_or(ExitCode::SUCCESS, |kind| ExitCode::from(kind.exit_code()))
}

/// What went wrong with single files.
#[derive(Default)]
struct Failures {
    first: Option<ErrorKind>,
}

impl Failures {
    fn add(&mut self, error: &verbs::Error) {
        terminal::report(error);
        self.first.get_or_insert(error.kind());
    }
}

fn act(verb: &Verb, view: &View, paths: &[PathBuf], failures: &mut Failures) -> verbs::Result<()> {
    let on_terminal = io::stdout().is_terminal();
    let report = &mut |error| failures.add(&error);
    let mut out = BufWriter::new(io::stdout().lock());
    match verb {
        Verb::Ls { long, recursive, all, json, .. } => {
            let width = on_terminal.then(|| terminal::style().width.unwrap_or(80));
            let form = Form { long: *long, recursive: *recursive, all: *all, json: *json, width };
            verbs::ls(view, paths, form, &mut out, report)
        }
        Verb::Cat { offset, length, .. } => {
            let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
            let range = Range { offset: *offset, length: *length };
            verbs::cat(view, paths, range, &mut Stream::new(out), report)
        }
        Verb::Find { name, kinds, newer, size, .. } => {
            let filter = Filter { name: name.clone(), kinds: kinds.clone(), newer: *newer, size: *size };
            verbs::find(view, paths, &filter, on_terminal, &mut out, report)
        }
        Verb::Stat { json, .. } => verbs::stat(view, paths, *json, on_terminal, &mut out, report),
        Verb::Hash { .. } => verbs::hash(view, paths, on_terminal, &mut out, report),
    }
}
