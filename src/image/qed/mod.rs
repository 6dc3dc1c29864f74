//! QEMU's enhanced disks: a header and a two-level map, without refcounts.

pub(crate) mod header;

use super::check::{Finding, Findings};
use super::two_level::{self, Dialect, Shape, TwoLevel};
use super::{Format, Image, ImageInfo, OpenOptions, Result, Sample, Variant, qcow};
use crate::storage;
use crate::storage::InFile;
use crate::storage::{Allowed, File};
use header::{BACKING_RAW, FEATURES_AT, MAGIC, NEED_CHECK, QedHeader};
use std::path::Path;

const DIALECT: Dialect = Dialect { name: "QED", big_endian: false, zero: Some(1), compressed: 0, aligned: true };
/// Where `autoclear_features` is.
const AUTOCLEAR_AT: u64 = 32;

/// Whether a file is a QED.
#[must_use]
pub(crate) fn probe(sample: &Sample) -> bool {
    sample.starts_with(0, &MAGIC)
}

/// Describes a QED from its header.
///
/// # Errors
/// [`Error::Corrupt`](super::Error::Corrupt), [`Error::Unsupported`](super::Error::Unsupported).
pub(crate) fn identify(_: &File, sample: &Sample, _: &Allowed) -> Result<ImageInfo> {
    let header = QedHeader::parse(&sample.head).in_file(&sample.path)?;
    info(&sample.path, &header, sample.len)
}

fn info(path: &Path, header: &QedHeader, stored_size: u64) -> Result<ImageInfo> {
    let format = (header.features & BACKING_RAW != 0).then(|| "raw".to_owned());
    let parent = header.backing_file.as_deref().map(|name| qcow::parent(path, name, format)).transpose()?;
    let mut notes = Vec::new();
    if header.features & NEED_CHECK != 0 {
        notes.push("It was not closed cleanly; its map is checked before it is written".into());
    }
    Ok(ImageInfo {
        variant: if parent.is_some() { Variant::Differencing } else { Variant::Dynamic },
        details: format!("clusters of {} bytes, tables of {} clusters", header.cluster_size, header.table_size),
        block_size: u64::from(header.cluster_size),
        parent,
        notes,
        stored_size,
        ..ImageInfo::plain(path, Format::Qed, header.image_size)
    })
}

/// Reports what is wrong with the map.
///
/// # Errors
/// What keeps the check from going on.
pub(crate) fn check(file: &File, findings: &mut Findings) -> Result<()> {
    let sample = Sample::read(&**file)?;
    let header = QedHeader::parse(&sample.head).in_file(&sample.path)?;
    two_level::check(file, shape(&header), &mut |error, reading| {
        findings.add(Finding::of_error(&error, &sample.path, reading));
        Ok(())
    })
}

fn shape(header: &QedHeader) -> Shape {
    let entries = header.table_entries();
    Shape {
        dialect: DIALECT,
        l1_offset: header.l1_table_offset,
        l1_entries: entries,
        l2_entries: entries,
        cluster_size: u64::from(header.cluster_size),
    }
}

/// Opens a QED. For writing, the whole map is checked.
///
/// # Errors
/// [`Error::Io`](super::Error::Io), [`Error::Corrupt`](super::Error::Corrupt),
/// [`Error::Unsupported`](super::Error::Unsupported).
pub(crate) fn open(file: &File, sample: &Sample, options: &OpenOptions) -> Result<Box<dyn Image>> {
    let header = QedHeader::parse(&sample.head).in_file(&sample.path)?;
    let info = info(&sample.path, &header, sample.len)?;
    let image = TwoLevel::open(file.clone(), info, shape(&header), None, options.writable)?;
    let features = header.features & !NEED_CHECK;
    if options.writable && (header.autoclear_features != 0 || header.features != features) {
        // Bits of structures that are not updated here; and the map was checked. NEED_CHECK is never set: the
        // map is whole at any moment, and VirtualBox opens no image that needs a check.
        storage::write_all(&**file, &[0; 8], AUTOCLEAR_AT)?;
        storage::write_all(&**file, &features.to_le_bytes(), FEATURES_AT)?;
        storage::sync(&**file)?;
    }
    Ok(Box::new(image))
}
