//! The media that a report needs, each once.

use super::examine::{Examine, Facts};
use super::report::{MediumReport, MediumState, UseReport};
use super::tree::Forest;
use crate::registry::{DeviceKind, Medium, MediumId, MediumKind, Registry, Use};
use std::collections::HashMap;
use std::path::Path;
use uuid::Uuid;

/// An entry of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Entry {
    Registered(MediumId),
    /// Attached somewhere, but no settings file has it.
    Unknown(Uuid, DeviceKind),
}

/// Collects media and gives each an index.
pub(super) struct MediaList<'a> {
    registry: &'a Registry,
    entries: Vec<Entry>,
    indexes: HashMap<Entry, usize>,
}

impl<'a> MediaList<'a> {
    /// An empty list.
    pub(super) fn new(registry: &'a Registry) -> Self {
        Self { registry, entries: Vec::new(), indexes: HashMap::new() }
    }

    /// The index of a medium.
    pub(super) fn add(&mut self, id: MediumId) -> usize {
        self.index_of(Entry::Registered(id))
    }

    /// The index of a medium that a machine with these settings has attached under a UUID.
    pub(super) fn add_attached(&mut self, uuid: Uuid, kind: DeviceKind, settings: &Path) -> usize {
        match self.registry.media.find_near(uuid, settings) {
            Some(id) => self.add(id),
            None => self.index_of(Entry::Unknown(uuid, kind)),
        }
    }

    fn index_of(&mut self, entry: Entry) -> usize {
        *self.indexes.entry(entry).or_insert_with(|| {
            self.entries.push(entry);
            self.entries.len() - 1
        })
    }

    /// Examines all media and reports them in the order of their indexes.
    pub(super) fn finish(self, forest: &Forest<'_>, examine: &Examine<'_>) -> Vec<MediumReport> {
        let media: Vec<Option<&Medium>> = self.entries.iter().map(|entry| self.medium(*entry)).collect();
        let facts = examine(&media);
        self.entries.iter().zip(facts).map(|(entry, facts)| self.report(*entry, facts, forest)).collect()
    }

    fn medium(&self, entry: Entry) -> Option<&'a Medium> {
        match entry {
            Entry::Registered(id) => Some(self.registry.media.get(id)),
            Entry::Unknown(..) => None,
        }
    }

    fn report(&self, entry: Entry, facts: Facts, forest: &Forest<'_>) -> MediumReport {
        let Facts { size_on_disk, capacity, state, problem } = facts;
        let mut report = match entry {
            Entry::Registered(id) => self.registered(id, forest),
            Entry::Unknown(uuid, device) => MediumReport {
                used_by: self.use_reports(self.registry.uses_of_unregistered(uuid)),
                ..unknown(uuid, device)
            },
        };
        report.size_on_disk = size_on_disk;
        report.capacity = capacity;
        report.state = state;
        report.problem = problem;
        report
    }

    /// The report of a medium from the registry, without the facts about its file.
    fn registered(&self, id: MediumId, forest: &Forest<'_>) -> MediumReport {
        let media = &self.registry.media;
        let medium = media.get(id);
        MediumReport {
            name: medium.file_name(),
            path: medium.location.to_string_lossy().into_owned(),
            format: medium.format.clone(),
            kind: medium.kind.name(),
            auto_reset: medium.auto_reset,
            description: medium.description.clone(),
            // The whole tree is encrypted with the key of its base.
            encryption_key: media.get(forest.base(id)).properties.get("CRYPT/KeyId").cloned(),
            parent: medium.parent.map(|parent| media.get(parent).uuid),
            children: medium.children.iter().map(|child| media.get(*child).uuid).collect(),
            used_by: self.use_reports(self.registry.uses_of(id)),
            is_found: self.registry.is_found,
            ..unknown(medium.uuid, medium.device)
        }
    }

    /// The uses of a medium, in a vector without spare capacity: most media have one.
    fn use_reports(&self, uses: &[Use]) -> Vec<UseReport> {
        let mut reports = Vec::with_capacity(uses.len());
        reports.extend(uses.iter().filter_map(|one| self.use_report(*one)));
        reports
    }

    fn use_report(&self, one: Use) -> Option<UseReport> {
        let machine = self.registry.machines[one.machine].machine.as_ref().ok()?;
        let snapshot = one.snapshot.map(|at| &machine.snapshots[at]);
        Some(UseReport {
            machine: machine.uuid,
            machine_name: machine.name.clone(),
            snapshot: snapshot.map(|s| s.uuid),
            snapshot_name: snapshot.map(|s| s.name.clone()),
        })
    }
}

/// A medium of which only the UUID is known.
fn unknown(uuid: Uuid, device: DeviceKind) -> MediumReport {
    MediumReport {
        uuid,
        name: String::new(),
        path: String::new(),
        device,
        format: String::new(),
        kind: MediumKind::Normal.name(),
        auto_reset: false,
        description: String::new(),
        encryption_key: None,
        size_on_disk: None,
        capacity: None,
        state: MediumState::NoAccess,
        problem: None,
        parent: None,
        children: Vec::new(),
        used_by: Vec::new(),
        is_found: false,
        is_copy: false,
    }
}
