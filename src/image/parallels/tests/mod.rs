//! Headers, maps and corruption, on images built byte by byte.

mod bundle;
mod write;

use super::testing::Build;
use super::*;
use crate::disk::{ChainDisk, Disk};
use crate::image::{self, Extent};
use crate::storage::testing::MemFile;

const WRITE: OpenOptions = OpenOptions {
    writable: true,
    devices: crate::storage::local::Devices::Refused,
    near: None,
    allowed: crate::storage::Allowed::NONE,
    force: false,
    format: None,
    snapshot: None,
    allowed_devices: Vec::new(),
};

fn open(file: std::sync::Arc<MemFile>, options: &OpenOptions) -> Result<Box<dyn Image>> {
    crate::image::open::open_as(Format::Parallels, file, options)
}

fn open_bytes(bytes: Vec<u8>, options: &OpenOptions) -> Result<Box<dyn Image>> {
    open(MemFile::new("/t/a.hdd", bytes), options)
}

fn message(bytes: Vec<u8>) -> String {
    match open_bytes(bytes, &OpenOptions::default()) {
        Ok(_) => panic!("a corrupt image was opened"),
        Err(error) => crate::error_kind::message(&error),
    }
}

fn disk(image: Box<dyn Image>) -> ChainDisk {
    ChainDisk::new(vec![image], Vec::new())
}

fn all(disk: &dyn Disk) -> Vec<u8> {
    let mut bytes = vec![0xAA; usize::try_from(disk.size()).unwrap()];
    disk.read_at(0, &mut bytes).unwrap();
    bytes
}

fn builds() -> [Build; 3] {
    let other = Build { extended: true, tracks: 8, sectors: 30, ..Build::default() };
    let reverse = Build {
        clusters: vec![Some((1, 3)), Some((2, 2)), Some((3, 1)), Some((4, 0))],
        tracks: 4,
        sectors: 13,
        ..Build::default()
    };
    [Build::default(), other, reverse]
}

#[test]
fn both_kinds_read_as_their_maps_say() {
    for build in builds() {
        let image = open_bytes(build.bytes(), &OpenOptions::default()).unwrap();
        let info = image.info();
        assert_eq!(
            (info.size, info.block_size, info.variant),
            (build.sectors * 512, build.cluster(), Variant::Dynamic)
        );
        assert_eq!(all(&disk(image)), build.flat());
    }
}

#[test]
fn runs_join_clusters_that_follow_each_other() {
    let build = Build { clusters: vec![Some((1, 0)), Some((2, 1)), None, None], ..Build::default() };
    let image = open_bytes(build.bytes(), &OpenOptions::default()).unwrap();
    let data = build.data_offset();
    assert_eq!(
        image.extent(10, 5000).unwrap(),
        Run { extent: Extent::Stored { file: 0, offset: data + 10 }, len: 3062 }
    );
    assert_eq!(image.extent(3100, 2020).unwrap(), Run { extent: Extent::Absent, len: 2020 });
}

/// VirtualBox reads 32 bits; so do QEMU and Parallels for this signature.
#[test]
fn the_upper_half_of_the_size_counts_only_with_the_newer_signature() {
    let mut bytes = Build::default().bytes();
    bytes[40..44].copy_from_slice(&7_u32.to_le_bytes());
    assert_eq!(open_bytes(bytes, &OpenOptions::default()).unwrap().info().size, 5120);
    let mut bytes = Build { extended: true, ..Build::default() }.bytes();
    bytes[40..44].copy_from_slice(&7_u32.to_le_bytes());
    assert!(message(bytes).contains("number of Parallels BAT entries"));
}

/// One field of a good image broken at a time: where, the bytes put there, and the cause that must follow.
#[test]
fn each_broken_field_has_its_own_message() {
    let good = Build::default().bytes();
    let end = good.len();
    let cases: Vec<(usize, &[u8], String)> = vec![
        (16, &[3], "Parallels version at offset 16 (0x10): expected 2, found 3".into()),
        (28, &[0], "sectors of a Parallels cluster at offset 28 (0x1c): expected at least 1, found 0".into()),
        (32, &[3], "number of Parallels BAT entries at offset 32 (0x20): expected at least 4 for 5120 bytes, found 3".into()),
        (32, &[255, 255], format!("Parallels BAT at offset 64 (0x40): expected 65535 entries up to offset 262204, found the end of the file at {end}")),
        (32, &[1, 0, 0, 4], "number of Parallels BAT entries at offset 32 (0x20): expected at most 67108864, found 67108865".into()),
        (36, &[0], "sectors of the Parallels disk at offset 36 (0x24): expected 1 to 2^54 - 1 sectors, found 0".into()),
        (48, &[0, 0, 1], format!("offset of the Parallels data at offset 48 (0x30): expected at most {end}, the end of the file, found 33554432")),
        (52, &[1], "Parallels flags at offset 52 (0x34): expected no clusters in an empty image, found 2 clusters and the flag of an empty image".into()),
        (56, &[1], "signature of the Parallels format extension at offset 512 (0x200): expected 0xab234cef23dcea87, found 0x1616161616161616".into()),
        (63, &[255], "offset of the Parallels format extension at offset 56 (0x38): expected below 2^55, found 18374686479671623680".into()),
        (64, &[0, 1], format!("Parallels BAT entry 0 at offset 64 (0x40): expected a cluster within the {end} bytes of the file, found 256, a cluster that ends at 132608")),
        (64, &[1], "Parallels cluster at offset 512 (0x200): expected none before offset 2048, the end of another, found one at 512".into()),
        (64, &[2], "Parallels cluster at offset 1024 (0x400): expected none before offset 2048, the end of another, found one at 1024".into()),
    ];
    for (at, new, cause) in cases {
        let mut bytes = good.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        let text = message(bytes);
        assert!(text.starts_with("/t/a.hdd ") && text.contains(&format!(": {cause};")), "{text}\nis not\n{cause}");
    }
    let mut bytes = Build { extended: true, ..Build::default() }.bytes();
    bytes[36..44].fill(0xFF);
    assert!(message(bytes).contains("expected 1 to 2^54 - 1 sectors, found 18446744073709551615"));
}

#[test]
fn a_cluster_inside_of_the_table_is_corrupt() {
    let mut bytes = Build { clusters: vec![None; 200], ..Build::default() }.bytes();
    bytes[64..68].copy_from_slice(&1_u32.to_le_bytes());
    let text = message(bytes);
    assert!(
        text.contains(
            "Parallels BAT entry 0 at offset 64 (0x40): expected an offset after the table, which ends at 864, found 1"
        ),
        "{text}"
    );
}

#[test]
fn a_cut_file_is_an_error_at_every_length() {
    let build = Build { sectors: 12, clusters: vec![None, None, None, Some((9, 0))], ..Build::default() };
    let good = build.bytes();
    for len in 0..good.len() {
        let file = MemFile::new("/t/a.img", good[..len].to_vec());
        let options = OpenOptions { format: Some(Format::Parallels), ..OpenOptions::default() };
        assert!(open(file, &options).is_err(), "cut to {len} bytes");
    }
}

#[test]
fn force_reads_what_is_left_and_fails_on_the_rest() {
    let build = Build::default();
    let mut bytes = build.bytes();
    bytes.truncate(bytes.len() - 512);
    let forced = OpenOptions { force: true, ..OpenOptions::default() };
    let image = open_bytes(bytes.clone(), &forced).unwrap();
    assert!(image.info().notes[0].contains("reading what is left"), "{:?}", image.info().notes);
    assert!(matches!(image.extent(0, 1), Err(image::Error::Corrupt { .. })));
    assert!(matches!(image.extent(3072, 1).unwrap().extent, Extent::Stored { .. }));
    assert!(open_bytes(bytes, &OpenOptions { writable: true, ..forced }).is_err());
}

#[test]
fn an_extension_is_read_past_and_never_written_past() {
    let with = |feature: u64, flags: u64| {
        let mut bytes = Build { data_off: 8, ..Build::default() }.bytes();
        bytes.resize(8192, 0);
        bytes[56] = 9;
        bytes[4608..4616].copy_from_slice(&0xAB23_4CEF_23DC_EA87_u64.to_le_bytes());
        bytes[4632..4640].copy_from_slice(&feature.to_le_bytes());
        bytes[4640..4648].copy_from_slice(&flags.to_le_bytes());
        bytes[4648..4652].copy_from_slice(&16_u32.to_le_bytes());
        bytes
    };
    assert!(open_bytes(with(0x2038_5FAE_252C_B34A, 0), &OpenOptions::default()).is_ok());
    assert!(open_bytes(with(5, 0), &OpenOptions::default()).is_ok());
    let text = message(with(5, 1));
    assert!(text.contains("necessary feature of the Parallels image at offset 4632 (0x1218): expected dirty bitmaps, found 0x0000000000000005"), "{text}");
    let text = open_bytes(with(0x2038_5FAE_252C_B34A, 0), &WRITE).err().unwrap().to_string();
    assert!(text.contains("dirty bitmaps would no longer be true, found one at 4608"), "{text}");
    // A feature longer than the bytes examined ends the search, not the program.
    let mut long = with(5, 0);
    long[4648..4652].fill(0xFF);
    assert!(message(long).contains("Parallels format extension at offset 4608"));
}

#[test]
fn a_flat_image_has_whole_sectors_and_the_right_name() {
    let image = image::open::open_file(MemFile::new("/t/a.HDD", vec![7; 1024]), OpenOptions::default()).unwrap();
    assert_eq!(
        (image.info().format, image.info().variant, image.info().size),
        (Format::Parallels, Variant::Fixed, 1024)
    );
    assert_eq!(all(&disk(image)), vec![7; 1024]);
    let text = message(vec![7; 1000]);
    assert!(text.contains("expected a signature, or whole sectors of 512 bytes as a flat image has, found 1000 bytes without signature"), "{text}");
    let image = image::open::open_file(MemFile::new("/t/a.img", vec![7; 1024]), OpenOptions::default()).unwrap();
    assert_eq!(image.info().format, Format::Raw);
}
