//! What the program says on standard error, and what kind of thing standard output is.

use crate::listing::Style;
use std::io::{self, IsTerminal, Write};

/// The program's name, with which its messages begin.
pub(super) const NAME: &str = "vboximg-mount";

/// How much is said on standard error besides errors and warnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verbosity {
    /// Nothing.
    Little,
    /// What is found, locked and opened.
    Verbose,
    /// That and every request of the kernel.
    Debug,
}

/// Sends the library's messages to standard error.
pub(super) fn start_log(verbosity: Verbosity) {
    let own = match verbosity {
        Verbosity::Little => log::LevelFilter::Warn,
        Verbosity::Verbose => log::LevelFilter::Info,
        Verbosity::Debug => log::LevelFilter::Debug,
    };
    let mut builder = env_logger::Builder::new();
    builder.filter_level(log::LevelFilter::Error).filter_module("vboximg_mount", own);
    // It logs the requests, and as errors also those whose process was killed meanwhile.
    let requests = if verbosity == Verbosity::Debug { log::LevelFilter::Debug } else { log::LevelFilter::Off };
    builder.filter_module("fuser", requests);
    builder.format(|out, record| match record.level() {
        log::Level::Error => writeln!(out, "{NAME}: error: {}", record.args()),
        log::Level::Warn => writeln!(out, "{NAME}: warning: {}", record.args()),
        log::Level::Info => writeln!(out, "{}", record.args()),
        log::Level::Debug | log::Level::Trace => writeln!(out, "[{}] {}", record.target(), record.args()),
    });
    // A second call in one process, as in tests, keeps the first log.
    let _ = builder.try_init();
}

/// How lists are to look: as wide as the terminal, or `COLUMNS`, and in colour unless `NO_COLOR` is set or `TERM` is
/// `dumb`; plain when standard output is no terminal.
pub(super) fn style() -> Style {
    if !io::stdout().is_terminal() {
        return Style::default();
    }
    // Where nothing knows how many there are, it is said to be 0.
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
    let width = columns.or_else(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)));
    let is_dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    let color = !is_dumb && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    Style { width, color }
}

/// Says why the program ends without having done what it should.
pub(super) fn report(error: &dyn std::error::Error) {
    // Nowhere to say that standard error is closed.
    let _ = writeln!(io::stderr(), "{NAME}: error: {}", crate::error_kind::message(error));
}

/// Says something that is no error.
pub(super) fn say(text: &str) -> io::Result<()> {
    writeln!(io::stderr(), "{NAME}: {text}")
}
