//! An appliance as a registry.

use super::Descriptor;
use super::slots::attachments;
use crate::image::{self, Format, ImageInfo};
use crate::registry::nearness::Scope;
use crate::registry::uses::Uses;
use crate::registry::xml::{OvfDisk, OvfFile, OvfSystem, ParsedAppliance, parse_appliance};
use crate::registry::{
    DeviceKind, Error, Machine, MachineEntry, MachineState, Media, Medium, MediumId, MediumKind, Registry, Result,
};
use crate::storage::gate::{directory_of, has_protocol};
use crate::storage::{Allowed, local};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// The most disks of an appliance that are read.
const MAX_DISKS: usize = 256;

/// The namespace of UUIDs for what has none in the descriptor nor in its file; made at random, for this program.
const DERIVED: Uuid = Uuid::from_u128(0x6d0f_63a2_50f1_4c5e_9a6b_2f3f_54c1_0b7d);

/// Loads an appliance. The headers of its disks are read.
///
/// # Errors
/// [`Error::Settings`] for a descriptor that is broken; [`Error::Unsupported`] for one with more disks than any machine
/// has.
pub(in crate::registry) fn load(descriptor: &Descriptor) -> Result<Registry> {
    let parsed = parse_appliance(&descriptor.bytes).map_err(|cause| cause.in_file(&descriptor.path))?;
    if parsed.disks.len() > MAX_DISKS {
        let reason = format!("it has {} disks, and at most {MAX_DISKS} are read", parsed.disks.len());
        return Err(Error::Unsupported { path: descriptor.path.clone(), reason });
    }
    let mut loader = Loader {
        descriptor,
        files: parsed.files.iter().map(|file| (&*file.id, file)).collect(),
        media: Media::default(),
        disks: HashMap::new(),
        images: HashMap::new(),
        by_written_uuid: HashMap::new(),
    };
    loader.add_disks(&parsed.disks);
    loader.add_images(&parsed);
    let machines: Vec<MachineEntry> =
        parsed.systems.iter().enumerate().map(|(at, system)| loader.machine(at, system)).collect();
    let media = loader.media;
    let (uses, problems) = Uses::collect(&machines, &media);
    let directory = directory_of(&descriptor.given).to_path_buf();
    let scope = Scope::new(&directory, true);
    let (outdated, is_found) = (Vec::new(), false);
    Ok(Registry { directory, machines, media, problems, outdated, uses, scope, is_found, parsed: None })
}

struct Loader<'a> {
    descriptor: &'a Descriptor,
    files: HashMap<&'a str, &'a OvfFile>,
    media: Media,
    /// The disks by `diskId`.
    disks: HashMap<&'a str, MediumId>,
    /// Files that devices name themselves, without a disk, by `id`.
    images: HashMap<&'a str, MediumId>,
    /// The disks by `vbox:uuid`, by which the machine's settings name them.
    by_written_uuid: HashMap<Uuid, MediumId>,
}

impl<'a> Loader<'a> {
    /// Adds the disks, a parent before the disks with changes to it.
    fn add_disks(&mut self, disks: &'a [OvfDisk]) {
        let ids: HashSet<&str> = disks.iter().map(|disk| &*disk.id).collect();
        let mut left: Vec<&OvfDisk> = disks.iter().collect();
        while !left.is_empty() {
            let (ready, later): (Vec<&OvfDisk>, Vec<&OvfDisk>) = left.iter().partition(|disk| {
                disk.parent.as_deref().is_none_or(|parent| self.disks.contains_key(parent) || !ids.contains(parent))
            });
            // Those that are left are their own ancestors.
            let is_cycle = ready.is_empty();
            for disk in if is_cycle { &later } else { &ready } {
                self.add_disk(disk, is_cycle);
            }
            left = if is_cycle { Vec::new() } else { later };
        }
    }

    fn add_disk(&mut self, disk: &'a OvfDisk, is_cycle: bool) {
        let parent = disk.parent.as_deref().map(|parent| (parent, self.disks.get(parent).copied()));
        let (mut found, mut problem) = match &disk.file {
            Some(file) => self.find(file),
            None => {
                let size = disk.capacity.map_or_else(|| "unknown size".to_owned(), |size| format!("{size} bytes"));
                let problem = format!("there is no file for it: an empty disk of {size} is made at import");
                (PathBuf::from(&disk.id), Some(problem))
            }
        };
        if let Some((written, id)) = parent
            && (is_cycle || id.is_none())
        {
            let why = if is_cycle { "whose parents lead in a circle" } else { "which is not described" };
            problem.get_or_insert_with(|| format!("it has the changes to the disk {written:?}, {why}"));
        }
        if disk.file.is_none() {
            found = directory_of(&self.descriptor.path).join(found);
        }
        let is_optical = disk.format.to_ascii_lowercase().contains("ecma-119") || disk.format.ends_with("iso");
        let medium = self.add_medium(
            found,
            problem,
            &disk.id,
            disk.uuid,
            (&disk.format, is_optical),
            parent.and_then(|(_, id)| id),
        );
        self.disks.entry(&disk.id).or_insert(medium);
        if let Some(uuid) = disk.uuid {
            self.by_written_uuid.entry(uuid).or_insert(medium);
        }
    }

    /// Adds the files that devices name themselves, as drives do their images.
    fn add_images(&mut self, parsed: &'a ParsedAppliance) {
        let items = parsed.systems.iter().flat_map(|system| &system.items);
        let named: HashSet<&str> = items.filter_map(|item| host_resource(&item.host_resource, "file")).collect();
        for file in parsed.files.iter().filter(|file| named.contains(&*file.id)).take(MAX_DISKS) {
            let (path, problem) = self.find(&file.id);
            let is_optical = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("iso"));
            let medium = self.add_medium(path, problem, &file.id, None, ("", is_optical), None);
            self.images.entry(&file.id).or_insert(medium);
        }
    }

    /// The path of a file, and why it cannot be opened. One that leads elsewhere is refused when it is opened.
    fn find(&self, id: &str) -> (PathBuf, Option<String>) {
        let directory = directory_of(&self.descriptor.path);
        let Some(file) = self.files.get(id) else {
            return (directory.join(id), Some(format!("the description has no file with the id {id:?}")));
        };
        let href = &*file.href;
        let path = directory.join(href);
        if has_protocol(href) && !path.exists() {
            return (path, Some(format!("it is at the address {href:?}; only local files are opened")));
        }
        if file.is_chunked {
            let name = path.display();
            let problem = format!(
                "it is in several parts; join them with cat {name}.0* > {name}, and take the chunkSize out of the description"
            );
            return (path, Some(problem));
        }
        if !file.compression.is_empty() {
            let problem =
                format!("it is compressed by {}; extract it, decompress it, and give the disk", file.compression);
            return (path, Some(problem));
        }
        let open = |path: &Path| local::open_near(path, false, directory, &Allowed::NONE);
        let decoded = directory.join(percent_decoded(href));
        // A reference is a URI, and most programs write a plain name.
        if decoded != path && open(&path).is_err() && open(&decoded).is_ok() { (decoded, None) } else { (path, None) }
    }

    fn add_medium(
        &mut self,
        location: PathBuf,
        problem: Option<String>,
        id: &str,
        written: Option<Uuid>,
        (format, is_optical): (&str, bool),
        parent: Option<MediumId>,
    ) -> MediumId {
        let directory = directory_of(&self.descriptor.path);
        let identified = || -> Option<ImageInfo> {
            let file = local::open_near(&location, false, directory, &Allowed::NONE).ok()?;
            image::identify_file(&file, &Allowed::NONE).ok()
        };
        let info = if problem.is_none() { identified() } else { None };
        let uuid = info.as_ref().and_then(|info| info.uuid).or(written);
        let uuid = uuid.filter(|uuid| self.media.find(*uuid).is_none()).unwrap_or_else(|| self.derived(id));
        let is_optical =
            is_optical || info.as_ref().is_some_and(|info| matches!(info.format, Format::Iso | Format::Cue));
        self.media.add(Medium {
            uuid,
            format: info.map_or_else(|| format_of(format, &location), |info| info.format.name().to_owned()),
            location,
            device: if is_optical { DeviceKind::Dvd } else { DeviceKind::HardDisk },
            kind: MediumKind::Readonly,
            auto_reset: false,
            description: String::new(),
            properties: BTreeMap::new(),
            parent,
            children: Vec::new(),
            registered_in: Arc::from(&*self.descriptor.given),
            named_in: Some(directory.to_path_buf()),
            problem,
        })
    }

    /// A UUID for what has none, the same each time.
    fn derived(&self, id: &str) -> Uuid {
        let name = self.descriptor.given.file_name().unwrap_or_default().to_string_lossy();
        (0..)
            .map(|turn: u32| Uuid::new_v3(&DERIVED, format!("{name}/{id}/{turn}").as_bytes()))
            .find(|uuid| self.media.find(*uuid).is_none())
            .unwrap_or_default()
    }

    fn machine(&self, at: usize, system: &OvfSystem) -> MachineEntry {
        let path = self.descriptor.given.clone();
        let uuid_of = |id: Option<&MediumId>| id.map(|id| self.media.get(*id).uuid);
        let stem = || self.descriptor.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = [&system.name, &system.id].into_iter().find(|name| !name.is_empty()).cloned().unwrap_or_else(stem);
        let machine = match &system.machine {
            Some(parsed) => {
                let mut machine = parsed.machine.clone();
                for slot in &mut machine.attachments {
                    // An image that was not exported along is none of the appliance.
                    slot.medium = slot.medium.and_then(|written| uuid_of(self.by_written_uuid.get(&written)));
                }
                if machine.description.is_empty() {
                    machine.description.clone_from(&system.description);
                }
                machine
            }
            None => {
                let medium = |resource: &str| {
                    let disk = host_resource(resource, "disk").and_then(|id| uuid_of(self.disks.get(id)));
                    disk.or_else(|| uuid_of(self.images.get(host_resource(resource, "file")?)))
                };
                Machine {
                    uuid: self.derived(&format!("system {at} {name}")),
                    name,
                    os_type: system.os_type.clone(),
                    description: system.description.clone(),
                    groups: vec!["/".to_owned()],
                    state: MachineState::PoweredOff,
                    state_file: None,
                    last_state_change: String::new(),
                    snapshot_directory: PathBuf::new(),
                    snapshots: Vec::new(),
                    current_snapshot: None,
                    current_state_modified: false,
                    attachments: attachments(&system.items, medium),
                }
            }
        };
        MachineEntry { uuid: machine.uuid, path, machine: Ok(machine) }
    }
}

/// The id that a `HostResource` has of a kind: `ovf:/disk/ID`, `ovf://disk/ID`, and `disk/ID` or `/disk/ID` of version
/// 0.9.
fn host_resource<'a>(text: &'a str, kind: &str) -> Option<&'a str> {
    let (before, id) = text.trim().rsplit_once('/')?;
    (before.rsplit('/').next() == Some(kind)).then_some(id)
}

/// The format, for a disk that cannot be opened: by its URI, and else by the name of the file.
fn format_of(uri: &str, path: &Path) -> String {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let uri = uri.to_ascii_lowercase();
    let known = ["vmdk", "vhdx", "vhd", "vdi", "qcow", "raw"];
    let named = known.into_iter().find(|name| uri.contains(name) || extension.starts_with(name));
    named.unwrap_or("raw").to_ascii_uppercase()
}

/// The text that a URI stands for. The crate percent-encoding is no larger than this where it is called.
fn percent_decoded(uri: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let bytes = uri.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let code = digits.and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        decoded.push(code.unwrap_or(*byte));
        at += if code.is_some() { 3 } else { 1 };
    }
    std::ffi::OsString::from_vec(decoded).into()
}
