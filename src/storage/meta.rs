//! A bounded cache of a file's metadata (block maps, grain tables), read and changed by file offset.
//!
//! Changes stay in memory until [`MetaCache::write_back`], so that a format can put data on the disk first.

use super::Result;
use crate::ondisk::ParseError;
use crate::storage;
use crate::storage::File;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of a page where the format does not ask for smaller ones. Pages start at multiples of their size in the file.
pub(crate) const PAGE: usize = 4096;

#[derive(Debug)]
struct Page {
    bytes: Box<[u8]>,
    /// How many of the bytes the file had when the page was read or has been given since.
    valid: usize,
    /// The range of bytes that changed, for writing back no more than that.
    dirty: Option<(usize, usize)>,
    used: u64,
}

#[derive(Debug, Default)]
struct State {
    pages: HashMap<u64, Page>,
    dirty: usize,
    clock: u64,
    /// Counts changes, so that a page read without the lock is not put in over a newer one.
    changes: u64,
}

/// The cache of one file.
#[derive(Debug)]
pub(crate) struct MetaCache {
    file: File,
    page: usize,
    limit: usize,
    state: Mutex<State>,
}

impl MetaCache {
    /// A cache of at most `limit` bytes of `file`, not counting changed pages, which stay until written back.
    #[must_use]
    pub(crate) fn new(file: File, limit: usize) -> Self {
        Self::with_pages(file, limit, PAGE)
    }

    /// Like [`new`](Self::new), with pages of `page` bytes: where tables may lie closer to other structures than
    /// [`PAGE`], so that no page holds bytes of two of them. At least 512.
    #[must_use]
    pub(crate) fn with_pages(file: File, limit: usize, page: usize) -> Self {
        let page = page.max(512);
        Self { file, page, limit: (limit / page).max(4), state: Mutex::default() }
    }

    /// The file under the cache.
    #[must_use]
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills `buf` from `offset` on. `what` names the structure for an error.
    ///
    /// # Errors
    /// [`Error::Io`](super::Error::Io); [`Error::Corrupt`](super::Error::Corrupt) when the file ends before that.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8], what: &str) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let at = offset.checked_add(done as u64).ok_or_else(|| self.ends(offset, what, buf.len()))?;
            let (index, skip) = self.split(at);
            let len = (self.page - skip).min(buf.len() - done);
            self.with_page(index, |page| {
                let end = (skip + len).min(page.valid);
                let have = end.saturating_sub(skip);
                buf[done..done + have].copy_from_slice(&page.bytes[skip..skip + have]);
                have == len
            })?
            .then_some(())
            .ok_or_else(|| self.ends(offset, what, buf.len()))?;
            done += len;
        }
        Ok(())
    }

    fn ends(&self, offset: u64, what: &str, len: usize) -> super::Error {
        let end = self.file.length().unwrap_or(0);
        ParseError::corrupt(offset, what, format_args!("{len} bytes"), format_args!("the end of the file at {end}"))
            .in_file(self.file.path())
    }

    /// Changes bytes in memory; they reach the file with [`write_back`](Self::write_back).
    ///
    /// # Errors
    /// [`Error::Io`](super::Error::Io) when the page around them cannot be read.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let (index, skip) = self.split(offset.saturating_add(done as u64));
            let len = (self.page - skip).min(bytes.len() - done);
            let chunk = &bytes[done..done + len];
            // The page may be dropped between reading and changing it, so it is looked up again under one lock.
            loop {
                self.with_page(index, |_| ())?;
                let mut state = self.lock();
                let state = &mut *state;
                if let Some(page) = state.pages.get_mut(&index) {
                    page.bytes[skip..skip + len].copy_from_slice(chunk);
                    page.valid = page.valid.max(skip + len);
                    let (from, to) = page.dirty.unwrap_or_else(|| {
                        state.dirty += 1;
                        (skip, skip + len)
                    });
                    page.dirty = Some((from.min(skip), to.max(skip + len)));
                    state.changes += 1;
                    break;
                }
            }
            done += len;
        }
        Ok(())
    }

    /// Bytes of changed pages that wait for [`write_back`](Self::write_back).
    #[must_use]
    pub(crate) fn pending(&self) -> usize {
        self.lock().dirty * self.page
    }

    /// Writes all changes to the file, in the order of their offsets. Does not wait for the disk.
    ///
    /// # Errors
    /// [`Error::Io`](super::Error::Io); what was not written stays changed.
    pub(crate) fn write_back(&self) -> Result<()> {
        let mut indices: Vec<u64> = {
            let state = self.lock();
            state.pages.iter().filter(|(_, p)| p.dirty.is_some()).map(|(n, _)| *n).collect()
        };
        indices.sort_unstable();
        for index in indices {
            // Held over the write: a change to this page meanwhile would otherwise be marked as written.
            let mut state = self.lock();
            let state = &mut *state;
            if let Some(page) = state.pages.get_mut(&index)
                && let Some((from, to)) = page.dirty
            {
                storage::write_all(&*self.file, &page.bytes[from..to], self.start_of(index) + from as u64)?;
                page.dirty = None;
                state.dirty -= 1;
            }
        }
        Ok(())
    }

    /// Writes all changes to the file and waits until they are on the disk.
    ///
    /// # Errors
    /// As [`write_back`](Self::write_back); [`Error::Unsynced`](super::Error::Unsynced).
    pub(crate) fn write_through(&self) -> Result<()> {
        if self.pending() > 0 {
            self.write_back()?;
            storage::sync(&*self.file)?;
        }
        Ok(())
    }

    fn with_page<T>(&self, index: u64, f: impl FnOnce(&mut Page) -> T) -> Result<T> {
        let mut f = Some(f);
        loop {
            let changes = {
                let mut state = self.lock();
                state.clock += 1;
                let clock = state.clock;
                if let Some(page) = state.pages.get_mut(&index) {
                    page.used = clock;
                    if let Some(f) = f.take() {
                        return Ok(f(page));
                    }
                }
                state.changes
            };
            let bytes = storage::read_up_to(&*self.file, self.start_of(index), self.page)?;
            let mut state = self.lock();
            if state.changes != changes {
                continue;
            }
            let valid = bytes.len();
            let mut full = bytes;
            full.resize(self.page, 0);
            let used = state.clock;
            state.pages.entry(index).or_insert_with(|| Page {
                bytes: full.into_boxed_slice(),
                valid,
                dirty: None,
                used,
            });
            self.evict(&mut state);
        }
    }

    /// Drops the older half of the clean pages when there are too many.
    fn evict(&self, state: &mut State) {
        if state.pages.len().saturating_sub(state.dirty) <= self.limit {
            return;
        }
        let mut ages: Vec<u64> = state.pages.values().filter(|p| p.dirty.is_none()).map(|p| p.used).collect();
        let middle = ages.len() / 2;
        let (_, median, _) = ages.select_nth_unstable(middle);
        let median = *median;
        state.pages.retain(|_, p| p.dirty.is_some() || p.used >= median);
        state.changes += 1;
    }

    /// The page that has the byte at `offset`, and where in it.
    fn split(&self, offset: u64) -> (u64, usize) {
        let page = self.page as u64;
        (offset / page, usize::try_from(offset % page).unwrap_or(0))
    }

    fn start_of(&self, index: u64) -> u64 {
        index * self.page as u64
    }
}

#[cfg(test)]
mod tests {
    use crate::storage::meta::*;
    use crate::storage::testing::{MemFile, Op};

    fn cache(len: usize, limit: usize) -> (std::sync::Arc<MemFile>, MetaCache) {
        let bytes = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let file = MemFile::new("/t/map", bytes);
        (file.clone(), MetaCache::new(file, limit))
    }

    #[test]
    fn reads_cross_pages_and_stop_at_the_end_of_the_file() {
        let (file, cache) = cache(3 * PAGE + 10, 1 << 20);
        let mut buf = [0; 2 * PAGE];
        cache.read(100, &mut buf, "map").unwrap();
        assert_eq!(buf, file.bytes()[100..100 + 2 * PAGE]);
        let mut last = [0; 11];
        cache.read(3 * PAGE as u64, &mut last[..10], "map").unwrap();
        let error = cache.read(3 * PAGE as u64, &mut last, "map").unwrap_err();
        assert!(
            error.to_string().contains("map at offset 12288 (0x3000): expected 11 bytes, found the end"),
            "{error}"
        );
        assert!(cache.read(u64::MAX - 3, &mut last, "map").is_err());
    }

    #[test]
    fn changes_reach_the_file_only_when_written_back_and_only_their_bytes() {
        let (file, cache) = cache(4 * PAGE, 1 << 20);
        let before = file.bytes();
        cache.write(PAGE as u64 - 2, &[1, 2, 3, 4]).unwrap();
        assert_eq!(file.bytes(), before);
        assert_eq!(cache.pending(), 2 * PAGE);
        let mut buf = [0; 4];
        cache.read(PAGE as u64 - 2, &mut buf, "map").unwrap();
        assert_eq!(buf, [1, 2, 3, 4]);
        cache.write_back().unwrap();
        assert_eq!(cache.pending(), 0);
        let written: Vec<usize> =
            file.ops().iter().map(|op| if let Op::Write { bytes, .. } = op { bytes.len() } else { 0 }).collect();
        assert_eq!(written, [2, 2]);
        assert_eq!(file.bytes()[PAGE - 2..PAGE + 2], [1, 2, 3, 4]);
    }

    #[test]
    fn the_cache_stays_within_its_limit_but_never_drops_a_change() {
        let (_, cache) = cache(300 * PAGE, 8 * PAGE);
        cache.write(0, &[0xFF]).unwrap();
        let mut byte = [0];
        for page in 0..300_u64 {
            cache.read(page * PAGE as u64 + 1, &mut byte, "map").unwrap();
            assert!(cache.lock().pages.len() <= 10);
        }
        cache.read(0, &mut byte, "map").unwrap();
        assert_eq!(byte, [0xFF]);
    }
}
