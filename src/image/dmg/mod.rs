//! Apple's disk images (UDIF, `.dmg`): chunks of raw, zero or compressed sectors, tables of them in a property list,
//! and a trailer that locates the list. Read-only. Apple's other image formats are refused by name.
//!
//! Opening checks the tables and the checksum of their checksums. Compressed chunks carry checksums of their own (zlib,
//! bzip2, LZMA), which are checked on each read; the checksums of whole partitions are not.

mod adc;
mod chunks;
mod decode;
mod plist;
#[cfg(test)]
mod tests;
mod trailer;

use super::{Format, Image, ImageInfo, OpenOptions, Result, Run, Sample, Variant};
use crate::ondisk::ParseError;
use crate::storage;
use crate::storage::InFile;
use crate::storage::{Allowed, File};
use chunks::Chunks;
use plist::Table;
use trailer::{SIGNATURE, SIZE, Trailer};

/// Whether a file is a disk image of Apple's.
#[must_use]
pub(crate) fn probe(sample: &Sample) -> bool {
    sample.tail.starts_with(SIGNATURE) || sample.starts_with(0, SIGNATURE) || other(sample).is_some() || cut(sample)
}

/// The name of an image of Apple's that is not UDIF.
fn other(sample: &Sample) -> Option<&'static str> {
    let head = |at: usize, len: usize| sample.head.get(at..at + len).unwrap_or_default();
    let number = |at: usize| head(at, 4).iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
    if sample.starts_with(0, b"encrcdsa") || sample.tail.ends_with(b"cdsaencr") {
        Some("an encrypted image (encrcdsa)")
    } else if sample.starts_with(0, b"sprs") {
        Some("a sparse image (sprs)")
    } else if head(82, 2) == [1, 0] && 84 + number(64) + number(68) == sample.len {
        // The name's length, the sizes of data and tags, and their sum: a disk by chance would hardly have all that.
        sample.head.first().is_some_and(|len| (1..64).contains(len)).then_some("a DiskCopy 4.2 image")
    } else {
        None
    }
}

/// A `.dmg` file without a trailer may be a raw disk, but then it has whole sectors; one that was cut hardly has.
fn cut(sample: &Sample) -> bool {
    let named = sample.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("dmg"));
    named && !sample.len.is_multiple_of(512)
}

/// Describes an image from its trailer, and from its block tables where the trailer does not state the disk's size.
///
/// # Errors
/// As [`open`].
pub(crate) fn identify(file: &File, sample: &Sample, _: &Allowed) -> Result<ImageInfo> {
    let trailer = find_trailer(sample).in_file(&sample.path)?;
    match trailer.disk_size {
        Some(size) => Ok(info(sample, size)),
        None => Ok(Tables::read(file, sample)?.info(sample)),
    }
}

/// The block tables of an image.
struct Tables {
    trailer: Trailer,
    list: Vec<Table>,
    chunks: Chunks,
}

impl Tables {
    fn read(file: &File, sample: &Sample) -> Result<Self> {
        let in_file = |cause: ParseError| cause.in_file(&sample.path);
        let trailer = find_trailer(sample).in_file(&sample.path)?;
        let mut xml = vec![0; trailer.xml_length];
        storage::read_exact(&**file, &mut xml, trailer.xml_offset, "UDIF property list")?;
        let list = plist::tables(&xml, trailer.xml_offset).in_file(&sample.path)?;
        let chunks = Chunks::parse(&list, &trailer).in_file(&sample.path)?;
        let size = trailer.disk_size.unwrap_or(chunks.end());
        if size == 0 || i64::try_from(size).is_err() {
            let expected = "sectors in the block tables, for the trailer states none";
            return Err(in_file(ParseError::corrupt(
                trailer.xml_offset,
                "UDIF chunks",
                expected,
                format_args!("{size} bytes"),
            )));
        }
        Ok(Self { trailer, list, chunks })
    }

    fn info(&self, sample: &Sample) -> ImageInfo {
        let mut info = info(sample, self.trailer.disk_size.unwrap_or(self.chunks.end()));
        if self.trailer.disk_size.is_none() {
            info.notes.push("The trailer does not state the disk's size; it is that of the block tables".into());
        }
        info
    }
}

fn find_trailer(sample: &Sample) -> Result<Trailer, ParseError> {
    if let Some(name) = other(sample) {
        return Err(ParseError::unsupported(0, "Apple disk image", "UDIF, neither encrypted nor sparse", name));
    }
    if sample.starts_with(0, SIGNATURE) && !sample.tail.starts_with(SIGNATURE) {
        return Trailer::parse(&sample.head[..sample.head.len().min(SIZE)], 0, sample.len);
    }
    Trailer::parse(&sample.tail, sample.len.saturating_sub(SIZE as u64), sample.len)
}

fn info(sample: &Sample, size: u64) -> ImageInfo {
    ImageInfo {
        variant: Variant::Stream,
        details: "UDIF version 4".to_owned(),
        stored_size: sample.len,
        ..ImageInfo::plain(&sample.path, Format::Dmg, size)
    }
}

/// Opens an image.
///
/// # Errors
/// [`super::Error::Io`], [`super::Error::Corrupt`], [`super::Error::Unsupported`]. Sectors that more than one chunk
/// holds are an error here already; so are, unless `options.force` is given, sectors that none holds, and chunks past
/// the end of the file.
pub(crate) fn open(file: &File, sample: &Sample, options: &OpenOptions) -> Result<Box<dyn Image>> {
    let tables = Tables::read(file, sample)?;
    let mut info = tables.info(sample);
    let Tables { trailer, list, chunks } = tables;
    info.details = format!("{}, chunks: {}", info.details, chunks.summary());
    if !chunks.compressed() {
        info.variant = Variant::Fixed;
    }
    let checked = chunks::check_master(&list, &trailer).and_then(|()| chunks.check(&trailer, sample.len));
    if let Err(error) = checked.in_file(&sample.path) {
        options.tolerate(error, &mut info.notes)?;
    }
    Ok(Box::new(Dmg { info, files: [file.clone()], chunks }))
}

/// An open image.
struct Dmg {
    info: ImageInfo,
    files: [File; 1],
    chunks: Chunks,
}

impl Image for Dmg {
    fn info(&self) -> &ImageInfo {
        &self.info
    }

    fn files(&self) -> &[File] {
        &self.files
    }

    fn extent(&self, offset: u64, len: u64) -> Result<Run> {
        self.chunks.extent(offset, len).ok_or_else(|| {
            let what = "sectors without a UDIF chunk";
            ParseError::corrupt(0, what, "a chunk for each sector", format_args!("none for byte {offset} of the disk"))
                .in_file(&self.info.path)
        })
    }

    fn decode(&self, cluster: u64, out: &mut [u8]) -> Result<()> {
        let len = out.len();
        let corrupt = |at: u64, found: &dyn std::fmt::Display| {
            let what = format!("UDIF chunk {cluster}");
            ParseError::corrupt(at, what, format_args!("{len} bytes"), found).in_file(&self.info.path)
        };
        let Some(chunk) = self.chunks.get(cluster) else { return Err(corrupt(0, &"no such chunk")) };
        let file = &self.files[0];
        // With force the position was not checked yet, and it decides how much memory is taken.
        chunks::check_position(chunk, storage::length(&**file)?).in_file(&self.info.path)?;
        let mut encoded = vec![0; usize::try_from(chunk.stored).unwrap_or(usize::MAX)];
        storage::read_exact(&**file, &mut encoded, chunk.offset, "UDIF chunk")?;
        let decoded = decode::decode(chunk.kind, &encoded, out);
        decoded.map_err(|error| corrupt(chunk.offset, &format_args!("{} data with: {error}", chunk.kind)))
    }
}
