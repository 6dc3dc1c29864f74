//! Files that are known not to be raw images: other formats of disk images, and packed ones. Shown as they lie there
//! they would be a disk of garbage.
//!
//! The signatures are those that `file(1)` knows; formats that a disk itself may begin with (tar, zip and compressed
//! data can be written to a disk as they are) also need the name that such files have.

use crate::image::open::Sample;
use crate::ondisk::ParseError;

/// Where it is, the bytes, and what they begin.
type Signature = (usize, &'static [u8], &'static str);

const FORMATS: [Signature; 8] = [
    (0, b"Bochs Virtual HD Image\0", "an image of Bochs"),
    (0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop", "a compressed loop image (cloop)"),
    (0, b"EVF\x09\x0D\x0A\xFF\0", "an Expert Witness image (EWF)"),
    (0, b"EVF2\x0D\x0A\x81\0", "an Expert Witness image (EWF2)"),
    (0, b"AFF10\x0D\x0A\0", "an image of the Advanced Forensic Format"),
    (0, b"sprs\0\0\0\x03", "a sparse image of macOS"),
    (0, b"MSWIM\0\0\0", "a Windows image (WIM)"),
    (0, b"\x7FVirtualBox SavedState V", "the saved state of a machine"),
];

/// As [`FORMATS`], for file names that end in the first word.
const PACKED: [(&str, Signature); 7] = [
    ("gz", (0, b"\x1F\x8B\x08", "data packed by gzip; unpack it first")),
    ("bz2", (0, b"BZh", "data packed by bzip2; unpack it first")),
    ("xz", (0, b"\xFD7zXZ\0", "data packed by xz; unpack it first")),
    ("zst", (0, b"\x28\xB5\x2F\xFD", "data packed by zstd; unpack it first")),
    ("zip", (0, b"PK\x03\x04", "a zip archive; unpack it first")),
    ("7z", (0, b"7z\xBC\xAF\x27\x1C", "a 7-Zip archive; unpack it first")),
    ("ova", (257, b"ustar", "an archive of images; unpack it with tar first")),
];

/// Refuses what is no raw image.
///
/// # Errors
/// [`ParseError`] naming what it is.
pub(super) fn refuse(sample: &Sample) -> Result<(), ParseError> {
    let extension = sample.path.extension().unwrap_or_default();
    let named = PACKED.iter().filter(|(end, _)| extension.eq_ignore_ascii_case(end)).map(|(_, signature)| signature);
    match FORMATS.iter().chain(named).find(|(at, magic, _)| sample.starts_with(*at, magic)) {
        Some((at, _, what)) => {
            Err(ParseError::unsupported(*at as u64, "disk image", "a format that is read here", what))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::image::{Error, OpenOptions, open::open_file};
    use crate::storage::testing::MemFile;

    fn opened(name: &str, at: usize, magic: &[u8]) -> Result<u64, String> {
        let mut bytes = vec![0; 4096];
        bytes[at..at + magic.len()].copy_from_slice(magic);
        match open_file(MemFile::new(name, bytes), OpenOptions::default()) {
            Ok(image) => Ok(image.info().size),
            Err(error @ Error::Unsupported { .. }) => Err(error.to_string()),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn other_formats_are_refused_by_name() {
        let text = opened("/t/disk.img", 0, b"Bochs Virtual HD Image\0").unwrap_err();
        let expected = "disk image at offset 0 (0x0): expected a format that is read here, found an image of Bochs";
        assert!(text.contains(expected), "{text}");
        for (magic, what) in [(&b"EVF\x09\x0D\x0A\xFF\0"[..], "EWF"), (b"MSWIM\0\0\0", "WIM")] {
            let text = opened("/t/disk.E01", 0, magic).unwrap_err();
            assert!(text.contains(what), "{text}");
        }
    }

    #[test]
    fn packed_images_are_refused_and_disks_that_hold_packed_data_are_not() {
        let text = opened("/t/disk.img.GZ", 0, b"\x1F\x8B\x08").unwrap_err();
        assert!(text.contains("found data packed by gzip; unpack it first"), "{text}");
        assert!(opened("/t/vm.ova", 257, b"ustar\x0000").unwrap_err().contains("with tar first"));
        for (name, at, magic) in [("/t/disk.img", 0, &b"\x1F\x8B\x08"[..]), ("/t/tape", 257, b"ustar")] {
            assert_eq!(opened(name, at, magic), Ok(4096));
        }
    }
}
