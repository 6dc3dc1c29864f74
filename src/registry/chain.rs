//! The images that a medium on the command line consists of, from the leaf to the base.

use super::{Error, MachineState, Medium, MediumId, MediumKind, Registry, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The most links of a chain that is followed. VirtualBox itself stops at 300.
pub(crate) const MAX_LINKS: usize = 1024;

/// One image of a chain and what is recorded about it outside of its own header.
#[derive(Debug, Clone, Default)]
pub struct Link {
    /// The image's path, absolute.
    pub path: PathBuf,
    /// The UUID that the registry gives; none for a file that is not registered.
    pub registered_uuid: Option<Uuid>,
    /// The format that the registry gives.
    pub registered_format: Option<String>,
    /// The directory that it must lie in or below, or be allowed, because only a name in an appliance's descriptor led
    /// to it.
    pub named_in: Option<PathBuf>,
    /// The format that the child's header states, such as qcow2's backing format `raw`; it decides where given.
    pub stated_format: Option<String>,
    /// How the parent of this link was found: `the registry`, `the header's hint ...`, `its UUID, next to the file`;
    /// for `-v`. Empty for a base.
    pub found_by: String,
    /// Whether this link is a parent that does not lie where its child does: neither near it, nor under what the user
    /// gave. It may be of another copy of the machine.
    pub far: bool,
    /// Other files that could also be this parent.
    pub rivals: Vec<PathBuf>,
    /// Whether the user named this very file as an image of the chain, so that it may be anywhere.
    pub given: bool,
}

/// The images of a disk, leaf first, and what the registry records about the leaf.
#[derive(Debug, Clone)]
pub struct Chain {
    /// Leaf to base; at least one and at most 1024.
    pub links: Vec<Link>,
    /// The leaf's UUID: from the registry, or else from its header.
    pub uuid: Option<Uuid>,
    /// The kind of the leaf for writing: a base's own kind; a differencing image is `Normal`.
    pub kind: MediumKind,
    /// Media that have the leaf as their parent, by path; writing to it would break them. Those of the registry; when
    /// it is opened for writing, those that lie near it too.
    pub children: Vec<PathBuf>,
    /// Machines whose saved state has the leaf attached, by name, and their snapshots with a saved state as
    /// `MACHINE (snapshot NAME)`; writing to it would break their resume.
    pub saved_in: Vec<String>,
    /// Properties of the base medium, where disk encryption keeps its key store (`CRYPT/KeyStore`).
    pub base_properties: BTreeMap<String, String>,
    /// What the user gave, when the leaf lies outside of it: it may be of another copy, and must not be written to.
    pub outside: Option<PathBuf>,
    /// What a user should know, a sentence each: VirtualBox empties the image, several files could be the parent.
    pub notes: Vec<String>,
}

pub(super) const BY_REGISTRY: &str = "the registry";

impl Registry {
    /// The chain of a registered medium, as the registry states it: no image is opened.
    ///
    /// # Errors
    /// [`Error::Chain`] beyond [`MAX_LINKS`] links; [`Error::Unsupported`] for an iSCSI target; [`Error::Missing`] for
    /// a path of Windows that was not found here.
    pub(crate) fn chain_of_medium(&self, id: MediumId) -> Result<Chain> {
        let leaf = self.media.get(id);
        let mut notes = Vec::new();
        if leaf.auto_reset {
            notes.push(format!(
                "VirtualBox empties {} whenever its machine starts, because its base is immutable",
                leaf.location.display()
            ));
        }
        let links = self.links_from(id)?;
        let given = self.scope.given();
        let is_outside = |link: &&Link| !self.scope.contains(&link.path) && link.path.exists();
        if let Some(given) = given {
            let parents = links.iter().skip(1).filter(is_outside);
            notes.extend(parents.map(|link| lies_outside(&link.path, given)));
        }
        Ok(Chain {
            outside: given.filter(|_| links.first().as_ref().is_some_and(is_outside)).map(Path::to_path_buf),
            links,
            uuid: Some(leaf.uuid),
            kind: leaf.kind,
            children: leaf.children.iter().map(|child| self.media.get(*child).location.clone()).collect(),
            saved_in: self.saved_states_with(id),
            base_properties: self.media.get(self.media.base(id)).properties.clone(),
            notes,
        })
    }

    /// The links from a registered medium to its base.
    pub(super) fn links_from(&self, id: MediumId) -> Result<Vec<Link>> {
        let leaf = self.media.get(id);
        let mut links = Vec::new();
        let mut next = Some(id);
        while let Some(id) = next {
            let medium = self.media.get(id);
            if links.len() == MAX_LINKS {
                return Err(too_long(&leaf.location));
            }
            let is_far = links
                .last()
                .is_some_and(|child: &Link| self.scope.contains(&child.path) && !self.scope.contains(&medium.location));
            links.push(Link { far: is_far, ..link(medium)? });
            next = medium.parent;
        }
        Ok(links)
    }

    fn saved_states_with(&self, id: MediumId) -> Vec<String> {
        let saved = self.uses_of(id).iter().filter_map(|one| {
            let machine = self.machines.get(one.machine)?.machine.as_ref().ok()?;
            match one.snapshot {
                None => (machine.state == MachineState::Saved).then(|| machine.name.clone()),
                Some(at) => {
                    let snapshot = machine.snapshots.get(at).filter(|snapshot| snapshot.online)?;
                    Some(format!("{} (snapshot {})", machine.name, snapshot.name))
                }
            }
        });
        saved.collect()
    }
}

/// The warning for an image outside of what the user gave.
fn lies_outside(path: &Path, given: &Path) -> String {
    format!(
        "{} lies outside of {}: it may be of another copy of the machine, and is only read",
        path.display(),
        given.display()
    )
}

impl Chain {
    /// A file of which nothing else is known.
    #[must_use]
    pub fn of_file(path: PathBuf) -> Self {
        Self::of_links(vec![Link { path, ..Link::default() }], None)
    }

    /// Images of which no settings know anything.
    #[must_use]
    pub(crate) fn of_links(links: Vec<Link>, uuid: Option<Uuid>) -> Self {
        Self {
            links,
            uuid,
            kind: MediumKind::Normal,
            children: Vec::new(),
            saved_in: Vec::new(),
            base_properties: BTreeMap::new(),
            outside: None,
            notes: Vec::new(),
        }
    }

    /// The warning for a leaf that lies outside of what the user gave.
    #[must_use]
    pub(crate) fn outside_note(&self) -> Option<String> {
        Some(lies_outside(&self.links.first()?.path, self.outside.as_ref()?))
    }
}

pub(super) fn too_long(leaf: &Path) -> Error {
    let reason = format!("it has more than {MAX_LINKS} links, which no program makes; clone the disk into one image");
    Error::Chain { what: leaf.display().to_string(), reason }
}

fn link(medium: &Medium) -> Result<Link> {
    if !medium.is_file() {
        let reason = "iSCSI targets are not opened; log in with the system's iSCSI initiator and give the device";
        return Err(Error::Unsupported { path: medium.location.clone(), reason: reason.to_owned() });
    }
    if let Some(error) = medium.unusable() {
        return Err(error);
    }
    Ok(Link {
        path: medium.location.clone(),
        registered_uuid: Some(medium.uuid).filter(|_| medium.named_in.is_none()),
        registered_format: Some(medium.format.clone()).filter(|_| medium.named_in.is_none()),
        named_in: medium.named_in.clone(),
        stated_format: None,
        found_by: medium.parent.map_or_else(String::new, |_| BY_REGISTRY.to_owned()),
        ..Link::default()
    })
}
