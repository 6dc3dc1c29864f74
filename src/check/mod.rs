//! Whether what a disk consists of is valid: each image of its chain, what the images say of each other and the
//! registry of them, the partition table and the file systems.
//!
//! A check goes on where opening gives up, so that all is reported that is wrong. What was checked is reported part by
//! part as soon as it is known.

mod contents;
mod links;
mod manifest;

pub(crate) use crate::image::check::{Finding, Findings, Reading, Watch};

use crate::disk::ChainDisk;
use crate::open::{Error, Lookup, OpenDisk, Result, Which};
use crate::registry::Chain;
use crate::storage::archive;
use crate::{error_kind, lock, registry};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PartKind {
    /// An image of the chain.
    Image,
    /// The disk as a whole, with its partition table.
    Disk,
    /// A volume and its file system.
    Volume,
    /// The manifest of an appliance.
    Manifest,
}

/// Something that was checked.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Part {
    /// The slot of the machine, where all its disks are checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// What it is.
    pub kind: PartKind,
    /// The image's path, or the name in the view: `vhdd`, `vol0`.
    pub name: String,
    /// What it holds, such as `VDI, dynamic`; empty where that is not known.
    pub details: String,
    /// The size of its disk or volume in bytes; none where that is not known.
    pub size: Option<u64>,
    /// What was found.
    #[serde(flatten)]
    pub findings: Findings,
}

/// How a disk is checked.
#[derive(Clone)]
pub(crate) struct Options<'a> {
    /// The snapshot that the image file itself has.
    pub internal_snapshot: Option<String>,
    /// Devices that images may name.
    pub allowed_devices: Vec<PathBuf>,
    /// How it is followed and ended.
    pub watch: Watch<'a>,
}

/// Checks the disks that are meant. `each` gets the parts, leaf first; false from it ends the check.
///
/// # Errors
/// When the disk that is meant is not known, or another process writes to it.
pub(crate) fn check(
    lookup: &Lookup,
    which: &Which,
    options: &Options<'_>,
    each: &mut dyn FnMut(Part) -> bool,
) -> Result<()> {
    let mut warned = Vec::new();
    let chains = match lookup.find(which, false) {
        Ok(found) => {
            warned.clone_from(&found.warnings);
            found.into_chains().into_iter().map(|(slot, chain)| (slot, chain.map(|chain| (chain, None)))).collect()
        }
        Err(error) => match which.image.as_deref().and_then(|image| lookup.part_of_chain(image)) {
            Some(chain) => vec![(None, Ok((chain, Some(error))))],
            None => return Err(error),
        },
    };
    for (slot, chain) in chains {
        let report = &mut |part: Part| each(Part { slot: slot.clone(), ..part });
        let go_on = match chain {
            Ok((chain, broken)) => {
                let warned = std::mem::take(&mut warned);
                Check { lookup, options }.chain(chain, broken, warned, report)?
            }
            // Without a slot it is the only disk, and nothing of it is known.
            Err(error) if slot.is_none() => return Err(error),
            Err(error) => {
                let mut findings = Findings::default();
                findings.add(Finding::new(error_kind::message(&error), Reading::Refused));
                let name = "vhdd".to_owned();
                report(Part { slot: None, kind: PartKind::Disk, name, details: String::new(), size: None, findings })
            }
        };
        if !go_on {
            return Ok(());
        }
    }
    manifest::check(lookup, which, options, each);
    Ok(())
}

/// What all parts of a check need.
struct Check<'a> {
    lookup: &'a Lookup,
    options: &'a Options<'a>,
}

impl Check<'_> {
    /// Checks one disk. `broken` is why the chain ends before its base; `warned` is what was doubtful when it was
    /// found. Answers whether to go on.
    fn chain(
        &self,
        mut chain: Chain,
        broken: Option<Error>,
        warned: Vec<String>,
        each: &mut dyn FnMut(Part) -> bool,
    ) -> Result<bool> {
        let locks = lock_all(&chain)?;
        registry::find_children(&mut chain, &self.lookup.allowed);
        let Some(images) = self.links(&chain, broken.as_ref(), warned, each) else { return Ok(false) };
        if images.is_empty() {
            return Ok(true);
        }
        let disk = OpenDisk::of_images(self.lookup, chain, Arc::new(ChainDisk::new(images, Vec::new())), locks);
        Ok(contents::check(disk, each))
    }
}

/// Locks the images that are there for reading: what another process writes to meanwhile would look corrupt.
fn lock_all(chain: &Chain) -> Result<Vec<lock::Guard>> {
    let paths: Vec<&Path> =
        chain.links.iter().map(|link| link.path.as_path()).filter(|path| archive::host_file(path).exists()).collect();
    match lock::acquire_chain(&paths, lock::Mode::Read, None) {
        Ok(locks) => Ok(locks),
        Err(error) if error.kind() == error_kind::ErrorKind::Locked => Err(error.into()),
        // What cannot be opened is found when its turn comes.
        Err(_) => Ok(Vec::new()),
    }
}
