//! The trees of snapshots.

use super::lab::{Lab, snapshot};
use super::*;

const TREE: Form = Form { wide: false, long: false, tree: true };

/// As [`mixed`], with a disk that several snapshots and the current state have, and another machine too.
fn shared() -> Lab {
    let mut lab = mixed();
    let data = lab.base(0x81, "/vms/data/data.vdi", MediumKind::Writethrough, 2 * MIB, 4 * MIB);
    let machine = lab.machine(0x8, "shares", &[data]);
    let names = ["one", "two", "three", "four", "five"];
    let parents = [None, Some(0), Some(1), Some(1), Some(3)];
    let taken = names.iter().zip(parents).zip(0x8a..);
    machine.snapshots = taken.map(|((name, parent), number)| snapshot(number, name, parent, 0x81)).collect();
    machine.snapshots[1].description = "\n  First line\nsecond line".to_owned();
    machine.current_snapshot = Some(3);
    machine.current_state_modified = true;
    lab.machine(0x9, "shares too", &[data]);
    lab
}

#[test]
fn snapshots_are_drawn_as_a_tree_with_what_they_share() {
    let report = shared().report();
    golden("tree.txt", &text(&report, TREE, PLAIN));
    golden("tree-50.txt", &text(&report, TREE, columns(50)));
    golden("tree-color.txt", &text(&report, TREE, Style { width: Some(100), color: true }));
    golden("tree-awkward.txt", &text(&awkward().report(), TREE, columns(70)));
}

#[test]
fn no_line_of_a_tree_is_wider_than_the_terminal() {
    for report in [shared().report(), awkward().report()] {
        let plain = text(&report, TREE, PLAIN);
        for style in (60..200).step_by(7).map(columns).chain([PLAIN]) {
            let text = text(&report, TREE, style);
            assert_eq!(text.matches("5bd1e995-").count(), plain.matches("5bd1e995-").count(), "{style:?}\n{text}");
            for line in text.lines() {
                assert_eq!(line.trim_end(), line, "{style:?}");
                assert!(!line.contains(crate::listing::text::is_interpreted), "{style:?}: {line:?}");
                assert!(width(line) <= style.width.unwrap_or(usize::MAX), "{style:?}: {line:?} in\n{text}");
            }
        }
    }
}

#[test]
fn ten_thousand_nested_snapshots_are_drawn() {
    let mut lab = Lab::default();
    let disk = lab.base(0x11, "/vms/disk.vdi", MediumKind::Normal, MIB, MIB);
    let machine = lab.machine(0x1, "deep", &[disk]);
    machine.snapshots = (0..10_000_usize)
        .map(|at| snapshot(0x10_0000 + at as u128, &format!("Day {at}"), at.checked_sub(1), 0x11))
        .collect();
    machine.current_snapshot = Some(9_999);
    let text = text(&lab.report(), TREE, columns(80));
    assert!(
        text.contains("+-(9999) Day 9999") && text.contains("+-(10000) Current state"),
        "{}",
        &text[text.len() - 900..]
    );
    assert!(text.lines().all(|line| width(line) <= 80));
}
