//! Mounts that mount(8) makes: by its type, by fstab, and by the words that it passes on.

use crate::scene::{Scene, is_mounted, is_root, program, run};
use crate::support::needs;
use std::fs;
use std::process::Command;

#[test]
fn takes_a_source_and_a_mount_point_with_the_options_of_fstab() {
    let scene = Scene::new();
    for options in ["ro,dev,suid,users,nofail", "ro,nodev,nosuid,noexec,user,_netdev,x-systemd.automount,atime,dirsync"]
    {
        let words = ["disk.img", "mnt", "-o", options];
        let output = run(program().args(words).current_dir(scene.directory()));
        assert!(output.status.success(), "{output:?}");
        assert_eq!(fs::read(scene.point().join("vhdd")).unwrap(), scene.bytes());
        let table = fs::read_to_string("/proc/self/mounts").unwrap();
        let line = table.lines().find(|line| line.contains(scene.point().to_str().unwrap())).unwrap();
        assert!(line.starts_with("disk.img ") && line.contains("nosuid,nodev"), "{line}");
        assert!(run(program().arg("-u").arg(scene.point())).status.success());
    }
    for refused in ["ro,suidd", "remount"] {
        let output = run(program().args(["disk.img", "mnt", "-o", refused]).current_dir(scene.directory()));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(!is_mounted(&scene.point()));
    }
}

/// In a mount namespace, where the program is in a directory that mount.fuse(8) searches.
#[test]
fn mount_and_umount_know_the_type() {
    needs!(is_root(), "root");
    let scene = Scene::new();
    let image = scene.image();
    let (image, point) = (image.display(), scene.point());
    let point = point.display();
    fs::write(
        scene.directory().join("fstab"),
        format!("{image} {point} fuse.vboximg-mount ro,noauto,user,nofail 0 0\n"),
    )
    .unwrap();
    let script = format!(
        "set -eu; mkdir bin; cp -s '{}' bin/vboximg-mount; mount --bind bin /usr/local/sbin; export VBOX_USER_HOME=/nonexistent
         check() {{ cmp mnt/vhdd disk.img; umount mnt; }}
         mount -t fuse.vboximg-mount -o ro,noatime {image} {point}; check
         mount --fstab fstab {point}; check
         mount -t fuse -o ro 'vboximg-mount#{image}' {point}; check",
        env!("CARGO_BIN_EXE_vboximg-mount")
    );
    let output = run(Command::new("unshare").args(["-m", "sh", "-c", &script]).current_dir(scene.directory()));
    assert!(output.status.success(), "{output:?}");
}
