//! What a test needs of the machine. A test that does not run prints so past the capture of its output, so that nobody
//! takes it for a success.

use std::io::Write;

/// Returns from a test where a condition is false, and prints `SKIPPED`, the test and what is missing. With
/// `REQUIRE_ALL` set, as in CI, it is a failure.
macro_rules! needs {
    ($is_available:expr, $what:expr) => {
        if !$crate::support::available($is_available, $what) {
            return;
        }
    };
}
pub(crate) use needs;

/// Whether a condition is true; if not, it prints what is missing.
///
/// # Panics
/// When it is false and `REQUIRE_ALL` is set: what is missing can be installed.
pub(crate) fn available(is_available: bool, what: &str) -> bool {
    assert!(is_available || std::env::var_os("REQUIRE_ALL").is_none(), "This test needs {what} (REQUIRE_ALL is set)");
    provided(is_available, what)
}

/// As [`available`], for what no machine can install: material that only somebody who has it can provide.
pub(crate) fn provided(is_available: bool, what: &str) -> bool {
    if !is_available {
        // The harness names a test's thread after the test. It captures what eprintln prints, and not this.
        let thread = std::thread::current();
        let line = format!("SKIPPED {}: it needs {what}\n", thread.name().unwrap_or("a test"));
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    is_available
}

/// Whether the test runs as root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
