//! Decides whether a file must be the extent that is missing under its own name.

use super::cowd::{self, CowdHeader};
use super::descriptor::{Descriptor, ExtentKind, ExtentLine, is_descriptor};
use super::geometry::SECTOR;
use super::header::{self, SparseHeader};
use super::outline::Outline;
use super::sesparse::{self, ConstHeader};
use crate::image::Result;
use crate::image::fitting::Nearness;
use crate::storage;
use crate::storage::File;
use crate::storage::InFile;
use crate::storage::local;
use crate::storage::local::Devices;
use crate::storage::{FileIdentity, file_identity, gate};
use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// Descriptors next to the image that are asked which files are theirs.
const MAX_DESCRIPTORS: usize = 256;

/// Whether `file` has the size and header of the extent `line` of the descriptor of `image`. One with another name must
/// be called a VMDK, have exactly its size, and belong to no other descriptor.
pub(super) fn fits(
    image: &File,
    descriptor: &Descriptor,
    line: &ExtentLine,
    file: &File,
    nearness: Nearness,
) -> Result<bool> {
    let head = storage::read_up_to(&**file, 0, cowd::HEADER)?;
    let (has, wants) = if matches!(line.kind, ExtentKind::Flat | ExtentKind::Vmfs) {
        let sparse = [header::MAGIC, cowd::MAGIC, &sesparse::MAGIC.to_le_bytes()].iter().any(|m| head.starts_with(m));
        if sparse || is_descriptor(&head) {
            return Ok(false);
        }
        // Several extents may be in one file, one after the other.
        let same_file = descriptor.extents.iter().filter(|other| other.name == line.name);
        let ends = same_file.map(|other| other.offset.saturating_add(other.sectors).saturating_mul(SECTOR));
        (storage::length(&**file)?, ends.max().unwrap_or(u64::MAX))
    } else if line.kind == ExtentKind::SeSparse {
        (ConstHeader::parse(&head).in_file(file.path())?.capacity, line.sectors)
    } else if head.starts_with(cowd::MAGIC) {
        (CowdHeader::parse(&head).in_file(file.path())?.capacity, line.sectors)
    } else {
        let header = SparseHeader::parse(&head, 0).in_file(file.path())?;
        // One with a descriptor is a disk of its own.
        let alone = !header.descriptor.is_empty();
        (if alone { 0 } else { header.capacity }, line.sectors)
    };
    Ok(match nearness {
        Nearness::Alike => has >= wants,
        // Any raw disk may have the size of a flat extent.
        Nearness::Other => has == wants && is_vmdk(file.path()) && !is_taken(image, descriptor, file),
    })
}

fn is_vmdk(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("vmdk"))
}

/// Whether a descriptor next to the image, or another line of its own one, names the file.
fn is_taken(image: &File, descriptor: &Descriptor, file: &File) -> bool {
    let directory = gate::directory_of(image.path());
    let mut taken: HashSet<FileIdentity> = HashSet::new();
    let mut take = |descriptor: &Descriptor| {
        let names = descriptor.extents.iter().filter_map(|line| line.name.as_ref());
        let names = names.flat_map(|name| name.candidates());
        taken.extend(names.filter_map(|name| file_identity(&directory.join(name))));
    };
    take(descriptor);
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in entries.filter(|path| is_vmdk(path)).take(MAX_DESCRIPTORS) {
        let outline = local::open(&path, false, Devices::Refused).and_then(|main| Outline::read(&main));
        outline.iter().for_each(|outline| take(&outline.descriptor));
    }
    file_identity(file.path()).is_none_or(|id| taken.contains(&id))
}
