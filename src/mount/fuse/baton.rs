//! Who receives the next request: one thread at a time, so that a single reader wakes no more than one.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Taken,
    Ended,
}

/// What the thread that receives requests holds.
pub(super) struct Baton {
    state: Mutex<State>,
    changed: Condvar,
}

impl Baton {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State::Free), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody has it, and takes it; false when there will be no more requests.
    pub(super) fn take(&self) -> bool {
        let mut state = self
            .changed
            .wait_while(self.state(), |state| *state == State::Taken)
            .unwrap_or_else(PoisonError::into_inner);
        if *state == State::Free {
            *state = State::Taken;
            return true;
        }
        false
    }

    /// Gives it to another thread.
    pub(super) fn give(&self) {
        let mut state = self.state();
        if *state == State::Taken {
            *state = State::Free;
            self.changed.notify_one();
        }
    }

    /// There will be no more requests.
    pub(super) fn end(&self) {
        *self.state() = State::Ended;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_has_it_until_the_end() {
        let baton = Baton::new();
        let (holders, turns) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while baton.take() {
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        let turn = turns.fetch_add(1, Ordering::SeqCst);
                        holders.fetch_sub(1, Ordering::SeqCst);
                        if turn == 1000 { baton.end() } else { baton.give() }
                    }
                });
            }
        });
        assert_eq!(turns.load(Ordering::SeqCst), 1001);
        baton.give();
        assert!(!baton.take());
    }
}
