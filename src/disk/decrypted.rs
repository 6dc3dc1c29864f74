//! A disk as its guest sees it, over one whose bytes are encrypted sector by sector.
//!
//! Requests are decrypted concurrently by the threads that answer them, without any lock. Splitting one request across
//! threads does not pay: 128 KiB take 30 microseconds, as long as starting a thread (`benches/crypt.rs`).
//!
//! VirtualBox's filter sits above the whole chain and decrypts all that the chain returns, including blocks that were
//! never written: those read as decrypted zeros, meaningless bytes that guests never read. It is the same here.

use super::slice::check_range;
use super::{Allocation, Disk, Origin, Result};
use crate::crypt::SectorCipher;
use crate::crypt::sectors::SECTOR;
use std::sync::{Arc, PoisonError, RwLock};

/// Bytes encrypted at once for writing, so that a large request does not need a copy of its size.
const CHUNK: u64 = 1 << 20;
const SECTOR_U64: u64 = 512;

/// The decrypted disk.
pub(crate) struct Decrypted {
    disk: Arc<dyn Disk>,
    cipher: SectorCipher,
    /// Held for writing while a sector is read, changed and written back, for reading by writes of whole sectors.
    edges: RwLock<()>,
}

impl Decrypted {
    /// `disk` seen through `cipher`.
    #[must_use]
    pub(crate) fn new(disk: Arc<dyn Disk>, cipher: SectorCipher) -> Self {
        Self { disk, cipher, edges: RwLock::new(()) }
    }

    /// The decrypted bytes of all sectors that a range touches, and where the range begins in them.
    fn sectors(&self, offset: u64, len: usize) -> Result<(Vec<u8>, usize)> {
        let skip = usize_of(offset % SECTOR_U64);
        let start = offset - offset % SECTOR_U64;
        // A disk whose size is no multiple of a sector has a last one that the cipher cannot do; VirtualBox has none.
        let size = (skip + len).next_multiple_of(SECTOR);
        let mut bytes = vec![0; size];
        self.disk.read_at(start, &mut bytes)?;
        self.cipher.decrypt(&mut bytes, start / SECTOR_U64);
        Ok((bytes, skip))
    }

    /// Encrypts and writes whole sectors.
    fn write_sectors(&self, offset: u64, mut bytes: Vec<u8>) -> Result<()> {
        self.cipher.encrypt(&mut bytes, offset / SECTOR_U64);
        self.disk.write_at(offset, &bytes)
    }

    /// Writes a range that begins or ends within a sector.
    fn write_edges(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let _alone = self.edges.write().unwrap_or_else(PoisonError::into_inner);
        let (mut bytes, skip) = self.sectors(offset, buf.len())?;
        bytes[skip..skip + buf.len()].copy_from_slice(buf);
        self.write_sectors(offset - offset % SECTOR_U64, bytes)
    }
}

impl Disk for Decrypted {
    fn size(&self) -> u64 {
        self.disk.size() - self.disk.size() % SECTOR_U64
    }

    fn sector_size(&self) -> u32 {
        self.disk.sector_size()
    }

    fn writable(&self) -> bool {
        self.disk.writable()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(offset, buf.len() as u64, self.size())?;
        if offset.is_multiple_of(SECTOR_U64) && buf.len().is_multiple_of(SECTOR) {
            self.disk.read_at(offset, buf)?;
            self.cipher.decrypt(buf, offset / SECTOR_U64);
            return Ok(());
        }
        let (bytes, skip) = self.sectors(offset, buf.len())?;
        buf.copy_from_slice(&bytes[skip..skip + buf.len()]);
        Ok(())
    }

    fn origin(&self, offset: u64, len: u64) -> Result<(Option<Origin>, u64)> {
        check_range(offset, len, self.size())?;
        let (origin, len) = self.disk.origin(offset, len)?;
        Ok((origin.map(|origin| origin.decrypted(self.cipher.fingerprint(), offset)), len))
    }

    fn allocation(&self, offset: u64) -> Result<Allocation> {
        check_range(offset, 1, self.size())?;
        Ok(Allocation::Data(self.size() - offset))
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        check_range(offset, buf.len() as u64, self.size())?;
        let mut rest = buf;
        let mut at = offset;
        while !rest.is_empty() {
            let to_edge = (CHUNK - at % CHUNK).min(rest.len() as u64);
            let (chunk, later) = rest.split_at(usize_of(to_edge));
            if at.is_multiple_of(SECTOR_U64) && chunk.len().is_multiple_of(SECTOR) {
                let _others = self.edges.read().unwrap_or_else(PoisonError::into_inner);
                self.write_sectors(at, chunk.to_vec())?;
            } else {
                self.write_edges(at, chunk)?;
            }
            at += to_edge;
            rest = later;
        }
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        check_range(offset, len, self.size())?;
        // The guest is to see zeros, and what the chain shows as zeros decrypts to something else.
        let zeros = vec![0; usize_of(len.min(CHUNK))];
        let mut at = offset;
        while at < offset + len {
            let chunk = usize_of((offset + len - at).min(CHUNK));
            self.write_at(at, &zeros[..chunk])?;
            at += chunk as u64;
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.disk.flush()
    }

    fn close(&self) -> Result<()> {
        self.disk.close()
    }
}

/// Lengths here are those of buffers, so they fit.
fn usize_of(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::ChainDisk;
    use crate::image::vdi::testing::Build;
    use crate::image::{OpenOptions, open::open_file};
    use crate::storage::testing::MemFile;
    use proptest::prelude::*;
    use std::sync::{Condvar, Mutex};
    use std::time::Duration;

    const SIZE: usize = 4 * 4096;

    fn cipher() -> SectorCipher {
        SectorCipher::new(&(0..64).collect::<Vec<u8>>()).unwrap()
    }

    /// The encrypted disk, and the same seen decrypted.
    fn disks() -> (Arc<ChainDisk>, Decrypted) {
        let file = MemFile::new(
            "/t/a.vdi",
            Build { map: vec![1, 0xFFFF_FFFF, 0, 0xFFFF_FFFE], data: vec![7, 9], ..Build::default() }.bytes(),
        );
        let image = open_file(file, OpenOptions { writable: true, ..OpenOptions::default() }).unwrap();
        let chain = Arc::new(ChainDisk::new(vec![image], Vec::new()));
        (chain.clone(), Decrypted::new(chain, cipher()))
    }

    fn all(disk: &dyn Disk) -> Vec<u8> {
        let mut bytes = vec![0; SIZE];
        disk.read_at(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn blocks_that_were_never_written_are_decrypted_zeros() {
        let (encrypted, disk) = disks();
        let mut expected = all(&*encrypted);
        assert_eq!(expected[4096..8192], [0; 4096]);
        cipher().decrypt(&mut expected, 0);
        assert_eq!(all(&disk), expected);
        assert_ne!(expected[4096..8192], [0; 4096]);
        assert_eq!(disk.allocation(5000).unwrap(), Allocation::Data(SIZE as u64 - 5000));
    }

    /// What is shared below is shared above where key and offset are the same, also zeros.
    #[test]
    fn shared_ciphertext_is_shared_text_at_the_same_offset_only() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let bytes = Build { map: vec![1, 0xFFFF_FFFF, 0, 0xFFFF_FFFE], data: vec![7, 9], ..Build::default() }.bytes();
        std::fs::write(path.path(), bytes).unwrap();
        let disk = |key: u8| {
            let image = crate::image::open(path.path(), OpenOptions::default()).unwrap();
            let cipher = SectorCipher::new(&[key; 64]).unwrap();
            Decrypted::new(Arc::new(ChainDisk::new(vec![image], Vec::new())), cipher)
        };
        let (disk, same, other) = (disk(1), disk(1), disk(2));
        let origin = |disk: &Decrypted, offset| disk.origin(offset, 512).unwrap().0.unwrap();
        for offset in [0, 4096, 8192, 12288] {
            assert_eq!(origin(&disk, offset), origin(&same, offset), "{offset}");
            assert_ne!(origin(&disk, offset), origin(&other, offset), "{offset}");
            assert_ne!(origin(&disk, offset), Origin::ZERO, "{offset}");
        }
        assert_ne!(origin(&disk, 4096), origin(&same, 12288), "zeros are decrypted to other bytes");
        // What is written to may change before it is read.
        assert_eq!(disks().1.origin(0, 512).unwrap(), (None, 512));
    }

    /// A disk whose reads end when two of them are under way.
    struct Meeting(Mutex<usize>, Condvar);

    impl Disk for Meeting {
        fn size(&self) -> u64 {
            SIZE as u64
        }
        fn sector_size(&self) -> u32 {
            512
        }
        fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> Result<()> {
            let mut met = self.0.lock().unwrap();
            *met += 1;
            self.1.notify_all();
            let (_met, waited) = self.1.wait_timeout_while(met, Duration::from_secs(10), |met| *met < 2).unwrap();
            assert!(!waited.timed_out(), "one read waits for the other");
            Ok(())
        }
        fn allocation(&self, offset: u64) -> Result<Allocation> {
            Ok(Allocation::Data(SIZE as u64 - offset))
        }
    }

    /// Whole sectors and parts of them: the threads of a mount decrypt at once.
    #[test]
    fn reads_do_not_wait_for_each_other() {
        let disk = Decrypted::new(Arc::new(Meeting(Mutex::new(0), Condvar::new())), cipher());
        std::thread::scope(|scope| {
            scope.spawn(|| disk.read_at(512, &mut [0; 1024]).unwrap());
            scope.spawn(|| disk.read_at(5, &mut [0; 7]).unwrap());
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        /// Writes and discards of any range change those bytes and no others, and what lies below is the ciphertext
        /// that another reader of the format expects.
        #[test]
        fn a_decrypted_disk_is_an_array(steps in prop::collection::vec((0..SIZE, 1..6000_usize, any::<u8>(), any::<bool>()), 1..12)) {
            let (encrypted, disk) = disks();
            let mut model = all(&disk);
            for (at, len, fill, discard) in steps {
                let end = SIZE.min(at + len);
                if discard {
                    disk.discard(at as u64, (end - at) as u64).unwrap();
                    model[at..end].fill(0);
                } else {
                    disk.write_at(at as u64, &vec![fill; end - at]).unwrap();
                    model[at..end].fill(fill);
                }
                let mut part = vec![0; end - at];
                disk.read_at(at as u64, &mut part).unwrap();
                prop_assert_eq!(&part[..], &model[at..end]);
            }
            prop_assert_eq!(all(&disk), model.clone());
            cipher().encrypt(&mut model, 0);
            prop_assert_eq!(all(&*encrypted), model);
        }
    }
}
