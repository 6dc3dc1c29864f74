//! Images of CDs in other layouts than plain 2048-byte sectors.

use super::Kind;
use crate::image::Sample;

pub(super) const ADVICE: &str = "convert it to an ISO image, with a program such as iat or the one that wrote it";

/// What a sector of 2352 bytes begins with (ECMA-130, 14.2).
const SYNC: &[u8] = b"\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0";
/// Bytes of a sector with all that is on the disk: without and with its subchannels.
const STRIDES: [usize; 2] = [2352, 2448];

pub(super) fn identify(sample: &Sample) -> Option<Kind> {
    if let Some(stride) = raw_stride(sample) {
        let mode = sample.head[15];
        let what = format!("a raw image of a CD, with sectors of {stride} bytes");
        return Some(match (stride, mode) {
            (2352, 1) => Kind::new(
                what,
                "give its cue sheet; without one, write one with the lines FILE \"NAME\" BINARY, TRACK 01 MODE1/2352, INDEX 01 00:00:00",
            ),
            (2352, _) => Kind::new(
                what,
                "give its cue sheet; without one, write one with the lines FILE \"NAME\" BINARY, TRACK 01 MODE2/2352, INDEX 01 00:00:00",
            ),
            _ => Kind::new(what, ADVICE),
        });
    }
    let name = if is_nero(sample) {
        "an image of Nero (NRG)"
    } else if sample.starts_with(0, b"MEDIA DESCRIPTOR\x01") || sample.starts_with(0, b"MEDIA DESCRIPTOR\x02") {
        "the description of an Alcohol image (MDS)"
    } else if sample.starts_with(0, b"IsZ!") && named(sample, "isz") {
        "a compressed image of UltraISO (ISZ)"
    } else if sample.starts_with(0, b"DAA\0\0\0\0\0") {
        "an image of PowerISO (DAA)"
    } else {
        return None;
    };
    Some(Kind::new(name, ADVICE))
}

fn named(sample: &Sample, extension: &str) -> bool {
    sample.path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// Bytes of a sector, where the file begins with raw ones: two that follow each other, or a single one.
fn raw_stride(sample: &Sample) -> Option<usize> {
    let is_mode = sample.head.get(15).is_some_and(|mode| *mode <= 2);
    STRIDES.into_iter().find(|stride| {
        let next = sample.starts_with(*stride, SYNC) || sample.len == *stride as u64;
        sample.starts_with(0, SYNC) && is_mode && next
    })
}

/// The end says where in the file the list of chunks begins: `NERO` and 32 bits, or `NER5` and 64, big-endian.
fn is_nero(sample: &Sample) -> bool {
    let tail = &sample.tail;
    let at = |len: usize, magic: &[u8]| -> Option<u64> {
        let number = tail.get(tail.len().checked_sub(len)?..)?.strip_prefix(magic)?;
        Some(number.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    at(12, b"NER5").or_else(|| at(8, b"NERO")).is_some_and(|at| at > 0 && at < sample.len)
}
