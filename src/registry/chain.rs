//! What a medium on the command line means: the images from the leaf to the base.

use super::MediumKind;
use std::collections::BTreeMap;
use std::path::PathBuf;
use uuid::Uuid;

/// One image of a chain and what is stated about it elsewhere than in its own header.
#[derive(Debug, Clone)]
pub struct Link {
    /// The image's path, absolute.
    pub path: PathBuf,
    /// The UUID that the registry gives; none for a file that is not registered.
    pub registered_uuid: Option<Uuid>,
    /// The format that the registry gives.
    pub registered_format: Option<String>,
    /// The format that the child's header states, such as qcow2's backing format `raw`; it decides where given.
    pub stated_format: Option<String>,
    /// How the parent of this link was found: `the registry`, `the header's hint ...`, `beside the file`; for `-v`.
    pub found_by: String,
}

/// The images of a disk, leaf first, and what the registry says of the leaf.
#[derive(Debug, Clone)]
pub struct Chain {
    /// Leaf to base; at least one.
    pub links: Vec<Link>,
    /// The leaf's UUID: from the registry, or else from its header.
    pub uuid: Option<Uuid>,
    /// The kind of the leaf for writing: a base's own kind; a differencing image is `Normal`.
    pub kind: MediumKind,
    /// Media that have the leaf as their parent, by path; writing to it would break them.
    pub children: Vec<PathBuf>,
    /// Machines whose saved state has the leaf attached, by name; writing to it would break their resume.
    pub saved_in: Vec<String>,
    /// Properties of the base medium, where disk encryption keeps its key store (`CRYPT/KeyStore`).
    pub base_properties: BTreeMap<String, String>,
}
