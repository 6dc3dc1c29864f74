//! The content of a listing as plain data. Serialized, these are the objects of the JSON output: the names of their
//! fields stay as they are.
//!
//! Sizes are bytes, paths are absolute. A field that does not apply is `null`.

use super::tree::Tree;
use crate::registry::DeviceKind;
use serde::{Serialize, Serializer};
use uuid::Uuid;

/// The machines of a registry and their media.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The machines in the order of VirtualBox's settings file.
    pub machines: Vec<MachineReport>,
    /// The media of these machines and, when all machines were asked for, those of no machine; each once, a parent
    /// before its children.
    pub media: Vec<MediumReport>,
    /// What is wrong with the registry but concerns no single machine, a sentence each.
    pub problems: Vec<String>,
    /// The trees of media that no machine has attached.
    #[serde(skip)]
    pub(super) unattached: Vec<Tree>,
}

/// A machine.
#[derive(Debug, Serialize)]
pub(crate) struct MachineReport {
    /// The UUID; `null` when only a settings file that cannot be read has it.
    pub uuid: Option<Uuid>,
    /// The name. For a machine whose settings cannot be read, the name of its settings file.
    pub name: String,
    /// The settings file.
    pub path: String,
    /// The state that the settings file records.
    pub state: MachineState,
    /// Why the settings cannot be read.
    pub error: Option<String>,
    /// The id of the key that the settings are encrypted with, where their password was not given.
    pub encryption_key: Option<String>,
    /// VirtualBox's id of the guest system, such as `Linux_64`.
    pub os_type: String,
    /// The description.
    pub description: String,
    /// The groups; `/` is the one of machines without a group.
    pub groups: Vec<String>,
    /// The saved state's file.
    pub state_file: Option<String>,
    /// When the state last changed, as the settings file has it.
    pub last_state_change: String,
    /// The UUID of the snapshot that the current state is based on.
    pub current_snapshot: Option<Uuid>,
    /// Whether the current state differs from that snapshot.
    pub current_state_modified: bool,
    /// The snapshots, a parent before its children.
    pub snapshots: Vec<SnapshotReport>,
    /// What is attached in the current state.
    pub attachments: Vec<AttachmentReport>,
    /// The trees of the hard disks that are attached, in the current state or in a snapshot; then DVDs and floppies.
    #[serde(skip)]
    pub(super) trees: Vec<Tree>,
    /// The media in `attachments`, as indexes into [`Report::media`].
    #[serde(skip)]
    pub(super) attached: Vec<Option<usize>>,
    /// Whether another listed machine has the same UUID or name, so that only the path distinguishes them.
    #[serde(skip)]
    pub(super) is_copy: bool,
}

/// The state of a machine according to its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MachineState {
    /// Powered off or running: the settings do not distinguish them.
    OffOrRunning,
    /// There is a saved state.
    Saved,
    /// It ended without being shut down.
    Aborted,
    /// The settings are encrypted, and their password was not given.
    Encrypted,
    /// The settings cannot be read.
    Inaccessible,
}

/// A snapshot of a machine.
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotReport {
    /// The UUID of the snapshot, which is not that of a medium.
    pub uuid: Uuid,
    /// The name.
    pub name: String,
    /// The description.
    pub description: String,
    /// When it was taken, as the settings file has it.
    pub time_stamp: String,
    /// Whether the machine was running, so that the snapshot has a saved state.
    pub online: bool,
    /// The UUID of the snapshot before it.
    pub parent: Option<Uuid>,
    /// What was attached.
    pub attachments: Vec<AttachmentReport>,
    /// The media in `attachments`, as indexes into [`Report::media`].
    #[serde(skip)]
    pub(super) attached: Vec<Option<usize>>,
}

/// A slot of a storage controller.
#[derive(Debug, Serialize)]
pub(crate) struct AttachmentReport {
    /// The name of the controller.
    pub controller: String,
    /// The port, from 0.
    pub port: u32,
    /// The device on the port, from 0.
    pub device: u32,
    /// Hard disk, DVD or floppy.
    #[serde(serialize_with = "device_name")]
    pub kind: DeviceKind,
    /// The medium; `null` for an empty drive.
    pub medium: Option<Uuid>,
    /// The drive of the host that is passed through.
    pub host_drive: Option<String>,
}

/// Writes a kind of device as `hard-disk`, `dvd` or `floppy`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn device_name<S: Serializer>(kind: &DeviceKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match kind {
        DeviceKind::HardDisk => "hard-disk",
        DeviceKind::Dvd => "dvd",
        DeviceKind::Floppy => "floppy",
    })
}

/// A medium.
#[derive(Debug, Serialize)]
pub(crate) struct MediumReport {
    /// The UUID.
    pub uuid: Uuid,
    /// The name of the image file.
    pub name: String,
    /// The image file; empty for a medium that is attached but registered nowhere.
    pub path: String,
    /// Hard disk, DVD or floppy.
    #[serde(serialize_with = "device_name")]
    pub device: DeviceKind,
    /// The format, as the registry has it.
    pub format: String,
    /// How VirtualBox treats writes: `normal`, `immutable`, `writethrough`, `shareable`, `readonly`, `multiattach`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whether VirtualBox empties it when the machine starts.
    pub auto_reset: bool,
    /// The description.
    pub description: String,
    /// The id of the key that the medium is encrypted with.
    pub encryption_key: Option<String>,
    /// The bytes that its files take; `null` when they cannot be examined, 0 without files.
    pub size_on_disk: Option<u64>,
    /// The bytes of the disk that the guest sees; `null` when the image cannot be read.
    pub capacity: Option<u64>,
    /// The state.
    pub state: MediumState,
    /// Why there is no access, or what is doubtful.
    pub problem: Option<String>,
    /// The UUID of the parent.
    pub parent: Option<Uuid>,
    /// The UUIDs of the children.
    pub children: Vec<Uuid>,
    /// Where it is attached.
    pub used_by: Vec<UseReport>,
    /// Whether it was found in a directory without settings, so that only its file name says what it is.
    #[serde(skip)]
    pub(crate) is_found: bool,
    /// Whether another listed medium has the same UUID, so that only the path distinguishes them.
    #[serde(skip)]
    pub(crate) is_copy: bool,
}

/// The state of a medium, in upstream's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum MediumState {
    /// It is there and free.
    #[serde(rename = "created")]
    Created,
    /// It cannot be used.
    #[serde(rename = "no access")]
    NoAccess,
    /// Somebody reads it.
    #[serde(rename = "rlock")]
    ReadLocked,
    /// Somebody writes to it.
    #[serde(rename = "wlock")]
    WriteLocked,
}

impl MediumState {
    /// Upstream's word.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::NoAccess => "no access",
            Self::ReadLocked => "rlock",
            Self::WriteLocked => "wlock",
        }
    }
}

/// A use of a medium.
#[derive(Debug, Serialize)]
pub(crate) struct UseReport {
    /// The UUID of the machine.
    pub machine: Uuid,
    /// The name of the machine.
    pub machine_name: String,
    /// The UUID of the snapshot; `null` for the current state.
    pub snapshot: Option<Uuid>,
    /// The name of the snapshot.
    pub snapshot_name: Option<String>,
}
