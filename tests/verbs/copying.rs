//! What copying leaves in its destination, whatever is there and whatever goes wrong.

use crate::common::Fixture;
use crate::{LEAF, text};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn cp(registry: &Fixture, words: &[&str], to: &Path) -> Output {
    registry.program().args(["cp", "-i", LEAF]).args(words).arg(to).output().unwrap()
}

#[test]
fn links_in_the_destination_are_replaced_and_never_followed() {
    let registry = Fixture::registry();
    let (out, elsewhere) = (registry.root().join("out"), registry.root().join("elsewhere"));
    fs::create_dir(&out).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("file"), "mine").unwrap();
    symlink(&elsewhere, out.join("fs1")).unwrap();
    symlink(elsewhere.join("file"), out.join("vol0")).unwrap();
    let whole = cp(&registry, &["-r", "fs1"], &out);
    assert_eq!(whole.status.code(), Some(1), "{whole:?}");
    assert!(text(&whole.stderr).contains("Cannot write"), "{whole:?}");
    let file = cp(&registry, &["vol0"], &out);
    assert!(file.status.success(), "{file:?}");
    assert!(out.join("vol0").symlink_metadata().unwrap().is_file());
    assert_eq!(
        (names(&elsewhere), fs::read_to_string(elsewhere.join("file")).unwrap()),
        (vec!["file".into()], "mine".into())
    );
    assert_eq!(names(&out), ["fs1", "vol0"]);
}

#[test]
fn one_file_that_cannot_be_copied_keeps_no_other_from_it() {
    let registry = Fixture::registry();
    let out = registry.root().join("out");
    fs::create_dir_all(out.join("vol0/in-the-way")).unwrap();
    let done = cp(&registry, &["nope", "fs1", "vol0", "vol1"], &out);
    assert_eq!(done.status.code(), Some(3), "{done:?}");
    let said = text(&done.stderr);
    assert!(
        said.contains("Cannot read nope") && said.contains("give -r to copy it") && said.lines().count() == 3,
        "{said}"
    );
    assert_eq!(names(&out), ["vol0", "vol1"]);
    // Two of the same name.
    let twice = cp(&registry, &["vol1", "vol1"], &out);
    assert_eq!(twice.status.code(), Some(6), "{twice:?}");
    // To a new name, and to where there is nothing.
    assert!(cp(&registry, &["vol1"], &out.join("new")).status.success());
    assert_eq!(fs::read(out.join("new")).unwrap(), fs::read(out.join("vol1")).unwrap());
    assert_eq!(cp(&registry, &["vol1"], &out.join("not/there")).status.code(), Some(3));
    assert_eq!(cp(&registry, &["vol0", "vol1"], &out.join("not")).status.code(), Some(3));
}

#[test]
fn a_copy_that_fails_leaves_nothing_under_any_name() {
    let registry = Fixture::registry();
    let out = registry.root().join("out");
    fs::create_dir(&out).unwrap();
    let script = format!(
        "ulimit -f 1000; exec '{}' cp -i {LEAF} vhdd vol1 '{}'",
        env!("CARGO_BIN_EXE_vboximg-mount"),
        out.display()
    );
    let done = Command::new("bash").args(["-c", &script]).env("VBOX_USER_HOME", registry.home()).output().unwrap();
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(text(&done.stderr).contains("File too large"), "{done:?}");
    assert_eq!(names(&out), [""; 0]);
}

#[test]
fn an_interrupted_copy_leaves_nothing_under_any_name() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        interrupt(signal, 300, &|left| assert_eq!(left, [""; 0], "{signal}"));
    }
}

/// Nobody can tidy up then, but what is left does not have the name of a copy.
#[test]
fn a_killed_copy_leaves_nothing_under_its_name() {
    interrupt(Signal::SIGKILL, 300, &|left| {
        assert!(left.len() == 1 && left[0].starts_with(".vboximg-mount-"), "{left:?}");
    });
}

/// Sends a signal to a copy of some MiB. A copy may be done before it comes, and is complete then.
fn interrupt(signal: Signal, size: u64, check: &dyn Fn(Vec<String>)) {
    let directory = tempfile::tempdir().unwrap();
    let (image, out) = (directory.path().join("disk.raw"), directory.path().join("out"));
    fs::write(&image, vec![7; usize::try_from(size << 20).unwrap()]).unwrap();
    fs::create_dir(&out).unwrap();
    let interrupted = (0..20).any(|_| {
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP,INT,TERM", "--", env!("CARGO_BIN_EXE_vboximg-mount"), "cp", "-i"]);
        command.arg(&image).arg("vhdd").arg(&out).env("VBOX_USER_HOME", directory.path());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        while names(&out).is_empty() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let _ = kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal);
        let status = child.wait().unwrap();
        let left = names(&out);
        if left.contains(&"vhdd".to_owned()) {
            assert_eq!((left, fs::metadata(out.join("vhdd")).unwrap().len()), (vec!["vhdd".to_owned()], size << 20));
            fs::remove_file(out.join("vhdd")).unwrap();
            return false;
        }
        assert_eq!(status.signal(), Some(signal as i32));
        check(left);
        true
    });
    assert!(interrupted, "every copy was faster than the signal");
}
