//! QEMU's copy-on-write images: QCOW (version 1) and QCOW2 (versions 2 and 3).
//!
//! A header, a two-level map from clusters of the disk to clusters of the file, and since version 2 a refcount for
//! each cluster of the file, so that internal snapshots can share them.

mod bounds;
mod check;
mod compressed;
mod entry;
pub(crate) mod extensions;
pub(crate) mod header;
mod map;
mod refcount;
pub(crate) mod snapshots;
mod space;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod v1;
mod write;

use super::check::{Finding, Findings};
use super::{Error, Format, Image, ImageInfo, ImageMut, OpenOptions, ParentLink, Result, Run, Sample, Variant};
use crate::ondisk::ParseError;
use crate::storage;
use crate::storage::File;
use crate::storage::InFile;
use crate::storage::local;
use crate::storage::{Allowed, gate};
use entry::Compressed;
use header::{MAGIC, QcowHeader, incompatible};
use map::QcowMap;
use refcount::Refcounts;
use snapshots::Snapshot;
use space::Space;
use std::path::Path;
use write::Writer;

/// Whether a file is a QCOW image of any version.
#[must_use]
pub(crate) fn probe(sample: &Sample) -> bool {
    sample.starts_with(0, &MAGIC)
}

/// A header of any version.
enum Parsed {
    V1(v1::QcowHeader),
    V2(Box<QcowHeader>),
}

fn parse(bytes: &[u8]) -> Result<Parsed, ParseError> {
    let f = crate::ondisk::fields::Fields::new("QCOW header", bytes, 0);
    let magic = f.bytes(0, 4)?;
    if magic != MAGIC {
        let found = format_args!("{:#010x}", f.u32_be(0)?);
        return Err(ParseError::corrupt(0, "QCOW magic", "0x514649fb", found));
    }
    match f.u32_be(4)? {
        1 => v1::QcowHeader::parse(bytes).map(Parsed::V1),
        2 | 3 => QcowHeader::parse(bytes).map(|header| Parsed::V2(Box::new(header))),
        other => Err(ParseError::unsupported(4, "QCOW version", "1 to 3", other)),
    }
}

/// Describes a QCOW image from its header.
///
/// # Errors
/// [`Error::Corrupt`], [`Error::Unsupported`].
pub(crate) fn identify(_: &File, sample: &Sample, allowed: &Allowed) -> Result<ImageInfo> {
    match parse(&sample.head).in_file(&sample.path)? {
        Parsed::V1(header) => header.info(&sample.path, sample.len),
        Parsed::V2(header) => {
            let data =
                header.has_data_file().then(|| open_data_file(&sample.path, &header, false, allowed)).transpose()?;
            info(&sample.path, &header, stored_size(sample.len, data.as_ref())?)
        }
    }
}

/// The lengths of the image and of its external data file together.
fn stored_size(len: u64, data: Option<&File>) -> Result<u64> {
    let data = data.map(|file| storage::length(&**file)).transpose()?;
    Ok(len.saturating_add(data.unwrap_or(0)))
}

fn info(path: &Path, header: &QcowHeader, stored_size: u64) -> Result<ImageInfo> {
    let format = header.extensions.backing_format.clone();
    let parent = header.backing_file.as_deref().map(|name| parent(path, name, format)).transpose()?;
    let mut notes = Vec::new();
    if header.incompatible & incompatible::DIRTY != 0 {
        notes.push("It was not closed cleanly and its refcounts may be wrong, which matters only for writing".into());
    }
    let mut details = format!("version {}, clusters of {} bytes", header.version, header.cluster_size());
    if header.compression == header::Compression::Zstd {
        details.push_str(", zstd");
    }
    if header.extended() {
        details.push_str(", subclusters");
    }
    if let Some(name) = header.extensions.data_file.as_ref().filter(|_| header.has_data_file()) {
        details.push_str(&format!(", data in {name}"));
    }
    if header.nb_snapshots > 0 {
        details.push_str(&format!(", internal snapshots: {}", header.nb_snapshots));
    }
    Ok(ImageInfo {
        path: path.to_path_buf(),
        format: Format::Qcow,
        variant: if parent.is_some() { Variant::Differencing } else { Variant::Dynamic },
        details,
        size: header.size,
        sector_size: 512,
        block_size: header.cluster_size(),
        uuid: None,
        modification: None,
        content_id: None,
        parent,
        comment: String::new(),
        notes,
        stored_size,
    })
}

/// The parent that a backing file's name means. QEMU takes names with a protocol in front for something else than
/// local files, except `file:`.
pub(super) fn parent(path: &Path, name: &str, format: Option<String>) -> Result<ParentLink> {
    let local = name.strip_prefix("file:").unwrap_or(name);
    if gate::has_protocol(local) {
        return Err(ParseError::unsupported(0, "backing file name", "the name of a local file", name).in_file(path));
    }
    Ok(ParentLink { hints: vec![local.to_owned()], format, ..ParentLink::default() })
}

/// Opens a QCOW image, or one of its internal snapshots for reading.
///
/// # Errors
/// [`Error::Io`], [`Error::Corrupt`], [`Error::Unsupported`]; [`Error::Refused`] for a snapshot that is not there, an
/// external data file outside of the image's directory, and for writing to an image that is not consistent. The whole
/// map is checked before an image is opened for writing.
pub(crate) fn open(file: &File, sample: &Sample, options: &OpenOptions) -> Result<Box<dyn Image>> {
    match parse(&sample.head).in_file(&sample.path)? {
        Parsed::V1(header) => v1::open(file, header, options),
        Parsed::V2(header) => Ok(Box::new(Qcow::open(file, *header, options)?)),
    }
}

/// An open image of version 2 or 3.
struct Qcow {
    info: ImageInfo,
    /// The main file, and the data file where there is one.
    files: Vec<File>,
    map: QcowMap,
    writer: Option<Writer>,
}

impl Qcow {
    fn open(file: &File, header: QcowHeader, options: &OpenOptions) -> Result<Self> {
        let mut files = vec![file.clone()];
        if header.has_data_file() {
            files.push(open_data_file(file.path(), &header, options.writable, &options.allowed)?);
        }
        let mut info = info(file.path(), &header, stored_size(storage::length(&**file)?, files.get(1))?)?;
        if header.incompatible & incompatible::CORRUPT != 0 {
            let cause = ParseError::corrupt(72, "QCOW2 incompatible_features", "no corrupt flag", "bit 1 (corrupt)");
            options.tolerate(cause.in_file(file.path()), &mut info.notes)?;
        }
        let (snapshots, table_len) = snapshots::read(file, &header)?;
        if !snapshots.is_empty() {
            info.details = format!("{} {}", info.details, snapshots::names(&snapshots));
        }
        let mut l1_offset = header.l1_table_offset;
        if let Some(wanted) = &options.snapshot {
            let snapshot = snapshots::find(file, &snapshots, wanted)?;
            if options.writable {
                let reason = format!("its internal snapshot {wanted:?} can only be read; open it without writing");
                return Err(Error::Refused { path: info.path, reason });
            }
            info.size = snapshot.size;
            l1_offset = snapshot.l1_table_offset;
        }
        let writer = if options.writable { Some(writer(file, &header, &snapshots, table_len)?) } else { None };
        let map = QcowMap::new(file, files.get(1), header, l1_offset)?;
        Ok(Self { info, files, map, writer })
    }
}

/// Reports what is wrong with the map and the refcounts of the current state and of all internal snapshots.
///
/// # Errors
/// What keeps the check from going on.
pub(crate) fn check(file: &File, findings: &mut Findings) -> Result<()> {
    let sample = Sample::read(&**file)?;
    let path = file.path();
    let mut report = |error: Error, reading| {
        findings.add(Finding::of_error(&error, path, reading));
        Ok(())
    };
    let header = match parse(&sample.head).in_file(path)? {
        Parsed::V1(header) => return header.check(file, &mut report),
        Parsed::V2(header) => header,
    };
    if header.incompatible & incompatible::DIRTY != 0 {
        return Ok(());
    }
    let (snapshots, table_len) = snapshots::read(file, &header)?;
    let refs = Refcounts::read(file, &header)?;
    let used = check::check(file, &header, &refs, &snapshots, table_len, &mut report)?;
    let mut leaked = 0;
    for cluster in 0..sample.len.div_ceil(header.cluster_size()) {
        leaked += u64::from(!used.contains(cluster) && refs.get(cluster)? > 0);
    }
    // Bitmaps and what other programs keep in extensions are not in the map.
    if leaked > 0 && header.autoclear == 0 {
        let what = format!(
            "{leaked} clusters of {} bytes are counted as used, and nothing points to them: the file is larger than it \
             need be",
            header.cluster_size()
        );
        findings.add(Finding::note(what).advise("qemu-img check -r leaks gives their space back"));
    }
    Ok(())
}

fn open_data_file(path: &Path, header: &QcowHeader, writable: bool, allowed: &Allowed) -> Result<File> {
    let name = header.extensions.data_file.as_deref().ok_or_else(|| {
        ParseError::corrupt(72, "QCOW2 external data file", "a header extension with its name", "none").in_file(path)
    })?;
    local::open_named(path, name, writable, allowed)
}

/// Checks the image for writing.
fn writer(file: &File, header: &QcowHeader, snapshots: &[Snapshot], table_len: u64) -> Result<Writer> {
    let refused = |reason: &str| Error::Refused { path: file.path().to_path_buf(), reason: reason.to_owned() };
    if header.incompatible & incompatible::DIRTY != 0 {
        return Err(refused(
            "it was not closed cleanly, and its refcounts must be rebuilt before it is written; run \
                            qemu-img check -r all on it, or open it without writing",
        ));
    }
    if header.has_data_file() && !snapshots.is_empty() {
        return Err(refused(
            "it has both internal snapshots and an external data file, which cannot share clusters; \
                            open it without writing",
        ));
    }
    let refs = Refcounts::read(file, header)?;
    let used = check::check(file, header, &refs, snapshots, table_len, &mut |error, _| Err(error))?;
    Ok(Writer::new(Space::new(refs, header.cluster_bits, used)))
}

impl Image for Qcow {
    fn info(&self) -> &ImageInfo {
        &self.info
    }

    fn files(&self) -> &[File] {
        &self.files
    }

    fn extent(&self, offset: u64, len: u64) -> Result<Run> {
        self.map.extent(offset, len, false)
    }

    fn decode(&self, cluster: u64, out: &mut [u8]) -> Result<()> {
        let encoded = Compressed::decode(cluster, self.map.header.cluster_bits);
        // At most two clusters of 2 MiB; the file may end within the last sector.
        let len = usize::try_from(encoded.len).unwrap_or(0);
        let bytes = storage::read_up_to(&*self.files[0], encoded.offset, len)?;
        compressed::decode(self.map.header.compression, &bytes, encoded.offset, out).in_file(&self.info.path)
    }

    fn writer(&self) -> Option<&dyn ImageMut> {
        self.writer.is_some().then_some(self)
    }
}
