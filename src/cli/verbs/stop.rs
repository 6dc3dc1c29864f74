//! Ending a verb that takes long by a signal, once nothing unfinished is left.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Whether a signal that ends programs has arrived.
pub(super) struct Stop {
    pub(super) flag: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Stop {
    /// Waits for signals. The second one ends the program at once.
    pub(super) fn on_signals() -> Self {
        let (stop, signal) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        for caught in [SIGINT, SIGTERM, SIGHUP] {
            let _ = flag::register_conditional_default(caught, stop.clone());
            let _ = flag::register_usize(caught, signal.clone(), usize::try_from(caught).unwrap_or(0));
            let _ = flag::register(caught, stop.clone());
        }
        Self { flag: stop, signal }
    }

    /// The signal that has arrived.
    pub(super) fn signal(&self) -> Option<i32> {
        i32::try_from(self.signal.load(Ordering::Relaxed)).ok().filter(|signal| *signal > 0)
    }
}
