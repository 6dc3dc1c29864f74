//! Media registries, global and per machine.

use super::reader::Element;
use super::{ParseError, Result};
use crate::registry::{DeviceKind, MediumKind};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A registered medium as its element describes it, with locations as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::registry) struct ParsedMedium {
    pub(in crate::registry) uuid: Uuid,
    /// A path, absolute or relative to the file's directory, or a URL for iSCSI.
    pub(in crate::registry) location: String,
    pub(in crate::registry) format: String,
    pub(in crate::registry) device: DeviceKind,
    pub(in crate::registry) kind: MediumKind,
    pub(in crate::registry) auto_reset: bool,
    pub(in crate::registry) description: String,
    pub(in crate::registry) properties: BTreeMap<String, String>,
    /// The parent: an index into the same list, smaller than its own.
    pub(in crate::registry) parent: Option<usize>,
    /// Where the element is in its file.
    line: usize,
}

/// What an element of a media registry means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MediaRole {
    /// `MediaRegistry`, or `DiskRegistry` before version 1.4.
    Registry,
    /// `HardDisks`, `DVDImages` or `FloppyImages`.
    List(DeviceKind),
    /// A medium: an index.
    Medium(usize),
    /// The description of a medium.
    Description(usize),
    /// An element without children of interest.
    Leaf,
}

/// The media of one file, a parent before its children.
#[derive(Debug, Default)]
pub(super) struct MediaList {
    pub(super) list: Vec<ParsedMedium>,
}

impl MediaList {
    pub(super) fn start(&mut self, parent: MediaRole, element: &Element) -> Result<Option<MediaRole>> {
        let role = match (parent, element.name()) {
            (MediaRole::Registry, "HardDisks") => MediaRole::List(DeviceKind::HardDisk),
            (MediaRole::Registry, "DVDImages") => MediaRole::List(DeviceKind::Dvd),
            (MediaRole::Registry, "FloppyImages") => MediaRole::List(DeviceKind::Floppy),
            (MediaRole::List(DeviceKind::HardDisk), "HardDisk") => self.add(element, DeviceKind::HardDisk, None)?,
            (MediaRole::List(device @ (DeviceKind::Dvd | DeviceKind::Floppy)), "Image") => {
                self.add(element, device, None)?
            }
            (MediaRole::Medium(index), name) => return self.start_in_medium(index, name, element),
            _ => return Ok(None),
        };
        Ok(Some(role))
    }

    fn start_in_medium(&mut self, index: usize, name: &str, element: &Element) -> Result<Option<MediaRole>> {
        let medium = &mut self.list[index];
        if name == "Description" {
            medium.description.clear();
            return Ok(Some(MediaRole::Description(index)));
        }
        if name == "Property" {
            let value = element.required("value")?.into_owned();
            medium.properties.insert(element.required("name")?.into_owned(), value);
            return Ok(Some(MediaRole::Leaf));
        }
        if medium.device != DeviceKind::HardDisk {
            return Ok(None);
        }
        match name {
            "HardDisk" | "DiffHardDisk" => return self.add(element, DeviceKind::HardDisk, Some(index)).map(Some),
            // Before version 1.4 the element inside gives the kind of image.
            "VirtualDiskImage" => medium.set_file("VDI", element)?,
            "VMDKImage" => medium.set_file("VMDK", element)?,
            "VHDImage" => medium.set_file("VHD", element)?,
            "ISCSIHardDisk" => medium.set_iscsi(element)?,
            "CustomHardDisk" => medium.set_custom(element)?,
            _ => return Ok(None),
        }
        Ok(Some(MediaRole::Leaf))
    }

    fn add(&mut self, element: &Element, device: DeviceKind, parent: Option<usize>) -> Result<MediaRole> {
        let mut location = element.text("location")?;
        let mut format = element.text("format")?;
        let kind = match device {
            DeviceKind::HardDisk => read_kind(element)?,
            DeviceKind::Dvd => MediumKind::Readonly,
            DeviceKind::Floppy => MediumKind::Writethrough,
        };
        if device != DeviceKind::HardDisk {
            // Before version 1.4 the attribute had another name, before 1.11 the format was not written.
            if location.is_empty() {
                location = element.text("src")?;
            }
            if format.is_empty() {
                "RAW".clone_into(&mut format);
            }
        }
        self.list.push(ParsedMedium {
            uuid: element.uuid("uuid")?,
            location,
            format,
            device,
            kind: if parent.is_none() { kind } else { MediumKind::Normal },
            auto_reset: element.flag("autoReset")?.unwrap_or(false),
            description: element.text("Description")?,
            properties: BTreeMap::new(),
            parent,
            line: element.line(),
        });
        Ok(MediaRole::Medium(self.list.len() - 1))
    }

    pub(super) fn text(&mut self, role: MediaRole, text: &str) {
        if let MediaRole::Description(index) = role {
            self.list[index].description.push_str(text);
        }
    }

    pub(super) fn end(&self, role: MediaRole) -> Result<()> {
        let MediaRole::Medium(index) = role else { return Ok(()) };
        let medium = &self.list[index];
        let missing = if medium.location.is_empty() {
            "location"
        } else if medium.format.is_empty() {
            "format"
        } else {
            return Ok(());
        };
        let element = if medium.device == DeviceKind::HardDisk { "HardDisk" } else { "Image" };
        let expected = format!("the attribute {element}/@{missing}");
        Err(ParseError::Broken { line: medium.line, expected, found: "none".to_owned() })
    }
}

fn read_kind(element: &Element) -> Result<MediumKind> {
    let Some(value) = element.attribute("type")? else { return Ok(MediumKind::Normal) };
    // Before version 1.4 it was in lower case.
    match value.to_ascii_lowercase().as_str() {
        "normal" => Ok(MediumKind::Normal),
        "immutable" => Ok(MediumKind::Immutable),
        "writethrough" => Ok(MediumKind::Writethrough),
        "shareable" => Ok(MediumKind::Shareable),
        "readonly" => Ok(MediumKind::Readonly),
        "multiattach" => Ok(MediumKind::MultiAttach),
        _ => Err(element.wrong("type", "Normal, Immutable, Writethrough, Shareable, Readonly or MultiAttach", &value)),
    }
}

impl ParsedMedium {
    fn set_file(&mut self, format: &str, element: &Element) -> Result<()> {
        self.location = element.required("filePath")?.into_owned();
        format.clone_into(&mut self.format);
        Ok(())
    }

    /// VirtualBox 2.0 wrote the attributes here; later ones look for them at the medium itself.
    fn set_custom(&mut self, element: &Element) -> Result<()> {
        if let Some(location) = element.attribute("location")? {
            self.location = location.into_owned();
        }
        if let Some(format) = element.attribute("format")? {
            self.format = format.into_owned();
        }
        Ok(())
    }

    /// Composes the location and the properties that newer versions write for an iSCSI target.
    fn set_iscsi(&mut self, element: &Element) -> Result<()> {
        let [user, server, port] = [element.text("userName")?, element.text("server")?, element.text("port")?];
        let [target, lun] = [element.text("target")?, element.text("lun")?];
        let address = if port.is_empty() { server } else { format!("{server}:{port}") };
        let account = if user.is_empty() { String::new() } else { format!("{user}@") };
        self.location = format!("iscsi://{account}{address}");
        for part in [&target, &lun] {
            if !part.is_empty() {
                self.location.push('/');
                self.location.push_str(part);
            }
        }
        "iSCSI".clone_into(&mut self.format);
        let known = [("TargetAddress", address), ("TargetName", target), ("InitiatorUsername", user), ("LUN", lun)];
        self.properties.extend(
            known.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), value)),
        );
        Ok(())
    }
}
