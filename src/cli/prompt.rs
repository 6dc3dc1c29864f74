//! Asking for a password on the terminal without showing it.
//!
//! The crate `rpassword` does not serve here: the key that interrupts ends the process while the terminal still shows
//! nothing, and the password comes as a `String`, of which nobody wipes what it left in memory when it grew.

use crate::crypt::Key;
use nix::sys::signal::{Signal, killpg};
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use nix::unistd::getpgrp;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

/// The terminal that the program was started from, whatever its standard input is.
const TERMINAL: &str = "/dev/tty";
/// Bytes of the longest line that a terminal gives.
const LINE: usize = 4096;

/// Whether there is a terminal to ask on.
pub(super) fn is_possible() -> bool {
    open().is_ok()
}

fn open() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(TERMINAL)
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        // The key that interrupts ends the line instead: a signal would leave the terminal without echo.
        quiet.local_flags.remove(LocalFlags::ECHO | LocalFlags::ECHONL | LocalFlags::ISIG);
        quiet.local_flags.insert(LocalFlags::ICANON);
        quiet.control_chars[SpecialCharacterIndices::VEOL as usize] = interrupt(&before);
        tcsetattr(terminal, SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // A terminal that has gone needs no echo.
        let _ = tcsetattr(self.terminal, SetArg::TCSADRAIN, &self.before);
    }
}

/// The character of the key that interrupts, mostly ^C.
fn interrupt(terminal: &Termios) -> u8 {
    terminal.control_chars[SpecialCharacterIndices::VINTR as usize]
}

/// Asks a question and reads the answer, a line. The key that interrupts does what it always does to the programs in
/// the foreground, once the terminal is as it was.
///
/// # Errors
/// When there is no terminal, or no answer.
pub(super) fn ask(question: &str) -> io::Result<Key> {
    let mut terminal = open()?;
    let quiet = Quiet::new(&terminal)?;
    let interrupt = interrupt(&quiet.before);
    (&terminal).write_all(question.as_bytes())?;
    let mut line = Key::new(vec![0; LINE]);
    let len = loop {
        match (&terminal).read(&mut line) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    drop(quiet);
    terminal.write_all(b"\n")?;
    line.truncate(len);
    match line.pop() {
        Some(b'\n') if !line.is_empty() => Ok(line),
        Some(last) if last == interrupt && interrupt != 0 => {
            killpg(getpgrp(), Signal::SIGINT)?;
            Err(io::ErrorKind::Interrupted.into())
        }
        // Its end was typed (^D) instead of a line's end.
        Some(last) if last != b'\n' => {
            line.push(last);
            Ok(line)
        }
        _ => Err(io::Error::other("the answer is empty")),
    }
}
