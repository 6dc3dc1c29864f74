//! Going to the background, without `fork`: the program starts itself again, and the first process waits until the
//! second one has mounted or failed.

use super::{Error, Result};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// The first argument of the second process, which tells it that it is one. Not for users.
pub const FLAG: &str = "--in-background";
/// The line that the second process writes to its standard output when the mount answers.
const READY: &str = "mounted";

/// The second process, as the first one sees it.
#[derive(Debug)]
pub struct Second {
    program: PathBuf,
    child: Child,
}

impl Second {
    /// Starts this program again with the arguments of this run (the first is its name). It has our standard error for
    /// its messages until it has mounted.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn start(arguments: &[OsString]) -> Result<Self> {
        let this = Path::new("/proc/self/exe");
        let program = std::env::current_exe().map_err(Error::io(this, "find the program behind"))?;
        let mut command = Command::new(&program);
        if let Some((name, rest)) = arguments.split_first() {
            command.arg0(name).arg(FLAG).args(rest);
        }
        let child = command.stdout(Stdio::piped()).spawn().map_err(Error::io(&program, "start"))?;
        Ok(Self { program, child })
    }

    /// Waits until it has mounted. Returns its exit code when it ended instead; 0 when it mounted.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Background`] when it ended without saying why.
    pub fn wait(mut self) -> Result<u8> {
        let mut answer = String::new();
        if let Some(output) = self.child.stdout.take() {
            // An answer that cannot be read is none.
            let _ = BufReader::new(output).read_line(&mut answer);
        }
        if answer.trim_end() == READY {
            return Ok(0);
        }
        let status = self.child.wait().map_err(Error::io(&self.program, "wait for"))?;
        failure(status)
    }

    /// Waits until it has ended because it found that it is not needed.
    pub fn dismiss(mut self) {
        // It has nothing to say.
        let _ = self.child.wait();
    }
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

/// In the second process: leaves the terminal's session and lets the first process go, which says that all is well.
///
/// # Errors
/// [`Error::Io`] when the first process is gone or `/dev/null` cannot be opened.
pub fn detach() -> Result<()> {
    let path = Path::new("/dev/null");
    let null = OpenOptions::new().read(true).write(true).open(path).map_err(Error::io(path, "open"))?;
    let give_up = |e: nix::errno::Errno| Error::io(path, "leave the terminal for")(io::Error::from(e));
    nix::unistd::setsid().map_err(give_up)?;
    std::env::set_current_dir("/").map_err(Error::io("/".as_ref(), "change to"))?;
    // Standard error first: whoever reads it must see its end when the first process ends.
    nix::unistd::dup2_stdin(&null).map_err(give_up)?;
    nix::unistd::dup2_stderr(&null).map_err(give_up)?;
    let told = writeln!(io::stdout(), "{READY}").and_then(|()| io::stdout().flush());
    nix::unistd::dup2_stdout(&null).map_err(give_up)?;
    told.map_err(Error::io("standard output".as_ref(), "report to"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_before_the_mount_is_a_failure() {
        let end = |status| failure(ExitStatus::from_raw(status));
        assert_eq!(end(7 << 8).unwrap(), 7);
        for (status, how) in [(0, "without an error"), (9, "by signal 9")] {
            let text = end(status).unwrap_err().to_string();
            assert!(text.contains(&format!("ended {how} before the disk was mounted")), "{text}");
        }
    }
}
