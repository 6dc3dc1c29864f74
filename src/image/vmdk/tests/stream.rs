//! Streams: compressed grains between markers, and the header after them.

use super::*;
use crate::disk::testing::all;
use crate::disk::{ChainDisk, Disk};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::io::Write;

const GRAIN: usize = 4096;

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A stream as VMware's tools write it, and where its parts are.
struct Stream {
    bytes: Vec<u8>,
    /// Where the marker of each grain begins.
    markers: Vec<usize>,
    table: usize,
}

/// Grains of the disk and their compressed bytes. The disk has 41 sectors in grains of 8.
fn stream_of(grains: &[(u64, Vec<u8>)]) -> Stream {
    let build = Build {
        version: 3,
        flags: 0x30001,
        capacity: 41,
        table_entries: 128,
        descriptor: descriptor("RDONLY 41 SPARSE \"a.vmdk\"").replace("custom", "streamOptimized"),
        ..Build::default()
    };
    let mut bytes = build.bytes()[..2048].to_vec();
    bytes[48..56].fill(0);
    bytes[56..64].fill(0xFF);
    bytes[77] = 1;
    let pad = |bytes: &mut Vec<u8>| bytes.resize(bytes.len().next_multiple_of(512), 0);
    let marker = |bytes: &mut Vec<u8>, sectors: u64, kind: u32| {
        bytes.extend(sectors.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(kind.to_le_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    };
    let mut entries = [0_u32; 128];
    let mut markers = Vec::new();
    for (index, data) in grains {
        markers.push(bytes.len());
        entries[usize::try_from(*index).unwrap()] = u32::try_from(bytes.len() / 512).unwrap();
        bytes.extend((index * 8).to_le_bytes());
        bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        bytes.extend(data);
        pad(&mut bytes);
    }
    marker(&mut bytes, 1, 1);
    let table = bytes.len();
    bytes.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
    marker(&mut bytes, 1, 2);
    let directory = bytes.len() as u64 / 512;
    bytes.extend(u32::try_from(table / 512).unwrap().to_le_bytes());
    pad(&mut bytes);
    marker(&mut bytes, 1, 3);
    let mut footer = bytes[..512].to_vec();
    footer[56..64].copy_from_slice(&directory.to_le_bytes());
    bytes.extend(footer);
    marker(&mut bytes, 0, 0);
    Stream { bytes, markers, table }
}

/// A stream whose disk begins with a grain of ones and ends with a cut one of fives.
fn good() -> Stream {
    stream_of(&[(0, zlib(&[1; GRAIN])), (3, zlib(&[4; GRAIN])), (5, zlib(&[6; GRAIN]))])
}

fn read(bytes: Vec<u8>) -> std::result::Result<Vec<u8>, String> {
    let image = open_bytes(bytes, &READ).map_err(|error| message(&error))?;
    let mut out = vec![0; usize::try_from(image.info().size).unwrap()];
    ChainDisk::new(vec![image], Vec::new()).read_at(0, &mut out).map_err(|error| crate::error_kind::message(&error))?;
    Ok(out)
}

#[test]
fn a_stream_is_read_by_the_header_after_it() {
    let stream = good();
    let image = open_bytes(stream.bytes.clone(), &WRITE).unwrap();
    assert!(image.writer().is_none(), "streams are only read");
    assert_eq!((image.info().variant, image.info().size), (Variant::Stream, 41 * 512));
    let run = image.extent(3 * 4096 + 100, 9000).unwrap();
    assert_eq!(run, Run { extent: Extent::Encoded { cluster: 3 * 4096, skip: 100, size: 4096 }, len: 3996 });
    let last = image.extent(5 * 4096, 512).unwrap();
    assert_eq!(last.extent, Extent::Encoded { cluster: 5 * 4096, skip: 0, size: 512 });
    let mut expected = vec![0; 41 * 512];
    expected[..GRAIN].fill(1);
    expected[3 * GRAIN..4 * GRAIN].fill(4);
    expected[5 * GRAIN..].fill(6);
    assert_eq!(all(&ChainDisk::new(vec![image], Vec::new())), expected);
    // The last grain may hold no more than the disk has.
    let short = stream_of(&[(5, zlib(&[6; 512]))]);
    assert_eq!(read(short.bytes).unwrap()[5 * GRAIN..], [6; 512]);
}

#[test]
fn a_grain_that_does_not_decode_is_an_error() {
    let bad = |data: Vec<u8>| read(stream_of(&[(0, data)]).bytes).unwrap_err();
    let whole = zlib(&[1; GRAIN]);
    let expected = "expected a zlib stream of 4096 to 4096 bytes, found";
    for (data, cause) in [
        (zlib(&[1; GRAIN + 1]), format!("{expected} more bytes")),
        (zlib(&vec![0; 1 << 26])[..8000].to_vec(), format!("{expected} more bytes")),
        (whole[..whole.len() - 5].to_vec(), format!("{expected} the end of the data after")),
        (vec![0xAA; 100], format!("{expected} other data")),
        (zlib(&[1; GRAIN - 1]), "expected 4096 bytes when decompressed, found 4095".to_owned()),
    ] {
        let text = bad(data);
        assert!(text.contains("VMDK compressed grain 0 at offset 2060 (0x80c): ") && text.contains(&cause), "{text}");
    }
    let mut corrupt = whole.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle] ^= 0xFF;
    bad(corrupt);
}

#[test]
fn markers_must_belong_to_their_grain() {
    let stream = good();
    let at = stream.markers[1];
    for (skip, new, cause) in [
        (0, 25, format!("offset in the marker of VMDK grain 3 at offset {at} ({at:#x}): expected sector 24, found 25")),
        (
            8,
            0,
            format!(
                "length in the marker of VMDK grain 3 at offset {0} ({0:#x}): expected 1 to 8192 bytes, found 0",
                at + 8
            ),
        ),
        (
            8,
            8193,
            format!(
                "length in the marker of VMDK grain 3 at offset {0} ({0:#x}): expected 1 to 8192 bytes, found 8193",
                at + 8
            ),
        ),
    ] {
        let mut bytes = stream.bytes.clone();
        bytes[at + skip..at + skip + 4].copy_from_slice(&u32::to_le_bytes(new));
        let text = read(bytes).unwrap_err();
        assert!(text.contains(&cause), "{text}\nis not\n{cause}");
    }
    // Two entries that share a grain.
    let mut bytes = stream.bytes.clone();
    bytes.copy_within(stream.table..stream.table + 4, stream.table + 12);
    assert!(read(bytes).unwrap_err().contains("offset in the marker of VMDK grain 3"));
}

#[test]
fn a_stream_without_its_end_is_an_error() {
    let stream = good();
    for len in 0..stream.bytes.len() {
        assert!(open_bytes(stream.bytes[..len].to_vec(), &READ).is_err(), "cut to {len} bytes");
    }
    let cut = failure(open_bytes(stream.bytes[..stream.bytes.len() - 512].to_vec(), &READ));
    assert!(cut.contains("expected the second header of a stream; the file is cut or not complete"), "{cut}");
    let footer = stream.bytes.len() - 1024;
    let mut bytes = stream.bytes.clone();
    bytes[footer + 12] = 40;
    let text = failure(open_bytes(bytes, &READ));
    assert!(
        text.contains(&format!("VMDK footer at offset {footer} ({footer:#x}): expected the numbers of the header")),
        "{text}"
    );
    let mut bytes = stream.bytes.clone();
    bytes[footer + 56..footer + 64].fill(0xFF);
    assert!(failure(open_bytes(bytes, &READ)).contains("VMDK footer at"));
    let mut bytes = stream.bytes;
    bytes[10] = 1;
    let text = failure(open_bytes(bytes, &READ));
    assert!(text.contains("expected markers (0x20000) with compressed grains, found 0x10001"), "{text}");
}
