//! Finds a machine by the name that the user gives, and explains a name or UUID that is not that of a medium.

use super::xml::{parse_bare_uuid, parse_uuid};
use super::{Attachment, DeviceKind, Error, MachineEntry, Registry, Result, Snapshot};
use crate::error_kind::message;
use std::fs;
use std::path::Path;
use uuid::Uuid;

/// Names, UUIDs or disks that one message shows at most.
const SHOWN: usize = 8;

/// From which similarity on, between 0 and 1, a name may be a mistyped other one.
const SIMILAR: f64 = 0.6;

impl Registry {
    /// The machine with a UUID (in any case, with or without braces and hyphens), a name, or the path of its settings
    /// file, as an index into [`Registry::machines`]. Where no name is exactly the same, one that differs only in case
    /// will do.
    ///
    /// # Errors
    /// [`Error::NotFound`] with similar names; [`Error::Ambiguous`] when several machines have the name or UUID.
    pub fn find_machine(&self, what: &str) -> Result<usize> {
        let by_uuid = |uuid: Uuid| self.machines_where(|entry| entry.uuid == uuid && !uuid.is_nil());
        let lower = what.to_lowercase();
        let looks: [&dyn Fn() -> Vec<usize>; 5] = [
            &|| parse_uuid(what).map(by_uuid).unwrap_or_default(),
            &|| self.machines_where(|entry| entry.name() == what),
            &|| self.machines_where(|entry| entry.name().to_lowercase() == lower),
            &|| parse_bare_uuid(what).map(by_uuid).unwrap_or_default(),
            &|| self.machines_at(what),
        ];
        let found = looks.iter().map(|look| look()).find(|found| !found.is_empty()).unwrap_or_default();
        match *found {
            [index] => Ok(index),
            [] => Err(self.no_machine(what)),
            _ => Err(Error::Ambiguous {
                what: format!("The machine name {what:?}"),
                candidates: list(found.iter().map(|index| self.describe_among(*index, &found))),
                how: "the UUID, or the .vbox file with --settings",
            }),
        }
    }

    /// The machines whose settings file has a path.
    fn machines_at(&self, what: &str) -> Vec<usize> {
        match fs::canonicalize(what) {
            Ok(wanted) if wanted.is_file() => {
                self.machines_where(|entry| fs::canonicalize(&entry.path).is_ok_and(|path| path == wanted))
            }
            _ => Vec::new(),
        }
    }

    /// Describes one of several machines with the same name. Copies have the same UUID too and differ by path.
    fn describe_among(&self, index: usize, others: &[usize]) -> String {
        let entry = &self.machines[index];
        let same = others.iter().filter(|other| self.machines[**other].uuid == entry.uuid).count();
        if same > 1 { format!("{} in {}", describe(entry), entry.path.display()) } else { describe(entry) }
    }

    fn machines_where(&self, is: impl Fn(&MachineEntry) -> bool) -> Vec<usize> {
        let all = self.machines.iter().enumerate();
        all.filter(|(_, entry)| is(entry)).map(|(index, _)| index).collect()
    }

    fn no_machine(&self, what: &str) -> Error {
        let lower = what.to_lowercase();
        let mut near: Vec<(f64, &MachineEntry)> = self
            .machines
            .iter()
            .map(|entry| (similarity(&lower, &entry.name().to_lowercase()), entry))
            .filter(|(score, _)| *score >= SIMILAR)
            .collect();
        near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let hint = if self.machines.is_empty() {
            format!("the registry in {} has no machines", self.directory.display())
        } else if near.is_empty() {
            format!("the machines are {}", list(self.machines.iter().map(describe)))
        } else {
            format!("similar names are {}", list(near.into_iter().map(|(_, entry)| describe(entry))))
        };
        Error::NotFound { what: format!("The machine {what:?}"), hint }
    }

    /// What a UUID is that no medium has: a machine or a snapshot, and which media it has.
    pub(super) fn explain_uuid(&self, uuid: Uuid) -> Option<String> {
        self.explain("UUID", |entry| entry.uuid == uuid, |snapshot| snapshot.uuid == uuid)
    }

    /// What a name is that no image has: a machine or a snapshot, and which media it has.
    pub(super) fn explain_name(&self, name: &str) -> Option<String> {
        self.explain("name", |entry| entry.name() == name, |snapshot| snapshot.name == name)
    }

    /// The machines whose settings are encrypted and could not be opened, with their keys.
    pub(super) fn encrypted(&self) -> Option<String> {
        let encrypted = self.machines.iter().filter_map(|entry| Some((entry, entry.key_id()?)));
        let text =
            list(encrypted.map(|(entry, key)| format!("{}, encrypted with the key {key:?}", entry.path.display())));
        (!text.is_empty()).then_some(text)
    }

    /// The machines whose settings cannot be read for other reasons than encryption: what is not found may be theirs.
    pub(super) fn unreadable(&self) -> Option<String> {
        let unreadable = self.machines.iter().filter_map(|entry| match &entry.machine {
            Err(error) if entry.key_id().is_none() => Some(message(error)),
            _ => None,
        });
        let text = list(unreadable);
        (!text.is_empty()).then(|| format!("it may be of a machine whose settings cannot be read: {text}"))
    }

    /// The registered media whose files have a name.
    pub(super) fn explain_file(&self, name: &str) -> Option<String> {
        let media = self.media.iter().map(|(_, medium)| medium).filter(|medium| medium.file_name() == name);
        let text = list(media.map(|medium| format!("{} ({})", medium.uuid, medium.location.display())));
        (!text.is_empty()).then(|| format!("there is no such file here; media of that name are {text}"))
    }

    fn explain(
        &self,
        what: &str,
        is_machine: impl Fn(&MachineEntry) -> bool,
        is_snapshot: impl Fn(&Snapshot) -> bool,
    ) -> Option<String> {
        let mut found = Vec::new();
        for entry in &self.machines {
            if is_machine(entry) {
                found.push(match &entry.machine {
                    Ok(machine) => {
                        format!(
                            "the machine {:?}, which has {}",
                            machine.name,
                            self.disks(&machine.attachments, &entry.path)
                        )
                    }
                    Err(e) => format!("a machine whose settings cannot be read: {}", message(e)),
                });
            }
            let Ok(machine) = &entry.machine else { continue };
            let file = &entry.path;
            found.extend(machine.snapshots.iter().filter(|one| is_snapshot(one)).map(|one| {
                let disks = self.disks(&one.attachments, file);
                format!("the snapshot {:?} of the machine {:?}, which has {disks}", one.name, machine.name)
            }));
        }
        (!found.is_empty()).then(|| format!("it is the {what} of {}; give one of the disks", list(found)))
    }

    /// The hard disks among the `attachments` in a settings file, as a user may name them.
    fn disks(&self, attachments: &[Attachment], settings: &Path) -> String {
        let disks = attachments.iter().filter(|attachment| attachment.kind == DeviceKind::HardDisk);
        let named = disks.filter_map(|slot| {
            let uuid = slot.medium?;
            let file =
                self.media.find_near(uuid, settings).map_or_else(String::new, |id| self.media.get(id).file_name());
            Some(format!("{uuid} ({} {}:{} {file})", slot.controller, slot.port, slot.device))
        });
        let text = list(named);
        if text.is_empty() { "no disks".to_owned() } else { format!("the disks {text}") }
    }
}

fn describe(entry: &MachineEntry) -> String {
    if entry.uuid.is_nil() {
        return format!("{:?} in {}", entry.name(), entry.path.display());
    }
    format!("{:?} ({})", entry.name(), entry.uuid)
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    let mut items = items.into_iter();
    let mut text = items.by_ref().take(SHOWN).collect::<Vec<_>>().join(", ");
    let rest = items.count();
    if rest > 0 {
        text.push_str(&format!(" and {rest} more"));
    }
    text
}

fn similarity(asked: &str, name: &str) -> f64 {
    let part = !asked.is_empty() && (name.contains(asked) || !name.is_empty() && asked.contains(name));
    if part { 1.0 } else { strsim::normalized_damerau_levenshtein(asked, name) }
}
