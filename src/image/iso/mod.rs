//! Images of optical disks: plain 2048-byte sectors with ISO 9660 or UDF on them. Read-only, as in VirtualBox.

use super::{Format, Image, ImageInfo, OpenOptions, Result, Run, Sample, foreign, raw};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use crate::storage::InFile;
use crate::storage::{Allowed, File};
use std::path::Path;

/// Bytes of a sector.
pub(super) const SECTOR: u64 = 2048;
/// The first 16 sectors are free for other use; then come the volume descriptors.
const DESCRIPTORS_AT: usize = 0x8000;
/// The identifier after the type of an ISO 9660 volume descriptor (ECMA-119, 8.1).
const ISO_9660: &[u8] = b"CD001";
/// The first identifier of a disk with UDF only (ECMA-167, 2/9.2).
const UDF: &[u8] = b"BEA01";
/// The type of the primary volume descriptor.
const PRIMARY: u8 = 1;

/// Whether a file is an image of an optical disk. A hard disk of another length may have such a file system too: one
/// that boots from both.
#[must_use]
pub(crate) fn probe(sample: &Sample) -> bool {
    let named = sample.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("iso"));
    (sample.starts_with(DESCRIPTORS_AT + 1, ISO_9660) || sample.starts_with(DESCRIPTORS_AT + 1, UDF))
        && (named || sample.len.is_multiple_of(SECTOR))
}

/// Describes an image from its volume descriptor.
///
/// # Errors
/// [`super::Error::Corrupt`] for an image that does not have whole sectors; [`super::Error::Foreign`] for one of a CD
/// program, which may begin as an optical disk's does.
pub(crate) fn identify(_: &File, sample: &Sample, _: &Allowed) -> Result<ImageInfo> {
    foreign::refuse_content(sample)?;
    if sample.len == 0 || !sample.len.is_multiple_of(SECTOR) {
        let expected = format_args!("a whole number of sectors of {SECTOR} bytes");
        let found = format_args!("{} bytes", sample.len);
        return Err(ParseError::corrupt(0, "length of the optical disk's image", expected, found).in_file(&sample.path));
    }
    let kind = if sample.starts_with(DESCRIPTORS_AT + 1, ISO_9660) { "ISO 9660" } else { "UDF" };
    Ok(info(&sample.path, Format::Iso, sample.len, sample.len, kind.to_owned()))
}

/// An optical disk's image as other modules see it; also that of a cue sheet.
pub(super) fn info(path: &Path, format: Format, size: u64, stored_size: u64, details: String) -> ImageInfo {
    ImageInfo { details, sector_size: 2048, stored_size, ..ImageInfo::plain(path, format, size) }
}

/// Checks that the file holds the whole volume that its primary volume descriptor states (ECMA-119, 8.4.8 and
/// 8.4.12).
fn check_whole(sample: &Sample) -> Result<(), ParseError> {
    let head = sample.head.get(DESCRIPTORS_AT..).unwrap_or_default();
    let f = Fields::new("volume descriptor", head, DESCRIPTORS_AT as u64);
    if !sample.starts_with(DESCRIPTORS_AT + 1, ISO_9660) || f.u8(0)? != PRIMARY {
        return Ok(());
    }
    let (blocks, block) = (u64::from(f.u32_le(80)?), u64::from(f.u16_le(128)?));
    let volume = blocks * block;
    if volume > sample.len {
        let expected = format_args!("at most {}, the length of the file", sample.len);
        let found = format_args!("{blocks} blocks of {block} bytes: the file is cut");
        return Err(ParseError::corrupt(f.offset(80), "size of the ISO 9660 volume", expected, found));
    }
    Ok(())
}

/// Opens an image.
///
/// # Errors
/// As [`identify`]; [`super::Error::Corrupt`] for one that is shorter than its volume, unless `options.force` is given.
pub(crate) fn open(file: &File, sample: &Sample, options: &OpenOptions) -> Result<Box<dyn Image>> {
    let mut info = identify(file, sample, &options.allowed)?;
    if let Err(error) = check_whole(sample).in_file(&sample.path) {
        options.tolerate(error, &mut info.notes)?;
    }
    Ok(Box::new(Iso { info, files: [file.clone()] }))
}

/// An open image.
struct Iso {
    info: ImageInfo,
    files: [File; 1],
}

impl Image for Iso {
    fn info(&self) -> &ImageInfo {
        &self.info
    }

    fn files(&self) -> &[File] {
        &self.files
    }

    fn extent(&self, offset: u64, len: u64) -> Result<Run> {
        raw::stored_or_hole(&self.files[0], offset, len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{self, Extent};
    use crate::storage::testing::MemFile;

    /// An image of 40 sectors whose volume has as many.
    fn iso() -> Vec<u8> {
        let mut bytes = vec![5; 40 * 2048];
        bytes[0x8000..0x8006].copy_from_slice(b"\x01CD001");
        bytes[0x8000 + 80..0x8000 + 84].copy_from_slice(&40_u32.to_le_bytes());
        bytes[0x8000 + 128..0x8000 + 130].copy_from_slice(&2048_u16.to_le_bytes());
        bytes
    }

    fn open_bytes(bytes: Vec<u8>, options: OpenOptions) -> Result<Box<dyn Image>> {
        image::open::open_file(MemFile::new("/t/a.iso", bytes), options)
    }

    fn message(bytes: Vec<u8>) -> String {
        match open_bytes(bytes, OpenOptions::default()) {
            Ok(_) => panic!("a corrupt image was opened"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_image_has_sectors_of_2048_bytes_and_is_only_read() {
        let image = open_bytes(iso(), OpenOptions { writable: true, ..OpenOptions::default() }).unwrap();
        let info = image.info();
        assert_eq!((info.format, info.sector_size, info.size), (Format::Iso, 2048, 81920));
        assert_eq!(info.details, "ISO 9660");
        let run = image.extent(100, 5000).unwrap();
        assert_eq!(run, Run { extent: Extent::Stored { file: 0, offset: 100 }, len: 5000 });
        assert!(image.writer().is_none());
        let mut udf = iso();
        udf[0x8000..0x8006].copy_from_slice(b"\0BEA01");
        assert_eq!(open_bytes(udf, OpenOptions::default()).unwrap().info().details, "UDF");
    }

    #[test]
    fn a_cut_image_is_refused_and_read_with_force() {
        let mut bytes = iso();
        bytes.truncate(39 * 2048);
        let text = message(bytes.clone());
        assert!(
            text.contains(
                "size of the ISO 9660 volume at offset 32848 (0x8050): expected at most 79872, the length of the \
                 file, found 40 blocks of 2048 bytes: the file is cut"
            ),
            "{text}"
        );
        let image = open_bytes(bytes.clone(), OpenOptions { force: true, ..OpenOptions::default() }).unwrap();
        assert!(image.info().notes[0].contains("the file is cut"));
        bytes.truncate(38 * 2048 + 1024);
        let text = message(bytes);
        assert!(text.contains("expected a whole number of sectors of 2048 bytes, found 78848 bytes"), "{text}");
    }
}
