//! What is refused before anything is mounted: the message, the exit code, and that nothing is left over.

use crate::scene::{Scene, is_mounted, is_root, program, run};
use crate::support::needs;
use std::fs;
use std::process::{Command, Output};

fn assert_refused(scene: &Scene, output: &Output, code: i32, message: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.starts_with("vboximg-mount: error: ") && text.contains(message), "{text}");
    assert!(output.stdout.is_empty(), "{output:?}");
    assert!(!is_mounted(&scene.point()));
}

#[test]
fn refuses_bad_mount_points() {
    let scene = Scene::new();
    let on = |path: &str| run(program().arg("-i").arg(scene.image()).arg(path).current_dir(scene.directory()));
    assert_refused(&scene, &on("none"), 3, "/none: No such file or directory");
    assert_refused(&scene, &on("disk.img"), 2, "it is not a directory");
    fs::write(scene.point().join("file"), "").unwrap();
    assert_refused(&scene, &on("mnt"), 2, "it is not empty");
    let mount = scene.mount(&["-o", "nonempty"]);
    let again = run(program().arg("-i").arg(scene.image()).arg(scene.point()).args(["-o", "nonempty"]));
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    assert!(String::from_utf8_lossy(&again.stderr).contains("a disk is mounted there already"), "{again:?}");
    mount.unmount();
}

#[test]
fn refuses_bad_options() {
    let scene = Scene::new();
    assert_refused(&scene, &scene.try_mount(&["-o", "uid=1,colour"]), 2, "option colour is not known; known are ro,");
    assert_refused(&scene, &scene.try_mount(&["--rw", "-o", "ro"]), 2, "option ro contradicts --rw");
}

#[test]
fn refuses_missing_images() {
    let scene = Scene::new();
    fs::remove_file(scene.image()).unwrap();
    for foreground in [&["-f"][..], &[]] {
        assert_refused(&scene, &scene.try_mount(foreground), 3, "disk.img, and it is no UUID");
    }
}

#[test]
fn refuses_an_unreadable_registry() {
    let scene = Scene::new();
    let settings = scene.directory().join("VirtualBox.xml");
    fs::write(settings, "<VirtualBox").unwrap();
    let mount = |options: &[&str]| {
        let mut command = program();
        command.env("VBOX_USER_HOME", scene.directory()).arg("-i").arg(scene.image()).args(options).arg(scene.point());
        run(&mut command)
    };
    // Its media may be the parents of others.
    assert_refused(&scene, &mount(&["--rw"]), 4, "VirtualBox.xml is broken in line 1");
    let output = mount(&[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.starts_with("vboximg-mount: warning: "), "{output:?}");
    crate::scene::Mount::find(&scene.point()).unmount();
}

#[test]
fn a_word_about_rw_as_a_mount_option() {
    let scene = Scene::new();
    let output = scene.try_mount(&["-o", "rw"]);
    let mount = crate::scene::Mount::find(&scene.point());
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(text, "vboximg-mount: warning: -o rw alone does not make the disk writable; --rw does\n");
    assert!(fs::File::create(mount.file("vhdd")).is_err());
    mount.unmount();
}

#[test]
fn advises_when_the_kernel_has_no_fuse() {
    needs!(is_root(), "root");
    let scene = Scene::new();
    let script =
        format!("mount --bind /dev/null /dev/fuse && exec {} -i disk.img mnt", env!("CARGO_BIN_EXE_vboximg-mount"));
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]).current_dir(scene.directory()).env("VBOX_USER_HOME", "/nonexistent");
    let output = run(&mut command);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("'modprobe fuse'") && text.contains("--device /dev/fuse"), "{text}");
    assert!(text.contains("ls, cat and cp, work without it"), "{text}");
}
