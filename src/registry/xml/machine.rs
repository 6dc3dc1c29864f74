//! A machine's settings file: `.vbox`, or `.xml` before VirtualBox 4.0.

use super::attachments::{Storage, StorageRole};
use super::media::{MediaList, MediaRole};
use super::reader::{Element, Visitor, walk};
use super::{Encrypted, ParseError, ParsedMedium, Result, Version};
use crate::registry::{Machine, MachineState, Snapshot};
use std::path::PathBuf;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The content of a machine's settings file.
#[derive(Debug)]
pub(in crate::registry) struct ParsedMachine {
    /// The machine; its paths are as written, and an empty snapshot directory means the default.
    pub(in crate::registry) machine: Machine,
    /// The line of the `Machine` element.
    pub(in crate::registry) line: usize,
    /// The settings version of the file.
    pub(in crate::registry) version: Version,
    /// The media that the file registers, a parent before its children.
    pub(in crate::registry) media: Vec<ParsedMedium>,
    /// What is wrong but leaves the disks as they are.
    pub(in crate::registry) problems: Vec<ParseError>,
}

/// Parses a machine's settings file.
///
/// # Errors
/// [`ParseError`] when it is broken, encrypted or of a kind that cannot be read.
pub(in crate::registry) fn parse_machine(bytes: &[u8]) -> Result<ParsedMachine> {
    let mut parser = Parser::default();
    walk(bytes, &mut parser)?;
    parser.finish()
}

/// Parses the `Machine` element of an encrypted machine, a document of its own, as if it were in a settings file of
/// that version.
///
/// # Errors
/// As [`parse_machine`], with lines counted in the decrypted text.
pub(in crate::registry) fn parse_decrypted(machine: &[u8], version: &str) -> Result<ParsedMachine> {
    let declaration_end = machine.windows(2).position(|two| two == b"?>").filter(|_| machine.starts_with(b"<?xml"));
    let root = format!("<VirtualBox xmlns=\"http://www.virtualbox.org/\" version=\"{version}-any\">");
    let mut whole = Zeroizing::new(Vec::with_capacity(machine.len() + root.len() + 16));
    whole.extend(root.as_bytes());
    whole.extend(&machine[declaration_end.map_or(0, |at| at + 2)..]);
    whole.extend(b"</VirtualBox>");
    parse_machine(&whole)
}

/// What an element means. The number of a section is 0 for the machine, 1 and up for its snapshots.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    Root,
    Encrypted,
    Machine,
    Groups,
    Group,
    Snapshot(usize),
    Snapshots(usize),
    Description(usize),
    Hardware(usize),
    Storage(usize, StorageRole),
    Media(MediaRole),
}

/// What a machine and a snapshot have alike.
struct Section {
    description: String,
    storage: Storage,
}

/// Parses the elements of a machine's settings.
#[derive(Default)]
pub(super) struct Parser {
    version: Option<Version>,
    machine: Option<(Machine, usize)>,
    encrypted: Option<Encrypted>,
    current_snapshot: Option<Uuid>,
    groups: Vec<String>,
    snapshots: Vec<Snapshot>,
    /// The machine's, then each snapshot's.
    sections: Vec<Section>,
    media: MediaList,
}

impl Visitor for Parser {
    type Role = Role;

    fn start(&mut self, parent: Option<&Role>, element: &Element) -> Result<Option<Role>> {
        let Some(parent) = parent else {
            self.version = Some(element.root_version()?);
            return Ok(Some(Role::Root));
        };
        let role = match (*parent, element.name()) {
            (Role::Root, "Machine") => self.add_machine(element)?,
            (Role::Root, "MachineEncrypted") => {
                self.encrypted = Some(Encrypted {
                    uuid: element.uuid("uuid")?,
                    key_id: element.required("keyId")?.into_owned(),
                    key_store: element.required("keyStore")?.into_owned(),
                    ..Encrypted::default()
                });
                Role::Encrypted
            }
            (Role::Machine, "MediaRegistry") => Role::Media(MediaRole::Registry),
            (Role::Machine, "Groups") => Role::Groups,
            (Role::Groups, "Group") => {
                self.groups.push(element.required("name")?.into_owned());
                Role::Group
            }
            (Role::Machine, "Snapshot") => self.add_snapshot(element, None)?,
            (Role::Snapshot(parent), "Snapshots") => Role::Snapshots(parent),
            (Role::Snapshots(parent), "Snapshot") => self.add_snapshot(element, Some(parent))?,
            (Role::Machine, name) => return Ok(self.start_in_section(0, name)),
            (Role::Snapshot(index), name) => return Ok(self.start_in_section(index + 1, name)),
            (Role::Hardware(section), _) => {
                let role = self.sections[section].storage.start_in_hardware(element)?;
                return Ok(role.map(|role| Role::Storage(section, role)));
            }
            (Role::Storage(section, role), _) => {
                let role = self.sections[section].storage.start(role, element)?;
                return Ok(role.map(|role| Role::Storage(section, role)));
            }
            (Role::Media(role), _) => return Ok(self.media.start(role, element)?.map(Role::Media)),
            _ => return Ok(None),
        };
        Ok(Some(role))
    }

    fn text(&mut self, role: &Role, text: &str) {
        match role {
            Role::Description(section) => self.sections[*section].description.push_str(text),
            Role::Media(role) => self.media.text(*role, text),
            Role::Encrypted => self.encrypted.iter_mut().for_each(|encrypted| encrypted.text.push_str(text)),
            _ => {}
        }
    }

    fn end(&mut self, role: Role) -> Result<()> {
        match role {
            Role::Media(role) => self.media.end(role),
            _ => Ok(()),
        }
    }
}

impl Parser {
    /// For a `Machine` element that has the version of the settings itself, as in an appliance.
    ///
    /// # Errors
    /// [`ParseError`] when it has none that can be read.
    pub(super) fn of_machine(element: &Element) -> Result<Self> {
        Ok(Self { version: Some(element.settings_version()?), ..Self::default() })
    }

    /// An element that a machine and a snapshot may have alike.
    fn start_in_section(&mut self, section: usize, name: &str) -> Option<Role> {
        match name {
            "Description" => {
                self.sections[section].description.clear();
                Some(Role::Description(section))
            }
            "Hardware" => Some(Role::Hardware(section)),
            // Versions 1.7 to 1.16 have it here, later ones in Hardware.
            "StorageControllers" => Some(Role::Storage(section, StorageRole::Controllers)),
            "HardDiskAttachments" => Some(Role::Storage(section, StorageRole::OldDisks)),
            _ => None,
        }
    }

    /// Version 1.10 had the description as an attribute.
    fn add_section(&mut self, element: &Element) -> Result<()> {
        let storage = self.version.map(Storage::new).unwrap_or_default();
        self.sections.push(Section { description: element.text("Description")?, storage });
        Ok(())
    }

    fn add_machine(&mut self, element: &Element) -> Result<Role> {
        if self.machine.is_some() {
            return Err(element.broken("one Machine element", "two"));
        }
        let state_file = element.text("stateFile")?;
        let aborted = element.flag("aborted")?.unwrap_or(false);
        let state = match (state_file.is_empty(), aborted) {
            (false, _) => MachineState::Saved,
            (true, true) => MachineState::Aborted,
            (true, false) => MachineState::PoweredOff,
        };
        self.current_snapshot = element.optional_uuid("currentSnapshot")?;
        let machine = Machine {
            uuid: element.uuid("uuid")?,
            name: element.required("name")?.into_owned(),
            os_type: element.text("OSType")?,
            description: String::new(),
            groups: Vec::new(),
            state,
            state_file: Some(PathBuf::from(state_file)).filter(|path| !path.as_os_str().is_empty()),
            last_state_change: element.text("lastStateChange")?,
            snapshot_directory: PathBuf::from(element.text("snapshotFolder")?),
            snapshots: Vec::new(),
            current_snapshot: None,
            current_state_modified: element.flag("currentStateModified")?.unwrap_or(true),
            attachments: Vec::new(),
        };
        self.machine = Some((machine, element.line()));
        self.add_section(element)?;
        Ok(Role::Machine)
    }

    fn add_snapshot(&mut self, element: &Element, parent: Option<usize>) -> Result<Role> {
        self.snapshots.push(Snapshot {
            uuid: element.uuid("uuid")?,
            name: element.required("name")?.into_owned(),
            description: String::new(),
            time_stamp: element.text("timeStamp")?,
            online: !element.text("stateFile")?.is_empty(),
            parent,
            attachments: Vec::new(),
        });
        self.add_section(element)?;
        Ok(Role::Snapshot(self.snapshots.len() - 1))
    }

    /// What was parsed.
    ///
    /// # Errors
    /// As [`parse_machine`].
    pub(super) fn finish(self) -> Result<ParsedMachine> {
        if let (Some(mut encrypted), Some(version)) = (self.encrypted, self.version) {
            encrypted.version = format!("{}.{}", version.major, version.minor);
            return Err(ParseError::Encrypted(Box::new(encrypted)));
        }
        let (Some((mut machine, line)), Some(version)) = (self.machine, self.version) else {
            let expected = "a Machine element".to_owned();
            return Err(ParseError::Broken { line: 1, expected, found: "none".to_owned() });
        };
        let mut sections = self.sections.into_iter();
        if let Some(own) = sections.next() {
            machine.description = own.description;
            machine.attachments = own.storage.finish();
        }
        machine.snapshots = self.snapshots;
        // There may be tens of thousands of machines in memory.
        machine.snapshots.shrink_to_fit();
        for (snapshot, section) in machine.snapshots.iter_mut().zip(sections) {
            snapshot.description = section.description;
            snapshot.attachments = section.storage.finish();
        }
        machine.groups = self.groups;
        if machine.groups.is_empty() {
            machine.groups = vec!["/".to_owned()];
        }
        let mut problems = Vec::new();
        if let Some(uuid) = self.current_snapshot {
            machine.current_snapshot = machine.snapshots.iter().position(|snapshot| snapshot.uuid == uuid);
        }
        if machine.current_snapshot.is_none() && (self.current_snapshot.is_some() || !machine.snapshots.is_empty()) {
            let expected = "the UUID of one of the machine's snapshots in Machine/@currentSnapshot".to_owned();
            let found = self.current_snapshot.map_or_else(|| "none".to_owned(), |uuid| uuid.to_string());
            problems.push(ParseError::Broken { line, expected, found });
        }
        let mut media = self.media.list;
        media.shrink_to_fit();
        Ok(ParsedMachine { machine, line, version, media, problems })
    }
}
