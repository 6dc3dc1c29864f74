//! `cp`: copying with a progress bar, until it is done or interrupted.
//!
//! The crate `indicatif` draws the bar, on a terminal only.

use super::Failures;
use super::stop::Stop;
use crate::cli::error::Error;
use crate::copy::{self, Options, Watch};
use crate::view::View;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The line of the progress bar.
const BAR: &str = "{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";

/// A bar for so many bytes.
pub(super) fn bar(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(bytes).with_style(style)
}

/// Copies. A signal that ends programs ends this one too, once nothing unfinished is left.
pub(super) fn copy(
    view: &View,
    paths: &[PathBuf],
    destination: &Path,
    options: Options,
    failures: &mut Failures,
) -> Result<(), Error> {
    // Ended at once by a second signal, it leaves what is unfinished without its name.
    let stop = Stop::on_signals();
    let bar = if io::stderr().is_terminal() {
        bar(copy::count(view, paths, options, &stop.flag))
    } else {
        ProgressBar::hidden()
    };
    let failures = Mutex::new(failures);
    let report = |error: copy::Error| {
        bar.suspend(|| failures.lock().unwrap_or_else(PoisonError::into_inner).add(&error, error.kind()));
    };
    let watch = Watch { report: &report, progress: &|bytes| bar.inc(bytes), stop: &stop.flag };
    let done = copy::copy(view, paths, destination, options, &watch);
    bar.finish_and_clear();
    if matches!(done, Err(copy::Error::Interrupted)) {
        failures.into_inner().unwrap_or_else(PoisonError::into_inner).signal = stop.signal();
    }
    Ok(done?)
}
