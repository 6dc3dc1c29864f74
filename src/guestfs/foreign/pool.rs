//! A pool of readers of one volume, so that requests do not wait for each other.

use crate::guestfs::Result;
use crate::ondisk::ParseError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

/// The most idle readers that are retained. More are created while they are needed at once.
const CACHED: usize = 8;

/// Readers that can each be used by one thread at a time, created on demand.
pub(crate) struct Pool<T> {
    idle: Mutex<Vec<T>>,
    make: Box<dyn Fn() -> Result<T> + Send + Sync>,
}

impl<T: Send> Pool<T> {
    /// Creates a pool and its first reader.
    ///
    /// # Errors
    /// Whatever `make` returns.
    pub(crate) fn new(make: impl Fn() -> Result<T> + Send + Sync + 'static) -> Result<Self> {
        let pool = Self { idle: Mutex::new(Vec::new()), make: Box::new(make) };
        pool.with(|_| Ok(()))?;
        Ok(pool)
    }

    /// Lends a reader to `work`. A reader that panics, as a crate may on unexpected corruption, is dropped.
    ///
    /// # Errors
    /// Whatever `work` or creating a reader returns; [`Error::Corrupt`](crate::guestfs::Error::Corrupt) after a panic.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let (reader, result) = guarded(|| {
            let mut reader = idle.map_or_else(&self.make, Ok)?;
            let result = work(&mut reader);
            Ok((reader, result))
        })?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < CACHED {
            idle.push(reader);
        }
        result
    }
}

/// Runs `work`, in which a crate may panic on unexpected corruption.
///
/// # Errors
/// Whatever `work` returns; [`Error::Corrupt`](crate::guestfs::Error::Corrupt) after a panic.
pub(crate) fn guarded<R>(work: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let cause = ParseError::corrupt(0, "structure", "one that its reader can follow", "one that made it give up");
        Err(cause.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guestfs::Error;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn creates_reuses_and_drops_readers() {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = made.clone();
        let pool = Pool::new(move || Ok(counter.fetch_add(1, Ordering::Relaxed))).unwrap();
        assert_eq!(pool.with(|reader| Ok(*reader)).unwrap(), 0);
        let both = pool.with(|outer| pool.with(|inner| Ok((*outer, *inner)))).unwrap();
        assert_eq!((both, made.load(Ordering::Relaxed)), ((0, 1), 2));
        let failed = pool.with(|_| -> Result<()> { panic!("of a crate") });
        assert!(matches!(failed, Err(Error::Corrupt(_))), "{failed:?}");
        assert!(matches!(pool.with(|_| Err::<(), _>(Error::NotFile)), Err(Error::NotFile)));
        pool.with(|_| pool.with(|_| Ok(()))).unwrap();
        assert_eq!(made.load(Ordering::Relaxed), 3);
    }
}
