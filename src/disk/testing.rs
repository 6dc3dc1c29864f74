//! Random histories of writes for tests: the disk against a plain array, also after a crash at any moment.

use super::{ChainDisk, Disk};
use crate::storage::testing::{MemFile, after_power_loss};
use proptest::prelude::*;
use proptest::sample::Index;
use std::sync::Arc;

/// One step of a random history. Positions and lengths are bytes.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Write { at: usize, len: usize, fill: u8 },
    Discard { at: usize, len: usize },
    Flush,
    Reopen,
}

/// Histories on a disk of `size` bytes, with ranges of at most `most` bytes.
pub(crate) fn steps(size: usize, most: usize) -> impl Strategy<Value = Vec<Step>> {
    let range = (0..size, prop_oneof![1..600usize, 1..most]);
    let step = prop_oneof![
        5 => (range.clone(), prop_oneof![Just(0u8), any::<u8>()])
            .prop_map(|((at, len), fill)| Step::Write { at, len, fill }),
        2 => range.prop_map(|(at, len)| Step::Discard { at, len }),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..25)
}

/// A disk whose leaf is tested.
pub(crate) struct Lab<'a> {
    /// The leaf's file name.
    pub(crate) path: &'a str,
    /// The leaf's bytes before the history.
    pub(crate) leaf: &'a [u8],
    /// The disk's bytes before the history.
    pub(crate) model: Vec<u8>,
    /// Opens the chain with a leaf's file, for writing or not.
    pub(crate) open: &'a dyn Fn(Arc<MemFile>, bool) -> ChainDisk,
    /// Checks more on the leaf's bytes after a crash.
    pub(crate) after_crash: &'a dyn Fn(&[u8]) -> Result<(), TestCaseError>,
}

/// When and how power is lost.
#[derive(Debug, Clone)]
pub(crate) struct Crash {
    /// After which of the file's operations.
    pub(crate) cut: Index,
    /// Which of the operations after the last sync reach the disk: a bit for each, by its number modulo 64.
    pub(crate) cached: u64,
}

pub(crate) fn crash() -> impl Strategy<Value = Crash> {
    (any::<Index>(), any::<u64>()).prop_map(|(cut, cached)| Crash { cut, cached })
}

/// All bytes of a disk.
pub(crate) fn all(disk: &dyn Disk) -> Vec<u8> {
    let mut bytes = vec![0xAA; usize::try_from(disk.size()).unwrap()];
    disk.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Threads write positions of their own again and again, `len` bytes each, read them back, flush now and then, and
/// discard them if they are to.
pub(crate) fn write_from_threads(
    disk: &ChainDisk,
    positions: impl IntoIterator<Item = u64>,
    len: usize,
    discard: bool,
) {
    let holds = |position: u64, fill: u8| {
        let mut bytes = vec![!fill; len];
        disk.read_at(position, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == fill), "the bytes at {position} are not {fill}");
    };
    std::thread::scope(|scope| {
        for (position, thread) in positions.into_iter().zip(0_u8..) {
            scope.spawn(move || {
                for round in 1..40 {
                    disk.write_at(position, &vec![thread ^ round; len]).unwrap();
                    holds(position, thread ^ round);
                    if round % 8 == thread % 8 {
                        disk.flush().unwrap();
                    }
                    if discard {
                        disk.discard(position, len as u64).unwrap();
                        holds(position, 0);
                    }
                }
            });
        }
    });
}

/// What happened so far.
struct Past {
    model: Vec<u8>,
    /// After each flush: how many operations the file had seen, and the bytes that are safe from then on.
    safe: Vec<(usize, Vec<u8>)>,
    /// After how many operations a range began to change.
    touched: Vec<(usize, usize, usize)>,
}

impl Lab<'_> {
    /// Plays the steps: after each the disk is as the array, and whatever moment the power is lost at, the image opens
    /// and holds at least what was flushed: bytes that no later step touched are as they were.
    pub(crate) fn play(&self, steps: &[Step], crash: &Crash) -> Result<Arc<MemFile>, TestCaseError> {
        let file = MemFile::new(self.path, self.leaf.to_vec());
        let mut past = Past { model: self.model.clone(), safe: vec![(0, self.model.clone())], touched: Vec::new() };
        let mut disk = (self.open)(file.clone(), true);
        for step in steps {
            if matches!(step, Step::Reopen) {
                disk.close().unwrap();
                disk = (self.open)(file.clone(), true);
            }
            past.step(&disk, &file, step);
            prop_assert!(all(&disk) == past.model, "the disk is another after {:?}", step);
        }
        disk.close().unwrap();
        prop_assert!(all(&(self.open)(file.clone(), false)) == past.model, "the closed disk is another");

        let ops = file.ops();
        let cut = crash.cut.index(ops.len() + 1);
        for killed in [true, false] {
            let bytes = after_power_loss(self.leaf, &ops[..cut], |i| killed || crash.cached >> (i % 64) & 1 == 1);
            (self.after_crash)(&bytes)?;
            past.check(&all(&(self.open)(MemFile::new(self.path, bytes), true)), cut)?;
        }
        Ok(file)
    }
}

impl Past {
    fn step(&mut self, disk: &dyn Disk, file: &MemFile, step: &Step) {
        let ops = file.op_count();
        match *step {
            Step::Write { at, len, fill } => {
                let end = self.model.len().min(at + len);
                self.touched.push((ops, at, end));
                disk.write_at(at as u64, &vec![fill; end - at]).unwrap();
                self.model[at..end].fill(fill);
            }
            Step::Discard { at, len } => {
                let end = self.model.len().min(at + len);
                self.touched.push((ops, at, end));
                disk.discard(at as u64, (end - at) as u64).unwrap();
                self.model[at..end].fill(0);
            }
            Step::Flush => disk.flush().unwrap(),
            Step::Reopen => {}
        }
        if matches!(step, Step::Flush | Step::Reopen) {
            self.safe.push((file.op_count(), self.model.clone()));
        }
    }

    /// Whether `after`, seen after a crash that followed `cut` operations, holds all that was flushed.
    fn check(&self, after: &[u8], cut: usize) -> Result<(), TestCaseError> {
        let (flushed, expected) = self.safe.iter().rev().find(|(at, _)| *at <= cut).unwrap();
        let mut expected = expected.clone();
        for (at, from, to) in &self.touched {
            if at >= flushed || *at >= cut {
                expected[*from..*to].copy_from_slice(&after[*from..*to]);
            }
        }
        let differs = (after != expected).then(|| after.iter().zip(&expected).position(|(a, b)| a != b));
        prop_assert_eq!(differs, None, "byte after a crash at operation {}", cut);
        Ok(())
    }
}
