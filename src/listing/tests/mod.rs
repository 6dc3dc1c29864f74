//! Whole listings, compared with the texts in `tests/golden/listing`. Run with `UPDATE_GOLDEN=1` to rewrite them,
//! and review the difference.

mod drives;
mod lab;
mod snapshots;

use super::report::MediumState;
use super::text::width;
use super::{DiskReport, Error, Form, Report, Style, write_json, write_machines, write_partitions};
use crate::guestfs::Content;
use crate::registry::{Attachment, DeviceKind, MachineState, MediumKind};
use crate::volume::{Scheme, Table, Volume};
use lab::{Lab, slot, snapshot, uuid};
use std::path::{Path, PathBuf};

const SHORT: Form = Form { wide: false, long: false, tree: false };
const WIDE: Form = Form { wide: true, long: false, tree: false };
const LONG: Form = Form { wide: false, long: true, tree: false };
const PLAIN: Style = Style { width: None, color: false };

fn columns(width: usize) -> Style {
    Style { width: Some(width), color: false }
}

fn text(report: &Report, form: Form, style: Style) -> String {
    let mut out = Vec::new();
    write_machines(&mut out, report, form, style).unwrap();
    String::from_utf8(out).unwrap()
}

/// Compares a text with its golden file.
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/listing").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{} differs from\n{text}", path.display());
}

const MIB: u64 = 1 << 20;

/// Machines of all sorts: a snapshot tree with a branch that nothing uses, a shared base, a saved and an aborted
/// machine, groups, drives, and what cannot be used.
fn mixed() -> Lab {
    let mut lab = Lab::default();
    let base = lab.base(0x11, "/vms/alpine tree/alpine tree.vdi", MediumKind::Normal, 9 * MIB, 16 * MIB);
    let tools = lab.child(0x12, base, 3 * MIB);
    lab.child(0x13, tools, 4 * MIB);
    let experiment = lab.child(0x14, base, 3 * MIB);
    let leaf = lab.child(0x15, experiment, 4 * MIB);
    let machine = lab.machine(0x1, "alpine tree", &[leaf]);
    machine.description = "First line\nsecond line & <markup>".to_owned();
    machine.snapshots = vec![
        snapshot(0x1a, "Clean install", None, 0x11),
        snapshot(0x1b, "With tools", Some(0), 0x12),
        snapshot(0x1c, "Experiment ünïcode", Some(0), 0x14),
    ];
    machine.snapshots[0].description = "fresh & clean".to_owned();
    machine.snapshots[2].online = true;
    machine.current_snapshot = Some(2);

    let template = lab.base(0x21, "/vms/shared kinds/multiattach.vdi", MediumKind::MultiAttach, 11 * MIB, 12 * MIB);
    let first = lab.child(0x22, template, 3 * MIB);
    let second = lab.child(0x23, template, 3 * MIB);
    let writethrough = lab.base(0x24, "/vms/data.vdi", MediumKind::Writethrough, 1 << 40, 2 << 40);
    lab.set_state(writethrough, MediumState::WriteLocked, None);
    let iso = lab.base(0x25, "/vms/debian.iso", MediumKind::Readonly, 700 * MIB, 700 * MIB);
    let machine = lab.machine(0x2, "shared kinds", &[first, writethrough]);
    machine.state = MachineState::Saved;
    machine.state_file = Some(PathBuf::from("/vms/shared kinds/Snapshots/2026-11-23T13-49-46.sav"));
    machine.groups = vec!["/lab/kinds".to_owned(), "/web".to_owned()];
    let dvd = |port, medium, host_drive: Option<&str>| Attachment {
        controller: "IDE".to_owned(),
        kind: DeviceKind::Dvd,
        host_drive: host_drive.map(str::to_owned),
        ..slot(port, medium)
    };
    machine.attachments.push(dvd(0, Some(uuid(0x25)), None));
    machine.attachments.push(dvd(1, None, None));
    machine.attachments.push(Attachment { kind: DeviceKind::Floppy, ..dvd(2, None, Some("/dev/fd0")) });
    lab.medium(iso).description = "Installer".to_owned();
    lab.medium(iso).device = DeviceKind::Dvd;

    let old = lab.base(0x31, "/vms/second user/removed.vmdk", MediumKind::Normal, 65536, 12 * MIB);
    lab.set_state(old, MediumState::ReadLocked, None);
    let machine = lab.machine(0x3, "second user", &[second]);
    machine.state = MachineState::Aborted;
    machine.snapshots = vec![snapshot(0x3a, "Before the disk was removed", None, 0x31)];
    machine.current_snapshot = Some(0);
    machine.current_state_modified = true;

    lab.machine(0x4, "no disks", &[]).groups = vec!["/lab/empty".to_owned()];

    let gone = lab.base(0x51, "/vms/lost disk/gone.vdi", MediumKind::Normal, 0, 0);
    let why = "Cannot open /vms/lost disk/gone.vdi: No such file or directory (os error 2)";
    lab.set_state(gone, MediumState::NoAccess, Some(why));
    let machine = lab.machine(0x5, "lost disk", &[gone]);
    machine.attachments.push(slot(1, Some(uuid(0x52))));
    lab.lost_machine(0x6, "/vms/lost vm/lost vm.vbox");

    let orphan = lab.base(0x71, "/vms/lost vm/orphan.vdi", MediumKind::Normal, 2 * MIB, 1 << 33);
    lab.child(0x72, orphan, MIB);
    lab
}

#[test]
fn each_form_of_a_mixed_registry() {
    let report = mixed().report();
    golden("mixed-short.txt", &text(&report, SHORT, PLAIN));
    golden("mixed-wide.txt", &text(&report, WIDE, PLAIN));
    golden("mixed-long.txt", &text(&report, LONG, PLAIN));
    golden("mixed-wide-color.txt", &text(&report, WIDE, Style { color: true, ..columns(140) }));
    let mut json = Vec::new();
    write_json(&mut json, &report).unwrap();
    golden("mixed.json", &String::from_utf8(json).unwrap());
}

#[test]
fn descriptions_and_every_slot_of_a_disk_are_shown() {
    let mut lab = Lab::default();
    let disk = lab.base(0x11, "/vms/a/a.vdi", MediumKind::Shareable, MIB, MIB);
    lab.medium(disk).description = "the disk of both".to_owned();
    lab.machine(0x1, "a", &[disk, disk]);
    let report = lab.report();
    // As upstream has it in this form.
    assert!(text(&report, SHORT, PLAIN).contains("    Desc:     the disk of both\n"));
    let long = text(&report, LONG, PLAIN);
    for port in ["SATA, port 0, device 0", "SATA, port 1, device 0"] {
        assert!(long.contains(port), "{port} is missing in {long}");
    }
}

#[test]
fn each_form_on_narrow_terminals() {
    let report = mixed().report();
    for columns_of_terminal in [100, 80, 40] {
        let style = columns(columns_of_terminal);
        golden(&format!("mixed-wide-{columns_of_terminal}.txt"), &text(&report, WIDE, style));
    }
    golden("mixed-short-40.txt", &text(&report, SHORT, columns(40)));
    golden("mixed-long-40.txt", &text(&report, LONG, columns(40)));
}

/// Names that are hard to show: wide, joined, combining, long, empty, and hostile ones.
fn awkward() -> Lab {
    let mut lab = Lab::default();
    let names = [
        ("日本語の仮想マシン", "スナップショット一"),
        ("family 👩‍👩‍👧 and 🇩🇪", "👍🏽 works"),
        ("combining e\u{301}a\u{308}o\u{302}", "n\u{303}"),
        ("\x1b[31mred\x1b[0m\x07", "clear\x1b[2J\u{9b}2Jscreen"),
        ("two\nlines\tand a tab", "right\u{202e}to left"),
        ("", ""),
    ];
    for (number, (machine_name, snapshot_name)) in (1..).zip(names) {
        let base = lab.base(16 * number, &format!("/vms/{machine_name}.vdi"), MediumKind::Normal, 2 * MIB, 64 * MIB);
        let child = lab.child(16 * number + 1, base, MIB);
        let machine = lab.machine(number, machine_name, &[child]);
        machine.snapshots = vec![snapshot(16 * number + 10, snapshot_name, None, 16 * number)];
    }
    let base = lab.base(0x101, &format!("/vms/{}.vdi", "image".repeat(40)), MediumKind::Normal, MIB, MIB);
    let child = lab.child(0x102, base, MIB);
    let machine = lab.machine(0x100, &"machine ".repeat(25), &[child]);
    machine.snapshots = vec![snapshot(0x10a, &"快照".repeat(100), None, 0x101)];
    lab
}

#[test]
fn awkward_names_keep_the_table_straight() {
    let report = awkward().report();
    golden("awkward-wide.txt", &text(&report, WIDE, PLAIN));
    golden("awkward-wide-110.txt", &text(&report, WIDE, columns(110)));
    golden("awkward-short-60.txt", &text(&report, SHORT, columns(60)));
    for style in [PLAIN, columns(200), columns(110)] {
        let text = text(&report, WIDE, style);
        let before_uuid = |line: &str| line.find("5bd1e995").map(|at| width(&line[..at]));
        let mut starts: Vec<usize> = text.lines().filter_map(before_uuid).collect();
        starts.dedup();
        assert_eq!(starts.len(), 1, "UUIDs begin at {starts:?} in\n{text}");
    }
}

#[test]
fn no_line_has_trailing_blanks_or_a_cut_uuid_or_a_control_character() {
    for report in [mixed().report(), awkward().report()] {
        let plain: Vec<String> = [SHORT, WIDE, LONG].iter().map(|form| text(&report, *form, PLAIN)).collect();
        for (form, plain) in [SHORT, WIDE, LONG].into_iter().zip(plain) {
            for style in (0..200).step_by(7).map(columns).chain([PLAIN]) {
                let text = text(&report, form, style);
                assert_eq!(text.matches("5bd1e995-").count(), plain.matches("5bd1e995-").count(), "{style:?}\n{text}");
                for line in text.lines() {
                    assert_eq!(line.trim_end(), line, "{style:?}");
                    assert!(!line.contains(super::text::is_interpreted), "{style:?}: {line:?}");
                }
            }
        }
    }
}

#[test]
fn the_wide_table_fits_the_terminal() {
    for report in [mixed().report(), awkward().report()] {
        for room in 40..160 {
            for line in text(&report, WIDE, columns(room)).lines() {
                assert!(width(line) <= room, "{room} columns: {line}");
            }
        }
    }
}

#[test]
fn hostile_lengths_do_not_widen_the_table() {
    let mut lab = Lab::default();
    let disk = lab.base(0x11, "/vms/disk.vdi", MediumKind::Normal, MIB, MIB);
    lab.medium(disk).format = "V".repeat(100_000);
    lab.machine(0x1, &"name".repeat(100_000), &[disk]);
    let report = lab.report();
    for style in [PLAIN, columns(1_000_000)] {
        let wide = text(&report, WIDE, style);
        assert!(wide.lines().all(|line| width(line) < 350), "{style:?}");
        assert_eq!(wide.lines().count(), 5);
    }
}

#[test]
fn deep_trees_stay_on_the_screen() {
    let mut lab = Lab::default();
    let mut leaf = lab.base(0x1000, "/vms/deep.vdi", MediumKind::Normal, MIB, MIB);
    let mut snapshots = Vec::new();
    for level in 1..=14_u128 {
        let parent = usize::try_from(level).unwrap().checked_sub(2);
        snapshots.push(snapshot(0x2000 + level, &format!("Day {level}"), parent, 0xFFF + level));
        let parent = leaf;
        leaf = lab.child(0x1000 + level, parent, MIB);
        if level % 5 == 0 {
            lab.child(0x3000 + level, parent, MIB);
        }
    }
    lab.machine(0x1, "deep", &[leaf]).snapshots = snapshots;
    golden("deep-wide.txt", &text(&lab.report(), WIDE, PLAIN));
}

#[test]
fn ten_thousand_snapshots_are_listed() {
    let mut lab = Lab::default();
    let mut leaf = lab.base(0x10_0000, "/vms/deep.vdi", MediumKind::Normal, MIB, MIB);
    for level in 1..=10_000 {
        leaf = lab.child(0x10_0000 + level, leaf, MIB);
    }
    lab.machine(0x1, "deep", &[leaf]);
    let report = lab.report();
    let wide = text(&report, WIDE, columns(140));
    assert_eq!(wide.matches("5bd1e995-").count(), 10_002);
    assert!(wide.lines().all(|line| width(line) <= 140));
    let mut json = Vec::new();
    write_json(&mut json, &report).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["media"].as_array().unwrap().len(), 10_001);
}

#[test]
fn shows_each_machine_only_its_own_clones_of_a_template() {
    let mut lab = Lab::default();
    let template = lab.base(0x10_0000, "/vms/template.vdi", MediumKind::MultiAttach, MIB, MIB);
    let snapshot_of_template = lab.child(0x10_0001, template, MIB);
    for clone in 1..=2000 {
        let disk = lab.child(0x20_0000 + clone, snapshot_of_template, MIB);
        lab.machine(clone, &format!("clone {clone}"), &[disk]);
    }
    let report = lab.report();
    let wide = text(&report, WIDE, PLAIN);
    let first_machine: Vec<&str> = wide.lines().skip(2).take_while(|line| !line.is_empty()).collect();
    golden("clones-wide.txt", &(first_machine.join("\n") + "\n"));
    assert_eq!(wide.matches("(1999 more images of this tree belong to other VMs)").count(), 2000);
    assert_eq!(text(&report, SHORT, PLAIN).matches("(1999 more images").count(), 2000);
    assert_eq!(report.media.len(), 2002);
}

#[test]
fn a_large_tree_of_no_machine_is_shown_whole() {
    let mut lab = Lab::default();
    let base = lab.base(0x10_0000, "/vms/lost.vdi", MediumKind::Normal, MIB, MIB);
    for child in 1..=150 {
        lab.child(0x20_0000 + child, base, MIB);
    }
    let wide = text(&lab.report(), WIDE, PLAIN);
    assert_eq!(wide.matches(" (not attached) ").count(), 150);
    assert!(!wide.contains("more images"));
}

#[test]
fn uses_by_many_snapshots_are_counted() {
    let mut lab = Lab::default();
    let disk = lab.base(0x11, "/vms/data.vdi", MediumKind::Writethrough, MIB, MIB);
    let machine = lab.machine(0x1, "much snapped", &[disk]);
    machine.snapshots = (0..5).map(|n| snapshot(0x20 + n, &format!("S{n}"), None, 0x11)).collect();
    let wide = text(&lab.report(), WIDE, PLAIN);
    assert!(wide.contains(" +- data.vdi [S0, S1, S2, and 2 more] (current state)  "), "{wide}");
}

#[test]
fn shows_encrypted_media_with_their_key() {
    let mut lab = Lab::default();
    let base = lab.base(0x11, "/vms/secret.vdi", MediumKind::Normal, MIB, MIB);
    let child = lab.child(0x12, base, MIB);
    lab.medium(base).properties.insert("CRYPT/KeyId".to_owned(), "my key".to_owned());
    lab.machine(0x1, "sealed", &[child]);
    let report = lab.report();
    assert_eq!(text(&report, WIDE, PLAIN).matches("VDI encrypted").count(), 2);
    assert_eq!(text(&report, SHORT, PLAIN).matches("Key id:   my key (encrypted)").count(), 2);
    assert_eq!(text(&report, LONG, PLAIN).matches("Key id:   my key (encrypted)").count(), 2);
}

#[test]
fn a_listing_of_one_machine_shows_and_examines_no_other() {
    let report = mixed().report_on(Some("alpine tree")).unwrap();
    golden("one-short.txt", &text(&report, SHORT, PLAIN));
    assert_eq!(report.media.len(), 5);
    let report = mixed().report_on(Some("{5BD1E995-77A6-4C08-9F3E-000000000006}")).unwrap();
    assert_eq!(report.machines[0].name, "lost vm");
    assert_eq!(mixed().report_on(Some("unknown")).unwrap_err().kind(), crate::error_kind::ErrorKind::NotFound);
}

#[test]
fn an_image_of_an_unsupported_format_has_a_note_in_the_long_form_only() {
    let mut lab = Lab::default();
    let disk = lab.base(0x11, "/vms/disk.xyz", MediumKind::Normal, MIB, MIB);
    lab.set_state(disk, MediumState::Created, Some("It is not supported"));
    lab.machine(0x1, "odd", &[disk]);
    let report = lab.report();
    assert!(text(&report, LONG, PLAIN).contains("    State:    created\n    Note:     It is not supported\n"));
    assert!(!text(&report, SHORT, PLAIN).contains("supported"));
    assert!(!text(&report, WIDE, PLAIN).contains("supported"));
}

#[test]
fn distinguishes_a_closed_pipe_from_other_errors() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    drop(reader);
    let report = mixed().report();
    let mut results: Vec<_> = [SHORT, WIDE, LONG].map(|form| write_machines(&mut writer, &report, form, PLAIN)).into();
    results.push(write_json(&mut writer, &report));
    results.push(write_partitions(&mut writer, &disk(2), PLAIN));
    for result in results {
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::Write(e) if e.kind() == std::io::ErrorKind::BrokenPipe), "{error:?}");
    }
}

/// The disk of a chain of `links` with partitions.
fn disk(links: usize) -> DiskReport {
    let images = [Path::new("/vms/Snapshots/{5bd1e995-77a6-4c08-9f3e-000000000012}.vdi"), Path::new("/vms/mbr.vdi")];
    let volume = |index, start: u64, sectors: u64, type_name: &'static str, bootable| Volume {
        index,
        linux_number: 1,
        offset: start * 512,
        size: sectors * 512,
        type_name: type_name.into(),
        name: String::new(),
        bootable,
    };
    let volumes = vec![
        volume(0, 2048, 40960, "FAT16", true),
        volume(1, 45056, 122_880, "Linux native", false),
        volume(2, 1_000_000, 61440, "NTFS", false),
    ];
    let table = Table { scheme: Scheme::Mbr, sector_size: 512, volumes, notes: Vec::new() };
    let content = |type_name: &str, label: &str, uuid: &str, note: Option<&str>| Content {
        type_name: type_name.to_owned(),
        label: label.to_owned(),
        uuid: uuid.to_owned(),
        notes: note.into_iter().map(str::to_owned).collect(),
    };
    let contents = [
        content("FAT16", "EFI\x1b[1m 日本", "12AB-34CD", None),
        content("LUKS2", "", "5bd1e995-77a6-4c08-9f3e-0000000000cc", Some("It is encrypted (LUKS): say how to go on")),
        content("", "", "", None),
    ];
    DiskReport::of_images(&images[2 - links..], Some(uuid(0x12)), 600 * MIB, &table, &contents)
}

fn partitions(disk: &DiskReport, style: Style) -> String {
    let mut out = Vec::new();
    write_partitions(&mut out, disk, style).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn partitions_are_a_table() {
    golden("partitions.txt", &partitions(&disk(1), PLAIN));
    let mut named = disk(2);
    named.scheme = "GPT";
    named.partitions[0].name = "EFI system".to_owned();
    named.partitions[2].name = "根\x1b[1m".to_owned();
    named.notes = vec!["Volume 2 ends at byte 2662400, past the end of the disk at 1048576; it is cut".to_owned()];
    golden("partitions-named.txt", &partitions(&named, PLAIN));
    golden("partitions-named-color.txt", &partitions(&named, Style { color: true, ..columns(80) }));
    let mut json = Vec::new();
    write_json(&mut json, &named).unwrap();
    golden("partitions-named.json", &String::from_utf8(json).unwrap());
}

#[test]
fn reports_a_disk_without_partitions() {
    let mut empty = disk(1);
    empty.scheme = "none";
    empty.partitions.clear();
    empty.uuid = None;
    empty.notes.clear();
    golden("partitions-empty.txt", &partitions(&empty, PLAIN));
    empty.filesystem = disk(1).partitions.swap_remove(0).filesystem;
    golden("partitions-whole.txt", &partitions(&empty, PLAIN));
}

#[test]
fn the_number_of_a_partition_survives_a_long_name() {
    let mut long = disk(1);
    long.base = format!("/vms/{}.vdi", "快照".repeat(50));
    golden("partitions-long-80.txt", &partitions(&long, columns(80)));
    golden("partitions-long-40.txt", &partitions(&long, columns(40)));
}
