//! Compressed clusters.

use super::open_bytes;
use crate::image::qcow::testing::{Build, CLUSTER, COMPRESSED, DATA};
use crate::image::{Extent, OpenOptions};
use std::io::Write;

pub(super) fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    zstd_safe::compress(&mut compressed, bytes, 1).unwrap();
    compressed
}

/// What decoding a cluster of an image says whose compressed data is `compressed`.
fn decoded(compression: u8, mut compressed: Vec<u8>) -> Result<Vec<u8>, String> {
    compressed.resize(CLUSTER, 0);
    let features = [if compression == 0 { 0 } else { 8 }, 0, 0];
    let entries = vec![COMPRESSED | DATA as u64];
    let build = Build { features, compression, entries, data: vec![compressed], ..Build::default() };
    let image = open_bytes(build.bytes(), OpenOptions::default()).unwrap();
    let Extent::Encoded { cluster, skip, size } = image.extent(100, 200).unwrap().extent else { panic!() };
    assert_eq!((skip, size), (100, CLUSTER as u64));
    let mut out = vec![0; CLUSTER];
    image.decode(cluster, &mut out).map_err(|error| crate::error_kind::message(&error))?;
    Ok(out)
}

#[test]
fn compressed_clusters_hold_exactly_a_cluster() {
    let cluster: Vec<u8> = (0..CLUSTER).map(|i| u8::try_from(i % 10).unwrap()).collect();
    for (compression, deflate, name) in [(0, deflate as fn(&[u8]) -> Vec<u8>, "zlib"), (1, zstd, "zstd")] {
        assert_eq!(decoded(compression, deflate(&cluster)).unwrap(), cluster);
        let cause = |compressed: Vec<u8>, found: &str| {
            let text = decoded(compression, compressed).unwrap_err();
            let expected = format!(
                "compressed QCOW cluster at offset 2560 (0xa00): expected {name} data of 512 bytes, found {found}"
            );
            assert!(text.contains(&expected), "{text}\nis not\n{expected}");
        };
        cause(deflate(&vec![0; CLUSTER + 1]), "more");
        // A bomb: 100 MB in a few hundred bytes at most, of which no more than a cluster is retained.
        cause(deflate(&vec![0; CLUSTER * 512]), "more");
        cause(deflate(&cluster[1..]), "511 bytes");
        cause(vec![0xFF; 40], "");
    }
}

#[test]
fn a_zstd_window_larger_than_any_cluster_is_refused_before_memory_is_taken() {
    // Magic, a descriptor without a content size, and a window of 2^41 bytes.
    let text = decoded(1, vec![0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xF8]).unwrap_err();
    assert!(text.contains("found frame requires too much memory for decoding"), "{text}");
}
