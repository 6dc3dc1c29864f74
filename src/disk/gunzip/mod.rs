//! The content of a gzip file as a disk.
//!
//! gzip has no index: its size is known only at its end, and a byte only after all before it. So the whole file is
//! decompressed once when it is opened, which also checks its sums, and positions are kept to start from again, each
//! with the 32 KiB before it. There are at most [`POSITIONS`] of them, 1 MiB apart or, in a file with more, further:
//! memory is bounded (some 50 MiB), and a read decompresses at most one interval (16 MiB of a disk of 16 GiB). Reading
//! on from where a read ended costs nothing more.

mod cursor;
mod header;

use super::slice::check_range;
use super::{Allocation, Disk, Result};
use cursor::{Cursor, Source};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that are decompressed at once. Positions are multiples of it.
const BLOCK: usize = 256 << 10;
const BLOCK_U64: u64 = BLOCK as u64;
/// Bytes between two positions, as long as there are few.
const INTERVAL: u64 = 1 << 20;
/// The most positions.
const POSITIONS: usize = 1024;
/// Bytes of decompressed blocks that are cached.
const CACHE: u64 = 16 << 20;
/// The most blocks that one question for zeros looks at.
const SPANS: u64 = 4096;
/// The most readers that wait where they ended.
const IDLE: usize = 4;

#[derive(Clone)]
struct ByLength;

impl Weighter<u64, Arc<[u8]>> for ByLength {
    fn weight(&self, _index: &u64, bytes: &Arc<[u8]>) -> u64 {
        64 + bytes.len() as u64
    }
}

/// The content of a gzip file.
pub(crate) struct Gunzip {
    disk: Arc<dyn Disk>,
    name: PathBuf,
    size: u64,
    notes: Vec<String>,
    /// A bit for each whole block that is all zeros, which need not be decompressed again.
    zeros: Vec<u64>,
    /// In order, the first at 0.
    positions: Vec<Cursor>,
    idle: Mutex<Vec<Cursor>>,
    blocks: Cache<u64, Arc<[u8]>, ByLength>,
}

impl Gunzip {
    /// Decompresses all of the file that `disk` has once. `name` is what messages call it.
    ///
    /// # Errors
    /// What is wrong with the file; errors of `disk`.
    pub(crate) fn open(disk: Arc<dyn Disk>, name: PathBuf) -> Result<Self> {
        Self::open_with(disk, name, POSITIONS)
    }

    fn open_with(disk: Arc<dyn Disk>, name: PathBuf, most: usize) -> Result<Self> {
        let source = Source { disk: &*disk, name: &name };
        let mut cursor = Cursor::new();
        let (mut positions, mut interval) = (vec![cursor.clone()], INTERVAL);
        let (mut block, zero, mut zeros) = (vec![0; BLOCK], vec![0; BLOCK], Vec::new());
        while cursor.read(&source, &mut block)? == BLOCK {
            let index = cursor.output / BLOCK_U64 - 1;
            zeros.resize(usize::try_from(index / 64 + 1).unwrap_or(usize::MAX), 0);
            if let Some(word) = zeros.last_mut().filter(|_| block == zero) {
                *word |= 1 << (index % 64);
            }
            if !cursor.output.is_multiple_of(interval) {
                continue;
            }
            positions.push(cursor.clone());
            if positions.len() > most {
                interval *= 2;
                positions.retain(|position| position.output.is_multiple_of(interval));
            }
        }
        let notes = cursor.leftover.map(|offset| {
            format!("{}: what follows at offset {offset} is no gzip data and is left out", name.display())
        });
        Ok(Self {
            size: cursor.output,
            notes: notes.into_iter().collect(),
            zeros,
            positions,
            idle: Mutex::default(),
            blocks: Cache::with_weighter(usize::try_from(CACHE).unwrap_or(0) / BLOCK, CACHE, ByLength),
            disk,
            name,
        })
    }

    /// What a user should know, a sentence each.
    #[must_use]
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    fn block(&self, index: u64) -> Result<Arc<[u8]>> {
        if let Some(block) = self.blocks.get(&index) {
            return Ok(block);
        }
        if self.is_zero(index) {
            return Ok(vec![0; BLOCK].into());
        }
        let start = index * BLOCK_U64;
        let mut cursor = self.cursor_before(start);
        let source = Source { disk: &*self.disk, name: &self.name };
        let mut bytes = vec![0; usize::try_from(BLOCK_U64.min(self.size - start)).unwrap_or(BLOCK)];
        let mut skipped = vec![0; if cursor.output < start { BLOCK } else { 0 }];
        let read = |cursor: &mut Cursor, out: &mut [u8]| match cursor.read(&source, out)? {
            all if all == out.len() => Ok(()),
            _ => Err(source.corrupt(0, "gzip file", "the content that it had", "less: it was changed")),
        };
        while cursor.output < start {
            read(&mut cursor, &mut skipped)?;
        }
        read(&mut cursor, &mut bytes)?;
        // The last block ends in the middle of one, where no other read begins.
        if bytes.len() == BLOCK {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() == IDLE {
                idle.remove(0);
            }
            idle.push(cursor);
        }
        let block: Arc<[u8]> = bytes.into();
        self.blocks.insert(index, block.clone());
        Ok(block)
    }

    fn is_zero(&self, index: u64) -> bool {
        let word = usize::try_from(index / 64).ok().and_then(|at| self.zeros.get(at));
        word.is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// A position at `start` or as near before it as there is one.
    fn cursor_before(&self, start: u64) -> Cursor {
        let kept = &self.positions[self.positions.partition_point(|position| position.output <= start).max(1) - 1];
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let before = idle.iter().enumerate().filter(|(_, cursor)| (kept.output..=start).contains(&cursor.output));
        match before.max_by_key(|(_, cursor)| cursor.output).map(|(at, _)| at) {
            Some(at) => idle.remove(at),
            None => kept.clone(),
        }
    }
}

impl Disk for Gunzip {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        512
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(offset, buf.len() as u64, self.size)?;
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let block = self.block(at / BLOCK_U64)?;
            let skip = usize::try_from(at % BLOCK_U64).unwrap_or(0);
            let (head, tail) = rest.split_at_mut(rest.len().min(block.len() - skip));
            head.copy_from_slice(&block[skip..skip + head.len()]);
            at += head.len() as u64;
            rest = tail;
        }
        Ok(())
    }

    fn allocation(&self, offset: u64) -> Result<Allocation> {
        check_range(offset, 1, self.size)?;
        let first = offset / BLOCK_U64;
        let is_zero = self.is_zero(first);
        let end = (first + 1..first + SPANS).find(|index| self.is_zero(*index) != is_zero).unwrap_or(first + SPANS);
        let len = (end * BLOCK_U64).min(self.size) - offset;
        Ok(if is_zero { Allocation::Zero(len) } else { Allocation::Data(len) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::memory::MemoryDisk;
    use crate::error_kind::ErrorKind;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    /// Bytes that compress a little, no two blocks alike.
    fn content(len: usize) -> Vec<u8> {
        let mut state = 7_u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u8::try_from(state >> 59).unwrap()
        };
        (0..len).map(|_| next()).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn open(bytes: Vec<u8>, most: usize) -> Result<Gunzip> {
        Gunzip::open_with(Arc::new(MemoryDisk::new(bytes)), "/x/a.gz".into(), most)
    }

    #[test]
    fn reads_anywhere_with_few_positions() {
        let content = content((9 << 20) + 1234);
        let (one, two) = content.split_at(5_000_001);
        let file = [gzip(one), gzip(&[]), gzip(two), vec![0; 700]].concat();
        for most in [2, 4, 1000] {
            let disk = open(file.clone(), most).unwrap();
            assert_eq!((disk.size(), disk.notes().len()), (content.len() as u64, 0));
            assert!(disk.positions.len() <= most.min(10), "{}", disk.positions.len());
            for (at, len) in
                [(8 << 20, 9000), (5, 3_000_000), (5_000_000, 2), (content.len() - 1, 1), (0, 1), (7 << 20, 99)]
            {
                let mut buf = vec![0; len];
                disk.read_at(at as u64, &mut buf).unwrap();
                assert!(buf == content[at..at + len], "{len} bytes at {at} with {most}");
            }
            assert!(disk.read_at(content.len() as u64, &mut [0]).is_err());
            assert!(disk.idle.lock().unwrap().len() <= IDLE);
        }
    }

    #[test]
    fn zeros_are_holes() {
        let blocks = |zero: bool, count: usize| if zero { vec![0; count * BLOCK] } else { content(count * BLOCK) };
        let content = [blocks(true, 3), blocks(false, 2), blocks(true, 70), vec![0; 1000]].concat();
        let disk = open(gzip(&content), 9).unwrap();
        let block = |count: u64| count * BLOCK_U64;
        for (at, span) in [
            (0, Allocation::Zero(block(3))),
            (block(3) - 1, Allocation::Zero(1)),
            (block(3), Allocation::Data(block(2))),
            (block(4) + 5, Allocation::Data(block(1) - 5)),
            (block(5), Allocation::Zero(block(70))),
            // No whole block.
            (block(75), Allocation::Data(1000)),
        ] {
            assert_eq!(disk.allocation(at).unwrap(), span, "{at}");
        }
        let mut all = vec![1; content.len()];
        disk.read_at(0, &mut all).unwrap();
        assert!(all == content);
    }

    #[test]
    fn reports_what_is_wrong_with_offset() {
        let content = content(100_000);
        let file = gzip(&content);
        let failure = |bytes: Vec<u8>| match open(bytes, 9) {
            Ok(_) => panic!("it was opened"),
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Corrupt, "{e}");
                e.to_string()
            }
        };
        for end in [0, 5, 11, 1000, file.len() - 9, file.len() - 8, file.len() - 1] {
            failure(file[..end].to_vec());
        }
        assert!(failure(file[..1000].to_vec()).contains("offset 1000 (0x3e8): expected more of it"));
        let mut changed = file.clone();
        let sum = file.len() - 8;
        changed[sum] ^= 1;
        assert!(failure(changed).contains(&format!("gzip CRC32, ISIZE at offset {sum}")));
        assert!(failure(content).contains("gzip ID1, ID2 at offset 0 (0x0): expected 1f 8b"));
        let trailed = open([file, b"rest".to_vec()].concat(), 9).unwrap();
        assert!(trailed.notes()[0].contains("no gzip data and is left out"), "{:?}", trailed.notes());
    }

    proptest::proptest! {
        #[test]
        fn corrupt_files_never_panic(at in 0..3000_usize, bits in 1..=255_u8, len in 0..20_000_usize) {
            let content = content(len);
            let mut file = gzip(&content);
            let at = at % file.len();
            file[at] ^= bits;
            if let Ok(disk) = open(file, 9) {
                // Some bits mean nothing: of the time in the header, and those that fill the last byte of the data.
                let mut bytes = vec![0; len];
                proptest::prop_assert!(disk.size() == len as u64);
                disk.read_at(0, &mut bytes).unwrap();
                proptest::prop_assert!(bytes == content);
            }
        }
    }
}
