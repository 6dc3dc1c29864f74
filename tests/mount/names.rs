//! File names inside images: what they lead to, and what the user must allow.

use crate::scene::{Mount, Scene, ok, program, run, text};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Output;

/// A raw disk, and images in `vm/` that name it.
fn base(scene: &Scene) -> PathBuf {
    fs::create_dir_all(scene.directory().join("vm/Snapshots")).unwrap();
    scene.image()
}

fn mount(scene: &Scene, image: &Path, options: &[&str]) -> Output {
    run(program().arg("-i").arg(image).args(options).arg(scene.point()))
}

/// The mount shows the bytes of the base.
fn assert_shows(scene: &Scene, output: &Output) {
    assert!(output.status.success(), "{output:?}");
    let mount = Mount::find(&scene.point());
    assert!(fs::read(mount.file("vhdd")).unwrap() == scene.bytes());
    mount.unmount();
}

fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Images in `vm/` of several formats that name the file at `target`.
fn images(scene: &Scene, target: &str) -> Vec<PathBuf> {
    let vm = scene.directory().join("vm");
    let sectors = crate::scene::SIZE / 512;
    let extent = format!(
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\
         RW {sectors} FLAT \"{target}\" 0\n"
    );
    fs::write(vm.join("flat.vmdk"), extent).unwrap();
    let mut all = vec![vm.join("flat.vmdk")];
    for format in ["qcow2", "qcow", "qed"] {
        let path = vm.join(format!("backed.{format}"));
        let size = crate::scene::SIZE.to_string();
        let backing = ["-b", target, "-F", "raw", text(&path), &size];
        ok("qemu-img", &[&["create", "-q", "-u", "-f", format][..], &backing].concat());
        all.push(path);
    }
    all
}

#[test]
fn a_file_elsewhere_is_shown_only_when_the_user_allows_it() {
    let scene = Scene::new();
    let base = base(&scene);
    symlink("../disk.img", scene.directory().join("vm/link.img")).unwrap();
    for target in ["../disk.img", text(&base), "link.img"] {
        for image in images(&scene, target) {
            let changed = || fs::metadata(scene.directory()).unwrap().modified().unwrap();
            let before = changed();
            let refused = error(&mount(&scene, &image, &[]));
            assert_eq!(changed(), before, "not even a lock file is made there");
            assert!(refused.contains("--allow-file "), "{refused}");
            let advised = refused.trim_end().rsplit("--allow-file ").next().unwrap();
            assert_shows(&scene, &mount(&scene, &image, &["--allow-file", advised]));
            let list = run(program().args(["-l", "-i"]).arg(&image));
            assert_eq!(list.status.code(), Some(6), "{list:?}");
            let list = run(program().args(["-l", "--allow-file", advised, "-i"]).arg(&image));
            assert!(list.status.success(), "{list:?}");
        }
    }
}

#[test]
fn follows_names_next_to_the_image_or_below() {
    let scene = Scene::new();
    base(&scene);
    let vm = scene.directory().join("vm");
    for name in ["near.img", "Snapshots/below.img"] {
        fs::hard_link(scene.image(), vm.join(name)).unwrap();
        for image in images(&scene, name) {
            assert_shows(&scene, &mount(&scene, &image, &[]));
        }
    }
}

#[test]
fn never_opens_anything_but_regular_files() {
    let scene = Scene::new();
    base(&scene);
    let pipe = scene.directory().join("vm/pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for target in ["pipe", "/dev/zero", "/proc/self/fd/0", "/proc/version", "Snapshots"] {
        for image in images(&scene, target) {
            for options in [&[][..], &["--rw"]] {
                let output = mount(&scene, &image, options);
                assert!(matches!(output.status.code(), Some(3 | 6)), "{target}: {output:?}");
            }
        }
    }
}

/// VirtualBox names the parent of an image in `Snapshots` by an absolute path; its UUID identifies it.
#[test]
fn a_parent_elsewhere_is_known_by_its_identity() {
    let scene = Scene::new();
    base(&scene);
    let vm = scene.directory().join("vm");
    let (parent, child) = (vm.join("base.vmdk"), vm.join("Snapshots/child.vmdk"));
    ok("qemu-img", &["convert", "-O", "vmdk", text(&scene.image()), text(&parent)]);
    // QEMU gives a new image a content id of its own, as VirtualBox does.
    ok("qemu-img", &["create", "-q", "-f", "vmdk", "-F", "vmdk", "-b", text(&parent), text(&child)]);
    assert_shows(&scene, &mount(&scene, &child, &[]));
    // Another disk of that name is not the one.
    ok("qemu-img", &["convert", "-O", "vmdk", text(&scene.image()), text(&parent)]);
    let refused = mount(&scene, &child, &[]);
    assert!(!refused.status.success(), "{refused:?}");
}

/// Writing to the base would break a child that knows it by nothing but its name.
#[test]
fn a_base_with_a_child_near_it_is_not_written() {
    let scene = Scene::new();
    base(&scene);
    let vm = scene.directory().join("vm");
    for (format, child) in [
        ("raw", "child.qcow2"),
        ("raw", "Snapshots/child.vmdk"),
        ("qcow2", "child.qcow2"),
        ("qcow2", "child.snapshot1"),
        ("qed", "Snapshots/child.qcow2"),
        ("vmdk", "child.vmdk"),
        ("vhdx", "deep/er/child.qcow2"),
    ] {
        let base = vm.join("base");
        let child = vm.join(child);
        fs::create_dir_all(child.parent().unwrap()).unwrap();
        ok("qemu-img", &["create", "-q", "-f", format, text(&base), "8M"]);
        let before = fs::read(&base).unwrap();
        let child_format = if child.extension().unwrap() == "vmdk" { "vmdk" } else { "qcow2" };
        let backing = ["-u", "-b", text(&base), "-F", format, text(&child), "8M"];
        let create = &["create", "-q", "-f", child_format][..];
        let backing = if format == "vmdk" { &backing[1..6] } else { &backing[..] };
        if child_format == "vmdk" && format == "raw" {
            let descriptor = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=7\nparentFileNameHint=\"../base\"\n\
                              createType=\"monolithicSparse\"\nRW 16384 ZERO\n";
            fs::write(&child, descriptor).unwrap();
        } else {
            ok("qemu-img", &[create, backing].concat());
        }
        // Given relative to where the user is.
        let mount = || run(program().args(["--rw", "-i", "base"]).arg(scene.point()).current_dir(&vm));
        let output = mount();
        assert_eq!(output.status.code(), Some(6), "{format}: {output:?}");
        let name = child.file_name().unwrap().to_str().unwrap();
        assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("{name} would no longer fit it")));
        assert!(fs::read(&base).unwrap() == before);
        // Without the child it is written.
        fs::remove_file(&child).unwrap();
        let output = mount();
        assert!(output.status.success(), "{format}: {output:?}");
        Mount::find(&scene.point()).unmount();
    }
}
