//! Which disk the user means, and opening what was found. Everything that takes a disk takes a [`Which`].

use super::spec::Plan;
use super::{DiskOptions, Error, Lookup, OpenDisk, Result};
use crate::error_kind::message;
use crate::lock;
use crate::registry::{self, Attachment, Chain, DeviceKind, Snapshot};
use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

/// The most characters of a controller's name in the name of a directory.
const MOST_OF_NAME: usize = 60;

/// The disk that the user means: an image, or a machine's disk in one of its states.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Which {
    /// A medium's UUID, the path of an image, the file name of a medium, or a chain spec of IPRT (`:iprtvfs:...`).
    pub image: Option<OsString>,
    /// The machine, by its name or UUID; without an image only. Without one, a disk is one of the only machine.
    pub machine: Option<String>,
    /// The machine's snapshot by its name or UUID, or `current`. Of an image, the snapshot that the image file itself
    /// has (QCOW, Parallels), by its name or id.
    pub snapshot: Option<String>,
    /// The machine's newest snapshot at this time; without a snapshot only.
    pub at: Option<SystemTime>,
    /// The machine's disk: the number of a hard disk, from 0; a slot as `SATA-0-0`; the file name or the UUID of the
    /// medium or of its base. Without it, the only hard disk or everything that is attached is meant.
    pub disk: Option<String>,
}

/// The disks that were found, not yet opened.
#[derive(Default)]
pub(crate) struct Selection {
    /// What a user should know, a sentence each.
    pub warnings: Vec<String>,
    disks: Vec<Selected>,
    /// Whether the disks are known by their slots.
    named: bool,
    internal_snapshot: Option<String>,
    /// What is made of the only disk.
    spec: Option<Plan>,
}

/// A disk that was found, or why it was not.
struct Selected {
    /// The name of its slot in a machine.
    slot: Option<String>,
    chain: Result<Chain>,
    /// Whether it is never written to: an optical disk.
    read_only: bool,
}

/// Whether an image is named by a chain spec of IPRT (`:iprtvfs:...`).
pub(crate) fn is_chain_spec(image: &OsStr) -> bool {
    Plan::is_spec(image)
}

/// The disks that are open. Their images stay locked as long as they are here.
pub(crate) struct OpenDisks {
    /// The disks, at least one. Those of a machine that is opened whole have the names of their slots, such as
    /// `SATA-0-0`; a disk that is opened by itself has none.
    pub disks: Vec<(Option<String>, OpenDisk)>,
    /// What a user should know, a sentence each: which disks could not be opened, what is doubtful about the others.
    pub warnings: Vec<String>,
}

impl Lookup {
    /// The disks that are meant.
    ///
    /// # Errors
    /// As [`chain`](Self::chain). [`Error::Registry`] also when the machine, its snapshot or its
    /// disk is not known, or several are called so.
    pub(crate) fn find(&self, which: &Which, writable: bool) -> Result<Selection> {
        match &which.machine {
            Some(machine) => return self.find_in_machine(machine, which, writable),
            None if which.disk.is_some() => {
                let only = self.registry(None)?.only_machine()?.path.to_string_lossy().into_owned();
                return self.find_in_machine(&only, which, writable);
            }
            None => {}
        }
        let image = which.image.as_deref().unwrap_or_default();
        let spec = Plan::is_spec(image).then(|| Plan::parse(image, writable)).transpose()?;
        let found = match &spec {
            Some(spec) => spec.find(self, writable)?,
            None => self.chain(image, writable)?,
        };
        let disks = vec![Selected { slot: None, chain: Ok(found.chain), read_only: false }];
        Ok(Selection { warnings: found.warnings, disks, named: false, internal_snapshot: which.snapshot.clone(), spec })
    }

    fn find_in_machine(&self, name: &str, which: &Which, writable: bool) -> Result<Selection> {
        let mut registry = self.registry(Some(name))?;
        let at = registry.find_machine(name)?;
        let machine = match &registry.machines[at].machine {
            Ok(machine) => machine,
            Err(_) => {
                return registry.machines.swap_remove(at).machine.map(|_| Selection::default()).map_err(Error::from);
            }
        };
        let entry = &registry.machines[at];
        let snapshot = match (&which.snapshot, which.at) {
            (Some(name), _) => machine.find_snapshot(name)?,
            (None, Some(time)) => Some(machine.snapshot_at(time)?),
            (None, None) => None,
        };
        let frozen = snapshot.map(|at| &machine.snapshots[at]);
        log::info!("State: {}", frozen.map_or("current", |snapshot| &snapshot.name));
        let attached = machine.attachments_of(snapshot);
        let chosen = match &which.disk {
            Some(disk) => vec![registry.find_disk(entry, attached, disk)?],
            None => whole(attached),
        };
        if chosen.is_empty() {
            let what = format!("A disk of the machine {:?}", machine.name);
            let hint = "nothing is attached to it; list its snapshots with -lv --vm".to_owned();
            return Err(registry::Error::NotFound { what, hint }.into());
        }
        let is_whole = chosen.len() > 1;
        let mut selection = Selection { named: is_whole, ..Selection::default() };
        for attachment in chosen {
            let read_only = attachment.kind == DeviceKind::Dvd && is_whole;
            let for_writing = writable && !read_only;
            let slot = directory_name(attachment, &selection.disks);
            let mut found = registry.chain_of_slot(entry, attachment);
            found.iter_mut().for_each(|chain| registry::correct_chain(chain, &self.allowed));
            let chain = self.checked(Some(&registry), found, slot.as_ref(), for_writing, &mut selection.warnings);
            let chain = match frozen {
                Some(snapshot) => {
                    chain.and_then(|chain| check_frozen(chain, snapshot, for_writing, &mut selection.warnings))
                }
                None => chain,
            };
            selection.disks.push(Selected { slot: Some(slot), chain, read_only });
        }
        Ok(selection)
    }
}

/// What a machine is shown as without a choice: its only hard disk, or else all that is attached.
fn whole(attached: &[Attachment]) -> Vec<&Attachment> {
    let all = || attached.iter().filter(|slot| slot.medium.is_some());
    let hard_disks: Vec<&Attachment> = all().filter(|slot| slot.kind == DeviceKind::HardDisk).collect();
    if hard_disks.len() == 1 { hard_disks } else { all().collect() }
}

/// The name of a slot's directory: the slot's own, but for what no name can have and names that are taken.
fn directory_name(attachment: &Attachment, others: &[Selected]) -> String {
    let short =
        Attachment { controller: attachment.controller.chars().take(MOST_OF_NAME).collect(), ..attachment.clone() };
    let mut name = short.slot().replace(|c: char| c == '/' || c.is_control(), "_");
    while others.iter().any(|other| other.slot.as_ref() == Some(&name)) {
        name.push('_');
    }
    name
}

/// A disk of a snapshot, which is never written to.
fn check_frozen(chain: Chain, snapshot: &Snapshot, writable: bool, warnings: &mut Vec<String>) -> Result<Chain> {
    if writable {
        let image = chain.links.first().map(|leaf| leaf.path.clone()).unwrap_or_default();
        let reason = format!(
            "it is the state of the snapshot {:?}, which stays as it is; leave the snapshot out to write to the current state",
            snapshot.name
        );
        return Err(registry::Error::NotWritten { image, reason }.into());
    }
    warnings.extend(chain.not_frozen_note());
    Ok(chain)
}

impl Selection {
    /// Has also a single disk of a machine known by its slot, as another state of the machine has several.
    #[must_use]
    pub(crate) fn named(self) -> Self {
        Self { named: self.disks.iter().all(|disk| disk.slot.is_some()), ..self }
    }

    /// The chains of the disks or why there is none, with their slots where there are several.
    pub(crate) fn into_chains(self) -> Vec<(Option<String>, Result<Chain>)> {
        let named = self.named;
        self.disks.into_iter().map(|Selected { slot, chain, .. }| (slot.filter(|_| named), chain)).collect()
    }

    /// Locks and opens the disks. Of the disks of a machine, those that cannot be opened for reading are left out with
    /// a warning.
    ///
    /// # Errors
    /// As [`OpenDisk::open`]: of the first disk when none can be opened, of any disk for writing.
    pub(crate) fn open(self, lookup: &Lookup, options: &DiskOptions) -> Result<OpenDisks> {
        let options = DiskOptions { internal_snapshot: self.internal_snapshot, ..options.clone() };
        let writable = options.writable;
        let (mut disks, mut warnings, mut failed) = (Vec::new(), Vec::new(), None);
        for Selected { slot, chain, read_only } in self.disks {
            let slot = slot.filter(|_| self.named);
            let options = DiskOptions { writable: options.writable && !read_only, ..options.clone() };
            let opened = chain.and_then(|chain| OpenDisk::open(lookup, chain, &options));
            let opened = match &self.spec {
                Some(spec) => spec.follow(opened),
                None => opened,
            };
            match opened {
                Ok(disk) => {
                    let of_table = disk.table.notes.iter();
                    warnings
                        .extend(disk.warnings.iter().chain(of_table).map(|warning| of_slot(slot.as_deref(), warning)));
                    disks.push((slot, disk));
                }
                Err(e) if writable => return Err(e),
                Err(e) => {
                    warnings.push(of_slot(slot.as_deref(), &format!("not opened: {}", message(&e))));
                    failed.get_or_insert(e);
                }
            }
        }
        match failed {
            Some(e) if disks.is_empty() => Err(e),
            _ => Ok(OpenDisks { disks, warnings }),
        }
    }
}

impl OpenDisks {
    /// As [`OpenDisk::warning_of_writers`], of each disk.
    pub(crate) fn warnings_of_writers(&mut self) -> Vec<String> {
        let warning = |(slot, disk): &mut (Option<String>, OpenDisk)| {
            disk.warning_of_writers().map(|warning| of_slot(slot.as_deref(), &warning))
        };
        self.disks.iter_mut().filter_map(warning).collect()
    }

    /// As [`OpenDisk::into_locks`], of all disks.
    #[must_use]
    pub(crate) fn into_locks(self) -> Vec<lock::Guard> {
        self.disks.into_iter().flat_map(|(_, disk)| disk.into_locks()).collect()
    }
}

/// What is said of a disk, with its slot where there are several.
#[must_use]
pub(crate) fn of_slot(slot: Option<&str>, text: &str) -> String {
    slot.map_or_else(|| text.to_owned(), |slot| format!("{slot}: {text}"))
}
