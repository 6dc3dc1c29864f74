//! A settings file of each era (version 1.2 by VirtualBox 1.5, 1.3 by 2.0, 1.6 by 2.1, 1.7 by 3.0, 1.9 by 3.1, 1.11 by
//! 4.0, 1.12 by 4.1, 1.15 by 5.0, 1.16 by 5.1, 1.17 by 6.0, 1.19 by 7.0, 1.21 by 7.2) and what it means. VirtualBox
//! 7.2.22 reads those from version 1.7 on to the same machines, slots, snapshots and media; older ones differ in the
//! order of the slots only.

use super::*;
use crate::registry::{Attachment, DeviceKind};
use std::fs;
use std::path::Path;

/// The UUIDs of a sample differ in their last three digits.
fn short(uuid: Uuid) -> String {
    uuid.to_string()[33..].to_owned()
}

fn media_lines(media: &[ParsedMedium]) -> String {
    let mut lines = String::new();
    for medium in media {
        let parent = medium.parent.map_or("base".to_owned(), |parent| short(media[parent].uuid));
        lines += &format!(
            "{:?} {} of {parent}: {} {} {}",
            medium.device,
            short(medium.uuid),
            medium.format,
            medium.kind.name(),
            medium.location
        );
        lines += if medium.auto_reset { " auto-reset" } else { "" };
        for (name, value) in &medium.properties {
            lines += &format!(" {name}={value:?}");
        }
        lines += &if medium.description.is_empty() { "\n".to_owned() } else { format!(" {:?}\n", medium.description) };
    }
    lines
}

fn slot_lines(slots: &[Attachment]) -> String {
    let line = |slot: &Attachment| {
        let kind = match slot.kind {
            DeviceKind::HardDisk => "disk",
            DeviceKind::Dvd => "dvd",
            DeviceKind::Floppy => "floppy",
        };
        let content = match (&slot.medium, &slot.host_drive) {
            (Some(uuid), _) => short(*uuid),
            (None, Some(drive)) => format!("host {drive}"),
            (None, None) => "empty".to_owned(),
        };
        format!("  {} {}:{} {kind} {content}\n", slot.controller, slot.port, slot.device)
    };
    slots.iter().map(line).collect()
}

fn machine_lines(bytes: &[u8]) -> String {
    let parsed = parse_machine(bytes).unwrap();
    assert_eq!(parsed.problems, []);
    let machine = parsed.machine;
    let mut lines = format!(
        "{:?} {} {} {:?} {} {} modified {}\n",
        machine.name,
        short(machine.uuid),
        machine.os_type,
        machine.state,
        machine.last_state_change,
        machine.groups.join(","),
        machine.current_state_modified
    );
    lines += &format!("snapshots in {:?}, state in {:?}\n", machine.snapshot_directory, machine.state_file);
    lines += &slot_lines(&machine.attachments);
    for (index, snapshot) in machine.snapshots.iter().enumerate() {
        let flag = if machine.current_snapshot == Some(index) { "*" } else { "" };
        lines += &format!(
            "{index}{flag} of {:?}: {:?} {} {} online {} {:?}\n",
            snapshot.parent,
            snapshot.name,
            short(snapshot.uuid),
            snapshot.time_stamp,
            snapshot.online,
            snapshot.description
        );
        lines += &slot_lines(&snapshot.attachments);
    }
    lines + &media_lines(&parsed.media)
}

fn global_lines(bytes: &[u8]) -> String {
    let global = parse_global(bytes).unwrap();
    let machines = global.machines.iter().map(|(uuid, path)| format!("{} {path}\n", short(*uuid)));
    machines.collect::<String>() + &media_lines(&global.media)
}

#[test]
fn settings_of_every_era_mean_what_is_noted_next_to_them() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/registry/xml/tests/samples");
    let mut seen = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let sample = entry.unwrap().path();
        if sample.extension().is_some_and(|extension| extension == "txt") {
            continue;
        }
        let lines = if sample.file_stem().unwrap().to_string_lossy().ends_with("-global") {
            global_lines
        } else {
            machine_lines
        };
        let expected = fs::read_to_string(sample.with_extension("txt")).unwrap();
        assert_eq!(lines(&fs::read(&sample).unwrap()), expected, "{}", sample.display());
        seen += 1;
    }
    assert_eq!(seen, 15);
}

#[test]
fn a_future_version_is_read_as_the_newest() {
    let text = include_str!("samples/1.21-machine.vbox").replace("1.21-macosx", "1.99-linux");
    assert_eq!(machine_lines(text.as_bytes()), machine_lines(include_bytes!("samples/1.21-machine.vbox")));
}

#[test]
fn namespaces_are_reported_apart_and_prefixes_are_no_matter() {
    let text = include_str!("samples/1.21-machine.vbox");
    let expected = machine_lines(text.as_bytes());
    for (from, to) in [
        (r#"xmlns="http://www.virtualbox.org/""#, r#"xmlns="http://www.innotek.de/VirtualBox-settings""#),
        (r#" xmlns="http://www.virtualbox.org/""#, ""),
        ("<Hardware>", r#"<HardDiskAttachments xmlns="urn:other"><Broken/></HardDiskAttachments><Hardware>"#),
        ("<Hardware>", r#"<Future xmlns="urn:other"><A xmlns="urn:a"><B xmlns:b="urn:b"/></A></Future><Hardware>"#),
        ("<Hardware>", r#"<Future><Hardware><StorageControllers/></Hardware></Future><Hardware>"#),
    ] {
        assert!(text.contains(from));
        assert_eq!(machine_lines(text.replace(from, to).as_bytes()), expected, "{to}");
    }
    let prefixed = text
        .replace("xmlns=", "xmlns:v=")
        .replace("</", "</v:")
        .replace('<', "<v:")
        .replace("<v:/v:", "</v:")
        .replace("<v:?", "<?");
    assert_eq!(machine_lines(prefixed.as_bytes()), expected);
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_no_matter() {
    let text = include_str!("samples/1.17-machine.vbox");
    let windows = format!("\u{FEFF}{}", text.replace('\n', "\r\n"));
    assert_eq!(machine_lines(windows.as_bytes()), machine_lines(text.as_bytes()));
    let parsed = parse_machine(windows.as_bytes()).unwrap();
    assert_eq!(parsed.machine.description, "first\nsecond \u{2014} <third>");
}

#[test]
fn a_description_may_be_in_chunks_and_an_attribute() {
    let text = include_str!("samples/1.21-machine.vbox");
    let chunks = "<Description>a<!-- c -->b<![CDATA[<c>&amp;]]>&quot;d</Description><MediaRegistry>";
    let parsed = parse_machine(text.replace("<MediaRegistry>", chunks).as_bytes()).unwrap();
    assert_eq!(parsed.machine.description, "ab<c>&amp;\"d");
    let attributes = text
        .replace(r#"format="VDI""#, r#"format="VDI" Description="of a disk""#)
        .replace("<Machine ", r#"<Machine Description="of a machine" "#);
    let parsed = parse_machine(attributes.as_bytes()).unwrap();
    assert_eq!(parsed.machine.description, "of a machine");
    assert_eq!(parsed.media[0].description, "of a disk");
}
