//! `cp`: copying with a progress bar, until it is done or interrupted.
//!
//! The crate `indicatif` draws the bar, on a terminal only.

use super::Failures;
use crate::cli::error::Error;
use crate::copy::{self, Options, Watch};
use crate::view::View;
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The line of the progress bar.
const BAR: &str = "{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";

/// Copies. A signal that ends programs ends this one too, once nothing unfinished is left.
pub(super) fn copy(
    view: &View,
    paths: &[PathBuf],
    destination: &Path,
    options: Options,
    failures: &mut Failures,
) -> Result<(), Error> {
    let stop = Arc::new(AtomicBool::new(false));
    let signal = Arc::new(AtomicUsize::new(0));
    for caught in [SIGINT, SIGTERM, SIGHUP] {
        // The second one ends it at once: what is unfinished has not got its name.
        let _ = flag::register_conditional_default(caught, stop.clone());
        let _ = flag::register_usize(caught, signal.clone(), usize::try_from(caught).unwrap_or(0));
        let _ = flag::register(caught, stop.clone());
    }
    let bar = if io::stderr().is_terminal() {
        let bar = ProgressBar::new(copy::count(view, paths, options, &stop));
        bar.with_style(ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar()))
    } else {
        ProgressBar::hidden()
    };
    let failures = Mutex::new(failures);
    let report = |error: copy::Error| {
        bar.suspend(|| failures.lock().unwrap_or_else(PoisonError::into_inner).add(&error, error.kind()));
    };
    let watch = Watch { report: &report, progress: &|bytes| bar.inc(bytes), stop: &stop };
    let done = copy::copy(view, paths, destination, options, &watch);
    bar.finish_and_clear();
    let signal = i32::try_from(signal.load(Ordering::Relaxed)).ok().filter(|signal| *signal > 0);
    if matches!(done, Err(copy::Error::Interrupted)) {
        failures.into_inner().unwrap_or_else(PoisonError::into_inner).signal = signal;
    }
    Ok(done?)
}
