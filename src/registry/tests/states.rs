//! The snapshots and disks of a machine, by what the user calls them.

use super::*;
use crate::error_kind::ErrorKind;

/// A snapshot with others inside.
fn snapshot(n: u128, name: &str, time: &str, inside: &str) -> String {
    format!(
        "<Snapshot uuid=\"{}\" name=\"{name}\" timeStamp=\"2026-11-23T{time}Z\">{}<Snapshots>{inside}</Snapshots></Snapshot>",
        uuid(n),
        attached(&[1])
    )
}

fn with_snapshots(snapshots: &str) -> (Lab, Registry) {
    let mut lab = Lab::new();
    let disks = disk(1, "base.vdi", &disk(2, "Snapshots/2.vdi", "")) + &disk(3, "data.vdi", "");
    // The first snapshot's, where there is one.
    let first = snapshots.split('"').nth(1);
    let current = first.map_or_else(String::new, |uuid| format!("currentSnapshot=\"{uuid}\""));
    lab.machine(10, "vm", &current, &(media(&disks) + &attached(&[2, 3]) + snapshots));
    let registry = lab.load_clean();
    (lab, registry)
}

/// What a search found, or its message and the kind of the failure.
fn asked<T>(found: Result<T>) -> std::result::Result<T, (String, ErrorKind)> {
    found.map_err(|e| (message(&e), e.kind()))
}

#[test]
fn finds_snapshots_by_name_and_uuid() {
    let twins = snapshot(21, "twin", "10:00:01", "")
        + &snapshot(22, "twin", "10:00:02", &snapshot(23, "current", "10:00:03", ""));
    let (_lab, registry) = with_snapshots(&snapshot(0xABCD << 112, "Fresh", "10:00:00", &twins));
    let machine = registry.machines[0].machine.as_ref().unwrap();
    for (what, expected) in [("Fresh", 0), ("fresh", 0), ("abcd", 0), ("{ABCD-0000", 0), (&*uuid(22).to_string(), 2)] {
        assert_eq!(asked(machine.find_snapshot(what)), Ok(Some(expected)), "{what}");
    }
    let (text, kind) = asked(machine.find_snapshot("twin")).unwrap_err();
    let candidates = format!(
        "\"twin\" ({}, 2026-11-23T10:00:01Z), \"twin\" ({}, 2026-11-23T10:00:02Z); give the UUID of one",
        uuid(21),
        uuid(22)
    );
    let expected = format!("The snapshot \"twin\" of the machine \"vm\" means more than one: {candidates}");
    assert_eq!((text, kind), (expected, ErrorKind::Usage));
    let (text, kind) = asked(machine.find_snapshot("current")).unwrap_err();
    assert!(kind == ErrorKind::Usage && text.contains("is the word for the current state, too"), "{text}");
    let (text, kind) = asked(machine.find_snapshot("frsh")).unwrap_err();
    assert!(kind == ErrorKind::NotFound && text.contains("is not known: did you mean \"Fresh\" ("), "{text}");
    let (_lab, registry) = with_snapshots("");
    let machine = registry.machines[0].machine.as_ref().unwrap();
    assert_eq!(asked(machine.find_snapshot("current")), Ok(None));
    let (text, _) = asked(machine.find_snapshot("x")).unwrap_err();
    assert!(text.ends_with("the machine has no snapshots, only the current state"), "{text}");
}

#[test]
fn finds_the_newest_snapshot_of_a_time() {
    // The second was taken within the same second as the first; the two after it are branches.
    let branches = snapshot(23, "left", "10:00:05", "")
        + &snapshot(24, "right", "10:00:05", &snapshot(25, "last", "10:00:09", ""));
    let (_lab, registry) =
        with_snapshots(&snapshot(21, "first", "10:00:00", &snapshot(22, "second", "10:00:00", &branches)));
    let machine = registry.machines[0].machine.as_ref().unwrap();
    let at = |time: &str| asked(machine.snapshot_at(humantime::parse_rfc3339(&format!("2026-11-23T{time}Z")).unwrap()));
    assert_eq!(at("10:00:00"), Ok(1));
    assert_eq!(at("10:00:04"), Ok(1));
    assert_eq!(at("10:00:09"), Ok(4));
    assert_eq!(at("23:00:00"), Ok(4));
    let (text, kind) = at("10:00:06").unwrap_err();
    assert!(kind == ErrorKind::Usage && text.contains("\"left\"") && text.contains("\"right\""), "{text}");
    let (text, kind) = at("09:59:59").unwrap_err();
    assert_eq!(kind, ErrorKind::NotFound);
    assert!(
        text.starts_with("A snapshot of the machine \"vm\" at 2026-11-23T09:59:59Z or before is not known"),
        "{text}"
    );
}

#[test]
fn finds_disks_by_number_slot_and_file() {
    let (_lab, registry) = with_snapshots("");
    let entry = &registry.machines[0];
    let attached = &entry.machine.as_ref().unwrap().attachments;
    let found = |what: &str| asked(registry.find_disk(entry, attached, what)).map(|slot| slot.port);
    for (what, port) in [
        ("0", 0),
        ("1", 1),
        ("SATA-1-0", 1),
        ("sata 1:0", 1),
        ("2.vdi", 0),
        ("base.vdi", 0),
        ("DATA.vdi", 1),
        (&*uuid(3).to_string(), 1),
    ] {
        assert_eq!(found(what), Ok(port), "{what}");
    }
    for what in ["2", "SATA-2-0", "SATA", "nosuch.vdi", "", "-1"] {
        let (text, kind) = found(what).unwrap_err();
        let disks = "the disks are 0: SATA-0-0 2.vdi, 1: SATA-1-0 data.vdi";
        assert_eq!(text, format!("The disk {what:?} of the machine \"vm\" is not known: {disks}"));
        assert_eq!(kind, ErrorKind::NotFound);
    }
    assert_eq!(found("0000"), Ok(0), "a number is a number");
    let (text, kind) = found("0000-0").unwrap_err();
    assert!(kind == ErrorKind::Usage && text.ends_with("SATA-1-0 data.vdi; give the slot of one"), "{text}");
}
