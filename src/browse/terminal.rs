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

fn enter() -> io::Result<()> {
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
