//! Telling a thread that it is about to wait for the host's disk: while it waits, others can do its work.

use rustix::io::ReadWriteFlags;
use std::cell::RefCell;
use std::fs::File;
use std::io::IoSliceMut;

thread_local! {
    static BEFORE: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
}

/// From now on `before` is called on this thread whenever an image's bytes are not in the host's cache.
pub fn watch(before: Box<dyn Fn()>) {
    BEFORE.set(Some(before));
}

/// Says that `len` bytes of a file from `offset` on are read next. Where they begin and end is what is looked at: they
/// came into the cache by one read, or not at all.
pub(crate) fn before_reading(file: &File, offset: u64, len: u64) {
    let ends = [offset, offset.saturating_add(len.saturating_sub(1))];
    if is_watched() && !ends.iter().all(|end| try_read(file, &mut [0], *end)) {
        about_to_wait();
    }
}

/// Fills `buf` if that can be done without waiting, on a thread that wants to be told; false when nothing can be said
/// of it.
pub(super) fn try_read_watched(file: &File, buf: &mut [u8], offset: u64) -> bool {
    if !is_watched() {
        return false;
    }
    let done = try_read(file, buf, offset);
    if !done {
        about_to_wait();
    }
    done
}

/// Fills `buf` if all of it is in the host's cache.
fn try_read(file: &File, buf: &mut [u8], offset: u64) -> bool {
    let read = rustix::io::preadv2(file, &mut [IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT);
    read.is_ok_and(|len| len == buf.len())
}

fn is_watched() -> bool {
    BEFORE.with_borrow(Option::is_some)
}

fn about_to_wait() {
    BEFORE.with_borrow(|before| before.iter().for_each(|before| before()));
}

#[cfg(test)]
mod tests {
    use crate::storage::waiting::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn what_is_cached_is_read_at_once_and_what_is_not_is_told_of() {
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[7; 9000], 0).unwrap();
        let mut buf = [0; 5000];
        assert!(!try_read_watched(&file, &mut buf, 0), "nobody wants to be told");
        let told = Rc::new(Cell::new(0));
        let count = told.clone();
        watch(Box::new(move || count.set(count.get() + 1)));
        assert!(try_read_watched(&file, &mut buf, 4000) && buf == [7; 5000]);
        before_reading(&file, 0, 9000);
        assert_eq!(told.get(), 0);
        // Past the end nothing is cached.
        assert!(!try_read_watched(&file, &mut buf, 4001));
        before_reading(&file, 8000, 2000);
        assert_eq!(told.get(), 2);
    }
}
