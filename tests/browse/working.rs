//! Copying, mounting, passwords, and directories that are large.

use crate::common::Fixture;
use crate::qemu::shared;
use crate::support::{is_root, needs, sh, until};
use crate::terminal::{Terminal, has_tmux};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The root directory of the second volume of the snapshot `With tools`, with the keys in its entries.
fn in_volume(fixture: &Fixture) -> Terminal {
    let state = ["--vm", "alpine tree", "--snapshot", "With tools", "--disk", "0"];
    let terminal = Terminal::new((100, 30), &fixture.home(), &[], &state);
    terminal.wait_for("vol1 ext4");
    terminal.press(&["Down", "Down"]);
    terminal.wait_for("lost+found/");
    terminal.press(&["Tab"]);
    terminal
}

#[test]
fn copies_out_what_cp_copies() {
    needs!(has_tmux(), "tmux");
    let fixture = Fixture::registry();
    let expected = tempfile::tempdir().unwrap();
    let mut program = fixture.program();
    program.args(["cp", "-r", "--vm", "alpine tree", "--snapshot", "With tools", "fs1/etc", "fs1/home"]);
    assert!(program.arg(expected.path()).output().unwrap().status.success());
    let terminal = in_volume(&fixture);
    fs::create_dir(terminal.path("out")).unwrap();
    for name in ["etc", "home"] {
        terminal.press(&["c"]);
        terminal.wait_for(&format!("Copy fs1/{name}"));
        terminal.write("/out");
        terminal.press(&["Enter"]);
        terminal.wait_for(": done");
        terminal.press(&["Down"]);
    }
    let out = terminal.path("out");
    let same = Command::new("diff").arg("-r").arg(expected.path()).arg(&out).output().unwrap();
    assert!(same.status.success(), "{same:?}");
    // Over a copy it asks.
    fs::write(out.join("etc/hostname"), "changed").unwrap();
    terminal.press(&["Home", "c"]);
    terminal.wait_for("Copy fs1/etc");
    terminal.write("/out");
    terminal.press(&["Enter"]);
    terminal.wait_for("is there already");
    assert_eq!(fs::read_to_string(out.join("etc/hostname")).unwrap(), "changed");
    terminal.press(&["Enter"]);
    terminal.wait_for(": done");
    assert_eq!(fs::read(out.join("etc/hostname")).unwrap(), fs::read(expected.path().join("etc/hostname")).unwrap());
    terminal.press(&["q"]);
    terminal.assert_ended(0);
}

#[test]
fn compares_states_and_shows_the_history_of_a_file() {
    needs!(has_tmux(), "tmux");
    let fixture = Fixture::registry();
    let terminal = in_volume(&fixture);
    terminal.press(&["d"]);
    terminal.wait_for("is the first state");
    // The snapshot before it.
    terminal.press(&["Tab", "Left", "Left", "Left", "Left", "Left"]);
    terminal.wait_for("Snapshot  Clean install");
    terminal.press(&["d"]);
    let screen = terminal.wait_for("With tools -> Clean install");
    let mut program = fixture.program();
    let expected = program.args(["diff", "--vm", "alpine tree", "With tools", "Clean install"]).output().unwrap();
    let expected = String::from_utf8(expected.stdout).unwrap();
    let first = expected.lines().next().unwrap_or("They do not differ");
    assert!(screen.contains(first.split_whitespace().next_back().unwrap()), "{expected}\n{screen}");
    // Together they would be Alt-Q.
    terminal.press(&["Enter"]);
    terminal.press(&["q"]);
    terminal.assert_ended(0);
}

/// Unmounts whatever a test that failed has left.
struct Point(std::path::PathBuf);

impl Drop for Point {
    fn drop(&mut self) {
        if is_mounted(&self.0) {
            let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
}

fn is_mounted(point: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4) == point.to_str())
}

#[test]
fn mounts_with_file_systems_and_unmounts() {
    needs!(has_tmux() && is_root() && Path::new("/dev/fuse").exists(), "tmux, root and /dev/fuse");
    let fixture = Fixture::registry();
    let terminal = in_volume(&fixture);
    let point = Point(fixture.root().join("mnt"));
    fs::create_dir(&point.0).unwrap();
    terminal.press(&["m"]);
    terminal.wait_for("[ ] with its file systems");
    terminal.write(point.0.to_str().unwrap());
    terminal.press(&["Tab", "g", "Enter"]);
    terminal.wait_for("Mounted at");
    assert!(is_mounted(&point.0));
    let text = fs::read_to_string(point.0.join("fs1/home/user/hello.txt")).unwrap();
    assert_eq!(text, "hello from the guest\n");
    terminal.press(&["u"]);
    terminal.wait_for("Unmount ");
    terminal.press(&["Enter"]);
    terminal.wait_for("Unmounted");
    assert!(!is_mounted(&point.0));
    // What cannot be mounted says why.
    terminal.press(&["m"]);
    terminal.wait_for("To: ");
    terminal.write("/nowhere/at/all");
    terminal.press(&["Enter"]);
    terminal.wait_for("Not mounted");
    // Together they would be Alt-Q.
    terminal.press(&["Enter"]);
    terminal.press(&["q"]);
    terminal.assert_ended(0);
}

#[test]
fn asks_for_passwords_until_they_are_right_and_never_shows_them() {
    needs!(has_tmux(), "tmux");
    let Some(compressed) = shared("oracle/encrypted.tar.zst") else { return };
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    sh(directory.path(), &format!("tar --zstd -xSf {}", compressed.display()));
    let home = directory.path().join("home");
    // A disk, and a machine that is encrypted whole.
    for (machine, keys, shown) in [("sealed", &["Enter"][..], "vol"), ("vault", &[], "Current state")] {
        let mut arguments = vec!["--vm", machine];
        if machine == "sealed" {
            arguments.extend(["--disk", "0"]);
        }
        let terminal = Terminal::new((100, 30), &home, &[], &arguments);
        terminal.wait_for("Password: ");
        terminal.write("wrong");
        let screen = terminal.wait_for("Password: *****");
        assert!(!screen.contains("wrong"), "{screen}");
        terminal.press(&["Enter"]);
        terminal.wait_for("That password was wrong");
        terminal.write("correct horse");
        terminal.wait_for("*************");
        assert!(!terminal.screen().contains("correct horse"));
        terminal.press(&["Enter"]);
        terminal.press(keys);
        terminal.wait_for(shown);
        terminal.press(&["q"]);
        terminal.assert_ended(0);
    }
}

#[test]
fn a_directory_of_100000_entries_is_gone_through() {
    needs!(has_tmux() && is_root(), "tmux, and root for a mount");
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    // By the kernel: mke2fs itself takes minutes to fill such a directory.
    sh(
        directory.path(),
        "mke2fs -q -t ext4 -N 110000 disk.img 120M; mkdir mnt; mount -o loop disk.img mnt; trap 'umount mnt' EXIT
         mkdir mnt/large; (cd mnt/large; seq -f 'file %06.0f' 1 100000 | tr '\\n' '\\0' | xargs -0 touch)
         echo last >'mnt/large/zzz last'",
    );
    let image = directory.path().join("disk.img");
    let terminal = Terminal::new((100, 30), Path::new("/nonexistent"), &[], &["-i", image.to_str().unwrap()]);
    terminal.wait_for("whole disk ext4");
    terminal.press(&["Down"]);
    terminal.wait_for("large/");
    terminal.press(&["Tab", "Enter"]);
    // Keys work while it is listed.
    terminal.press(&["Down", "Down", "Up"]);
    terminal.wait_until("all are listed", |screen| screen.contains("100001") && !screen.contains("100001+"));
    terminal.press(&["End"]);
    terminal.wait_for("zzz last");
    terminal.write("/file 099999");
    terminal.press(&["Enter"]);
    terminal.wait_for("1 of 100001");
    terminal.wait_for_rest();
    terminal.press(&["Escape"]);
    terminal.wait_until("all are shown", |screen| !screen.contains("1 of 100001"));
    terminal.press(&["Home", "s"]);
    terminal.wait_for("Sorted by size");
    terminal.wait_for("zzz last");
    terminal.press(&["q"]);
    terminal.assert_ended(0);
    until("nothing is open any more", || !directory.path().join(".disk.img.vboximg-lock").exists());
}
