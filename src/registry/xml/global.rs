//! `VirtualBox.xml`: the registered machines and the global media registry.

use super::media::{MediaList, MediaRole};
use super::reader::{Element, Visitor, walk};
use super::{ParseError, ParsedMedium, Result};
use uuid::Uuid;

/// The content of `VirtualBox.xml`.
#[derive(Debug, Default)]
pub(in crate::registry) struct Global {
    /// The machines' UUIDs and settings files as written, in the order of the file.
    pub(in crate::registry) machines: Vec<(Uuid, String)>,
    /// The media of the global registry, a parent before its children.
    pub(in crate::registry) media: Vec<ParsedMedium>,
}

/// Parses `VirtualBox.xml`.
///
/// # Errors
/// [`ParseError`] when it is broken or of a kind that cannot be read.
pub(in crate::registry) fn parse_global(bytes: &[u8]) -> Result<Global> {
    let mut parser = Parser::default();
    walk(bytes, &mut parser)?;
    if !parser.seen {
        let expected = "a Global element, as VirtualBox.xml has".to_owned();
        return Err(ParseError::Broken { line: 1, expected, found: "none".to_owned() });
    }
    Ok(Global { machines: parser.machines, media: parser.media.list })
}

enum Role {
    Root,
    Global,
    Machines,
    MachineEntry,
    Media(MediaRole),
}

#[derive(Default)]
struct Parser {
    seen: bool,
    machines: Vec<(Uuid, String)>,
    media: MediaList,
}

impl Visitor for Parser {
    type Role = Role;

    fn start(&mut self, parent: Option<&Role>, element: &Element) -> Result<Option<Role>> {
        let Some(parent) = parent else {
            element.root_version()?;
            return Ok(Some(Role::Root));
        };
        let role = match (parent, element.name()) {
            (Role::Root, "Global") => {
                self.seen = true;
                Role::Global
            }
            (Role::Global, "MachineRegistry") => Role::Machines,
            (Role::Global, "MediaRegistry" | "DiskRegistry") => Role::Media(MediaRole::Registry),
            (Role::Machines, "MachineEntry") => {
                self.machines.push((element.uuid("uuid")?, element.required("src")?.into_owned()));
                Role::MachineEntry
            }
            (Role::Media(role), _) => return Ok(self.media.start(*role, element)?.map(Role::Media)),
            _ => return Ok(None),
        };
        Ok(Some(role))
    }

    fn text(&mut self, role: &Role, text: &str) {
        if let Role::Media(role) = role {
            self.media.text(*role, text);
        }
    }

    fn end(&mut self, role: Role) -> Result<()> {
        match role {
            Role::Media(role) => self.media.end(role),
            _ => Ok(()),
        }
    }
}
