//! Telling a thread that it is about to wait for the host's disk: while it waits, others can do its work.

use std::cell::RefCell;

thread_local! {
    static BEFORE: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
}

/// From now on `before` is called on this thread whenever an image's bytes are not in the host's cache.
pub fn watch(before: Box<dyn Fn()>) {
    BEFORE.set(Some(before));
}

/// Whether this thread wants to be told.
pub(super) fn is_watched() -> bool {
    BEFORE.with_borrow(Option::is_some)
}

/// Tells it.
pub(super) fn about_to_wait() {
    BEFORE.with_borrow(|before| before.iter().for_each(|before| before()));
}
