//! The full-screen browser over registry and view: machines, snapshots, disks, volumes and files.
//!
//! `model` is the state and how messages change it; it is pure, and returns what is to be done as effects. `work` does
//! it in threads and sends messages back. `draw` draws the state with ratatui, only what is on the screen. `terminal`
//! takes the terminal by crossterm and gives it back, and sends keys as messages. Nothing else knows of a terminal.
//!
//! Everything is opened through [`open`](crate::open) and shown from a [`View`](crate::view::View), as for listing and
//! mounting.

mod content;
mod details;
mod draw;
mod error;
mod layout;
mod log;
mod model;
mod terminal;
#[cfg(test)]
mod testing;
mod work;

pub(crate) use error::{Error, Result};

use crate::crypt::PasswordFile;
use crate::open::{DiskOptions, Which};
use crate::storage::Allowed;
use draw::Look;
use model::App;
use model::message::{Effect, Message};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use terminal::Screen;
use work::Workers;

/// Messages that are taken before the screen is drawn again, at most.
const AT_ONCE: usize = 4096;

/// What the browser shows, and how.
pub(crate) struct Options {
    /// The disk or machine that it begins with; the whole registry without any.
    pub which: Which,
    /// The settings to read in place of the user's own.
    pub settings: Option<PathBuf>,
    /// Files that images may name although they lie elsewhere.
    pub allowed: Allowed,
    /// Where passwords are looked for before they are asked for.
    pub password_files: Vec<PasswordFile>,
    /// Called before a password is asked for.
    pub on_password: fn(),
    /// How disks are opened.
    pub disk: DiskOptions,
    /// Options of the command line that a mount needs too, such as `--settings`.
    pub words: Vec<OsString>,
    /// Whether colours may be used.
    pub color: bool,
}

/// What was there when the browser ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// What it mounted, and is still mounted.
    pub mounted: Vec<PathBuf>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

/// Shows the browser until the user ends it.
///
/// # Errors
/// [`Error::NoTerminal`], [`Error::Terminal`].
pub(crate) fn run(options: Options) -> Result<Ended> {
    let look = Look { color: options.color };
    let (messages, happened) = channel();
    let mut screen = Screen::new()?;
    log::start(messages.clone());
    terminal::listen(&messages)?;
    let size = screen.terminal.size()?;
    let directory = std::env::current_dir().unwrap_or_default();
    let (mut app, effects) = App::new(options.which.clone(), directory, (size.width, size.height));
    let mut workers = Workers::new(options, messages);
    let signal = turn(&mut screen, &mut app, &mut workers, effects, &happened, look)?;
    Ok(Ended { mounted: app.mounts.into_iter().map(|mount| mount.point).collect(), signal })
}

/// Draws, waits, and does what is to be done, until the end. Returns the signal that ended it.
fn turn(
    screen: &mut Screen,
    app: &mut App,
    workers: &mut Workers,
    mut effects: Vec<Effect>,
    happened: &Receiver<Message>,
    look: Look,
) -> Result<Option<i32>> {
    let mut signal = None;
    loop {
        for effect in effects {
            match effect {
                Effect::Start(id, job) => workers.start(id, job),
                Effect::Stop(id) => workers.stop(id),
                Effect::Answer(password) => workers.answer(password),
                Effect::Copy(text) => screen.copy(&text)?,
                Effect::Suspend => screen.suspend()?,
                Effect::Quit => return Ok(signal),
            }
        }
        screen.terminal.draw(|frame| draw::draw(frame, app, look))?;
        // The sender is kept by the workers, so there is always somebody who may send.
        let Ok(first) = happened.recv() else { return Ok(signal) };
        // All that came meanwhile is taken at once, so that a key that is held down is drawn once.
        for message in std::iter::once(first).chain(happened.try_iter()).take(AT_ONCE) {
            match &message {
                Message::Signal(by) => signal = Some(*by),
                Message::Continued => screen.retake()?,
                _ => {}
            }
            app.update(message);
        }
        effects = app.settle();
    }
}
