//! Records which machines and snapshots use which medium.

use super::{Attachment, Error, MachineEntry, Media, MediumId, Registry};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// An attachment of a medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Use {
    /// The machine: an index into [`Registry::machines`].
    pub machine: usize,
    /// The snapshot, an index into [`Machine::snapshots`](super::Machine::snapshots); none for the current state.
    pub snapshot: Option<usize>,
}

/// The uses of all media, found once.
#[derive(Debug, Default)]
pub(super) struct Uses {
    /// Those of each medium, by its id.
    media: Vec<Vec<Use>>,
    /// Those of media that nothing registers.
    unregistered: HashMap<Uuid, Vec<Use>>,
}

impl Uses {
    /// Collects the uses, and what is attached without being registered.
    pub(super) fn collect(machines: &[MachineEntry], media: &Media) -> (Self, Vec<Error>) {
        let mut uses = Self { media: vec![Vec::new(); media.len()], unregistered: HashMap::new() };
        let mut problems = Vec::new();
        for (index, entry) in machines.iter().enumerate() {
            let Ok(machine) = &entry.machine else { continue };
            let mut unknown = HashSet::new();
            let mut add = |attachments: &[Attachment], snapshot| {
                for uuid in attachments.iter().filter_map(|attachment| attachment.medium) {
                    let known = match media.find_near(uuid, &entry.path) {
                        Some(id) => &mut uses.media[id.0],
                        None => {
                            if unknown.insert(uuid) {
                                problems.push(unregistered(uuid, &machine.name));
                            }
                            uses.unregistered.entry(uuid).or_default()
                        }
                    };
                    add_use(known, Use { machine: index, snapshot });
                }
            };
            add(&machine.attachments, None);
            for (at, snapshot) in machine.snapshots.iter().enumerate() {
                add(&snapshot.attachments, Some(at));
            }
        }
        (uses, problems)
    }
}

fn add_use(known: &mut Vec<Use>, new: Use) {
    // Equal ones follow each other: a shareable disk in two slots.
    if known.last() != Some(&new) {
        // Most media have one use only.
        if known.is_empty() {
            known.reserve_exact(1);
        }
        known.push(new);
    }
}

fn unregistered(uuid: Uuid, machine: &str) -> Error {
    Error::NotFound {
        what: format!("The medium {uuid}, which the machine {machine:?} has attached,"),
        hint: "none of the settings files that could be read registers it; look for its image and give the path"
            .to_owned(),
    }
}

impl Registry {
    /// Where a medium is attached: per machine in their order, first the current state and then the snapshots.
    #[must_use]
    pub(crate) fn uses_of(&self, medium: MediumId) -> &[Use] {
        self.uses.media.get(medium.0).map_or(&[], Vec::as_slice)
    }

    /// The same for a medium that is attached under a UUID and that nothing registers.
    #[must_use]
    pub(crate) fn uses_of_unregistered(&self, uuid: Uuid) -> &[Use] {
        self.uses.unregistered.get(&uuid).map_or(&[], Vec::as_slice)
    }
}
