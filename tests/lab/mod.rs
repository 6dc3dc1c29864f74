//! What the tests with other programs share: samples, programs, disks of images, random writes.
//!
//! Samples are in `../shared`, or in the folder that `VBOXIMG_SHARED` names. A real VirtualBox is used where
//! `VBOXIMG_REFERENCE` names the folder that `shared/oracle/install-virtualbox.sh` put it in. What lacks either says
//! so on standard error, past the test harness, which would hide it. Other programs must be there.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod recorder;

use nix::unistd::{Whence, lseek};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use vboximg_mount::disk::{ChainDisk, Disk, Span};
use vboximg_mount::image::{self, Image, OpenOptions};

/// Says that a test did nothing, so that a person sees it.
pub(crate) fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // Not eprintln: the harness keeps what that prints for tests that fail.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// Runs a program that must succeed; its standard output.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Vec<u8> {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program} is needed: {e}"));
    assert!(
        output.status.success(),
        "{program} {:?}: {}{}",
        args.iter().map(AsRef::as_ref).collect::<Vec<_>>(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// The folder of samples and oracle.
pub(crate) fn shared() -> PathBuf {
    std::env::var_os("VBOXIMG_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from)
}

/// Unpacks a sample into `folder`; none where there is no such sample.
pub(crate) fn sample(folder: &Path, name: &str) -> Option<PathBuf> {
    let packed = shared().join("samples").join(name);
    if !packed.exists() {
        skipped(&format!("no sample {}", packed.display()));
        return None;
    }
    let (plain, program) = match packed.extension().and_then(OsStr::to_str) {
        Some("gz") => (name.trim_end_matches(".gz"), "gzip"),
        Some("bz2") => (name.trim_end_matches(".bz2"), "bzip2"),
        Some("zst") => (name.trim_end_matches(".zst"), "zstd"),
        _ => panic!("{name} is not packed"),
    };
    let path = folder.join(plain);
    fs::write(&path, run(program, &[OsStr::new("-dc"), packed.as_os_str()])).unwrap();
    Some(path)
}

/// The folder of the real VirtualBox.
pub(crate) struct Reference {
    root: PathBuf,
    folder: String,
}

impl Reference {
    /// With a folder of its own, `name`, that the real VirtualBox sees too; none where there is no VirtualBox.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let Some(root) = std::env::var_os("VBOXIMG_REFERENCE") else {
            skipped("no VirtualBox: VBOXIMG_REFERENCE is not set");
            return None;
        };
        let reference = Self { root: root.into(), folder: format!("/lab/test-{name}") };
        let _ = fs::remove_dir_all(reference.outside());
        fs::create_dir_all(reference.outside()).unwrap();
        Some(reference)
    }

    /// The folder as this program sees it.
    pub(crate) fn outside(&self) -> PathBuf {
        self.root.join(&self.folder[1..])
    }

    /// A file in the folder as VirtualBox sees it.
    pub(crate) fn inside(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// Runs one of its programs with a registry in the folder.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        let output = Command::new(self.root.join("vb-in"))
            .args(args)
            .env("VBOX_USER_HOME", self.inside("home"))
            .env("VBOX_IPC_SOCKETID", self.folder.replace('/', "-"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// The bytes that VirtualBox reads from an image in the folder.
    pub(crate) fn bytes(&self, name: &str, format: &str) -> Vec<u8> {
        let raw = self.outside().join("out.raw");
        let _ = fs::remove_file(&raw);
        self.run(&[
            "vbox-img",
            "convert",
            "--srcfilename",
            &self.inside(name),
            "--srcformat",
            format,
            "--dstfilename",
            &self.inside("out.raw"),
            "--dstformat",
            "RAW",
        ]);
        fs::read(raw).unwrap()
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.outside());
    }
}

/// Opens the images of a chain, leaf first; the leaf for writing or not.
pub(crate) fn disk<P: AsRef<Path>>(paths: &[P], writable: bool) -> ChainDisk {
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

/// All bytes of a disk.
pub(crate) fn all(disk: &dyn Disk) -> Vec<u8> {
    let mut bytes = vec![0xAA; usize::try_from(disk.size()).unwrap()];
    for (i, piece) in bytes.chunks_mut(3 << 20).enumerate() {
        disk.read_at((i * (3 << 20)) as u64, piece).unwrap();
    }
    bytes
}

/// Asserts that a disk has these bytes, read whole and at random places.
pub(crate) fn assert_same(disk: &dyn Disk, expected: &[u8], what: &str) {
    assert_eq!(disk.size(), expected.len() as u64, "{what}: size");
    assert!(all(disk) == expected, "{what}: bytes differ");
    let mut random = Random(7);
    for _ in 0..500 {
        let at = random.below(expected.len());
        let len = (1 + random.below(200_000)).min(expected.len() - at);
        let mut part = vec![0xAA; len];
        disk.read_at(at as u64, &mut part).unwrap();
        assert!(part == expected[at..at + len], "{what}: bytes at {at} to {} differ", at + len);
    }
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

/// Random numbers that are the same in every run (xorshift).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// Writes, discards and flushes at random, to a disk and to an array that is its model.
pub(crate) fn scribble(disk: &dyn Disk, model: &mut [u8], seed: u64, steps: usize) {
    let mut random = Random(seed);
    for _ in 0..steps {
        let at = random.below(model.len());
        let most = if random.below(4) == 0 { 3 << 20 } else { 9000 };
        let end = model.len().min(at + 1 + random.below(most));
        match random.below(10) {
            0 => disk.flush().unwrap(),
            1 | 2 => {
                disk.discard(at as u64, (end - at) as u64).unwrap();
                model[at..end].fill(0);
            }
            3 => {
                disk.write_at(at as u64, &vec![0; end - at]).unwrap();
                model[at..end].fill(0);
            }
            _ => {
                for byte in &mut model[at..end] {
                    *byte = random.next().to_le_bytes()[0];
                }
                disk.write_at(at as u64, &model[at..end]).unwrap();
            }
        }
    }
}

/// Unpacks parts of the oracle registry into `folder`; false where it is not there.
pub(crate) fn oracle(folder: &Path, parts: &[&str]) -> bool {
    let packed = shared().join("oracle/registry.tar.zst");
    if !packed.exists() {
        skipped(&format!("no oracle {}", packed.display()));
        return false;
    }
    let mut args =
        vec![OsStr::new("--zstd"), OsStr::new("-xf"), packed.as_os_str(), OsStr::new("-C"), folder.as_os_str()];
    args.extend(parts.iter().map(OsStr::new));
    run("tar", &args);
    true
}

/// The SHA-256 of bytes as `media.tsv` has it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
