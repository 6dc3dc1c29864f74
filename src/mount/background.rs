//! Moves to the background without `fork`: the program starts itself as a daemon child, and the first process waits
//! until the child has mounted or failed.

use super::{Error, Result};
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// The first argument of the daemon child. Not for users.
const FLAG: &str = "--in-background";
/// The line that the second process writes to its standard output when the mount answers.
const READY: &str = "mounted";

/// Takes the flag out of the arguments of a run (the first is the program's name); whether it was there.
pub(crate) fn take_flag(arguments: &mut Vec<OsString>) -> bool {
    let is_second = arguments.get(1).is_some_and(|word| word == FLAG);
    if is_second {
        arguments.remove(1);
    }
    is_second
}

/// Starts this program again with the arguments of this run, and waits until it has mounted. It has our standard error
/// for its messages until then. Returns 0 when it mounted, else its exit code.
///
/// # Errors
/// [`Error::Io`]; [`Error::Background`] when it ended without an error.
pub(crate) fn run_again(arguments: &[OsString]) -> Result<u8> {
    let this = Path::new("/proc/self/exe");
    let program = std::env::current_exe().map_err(Error::io(this, "find the program of"))?;
    let mut command = Command::new(&program);
    if let Some((name, rest)) = arguments.split_first() {
        command.arg0(name).arg(FLAG).args(rest);
    }
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(Error::io(&program, "start"))?;
    let mut answer = String::new();
    if let Some(output) = child.stdout.take() {
        // An unreadable answer counts as no answer.
        let _ = BufReader::new(output).read_line(&mut answer);
    }
    if answer.trim_end() == READY {
        return Ok(0);
    }
    let status = child.wait().map_err(Error::io(&program, "wait for"))?;
    failure(status)
}

/// In the second process, until it [detaches](detach): it ends with the first one, as if that one had passed the signal
/// on. Nobody would learn of its mount.
///
/// # Errors
/// [`Error::Io`] when the first process has ended already.
pub(crate) fn follow_first() -> Result<()> {
    let first = Path::new("the first process");
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(Error::io(first, "follow"))?;
    // It may have ended before, and then nobody reads this.
    let output = io::stdout();
    let mut polled = [PollFd::new(&output, PollFlags::empty())];
    rustix::event::poll(&mut polled, Some(&Timespec::default())).map_err(Error::io(first, "look for"))?;
    if polled[0].revents().contains(PollFlags::ERR) {
        return Err(Error::io(first, "report to")(io::Error::from(io::ErrorKind::BrokenPipe)));
    }
    Ok(())
}

fn failure(status: ExitStatus) -> Result<u8> {
    let how = match (status.code(), status.signal()) {
        (Some(0), _) => "without an error".to_owned(),
        (Some(code), _) => return Ok(u8::try_from(code).unwrap_or(1)),
        (None, Some(signal)) => format!("by signal {signal}"),
        (None, None) => "without an exit code".to_owned(),
    };
    Err(Error::Background { how })
}

/// In the daemon child: leaves the terminal's session and lets the first process exit with success.
///
/// # Errors
/// [`Error::Io`] when the first process is gone or `/dev/null` cannot be opened.
pub(crate) fn detach() -> Result<()> {
    let path = Path::new("/dev/null");
    let null = OpenOptions::new().read(true).write(true).open(path).map_err(Error::io(path, "open"))?;
    let give_up = |e: nix::errno::Errno| Error::io(path, "leave the terminal for")(io::Error::from(e));
    // From here on the first process can no longer report an error.
    nix::sys::prctl::set_pdeathsig(None).map_err(give_up)?;
    nix::unistd::setsid().map_err(give_up)?;
    std::env::set_current_dir("/").map_err(Error::io("/".as_ref(), "change to"))?;
    // Standard error first: whoever reads it must see its end when the first process ends.
    nix::unistd::dup2_stdin(&null).map_err(give_up)?;
    nix::unistd::dup2_stderr(&null).map_err(give_up)?;
    let reported = writeln!(io::stdout(), "{READY}").and_then(|()| io::stdout().flush());
    nix::unistd::dup2_stdout(&null).map_err(give_up)?;
    reported.map_err(Error::io("standard output".as_ref(), "report to"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_the_first_argument_only() {
        let mut words: Vec<OsString> = ["x", FLAG, "-i", "a"].map(OsString::from).to_vec();
        assert!(take_flag(&mut words));
        assert_eq!(words, ["x", "-i", "a"]);
        words.push(FLAG.into());
        assert!(!take_flag(&mut words));
        assert_eq!(words.len(), 4);
    }

    #[test]
    fn fails_when_the_child_ends_before_the_mount() {
        let end = |status| failure(ExitStatus::from_raw(status));
        assert_eq!(end(7 << 8).unwrap(), 7);
        for (status, how) in [(0, "without an error"), (9, "by signal 9")] {
            let text = end(status).unwrap_err().to_string();
            assert!(text.contains(&format!("ended {how} before the disk was mounted")), "{text}");
        }
    }
}
