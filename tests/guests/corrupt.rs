//! Corrupt file systems: flips bits of the metadata that a reader reads, and checks that it stays within bounds.

use crate::disk::{Allocation, Disk, Result};
use crate::guestfs::{self, FileExtent, GuestFs, NodeKind};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Number of corrupt volumes to read.
const ROUNDS: usize = 1000;
/// The longest time that one may take; a valid one takes some milliseconds.
const LIMIT: Duration = Duration::from_secs(20);
/// The most nodes visited on one volume, for cycles of directories.
const MAX_NODES: usize = 5000;
/// The most runs read of one file.
const MAX_RUNS: usize = 5000;
/// Bytes read at the start and at the end of one file, and of all files together.
const FILE_BYTES: usize = 64 << 10;
const ALL_BYTES: usize = 2 << 20;
/// The limit for this process's peak memory in KiB, far above what the tests themselves need.
const MAX_MEMORY: u64 = 2 << 20;

/// Creates a small tree with a bit of everything.
pub(crate) const FILL: &str = r#"
cd "$1/m"
mkdir -p etc many deep/a/b/c; for i in $(seq 1 400); do echo $i > many/file-with-a-name-$i; done
for i in $(seq 1 60); do head -c 9000 /dev/zero | tr '\0' x >> one; sync -f one; head -c 5000 /dev/zero | tr '\0' y >> two; sync -f two; done
ln -s ../etc/hostname etc/short; ln -s "$(printf 'x%.0s' $(seq 200))" etc/long; ln one etc/hard; truncate -s 20M sparse; echo end >> sparse
for i in 1 2 3 4 5 6; do setfattr -n user.attribute-$i -v "$(printf 'v%.0s' $(seq 60))" two; done; setfattr -n user.small -v five one
"#;

/// A disk that records reads and flips some bits.
struct Corrupt {
    inner: Arc<dyn Disk>,
    flips: Vec<(u64, u8)>,
    read: Mutex<Vec<(u64, u64)>>,
}

impl Disk for Corrupt {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn sector_size(&self) -> u32 {
        self.inner.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.inner.read_at(offset, buf)?;
        if self.flips.is_empty() {
            self.read.lock().unwrap().push((offset, buf.len() as u64));
        }
        for (at, mask) in &self.flips {
            let index = at.checked_sub(offset).and_then(|index| usize::try_from(index).ok());
            if let Some(byte) = index.and_then(|index| buf.get_mut(index)) {
                *byte ^= mask;
            }
        }
        Ok(())
    }

    fn allocation(&self, offset: u64) -> Result<Allocation> {
        self.inner.allocation(offset)
    }
}

/// Opens the volume [`ROUNDS`] times with one to four bits of its metadata flipped, and reads all of it. Corruption
/// counts as noticed when it causes an error or another number of nodes (a journal that ends early).
pub(crate) fn survive<F: GuestFs>(
    what: &str,
    volume: Arc<dyn Disk>,
    open: impl Fn(Arc<dyn Disk>) -> guestfs::Result<F> + Sync,
) {
    let valid = Arc::new(Corrupt { inner: volume.clone(), flips: Vec::new(), read: Mutex::default() });
    let fs = open(valid.clone()).unwrap();
    let (nodes, errors) = look(&fs, None);
    assert!(nodes > 400 && errors == 0, "{what}: {nodes} nodes and {errors} errors without corruption");
    let offsets = metadata(&*volume, &valid.read.lock().unwrap());
    assert_eq!(look(&fs, Some(&*volume)).1, 0, "{what}: errors in files without corruption");
    // The seed is fixed, so that a failure can be reproduced.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let mut flip = || (offsets[random(offsets.len())], 1 << random(8));
    let rounds: Vec<Vec<(u64, u8)>> = (0..ROUNDS).map(|round| (0..=round % 4).map(|_| flip()).collect()).collect();
    let one = |flips: &Vec<(u64, u8)>| -> usize {
        let corrupt: Arc<dyn Disk> =
            Arc::new(Corrupt { inner: volume.clone(), flips: flips.clone(), read: Mutex::default() });
        let start = Instant::now();
        let seen = match open(corrupt.clone()) {
            Ok(fs) => usize::from(look(&fs, Some(&*corrupt)) != (nodes, 0)),
            Err(_) => 1,
        };
        assert!(start.elapsed() < LIMIT, "{what}: took {:?}, flips {flips:?}", start.elapsed());
        seen
    };
    let seen: usize = std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = rounds
            .chunks(ROUNDS.div_ceil(threads))
            .map(|chunk| scope.spawn(move || chunk.iter().map(one).sum::<usize>()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(seen >= ROUNDS / 50, "{what}: corruption was noticed in {seen} of {ROUNDS} rounds");
    let memory = peak_memory();
    assert!(memory < MAX_MEMORY, "{what}: {memory} KiB of memory");
}

/// The peak memory of this process in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The offsets of bytes that were read and are not zero: most zeros are unused.
fn metadata(volume: &dyn Disk, read: &[(u64, u64)]) -> Vec<u64> {
    let mut blocks: Vec<u64> = read.iter().flat_map(|(at, len)| at / 512..(at + len).div_ceil(512)).collect();
    blocks.sort_unstable();
    blocks.dedup();
    let mut offsets = Vec::new();
    for block in blocks {
        let mut bytes = [0; 512];
        volume.read_at(block * 512, &mut bytes).unwrap();
        offsets.extend((block * 512..).zip(bytes).filter(|(_, byte)| *byte != 0).map(|(at, _)| at));
    }
    offsets
}

/// Visits everything, including the files' bytes if a volume is given. Returns the number of nodes and of errors.
pub(crate) fn look(fs: &dyn GuestFs, volume: Option<&dyn Disk>) -> (usize, usize) {
    let mut budget = ALL_BYTES;
    let mut known = HashSet::from([fs.root()]);
    let mut open = vec![fs.root()];
    let mut errors = 0;
    while let Some(node) = open.pop() {
        let Ok(attributes) = fs.attributes(node) else {
            errors += 1;
            continue;
        };
        let names = fs.xattr_names(node).unwrap_or_else(|_| {
            errors += 1;
            Vec::new()
        });
        errors += names.iter().filter(|name| fs.xattr(node, name).is_err()).count();
        errors += usize::from(match attributes.kind {
            NodeKind::Directory => {
                let reported = fs.read_directory(node, 0, &mut |entry| {
                    if known.len() < MAX_NODES && known.insert(entry.node) {
                        open.push(entry.node);
                    }
                    ControlFlow::Continue(())
                });
                reported.is_err() || fs.lookup(node, b"no such name").is_err()
            }
            NodeKind::Symlink => fs.read_link(node).is_err(),
            NodeKind::File => {
                let read = volume.map_or(Ok(()), |volume| bytes(fs, volume, node, &attributes, &mut budget));
                read.is_err() || runs(fs, node, attributes.size).is_err()
            }
            _ => false,
        });
    }
    (known.len(), errors)
}

fn runs(fs: &dyn GuestFs, file: guestfs::Node, size: u64) -> guestfs::Result<()> {
    let mut offset = 0;
    for _ in 0..MAX_RUNS {
        if offset >= size {
            break;
        }
        let run = fs.extent(file, offset, size - offset)?;
        assert!(run.len > 0, "a run of no bytes");
        if run.extent == FileExtent::Decoded {
            let mut bytes = vec![0; usize::try_from(run.len.min(4096)).unwrap()];
            fs.decode(file, offset, &mut bytes)?;
        }
        offset = offset.saturating_add(run.len);
    }
    Ok(())
}

/// Reads the start and the end of a file, within the remaining budget.
fn bytes(
    fs: &dyn GuestFs,
    volume: &dyn Disk,
    file: guestfs::Node,
    attributes: &guestfs::Attributes,
    budget: &mut usize,
) -> guestfs::Result<()> {
    let mut buf = vec![0; FILE_BYTES.min(*budget)];
    let ends = [0, attributes.size.saturating_sub(FILE_BYTES as u64)];
    for offset in &ends[..if ends[1] > 0 { 2 } else { 1 }] {
        *budget = budget.saturating_sub(guestfs::read::read(fs, volume, file, attributes, *offset, &mut buf)?);
    }
    Ok(())
}
