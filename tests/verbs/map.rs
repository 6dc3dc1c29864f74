//! `map`: which image supplies which bytes, beside `qemu-img map`, and whether the bytes are where it says.

use crate::common::Fixture;
use crate::{LEAF, output_of, text, without_fuse};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

fn run(program: &str, words: &[&str], directory: &Path) -> String {
    let output = Command::new(program).args(words).current_dir(directory).output();
    let output = output.unwrap_or_else(|e| panic!("{program} is needed for this test (Debian: qemu-utils): {e}"));
    assert!(output.status.success(), "{program} {words:?}: {output:?}");
    text(&output.stdout)
}

fn qemu_img(line: &str, directory: &Path) -> String {
    run("qemu-img", &line.split(' ').collect::<Vec<_>>(), directory)
}

fn number(entry: &Value, field: &str) -> u64 {
    entry[field].as_u64().unwrap_or_else(|| panic!("{field} of {entry}"))
}

/// The fields of the entry that has the byte at `at`, with the position of that very byte.
fn at(map: &[Value], at: u64) -> Option<(Vec<Value>, Option<u64>)> {
    let entry = map.iter().find(|e| (number(e, "start")..number(e, "start") + number(e, "length")).contains(&at))?;
    let fields = ["depth", "present", "zero", "data", "compressed"].map(|field| entry[field].clone());
    // QEMU has positions of zeros, too.
    let stored = entry["data"] == true && entry["compressed"] == false;
    let position = stored.then(|| entry["offset"].as_u64().map(|offset| offset + at - number(entry, "start")));
    Some((fields.into(), position.flatten()))
}

#[test]
fn says_the_same_as_qemu_field_by_field() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let raw = fs::File::create(directory.join("disk.raw")).unwrap();
    raw.set_len(8 << 20).unwrap();
    for (offset, len) in [(0, 1 << 20), (2 << 20, 1 << 20), (5 << 20, 65536)] {
        let bytes: Vec<u8> = (0..len).map(|at: u32| u8::try_from((at / 3) % 251).unwrap() + 1).collect();
        raw.write_all_at(&bytes, offset).unwrap();
    }
    // Who has it open for writing would be warned of.
    drop(raw);
    for (name, format, options) in [
        ("a.qcow2", "qcow2", ""),
        ("c.qcow2", "qcow2", "-c "),
        ("e.qcow2", "qcow2", "-o extended_l2=on,cluster_size=128k "),
        ("a.qcow", "qcow", ""),
        ("a.qed", "qed", ""),
        ("a.hdd", "parallels", ""),
        ("a.vmdk", "vmdk", ""),
        ("s.vmdk", "vmdk", "-o subformat=streamOptimized "),
        ("a.vdi", "vdi", ""),
        ("a.vhd", "vpc", ""),
        ("a.vhdx", "vhdx", ""),
    ] {
        qemu_img(&format!("convert -f raw {options}-O {format} disk.raw {name}"), directory);
        compare(directory, name, format);
    }
    compare(directory, "disk.raw", "raw");
    // The parents end before their children.
    qemu_img("create -q -f qcow2 -F qcow2 -b a.qcow2 middle.qcow2 12M", directory);
    qemu_img("create -q -f qcow2 -F qcow2 -b middle.qcow2 leaf.qcow2 16M", directory);
    for (name, commands) in [
        ("middle.qcow2", ["write 1M 256k", "write -z 2M 192k", "write 11M 64k"]),
        ("leaf.qcow2", ["write 2M 64k", "write -z 5M 64k", "write 14M 128k"]),
    ] {
        for command in commands {
            run("qemu-io", &["-c", command, name], directory);
        }
    }
    compare(directory, "leaf.qcow2", "qcow2");
}

fn compare(directory: &Path, name: &str, format: &str) {
    let maps = |text: &str| serde_json::from_str::<Vec<Value>>(text).unwrap_or_else(|e| panic!("{name}: {e}: {text}"));
    let theirs = maps(&qemu_img(&format!("map -f {format} --output=json {name}"), directory));
    let ours = maps(&output_of(&without_fuse(&directory.join(name), "map", &["--json"])));
    let starts: BTreeSet<u64> = theirs.iter().chain(&ours).map(|entry| number(entry, "start")).collect();
    assert!(starts.len() > 2 || name.ends_with("vhdx"), "{name}: {starts:?}");
    for start in starts {
        let (mut expected, mut found) = (at(&theirs, start).unwrap(), at(&ours, start).unwrap());
        if matches!(format, "vdi" | "vpc") && expected.0[2] == true {
            // QEMU knows no parents of these, so that nothing is left to be asked for.
            expected.0[1] = found.0[1].clone();
        }
        if format == "vhdx" {
            // It does not tell positions in these.
            found.1 = None;
        }
        assert_eq!(found, expected, "{name} at {start}");
    }
}

#[test]
fn the_bytes_of_a_guests_file_are_where_it_says() {
    let registry = Fixture::registry();
    let mut seen = 0;
    for path in ["fs1/home/user/hello.txt", "fs1/etc/passwd", "vol0", "vhdd"] {
        let program = |verb: &str, words: &[&str]| {
            let output = registry.program().args([verb, "-i", LEAF, path]).args(words).output().unwrap();
            assert!(output.status.success(), "{path}: {output:?}");
            output.stdout
        };
        if path == "fs1/etc/passwd"
            && !registry.program().args(["cat", "-i", LEAF, path]).output().unwrap().status.success()
        {
            continue;
        }
        let (content, map) = (program("cat", &[]), program("map", &["--json"]));
        let map: Vec<Value> = serde_json::from_slice(&map).unwrap();
        let disk = registry.program().args(["cat", "-i", LEAF, "vhdd"]).output().unwrap().stdout;
        let mut end = 0;
        for entry in &map {
            let (start, length) = (number(entry, "start"), number(entry, "length"));
            assert_eq!(start, end, "{path}: {entry}");
            end = start + length;
            let range = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
            let expected = &content[range];
            if let Some(at) = entry["disk_offset"].as_u64() {
                let at = usize::try_from(at).unwrap();
                assert!(disk[at..at + expected.len()] == *expected, "{path}: {entry}");
            }
            if entry["zero"] == true {
                assert!(expected.iter().all(|byte| *byte == 0), "{path}: {entry}");
                continue;
            }
            let mut bytes = vec![0; expected.len()];
            let file = fs::File::open(entry["filename"].as_str().unwrap()).unwrap();
            file.read_exact_at(&mut bytes, number(entry, "offset")).unwrap();
            assert!(bytes == expected, "{path}: {entry}");
            seen += 1;
        }
        assert_eq!(end, content.len() as u64, "{path}");
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn a_missing_parent_is_an_error_and_never_zeros() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    qemu_img("create -q -f qcow2 base.qcow2 4M", directory);
    qemu_img("create -q -f qcow2 -F qcow2 -b base.qcow2 leaf.qcow2", directory);
    fs::remove_file(directory.join("base.qcow2")).unwrap();
    let output = without_fuse(&directory.join("leaf.qcow2"), "map", &["--json"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(3), String::new()));
    assert!(text(&output.stderr).contains("base.qcow2"), "{output:?}");
}
