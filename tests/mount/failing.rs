//! Images on disks that fail or are full for a while.

use crate::scene::{Mount, is_mounted, is_root, noise, ok, program, run, text, unmount_lazily, until};
use crate::support::needs;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use tempfile::TempDir;

const MIB: usize = 1 << 20;

/// A directory of memory that holds so many MiB.
struct Memory(PathBuf);

impl Memory {
    fn new(path: PathBuf, mib: usize) -> Self {
        fs::create_dir(&path).unwrap();
        ok("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m"), "none", text(&path)]);
        Self(path)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        unmount_lazily(&self.0);
    }
}

/// A file system on a loop device whose file cannot grow: what is written to it is lost after `write` has
/// succeeded, and the second `fsync` succeeds too, as with a disk that fails for a while.
struct Failing {
    point: PathBuf,
    device: String,
    memory: Memory,
}

impl Failing {
    fn new(directory: &Path) -> Self {
        let memory = Memory::new(directory.join("memory"), 96);
        let disk = memory.0.join("disk");
        File::create(&disk).unwrap().set_len(80 << 20).unwrap();
        let device = ok("losetup", &["-f", "--show", text(&disk)]).trim().to_owned();
        let failing = Self { point: directory.join("failing"), device, memory };
        ok("mkfs.ext2", &["-q", "-E", "nodiscard", &failing.device]);
        fs::create_dir(&failing.point).unwrap();
        ok("mount", &[&failing.device, text(&failing.point)]);
        failing
    }

    fn fail(&self) {
        ok("sync", &["-f", text(&self.point)]);
        let filler = File::create(self.memory.0.join("filler")).unwrap();
        let block = vec![1; 4096];
        let full = (0..).find_map(|number| filler.write_all_at(&block, number * 4096).err()).unwrap();
        assert_eq!(full.raw_os_error(), Some(nix::libc::ENOSPC));
    }

    fn work(&self) {
        fs::remove_file(self.memory.0.join("filler")).unwrap();
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        if self.memory.0.join("filler").exists() {
            self.work();
        }
        unmount_lazily(&self.point);
        let _ = Command::new("losetup").args(["-d", &self.device]).status();
    }
}

fn create(path: &Path, format: &str, options: &str) {
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", format]);
    if !options.is_empty() {
        command.args(["-o", options]);
    }
    let output = run(command.arg(path).arg("32M"));
    assert!(output.status.success(), "{output:?}");
}

/// A mount in the foreground, with its log in a file.
struct Served {
    child: Child,
    mount: Mount,
    log_path: PathBuf,
}

impl Served {
    fn new(directory: &Path, image: &Path, name: &str) -> Self {
        let (point, log_path) = (directory.join(name), directory.join(format!("{name}.log")));
        fs::create_dir(&point).unwrap();
        let mut command = program();
        command.args(["-f", "--rw", "-i"]).arg(image).arg(&point).stderr(File::create(&log_path).unwrap());
        let child = command.spawn().unwrap();
        until("it is mounted", || is_mounted(&point));
        Self { mount: Mount { point, pid: child.id() }, child, log_path }
    }

    fn logged(&self, what: &str) -> bool {
        fs::read_to_string(&self.log_path).unwrap().contains(what)
    }
}

/// PostgreSQL's lesson: after one `fsync` failed, the next one succeeds although the data are gone.
#[test]
fn never_reports_success_after_a_failed_flush() {
    needs!(is_root(), "root, to mount a file system that fails");
    let directory = TempDir::with_prefix("vboximg-mount-").unwrap();
    let failing = Failing::new(directory.path());
    let formats = ["raw", "vdi", "qcow2", "vmdk", "vpc", "parallels", "qed", "qcow"];
    let served: Vec<Served> = formats
        .iter()
        .map(|format| {
            let image = failing.point.join(format!("a.{}", if *format == "raw" { "img" } else { format }));
            create(&image, format, "");
            Served::new(directory.path(), &image, format)
        })
        .collect();
    let files: Vec<File> = served
        .iter()
        .map(|served| OpenOptions::new().read(true).write(true).open(served.mount.file("vhdd")).unwrap())
        .collect();
    for file in &files {
        file.write_all_at(&noise(MIB, 1), 0).unwrap();
        file.sync_all().unwrap();
    }
    failing.fail();
    for file in &files {
        // Some formats find out at once, which is as good.
        let _ = file.write_all_at(&noise(MIB, 2), 3 << 20);
    }
    // No program asks: the flush of every few seconds is the one that fails.
    for served in &served {
        until("a flush failed", || served.logged("could not be flushed"));
    }
    failing.work();
    for (served, file) in served.into_iter().zip(files) {
        let Served { mut child, mount, log_path } = served;
        for _ in 0..2 {
            let error = file.sync_all().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(nix::libc::EIO), "{}", log_path.display());
        }
        assert_eq!(file.write_all_at(b"more", 0).unwrap_err().raw_os_error(), Some(nix::libc::EIO));
        drop(file);
        let output = run(program().arg("--unmount").arg(&mount.point));
        assert!(!output.status.success(), "{output:?}");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("flushing again cannot help") && !error.contains("try again"), "{error}");
        let losses = fs::read_to_string(&log_path).unwrap();
        assert_eq!(losses.lines().count(), 1, "one line for the lost image: {losses}");
        if is_mounted(&mount.point) {
            mount.signal("TERM");
        }
        assert_eq!(child.wait().unwrap().code(), Some(1), "{}", log_path.display());
        let log = fs::read_to_string(log_path).unwrap();
        let image = mount.point.file_name().unwrap().to_str().unwrap().replace("raw", "img");
        let expected = format!("failing/a.{image} since the last flush may be lost, because it could not be flushed");
        assert!(log.contains(&expected), "{log}");
    }
}

/// A full disk is `ENOSPC`, never another error, and all can be written when there is space again.
#[test]
fn reports_a_full_disk_and_writes_all_when_it_has_space() {
    needs!(is_root(), "root, to mount a small disk");
    let formats = [
        ("vdi", "vdi", ""),
        ("vmdk", "vmdk", ""),
        ("vpc", "vhd", ""),
        ("vhdx", "vhdx", "block_size=1M"),
        ("parallels", "hdd", ""),
        ("qcow2", "qcow2", ""),
        ("qcow", "qcow", ""),
        ("qed", "qed", ""),
        ("raw", "img", ""),
    ];
    for (format, extension, options) in formats {
        let directory = TempDir::with_prefix("vboximg-mount-").unwrap();
        let memory = Memory::new(directory.path().join("memory"), 12);
        let image = memory.0.join(format!("a.{extension}"));
        create(&image, format, options);
        let point = directory.path().join("mnt");
        fs::create_dir(&point).unwrap();
        let output = run(program().args(["--rw", "-i"]).arg(&image).arg(&point));
        assert!(output.status.success(), "{output:?}");
        let mount = Mount::find(&point);
        let file = OpenOptions::new().read(true).write(true).open(mount.file("vhdd")).unwrap();
        let mut full = 0;
        for round in 0..60 {
            // Writes that begin and end within blocks of every size too.
            let at = ((round * 7 % 31) << 20) + round * 512;
            if let Err(error) = file.write_all_at(&noise(MIB - 1000, round), at) {
                assert_eq!(error.raw_os_error(), Some(nix::libc::ENOSPC), "{format}: {error}");
                full += 1;
            }
        }
        assert!(full > 20, "{format}: {full}");
        ok("mount", &["-o", "remount,size=100m", text(&memory.0)]);
        let expected = noise(32 * MIB, 99);
        for (block, at) in expected.chunks(MIB).zip((0..).step_by(MIB)) {
            file.write_all_at(block, at).unwrap_or_else(|error| panic!("{format}: {error}"));
        }
        file.sync_all().unwrap_or_else(|error| panic!("{format}: {error}"));
        drop(file);
        assert!(fs::read(mount.file("vhdd")).unwrap()[..expected.len()] == expected, "{format}");
        mount.unmount();
        let raw = directory.path().join("raw");
        ok("qemu-img", &["convert", "-f", format, "-O", "raw", text(&image), text(&raw)]);
        assert!(fs::read(&raw).unwrap()[..expected.len()] == expected, "{format}");
        if !["vpc", "qcow", "raw"].contains(&format) {
            ok("qemu-img", &["check", "-q", "-f", format, text(&image)]);
        }
    }
}
