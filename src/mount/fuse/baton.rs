//! Who receives the next request: one thread at a time, so that a single reader wakes no more than one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

#[derive(Default)]
struct State {
    taken: bool,
    ended: bool,
    /// Who waits for it. The last one gets it, whose memory is still in the processor's caches: so no more threads work
    /// than there is work for.
    waiting: Vec<Thread>,
}

/// What the thread that receives requests holds.
#[derive(Default)]
pub(super) struct Baton(Mutex<State>);

impl Baton {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody has it, and takes it; false when there will be no more requests.
    pub(super) fn take(&self) -> bool {
        let me = thread::current();
        loop {
            let mut state = self.state();
            // It may have been woken by something else, or too late.
            state.waiting.retain(|thread| thread.id() != me.id());
            if state.ended {
                return false;
            }
            if !state.taken {
                state.taken = true;
                return true;
            }
            state.waiting.push(me.clone());
            drop(state);
            thread::park();
        }
    }

    /// Gives it to another thread; false when none waits for it, so that the next that comes takes it.
    pub(super) fn give(&self) -> bool {
        let mut state = self.state();
        state.taken = false;
        let next = state.waiting.pop();
        drop(state);
        next.iter().for_each(Thread::unpark);
        next.is_some()
    }

    /// There will be no more requests.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.iter().for_each(Thread::unpark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_has_it_until_the_end() {
        let baton = Baton::default();
        let (holders, turns) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while baton.take() {
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        let turn = turns.fetch_add(1, Ordering::SeqCst);
                        holders.fetch_sub(1, Ordering::SeqCst);
                        if turn == 1000 {
                            baton.end();
                        } else {
                            baton.give();
                        }
                    }
                });
            }
        });
        assert_eq!(turns.load(Ordering::SeqCst), 1001);
        assert!(!baton.give());
        assert!(!baton.take());
    }
}
