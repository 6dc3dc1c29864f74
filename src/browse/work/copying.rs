//! Copying to the host.

use super::Teller;
use crate::browse::model::message::{Copying, Event};
use crate::copy::{self, Options, Watch};
use crate::error_kind::message;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is said how far copying is.
const OFTEN: Duration = Duration::from_millis(100);
/// Problems that are kept.
const MOST: usize = 10_000;

/// Copies a file, or a directory with all in it, to a directory of the host or to a new name there.
pub(super) fn copy(copying: Copying, teller: &Teller) -> Event {
    if let Some(there) = there(&copying).filter(|_| !copying.replace) {
        return Event::Exists(there, copying);
    }
    let Copying { opened, from, to, .. } = copying;
    let options = Options { recursive: true, preserve: false };
    let all = copy::count(&opened.view, std::slice::from_ref(&from), options, &teller.stop);
    let (done, said) = (AtomicU64::new(0), Mutex::new(Instant::now()));
    let problems = Mutex::new(Vec::new());
    let report = |e: copy::Error| {
        let mut problems = problems.lock().unwrap_or_else(PoisonError::into_inner);
        if problems.len() < MOST {
            problems.push(message(&e));
        }
    };
    let progress = |more: u64| {
        let now = done.fetch_add(more, Ordering::Relaxed) + more;
        // Another thread says it.
        let Ok(mut said) = said.try_lock() else { return };
        if said.elapsed() > OFTEN {
            teller.say(Event::Progress(now, all));
            *said = Instant::now();
        }
    };
    let watch = Watch { report: &report, progress: &progress, stop: &teller.stop };
    let copied = copy::copy(&opened.view, &[from], &to, options, &watch);
    let problems = problems.into_inner().unwrap_or_else(PoisonError::into_inner);
    Event::Copied(problems, copied.err().map(|e| message(&e)))
}

/// What is already where the copy would be.
fn there(copying: &Copying) -> Option<PathBuf> {
    let path = match copying.to.is_dir() {
        true => copying.to.join(copying.from.file_name()?),
        false => copying.to.clone(),
    };
    path.symlink_metadata().is_ok().then_some(path)
}
