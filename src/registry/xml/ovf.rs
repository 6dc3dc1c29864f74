//! The OVF descriptor of an appliance: DMTF's DSP0243, versions 0.9 (VMware's), 1.x and 2.0.
//!
//! Each version has namespaces of its own, and the elements that are read mean the same in all of them, so only the
//! names within the namespace are compared. Version 0.9 has `Section` and `Content` elements, whose `xsi:type` says
//! what they are. VirtualBox adds the machine's settings as `vbox:Machine`.

use super::machine::{self, ParsedMachine};
use super::reader::{Element, Visitor, walk};
use super::{ParseError, Result, parse_uuid};
use uuid::Uuid;

/// The content of a descriptor.
#[derive(Debug, Default)]
pub(in crate::registry) struct ParsedAppliance {
    /// `References`.
    pub(in crate::registry) files: Vec<OvfFile>,
    /// `DiskSection`.
    pub(in crate::registry) disks: Vec<OvfDisk>,
    /// Each `VirtualSystem`, also of collections.
    pub(in crate::registry) systems: Vec<OvfSystem>,
}

/// `File`.
#[derive(Debug)]
pub(in crate::registry) struct OvfFile {
    /// `ovf:id`.
    pub(in crate::registry) id: String,
    /// `ovf:href`.
    pub(in crate::registry) href: String,
    /// `ovf:compression`; empty without it.
    pub(in crate::registry) compression: String,
    /// `ovf:chunkSize`: whether the file is in several parts.
    pub(in crate::registry) is_chunked: bool,
}

/// `Disk`.
#[derive(Debug)]
pub(in crate::registry) struct OvfDisk {
    /// `ovf:diskId`.
    pub(in crate::registry) id: String,
    /// `ovf:fileRef`; none for an empty disk that is made at import.
    pub(in crate::registry) file: Option<String>,
    /// `ovf:format`: a URI.
    pub(in crate::registry) format: String,
    /// `ovf:parentRef`: the `diskId` of the disk that this one has the changes to.
    pub(in crate::registry) parent: Option<String>,
    /// `ovf:capacity` in bytes.
    pub(in crate::registry) capacity: Option<u64>,
    /// `vbox:uuid`.
    pub(in crate::registry) uuid: Option<Uuid>,
}

/// `VirtualSystem`.
#[derive(Debug, Default)]
pub(in crate::registry) struct OvfSystem {
    /// `ovf:id`.
    pub(in crate::registry) id: String,
    /// `Name`; may be empty.
    pub(in crate::registry) name: String,
    /// `vbox:OSType`, or else the description of the operating system.
    pub(in crate::registry) os_type: String,
    /// `Annotation`.
    pub(in crate::registry) description: String,
    /// The `Item` and `StorageItem` elements of the first hardware section.
    pub(in crate::registry) items: Vec<OvfItem>,
    /// `vbox:Machine`.
    pub(in crate::registry) machine: Option<ParsedMachine>,
}

/// `Item` or `StorageItem`: the texts of its elements, empty where there is none.
#[derive(Debug, Default)]
pub(in crate::registry) struct OvfItem {
    pub(in crate::registry) instance: String,
    pub(in crate::registry) parent: String,
    pub(in crate::registry) address: String,
    pub(in crate::registry) address_on_parent: String,
    pub(in crate::registry) kind: String,
    pub(in crate::registry) subtype: String,
    pub(in crate::registry) host_resource: String,
}

/// Parses a descriptor.
///
/// # Errors
/// [`ParseError`] when it is broken.
pub(in crate::registry) fn parse_appliance(bytes: &[u8]) -> Result<ParsedAppliance> {
    let mut parser = Parser::default();
    walk(bytes, &mut parser)?;
    Ok(parser.appliance)
}

/// What an element means; those inside of a system belong to the last one.
#[derive(Debug, Clone, Copy)]
enum Role {
    /// `Envelope`, or `VirtualSystemCollection` in it.
    Systems,
    References,
    Disks,
    System,
    OperatingSystem,
    Annotations,
    Hardware,
    Item,
    Text(Text),
    Machine(machine::Role),
    Leaf,
}

/// What a text is.
#[derive(Debug, Clone, Copy)]
enum Text {
    Name,
    OsType,
    OsDescription,
    Annotation,
    Instance,
    Parent,
    Address,
    AddressOnParent,
    Kind,
    Subtype,
    HostResource,
}

#[derive(Default)]
struct Parser {
    appliance: ParsedAppliance,
    /// The settings in the `vbox:Machine` that is open.
    machine: Option<machine::Parser>,
    /// The description of the operating system of the last system.
    os_description: String,
}

impl Visitor for Parser {
    type Role = Role;
    const ROOT: &'static str = "Envelope";

    fn is_known(_: &str) -> bool {
        true
    }

    fn start(&mut self, parent: Option<&Role>, element: &Element) -> Result<Option<Role>> {
        let Some(parent) = parent else {
            if element.name() == Self::ROOT {
                return Ok(Some(Role::Systems));
            }
            return Err(element.broken("the root element Envelope", format!("<{}>", element.name())));
        };
        let name = &*section_name(element)?;
        Ok(Some(match (*parent, name) {
            (Role::Systems, "References") => Role::References,
            (Role::Systems, "DiskSection") => Role::Disks,
            (Role::Systems, "VirtualSystemCollection") => Role::Systems,
            (Role::Systems, "VirtualSystem") => {
                let id = element.local("id")?.unwrap_or_default();
                self.appliance.systems.push(OvfSystem { id, ..OvfSystem::default() });
                self.os_description.clear();
                Role::System
            }
            (Role::References, "File") => {
                self.appliance.files.push(file(element)?);
                Role::Leaf
            }
            (Role::Disks, "Disk") => {
                self.appliance.disks.push(disk(element)?);
                Role::Leaf
            }
            (Role::System, "Name") => Role::Text(Text::Name),
            (Role::System, "OperatingSystemSection") => Role::OperatingSystem,
            (Role::System, "AnnotationSection") => Role::Annotations,
            // Others are for other hypervisors.
            (Role::System, "VirtualHardwareSection") if self.system()?.items.is_empty() => Role::Hardware,
            (Role::System, "Machine") => {
                let mut parser = machine::Parser::of_machine(element)?;
                let role = parser.start(Some(&machine::Role::Root), element)?;
                self.machine = Some(parser);
                return Ok(role.map(Role::Machine));
            }
            (Role::OperatingSystem, "OSType") => Role::Text(Text::OsType),
            (Role::OperatingSystem, "Description") => Role::Text(Text::OsDescription),
            (Role::Annotations, "Annotation") => Role::Text(Text::Annotation),
            (Role::Hardware, "Item" | "StorageItem") => {
                self.system()?.items.push(OvfItem::default());
                Role::Item
            }
            (Role::Item, name) => match item_text(name) {
                Some(text) => Role::Text(text),
                None => return Ok(None),
            },
            (Role::Machine(role), _) => {
                let Some(parser) = &mut self.machine else { return Ok(None) };
                return Ok(parser.start(Some(&role), element)?.map(Role::Machine));
            }
            _ => return Ok(None),
        }))
    }

    fn text(&mut self, role: &Role, text: &str) {
        match role {
            Role::Text(Text::OsDescription) => self.os_description.push_str(text),
            Role::Text(kind) => self.target(*kind).iter_mut().for_each(|target| target.push_str(text)),
            Role::Machine(role) => self.machine.iter_mut().for_each(|parser| parser.text(role, text)),
            _ => {}
        }
    }

    fn end(&mut self, role: Role) -> Result<()> {
        match role {
            Role::Machine(machine::Role::Machine) => {
                let parsed = self.machine.take().map(machine::Parser::finish).transpose()?;
                self.system()?.machine = parsed;
            }
            Role::Machine(role) => return self.machine.as_mut().map_or(Ok(()), |parser| parser.end(role)),
            Role::System => {
                let description = std::mem::take(&mut self.os_description);
                let system = self.system()?;
                if system.os_type.is_empty() {
                    system.os_type = description;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Parser {
    /// The system that is open.
    fn system(&mut self) -> Result<&mut OvfSystem> {
        let none = || ParseError::Unsupported("it has a section of a virtual system outside of any".to_owned());
        self.appliance.systems.last_mut().ok_or_else(none)
    }

    fn target(&mut self, text: Text) -> Option<&mut String> {
        let system = self.appliance.systems.last_mut()?;
        match text {
            Text::Name => return Some(&mut system.name),
            Text::OsType => return Some(&mut system.os_type),
            Text::OsDescription => return None,
            Text::Annotation => return Some(&mut system.description),
            _ => {}
        }
        let item = system.items.last_mut()?;
        Some(match text {
            Text::Instance => &mut item.instance,
            Text::Parent => &mut item.parent,
            Text::Address => &mut item.address,
            Text::AddressOnParent => &mut item.address_on_parent,
            Text::Kind => &mut item.kind,
            Text::Subtype => &mut item.subtype,
            _ => &mut item.host_resource,
        })
    }
}

/// The name of an element; of version 0.9's `Section` and `Content` the type without `_Type`.
fn section_name(element: &Element) -> Result<String> {
    let name = element.name();
    if !matches!(name, "Section" | "Content") {
        return Ok(name.to_owned());
    }
    let kind = element.local("type")?.unwrap_or_default();
    let kind = kind.rsplit(':').next().unwrap_or_default();
    Ok(kind.strip_suffix("_Type").unwrap_or(kind).to_owned())
}

/// The elements of an item that are read. Version 0.9 writes `InstanceId`.
fn item_text(name: &str) -> Option<Text> {
    Some(match name {
        "InstanceID" | "InstanceId" => Text::Instance,
        "Parent" => Text::Parent,
        "Address" => Text::Address,
        "AddressOnParent" => Text::AddressOnParent,
        "ResourceType" => Text::Kind,
        "ResourceSubType" => Text::Subtype,
        "HostResource" => Text::HostResource,
        _ => return None,
    })
}

fn file(element: &Element) -> Result<OvfFile> {
    Ok(OvfFile {
        id: element.local("id")?.unwrap_or_default(),
        href: element.local("href")?.ok_or_else(|| element.broken("the attribute File/@href", "none"))?,
        compression: element.local("compression")?.filter(|name| name != "identity").unwrap_or_default(),
        is_chunked: element.local("chunkSize")?.is_some(),
    })
}

fn disk(element: &Element) -> Result<OvfDisk> {
    let units = element.local("capacityAllocationUnits")?;
    // A property of the appliance may stand for it: ${disk.size}.
    let count = element.local("capacity")?.and_then(|text| text.trim().parse::<u64>().ok());
    Ok(OvfDisk {
        id: element.local("diskId")?.ok_or_else(|| element.broken("the attribute Disk/@diskId", "none"))?,
        file: element.local("fileRef")?.filter(|id| !id.is_empty()),
        format: element.local("format")?.unwrap_or_default(),
        parent: element.local("parentRef")?.filter(|id| !id.is_empty()),
        capacity: count.zip(units.as_deref().map_or(Some(1), unit)).and_then(|(count, unit)| count.checked_mul(unit)),
        uuid: element.local("uuid")?.as_deref().and_then(parse_uuid).filter(|uuid| !uuid.is_nil()),
    })
}

/// The bytes of a unit: `byte * 2^30` and the like (DSP0004, appendix C), or a word of version 0.9.
fn unit(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let power = |text: &str| -> Option<u64> {
        match text.trim().split_once('^') {
            Some((base, exponent)) => base.trim().parse::<u64>().ok()?.checked_pow(exponent.trim().parse().ok()?),
            None => text.trim().parse().ok(),
        }
    };
    match &*text {
        "" | "byte" | "bytes" => Some(1),
        "kb" | "kilobytes" => Some(1 << 10),
        "mb" | "megabytes" => Some(1 << 20),
        "gb" | "gigabytes" => Some(1 << 30),
        "tb" | "terabytes" => Some(1 << 40),
        text => text.strip_prefix("byte")?.split('*').skip(1).try_fold(1u64, |all, one| all.checked_mul(power(one)?)),
    }
}

#[cfg(test)]
mod tests;
