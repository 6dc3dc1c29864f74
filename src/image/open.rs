//! Opening and identifying images: by content, never by extension alone.

use super::drivers::Driver;
use super::{Error, Image, ImageInfo, OpenOptions, Rescue, Result, Sample, parallels, vdi};
use crate::storage::local::{self, Devices};
use crate::storage::{Allowed, File};
use std::path::Path;

/// Opens an image of any format.
///
/// # Errors
/// Any [`Error`]: the file cannot be read, is corrupt, or uses what is not supported.
pub(crate) fn open(path: &Path, options: OpenOptions) -> Result<Box<dyn Image>> {
    let file = open_given(path, &options)?;
    let forced = OpenOptions { writable: false, force: true, ..options.clone() };
    let rescue = if options.writable { Rescue::ReadOnly } else { Rescue::Force };
    let was_forced = options.force;
    open_file(file, options).map_err(|error| match error {
        // Only an attempt shows whether force gets past this error and those after it.
        Error::Corrupt { path: file, cause, .. } if !was_forced && opens(path, forced) => {
            Error::Corrupt { path: file, cause, rescue }
        }
        other => other,
    })
}

fn opens(path: &Path, options: OpenOptions) -> bool {
    open_given(path, &options).and_then(|file| open_file(file, options)).is_ok()
}

pub(super) fn open_given(path: &Path, options: &OpenOptions) -> Result<File> {
    open_local(path, |path| match &options.near {
        Some(directory) => local::open_near(path, options.writable, directory, &options.allowed),
        None => local::open(path, options.writable, options.devices),
    })
}

/// Opens an image of any format on an open file.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_file(file: File, options: OpenOptions) -> Result<Box<dyn Image>> {
    let sample = Sample::read(&*file)?;
    let driver = options.format.map_or_else(|| Driver::probe(&sample), Driver::of);
    log::debug!("{}: {}", sample.path.display(), driver.format);
    if !driver.format.has_snapshots() {
        options.refuse_snapshot(&sample.path)?;
    }
    (driver.open)(&file, &sample, &options)
}

/// Images are files; only the bundles of Parallels are directories, which cannot be opened, and their descriptor stands
/// for them.
fn open_local(path: &Path, open: impl Fn(&Path) -> Result<File>) -> Result<File> {
    open(path).or_else(|error| match parallels::descriptor_in(path) {
        Some(descriptor) => open(&descriptor),
        None => Err(error),
    })
}

/// Describes an image from its header, without reading its map. Cheap: for listings and for following parents.
///
/// # Errors
/// As [`open`].
pub(crate) fn identify(path: &Path, devices: Devices) -> Result<ImageInfo> {
    identify_allowing(path, devices, &Allowed::NONE)
}

/// As [`identify`], with files that the image may name although they lie elsewhere.
///
/// # Errors
/// As [`open`].
pub(crate) fn identify_allowing(path: &Path, devices: Devices, allowed: &Allowed) -> Result<ImageInfo> {
    identify_file(&open_local(path, |path| local::open(path, false, devices))?, allowed)
}

/// As [`identify_allowing`], for an open file.
///
/// # Errors
/// As [`open`].
pub(crate) fn identify_file(file: &File, allowed: &Allowed) -> Result<ImageInfo> {
    // Most images of a registry of thousands are VDIs, and the rest of the sample takes longer than all else here.
    let head = Sample::read_head(&**file, vdi::header::MAX_HEADER)?;
    if vdi::is_titled(&head) {
        return vdi::identify(file, &head, allowed);
    }
    let sample = Sample::read(&**file)?;
    (Driver::probe(&sample).identify)(file, &sample, allowed)
}

/// Opens what a test made as an image of a format, whatever its content.
#[cfg(test)]
pub(crate) fn open_as(format: super::Format, file: File, options: &OpenOptions) -> Result<Box<dyn Image>> {
    open_file(file, OpenOptions { format: Some(format), ..options.clone() })
}
