//! A mount with `--rw`.

use crate::scene::{Mount, SIZE, Scene, VOLUMES, is_root, mount_line, noise, ok, run, text, until};
use crate::support::needs;
use nix::fcntl::FallocateFlags;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

fn writable(mount: &Mount, name: &str) -> File {
    OpenOptions::new().read(true).write(true).open(mount.file(name)).unwrap()
}

#[test]
fn what_is_written_is_in_the_image_and_in_every_file() {
    let scene = Scene::new();
    let mount = scene.mount(&["--rw"]);
    assert_eq!(fs::metadata(mount.file("vhdd")).unwrap().mode(), 0o100_644);
    assert_eq!(fs::metadata(&mount.point).unwrap().mode(), 0o40755);
    assert!(mount_line(&mount.point).unwrap().contains(" fuse.vboximg-mount vboximg-mount rw,"));

    let mut expected = scene.bytes();
    let (disk, volume) = (writable(&mount, "vhdd"), writable(&mount, "vol1"));
    let data = noise(300_001, 5);
    let start = VOLUMES[1].0;
    // Read before, so that an answer from the kernel's cache would be seen.
    let mut before = vec![0; data.len()];
    disk.read_exact_at(&mut before, start + 777).unwrap();
    volume.write_all_at(&data, 777).unwrap();
    disk.write_all_at(b"in the middle", start + 1000).unwrap();
    volume.sync_all().unwrap();
    let at = usize::try_from(start).unwrap();
    expected[at + 777..][..data.len()].copy_from_slice(&data);
    expected[at + 1000..][..13].copy_from_slice(b"in the middle");
    for file in [&scene.image(), &mount.file("vhdd")] {
        assert!(fs::read(file).unwrap() == expected, "{}", file.display());
    }
    assert!(fs::read(mount.file("vol1")).unwrap() == expected[at..][..usize::try_from(VOLUMES[1].1).unwrap()]);
    drop((disk, volume));
    mount.unmount();
    assert!(scene.bytes() == expected);
}

#[test]
fn a_file_that_may_not_grow_is_an_error_and_not_the_end() {
    let scene = Scene::new();
    let script = format!("ulimit -f 64; exec {} --rw -i disk.img mnt", env!("CARGO_BIN_EXE_vboximg-mount"));
    let output = run(Command::new("sh").args(["-c", &script]).current_dir(scene.directory()));
    assert!(output.status.success(), "{output:?}");
    let mount = Mount::find(&scene.point());
    let disk = writable(&mount, "vhdd");
    let error = disk.write_all_at(b"too far", 1 << 20).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::libc::EFBIG), "{error}");
    disk.write_all_at(b"near", 8192).unwrap();
    disk.sync_all().unwrap();
    drop(disk);
    mount.unmount();
    assert_eq!(scene.bytes()[8192..][..4], *b"near");
}

#[test]
fn many_writers_at_once() {
    let scene = Scene::new();
    let mount = scene.mount(&["--rw"]);
    const PART: usize = 500_000;
    std::thread::scope(|threads| {
        for writer in 0..8_u64 {
            let file = writable(&mount, "vhdd");
            threads.spawn(move || {
                let data = noise(PART, writer + 100);
                for (index, chunk) in data.chunks(7001).enumerate() {
                    let offset = writer * PART as u64 + index as u64 * 7001;
                    file.write_all_at(chunk, 4096 + offset).unwrap();
                }
            });
        }
    });
    mount.unmount();
    let written: Vec<u8> = (0..8).flat_map(|writer| noise(PART, writer + 100)).collect();
    assert!(scene.bytes()[4096..][..written.len()] == written);
}

#[test]
fn the_size_stays() {
    let scene = Scene::new();
    let mount = scene.mount(&["--rw"]);
    let input = scene.directory().join("input");
    fs::write(&input, noise(70_000, 3)).unwrap();
    let (from, to) = (format!("if={}", text(&input)), format!("of={}", text(&mount.file("vol0"))));
    // Opens with O_TRUNC, as `cp` and the shell's `>` do.
    ok("dd", &[&from, &to, "bs=4096", "status=none"]);
    assert_eq!(fs::metadata(mount.file("vol0")).unwrap().len(), VOLUMES[0].1);
    let start = usize::try_from(VOLUMES[0].0).unwrap();
    assert!(scene.bytes()[start..][..70_000] == noise(70_000, 3));
    assert!(scene.bytes()[start + 70_000..][..1000] == noise(256 << 10, VOLUMES[0].0)[70_000..][..1000]);

    let file = writable(&mount, "vol0");
    file.set_len(VOLUMES[0].1).unwrap();
    for len in [0, 1, VOLUMES[0].1 + 1] {
        assert_eq!(file.set_len(len).unwrap_err().kind(), ErrorKind::PermissionDenied, "{len}");
    }
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(file.metadata().unwrap().len(), VOLUMES[0].1);

    // At the end there is no more space, as on a block device.
    assert_eq!(file.write_at(b"abcdef", VOLUMES[0].1 - 4).unwrap(), 4);
    assert_eq!(file.write_at(b"ef", VOLUMES[0].1).unwrap_err().kind(), ErrorKind::StorageFull);
    let mut appending = OpenOptions::new().append(true).open(mount.file("vhdd")).unwrap();
    assert_eq!(appending.write(b"x").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(scene.bytes()[start + usize::try_from(VOLUMES[0].1).unwrap() - 4..][..5], *b"abcd\0");
    assert_eq!(scene.bytes().len() as u64, SIZE);
}

#[test]
fn holes_can_be_punched() {
    let scene = Scene::new();
    let mount = scene.mount(&["--rw"]);
    let file = writable(&mount, "vhdd");
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let mut expected = scene.bytes();
    let blocks = fs::metadata(scene.image()).unwrap().blocks();
    for (flags, offset, len) in
        [(punch, 1_048_577_usize, 100_000_usize), (FallocateFlags::FALLOC_FL_ZERO_RANGE, 1_200_000, 3)]
    {
        nix::fcntl::fallocate(&file, flags, i64::try_from(offset).unwrap(), i64::try_from(len).unwrap()).unwrap();
        expected[offset..][..len].fill(0);
    }
    let refused = nix::fcntl::fallocate(&file, FallocateFlags::empty(), 0, 4096);
    assert_eq!(refused, Err(nix::errno::Errno::EOPNOTSUPP));
    assert!(fs::read(mount.file("vhdd")).unwrap() == expected);
    drop(file);
    mount.unmount();
    assert!(scene.bytes() == expected);
    assert!(fs::metadata(scene.image()).unwrap().blocks() < blocks, "no space was given back");
}

#[test]
fn names_stay_as_they_are() {
    let scene = Scene::new();
    let mount = scene.mount(&["--rw"]);
    let refused = |result: std::io::Result<()>, what| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied, "{what}");
    };
    refused(File::create(mount.file("new")).map(drop), "creating");
    refused(fs::create_dir(mount.file("new")), "a directory");
    refused(fs::remove_file(mount.file("vol1")), "removing");
    refused(fs::rename(mount.file("vol1"), mount.file("vol2")), "renaming");
    refused(fs::hard_link(mount.file("vol1"), mount.file("vol2")), "linking");
    refused(std::os::unix::fs::symlink("vol1", mount.file("vol2")), "a symbolic link");
    ok("chmod", &["644", text(&mount.file("vol1"))]);
}

/// A loop device that is given back.
struct Loop {
    device: PathBuf,
    file: PathBuf,
}

impl Loop {
    fn new(file: &Path, direct: bool) -> Self {
        let direct = if direct { "--direct-io=on" } else { "--direct-io=off" };
        let device = ok("losetup", &["--find", "--show", direct, text(file)]);
        Self { device: device.trim().into(), file: file.to_path_buf() }
    }

    fn mount(&self, options: &str, directory: &Path) {
        ok("mount", &["-o", options, text(&self.device), text(directory)]);
    }

    /// Whether it still has its file. Others may have taken its number meanwhile.
    fn is_ours(&self) -> bool {
        let name = self.device.file_name().unwrap();
        let path = Path::new("/sys/block").join(name).join("loop/backing_file");
        fs::read_to_string(path).is_ok_and(|file| Path::new(file.trim_end()) == self.file)
    }

    /// Unmounts it and gives it back, which takes effect late when another process looks at the device.
    fn detach(self) {
        ok("umount", &[text(&self.device)]);
        ok("losetup", &["--detach", text(&self.device)]);
        until("the loop device is free", || !self.is_ours());
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if self.is_ours() {
            let _ = Command::new("umount").arg(&self.device).output();
            let _ = Command::new("losetup").arg("--detach").arg(&self.device).output();
        }
    }
}

#[test]
fn the_kernel_mounts_a_volume() {
    needs!(is_root() && Path::new("/dev/loop-control").exists(), "root and loop devices");
    let scene = Scene::new();
    let inner = scene.directory().join("inner");
    fs::create_dir(&inner).unwrap();
    ok("mkfs.ext4", &["-q", "-F", "-E", &format!("offset={}", VOLUMES[0].0), text(&scene.image()), "16m"]);
    for (round, direct) in [false, true].into_iter().enumerate() {
        let mount = scene.mount(&["--rw"]);
        let device = Loop::new(&mount.file("vol0"), direct);
        device.mount("discard", &inner);
        fs::write(inner.join(format!("file{round}")), noise(3_000_000, round as u64)).unwrap();
        fs::write(inner.join("gone"), noise(1_000_000, 9)).unwrap();
        fs::remove_file(inner.join("gone")).unwrap();
        device.detach();
        mount.unmount();
        let volume = scene.directory().join("volume");
        let bytes = scene.bytes();
        fs::write(&volume, &bytes[usize::try_from(VOLUMES[0].0).unwrap()..][..16 << 20]).unwrap();
        ok("e2fsck", &["-f", "-n", text(&volume)]);
    }

    let mount = scene.mount(&[]);
    let device = Loop::new(&mount.file("vol0"), false);
    device.mount("ro", &inner);
    for round in 0..2 {
        assert!(fs::read(inner.join(format!("file{round}"))).unwrap() == noise(3_000_000, round));
    }
    // A loop device keeps the file open, so the mount cannot go.
    let output = run(crate::scene::program().arg("--unmount").arg(&mount.point));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    device.detach();
    mount.unmount();
}
