//! The command line: options, old spellings, messages, exit codes. What is done is in the other rooms.

mod actions;
mod arguments;
mod password;
mod spelling;
mod terminal;

use arguments::Arguments;
use std::ffi::OsString;
use std::process::ExitCode;
use terminal::Talk;

/// Runs the program with its arguments (the first is the program's name).
///
/// The exit code is 0 for success, 2 for a command line that makes no sense, and else that of the error's
/// [kind](crate::ErrorKind::exit_code).
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = arguments.into_iter().collect();
    let (arguments, action) = match Arguments::parse_from(&words) {
        Ok(parsed) => parsed,
        Err(e) => {
            // Help to a closed pipe is no failure.
            let _ = e.print();
            return code(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    terminal::start_log(match (arguments.debug, arguments.verbose) {
        (true, _) => Talk::Debug,
        (false, true) => Talk::Verbose,
        (false, false) => Talk::Little,
    });
    match actions::run(action, &arguments, &words) {
        Ok(status) => code(status),
        Err(e) if terminal::is_closed_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            terminal::report(&e);
            code(e.kind().exit_code())
        }
    }
}

fn code(status: u8) -> ExitCode {
    ExitCode::from(status)
}
