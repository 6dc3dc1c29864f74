//! Finds a machine by the name that the user gives, and explains a name or UUID that is not that of a medium.

use super::named::{self, Named, list};
use super::{Attachment, DeviceKind, Error, MachineEntry, Registry, Result, Snapshot};
use crate::error_kind::message;
use std::fs;
use std::path::Path;
use uuid::Uuid;

impl Registry {
    /// The machine with a UUID (in any case, with or without braces and hyphens), a name, or the path of its settings
    /// file, as an index into [`Registry::machines`]. Where no name is exactly the same, one that differs only in case
    /// will do, and else the beginning of a UUID.
    ///
    /// # Errors
    /// [`Error::NotFound`] with similar names; [`Error::Ambiguous`] when several machines have the name or UUID.
    pub(crate) fn find_machine(&self, what: &str) -> Result<usize> {
        let mut found = named::find(self.machines.iter(), what);
        if found.is_empty() {
            found = self.machines_at(what);
        }
        match *found {
            [index] => Ok(index),
            [] => Err(self.no_machine(what)),
            _ => Err(Error::Ambiguous {
                what: format!("The machine {what:?}"),
                candidates: list(found.iter().map(|index| self.describe_among(*index, &found))),
                how: "the UUID, or the .vbox file with --settings",
            }),
        }
    }

    /// The machine of a registry that has one.
    ///
    /// # Errors
    /// [`Error::NotFound`] without any; [`Error::Ambiguous`] for several.
    pub(crate) fn only_machine(&self) -> Result<&MachineEntry> {
        let what = || format!("The machine of the disk in {}", self.directory.display());
        match &*self.machines {
            [only] => Ok(only),
            [] => Err(Error::NotFound {
                what: what(),
                hint: "there are no machines; give the disk with --image".to_owned(),
            }),
            several => {
                let candidates = list(several.iter().map(Named::describe));
                Err(Error::Ambiguous { what: what(), candidates, how: "one with --vm" })
            }
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
        let described = entry.describe();
        if same > 1 { format!("{described} in {}", entry.path.display()) } else { described }
    }

    fn machines_where(&self, is: impl Fn(&MachineEntry) -> bool) -> Vec<usize> {
        let all = self.machines.iter().enumerate();
        all.filter(|(_, entry)| is(entry)).map(|(index, _)| index).collect()
    }

    fn no_machine(&self, what: &str) -> Error {
        let hint = if self.machines.is_empty() {
            format!("the registry in {} has no machines", self.directory.display())
        } else {
            named::did_you_mean(self.machines.iter(), what)
                .unwrap_or_else(|| format!("the machines are {}", list(self.machines.iter().map(Named::describe))))
        };
        Error::NotFound { what: format!("The machine {what:?}"), hint }
    }

    /// What a UUID is that no medium has: a machine or a snapshot, and which media it has.
    pub(super) fn explain_uuid(&self, uuid: Uuid) -> Option<String> {
        self.explain("UUID", |entry| entry.uuid == uuid, |snapshot| snapshot.uuid == uuid)
    }

    /// What a name, or the beginning of a UUID, is that no image has: a machine or a snapshot, and which media it has.
    pub(super) fn explain_name(&self, name: &str) -> Option<String> {
        self.explain("name", |entry| entry.name() == name, |snapshot| snapshot.name == name).or_else(|| {
            let digits = named::digits(name)?;
            let begins = |uuid: Uuid| named::begins_with(uuid, &digits);
            self.explain("UUID", |entry| begins(entry.uuid), |snapshot| begins(snapshot.uuid))
        })
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
        (!found.is_empty()).then(|| {
            format!("it is the {what} of {}; give one of the disks, or name it by --vm and --snapshot", list(found))
        })
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
