//! The real VirtualBox, disks of several images and disks too large for memory, for tests of image formats.
//!
//! A VirtualBox is used where `VBOXIMG_REFERENCE` names the directory that it was put in, with a script `vb-in` that runs
//! its programs there and a directory `lab` that they see.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod recorder;

use crate::support::provided;
use nix::unistd::{Whence, lseek};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use vboximg_mount::disk::{ChainDisk, Disk, Span};
use vboximg_mount::image::{self, Image, OpenOptions};

/// The directory of the real VirtualBox; none where there is none.
pub(crate) fn reference() -> Option<PathBuf> {
    let root = std::env::var_os("VBOXIMG_REFERENCE").map(PathBuf::from);
    provided(root.is_some(), "the real VirtualBox, in a directory that VBOXIMG_REFERENCE names");
    root
}

/// The directory of the real VirtualBox.
pub(crate) struct Reference {
    root: PathBuf,
    directory: String,
}

impl Reference {
    /// With a directory of its own, `name`, that the real VirtualBox sees too; none where there is no VirtualBox.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let reference = Self { root: reference()?, directory: format!("/lab/test-{name}") };
        let _ = fs::remove_dir_all(reference.outside());
        fs::create_dir_all(reference.outside()).unwrap();
        Some(reference)
    }

    /// The directory as this program sees it.
    pub(crate) fn outside(&self) -> PathBuf {
        self.root.join(&self.directory[1..])
    }

    /// A file in the directory as VirtualBox sees it.
    pub(crate) fn inside(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }

    /// Runs one of its programs with a registry in the directory: the words of `line`. What it printed.
    pub(crate) fn run(&self, line: &str) -> String {
        let output = Command::new(self.root.join("vb-in"))
            .args(line.split(' '))
            .env("VBOX_USER_HOME", self.inside("home"))
            .env("VBOX_IPC_SOCKETID", self.directory.replace('/', "-"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{line}: {text}");
        text
    }

    /// The bytes that VirtualBox reads from an image in the directory.
    pub(crate) fn bytes(&self, name: &str, format: &str) -> Vec<u8> {
        let raw = self.outside().join("out.raw");
        let _ = fs::remove_file(&raw);
        let (source, target) = (self.inside(name), self.inside("out.raw"));
        self.run(&format!(
            "vbox-img convert --srcfilename {source} --srcformat {format} --dstfilename {target} --dstformat RAW"
        ));
        fs::read(raw).unwrap()
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.outside());
    }
}

/// Runs a program that must succeed; what it wrote to its standard output.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Vec<u8> {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program} is needed: {e}"));
    let args: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Opens the images of a chain, leaf first; the leaf for writing or not.
pub(crate) fn chain<P: AsRef<Path>>(paths: &[P], writable: bool) -> ChainDisk {
    let links = paths.iter().enumerate().map(|(i, path)| {
        let options = OpenOptions { writable: writable && i == 0, ..OpenOptions::default() };
        image::open(path.as_ref(), options).unwrap_or_else(|e| panic!("{e}"))
    });
    ChainDisk::new(links.collect(), Vec::new())
}

/// Opens one image for reading.
pub(crate) fn open(path: &Path) -> Box<dyn Image> {
    image::open(path, OpenOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

/// Asserts that a disk too large for memory has the bytes of a sparse file of the same size.
pub(crate) fn assert_same_file(disk: &dyn Disk, raw: &Path, what: &str) {
    let file = fs::File::open(raw).unwrap();
    assert_eq!(disk.size(), file.metadata().unwrap().len(), "{what}: size");
    let mut at = 0;
    let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    while at < disk.size() {
        // What is a hole in the file and known zeros on the disk needs no reading.
        let data = lseek(&file, i64::try_from(at).unwrap(), Whence::SeekData);
        let data = data.map_or(disk.size(), |data| u64::try_from(data).unwrap());
        at = match disk.span(at).unwrap() {
            Span::Zero(len) if data > at => data.min(at + len),
            span => {
                let len = usize::try_from(span.len().min(1 << 20)).unwrap();
                disk.read_at(at, &mut ours[..len]).unwrap();
                file.read_exact_at(&mut theirs[..len], at).unwrap();
                assert!(ours[..len] == theirs[..len], "{what}: bytes from {at} on differ");
                at + len as u64
            }
        };
    }
}
