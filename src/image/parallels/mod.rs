//! Parallels images: a single `.hdd` file with a map of clusters, a flat one without a header, and bundles, directories
//! with a descriptor and one or more files for each snapshot.

mod bundle;
mod descriptor;
mod extension;
mod header;
mod map;
mod part;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod write;
mod writer;

use super::{Format, Image, ImageInfo, ImageMut, Note, OpenOptions, Result, Run, Sample, Variant, foreign};
use crate::ondisk::ParseError;
use crate::storage;
use crate::storage::Allowed;
use crate::storage::File;
use crate::storage::InFile;
use header::ParallelsHeader;
use map::ParallelsMap;
use part::{Layer, ParallelsStorage};
use std::path::Path;
use writer::Writer;

pub(crate) use bundle::descriptor_in;

/// Whether a file is a Parallels image or the descriptor of a bundle.
#[must_use]
pub(crate) fn probe(sample: &Sample) -> bool {
    header::probe(sample) || bundle::probe(sample)
}

/// Whether a file that no format claims is a flat image: Parallels' own have no header, only the name shows it.
#[must_use]
pub(crate) fn probe_flat(sample: &Sample) -> bool {
    sample.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("hdd"))
}

/// Describes an image from its header or a bundle from its descriptor.
///
/// # Errors
/// [`super::Error::Io`], [`super::Error::Corrupt`], [`super::Error::Unsupported`]; [`super::Error::Foreign`] for a part
/// of a bundle.
pub(crate) fn identify(file: &File, sample: &Sample, allowed: &Allowed) -> Result<ImageInfo> {
    if bundle::probe(sample) {
        return bundle::identify(file, allowed);
    }
    if !header::probe(sample) {
        return flat_info(sample);
    }
    bundle::refuse_chunk(&sample.path)?;
    let header = ParallelsHeader::parse(&sample.head).in_file(&sample.path)?;
    Ok(single_info(&sample.path, &header, sample.len))
}

/// Opens an image or a bundle.
///
/// # Errors
/// [`super::Error::Io`], [`super::Error::Corrupt`], [`super::Error::Unsupported`]; [`super::Error::Refused`] for a file
/// that a bundle names and that lies elsewhere. All maps are checked: clusters past the end of the file or sharing
/// bytes are an error here already, unless `options.force` is given.
pub(crate) fn open(file: &File, sample: &Sample, options: &OpenOptions) -> Result<Box<dyn Image>> {
    if bundle::probe(sample) {
        return Ok(Box::new(bundle::open(file, options)?));
    }
    options.refuse_snapshot(&sample.path)?;
    let (mut info, top, writer) = if header::probe(sample) {
        bundle::refuse_chunk(&sample.path)?;
        let mut notes = Vec::new();
        let (map, writer) = open_mapped(file, 0, options, &mut notes)?;
        let info = ImageInfo { notes, ..single_info(file.path(), &map.header, sample.len) };
        (info, Layer::Mapped(map), writer)
    } else {
        (flat_info(sample)?, Layer::Plain(0), None)
    };
    let unit = options.writable.then(|| info.block_size.max(512));
    info.path.clone_from(&sample.path);
    let part = ParallelsStorage { start: 0, end: info.size, top, below: Vec::new(), writer };
    Ok(Box::new(Parallels { info, files: vec![file.clone()], parts: vec![part], unit }))
}

/// Opens a file that has a header, the one with index `file_index` of the image's files, and checks its map.
fn open_mapped(
    file: &File,
    file_index: usize,
    options: &OpenOptions,
    notes: &mut Vec<Note>,
) -> Result<(ParallelsMap, Option<Writer>)> {
    let head = storage::read_up_to(&**file, 0, header::SIZE)?;
    let header = ParallelsHeader::parse(&head).in_file(file.path())?;
    check_extension(file, &header, options.writable)?;
    if header.is_in_use() {
        notes.push("The image was not closed by the program that last wrote to it".into());
    }
    let map = ParallelsMap::new(file.clone(), file_index, header)?;
    match map.check() {
        Ok(positions) => {
            let writer = options.writable.then(|| Writer::new(&map, &positions));
            Ok((map, writer))
        }
        Err(error) => {
            options.tolerate(error, notes)?;
            Ok((map, None))
        }
    }
}

fn check_extension(file: &File, header: &ParallelsHeader, writable: bool) -> Result<()> {
    let Some(at) = header.extension else { return Ok(()) };
    let bytes = storage::read_up_to(&**file, at, extension::LOOKED_AT)?;
    extension::check(&bytes, at).in_file(file.path())?;
    if writable {
        let expected = "none in an image to be written: its dirty bitmaps would no longer be true";
        let found = format_args!("one at {at}");
        return Err(ParseError::unsupported(56, "Parallels format extension", expected, found).in_file(file.path()));
    }
    Ok(())
}

fn single_info(path: &Path, header: &ParallelsHeader, stored_size: u64) -> ImageInfo {
    let kind = if header.extended { "with a 64-bit size" } else { "of the old kind" };
    ImageInfo {
        details: format!("version 2 {kind}, {} clusters of {} bytes", header.entries, header.cluster),
        block_size: header.cluster,
        ..plain_info(path, header.disk_size, Variant::Dynamic, stored_size)
    }
}

/// A flat image is a disk as long as the file, which has whole sectors.
fn flat_info(sample: &Sample) -> Result<ImageInfo> {
    foreign::refuse_content(sample)?;
    if header::probe_corrupt(sample) {
        // The error is the signature's.
        ParallelsHeader::parse(&sample.head).in_file(&sample.path)?;
    }
    if sample.len == 0 || !sample.len.is_multiple_of(512) {
        let expected = "a signature, or whole sectors of 512 bytes as a flat image has";
        let found = format_args!("{} bytes without signature", sample.len);
        return Err(ParseError::corrupt(0, "Parallels image", expected, found).in_file(&sample.path));
    }
    Ok(ImageInfo { details: "flat".to_owned(), ..plain_info(&sample.path, sample.len, Variant::Fixed, sample.len) })
}

fn plain_info(path: &Path, size: u64, variant: Variant, stored_size: u64) -> ImageInfo {
    ImageInfo { variant, stored_size, ..ImageInfo::plain(path, Format::Parallels, size) }
}

/// An open image or bundle.
struct Parallels {
    info: ImageInfo,
    files: Vec<File>,
    /// In the order of the disk, without gaps.
    parts: Vec<ParallelsStorage>,
    /// Bytes that are allocated together, when open for writing.
    unit: Option<u64>,
}

impl Parallels {
    fn part(&self, offset: u64) -> Result<&ParallelsStorage> {
        let after = self.parts.partition_point(|part| part.end <= offset);
        self.parts.get(after).ok_or_else(|| {
            let expected = format_args!("an offset below {}", self.info.size);
            ParseError::corrupt(offset, "offset of the disk", expected, offset).in_file(&self.info.path)
        })
    }
}

impl Image for Parallels {
    fn info(&self) -> &ImageInfo {
        &self.info
    }

    fn files(&self) -> &[File] {
        &self.files
    }

    fn extent(&self, offset: u64, len: u64) -> Result<Run> {
        let part = self.part(offset)?;
        part.extent(offset - part.start, len.min(part.end - offset))
    }

    fn writer(&self) -> Option<&dyn ImageMut> {
        self.unit.is_some().then_some(self)
    }
}
