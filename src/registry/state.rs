//! The states of a machine, which are its snapshots and the current one, and the disks that it has in them.

use super::named::{self, Named, list};
use super::{
    Attachment, Chain, DeviceKind, Error, Machine, MachineEntry, MediumId, MediumKind, Registry, Result, Snapshot,
};
use std::time::SystemTime;

/// The word for the current state, in the place of a snapshot's name.
const CURRENT: &str = "current";

impl Machine {
    /// The snapshot with a name, a UUID or the beginning of one, as an index into [`Machine::snapshots`]; `None` for
    /// the word `current`, which is the current state.
    ///
    /// # Errors
    /// [`Error::NotFound`] with similar names; [`Error::Ambiguous`] when several snapshots have the name.
    pub(crate) fn find_snapshot(&self, what: &str) -> Result<Option<usize>> {
        let found = named::find(self.snapshots.iter(), what);
        let what_is_meant = format!("The snapshot {what:?} of the machine {:?}", self.name);
        let ambiguous = |what, how| {
            let candidates = found.iter().map(|at| &self.snapshots[*at]);
            Err(named::ambiguous(what, candidates, how))
        };
        match *found {
            [] if what == CURRENT => Ok(None),
            [] => Err(self.no_snapshot(what_is_meant, named::did_you_mean(self.snapshots.iter(), what))),
            [_] if what == CURRENT => ambiguous(
                format!("{what_is_meant} is the word for the current state, too, and so"),
                "the UUID, or no snapshot for the current state",
            ),
            [at] => Ok(Some(at)),
            _ => ambiguous(what_is_meant, "the UUID of one"),
        }
    }

    /// The newest snapshot that was taken at a time or before it, as an index into [`Machine::snapshots`].
    ///
    /// # Errors
    /// [`Error::NotFound`] when there was none yet, or one has no time that can be read; [`Error::Ambiguous`] when
    /// several were taken in that second on different branches.
    pub(crate) fn snapshot_at(&self, time: SystemTime) -> Result<usize> {
        let mut newest: Vec<(usize, SystemTime)> = Vec::new();
        for (at, snapshot) in self.snapshots.iter().enumerate() {
            let taken = taken(snapshot).ok_or_else(|| {
                let hint =
                    format!("its time {:?} cannot be read; name a snapshot with --snapshot", snapshot.time_stamp);
                Error::NotFound { what: format!("When the snapshot {} was taken", snapshot.describe()), hint }
            })?;
            if taken > time || newest.first().is_some_and(|(_, newest)| *newest > taken) {
                continue;
            }
            // Of a snapshot and its parent that were taken in the same second, the parent was first.
            newest.retain(|(other, when)| *when == taken && Some(*other) != snapshot.parent);
            newest.push((at, taken));
        }
        match *newest {
            [(at, _)] => Ok(at),
            [] => {
                let time = humantime::format_rfc3339_seconds(time);
                Err(self.no_snapshot(format!("A snapshot of the machine {:?} at {time} or before", self.name), None))
            }
            ref several => {
                let candidates = several.iter().map(|(at, _)| &self.snapshots[*at]);
                let what = format!("The newest snapshot of the machine {:?} then", self.name);
                Err(named::ambiguous(what, candidates, "the UUID of one with --snapshot"))
            }
        }
    }

    fn no_snapshot(&self, what: String, near: Option<String>) -> Error {
        let hint = match near {
            Some(near) => near,
            None if self.snapshots.is_empty() => "the machine has no snapshots, only the current state".to_owned(),
            None => format!("the snapshots are {}", list(self.snapshots.iter().map(Named::describe))),
        };
        Error::NotFound { what, hint }
    }

    /// What is attached in a snapshot, or in the current state.
    #[must_use]
    pub(crate) fn attachments_of(&self, snapshot: Option<usize>) -> &[Attachment] {
        snapshot.and_then(|at| self.snapshots.get(at)).map_or(&self.attachments, |snapshot| &snapshot.attachments)
    }
}

/// When a snapshot was taken. VirtualBox writes UTC.
fn taken(snapshot: &Snapshot) -> Option<SystemTime> {
    humantime::parse_rfc3339_weak(&snapshot.time_stamp).ok()
}

impl Attachment {
    /// The slot as `VBoxManage showvminfo --machinereadable` names it, such as `SATA-0-0`.
    #[must_use]
    pub fn slot(&self) -> String {
        format!("{}-{}-{}", self.controller, self.port, self.device)
    }
}

impl Chain {
    /// The warning for a medium that snapshots do not freeze, in a snapshot.
    #[must_use]
    pub(crate) fn not_frozen_note(&self) -> Option<String> {
        let leaf = self.links.first()?;
        matches!(self.kind, MediumKind::Writethrough | MediumKind::Shareable).then(|| {
            let kind = self.kind.name();
            format!("{} is {kind}, so no snapshot freezes it: it is shown as it is now", leaf.path.display())
        })
    }
}

impl Registry {
    /// The one of a machine's `attachments` that the user means: the number of a hard disk, from 0 in the order of the
    /// settings file; a slot as `SATA-0-0` or `SATA 0:0`; the file name or the UUID of the medium or of its base.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`], with the disks that there are.
    pub(crate) fn find_disk<'a>(
        &self,
        entry: &MachineEntry,
        attachments: &'a [Attachment],
        what: &str,
    ) -> Result<&'a Attachment> {
        let slots = || attachments.iter().filter(|slot| slot.medium.is_some());
        let found: Vec<&Attachment> = match what.parse::<usize>() {
            Ok(number) => slots().filter(|slot| slot.kind == DeviceKind::HardDisk).nth(number).into_iter().collect(),
            Err(_) => {
                let lower = what.to_lowercase();
                let is_slot = |slot: &&Attachment| {
                    let colon = format!("{} {}:{}", slot.controller, slot.port, slot.device);
                    slot.slot().to_lowercase() == lower || colon.to_lowercase() == lower
                };
                let by_slot: Vec<&Attachment> = slots().filter(is_slot).collect();
                if by_slot.is_empty() { self.disks_named(entry, slots(), what) } else { by_slot }
            }
        };
        let what = format!("The disk {what:?} of the machine {:?}", entry.name());
        let describe = |slot: &Attachment| self.describe_disk(entry, attachments, slot);
        match *found {
            [slot] => Ok(slot),
            [] => {
                let text = list(slots().map(describe));
                let hint = if text.is_empty() { "it has none".to_owned() } else { format!("the disks are {text}") };
                Err(Error::NotFound { what, hint })
            }
            ref several => {
                let candidates = list(several.iter().copied().map(describe));
                Err(Error::Ambiguous { what, candidates, how: "the slot of one" })
            }
        }
    }

    /// The slots whose medium has a file name or UUID, or else those whose base has it.
    fn disks_named<'a>(
        &self,
        entry: &MachineEntry,
        slots: impl Iterator<Item = &'a Attachment>,
        what: &str,
    ) -> Vec<&'a Attachment> {
        let near = |slot: &'a Attachment| Some((slot, self.media.find_near(slot.medium?, &entry.path)?));
        let media: Vec<(&Attachment, MediumId)> = slots.filter_map(near).collect();
        let mut found = named::find(media.iter().map(|(_, id)| self.media.get(*id)), what);
        if found.is_empty() {
            found = named::find(media.iter().map(|(_, id)| self.media.get(self.media.base(*id))), what);
        }
        found.into_iter().map(|at| media[at].0).collect()
    }

    /// A disk as the user may name it: `0: SATA-0-0 disk.vdi`.
    fn describe_disk(&self, entry: &MachineEntry, all: &[Attachment], slot: &Attachment) -> String {
        let mut disks = all.iter().filter(|other| other.kind == DeviceKind::HardDisk && other.medium.is_some());
        let number = disks.position(|other| other == slot).map_or_else(String::new, |number| format!("{number}: "));
        let id = slot.medium.and_then(|uuid| self.media.find_near(uuid, &entry.path));
        let file = id.map_or_else(String::new, |id| format!(" {}", self.media.get(id).file_name()));
        format!("{number}{}{file}", slot.slot())
    }

    /// The chain of what is attached to a machine.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an empty drive and a medium that no settings file has; as
    /// [`chain_of_medium`](Self::chain_of_medium).
    pub(crate) fn chain_of_slot(&self, entry: &MachineEntry, slot: &Attachment) -> Result<Chain> {
        let missing = |what: String, hint: &str| Error::NotFound { what, hint: hint.to_owned() };
        let uuid = slot.medium.ok_or_else(|| missing(format!("A medium in {}", slot.slot()), "the drive is empty"))?;
        let id = self.media.find_near(uuid, &entry.path).ok_or_else(|| {
            let what = format!("The medium {uuid} in {}", slot.slot());
            missing(what, "no settings file registers it; look for its image and give the path with --image")
        })?;
        self.chain_of_medium(id)
    }
}
