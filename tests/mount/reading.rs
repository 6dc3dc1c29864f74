//! A mount without `--rw`.

use crate::scene::{SIZE, Scene, VOLUMES, is_root, mount_line, ok, run, text};
use nix::libc;
use nix::unistd::Whence;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

fn slice(bytes: &[u8], (start, size): (u64, u64)) -> &[u8] {
    &bytes[usize::try_from(start).unwrap()..][..usize::try_from(size).unwrap()]
}

#[test]
fn shows_the_disk_its_volumes_and_a_link() {
    let scene = Scene::new();
    let time = UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    File::open(scene.image()).unwrap().set_modified(time).unwrap();
    let mount = scene.mount(&[]);

    let mut names: Vec<_> = fs::read_dir(&mount.point).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["disk.img", "vhdd", "vol0", "vol1"]);
    assert_eq!(fs::read_link(mount.file("disk.img")).unwrap(), scene.image().canonicalize().unwrap());

    let me = fs::metadata("/proc/self").unwrap();
    for (name, size, mode, links) in [
        (".", 0, 0o40555, 2),
        ("disk.img", text(&scene.image().canonicalize().unwrap()).len() as u64, 0o120_777, 1),
        ("vhdd", SIZE, 0o100_444, 1),
        ("vol0", VOLUMES[0].1, 0o100_444, 1),
        ("vol1", VOLUMES[1].1, 0o100_444, 1),
    ] {
        let metadata = fs::symlink_metadata(mount.file(name)).unwrap();
        assert_eq!((metadata.size(), metadata.mode(), metadata.nlink()), (size, mode, links), "{name}");
        assert_eq!((metadata.uid(), metadata.gid()), (me.uid(), me.gid()), "{name}");
        assert_eq!(metadata.modified().unwrap(), time, "{name}");
    }
    // What the sparse image takes up, not what it shows.
    assert_eq!(fs::metadata(mount.file("vhdd")).unwrap().blocks(), fs::metadata(scene.image()).unwrap().blocks());

    let line = mount_line(&mount.point).unwrap();
    assert!(line.contains(" ro,nosuid,nodev,"), "{line}");
    assert!(line.contains(" - fuse.vboximg-mount vboximg-mount ro,"), "{line}");
    let statfs = ok("stat", &["-f", "-c", "%b %S %f %c", text(&mount.point)]);
    assert_eq!(statfs.trim(), format!("{} 512 0 5", SIZE / 512));
    mount.unmount();
}

#[test]
fn every_byte_is_the_image_s() {
    let scene = Scene::new();
    let mount = scene.mount(&[]);
    let bytes = scene.bytes();
    assert!(fs::read(mount.file("vhdd")).unwrap() == bytes);
    for (index, volume) in VOLUMES.into_iter().enumerate() {
        assert!(fs::read(mount.file(&format!("vol{index}"))).unwrap() == slice(&bytes, volume), "vol{index}");
    }
    let file = File::open(mount.file("vol0")).unwrap();
    for (offset, len) in [(0_u64, 1), (511, 2), (262_143, 5000), (VOLUMES[0].1 - 7, 7), (3, 1_500_000)] {
        let mut buf = vec![0; len];
        file.read_exact_at(&mut buf, offset).unwrap();
        assert!(buf == slice(&bytes, (VOLUMES[0].0 + offset, len as u64)), "{offset}");
    }
    assert_eq!(file.read_at(&mut [0; 100], VOLUMES[0].1 - 7).unwrap(), 7);
    assert_eq!(file.read_at(&mut [0; 100], VOLUMES[0].1).unwrap(), 0);
    assert_eq!(file.read_at(&mut [0; 100], 1 << 40).unwrap(), 0);
}

#[test]
fn many_readers_at_once() {
    let scene = Scene::new();
    let mount = scene.mount(&[]);
    let bytes = scene.bytes();
    std::thread::scope(|threads| {
        for reader in 0..8_u64 {
            let (bytes, path) = (&bytes, mount.file("vhdd"));
            threads.spawn(move || {
                let file = File::open(path).unwrap();
                let mut buf = vec![0; 10_000];
                for step in 0..200_u64 {
                    let offset = (reader * 7919 + step * 104_729 * 31) % (SIZE - buf.len() as u64);
                    file.read_exact_at(&mut buf, offset).unwrap();
                    assert!(buf == slice(bytes, (offset, buf.len() as u64)), "{offset}");
                }
            });
        }
    });
}

#[test]
fn takes_the_flags_that_readers_pass() {
    let scene = Scene::new();
    let mount = scene.mount(&[]);
    let bytes = scene.bytes();
    let flags = [
        libc::O_APPEND,
        libc::O_ASYNC,
        libc::O_CLOEXEC,
        libc::O_DIRECT,
        libc::O_NOATIME,
        libc::O_NOCTTY,
        libc::O_NOFOLLOW,
        libc::O_NONBLOCK,
        libc::O_SYNC,
    ];
    for flag in flags {
        let file = OpenOptions::new().read(true).custom_flags(flag).open(mount.file("vhdd")).unwrap();
        // Direct reads must be aligned, and a vector of a megabyte is.
        let mut buf = vec![0; 1 << 20];
        assert_eq!(file.read_at(&mut buf, 1 << 20).unwrap(), buf.len(), "{flag:#o}");
        assert!(buf == slice(&bytes, (1 << 20, 1 << 20)), "{flag:#o}");
    }
    let copy = scene.directory().join("direct");
    let input = format!("if={}", text(&mount.file("vol1")));
    ok("dd", &[&input, &format!("of={}", text(&copy)), "iflag=direct", "bs=4096", "status=none"]);
    assert!(fs::read(copy).unwrap() == slice(&bytes, VOLUMES[1]));
    assert!(run(Command::new("cmp").arg(mount.file("vhdd")).arg(mount.file("disk.img"))).status.success());
}

#[test]
fn holes_are_holes() {
    let scene = Scene::new();
    let mount = scene.mount(&[]);
    // Both are cut as the host's file system has it, in blocks of at most 64 KiB.
    let image = File::open(scene.image()).unwrap();
    let disk = File::open(mount.file("vhdd")).unwrap();
    let seek = |file: &File, at: u64, whence| nix::unistd::lseek(file, i64::try_from(at).unwrap(), whence);
    for at in [0, 1 << 20, (1 << 20) + 1, 2 << 20, 12 << 20, SIZE - 1, SIZE, SIZE + 1] {
        for whence in [Whence::SeekData, Whence::SeekHole] {
            assert_eq!(seek(&disk, at, whence), seek(&image, at, whence), "{at} {whence:?}");
        }
    }
    let first = File::open(mount.file("vol0")).unwrap();
    assert_eq!(seek(&first, 0, Whence::SeekHole), Ok(256 << 10));
    assert_eq!(seek(&first, VOLUMES[0].1, Whence::SeekData), Err(nix::errno::Errno::ENXIO));

    for sparse in ["always", "auto"] {
        let copy = scene.directory().join(sparse);
        ok("cp", &[&format!("--sparse={sparse}"), text(&mount.file("vhdd")), text(&copy)]);
        assert!(fs::read(&copy).unwrap() == scene.bytes());
        let taken = fs::metadata(&copy).unwrap().blocks() * 512;
        assert!(taken < 2 << 20, "the copy takes up {taken} bytes");
    }
}

#[test]
fn nothing_can_be_changed() {
    let scene = Scene::new();
    let mount = scene.mount(&[]);
    let before = scene.bytes();
    let file = mount.file("vhdd");
    let refused = |result: io::Result<()>, what| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem, "{what}");
    };
    refused(OpenOptions::new().write(true).open(&file).map(drop), "writing");
    refused(OpenOptions::new().append(true).open(mount.file("vol0")).map(drop), "appending");
    refused(OpenOptions::new().read(true).write(true).open(&file).map(drop), "reading and writing");
    refused(OpenOptions::new().write(true).truncate(true).open(&file).map(drop), "truncating");
    refused(File::create(mount.file("new")).map(drop), "creating");
    refused(fs::create_dir(mount.file("new")), "a directory");
    refused(fs::remove_file(&file), "removing");
    refused(fs::rename(&file, mount.file("new")), "renaming");
    refused(fs::set_permissions(&file, fs::Permissions::from_mode(0o666)), "modes");
    refused(File::open(&file).unwrap().set_modified(UNIX_EPOCH), "times");
    let nothing = fs::metadata(mount.file("vol2")).unwrap_err().kind();
    assert_eq!(nothing, ErrorKind::NotFound);
    drop(mount);
    assert!(scene.bytes() == before);
}

#[test]
fn options_are_seen() {
    let scene = Scene::new();
    let me = fs::metadata("/proc/self").unwrap();
    // Only root may show the files as another's and still ask for them.
    let (uid, gid, umask) = if is_root() { (1234, 4321, "077") } else { (me.uid(), me.gid(), "037") };
    let owner = format!("uid={uid},gid={gid},umask={umask}");
    let mount = scene.mount(&["-o", &owner, "-o", "fsname=my disk,noexec,x-anything,nodev"]);
    let line = mount_line(&mount.point).unwrap();
    assert!(line.contains("noexec") && line.contains("my\\040disk"), "{line}");
    let metadata = fs::metadata(mount.file("vhdd")).unwrap();
    let mode = if is_root() { 0o400 } else { 0o440 };
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o777), (uid, gid, mode));
}
