//! Hyper-V's second virtual hard disks: fixed, dynamic, differencing.
//!
//! Two headers, a log, and two regions: the metadata and a table with one 64-bit entry per block of the disk. In
//! differencing disks, bitmaps state which sectors of a block are present. Everything is aligned to 1 MiB.

mod bat;
mod checksum;
mod header;
mod header_writer;
mod locator;
mod log;
mod map;
mod metadata;
mod region;
mod replay;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod write;

use super::check::{Finding, Findings, Reading};
use super::{Error, Format, Image, ImageInfo, ImageMut, Note, OpenOptions, Result, Run, Sample, Variant};
use crate::storage;
use crate::storage::{Allowed, File};
use header::VhdxHeader;
use header_writer::HeaderWriter;
use map::VhdxMap;
use metadata::Metadata;
use region::Regions;
use replay::Replayed;
use std::sync::Arc;
use write::Writer;

/// Whether a file is a VHDX.
#[must_use]
pub(crate) fn probe(sample: &Sample) -> bool {
    sample.starts_with(0, b"vhdxfile")
}

/// Describes a VHDX from its headers and metadata.
///
/// # Errors
/// [`Error::Io`], [`Error::Corrupt`], [`Error::Unsupported`].
pub(crate) fn identify(file: &File, _: &Sample, _: &Allowed) -> Result<ImageInfo> {
    Ok(Parts::read(file.clone(), &OpenOptions::default())?.info)
}

/// Opens a VHDX. One that was not cleanly closed has its log replayed: in memory, or in the file when it is opened
/// for writing.
///
/// # Errors
/// [`Error::Io`], [`Error::Corrupt`], [`Error::Unsupported`]. The whole table is checked: blocks past the end of the
/// file and blocks that overlap are an error here already, unless `options.force` is given.
pub(crate) fn open(file: &File, _: &Sample, options: &OpenOptions) -> Result<Box<dyn Image>> {
    let dirty = options.writable && replay_in_file(file)?;
    let Parts { file, header, slot, regions, metadata, mut info, .. } = Parts::read(file.clone(), options)?;
    if dirty {
        info.notes.push("It was not cleanly closed; its log was replayed".into());
    }
    let map = VhdxMap::new(file.clone(), metadata, &regions)?;
    let used = match map.check(&header, &regions) {
        Err(error) => {
            options.tolerate(error, &mut info.notes)?;
            None
        }
        Ok(used) => Some(used),
    };
    let writer = match used.filter(|_| options.writable) {
        Some(mut space) => {
            map.claim_named(&mut space)?;
            Some(Writer::new(HeaderWriter::new(file.clone(), header, slot), space))
        }
        None => None,
    };
    Ok(Box::new(Vhdx { info, files: [file], map, writer }))
}

/// Reports headers and region tables that their copies stand in for.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn check(file: &File, findings: &mut Findings) -> Result<()> {
    let copies = header::check(&**file)?.into_iter().chain(region::check(&**file)?);
    for cause in copies {
        let found = Finding::of_error(&cause.in_file(file.path()), file.path(), Reading::Fine);
        findings.add(
            found.advise("it is one of two, and the other one is used; Hyper-V writes both when it opens the file"),
        );
    }
    Ok(())
}

/// Applies the log to the file; false when the log was empty. The file is changed only when all
/// that follows from it is valid.
fn replay_in_file(file: &File) -> Result<bool> {
    let (header, slot) = header::read(&**file)?;
    let Some(replay) = log::read(&**file, &header)? else { return Ok(false) };
    let Parts { file: replayed, header, regions, metadata, .. } = Parts::read(file.clone(), &OpenOptions::default())?;
    VhdxMap::new(replayed, metadata, &regions)?.check(&header, &regions)?;
    let mut headers = HeaderWriter::new(file.clone(), header, slot);
    headers.announce_file_write()?;
    replay::write_back(&**file, &replay)?;
    headers.empty_log()?;
    Ok(true)
}

/// All that the headers of a VHDX hold.
struct Parts {
    /// The file, or what it is once the log is replayed.
    file: File,
    header: VhdxHeader,
    slot: usize,
    regions: Regions,
    metadata: Metadata,
    info: ImageInfo,
}

impl Parts {
    fn read(file: File, options: &OpenOptions) -> Result<Self> {
        let mut notes = Vec::new();
        let stored_size = storage::length(&*file)?;
        let (header, slot) = header::read(&*file)?;
        let file = match log::read(&*file, &header) {
            Ok(None) => file,
            Ok(Some(replay)) => {
                notes.push("It was not cleanly closed; its log is replayed in memory".into());
                Arc::new(Replayed::new(file, replay))
            }
            Err(error) if options.force && !options.writable => {
                notes.push(Note::corrupt(format!("{}; reading without it", crate::error_kind::message(&error))));
                file
            }
            Err(error) => return Err(error),
        };
        let regions = region::read(&*file, &mut notes)?;
        let metadata = metadata::read(&*file, regions.metadata)?;
        let info = info(&file, &header, &metadata, notes, stored_size);
        Ok(Self { file, header, slot, regions, metadata, info })
    }
}

fn info(file: &File, header: &VhdxHeader, metadata: &Metadata, notes: Vec<Note>, stored_size: u64) -> ImageInfo {
    ImageInfo {
        variant: match &metadata.parent {
            Some(_) => Variant::Differencing,
            None if metadata.leave_allocated => Variant::Fixed,
            None => Variant::Dynamic,
        },
        details: format!("blocks of {} MiB, sectors of {} bytes", metadata.block_size >> 20, metadata.logical_sector),
        sector_size: metadata.logical_sector,
        block_size: u64::from(metadata.block_size),
        // No UUID: the disk's id of SCSI page 83 is the same in a whole chain; VirtualBox takes none from this format.
        modification: Some(header.data_write).filter(|guid| !guid.is_nil()),
        parent: metadata.parent.as_ref().map(locator::Locator::link),
        notes,
        stored_size,
        ..ImageInfo::plain(file.path(), Format::Vhdx, metadata.disk_size)
    }
}

/// An open VHDX.
struct Vhdx {
    info: ImageInfo,
    files: [File; 1],
    map: VhdxMap,
    writer: Option<Writer>,
}

impl Image for Vhdx {
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

impl Vhdx {
    fn state(&self) -> Result<&Writer> {
        self.writer.as_ref().ok_or_else(|| Error::read_only(&self.info.path))
    }
}
