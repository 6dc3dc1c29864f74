//! What the fuzz targets do with bytes. Nothing may panic, hang or take more memory than libFuzzer allows; errors are right.

use std::collections::HashSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use vboximg_mount::crypt::Passwords;
use vboximg_mount::disk::{ChainDisk, Disk};
use vboximg_mount::guestfs::{self, Node, NodeKind, detect};
use vboximg_mount::image::{self, Format, OpenOptions};
use vboximg_mount::registry::Registry;
use vboximg_mount::volume;

/// How much is read of a disk or file, in bytes, at its start and at its end.
const READ: usize = 64 << 10;
/// How many entries of a volume are looked at.
const ENTRIES: usize = 200;

/// In memory where there is such a directory: the program reads files.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary directory")
}

fn open(path: &Path, format: Format) -> Option<ChainDisk> {
    let options = OpenOptions { format: Some(format), ..OpenOptions::default() };
    Some(ChainDisk::new(vec![image::open(path, options).ok()?], Vec::new()))
}

fn read_ends(disk: &dyn Disk) {
    let mut buf = vec![0; usize::try_from(disk.size()).unwrap_or(usize::MAX).min(READ)];
    let _ = disk.read_at(0, &mut buf);
    let _ = disk.read_at(disk.size() - buf.len() as u64, &mut buf);
    let _ = disk.span(disk.size() / 2);
}

/// Opens an image of a format without its parents, reads of it, and reads its partition table.
pub fn image(bytes: &[u8], format: Format) {
    let directory = directory();
    let path = directory.path().join("image");
    fs::write(&path, bytes).expect("the image is written");
    if let Some(disk) = open(&path, format) {
        read_ends(&disk);
        let _ = volume::read_table(&disk);
    }
}

/// Loads settings, as a machine's and as the global ones.
pub fn settings(bytes: &[u8]) {
    let directory = directory();
    for name in ["machine.vbox", "VirtualBox.xml"] {
        fs::write(directory.path().join(name), bytes).expect("the settings are written");
    }
    let passwords = Passwords::default();
    let _ = Registry::load_machine_file(&directory.path().join("machine.vbox"), &passwords);
    let _ = Registry::load(directory.path(), &passwords);
}

/// Opens a volume, walks its tree and reads of its files.
pub fn volume(bytes: &[u8]) {
    let directory = directory();
    let path = directory.path().join("volume");
    fs::write(&path, bytes).expect("the volume is written");
    let Some(disk) = open(&path, Format::Raw) else { return };
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let _ = guestfs::identify(&disk);
    let Ok(Some(fs)) = detect::open(disk.clone()) else { return };
    let (mut seen, mut waiting) = (HashSet::new(), vec![fs.root()]);
    let mut buf = vec![0; READ];
    while let Some(node) = waiting.pop() {
        if seen.len() >= ENTRIES || !seen.insert(node) {
            continue;
        }
        let _ = fs.xattr_names(node);
        let Ok(attributes) = fs.attributes(node) else { continue };
        match attributes.kind {
            NodeKind::Directory => {
                let mut children: Vec<Node> = Vec::new();
                let _ = fs.read_directory(node, 0, &mut |entry| {
                    children.push(entry.node);
                    if children.len() < ENTRIES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                });
                waiting.extend(children);
            }
            NodeKind::File => {
                let _ = guestfs::read::read(&*fs, &*disk, node, &attributes, 0, &mut buf);
                let _ = guestfs::read::read(&*fs, &*disk, node, &attributes, attributes.size / 2, &mut buf);
            }
            _ => drop(fs.read_link(node)),
        }
    }
}
