//! A process, distinguished from a later one with the same id.

use super::{Error, Result};
use crate::error_kind::IoError;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes that most files of `/proc` fit into.
const ROOM: usize = 8 << 10;

/// A process of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Process {
    /// The number.
    pub pid: u32,
    /// When it started, in clock ticks since the host did: field 22 of `/proc/PID/stat` (proc(5)).
    pub started: u64,
}

impl Process {
    /// This process.
    ///
    /// # Errors
    /// [`Error::Io`] when `/proc` cannot be read.
    pub(super) fn current() -> Result<Self> {
        let pid = std::process::id();
        let path = PathBuf::from("/proc/self/stat");
        let text = read(&path).map_err(Error::io(&path, "read"))?;
        let unknown = || std::io::Error::other("it does not have the fields that proc(5) lists");
        let (_, started) = parse(&text).ok_or_else(|| IoError::new(&path, "understand", unknown()))?;
        Ok(Self { pid, started })
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub(super) fn is_running(self) -> bool {
        let text = read(format!("/proc/{}/stat", self.pid).as_ref()).unwrap_or_default();
        // One that has ended but was not waited for holds no files any more.
        parse(&text).is_some_and(|(state, started)| started == self.started && state != b'Z' && state != b'X')
    }
}

/// Reads a file of `/proc`. Such a file has no length, for which [`std::fs::read`] begins with reads of 32 bytes.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(ROOM);
    File::open(path)?.read_to_end(&mut text)?;
    Ok(text)
}

/// The state and the start time. The name before them may hold anything, also spaces and brackets.
fn parse(stat: &[u8]) -> Option<(u8, u64)> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = stat[name_end + 1..].split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    // The state is field 3.
    let state = *fields.next()?.first()?;
    let started = std::str::from_utf8(fields.nth(22 - 4)?).ok()?;
    Some((state, started.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_a_malformed_name() {
        let stat = b"77 (a ) S 1) R 1 77 77 0 -1 4194304 90 0 0 0 1 2 0 0 20 0 1 0 123456 9 9 9\n";
        assert_eq!(parse(stat), Some((b'R', 123_456)));
        assert_eq!(parse(b"77 (a) R 1 2"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn detects_whether_a_process_runs() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let text = std::fs::read(format!("/proc/{}/stat", child.id())).unwrap();
        let process = Process { pid: child.id(), started: parse(&text).unwrap().1 };
        assert!(process.is_running());
        assert!(!Process { started: process.started + 1, ..process }.is_running());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.is_running());
        assert!(Process::current().unwrap().is_running());
    }
}
