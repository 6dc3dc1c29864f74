//! VirtualBox Disk Images: dynamic, fixed and differencing.
//!
//! A header, a map with one 32-bit entry per block of the disk, and blocks, each at any index of the data area.

mod compact;
pub(crate) mod header;
mod map;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod write;

use super::check::{Finding, Findings, Reading};
use super::{Format, Image, ImageInfo, ImageMut, Note, OpenOptions, ParentLink, Result, Run, Sample, Variant};
use crate::storage::InFile;
use crate::storage::{Allowed, File};
use header::{Kind, SIGNATURE, SIGNATURE_AT, VdiHeader};
use map::VdiMap;
use std::path::Path;
use uuid::Uuid;
use write::Writer;

/// Whether a file is a VDI.
#[must_use]
pub(crate) fn probe(sample: &Sample) -> bool {
    sample.starts_with(SIGNATURE_AT, &SIGNATURE.to_le_bytes())
}

/// Whether a file is a VDI with the title in front that VirtualBox and QEMU write. No format that is probed before VDI
/// begins with it, so the first [`header::MAX_HEADER`] bytes decide.
#[must_use]
pub(crate) fn is_titled(sample: &Sample) -> bool {
    sample.starts_with(0, b"<<< ") && probe(sample)
}

/// Describes a VDI from its header.
///
/// # Errors
/// [`super::Error::Corrupt`], [`super::Error::Unsupported`].
pub(crate) fn identify(_: &File, sample: &Sample, _: &Allowed) -> Result<ImageInfo> {
    let header = VdiHeader::parse(&sample.head).in_file(&sample.path)?;
    Ok(info(&sample.path, &header, sample.len))
}

fn info(path: &Path, header: &VdiHeader, stored_size: u64) -> ImageInfo {
    let known = |uuid: Uuid| Some(uuid).filter(|u| !u.is_nil());
    let mut notes = Vec::new();
    let parent = (header.kind == Kind::Diff).then(|| ParentLink {
        uuid: known(header.uuid_linkage),
        modification: known(header.uuid_parent_modify),
        ..ParentLink::default()
    });
    if parent.is_none() && !header.uuid_linkage.is_nil() {
        notes.push(Note::from(format!(
            "The header names a parent ({}) although the image is not a differencing one, as VirtualBox 3 wrote by \
             mistake; it is read as a base, as VirtualBox does",
            header.uuid_linkage
        )));
    }
    ImageInfo {
        variant: match header.kind {
            Kind::Normal => Variant::Dynamic,
            Kind::Fixed => Variant::Fixed,
            Kind::Diff => Variant::Differencing,
        },
        details: format!(
            "version {}.{}, {} of {} blocks of {} bytes allocated",
            header.version >> 16,
            header.version & 0xFFFF,
            header.blocks_allocated,
            header.blocks,
            header.block_size
        ),
        block_size: u64::from(header.block_size),
        uuid: known(header.uuid_create),
        modification: known(header.uuid_modify),
        parent,
        comment: header.comment.clone(),
        notes,
        stored_size,
        ..ImageInfo::plain(path, Format::Vdi, header.disk_size)
    }
}

/// Opens a VDI.
///
/// # Errors
/// [`super::Error::Io`], [`super::Error::Corrupt`], [`super::Error::Unsupported`]. The whole map is checked: blocks
/// past the end of the file or used twice are an error here already, unless `options.force` is given.
pub(crate) fn open(file: &File, sample: &Sample, options: &OpenOptions) -> Result<Box<dyn Image>> {
    let header = VdiHeader::parse(&sample.head).in_file(&sample.path)?;
    let mut info = info(&sample.path, &header, sample.len);
    let mut map = VdiMap::new(file.clone(), header)?;
    let used = match map.check() {
        Ok(used) => Some(used),
        Err(error) => {
            options.tolerate(error, &mut info.notes)?;
            map.refuse_shared()?;
            None
        }
    };
    let mut vdi = Vdi { info, files: [file.clone()], map, writer: None };
    if let Some(used) = used.filter(|_| options.writable) {
        vdi.make_writable(used);
    }
    Ok(Box::new(vdi))
}

/// Reports a header that counts fewer blocks than the map has: VirtualBox would write a new block over one in use.
///
/// # Errors
/// As [`open`].
pub(crate) fn check(file: &File, findings: &mut Findings) -> Result<()> {
    let sample = Sample::read_head(&**file, header::MAX_HEADER)?;
    let header = VdiHeader::parse(&sample.head).in_file(&sample.path)?;
    let (counted, blocks, at) = (header.blocks_allocated, header.blocks, header.blocks_allocated_at);
    let end = VdiMap::new(file.clone(), header)?.end()?;
    if end > u64::from(counted) && end <= u64::from(blocks) {
        let what = format!(
            "VDI number of allocated blocks at offset {at} ({at:#x}): expected at least {end}, found {counted}",
            at = at
        );
        let advice =
            "VirtualBox would write over blocks that are in use; copy the disk into a new image before it runs";
        findings.add(Finding::new(what, Reading::Fine).advise(advice));
    }
    Ok(())
}

/// An open VDI.
struct Vdi {
    info: ImageInfo,
    files: [File; 1],
    map: VdiMap,
    writer: Option<Writer>,
}

impl Image for Vdi {
    fn info(&self) -> &ImageInfo {
        &self.info
    }

    fn files(&self) -> &[File] {
        &self.files
    }

    fn extent(&self, offset: u64, len: u64) -> Result<Run> {
        self.map.extent(offset, len)
    }

    fn writer(&self) -> Option<&dyn ImageMut> {
        self.writer.is_some().then_some(self)
    }
}
