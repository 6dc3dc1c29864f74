//! The listings: whole, against golden files, and their content against what the real program printed.

use crate::common::Fixture;
use crate::scene::{self, Printed, printed};

fn assert_golden(name: &str, fixture: &Fixture, arguments: &[&str]) {
    scene::assert_golden(name, fixture.root(), &printed(fixture.program().args(arguments)));
}

#[test]
fn the_short_listing() {
    assert_golden("short.txt", &Fixture::registry(), &["-l"]);
}

#[test]
fn the_wide_listing() {
    assert_golden("wide.txt", &Fixture::registry(), &["-lw"]);
}

#[test]
fn the_long_listing() {
    assert_golden("long.txt", &Fixture::registry(), &["-lv"]);
}

#[test]
fn the_long_listing_with_the_wide_one() {
    assert_golden("long-wide.txt", &Fixture::registry(), &["--verbose", "--wide", "--list"]);
}

#[test]
fn the_snapshots_as_a_tree() {
    assert_golden("tree.txt", &Fixture::registry(), &["-l", "--tree"]);
}

#[test]
fn one_machine_by_uuid_and_by_name() {
    let fixture = Fixture::registry();
    assert_golden("alpine.txt", &fixture, &["-l", "--vm", "df28d20f-6d0e-4072-bb13-61d307dc1c46"]);
    assert_golden("alpine.txt", &fixture, &["-l", "--vm={DF28D20F-6D0E-4072-BB13-61D307DC1C46}"]);
    assert_golden("alpine.txt", &fixture, &["-l", "--vm", "alpine tree"]);
    assert_golden("no-machine.txt", &fixture, &["-l", "--vm", "alpine"]);
}

#[test]
fn as_json() {
    let fixture = Fixture::registry();
    let Printed { code, out, err } = printed(fixture.program().args(["-l", "--json"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["machines"].as_array().unwrap().len(), 9);
}

/// The words of the real program's wide listing: of a machine its UUID, of a medium size, format, state and UUID.
fn rows(listing: &str) -> Vec<Vec<String>> {
    let is_uuid = |word: &&str| word.len() == 36 && word.bytes().filter(|b| *b == b'-').count() == 4;
    let rows = listing.replace("no access", "no-access");
    rows.lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let uuid = words.last().filter(|word| is_uuid(word))?;
            let medium = line.contains("+-");
            let formats = ["VDI", "VMDK", "VHD", "Parallels", "QCOW", "QED"];
            let format = words.iter().find(|word| formats.contains(word)).filter(|_| medium);
            let state = words.iter().find(|word| ["created", "no-access"].contains(word)).filter(|_| medium);
            // The first word that is a size: after the name, before the capacity, which only this program prints.
            let is_size =
                |w: &&&str| w.contains('.') && w.trim_end_matches(['K', 'M', 'G', 'T']).parse::<f64>().is_ok();
            let size = words.iter().find(is_size).filter(|_| medium);
            let parts = [size, format, state].into_iter().flatten();
            Some(parts.chain([uuid]).map(|word| (*word).to_owned()).collect())
        })
        .collect()
}

#[test]
fn the_wide_listing_has_the_machines_media_sizes_and_states_of_the_real_one_in_its_order() {
    let fixture = Fixture::registry();
    let theirs = rows(&fixture.expected("list-lw.txt"));
    let mut ours = rows(&printed(fixture.program().arg("-lw")).out);
    // The machine without its settings file, which the real program leaves out.
    assert_eq!(ours.pop().unwrap(), ["496ccc83-5025-4292-9671-84ed19f49516"]);
    assert_eq!(theirs.len(), 39);
    assert_eq!(ours, theirs);
}

/// A partition table without terminal escapes, its blanks as one.
fn partitions(text: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\u{1b}') {
        plain.push_str(before);
        rest = escape.split_once('m').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|l| !l.is_empty()).collect()
}

#[test]
fn every_partition_of_every_medium_is_listed() {
    let fixture = Fixture::registry();
    let mut compared = 0;
    for medium in fixture.expected_media().into_iter().filter(|medium| medium.disk.is_some()) {
        let theirs = partitions(&fixture.expected(&format!("volumes.{}.txt", medium.uuid)));
        let answer = printed(fixture.program().args(["-l", "-i", &medium.uuid]));
        assert_eq!(answer.code, Some(0), "{}: {}", medium.uuid, answer.err);
        // VirtualBox left some VMDKs marked as not closed, and empties the child of an immutable disk.
        let known = ["It was not closed cleanly", "because its base is immutable"];
        for warning in answer.err.lines() {
            assert!(known.iter().any(|known| warning.contains(known)), "{}: {warning}", medium.uuid);
        }
        let ours = partitions(&answer.out);
        for line in theirs {
            // Ours has more columns at the end.
            assert!(ours.iter().any(|our| our.starts_with(&line)), "{}: no {line:?} in {ours:#?}", medium.uuid);
            compared += 1;
        }
    }
    assert!(compared > 25 * 5, "{compared}");
}

#[test]
fn a_partition_table_whole() {
    assert_golden("partitions.txt", &Fixture::registry(), &["-l", "-i", "6ae26a8c-9c16-432b-a7e4-20863223d4e6"]);
    assert_golden("no-partitions.txt", &Fixture::registry(), &["-l", "-i", "a931f7a4-54f9-4a19-b1c2-43ccdc72add7"]);
}

#[test]
fn succeeds_when_the_reader_stops_early() {
    let fixture = Fixture::registry();
    let script = format!("set -o pipefail; '{}' -lv | head -n 1", env!("CARGO_BIN_EXE_vboximg-mount"));
    let mut command = std::process::Command::new("bash");
    let answer = printed(command.env("VBOX_USER_HOME", fixture.home()).args(["-c", &script]));
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""));
}
