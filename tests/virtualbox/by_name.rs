//! Disks by the names of their machine, snapshot and slot.

use crate::common::Fixture;
use crate::scene::{self, Mount, printed};
use crate::support::sha256_of;
use std::collections::HashMap;
use std::fs;
use std::process::Command;

/// The SHA-256 of each medium's disk by the first digits of its UUID.
fn hashes(fixture: &Fixture) -> HashMap<String, String> {
    let known = fixture.expected_media().into_iter().filter_map(|m| Some((m.uuid[..8].to_owned(), m.disk?.sha256)));
    known.collect()
}

fn mount(fixture: &Fixture, arguments: &[&str]) -> Mount {
    Mount::new(fixture.program().args(arguments)).unwrap_or_else(|e| panic!("{arguments:?}: {e}"))
}

fn assert_golden(name: &str, fixture: &Fixture, arguments: &[&str]) {
    scene::assert_golden(name, fixture.root(), &printed(fixture.program().args(arguments)));
}

/// Asserts a failure with an exit code and a part of its message.
fn assert_refused(command: &mut Command, code: i32, part: &str) {
    let answer = printed(command);
    assert_eq!((answer.code, answer.out.as_str()), (Some(code), ""), "{command:?}: {answer}");
    assert!(answer.err.contains(part), "{command:?}: {answer}");
}

#[test]
fn mounts_the_disk_that_the_names_mean() {
    let fixture = Fixture::registry();
    let hashes = hashes(&fixture);
    let of_alpine = |more: &[&'static str]| [&["--vm", "alpine tree"][..], more].concat();
    for (arguments, medium) in [
        (of_alpine(&[]), "6ae26a8c"),
        (of_alpine(&["--snapshot", "current"]), "6ae26a8c"),
        (of_alpine(&["--snapshot", "With tools"]), "fbfdf717"),
        (of_alpine(&["--snapshot", "43b2", "--disk", "0"]), "fbfdf717"),
        (of_alpine(&["--snapshot=experiment ünïcode", "--disk=alpine tree.vdi"]), "fae6adfc"),
        (of_alpine(&["--at", "2026-11-23T14:49:25+01:00"]), "fbfdf717"),
        (of_alpine(&["--at", "2026-11-23"]), "fae6adfc"),
        (vec!["--vm", "3724eae3", "--snapshot", "SP1"], "9706b379"),
        (vec!["--vm", "esx import", "--disk", "1"], "f0f015fa"),
        (vec!["--vm", "esx import", "--disk", "SATA-2-0"], "0f50c64f"),
        (vec!["--vm", "esx import", "--disk", "sata 0:0", "--snapshot", "imported"], "ec32efa2"),
        (vec!["-vm", "esx import", "--disk", "sparse.vmdk"], "12daa797"),
        (vec!["-i", "84f9"], "84f9a618"),
        (vec!["-i", "q.qed"], "06dd565a"),
    ] {
        let mount = mount(&fixture, &arguments);
        assert_eq!(sha256_of(&mount.file("vhdd")), hashes[medium], "{arguments:?}");
        mount.unmount();
    }
}

#[test]
fn mounts_a_machine_with_several_disks_whole() {
    let fixture = Fixture::registry();
    let hashes = hashes(&fixture);
    let mount = mount(&fixture, &["-g", "--vm", "esx import", "--snapshot", "imported"]);
    for (slot, medium) in [("SATA-0-0", "ec32efa2"), ("SATA-1-0", "bf7cc1c8"), ("SATA-2-0", "13fe6cc2")] {
        assert_eq!(sha256_of(&mount.file(slot).join("vhdd")), hashes[medium], "{slot}");
        assert!(fs::read_dir(mount.file(slot).join("fs0")).is_ok(), "{slot}");
    }
    assert_eq!(fs::read_dir(mount.file("")).unwrap().count(), 3);
    // Each of its images is locked.
    let image = fixture.machine_file("esx import/flat.vmdk");
    let other = tempfile::tempdir().unwrap();
    assert_refused(fixture.program().args(["--rw", "-i"]).arg(&image).arg(other.path()), 6, "would no longer fit");
    for name in ["sparse.vmdk", "flat.vmdk", "split.vmdk"] {
        assert!(fixture.machine_file(&format!("esx import/.{name}.vboximg-lock")).exists(), "{name}");
    }
    mount.unmount();
}

#[test]
fn shows_the_disks_of_a_machine_that_can_be_opened() {
    let fixture = Fixture::registry();
    let hashes = hashes(&fixture);
    fs::remove_file(fixture.machine_file("odd formats/q.qed")).unwrap();
    let mount = mount(&fixture, &["--vm", "odd formats"]);
    assert_eq!(sha256_of(&mount.file("SATA-1-0/vhdd")), hashes["769b552e"]);
    assert!(!mount.file("SATA-2-0").exists() && mount.file("SATA-4-0/vhdd").exists());
    mount.unmount();
    let list = printed(fixture.program().args(["-l", "--vm", "odd formats", "--snapshot", "current"]));
    assert_eq!((list.code, list.out.matches("Virtual disk image:").count()), (Some(0), 4), "{list}");
    assert!(list.err.contains("warning: SATA-2-0: not opened: Cannot find "), "{list}");
    // For writing it is all or nothing.
    let point = tempfile::tempdir().unwrap();
    assert_refused(fixture.program().args(["--rw", "--vm", "odd formats"]).arg(point.path()), 3, "q.qed");
}

#[test]
fn writes_to_each_disk_of_a_machine() {
    let fixture = Fixture::registry();
    let mount = mount(&fixture, &["--rw", "--vm", "second user"]);
    for slot in ["SATA-1-0", "SATA-3-0"] {
        let mut bytes = fs::read(mount.file(slot).join("vhdd")).unwrap();
        bytes[600..700].fill(slot.as_bytes()[5]);
        fs::write(mount.file(slot).join("vhdd"), &bytes).unwrap();
    }
    mount.unmount();
    for (uuid, byte) in [("b7cc3595", b'1'), ("a7a730ca", b'3')] {
        let mount = mount_of(&fixture, uuid);
        assert!(fs::read(mount.file("vhdd")).unwrap()[600..700].iter().all(|b| *b == byte), "{uuid}");
        mount.unmount();
    }
}

fn mount_of(fixture: &Fixture, uuid: &str) -> Mount {
    mount(fixture, &["-i", uuid])
}

#[test]
fn lists_the_volumes_of_a_named_disk() {
    let fixture = Fixture::registry();
    assert_golden(
        "named-disk.txt",
        &fixture,
        &["-l", "--vm", "alpine tree", "--snapshot", "With tools", "--disk", "0"],
    );
    assert_golden("named-machine.txt", &fixture, &["-l", "--vm", "second user", "--snapshot", "current"]);
    assert_golden("alpine.txt", &fixture, &["-l", "--vm", "df28"]);
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&printed(fixture.program().args(["-l", "--json"]).args(arguments)).out).unwrap()
    };
    let one = json(&["--vm", "win-legacy", "--snapshot", "SP2"]);
    assert_eq!(
        (one["uuid"].as_str(), &one["slot"]),
        (Some("4ad7b86d-0d4a-4cc1-a22f-12ef03f9625a"), &serde_json::Value::Null)
    );
    let several = json(&["--vm", "second user", "--snapshot", "current"]);
    assert_eq!((several[1]["slot"].as_str(), several.as_array().unwrap().len()), (Some("SATA-3-0"), 2));
}

#[test]
fn says_what_a_name_could_mean() {
    let fixture = Fixture::registry();
    assert_golden("no-snapshot.txt", &fixture, &["-l", "--vm", "alpine tree", "--snapshot", "With tool"]);
    assert_golden("no-disk.txt", &fixture, &["-l", "--vm", "odd formats", "--disk", "q.qcow2"]);
    assert_golden("no-time.txt", &fixture, &["-l", "--vm", "alpine tree", "--at", "2026-11-22"]);
    assert_golden("no-medium.txt", &fixture, &["-l", "-i", "/nowhere/alpine.vdi"]);
    assert_golden("no-disks.txt", &fixture, &["-l", "--vm", "no disks", "--snapshot", "current"]);
    let settings = fixture.machine_file("alpine tree/alpine tree.vbox");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text.replace("name=\"Clean install\"", "name=\"With tools\"")).unwrap();
    assert_golden("two-snapshots.txt", &fixture, &["-l", "--vm", "alpine tree", "--snapshot", "With tools"]);
    let point = tempfile::tempdir().unwrap();
    let of_snapshot = ["--rw", "--vm", "alpine tree", "--snapshot", "4ac1"];
    assert_refused(
        fixture.program().args(of_snapshot).arg(point.path()),
        6,
        "the state of the snapshot \"With tools\"",
    );
    for senseless in [
        &["-l", "--disk", "0"][..],
        &["-l", "-i", "x", "--at", "2026-11-22"],
        &["-l", "-i", "x", "--vm", "y"],
        &["-l", "--vm", "y", "--at", "2026-11-22", "--snapshot", "z"],
        &["-l", "--vm", "y", "--at", "yesterday"],
        &["--vm", "y"],
        &["--vm", "y", "disk", "/mnt"],
    ] {
        assert_refused(fixture.program().args(senseless), 2, "error: ");
    }
}

#[test]
fn takes_the_disk_from_the_options_of_fstab() {
    let fixture = Fixture::registry();
    let hashes = hashes(&fixture);
    let options = "ro,nofail,vm=alpine tree,snapshot=With tools,disk=0";
    let mounted =
        Mount::with_options(fixture.program().arg("none"), &["-o", options]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(sha256_of(&mounted.file("vhdd")), hashes["fbfdf717"]);
    mounted.unmount();
    // The source may say where the settings are.
    let mut elsewhere = fixture.program();
    elsewhere.env("VBOX_USER_HOME", "/nonexistent").arg(fixture.home());
    let mounted = Mount::with_options(&mut elsewhere, &["-o", options]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(sha256_of(&mounted.file("vhdd")), hashes["fbfdf717"]);
    mounted.unmount();
    assert_refused(fixture.program().args(["none", "/nowhere", "-o", "disk=0"]), 2, "needs the machine");
    assert_refused(fixture.program().args(["-i", "84f9", "/nowhere", "-o", "vm=x"]), 2, "leave one of them out");
}
