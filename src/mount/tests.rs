//! A disk in memory, mounted for real: what happens when it fails. (What the program does with images is in `tests/`.)

use super::{Error, OnSignal, Options, Source, Stopper, mount, table};
use crate::disk::memory::MemoryDisk;
use crate::error_kind::ErrorKind;
use nix::libc;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A mounted disk; ended when the test ends.
struct Scene {
    _folder: TempDir,
    point: PathBuf,
    disk: Arc<MemoryDisk>,
    stopper: Stopper,
    serving: Option<JoinHandle<super::Result<()>>>,
}

fn source(folder: &TempDir, disk: Arc<MemoryDisk>) -> Source {
    let image = folder.path().join("memory.img");
    fs::write(&image, "").unwrap();
    Source { disk, volumes: Vec::new(), image, guests: Vec::new(), stored: u64::MAX }
}

impl Scene {
    fn new(writable: bool) -> Self {
        let folder = TempDir::new().unwrap();
        let disk = Arc::new(MemoryDisk::new(vec![7; 1 << 20]));
        let point = folder.path().join("mnt");
        fs::create_dir(&point).unwrap();
        let options = Options { writable, ..Options::default() };
        let mounted = mount(source(&folder, disk.clone()), &point, &options, OnSignal::Unchanged).unwrap();
        let stopper = mounted.stopper();
        let serving = Some(thread::spawn(move || mounted.serve()));
        Self { _folder: folder, point, disk, stopper, serving }
    }

    fn open(&self, writable: bool) -> File {
        OpenOptions::new().read(true).write(writable).open(self.point.join("vhdd")).unwrap()
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
fn a_flush_that_fails_is_told_and_tried_again() {
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
fn a_last_flush_that_fails_is_the_mount_s_failure() {
    let mut scene = Scene::new(true);
    scene.disk.fail(Some(libc::EIO));
    let error = scene.end().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    let text = crate::error_kind::message(&error);
    assert!(text.starts_with("What was written to the disk is not durable yet: Cannot reach /memory"), "{text}");
    assert!(table::at(&scene.point.canonicalize().unwrap()).unwrap().is_none());
}

#[test]
fn a_disk_that_cannot_be_mounted_is_closed() {
    let folder = TempDir::new().unwrap();
    let disk = Arc::new(MemoryDisk::new(vec![0; 512]));
    let source = source(&folder, disk.clone());
    let failed = mount(source, folder.path(), &Options::default(), OnSignal::Unchanged).map(drop);
    assert!(matches!(failed, Err(Error::Point { .. })), "{failed:?}");
    assert_eq!(disk.counts().1, 1);
}
