//! The terminal, which is given back as it was however the browser ends: at its end, by an error, a signal or a panic.

use super::model::message::Message;
use super::{Error, Result};
use base64::prelude::{BASE64_STANDARD, Engine};
use crossterm::cursor::{Hide, Show};
use crossterm::event::{
    self, DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture, Event,
};
use crossterm::execute;
use crossterm::style::Print;
use crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use nix::sys::signal::{Signal, raise};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, IsTerminal, Stdout};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;

/// The longest text that is put into the clipboard: terminals drop longer sequences.
const MOST_COPIED: usize = 64 << 10;

/// The terminal while the browser has it.
pub(super) struct Screen {
    /// What is drawn on.
    pub(super) terminal: Terminal<CrosstermBackend<Stdout>>,
}

/// Whether there is a terminal that can draw.
pub(super) fn is_possible() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|name| name == "dumb" || name.is_empty());
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// [`Error::NoTerminal`], [`Error::Terminal`].
    pub(super) fn new() -> Result<Self> {
        if !is_possible() {
            return Err(Error::NoTerminal);
        }
        restore_after_panics();
        enter()?;
        // Not its own clear(), which asks the terminal for the cursor and would wait for the thread that reads keys.
        Ok(Self { terminal: Terminal::new(CrosstermBackend::new(io::stdout()))? })
    }

    /// Gives the terminal back, stops this program until it is continued, and takes the terminal again.
    pub(super) fn suspend(&mut self) -> Result<()> {
        leave();
        // Blocked or ignored in a shell without job control: then it goes on at once.
        raise(Signal::SIGTSTP).map_err(io::Error::from)?;
        self.retake()
    }

    /// Takes the terminal again, and draws everything anew.
    pub(super) fn retake(&mut self) -> Result<()> {
        // Whoever had it meanwhile may have left it in any mode.
        leave();
        enter()?;
        self.terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        Ok(())
    }

    /// Puts text into the terminal's clipboard, by OSC 52: that of the user's own terminal, over ssh too.
    pub(super) fn copy(&mut self, text: &str) -> Result<()> {
        let end = (0..=text.len().min(MOST_COPIED)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        execute!(io::stdout(), Print(format!("\x1b]52;c;{}\x07", BASE64_STANDARD.encode(&text[..end]))))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Whether the browser has the terminal. To leave a screen that was not entered would move the cursor of the shell.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

fn enter() -> io::Result<()> {
    IS_TAKEN.store(true, Ordering::Relaxed);
    enable_raw_mode()?;
    let entered = execute!(
        io::stdout(),
        EnterAlternateScreen,
        EnableMouseCapture,
        EnableBracketedPaste,
        Hide,
        Clear(ClearType::All)
    );
    entered.inspect_err(|_| leave())
}

/// Gives the terminal back. One that has gone needs nothing.
fn leave() {
    if !IS_TAKEN.swap(false, Ordering::Relaxed) {
        return;
    }
    let _ = execute!(io::stdout(), DisableBracketedPaste, DisableMouseCapture, LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// Gives the terminal back before a panic is told. One of a job ends the program, too: nobody would know what is lost.
fn restore_after_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = panic::take_hook();
        let browser = thread::current().id();
        panic::set_hook(Box::new(move |panic| {
            leave();
            tell(panic);
            if thread::current().id() != browser {
                std::process::exit(101);
            }
        }));
    });
}

/// Sends what is typed and the signals that end programs as messages.
pub(super) fn listen(messages: &Sender<Message>) -> Result<()> {
    let keys = messages.clone();
    thread::spawn(move || {
        loop {
            let message = match event::read() {
                Ok(Event::Key(key)) => Message::Key(key),
                Ok(Event::Mouse(mouse)) => Message::Mouse(mouse),
                Ok(Event::Paste(text)) => Message::Paste(text),
                Ok(Event::Resize(columns, rows)) => Message::Resize(columns, rows),
                Ok(Event::FocusGained | Event::FocusLost) => continue,
                // The terminal has gone.
                Err(_) => Message::Signal(SIGHUP),
            };
            let is_end = matches!(message, Message::Signal(_));
            if keys.send(message).is_err() || is_end {
                return;
            }
        }
    });
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGCONT])?;
    let messages = messages.clone();
    thread::spawn(move || {
        for signal in signals.forever() {
            let message = if signal == SIGCONT { Message::Continued } else { Message::Signal(signal) };
            if messages.send(message).is_err() {
                return;
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;
    use std::time::{Duration, Instant};

    #[test]
    #[ignore = "run by a test below, in a terminal of its own"]
    fn panics_in_a_terminal() {
        let _screen = Screen::new().unwrap();
        panic!("on purpose");
    }

    #[test]
    #[ignore = "run by a test below, in a terminal of its own"]
    fn panics_in_a_job() {
        let _screen = Screen::new().unwrap();
        let job = thread::spawn(|| panic!("on purpose"));
        let _ = job.join();
        unreachable!("the panic of a job ends the program");
    }

    /// Runs a command of the shell in a tmux of its own, and returns the screen when it has ended.
    fn in_terminal(socket: &str, command: &str) -> String {
        let tmux = |arguments: &[&str]| {
            let output = Command::new("tmux").args(["-f", "/dev/null", "-L", socket]).args(arguments).output();
            String::from_utf8_lossy(&output.expect("tmux is installed (tests/setup.sh)").stdout).into_owned()
        };
        let script = format!("stty -a >before; {command}; echo code $?; stty -a >after; cmp before after && echo same");
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().to_str().unwrap();
        let command = format!("sh -c '{script}; exec cat'");
        tmux(&["new-session", "-d", "-x", "100", "-y", "30", "-c", at, &command]);
        let start = Instant::now();
        let mut screen = String::new();
        while !screen.contains("same") && start.elapsed() < Duration::from_secs(120) {
            thread::sleep(Duration::from_millis(20));
            screen = tmux(&["capture-pane", "-p"]);
        }
        screen += &tmux(&[
            "display-message",
            "-p",
            "alternate #{alternate_on} mouse #{mouse_any_flag} cursor #{cursor_flag}",
        ]);
        tmux(&["kill-server"]);
        screen
    }

    #[test]
    fn a_panic_gives_the_terminal_back() {
        if !Path::new("/usr/bin/tmux").exists() {
            return;
        }
        let program = std::env::current_exe().unwrap();
        for (name, message) in [("panics_in_a_terminal", "on purpose"), ("panics_in_a_job", "on purpose")] {
            let test = format!("browse::terminal::tests::{name}");
            let command = format!("{} --ignored --nocapture --exact {test}", program.display());
            let screen = in_terminal(&format!("vboximg-{}-{name}", std::process::id()), &command);
            assert!(screen.contains(message), "{screen}");
            assert!(screen.contains("code 101") && screen.contains("same"), "{screen}");
            assert!(screen.contains("alternate 0 mouse 0 cursor 1"), "{screen}");
        }
    }
}
