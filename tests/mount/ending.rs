//! How a mount ends.

use crate::scene::{Mount, Scene, ended, is_mounted, is_root, ok, program, run, until};
use crate::support::needs;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::process::{Command, Output};

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn write_one(mount: &Mount) {
    let file = OpenOptions::new().write(true).open(mount.file("vhdd")).unwrap();
    file.write_all_at(b"written", 4096).unwrap();
}

fn assert_written(scene: &Scene) {
    assert_eq!(scene.bytes()[4096..][..7], *b"written");
}

#[test]
fn unmount_returns_when_the_process_is_gone() {
    let scene = Scene::new();
    let mount = scene.mount(&["--rw"]);
    write_one(&mount);
    let output = run(program().arg("--unmount").arg("mnt").current_dir(scene.directory()));
    assert!(output.status.success(), "{output:?}");
    assert!(!is_mounted(&mount.point) && !mount.is_running());
    assert_written(&scene);
    // Nothing holds the image any more.
    scene.mount(&["--rw"]).unmount();
}

#[test]
fn unmounting_from_outside_ends_the_process() {
    let scene = Scene::new();
    let (mut child, mount) = scene.mount_in_foreground(&["--rw"]);
    write_one(&mount);
    // Whoever looks through the open files of all processes keeps a mount busy for a moment.
    until("it is unmounted", || run(Command::new("fusermount3").arg("-u").arg(&mount.point)).status.success());
    assert!(ended(&mut child).success());
    mount.wait_for_end();
    assert_written(&scene);
    if is_root() {
        let mount = scene.mount(&[]);
        until("it is unmounted", || run(Command::new("umount").arg(&mount.point)).status.success());
        mount.wait_for_end();
    }
}

#[test]
fn a_mount_in_the_foreground_is_one_process() {
    for words in ["-f", "-gf"] {
        let scene = Scene::new();
        let (mut child, mount) = scene.mount_by_words(words, &[]);
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", mount.pid)).unwrap();
        assert_eq!(children, "", "{words}");
        mount.unmount();
        assert!(ended(&mut child).success(), "{words}");
    }
}

#[test]
fn signals_end_it() {
    // Also where the tests themselves ignore some: under nohup, or in the background of a shell.
    for signal in ["INT", "TERM", "HUP"] {
        let scene = Scene::new();
        let (mut child, mount) = scene.mount_in_foreground(&["--rw"]);
        write_one(&mount);
        mount.signal(signal);
        assert!(ended(&mut child).success(), "{signal}");
        mount.wait_for_end();
        assert_written(&scene);
    }
    let scene = Scene::new();
    let mount = scene.mount(&[]);
    mount.signal("TERM");
    mount.wait_for_end();
}

#[test]
fn a_mount_that_was_started_with_nohup_outlives_the_terminal() {
    let scene = Scene::new();
    let script = format!("trap '' HUP; exec {} -f -i disk.img mnt", env!("CARGO_BIN_EXE_vboximg-mount"));
    let mut child = Command::new("sh").args(["-c", &script]).current_dir(scene.directory()).spawn().unwrap();
    until("it is mounted", || is_mounted(&scene.point()));
    let mount = Mount::find(&scene.point());
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    assert!(u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 == 1, "{status}");
    mount.signal("HUP");
    assert_eq!(fs::read(mount.file("vhdd")).unwrap(), scene.bytes());
    mount.unmount();
    assert!(ended(&mut child).success());
}

#[test]
fn a_file_in_use_stays_usable_after_a_signal() {
    let scene = Scene::new();
    let (mut child, mount) = scene.mount_in_foreground(&["--rw"]);
    let file = OpenOptions::new().read(true).write(true).open(mount.file("vhdd")).unwrap();
    mount.signal("TERM");
    until("it is unmounted", || !is_mounted(&mount.point));
    file.write_all_at(b"written", 4096).unwrap();
    file.sync_all().unwrap();
    assert_written(&scene);
    assert!(child.try_wait().unwrap().is_none());
    drop(file);
    assert!(ended(&mut child).success());
    let mut messages = String::new();
    child.stderr.unwrap().read_to_string(&mut messages).unwrap();
    assert!(messages.contains("it ends when the last file there is closed"), "{messages}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let scene = Scene::new();
    let (mut child, mount) = scene.mount_in_foreground(&["--rw"]);
    let file = OpenOptions::new().write(true).open(mount.file("vhdd")).unwrap();
    file.write_all_at(b"written", 4096).unwrap();
    mount.signal("INT");
    until("it is unmounted", || !is_mounted(&mount.point));
    mount.signal("INT");
    assert!(ended(&mut child).success());
    assert_written(&scene);
    assert_eq!(file.write_at(b"x", 0).unwrap_err().kind(), ErrorKind::NotConnected);
}

#[test]
fn a_mount_in_use_is_not_unmounted() {
    let scene = Scene::new();
    let mount = scene.mount(&[]);
    let file = File::open(mount.file("vol0")).unwrap();
    let output = run(program().arg("-u").arg(&mount.point));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let point = mount.point.canonicalize().unwrap();
    assert!(
        error(&output).contains(&format!("error: {} is in use; close what is open", point.display())),
        "{output:?}"
    );
    assert!(mount.is_running() && fs::metadata(mount.file("vhdd")).is_ok());
    drop(file);
    mount.unmount();
}

#[test]
fn a_killed_process_leaves_what_unmount_removes() {
    let scene = Scene::new();
    let mount = scene.mount(&["--rw"]);
    write_one(&mount);
    let open = File::open(mount.file("vhdd")).unwrap();
    open.sync_all().unwrap();
    mount.signal("KILL");
    until("it is gone", || !mount.is_running());
    assert_written(&scene);
    until("the mount is dead", || fs::metadata(&mount.point).is_err_and(|e| e.kind() == ErrorKind::NotConnected));
    let output = scene.try_mount(&[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(error(&output).contains("was killed; remove it with vboximg-mount --unmount"), "{output:?}");
    let output = run(program().arg("--unmount").arg(&mount.point));
    assert!(output.status.success() && error(&output).contains("warning: The process that served"), "{output:?}");
    assert!(!is_mounted(&mount.point));
    scene.mount(&["--rw"]).unmount();
}

/// `umount -f` of a mount in use aborts the connection as `/sys/fs/fuse/connections/N/abort` does, and leaves the mount.
#[test]
fn an_aborted_connection_is_cleaned_up() {
    needs!(is_root(), "root, to abort the connection");
    let scene = Scene::new();
    let (mut child, mount) = scene.mount_in_foreground(&["--rw"]);
    let file = OpenOptions::new().read(true).write(true).open(mount.file("vhdd")).unwrap();
    file.write_all_at(b"written", 4096).unwrap();
    assert!(!run(Command::new("umount").arg("-f").arg(&mount.point)).status.success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(!is_mounted(&mount.point));
    let mut messages = String::new();
    child.stderr.take().unwrap().read_to_string(&mut messages).unwrap();
    assert!(messages.contains("was aborted, so it was unmounted"), "{messages}");
    assert!(file.read_at(&mut [0], 0).is_err());
    assert_written(&scene);
    // Nothing holds the image any more.
    scene.mount(&["--rw"]).unmount();
}

#[test]
fn only_our_mounts_are_unmounted() {
    let scene = Scene::new();
    for (path, code, message) in [
        ("mnt", 3, "Nothing of vboximg-mount is mounted on"),
        ("/proc", 3, "but a file system of type proc"),
        ("none", 3, "Cannot find none: No such file"),
        ("disk.img/x", 1, "Cannot find disk.img/x: Not a directory"),
    ] {
        let output = run(program().arg("--unmount").arg(path).current_dir(scene.directory()));
        assert_eq!(output.status.code(), Some(code), "{path}: {output:?}");
        assert!(error(&output).contains(message), "{path}: {output:?}");
    }
}

#[test]
fn the_background_keeps_nothing_of_the_terminal() {
    let scene = Scene::new();
    // `output` reads to the end of both pipes, so it would never return if the process kept one of them.
    let mount = scene.mount(&["-v"]);
    for fd in ["0", "1", "2"] {
        // The first process is notified over standard output, which is closed right after.
        let target = || fs::read_link(format!("/proc/{}/fd/{fd}", mount.pid)).unwrap();
        until("it lets the terminal go", || target() == std::path::Path::new("/dev/null"));
    }
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", mount.pid)).unwrap(), std::path::Path::new("/"));
    let session = ok("ps", &["-o", "sid=", "-p", &mount.pid.to_string()]);
    assert_eq!(session.trim(), mount.pid.to_string());
    mount.unmount();
}

#[test]
fn a_relative_path_works_from_the_background() {
    let scene = Scene::new();
    let output = run(program().args(["-i", "disk.img", "mnt"]).current_dir(scene.directory()));
    assert!(output.status.success(), "{output:?}");
    let mount = Mount::find(&scene.point());
    let compared = run(Command::new("cmp").arg(mount.file("vhdd")).arg(mount.file("disk.img")));
    assert!(compared.status.success(), "{compared:?}");
    mount.unmount();
}
