//! Which states `diff` and `history` compare, and what they say of what cannot be compared.

use crate::support::sh;
use crate::text;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// Functions that make images of one file system: `change OLD NEW`, with the commands of debugfs(8) on standard input, and
/// `child OLD NEW PARENT CHILD`, which has the changed blocks in a differencing image.
const TOOLS: &str = r#"
cd "$1"
change() { cp "$1" "$2"; debugfs -w "$2" >/dev/null 2>&1; }
child() {
  qemu-img create -q -f qcow2 -b "$3" -F "${5:-qcow2}" "$4"
  cmp -l "$1" "$2" | awk '{ print int(($1 - 1) / 4096) }' | uniq | while read -r block; do
    dd if="$2" of="block-$block" bs=4096 skip="$block" count=1 status=none
    echo "write -s block-$block $((block * 4096)) 4096"
  done | qemu-io -f qcow2 "$4" >/dev/null
  rm -f block-*
}
printf one > one; printf two > two
truncate -s 8M raw1; mkfs.ext4 -q -F -O ^metadata_csum,^has_journal raw1
"#;

fn run(directory: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vboximg-mount"));
    command.args(words).current_dir(directory).env("VBOX_USER_HOME", "/nonexistent").output().unwrap()
}

fn directory(script: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    sh(directory.path(), &format!("{TOOLS}{script}"));
    directory
}

/// A settings file with media 1 to 5, of which each is a child of the one before, but 5 of 1; snapshots of 1 to 3 and of
/// 5; and in the current state a second disk.
fn settings(directory: &Path) {
    let uuid = |number: u32| format!("{{00000000-0000-4000-8000-00000000000{number}}}");
    let medium = |number: u32, inner: String| {
        format!(r#"<HardDisk uuid="{}" location="disk{number}" format="QCOW">{inner}</HardDisk>"#, uuid(number))
    };
    let attached = |port: u32, number: u32| {
        format!(
            r#"<AttachedDevice type="HardDisk" port="{port}" device="0"><Image uuid="{}"/></AttachedDevice>"#,
            uuid(number)
        )
    };
    let hardware = |devices: String| {
        format!(
            r#"<Hardware><StorageControllers><StorageController name="SATA" type="AHCI" PortCount="2">{devices}</StorageController></StorageControllers></Hardware>"#
        )
    };
    let snapshot = |number: u32, name: &str, inner: String| {
        let id = format!("{{10000000-0000-4000-8000-00000000000{number}}}");
        let inner = if inner.is_empty() { inner } else { format!("<Snapshots>{inner}</Snapshots>") };
        format!(
            r#"<Snapshot uuid="{id}" name="{name}" timeStamp="2026-01-0{number}T00:00:00Z">{}{inner}</Snapshot>"#,
            hardware(attached(0, number))
        )
    };
    let media = medium(1, medium(2, medium(3, medium(4, String::new()))) + &medium(5, String::new()))
        + &medium(6, String::new());
    let third = snapshot(3, "third", String::new());
    let tree = snapshot(1, "first", snapshot(2, "second", third) + &snapshot(5, "side", String::new()));
    let current = hardware(attached(0, 4) + &attached(1, 6));
    let text = format!(
        r#"<?xml version="1.0"?><VirtualBox xmlns="http://www.virtualbox.org/" version="1.19-linux"><Machine uuid="{{20000000-0000-4000-8000-000000000000}}" name="lab" OSType="Linux" currentSnapshot="{{10000000-0000-4000-8000-000000000003}}"><MediaRegistry><HardDisks>{media}</HardDisks></MediaRegistry>{tree}{current}</Machine></VirtualBox>"#
    );
    std::fs::write(directory.join("lab.vbox"), text).unwrap();
}

/// The file `f` is changed, removed, and comes back as a directory.
fn machine() -> TempDir {
    let directory = directory(
        r#"
        change raw1 raw2 <<< $'write one f\nsif f mtime @1577836800'; mv raw2 raw1
        change raw1 raw2 <<< $'rm f\nwrite two f\nsif f mtime @1577836800'
        change raw2 raw3 <<< 'rm f'
        change raw3 raw4 <<< $'mkdir f\nsif f mtime @1600000000\nwrite one f/within'
        qemu-img convert -q -f raw -O qcow2 raw1 disk1
        child raw1 raw2 disk1 disk2; child raw2 raw3 disk2 disk3; child raw3 raw4 disk3 disk4; child raw1 raw1 disk1 disk5
        qemu-img convert -q -f raw -O qcow2 raw1 disk6; rm disk5"#,
    );
    settings(directory.path());
    directory
}

const LAB: [&str; 4] = ["--settings", "lab.vbox", "--vm", "lab"];

#[test]
fn history_shows_what_became_of_a_file() {
    let directory = machine();
    let run = |words: &[&str]| run(directory.path(), &[&["history"], &LAB[..], words].concat());
    let done = run(&["--disk", "SATA-0-0", "fs0/f"]);
    let expected = "\
STATE    TAKEN                 SIZE  MODIFIED             CHANGE
first    2026-01-01T00:00:00Z     3  2020-01-01 00:00:00  present
second   2026-01-02T00:00:00Z     3  2020-01-01 00:00:00  content
third    2026-01-03T00:00:00Z     -  -                    removed
current  -                        -  2020-09-13 12:26:40  added (directory)
";
    assert_eq!((text(&done.stdout).as_str(), done.status.code()), (expected, Some(0)), "{done:?}");
    // An image is gone: the others are shown, and the exit code says it.
    let all = run(&["--disk", "SATA-0-0", "--all", "--json", "fs0/f"]);
    assert_eq!(all.status.code(), Some(3), "{all:?}");
    let states: Vec<Value> = serde_json::from_slice(&all.stdout).unwrap();
    let changes: Vec<(&str, &str)> =
        states.iter().map(|state| (state["state"].as_str().unwrap(), state["change"].as_str().unwrap())).collect();
    let expected = [
        ("first", "present"),
        ("second", "changed"),
        ("third", "removed"),
        ("side", "unreadable"),
        ("current", "added"),
    ];
    assert_eq!(changes, expected);
    assert!(states[3]["error"].as_str().unwrap().contains("disk5"), "{}", states[3]);
    let until = run(&["--disk", "SATA-0-0", "--snapshot", "second", "fs0/f"]);
    assert_eq!(text(&until.stdout).lines().count(), 3, "{until:?}");
    let nowhere = run(&["--disk", "SATA-0-0", "fs0/nothing"]);
    assert_eq!((nowhere.status.code(), nowhere.stdout.is_empty()), (Some(3), true), "{nowhere:?}");
}

#[test]
fn disks_of_a_machine_are_compared_slot_by_slot() {
    let directory = machine();
    let run = |words: &[&str]| run(directory.path(), &[&["diff"], &LAB[..], words].concat());
    let done = run(&["second", "current", "--exit-code"]);
    let expected = "\
M SATA-0-0/fs0/f/  (kind file -> directory, mode 0664 -> 0755, time)
A SATA-0-0/fs0/f/within
A SATA-1-0/  (disk of 8388608 bytes)
";
    let without_root = |output: &Output| {
        let lines = text(&output.stdout);
        let lines =
            lines.lines().filter(|line| !line.starts_with("M SATA-0-0/fs0/  ") && !line.starts_with("M fs0/  "));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    assert_eq!(
        (without_root(&done).replace("0644", "0664").as_str(), done.status.code()),
        (expected, Some(1)),
        "{done:?}"
    );
    // Without the new state it is the current one.
    assert_eq!(run(&["second"]).stdout, done.stdout);
    let one = run(&["third", "first", "--disk", "0"]);
    assert_eq!(without_root(&one), "A fs0/f\n", "{one:?}");
    let of_slot = run(&["second", "current", "SATA-0-0"]);
    assert_eq!(without_root(&of_slot).lines().count(), 2, "{of_slot:?}");
    // A medium in place of a snapshot.
    let medium = run(&["third", "disk1", "--disk", "0"]);
    assert_eq!(without_root(&medium), "A fs0/f\n", "{medium:?}");
    for (words, code, reason) in [
        (&["side", "current"][..], 3, "disk5"),
        (&["fourth", "current"], 3, "the snapshots are"),
        (&["first", "second", "--snapshot", "third"], 2, "leave --snapshot and --at out"),
    ] {
        let done = run(words);
        assert!(done.status.code() == Some(code) && text(&done.stderr).contains(reason), "{words:?}: {done:?}");
    }
}

#[test]
fn states_without_a_machine_are_media_and_snapshots_within_an_image() {
    let directory = directory(
        r#"
        change raw1 raw2 <<< 'write one f'
        qemu-img convert -q -f raw -O qcow2 raw1 disk; qemu-img snapshot -c before disk
        child raw1 raw2 disk changed; qemu-img commit -q changed; rm changed"#,
    );
    let run = |words: &[&str]| run(directory.path(), &[&["diff"], words].concat());
    for words in [
        &["raw1", "raw2"][..],
        &["-i", "disk", "before", "current"],
        &["-i", "disk", "before"],
        &["-i", "disk", "raw1"],
        &["-i", "disk", "before", "raw2"],
        &["raw1", "disk", "/"],
        &["raw1", "raw2", "fs0/f"],
    ] {
        let done = run(words);
        let lines = text(&done.stdout);
        let files: Vec<&str> = lines.lines().filter(|line| !line.starts_with("M fs0/  ")).collect();
        assert_eq!((files, done.status.code()), (vec!["A fs0/f"], Some(0)), "{words:?}: {done:?}");
    }
    // Both snapshots of one file: what they share is not read.
    let shared = run(&["-i", "disk", "before", "current", "--ranges", "--no-read"]);
    let blocks = text(&shared.stdout).lines().count();
    assert!((2..=6).contains(&blocks), "{shared:?}");
    for (words, code, reason) in [
        (&["raw1"][..], 2, "which state is NEW"),
        (&["raw1", "current"], 2, "current of which machine"),
        (&["--vm", "nobody", "raw1", "raw2"], 3, "settings directory is not known"),
        (&["raw1", "nothing"], 3, "The image \"nothing\""),
        (&["-i", "disk", "nothing"], 3, "no internal snapshot named \"nothing\""),
        (&["raw1", "raw2", "fs0/nothing"], 3, "Cannot read fs0/nothing"),
        (&["raw1", "raw2", "fs0", "--ranges"], 2, "This is a directory"),
    ] {
        let done = run(words);
        assert!(done.status.code() == Some(code) && text(&done.stderr).contains(reason), "{words:?}: {done:?}");
    }
}

#[test]
fn one_unreadable_file_keeps_no_other_from_being_compared() {
    let directory = directory(
        r#"
        change raw1 raw2 <<< $'write one bad\nwrite one f\nmkdir dir'; mv raw2 raw1
        change raw1 raw2 <<< $'rm f\nwrite one g\nsif bad block[0] 0x1234'"#,
    );
    let run = |words: &[&str]| run(directory.path(), &[&["diff", "raw1", "raw2"], words].concat());
    let done = run(&[]);
    let lines = text(&done.stdout);
    assert_eq!(lines.lines().filter(|line| !line.starts_with("M fs0/  ")).collect::<Vec<_>>(), ["D fs0/f", "A fs0/g"]);
    assert_eq!(done.status.code(), Some(4), "{done:?}");
    assert!(text(&done.stderr).contains("Cannot read fs0/bad in the state \"raw2\""), "{done:?}");
    let json: Vec<Value> = serde_json::from_slice(&run(&["--json"]).stdout).unwrap();
    let unknown: Vec<&Value> = json.iter().filter(|item| item["change"] == "unknown").collect();
    assert!(unknown.len() == 1 && unknown[0]["path"] == "fs0/bad" && unknown[0]["exit_code"] == 4, "{unknown:?}");
}

#[test]
fn moved_volumes_are_found_by_their_file_systems() {
    let directory = directory(
        r#"
        change raw1 raw2 <<< 'write one f'
        truncate -s 8M gone; mkfs.ext4 -q -F gone
        make() { truncate -s 64M $1; echo "$2" | sfdisk -q $1; }
        make old $'start=2048,size=16384\nstart=20480,size=16384\nstart=40960,size=8192'
        make new $'start=65536,size=8192\nstart=4096,size=16384'
        dd if=raw1 of=old seek=2048 conv=notrunc status=none; dd if=gone of=old seek=20480 conv=notrunc status=none
        dd if=raw2 of=new seek=4096 conv=notrunc status=none"#,
    );
    let done = run(directory.path(), &["diff", "old", "new"]);
    let lines = text(&done.stdout);
    let lines: Vec<&str> = lines.lines().filter(|line| !line.starts_with("M fs1/  (time")).collect();
    assert!(lines[1].starts_with("M fs1/  (offset 1048576 -> 2097152, number fs0 -> fs1"), "{lines:#?}");
    assert_eq!(lines[2], "A fs1/f", "{lines:#?}");
    assert!(lines[3].starts_with("D fs1/  (ext4 "), "{lines:#?}");
    // A path is what the new state calls it.
    let within = run(directory.path(), &["diff", "old", "new", "fs1/f"]);
    assert_eq!(text(&within.stdout), "A fs1/f\n", "{within:?}");
}

/// A key store of AES-XTS256-PLAIN64 that VirtualBox wrote, for the password `correct horse`.
const KEY_STORE: &str = "U0NORQABQUVTLVhUUzI1Ni1QTEFJTjY0AAAAAAAAAAAAAAAAAABQQktERjItU0hBMjU2AAAAAAAAAAAAAAAAAAAAAAAAAEAAAAD4v9fW5Si7gCgFgAK4\
NvTHHf1ppyW4r2Vw8jWXmfZmHCAAAAC66qbCMBFQ1RfU04EBzi8cmFD0SW6UgHIktbKdB7lOuSBOAAB4QRsJ3XcA1aXciMCl/47u0elQXuXCwstl39By1qIw\
A8CYCwBAAAAAzm1v0br59ISqCxJcbTyRb1O4SXx3AqL5iqroJNGMfucDVzYCUJRKf3t0uwINaSeSkGKA5ecVS/u6r5d92eOFpw==";

#[test]
fn states_of_an_encrypted_disk_share_what_their_images_share() {
    let directory = machine();
    let ranges = |words: &[&str]| {
        let states =
            ["diff", "--disk", "SATA-0-0", "--ranges", "--settings", "lab.vbox", "--vm", "lab", "first", "third"];
        run(directory.path(), &[&states[..], words].concat())
    };
    let plain = [ranges(&[]), ranges(&["--no-read"])];
    let settings = directory.path().join("lab.vbox");
    let text = std::fs::read_to_string(&settings).unwrap();
    let disk = r#"location="disk1" format="QCOW">"#;
    let properties =
        format!(r#"<Property name="CRYPT/KeyId" value="k"/><Property name="CRYPT/KeyStore" value="{KEY_STORE}"/>"#);
    assert!(text.contains(disk));
    std::fs::write(&settings, text.replace(disk, &format!("{disk}{properties}"))).unwrap();
    std::fs::write(directory.path().join("password"), "correct horse\n").unwrap();
    let encrypted = [&["--password-file", "password"][..], &["--no-read", "--password-file", "password"]].map(ranges);
    for (plain, encrypted) in plain.iter().zip(&encrypted) {
        assert!(plain.status.success() && plain.stdout.len() > 50, "{plain:?}");
        assert_eq!((&plain.stdout, plain.status), (&encrypted.stdout, encrypted.status), "{encrypted:?}");
    }
}
