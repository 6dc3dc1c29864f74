//! A memory budget shared by many readers.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// So many bytes, of which each user takes a share for a while.
#[derive(Debug)]
pub(super) struct Budget {
    total: u64,
    free: Mutex<u64>,
    given_back: Condvar,
}

/// A share, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(total: u64) -> Self {
        Self { total, free: Mutex::new(total), given_back: Condvar::new() }
    }

    /// Waits until there are so many bytes, or all of them for a user that wants more. One that holds a share must not
    /// ask for another.
    pub(super) fn take(&self, bytes: u64) -> Taken<'_> {
        let bytes = bytes.min(self.total);
        let wait = self.given_back.wait_while(self.lock(), |free| *free < bytes);
        *wait.unwrap_or_else(PoisonError::into_inner) -= bytes;
        Taken { budget: self, bytes }
    }

    /// The counter is right even when a thread panicked.
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.budget.lock() += self.bytes;
        self.budget.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    #[test]
    fn users_never_hold_more_than_there_is() {
        let budget = Budget::new(10);
        let (held, most) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for user in 0..16 {
                let (budget, held, most) = (&budget, &held, &most);
                scope.spawn(move || {
                    for turn in 0..200 {
                        let bytes = 1 + (user + turn) % 12;
                        let _taken = budget.take(bytes);
                        let now = held.fetch_add(bytes.min(10), Ordering::SeqCst) + bytes.min(10);
                        most.fetch_max(now, Ordering::SeqCst);
                        thread::yield_now();
                        held.fetch_sub(bytes.min(10), Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 10);
        assert_eq!(*budget.lock(), 10);
    }
}
