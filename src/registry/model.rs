//! Machines, snapshots and media as plain, resolved data.

use super::load::Parsed;
use super::nearness::Scope;
use super::uses::Uses;
use super::{Error, location};
use crate::image::Format;
use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// The content of all of VirtualBox's settings files.
#[derive(Debug)]
pub(crate) struct Registry {
    /// The settings directory, absolute.
    pub directory: PathBuf,
    /// The machines in the order of `VirtualBox.xml`.
    pub machines: Vec<MachineEntry>,
    /// All media of the global and the machines' registries.
    pub media: Media,
    /// Problems that prevent nothing, such as two media with the same UUID.
    pub problems: Vec<Error>,
    /// The copies that were read in place of settings files. They may lack the last changes.
    pub outdated: Vec<PathBuf>,
    /// Who uses which medium.
    pub(super) uses: Uses,
    /// What the user pointed at.
    pub(super) scope: Scope,
    /// Of a registry with machines that are encrypted and not opened.
    pub(super) parsed: Option<Parsed>,
    /// Whether the media were found, and no settings register them: their headers say what belongs together.
    pub is_found: bool,
}

/// A registered machine, whether or not its settings could be read.
#[derive(Debug)]
pub(crate) struct MachineEntry {
    /// The UUID that `VirtualBox.xml` gives. Nil when only the machine's own file has it and that file cannot be read.
    pub uuid: Uuid,
    /// Its `.vbox` file, absolute.
    pub path: PathBuf,
    /// The content of the file, or why it could not be read.
    pub machine: Result<Machine, Error>,
}

impl MachineEntry {
    /// The machine's name; where its settings cannot be read, that of its file, which VirtualBox names alike.
    #[must_use]
    pub(crate) fn name(&self) -> Cow<'_, str> {
        match &self.machine {
            Ok(machine) => Cow::Borrowed(&machine.name),
            Err(_) => {
                let name = location::file_name(&self.path);
                Cow::Owned(Path::new(&name).file_stem().unwrap_or_default().to_string_lossy().into_owned())
            }
        }
    }

    /// The id of the key that the settings are encrypted with, while its right password is not known.
    #[must_use]
    pub(crate) fn key_id(&self) -> Option<&str> {
        if let Err(Error::Crypt(e)) = &self.machine { e.key_id() } else { None }
    }
}

/// The state that a settings file records. A running machine looks like one that is powered off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineState {
    /// Powered off, or running.
    PoweredOff,
    /// It has a saved state, so its disks must not be changed; also after a resume from it was aborted.
    Saved,
    /// It ended without a shutdown.
    Aborted,
}

/// One machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The UUID in the machine's own file.
    pub uuid: Uuid,
    /// The name.
    pub name: String,
    /// VirtualBox's id of the guest system, such as `Linux_64`.
    pub os_type: String,
    /// The description; may be empty.
    pub description: String,
    /// The groups, such as `/lab/empty`; `/` when the file names none.
    pub groups: Vec<String>,
    /// Saved, aborted or off.
    pub state: MachineState,
    /// The saved state's file, absolute.
    pub state_file: Option<PathBuf>,
    /// When the state last changed, as written (`2026-11-23T13:49:46Z`).
    pub last_state_change: String,
    /// Where snapshot images are put, absolute.
    pub snapshot_directory: PathBuf,
    /// The snapshots in the order of the file: a parent before its children.
    pub snapshots: Vec<Snapshot>,
    /// The snapshot that the current state is based on: an index into `snapshots`.
    pub current_snapshot: Option<usize>,
    /// Whether the current state differs from the current snapshot.
    pub current_state_modified: bool,
    /// What is attached in the current state, in the order of the file.
    pub attachments: Vec<Attachment>,
}

/// One snapshot.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The UUID of the snapshot (not of a medium).
    pub uuid: Uuid,
    /// The name that the user gave.
    pub name: String,
    /// The description; may be empty.
    pub description: String,
    /// When it was taken, as written.
    pub time_stamp: String,
    /// Whether it was taken of a running machine (it has a saved state).
    pub online: bool,
    /// The parent: an index into [`Machine::snapshots`], smaller than its own.
    pub parent: Option<usize>,
    /// What was attached: the media frozen at this snapshot.
    pub attachments: Vec<Attachment>,
}

/// The kind of a device or medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// A hard disk.
    HardDisk,
    /// A CD or DVD.
    Dvd,
    /// A floppy disk.
    Floppy,
}

/// One slot of a storage controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The controller's name, such as `SATA`.
    pub controller: String,
    /// The port, from 0.
    pub port: u32,
    /// The device on the port, from 0.
    pub device: u32,
    /// What kind of device.
    pub kind: DeviceKind,
    /// The medium in it; none for an empty drive or a host drive.
    pub medium: Option<Uuid>,
    /// The host's drive that is passed through.
    pub host_drive: Option<String>,
}

/// An index into [`Media`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct MediumId(pub usize);

/// How VirtualBox treats writes to a medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediumKind {
    /// Part of snapshots.
    Normal,
    /// Never written; a differencing image is discarded at power-on.
    Immutable,
    /// Not part of snapshots.
    Writethrough,
    /// Written by several machines at once.
    Shareable,
    /// Never written: a DVD.
    Readonly,
    /// Each machine has its own difference.
    MultiAttach,
}

impl MediumKind {
    /// The name in upstream's listing.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Immutable => "immutable",
            Self::Writethrough => "writethrough",
            Self::Shareable => "shareable",
            Self::Readonly => "readonly",
            Self::MultiAttach => "multiattach",
        }
    }
}

/// One registered medium.
#[derive(Debug, Clone)]
pub struct Medium {
    /// The UUID that the registry gives.
    pub uuid: Uuid,
    /// The image's path, absolute. As registered for media that are not files (iSCSI), and for paths of Windows
    /// (`C:\...`) that were not found on this host.
    pub location: PathBuf,
    /// The format as the registry writes it, such as `VDI`.
    pub format: String,
    /// Hard disk, DVD or floppy.
    pub device: DeviceKind,
    /// How writes are treated. Children have their base's kind only in effect; here they are `Normal`.
    pub kind: MediumKind,
    /// Whether VirtualBox empties it at power-on (a difference of an immutable medium).
    pub auto_reset: bool,
    /// The description; may be empty.
    pub description: String,
    /// Properties, such as `CRYPT/KeyId`.
    pub properties: BTreeMap<String, String>,
    /// The parent.
    pub(crate) parent: Option<MediumId>,
    /// The children in the order of the file.
    pub(crate) children: Vec<MediumId>,
    /// The settings file that registers it, absolute. All media of a file share it.
    pub registered_in: Arc<Path>,
    /// The directory that the file must lie in or below, because only a name in an appliance's descriptor led to it; an
    /// archive for one in it.
    pub named_in: Option<PathBuf>,
    /// Why it cannot be opened, where that is known without opening it. It follows the path and a colon.
    pub problem: Option<String>,
}

impl Medium {
    /// The file name of the location.
    #[must_use]
    pub fn file_name(&self) -> String {
        location::file_name(&self.location)
    }

    /// The error for a medium that cannot be opened, and for a location that is not a path of this host; `None` for
    /// others.
    #[must_use]
    pub(crate) fn unusable(&self) -> Option<Error> {
        if let Some(reason) = &self.problem {
            return Some(Error::Unsupported { path: self.location.clone(), reason: reason.clone() });
        }
        location::is_windows_absolute(&self.location.to_string_lossy()).then(|| Error::Missing {
            path: self.location.clone(),
            hint: "it is a path of the Windows host that registered it; give the path of the image here".to_owned(),
        })
    }

    /// Whether the medium is a file; otherwise it is an iSCSI target, and its location is a URL.
    #[must_use]
    pub fn is_file(&self) -> bool {
        is_file_format(&self.format)
    }
}

/// Whether the registry's word for a format fits what the content is. VirtualBox registers optical and floppy images
/// of any content as `RAW`.
#[must_use]
pub(crate) fn is_format(registered: &str, found: Format) -> bool {
    registered.eq_ignore_ascii_case(found.name())
        || registered.eq_ignore_ascii_case("raw")
            && matches!(found, Format::Iso | Format::Cue | Format::Dmg | Format::Raw)
        || registered.eq_ignore_ascii_case("parallels") && found == Format::Raw
}

/// Whether media of a format, as the registry writes it, are files.
pub(super) fn is_file_format(format: &str) -> bool {
    !format.eq_ignore_ascii_case("iSCSI")
}

/// All media of a registry: a forest.
#[derive(Debug, Default)]
pub(crate) struct Media {
    pub(super) list: Vec<Medium>,
    pub(super) by_uuid: HashMap<Uuid, MediumId>,
    /// All media of the UUIDs that several have, the first of them too: copies of machines.
    pub(super) copies: HashMap<Uuid, Vec<MediumId>>,
}

impl Media {
    /// The medium with a UUID; of copies the first.
    #[must_use]
    pub(crate) fn find(&self, uuid: Uuid) -> Option<MediumId> {
        self.by_uuid.get(&uuid).copied()
    }

    /// All media with a UUID: more than one when there are copies of a machine.
    pub(super) fn find_all(&self, uuid: Uuid) -> Vec<MediumId> {
        self.copies.get(&uuid).cloned().unwrap_or_else(|| self.find(uuid).into_iter().collect())
    }

    /// The medium that a settings file means by a UUID: of copies its own, or else the one that lies nearest to it.
    #[must_use]
    pub(crate) fn find_near(&self, uuid: Uuid, file: &Path) -> Option<MediumId> {
        let Some(copies) = self.copies.get(&uuid) else { return self.find(uuid) };
        let common = |path: &Path| path.components().zip(file.components()).take_while(|(a, b)| a == b).count();
        let nearness = |id: &MediumId| {
            let medium = self.get(*id);
            (*medium.registered_in == *file, common(&medium.location))
        };
        // The first of those that are equally near.
        copies.iter().copied().rev().max_by_key(nearness)
    }

    /// A medium.
    ///
    /// # Panics
    /// For an id of another registry.
    #[must_use]
    pub(crate) fn get(&self, id: MediumId) -> &Medium {
        &self.list[id.0]
    }

    /// How many media there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// All media with their ids, a parent before its children.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (MediumId, &Medium)> + Clone {
        self.list.iter().enumerate().map(|(i, m)| (MediumId(i), m))
    }

    /// Reserves capacity for `count` more media.
    pub(super) fn reserve(&mut self, count: usize) {
        self.list.reserve_exact(count);
        self.by_uuid.reserve(count);
    }

    /// Adds a medium below its parent, which must have been added before, so there are no cycles.
    pub(super) fn add(&mut self, medium: Medium) -> MediumId {
        let id = MediumId(self.list.len());
        if let Some(parent) = medium.parent {
            self.list[parent.0].children.push(id);
        }
        match self.by_uuid.entry(medium.uuid) {
            Entry::Vacant(new) => {
                new.insert(id);
            }
            Entry::Occupied(first) => {
                self.copies.entry(medium.uuid).or_insert_with(|| vec![*first.get()]).push(id);
            }
        }
        self.list.push(medium);
        id
    }

    /// The medium at the root of the tree that `id` is in.
    #[must_use]
    pub(crate) fn base(&self, id: MediumId) -> MediumId {
        let mut at = id;
        while let Some(parent) = self.get(at).parent {
            at = parent;
        }
        at
    }
}

#[cfg(test)]
impl Registry {
    /// A registry of these machines and media, whose parents and children are set, for tests.
    pub(crate) fn of(machines: Vec<MachineEntry>, media: Vec<Medium>) -> Self {
        let by_uuid = media.iter().enumerate().map(|(i, medium)| (medium.uuid, MediumId(i))).collect();
        let media = Media { list: media, by_uuid, copies: HashMap::new() };
        let (uses, problems) = Uses::collect(&machines, &media);
        let scope = Scope::default();
        Self {
            directory: PathBuf::from("/vms"),
            machines,
            media,
            problems,
            outdated: Vec::new(),
            uses,
            scope,
            parsed: None,
            is_found: false,
        }
    }
}
