//! What the fuzz targets in `fuzz/` do with bytes; here only where the compiler is given `--cfg fuzzing`, as cargo-fuzz
//! does. Nothing may panic, hang or take more memory than libFuzzer allows; errors are right.

use crate::crypt::{Cipher, KeyStore};
use crate::disk::{ChainDisk, Disk};
use crate::guestfs::{self, GuestFs, Node, NodeKind, detect, read};
use crate::image::{Format, OpenOptions, open::open_file};
use crate::storage::{Segment, Storage};
use crate::volume;
use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much is read or written of a disk or file at once, in bytes.
const CHUNK: usize = 64 << 10;
/// How many entries of a volume are looked at.
const ENTRIES: usize = 200;
/// How large the file may become that an image is in, in bytes.
const MAX_FILE: usize = 64 << 20;

/// A file in memory, next to which there is nothing.
#[derive(Debug)]
struct Memory(Mutex<Vec<u8>>);

impl Memory {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the file so long at least, and the range within it.
    fn range(&self, offset: u64, len: u64) -> io::Result<(MutexGuard<'_, Vec<u8>>, std::ops::Range<usize>)> {
        let end = offset.checked_add(len).and_then(|end| usize::try_from(end).ok()).filter(|end| *end <= MAX_FILE);
        let end = end.ok_or(io::ErrorKind::StorageFull)?;
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::StorageFull)?;
        let mut bytes = self.bytes();
        let longer = bytes.len().max(end);
        bytes.resize(longer, 0);
        Ok((bytes, start..end))
    }
}

impl Storage for Memory {
    fn path(&self) -> &Path {
        Path::new("/nowhere/image")
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes();
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let (mut bytes, range) = self.range(offset, buf.len() as u64)?;
        bytes[range].copy_from_slice(buf);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let (mut bytes, range) = self.range(len, 0)?;
        bytes.truncate(range.end);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        let (mut bytes, range) = self.range(offset, len)?;
        bytes[range].fill(0);
        Ok(())
    }

    fn segment(&self, offset: u64) -> io::Result<Segment> {
        Ok(Segment::Data(self.length()? - offset))
    }
}

fn open(bytes: &[u8], options: OpenOptions) -> Option<ChainDisk> {
    let file = Arc::new(Memory(Mutex::new(bytes.to_vec())));
    Some(ChainDisk::new(vec![open_file(file, options).ok()?], Vec::new()))
}

fn read_ends(disk: &dyn Disk) {
    let mut buf = vec![0; usize::try_from(disk.size()).unwrap_or(usize::MAX).min(CHUNK)];
    let _ = disk.read_at(0, &mut buf);
    let _ = disk.read_at(disk.size() - buf.len() as u64, &mut buf);
    let _ = disk.allocation(disk.size() / 2);
}

/// Opens an image without its parents and reads of it, also what is left of a corrupt one; then writes to it.
fn image(bytes: &[u8], format: Format) {
    let options = OpenOptions { format: Some(format), ..OpenOptions::default() };
    for force in [false, true] {
        if let Some(disk) = open(bytes, OpenOptions { force, ..options.clone() }) {
            read_ends(&disk);
        }
    }
    let Some(disk) = open(bytes, OpenOptions { writable: true, ..options }) else { return };
    let (size, data) = (disk.size(), vec![7; CHUNK]);
    for offset in [0, size / 2, size.saturating_sub(5000)] {
        let len = usize::try_from(size - offset).unwrap_or(CHUNK).min(CHUNK);
        let _ = disk.write_at(offset, &data[..len]);
    }
    let _ = disk.flush();
    let _ = disk.discard(0, size.min(4 << 20));
    read_ends(&disk);
    let _ = disk.close();
}

macro_rules! images {
    ($($name:ident: $format:ident,)*) => {
        $(#[doc = concat!("Opens bytes as an image of the format ", stringify!($format), ", and reads and writes its disk.")]
        pub fn $name(bytes: &[u8]) {
            image(bytes, Format::$format);
        })*
    };
}

images! {
    dmg: Dmg,
    parallels: Parallels,
    qcow: Qcow,
    qed: Qed,
    vdi: Vdi,
    vhd: Vhd,
    vhdx: Vhdx,
    vmdk: Vmdk,
}

/// Reads the partition table of a disk.
pub fn partitions(bytes: &[u8]) {
    let raw = OpenOptions { format: Some(Format::Raw), ..OpenOptions::default() };
    if let Some(disk) = open(bytes, raw) {
        let _ = volume::read_table(&disk);
    }
}

/// Parses the key store of a disk and of a machine, in the text of settings. Nothing is derived from it: that takes as
/// long as the store says.
pub fn keystore(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for cipher in [Cipher::Xts, Cipher::Gcm, Cipher::Ctr] {
        let _ = KeyStore::parse(&text, cipher, "it");
    }
}

/// Opens a volume, walks its tree and reads of its files.
pub fn guestfs(bytes: &[u8]) {
    let raw = OpenOptions { format: Some(Format::Raw), ..OpenOptions::default() };
    let Some(disk) = open(bytes, raw) else { return };
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let _ = guestfs::identify(&disk);
    if let Ok(Some(fs)) = detect::open(disk.clone()) {
        walk(&*fs, &*disk);
    }
}

fn walk(fs: &dyn GuestFs, disk: &dyn Disk) {
    let (mut seen, mut waiting) = (HashSet::new(), vec![fs.root()]);
    let mut buf = vec![0; CHUNK];
    while let Some(node) = waiting.pop() {
        if seen.len() >= ENTRIES || !seen.insert(node) {
            continue;
        }
        for name in fs.xattr_names(node).unwrap_or_default() {
            let _ = fs.xattr(node, &name);
        }
        let Ok(attributes) = fs.attributes(node) else { continue };
        match attributes.kind {
            NodeKind::Directory => {
                let mut children: Vec<Node> = Vec::new();
                let _ = fs.read_directory(node, 0, &mut |entry| {
                    children.push(entry.node);
                    if children.len() < ENTRIES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                });
                waiting.extend(children);
                let _ = fs.lookup(node, b"file");
            }
            NodeKind::File => {
                for offset in [0, attributes.size / 2, attributes.size.saturating_sub(1)] {
                    let _ = read::read(fs, disk, node, &attributes, offset, &mut buf);
                }
            }
            _ => drop(fs.read_link(node)),
        }
    }
}
