//! The registry that VirtualBox 7.2.22 wrote, compared with the output of its own `VBoxManage list -l vms` and `hdds`.

use super::*;
use crate::crypt::Passwords;
use std::path::Path;
use std::process::Command;

/// Decompresses the settings files and the expectations.
fn decompress() -> tempfile::TempDir {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("VBOXIMG_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let paths = [root.join("fixtures/registry.tar.zst"), shared.join("oracle/registry.tar.zst")];
    let archive = paths.iter().find(|path| path.exists()).unwrap_or_else(|| panic!("none of {paths:?} exists"));
    let directory = tempfile::tempdir().unwrap();
    // Without the copies, which VirtualBox does not read.
    let wanted = ["*.vbox", "home/VirtualBox.xml", "expected/vms.txt", "expected/hdds.txt"];
    let mut tar = Command::new("tar");
    tar.arg("--zstd").arg("-xf").arg(archive).arg("-C").arg(directory.path()).arg("--wildcards").args(wanted);
    assert!(tar.status().unwrap().success(), "{tar:?}");
    directory
}

fn expected(directory: &Path, name: &str) -> String {
    let text = fs::read_to_string(directory.join("expected").join(name)).unwrap();
    text.replace("@ROOT@", &directory.display().to_string())
}

/// The value after `label:` when `line` has that label.
fn value<'a>(line: &'a str, label: &str) -> Option<&'a str> {
    line.strip_prefix(label)?.strip_prefix(':').map(str::trim)
}

/// `list -l hdds` with only what a registry holds: one line per fact.
fn reported_media(text: &str) -> Vec<String> {
    let mut facts = Vec::new();
    let mut section = "";
    for line in text.lines() {
        let rest = if line.starts_with(' ') {
            line.trim()
        } else {
            section = line.split(':').next().unwrap();
            value(line, section).unwrap_or_default()
        };
        match section {
            "UUID" | "Parent UUID" | "Location" | "Storage format" | "Auto-Reset" | "Child UUIDs" => {
                facts.push(format!("{section} {rest}"));
            }
            "Type" => facts.push(format!("Type {}", rest.split(' ').next().unwrap())),
            "In use by VMs" => facts.push(format!("{section} {rest}")),
            _ => {}
        }
    }
    facts
}

/// The same facts from a loaded registry.
fn known_media(registry: &Registry) -> Vec<String> {
    let mut facts = Vec::new();
    let uuid_of = |id: MediumId| registry.media.get(id).uuid.to_string();
    for (id, medium) in registry.media.iter() {
        facts.push(format!("UUID {}", medium.uuid));
        facts.push(format!("Parent UUID {}", medium.parent.map_or("base".to_owned(), uuid_of)));
        facts.push(format!("Type {}", medium.kind.name()));
        if medium.parent.is_some() {
            facts.push(format!("Auto-Reset {}", if medium.auto_reset { "on" } else { "off" }));
        }
        facts.push(format!("Location {}", medium.location.display()));
        facts.push(format!("Storage format {}", medium.format));
        for one in registry.uses_of(id) {
            let machine = registry.machines[one.machine].machine.as_ref().unwrap();
            let snapshot = one.snapshot.map(|at| &machine.snapshots[at]);
            let at = snapshot.map_or(String::new(), |one| format!(" [{} (UUID: {})]", one.name, one.uuid));
            facts.push(format!("In use by VMs {} (UUID: {}){at}", machine.name, machine.uuid));
        }
        facts.extend(medium.children.iter().map(|child| format!("Child UUIDs {}", uuid_of(*child))));
    }
    facts
}

#[test]
fn the_media_are_those_that_virtualbox_lists() {
    let directory = decompress();
    let registry = Registry::load(&directory.path().join("home"), &Passwords::default()).unwrap();
    let reported = reported_media(&expected(directory.path(), "hdds.txt"));
    assert_eq!(reported.iter().filter(|fact| fact.starts_with("UUID ")).count(), 27);
    assert_eq!(known_media(&registry), reported);
    assert_eq!(problems(&registry), [""; 0]);
}

/// `list -l vms` with only what this module reads: one line per fact.
fn reported_machines(text: &str) -> Vec<String> {
    let mut facts = Vec::new();
    let mut controller = String::new();
    let mut in_snapshots = false;
    for line in text.lines() {
        for label in ["Name", "Groups", "UUID", "Config file", "Snapshot folder", "State"] {
            facts.extend(value(line, label).map(|value| format!("{label} {value}")));
        }
        if line.starts_with('#')
            && let Some((_, rest)) = line.split_once('\'')
        {
            rest.split('\'').next().unwrap().clone_into(&mut controller);
        }
        if let Some((slot, content)) = line.strip_prefix("  Port ").and_then(|rest| rest.split_once(": ")) {
            facts.push(format!("{controller} Port {slot}: {content}"));
        }
        in_snapshots = line.starts_with("* Snapshots") || in_snapshots && !line.starts_with("* ");
        if in_snapshots && line.starts_with(' ') {
            facts.push(line.to_owned());
        }
    }
    facts
}

/// The same facts from a loaded registry.
fn known_machines(registry: &Registry) -> Vec<String> {
    let mut facts = Vec::new();
    for entry in &registry.machines {
        let file = format!("Config file {}", entry.path.display());
        let Ok(machine) = &entry.machine else {
            facts.extend(["Name <inaccessible!>".to_owned(), format!("UUID {}", entry.uuid), file]);
            continue;
        };
        assert_eq!(machine.uuid, entry.uuid);
        facts.push(format!("Name {}", machine.name));
        facts.push(format!("Groups {}", machine.groups.join(",")));
        facts.push(format!("UUID {}", machine.uuid));
        facts.push(file);
        facts.push(format!("Snapshot folder {}", machine.snapshot_directory.display()));
        let since = machine.last_state_change.trim_end_matches('Z');
        assert_eq!(machine.state, MachineState::PoweredOff);
        facts.push(format!("State powered off (since {since}.000000000)"));
        for slot in &machine.attachments {
            let content = slot.medium.map_or("Empty".to_owned(), |uuid| format!("UUID: {uuid}"));
            facts.push(format!("{} Port {}, Unit {}: {content}", slot.controller, slot.port, slot.device));
        }
        let mut depths: Vec<usize> = Vec::new();
        for (index, snapshot) in machine.snapshots.iter().enumerate() {
            let depth = snapshot.parent.map_or(1, |parent| depths[parent] + 1);
            depths.push(depth);
            let flag = if machine.current_snapshot == Some(index) { " *" } else { "" };
            let indent = "   ".repeat(depth);
            facts.push(format!("{indent}Name: {} (UUID: {}){flag}", snapshot.name, snapshot.uuid));
            if !snapshot.description.is_empty() {
                facts.push(format!("{indent}Description: {}", snapshot.description));
            }
        }
    }
    facts
}

#[test]
fn the_machines_are_those_that_virtualbox_lists() {
    let directory = decompress();
    let registry = Registry::load(&directory.path().join("home"), &Passwords::default()).unwrap();
    let reported = reported_machines(&expected(directory.path(), "vms.txt"));
    assert_eq!(reported.iter().filter(|fact| fact.starts_with("Name ")).count(), 9);
    assert_eq!(known_machines(&registry), reported);
    let description = &registry.machines[0].machine.as_ref().unwrap().description;
    assert_eq!(description, "First line\nsecond line & <markup>");
}
