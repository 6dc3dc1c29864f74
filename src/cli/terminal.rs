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

impl Verbosity {
    /// For an option that is given so many times.
    pub(super) fn of(times: u8) -> Self {
        match times {
            0 => Self::Little,
            1 => Self::Verbose,
            _ => Self::Debug,
        }
    }
}

/// The variable with the log's filters.
const FILTERS: &str = "VBOXIMG_LOG";

/// The crate's name in the targets of its messages.
const OWN: &str = "vboximg_mount";

/// The crate whose messages are the kernel's requests.
const REQUESTS: &str = "fuser";

/// Sends the library's messages to standard error.
pub(super) fn start_log(verbosity: Verbosity) {
    let own = match verbosity {
        Verbosity::Little => log::LevelFilter::Warn,
        Verbosity::Verbose => log::LevelFilter::Info,
        Verbosity::Debug => log::LevelFilter::Debug,
    };
    let mut builder = env_logger::Builder::new();
    builder.filter_level(log::LevelFilter::Error).filter_module(OWN, own);
    // It logs the requests, and as errors also those whose process was killed meanwhile.
    let requests = if verbosity == Verbosity::Debug { log::LevelFilter::Debug } else { log::LevelFilter::Off };
    builder.filter_module(REQUESTS, requests);
    if let Ok(filters) = std::env::var(FILTERS) {
        builder.parse_filters(&full_filters(&filters));
    }
    builder.format(|out, record| match record.level() {
        log::Level::Error => writeln!(out, "{NAME}: error: {}", record.args()),
        log::Level::Warn => writeln!(out, "{NAME}: warning: {}", record.args()),
        log::Level::Info => writeln!(out, "{}", record.args()),
        log::Level::Debug | log::Level::Trace => writeln!(out, "[{}] {}", short_target(record.target()), record.args()),
    });
    // A second call in one process, as in tests, keeps the first log.
    let _ = builder.try_init();
}

/// Filters as `env_logger` takes them, from such that name this crate's modules only: `registry=debug,lock`. A level
/// alone is for all of them.
fn full_filters(filters: &str) -> String {
    let (directives, text) = filters.split_once('/').map_or((filters, None), |(all, text)| (all, Some(text)));
    let full = |directive: &str| {
        let target = directive.split('=').next().unwrap_or_default().trim();
        let is_full = [OWN, REQUESTS].iter().any(|name| target == *name || target.starts_with(&format!("{name}::")));
        match target.parse::<log::LevelFilter>() {
            _ if is_full || directive.trim().is_empty() => directive.to_owned(),
            Ok(level) => format!("{OWN}={level}"),
            Err(_) => format!("{OWN}::{}", directive.trim()),
        }
    };
    let full = directives.split(',').map(full).collect::<Vec<_>>().join(",");
    text.map_or_else(|| full.clone(), |text| format!("{full}/{text}"))
}

fn short_target(target: &str) -> &str {
    target.strip_prefix(OWN).and_then(|rest| rest.strip_prefix("::")).unwrap_or(target)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_name_modules_of_this_crate() {
        for (short, full) in [
            ("debug", "vboximg_mount=DEBUG"),
            ("registry=debug, lock", "vboximg_mount::registry=debug,vboximg_mount::lock"),
            ("fuser=debug,vboximg_mount::disk=off", "fuser=debug,vboximg_mount::disk=off"),
            ("image::vdi=trace/header", "vboximg_mount::image::vdi=trace/header"),
            ("", ""),
        ] {
            assert_eq!(full_filters(short), full, "{short}");
        }
        assert_eq!(short_target("vboximg_mount::lock::file"), "lock::file");
        assert_eq!(short_target("fuser::session"), "fuser::session");
    }
}
