//! The command line: options, old spellings, messages, exit codes. What is done is in the other rooms.

mod actions;
mod arguments;
mod complete;
mod error;
mod password;
mod problems;
mod prompt;
mod spelling;
mod terminal;
mod verbs;
mod which;

use crate::listing;
use crate::mount::background;
use arguments::{Action, Arguments};
use error::Error;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::ExitCode;
use std::sync::Arc;
use terminal::Verbosity;

/// Runs the program with its arguments (the first is the program's name).
///
/// The exit code is 0 for success, 2 for a command line that makes no sense, and else that of the error's
/// [kind](crate::error_kind::ErrorKind::exit_code).
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // A file that may not grow any more (ulimit -f) is an error of who writes to the disk, not the end of this process.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    let mut words: Vec<OsString> = arguments.into_iter().collect();
    if let Some(asked) = complete::asked(&words) {
        return complete::run(asked);
    }
    if verbs::begins_with_verb(&words) {
        return verbs::run(&words);
    }
    let in_background = background::take_flag(&mut words);
    let mut arguments = match Arguments::parse_words(&words) {
        Ok(arguments) => arguments,
        Err(e) => return explain(&e),
    };
    arguments.in_background = in_background;
    let action = match arguments.action() {
        Ok(action) => action,
        Err(e) => return explain(&e),
    };
    terminal::start_log(match (arguments.debug, action) {
        (true, _) => Verbosity::Debug,
        // The first one asks for more in the list.
        (false, Action::ListMachines) => Verbosity::of(arguments.verbose.saturating_sub(1)),
        (false, _) => Verbosity::of(arguments.verbose),
    });
    let done = if in_background { background::follow_first().map_err(Error::from) } else { Ok(()) };
    match done.and_then(|()| actions::run(action, &arguments, || background::run_again(&words))) {
        Ok(status) => ExitCode::from(status),
        // The reader of our output has gone, as `head` does.
        Err(Error::Listing(e)) if e.is_broken_pipe() => ExitCode::SUCCESS,
        Err(e) => {
            terminal::report(&e);
            ExitCode::from(e.kind().exit_code())
        }
    }
}

/// Prints what clap has to say: help, the version, or what is wrong with the arguments.
fn explain(e: &clap::Error) -> ExitCode {
    match e.print() {
        // Mistakes are told by the code, too. Help to a closed pipe is no failure.
        Err(failed) if e.exit_code() == 0 && failed.kind() != ErrorKind::BrokenPipe => {
            terminal::report(&listing::Error::from(failed));
            ExitCode::FAILURE
        }
        _ => ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2)),
    }
}
