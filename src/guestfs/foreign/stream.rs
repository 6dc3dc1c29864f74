//! A volume as a stream with a position, over a block cache that all streams of the volume share.

use crate::disk::{self, Disk};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

/// Bytes in a cached block: metadata is small and scattered.
const BLOCK: usize = 16 << 10;
const BLOCK_U64: u64 = BLOCK as u64;
/// Bytes cached for one volume.
const CACHE: u64 = 8 << 20;
/// Reads of at least this many bytes are for data and bypass the cache.
const LARGE: usize = 4 * BLOCK;

#[derive(Clone)]
struct ByLength;

impl Weighter<u64, Arc<[u8]>> for ByLength {
    fn weight(&self, _index: &u64, bytes: &Arc<[u8]>) -> u64 {
        64 + bytes.len() as u64
    }
}

/// The bytes of a volume behind a cache. For metadata: large reads go straight to the disk.
pub(crate) struct Blocks {
    disk: Arc<dyn Disk>,
    cache: Cache<u64, Arc<[u8]>, ByLength>,
}

impl Blocks {
    /// Creates an empty cache over `disk`.
    #[must_use]
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, cache: Cache::with_weighter(usize::try_from(CACHE).unwrap_or(0) / BLOCK, CACHE, ByLength) }
    }

    /// The size of the volume in bytes.
    #[must_use]
    pub(crate) fn size(&self) -> u64 {
        self.disk.size()
    }

    /// Fills `buf` with the bytes at `offset`.
    ///
    /// # Errors
    /// [`disk::Error::PastEnd`] when the range leaves the volume; any error of the disk.
    pub(crate) fn read_at(&self, offset: u64, buf: &mut [u8]) -> disk::Result<()> {
        let inside = offset.checked_add(buf.len() as u64).is_some_and(|end| end <= self.size());
        if buf.len() >= LARGE || !inside {
            return self.disk.read_at(offset, buf);
        }
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let block = self.block(at / BLOCK_U64)?;
            let skip = usize::try_from(at % BLOCK_U64).unwrap_or(0);
            let now = rest.len().min(block.len() - skip);
            let (head, tail) = rest.split_at_mut(now);
            head.copy_from_slice(&block[skip..skip + now]);
            at += now as u64;
            rest = tail;
        }
        Ok(())
    }

    /// A block within the volume; the last one may be short.
    fn block(&self, index: u64) -> disk::Result<Arc<[u8]>> {
        if let Some(block) = self.cache.get(&index) {
            return Ok(block);
        }
        let start = index * BLOCK_U64;
        let mut bytes = vec![0; usize::try_from(BLOCK_U64.min(self.size() - start)).unwrap_or(BLOCK)];
        self.disk.read_at(start, &mut bytes)?;
        let block: Arc<[u8]> = bytes.into();
        self.cache.insert(index, block.clone());
        Ok(block)
    }
}

/// A volume with a position in it.
#[derive(Clone)]
pub(crate) struct Stream {
    blocks: Arc<Blocks>,
    at: u64,
}

impl Stream {
    /// Creates a stream at the start of the volume.
    #[must_use]
    pub(crate) fn new(blocks: Arc<Blocks>) -> Self {
        Self { blocks, at: 0 }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.blocks.size().saturating_sub(self.at);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        if len == 0 {
            // Also past the end, where the disk would refuse a read.
            return Ok(0);
        }
        self.blocks.read_at(self.at, &mut buf[..len]).map_err(io::Error::other)?;
        self.at += len as u64;
        Ok(len)
    }
}

impl Seek for Stream {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => self.blocks.size().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = position.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a position before the start"))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::memory::MemoryDisk;

    #[test]
    fn reads_and_seeks_like_a_file() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let blocks = Arc::new(Blocks::new(Arc::new(MemoryDisk::new(bytes.clone()))));
        let mut stream = Stream::new(blocks.clone());
        let mut model = io::Cursor::new(&bytes);
        for (to, len) in [
            (SeekFrom::Start(0), 10),
            (SeekFrom::Current(16_370), 20),
            (SeekFrom::Start(16_384), 40_000),
            (SeekFrom::End(-5), 70_000),
            (SeekFrom::Start(1), 99_999),
            (SeekFrom::Start(100_001), 3),
        ] {
            assert_eq!(stream.seek(to).unwrap(), model.seek(to).unwrap());
            let (mut ours, mut theirs) = (vec![0; len], vec![0; len]);
            assert_eq!(stream.read(&mut ours).unwrap(), model.read(&mut theirs).unwrap(), "{to:?}");
            assert_eq!(ours, theirs, "{to:?}");
        }
        assert!(stream.seek(SeekFrom::Start(3)).is_ok() && stream.seek(SeekFrom::Current(-4)).is_err());
        assert!(blocks.read_at(99_999, &mut [0; 2]).is_err());
    }
}
