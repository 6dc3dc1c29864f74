//! Mounts of a disk in memory that fails on demand. (The tests of mounted images are in `tests/`.)

use super::serve::Stopper;
use super::{Error, FAILURE_ATTRIBUTE, OnSignal, Options, mount, table};
use crate::disk::memory::MemoryDisk;
use crate::error_kind::ErrorKind;
use crate::view::{Source, View};
use nix::libc;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A mounted disk; ended when the test ends.
struct Scene {
    _directory: TempDir,
    point: PathBuf,
    disk: Arc<MemoryDisk>,
    stopper: Stopper,
    serving: Option<JoinHandle<super::Result<()>>>,
}

fn view(directory: &TempDir, disk: Arc<MemoryDisk>, options: &Options) -> View {
    let image = directory.path().join("memory.img");
    fs::write(&image, "").unwrap();
    let source = Source { disk, volumes: Vec::new(), image, guests: Vec::new(), only_guests: false, stored: u64::MAX };
    View::new(source, options.appearance()).unwrap()
}

impl Scene {
    fn new(writable: bool) -> Self {
        Self::with(&Options { writable, ..Options::default() })
    }

    fn with(options: &Options) -> Self {
        let directory = TempDir::new().unwrap();
        let disk = Arc::new(MemoryDisk::new(vec![7; 1 << 20]));
        let point = directory.path().join("mnt");
        fs::create_dir(&point).unwrap();
        let mounted = mount(view(&directory, disk.clone(), options), &point, options, OnSignal::Unchanged).unwrap();
        let stopper = mounted.stopper();
        let serving = Some(thread::spawn(move || mounted.serve()));
        Self { _directory: directory, point, disk, stopper, serving }
    }

    fn open(&self, writable: bool) -> File {
        OpenOptions::new().read(true).write(writable).open(self.point.join("vhdd")).unwrap()
    }

    /// Asserts that an operation returns after a flush only.
    fn assert_flushes(&self, what: &str, operation: impl FnOnce()) {
        let before = self.disk.counts().0;
        operation();
        assert!(self.disk.counts().0 > before, "{what}");
    }

    fn end(&mut self) -> super::Result<()> {
        self.stopper.stop();
        self.serving.take().unwrap().join().unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if self.serving.is_some() {
            let _ = self.end();
        }
    }
}

fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

#[test]
fn a_failing_disk_is_an_error_and_not_zeros() {
    let mut scene = Scene::new(false);
    let file = scene.open(false);
    let mut buf = [0; 4096];
    scene.disk.fail(Some(libc::EBADMSG));
    assert_eq!(errno(file.read_exact_at(&mut buf, 0)), libc::EIO);
    assert_eq!(buf, [0; 4096]);
    scene.disk.fail(None);
    file.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(buf, [7; 4096]);
    drop(file);
    scene.end().unwrap();
    assert_eq!(scene.disk.counts().1, 1);
}

#[test]
fn reports_a_failed_flush_and_retries_it() {
    let mut scene = Scene::new(true);
    let file = scene.open(true);
    file.write_all_at(b"abc", 100).unwrap();
    scene.disk.fail(Some(libc::ENOSPC));
    assert_eq!(errno(file.sync_all()), libc::ENOSPC);
    // What `close` returns is hidden by `File`'s drop; a duplicate's end is a close too.
    drop(file);
    scene.disk.fail(None);
    let start = Instant::now();
    while scene.disk.counts().0 == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "nobody flushed");
        thread::sleep(Duration::from_millis(10));
    }
    scene.end().unwrap();
    assert_eq!(scene.disk.bytes()[99..104], *b"\x07abc\x07");
}

#[test]
fn synchronous_writes_are_durable_when_they_return() {
    use nix::fcntl::{FallocateFlags, fallocate};
    let zero = |file: &File| fallocate(file, FallocateFlags::FALLOC_FL_ZERO_RANGE, 0, 4096).unwrap();
    let scene = Scene::new(true);
    for (name, flag) in [("O_SYNC", libc::O_SYNC), ("O_DSYNC", libc::O_DSYNC)] {
        let file = OpenOptions::new().write(true).custom_flags(flag).open(scene.point.join("vhdd")).unwrap();
        scene.assert_flushes(name, || file.write_all_at(b"abc", 0).unwrap());
        scene.assert_flushes(&format!("{name}, fallocate"), || zero(&file));
    }
    let file = scene.open(true);
    scene.assert_flushes("RWF_DSYNC", || {
        let data = [io::IoSlice::new(b"abc")];
        assert_eq!(rustix::io::pwritev2(&file, &data, 0, rustix::io::ReadWriteFlags::DSYNC).unwrap(), 3);
    });
    scene.disk.fail(Some(libc::EIO));
    let synchronous = OpenOptions::new().write(true).custom_flags(libc::O_SYNC).open(scene.point.join("vhdd")).unwrap();
    assert_eq!(errno(synchronous.write_at(b"abc", 0)), libc::EIO);
    scene.disk.fail(None);

    let scene = Scene::with(&Options { writable: true, sync: true, ..Options::default() });
    let file = scene.open(true);
    scene.assert_flushes("-o sync", || file.write_all_at(b"abc", 0).unwrap());
    scene.assert_flushes("-o sync, fallocate", || zero(&file));
}

#[test]
fn fsync_of_the_directory_flushes() {
    let scene = Scene::new(true);
    scene.assert_flushes("fsync", || File::open(&scene.point).unwrap().sync_all().unwrap());
    scene.disk.fail(Some(libc::EIO));
    assert_eq!(errno(File::open(&scene.point).unwrap().sync_all()), libc::EIO);
    scene.disk.fail(None);
}

#[test]
fn exposes_the_failure_of_a_flush_until_one_succeeds() {
    let scene = Scene::new(true);
    let failure = || xattr::get(&scene.point, FAILURE_ATTRIBUTE).unwrap().map(|text| String::from_utf8(text).unwrap());
    let is_listed = || xattr::list(&scene.point).unwrap().any(|name| name == FAILURE_ATTRIBUTE);
    let file = scene.open(true);
    assert!(failure().is_none() && !is_listed());
    scene.disk.fail(Some(libc::EIO));
    assert_eq!(errno(file.sync_all()), libc::EIO);
    assert!(failure().unwrap().starts_with("Cannot reach /memory") && is_listed());
    let text = crate::error_kind::message(&super::unmount(&scene.point).unwrap_err());
    assert!(text.contains("is not durable, so it stays mounted") && text.contains("Cannot reach /memory"), "{text}");
    scene.disk.fail(None);
    file.sync_all().unwrap();
    assert!(failure().is_none() && !is_listed());
}

#[test]
fn closing_a_file_flushes_what_was_written() {
    let scene = Scene::new(true);
    drop(scene.open(true));
    assert_eq!(scene.disk.counts(), (0, 0));
    let file = scene.open(true);
    file.write_all_at(b"abc", 0).unwrap();
    drop(file);
    assert_eq!(scene.disk.counts(), (1, 0));
}

#[test]
fn serve_fails_when_the_last_flush_fails() {
    let mut scene = Scene::new(true);
    scene.disk.fail(Some(libc::EIO));
    let error = scene.end().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    let text = crate::error_kind::message(&error);
    assert!(text.starts_with("What was written to the disk is not durable: Cannot reach /memory"), "{text}");
    assert!(table::at(&scene.point.canonicalize().unwrap()).unwrap().is_none());
}

#[test]
fn a_disk_that_cannot_be_mounted_is_closed() {
    let directory = TempDir::new().unwrap();
    let disk = Arc::new(MemoryDisk::new(vec![0; 512]));
    let options = Options::default();
    let view = view(&directory, disk.clone(), &options);
    let failed = mount(view, directory.path(), &options, OnSignal::Unchanged).map(drop);
    assert!(matches!(failed, Err(Error::Point { .. })), "{failed:?}");
    assert_eq!(disk.counts().1, 1);
}
