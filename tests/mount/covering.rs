//! Mounts over the directory that the image itself is in. Whatever the program then looks up by a path that leads
//! through that directory, it asks itself, and may wait for itself for ever.

use super::scene::{Scene, ended, is_mounted, program, text, unmount_lazily, until};
use nix::mount::MntFlags;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A process that serves a mount; both are ended with the test.
struct Serving {
    child: Child,
    point: PathBuf,
}

impl Serving {
    /// Mounts the scene's image over its own directory.
    fn over_directory(scene: &Scene, options: &[&str]) -> Self {
        let point = scene.directory().canonicalize().unwrap();
        let mut command = program();
        command.args(["-f", "-o", "nonempty", "-i"]).arg(scene.image()).args(options).arg(&point);
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        let serving = Self { child, point };
        until("it is mounted", || is_mounted(&serving.point));
        serving
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // A process that waits for its own answer cannot be killed. This fails all requests; it does not unmount yet.
        let _ = nix::mount::umount2(&self.point, MntFlags::MNT_FORCE);
        unmount_lazily(&self.point);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command that prints little, unless it takes too long.
fn in_time(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until(&format!("{command:?} ends"), || child.try_wait().unwrap().is_some());
    child.wait_with_output().unwrap()
}

fn ok(name: &str, arguments: &[&str]) -> String {
    let output = in_time(Command::new(name).args(arguments));
    assert!(output.status.success(), "{name} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn copy_of_image(scene: &Scene, directory: &Path) -> PathBuf {
    let copy = directory.join("copy");
    fs::copy(scene.image(), &copy).unwrap();
    copy
}

/// Looks at all that the mount shows and compares the bytes with those of a copy.
fn look_around(point: &Path, copy: &Path) {
    let names = ok("ls", &["-a", text(point)]);
    assert_eq!(names.split_whitespace().collect::<Vec<_>>(), [".", "..", "disk.img", "vhdd", "vol0", "vol1"]);
    for name in ["", "vhdd", "vol0", "disk.img"] {
        ok("stat", &[text(&point.join(name))]);
    }
    ok("cmp", &[text(copy), text(&point.join("vhdd"))]);
}

fn unmount(scene: &Scene, mut serving: Serving) {
    let output = in_time(program().arg("--unmount").arg(&serving.point));
    assert!(output.status.success(), "{output:?}");
    assert!(!is_mounted(&serving.point));
    until("the process ends", || serving.child.try_wait().unwrap().is_some());
    assert!(ended(&mut serving.child).success());
    let left: Vec<_> = fs::read_dir(scene.directory()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.len() == 2 && left.iter().all(|name| name == "disk.img" || name == "mnt"), "{left:?}");
}

#[test]
fn an_image_is_read_below_its_own_mount() {
    let (scene, elsewhere) = (Scene::new(), tempfile::tempdir().unwrap());
    let copy = copy_of_image(&scene, elsewhere.path());
    let serving = Serving::over_directory(&scene, &[]);
    look_around(&serving.point, &copy);
    unmount(&scene, serving);
}

#[test]
fn an_image_is_written_below_its_own_mount() {
    let (scene, elsewhere) = (Scene::new(), tempfile::tempdir().unwrap());
    let copy = copy_of_image(&scene, elsewhere.path());
    let input = elsewhere.path().join("input");
    fs::write(&input, [0xA5; 4096]).unwrap();
    ok("touch", &["-d", "2001-02-03 04:05:06Z", text(&scene.image())]);
    let serving = Serving::over_directory(&scene, &["--rw"]);
    look_around(&serving.point, &copy);
    let vhdd = serving.point.join("vhdd");
    assert_eq!(ok("stat", &["-c", "%Y", text(&vhdd)]).trim_end(), "981173106");
    for output in [&vhdd, &copy] {
        let (from, to) = (format!("if={}", text(&input)), format!("of={}", text(output)));
        ok("dd", &[&from, &to, "bs=4096", "seek=1000", "conv=notrunc,fsync", "status=none"]);
    }
    look_around(&serving.point, &copy);
    // The image's time, though its path no longer leads to it. The kernel keeps the one that it has for a second.
    until("the time of the change is shown", || ok("stat", &["-c", "%Y", text(&vhdd)]).trim_end() != "981173106");
    unmount(&scene, serving);
    ok("cmp", &[text(&copy), text(&scene.image())]);
}
