//! Reading a file in several ways, each block once.

use super::{Result, noise};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// A part of a file that is read.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    /// Where it begins in the file.
    pub(crate) start: u64,
    /// Whether the kernel's cache of the file is dropped before each job. That of a plain file is the host's cache,
    /// which stays.
    pub(crate) drop: bool,
}

/// A way of reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) name: &'static str,
    pub(crate) readers: u64,
    /// Bytes of each read.
    pub(crate) block: usize,
    pub(crate) random: bool,
}

pub(crate) const SEQUENTIAL: Job = Job { name: "seq-1", readers: 1, block: 1 << 20, random: false };
pub(crate) const SEQUENTIAL_2: Job = Job { name: "seq-2", readers: 2, block: 128 << 10, random: false };
pub(crate) const RANDOM: Job = Job { name: "rand-1", readers: 1, block: 4096, random: true };
pub(crate) const RANDOM_8: Job = Job { name: "rand-8", readers: 8, block: 4096, random: true };

/// What is expected of a place, to tell whether the bytes are right.
pub(crate) type Expect<'a> = &'a (dyn Fn(u64, &mut [u8]) -> Result<()> + Sync);

impl Job {
    pub(crate) fn text(&self) -> String {
        let (kind, size) = if self.random {
            ("random", "4 KiB")
        } else {
            ("in order", if self.block == 1 << 20 { "1 MiB" } else { "128 KiB" })
        };
        format!("{size} {kind}, {} reader{}", self.readers, if self.readers == 1 { "" } else { "s" })
    }
}

/// Drops what the kernel keeps of a file.
pub(crate) fn drop_cache(file: &File) -> Result<()> {
    Ok(posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
}

/// Reads `each` blocks by every reader, one behind the other's part, and returns how long that took.
pub(crate) fn read(place: &Place, job: &Job, each: u64) -> Result<Duration> {
    let order = |reader: u64| {
        let blocks = if job.random { noise::shuffled(each, reader) } else { (0..each).collect() };
        blocks.into_iter().map(|block| (reader * each + block) * job.block as u64).collect()
    };
    read_places(place, job, (0..job.readers).map(order).collect())
}

/// Reads blocks at the offsets that each reader has, and returns how long that took.
pub(crate) fn read_places(place: &Place, job: &Job, orders: Vec<Vec<u64>>) -> Result<Duration> {
    if place.drop {
        drop_cache(&File::open(&place.path)?)?;
    }
    let advice =
        if job.random { PosixFadviseAdvice::POSIX_FADV_RANDOM } else { PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL };
    let barrier = Barrier::new(orders.len());
    std::thread::scope(|scope| {
        let mut readers = Vec::new();
        for order in orders {
            let file = File::open(&place.path)?;
            posix_fadvise(&file, 0, 0, advice)?;
            let barrier = &barrier;
            readers.push(scope.spawn(move || {
                let mut buf = vec![0; job.block];
                barrier.wait();
                let begin = Instant::now();
                order.iter().try_for_each(|at| file.read_exact_at(&mut buf, place.start + at))?;
                Ok::<_, std::io::Error>((begin, Instant::now()))
            }));
        }
        // From the first that began to the last that ended: this thread may be woken late.
        let mut times = Vec::new();
        for reader in readers {
            times.push(reader.join().map_err(|_| "a reader panicked")??);
        }
        let (begin, end) = (times.iter().map(|(begin, _)| *begin).min(), times.iter().map(|(_, end)| *end).max());
        Ok(begin.zip(end).map_or(Duration::ZERO, |(begin, end)| end - begin))
    })
}

/// Compares 64 stretches of the first `len` bytes of a place with what they should be.
pub(crate) fn check(place: &Place, len: u64, expect: Expect<'_>) -> Result<()> {
    let file = File::open(&place.path)?;
    let (mut found, mut expected) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let steps = (len / found.len() as u64).max(1);
    for number in 0..64 {
        let at = noise::mix(number) % steps * found.len() as u64;
        file.read_exact_at(&mut found, place.start + at)?;
        expect(at, &mut expected)?;
        if found != expected {
            return Err(format!("{} has wrong bytes near {}", place.path.display(), place.start + at).into());
        }
    }
    Ok(())
}
