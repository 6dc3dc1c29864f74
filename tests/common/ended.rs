//! Waiting for processes, with an end.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// How long a process may take that should be about to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// The status of a process, once it has ended.
///
/// # Panics
/// When it does not end. It is killed then.
pub(crate) fn ended(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("process {} did not end", child.id());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
