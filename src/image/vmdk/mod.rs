//! VMDK: VMware's disks, as VMware, VirtualBox and QEMU write them.
//!
//! A descriptor, text in a separate file or within a sparse extent, lists the extents that make up the disk one after
//! the other: files with the disk's bytes as they are, or sparse ones with a map of grains.

mod check;
mod cowd;
mod descriptor;
mod directory;
mod fitting;
mod geometry;
mod grains;
mod header;
mod opened;
mod outline;
mod part;
mod sesparse;
mod space;
mod stream;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod write;

use super::device::{Named, NamedDevices};
use super::fitting::{Fits, open as open_fitting};
use super::{Error, Image, ImageInfo, ImageMut, OpenOptions, Result, Run, Sample};
use crate::ondisk::ParseError;
use crate::storage::Allowed;
use crate::storage::File;
use opened::{Opened, Opener};
use outline::Outline;
use part::{Store, VmdkExtent, VmdkExtents};
use std::ffi::OsStr;
use std::path::Path;
use write::Writer;

/// Whether a file is a VMDK: a sparse extent of any kind, or a descriptor.
#[must_use]
pub(crate) fn probe(sample: &Sample) -> bool {
    sample.starts_with(0, header::MAGIC)
        || sample.starts_with(0, cowd::MAGIC)
        || sample.starts_with(0, &sesparse::MAGIC.to_le_bytes())
        || descriptor::is_descriptor(&sample.head)
}

/// Whether a file that no format claims has the name of a flat extent of a VMDK. Its bytes are a part of a disk at
/// best, so it is refused when it is opened.
#[must_use]
pub(crate) fn probe_flat(sample: &Sample) -> bool {
    outline::descriptor_name(&sample.path).is_some()
}

/// Refuses a flat extent, naming the descriptor to be given instead.
fn refuse_flat(sample: &Sample) -> Result<()> {
    if probe_flat(sample) && !probe(sample) { Err(outline::without_descriptor(&sample.path)) } else { Ok(()) }
}

/// Describes a VMDK from its descriptor and headers; no map is read.
///
/// # Errors
/// [`Error::Io`], [`Error::Corrupt`], [`Error::Unsupported`]; [`Error::Refused`] for an extent without its descriptor
/// and for a descriptor that names other files than regular ones and devices.
pub(crate) fn identify(file: &File, sample: &Sample, allowed: &Allowed) -> Result<ImageInfo> {
    refuse_flat(sample)?;
    let opener = |image: &Path, name: &OsStr, _: bool, fits: Fits<'_>| {
        open_named(image, name, false, NamedDevices::Closed, allowed, fits)
    };
    Opened::new(Outline::read(file)?, false, &opener)?.info()
}

/// Opens a VMDK and all its extents.
///
/// # Errors
/// As [`identify`]; [`Error::Refused`] for devices that `options` does not allow. The grain tables are checked: grains
/// past the end of their file, sharing bytes with others or with tables are an error here already, unless
/// `options.force` is given.
pub(crate) fn open(file: &File, sample: &Sample, options: &OpenOptions) -> Result<Box<dyn Image>> {
    refuse_flat(sample)?;
    let devices = NamedDevices::Allowed(&options.allowed_devices);
    let opener = |image: &Path, name: &OsStr, writable, fits: Fits<'_>| {
        open_named(image, name, writable, devices, &options.allowed, fits)
    };
    Ok(Box::new(Vmdk::open(file, options, &opener)?))
}

/// Opens a file or device that a VMDK names; none for a device that stays closed.
fn open_named(
    image: &Path,
    name: &OsStr,
    writable: bool,
    devices: NamedDevices<'_>,
    allowed: &Allowed,
    fits: Fits<'_>,
) -> Result<Option<File>> {
    match devices.open(image, name, writable)? {
        Named::Open(device) => Ok(Some(device)),
        Named::Closed => Ok(None),
        Named::Other => open_fitting(image, name, writable, allowed, fits).map(Some),
    }
}

/// An open VMDK.
struct Vmdk {
    info: ImageInfo,
    files: Vec<File>,
    /// In the order of the disk, without gaps; at least one.
    parts: Vec<VmdkExtent>,
    writer: Option<Writer>,
}

impl Vmdk {
    fn open(file: &File, options: &OpenOptions, opener: Opener<'_>) -> Result<Self> {
        let mut opened = Opened::new(Outline::read(file)?, options.writable, opener)?;
        let mut info = opened.info()?;
        let heads = std::mem::take(&mut opened.heads);
        let VmdkExtents { list: parts, notes } = VmdkExtents::load(&opened, heads, options)?;
        info.notes.extend(notes);
        let writer = if options.writable { Writer::new(&opened, &parts)? } else { None };
        Ok(Self { info, files: opened.files, parts, writer })
    }

    /// The part that has the byte at an offset, which lies within the disk.
    fn part(&self, offset: u64) -> &VmdkExtent {
        let after = self.parts.partition_point(|part| part.start <= offset);
        &self.parts[after.saturating_sub(1)]
    }
}

impl Image for Vmdk {
    fn info(&self) -> &ImageInfo {
        &self.info
    }

    fn files(&self) -> &[File] {
        &self.files
    }

    fn extent(&self, offset: u64, len: u64) -> Result<Run> {
        let part = self.part(offset);
        let writing = self.writer.is_some() && part.writable();
        part.extent(&self.files, offset - part.start, len.min(part.end() - offset), writing)
    }

    fn decode(&self, cluster: u64, out: &mut [u8]) -> Result<()> {
        let part = self.part(cluster);
        match &part.store {
            Store::Sparse(sparse) if sparse.grains.geometry.compressed => {
                sparse.grains.decode((cluster - part.start) / sparse.grains.geometry.grain, out)
            }
            _ => {
                let cause =
                    ParseError::corrupt(cluster, "compressed grain", "an extent of compressed grains", "another");
                Err(cause.in_file(&self.info.path))
            }
        }
    }

    fn writer(&self) -> Option<&dyn ImageMut> {
        self.writer.is_some().then_some(self)
    }
}

impl Vmdk {
    /// The error for calls that only an image opened for writing can take.
    fn read_only(&self) -> Error {
        Error::read_only(&self.info.path)
    }
}
