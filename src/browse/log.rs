//! The library's warnings, which go to the status line: on standard error they would spoil the screen.

use super::model::message::Message;
use log::{LevelFilter, Log, Metadata, Record};
use std::sync::mpsc::Sender;

/// A log that sends warnings to the browser.
struct Warnings(Sender<Message>);

impl Log for Warnings {
    fn enabled(&self, of: &Metadata<'_>) -> bool {
        of.level() <= log::Level::Warn && of.target().starts_with("vboximg_mount")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            // Nobody listens any more when the program ends.
            let _ = self.0.send(Message::Warning(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// Sends the library's warnings to the browser from now on.
pub(super) fn start(messages: Sender<Message>) {
    // A second browser in one process, as in tests, keeps the first log.
    if log::set_boxed_logger(Box::new(Warnings(messages))).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}
