//! The names of machines, snapshots and media that begin with what is typed.

use super::line::Line;
use crate::registry::{Attachment, Machine, MachineEntry, Medium, Registry};
use clap_complete::CompletionCandidate;
use std::collections::HashMap;
use std::ffi::OsStr;
use uuid::Uuid;

/// The machines. One that shares its name is offered by its UUID, and all of them where the beginning of one is typed.
pub(super) fn machines(line: &Line, current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(registry) = line.registry() else { return Vec::new() };
    let named = registry.machines.iter().map(|entry| Named {
        name: entry.name().into_owned(),
        uuid: entry.uuid,
        about: about(entry),
    });
    offered(named, current)
}

fn about(entry: &MachineEntry) -> String {
    match &entry.machine {
        Ok(machine) if machine.snapshots.is_empty() => machine.os_type.clone(),
        Ok(machine) => format!("{}, snapshots: {}", machine.os_type, machine.snapshots.len()),
        Err(_) if entry.key_id().is_some() => "encrypted".to_owned(),
        Err(_) => "its settings cannot be read".to_owned(),
    }
}

/// The snapshots of the machine that the line names.
pub(super) fn snapshots(line: &Line, current: &OsStr) -> Vec<CompletionCandidate> {
    of_machine(line, |_, entry, machine| {
        let named = machine.snapshots.iter().map(|snapshot| Named {
            name: snapshot.name.clone(),
            uuid: snapshot.uuid,
            about: snapshot.time_stamp.clone(),
        });
        let state = Named { name: "current".to_owned(), uuid: Uuid::nil(), about: about(entry) };
        offered(named.chain([state]), current)
    })
}

/// The disks of the machine that the line names, in the state that it names: their slots and file names.
pub(super) fn disks(line: &Line, current: &OsStr) -> Vec<CompletionCandidate> {
    of_machine(line, |registry, entry, machine| {
        let snapshot = match (&line.which.snapshot, line.which.at) {
            (Some(name), _) => machine.find_snapshot(name).unwrap_or_default(),
            (None, Some(time)) => machine.snapshot_at(time).ok(),
            (None, None) => None,
        };
        let slots = machine.attachments_of(snapshot).iter().filter(|slot| slot.medium.is_some());
        let file = |slot: &Attachment| {
            let medium = registry.media.find_near(slot.medium?, &entry.path)?;
            Some(registry.media.get(medium).file_name())
        };
        let by_slot = slots.clone().map(|slot| Named {
            name: slot.slot(),
            uuid: Uuid::nil(),
            about: file(slot).unwrap_or_default(),
        });
        let by_file = slots.filter_map(|slot| {
            Some(Named { name: file(slot)?, uuid: slot.medium.unwrap_or_default(), about: slot.slot() })
        });
        offered(by_slot.chain(by_file), current)
    })
}

/// Images by the names of their files and by their UUIDs.
pub(super) fn media(line: &Line, current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(registry) = line.registry() else { return Vec::new() };
    let media = || registry.media.iter().map(|(_, medium)| medium);
    let by_name = media().filter(|medium| !is_named_by_uuid(medium)).map(|medium| Named {
        name: medium.file_name(),
        uuid: Uuid::nil(),
        about: medium.location.display().to_string(),
    });
    let by_uuid = media().map(|medium| Named {
        name: medium.uuid.to_string(),
        uuid: medium.uuid,
        about: medium.location.display().to_string(),
    });
    let mut found = offered(by_name, current);
    found.extend(offered(by_uuid, current));
    found
}

/// The file name of a snapshot's image, which says no more than its UUID.
fn is_named_by_uuid(medium: &Medium) -> bool {
    medium.file_name().starts_with('{')
}

/// What the machine that the line names has.
fn of_machine(
    line: &Line,
    offer: impl FnOnce(&Registry, &MachineEntry, &Machine) -> Vec<CompletionCandidate>,
) -> Vec<CompletionCandidate> {
    let found = || {
        let registry = line.registry()?;
        let entry = &registry.machines[registry.find_machine(line.which.machine.as_ref()?).ok()?];
        Some(offer(&registry, entry, entry.machine.as_ref().ok()?))
    };
    found().unwrap_or_default()
}

/// Something that has a name.
struct Named {
    name: String,
    /// Nil where it has none or is not to be offered by it.
    uuid: Uuid,
    about: String,
}

/// Those that begin with what is typed: by the name if only one has it, else by the UUID.
fn offered(all: impl Iterator<Item = Named>, current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let all: Vec<Named> = all.collect();
    let mut count: HashMap<&str, usize> = HashMap::new();
    all.iter().for_each(|one| *count.entry(&one.name).or_default() += 1);
    let candidate = |value: String, about: &str| CompletionCandidate::new(value).help(Some(about.to_owned().into()));
    let lower = current.to_ascii_lowercase();
    let mut found = Vec::new();
    for Named { name, uuid, about } in &all {
        let is_only = count.get(name.as_str()) == Some(&1) && !name.is_empty();
        let uuid = (!uuid.is_nil()).then(|| uuid.to_string());
        match uuid.filter(|uuid| uuid != name) {
            _ if is_only && name.starts_with(current) => found.push(candidate(name.clone(), about)),
            Some(uuid) if !current.is_empty() && uuid.starts_with(&lower) => found.push(candidate(uuid, name)),
            // The shell replaces what is typed only by what begins so, and every name begins with nothing.
            Some(uuid) if !is_only && current.is_empty() => found.push(candidate(uuid, name)),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shares_a_name_is_offered_by_its_uuid() {
        let named = |name: &str, uuid: u128| Named {
            name: name.to_owned(),
            uuid: Uuid::from_u128(uuid << 96),
            about: String::new(),
        };
        let offer = |current: &str| -> Vec<String> {
            let all = [named("alpine", 0xabcd_0000), named("twin", 0x1111_1111), named("twin", 0x2222_2222)];
            let found = offered(all.into_iter(), current.as_ref());
            found.iter().map(|one| one.get_value().to_string_lossy().into_owned()).collect()
        };
        let uuid = |start: &str| format!("{start}-0000-0000-0000-000000000000");
        assert_eq!(offer(""), ["alpine".to_owned(), uuid("11111111"), uuid("22222222")]);
        assert_eq!(offer("al"), ["alpine"]);
        assert_eq!(offer("ABC"), [uuid("abcd0000")]);
        assert_eq!(offer("2"), [uuid("22222222")]);
        assert_eq!(offer("tw"), Vec::<String>::new());
    }
}
