//! Headers, maps, bundles, damage and writing, on images built byte by byte.

use super::header::IN_USE;
use super::testing::Build;
use super::*;
use crate::disk::{ChainDisk, Disk};
use crate::image::testing::{MemFile, after_power_loss};
use crate::image::{self, Extent};
use proptest::prelude::*;
use std::sync::Arc;
use uuid::Uuid;

const WRITE: OpenOptions =
    OpenOptions { writable: true, devices: image::local::Devices::Refused, force: false, format: None, snapshot: None };

fn open_bytes(bytes: Vec<u8>, options: &OpenOptions) -> Result<Box<dyn Image>> {
    open(MemFile::new("/t/a.hdd", bytes), options)
}

fn message(bytes: Vec<u8>) -> String {
    match open_bytes(bytes, &OpenOptions::default()) {
        Ok(_) => panic!("a damaged image was opened"),
        Err(error) => crate::error::message(&error),
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

/// One field of a good image broken at a time: where, the bytes put there, and the fault that must follow.
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
    for (at, new, fault) in cases {
        let mut bytes = good.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        let text = message(bytes);
        assert!(text.starts_with("/t/a.hdd ") && text.contains(&format!(": {fault};")), "{text}\nis not\n{fault}");
    }
    let mut bytes = Build { extended: true, ..Build::default() }.bytes();
    bytes[36..44].fill(0xFF);
    assert!(message(bytes).contains("expected 1 to 2^54 - 1 sectors, found 18446744073709551615"));
}

#[test]
fn a_cluster_inside_of_the_table_is_damage() {
    let mut bytes = Build { clusters: vec![None; 200], ..Build::default() }.bytes();
    bytes[64..68].copy_from_slice(&1_u32.to_le_bytes());
    let text = message(bytes);
    assert!(
        text.contains(
            "Parallels BAT entry 0 at offset 64 (0x40): expected a place behind the table, which ends at 864, found 1"
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
    // A feature longer than what is looked at ends the look, not the program.
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

#[test]
fn the_header_says_in_use_from_the_first_write_until_the_close() {
    for (before, after) in [(0, 0), (0x312E_3276, 0x312E_3276), (IN_USE, 0)] {
        let file = MemFile::new("/t/a.hdd", Build { in_use: before, ..Build::default() }.bytes());
        let in_use = || u32::from_le_bytes(file.bytes()[44..48].try_into().unwrap());
        let image = open(file.clone(), &WRITE).unwrap();
        assert_eq!(image.info().notes.len(), usize::from(before == IN_USE));
        let disk = disk(image);
        disk.flush().unwrap();
        assert!(file.ops().is_empty(), "opening for writing changes nothing");
        disk.write_at(0, &[1]).unwrap();
        assert_eq!(in_use(), IN_USE);
        disk.flush().unwrap();
        assert_eq!(in_use(), IN_USE);
        disk.close().unwrap();
        assert_eq!(in_use(), after);
    }
}

#[test]
fn what_is_discarded_at_the_end_is_cut_off_and_other_space_is_used_again() {
    let file = MemFile::new("/t/a.hdd", Build::default().bytes());
    let disk = disk(open(file.clone(), &WRITE).unwrap());
    disk.discard(0, 1536).unwrap();
    disk.close().unwrap();
    assert_eq!(file.bytes().len(), 512 + 1536);
    let disk = ChainDisk::new(vec![open(file.clone(), &WRITE).unwrap()], Vec::new());
    disk.write_at(1536, &[5; 1536]).unwrap();
    disk.flush().unwrap();
    disk.discard(3072, 1536).unwrap();
    disk.flush().unwrap();
    disk.write_at(0, &[6; 1536]).unwrap();
    disk.close().unwrap();
    assert_eq!(file.bytes().len(), 512 + 2 * 1536);
    let mut expected = vec![6; 1536];
    expected.extend([5; 1536]);
    expected.resize(5120, 0);
    assert_eq!(all(&disk), expected);
}

#[test]
fn a_map_that_cannot_point_further_refuses_instead_of_wrapping() {
    let build = Build {
        extended: false,
        tracks: u32::MAX,
        sectors: u64::from(u32::MAX),
        clusters: vec![None; 3],
        ..Build::default()
    };
    let file = MemFile::new("/t/a.hdd", build.bytes());
    let header = Header::parse(&file.bytes()).unwrap();
    let writer = Writer::new(&header, &[u64::from(u32::MAX) * 512]);
    let map = Map::new(file, 0, header).unwrap();
    let text = writer.allocate(&map).unwrap_err().to_string();
    assert!(text.contains("its map cannot point further into the file"), "{text}");
}

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Write { at: usize, len: usize, fill: u8 },
    Discard { at: usize, len: usize },
    Flush,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let range = (0..15360_usize, prop_oneof![1..600_usize, 1..6000_usize]);
    let step = prop_oneof![
        5 => (range.clone(), prop_oneof![Just(0_u8), any::<u8>()])
            .prop_map(|((at, len), fill)| Step::Write { at, len, fill }),
        2 => range.prop_map(|(at, len)| Step::Discard { at, len }),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// The disk is an array of bytes, and whatever moment the power is lost at, the image opens and holds at least
    /// what was flushed: bytes that no later step touched are as they were.
    #[test]
    fn a_disk_is_an_array_also_after_a_crash(
        build in prop::sample::select(builds().to_vec()),
        steps in steps(),
        cut in any::<prop::sample::Index>(),
        lost in any::<u64>(),
    ) {
        let start = build.bytes();
        let file = MemFile::new("/t/a.hdd", start.clone());
        let open_disk = |file: Arc<MemFile>| disk(open(file, &WRITE).unwrap());
        let mut disk = open_disk(file.clone());
        let mut model = build.flat();
        let mut safe: Vec<(usize, Vec<u8>)> = vec![(0, model.clone())];
        let mut touched: Vec<(usize, usize, usize)> = Vec::new();
        for step in &steps {
            let ops = file.ops().len();
            match *step {
                Step::Write { at, len, fill } => {
                    let (at, end) = (at.min(model.len()), model.len().min(at + len));
                    touched.push((ops, at, end));
                    disk.write_at(at as u64, &vec![fill; end - at]).unwrap();
                    model[at..end].fill(fill);
                }
                Step::Discard { at, len } => {
                    let (at, end) = (at.min(model.len()), model.len().min(at + len));
                    touched.push((ops, at, end));
                    disk.discard(at as u64, (end - at) as u64).unwrap();
                    model[at..end].fill(0);
                }
                Step::Flush => disk.flush().unwrap(),
                Step::Reopen => {
                    disk.close().unwrap();
                    disk = open_disk(file.clone());
                }
            }
            if matches!(step, Step::Flush | Step::Reopen) {
                safe.push((file.ops().len(), model.clone()));
            }
            prop_assert_eq!(all(&disk), model.clone());
        }
        disk.close().unwrap();
        prop_assert_eq!(all(&open_disk(file.clone())), model);

        let ops = file.ops();
        let cut = cut.index(ops.len() + 1);
        for killed in [true, false] {
            let bytes = after_power_loss(&start, &ops[..cut], |i| killed || lost >> (i % 64) & 1 == 1);
            let after = all(&open_disk(MemFile::new("/t/a.hdd", bytes)));
            let (flushed, expected) = safe.iter().rev().find(|(at, _)| *at <= cut).unwrap();
            let mut changed = vec![false; expected.len()];
            for (at, from, to) in &touched {
                if at >= flushed || *at >= cut {
                    changed[*from..*to].fill(true);
                }
            }
            for (i, byte) in after.iter().enumerate() {
                prop_assert!(changed[i] || *byte == expected[i], "byte {} after a crash at operation {}", i, cut);
            }
        }
    }
}

const BASE: &str = "{11111111-1111-1111-1111-111111111111}";
const TOP: &str = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";

/// A bundle of two parts, each with a base and a newer state; the second part's base is a plain file.
struct Bundle {
    folder: tempfile::TempDir,
    xml: String,
}

impl Bundle {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = |guid: &str, kind: &str, file: &str| {
            format!("<Image><GUID>{guid}</GUID><Type>{kind}</Type><File>{file}</File></Image>")
        };
        let storage = |start: u32, end: u32, images: String| {
            format!("<Storage><Start>{start}</Start><End>{end}</End><Blocksize>4</Blocksize>{images}</Storage>")
        };
        let zero = Uuid::nil();
        let xml = format!(
            "<?xml version='1.0' encoding='UTF-8'?><Parallels_disk_image Version=\"1.0\"><Disk_Parameters>\
             <Disk_size>22</Disk_size><Encryption><Engine>{{{zero}}}</Engine></Encryption></Disk_Parameters>\
             <StorageData>{}{}</StorageData><Snapshots><Shot><GUID>{TOP}</GUID><ParentGUID>{BASE}</ParentGUID></Shot>\
             <Shot><GUID>{BASE}</GUID><ParentGUID>{{{zero}}}</ParentGUID></Shot></Snapshots></Parallels_disk_image>",
            storage(0, 12, image(BASE, "Compressed", "0.base.hds") + &image(TOP, "Compressed", "0.top.hds")),
            storage(12, 22, image(BASE, "Plain", "1.base.hds") + &image(TOP, "Compressed", "1.top.hds")),
        );
        let bundle = Self { folder, xml };
        bundle.save();
        let [base, top, second] = Self::images();
        for (name, bytes) in [
            ("0.base.hds", base.bytes()),
            ("0.top.hds", top.bytes()),
            ("1.base.hds", vec![77; 5120]),
            ("1.top.hds", second.bytes()),
        ] {
            std::fs::write(bundle.folder.path().join(name), bytes).unwrap();
        }
        bundle
    }

    fn images() -> [Build; 3] {
        let build = |sectors, clusters| Build { extended: true, tracks: 4, sectors, clusters, ..Build::default() };
        [
            build(12, vec![Some((1, 0)), Some((2, 1)), None]),
            build(12, vec![Some((3, 0)), None, None]),
            build(10, vec![None, Some((4, 0)), None]),
        ]
    }

    /// What a state shows.
    fn flat(top: bool) -> Vec<u8> {
        let mut bytes = vec![0; 22 * 512];
        bytes[..2048].fill(if top { 3 } else { 1 });
        bytes[2048..4096].fill(2);
        bytes[6144..].fill(77);
        if top {
            bytes[8192..10240].fill(4);
        }
        bytes
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("DiskDescriptor.xml")
    }

    fn save(&self) {
        std::fs::write(self.path(), &self.xml).unwrap();
    }

    fn open(&self, options: OpenOptions) -> Result<Box<dyn Image>> {
        image::open(self.folder.path(), options)
    }

    /// The message that a changed descriptor gets.
    fn broken(&self, from: &str, to: &str) -> String {
        assert!(self.xml.contains(from), "{from}");
        std::fs::write(self.path(), self.xml.replacen(from, to, 1)).unwrap();
        let text = crate::error::message(&self.open(OpenOptions::default()).err().expect("the descriptor is broken"));
        self.save();
        text
    }
}

#[test]
fn a_bundle_shows_its_current_state_and_each_snapshot() {
    let bundle = Bundle::new();
    let image = bundle.open(OpenOptions::default()).unwrap();
    assert_eq!((image.info().format, image.info().size), (Format::Parallels, 22 * 512));
    assert_eq!(all(&disk(image)), Bundle::flat(true));
    let descriptor = image::open(&bundle.path(), OpenOptions::default()).unwrap();
    assert_eq!(all(&disk(descriptor)), Bundle::flat(true));
    let older = OpenOptions { snapshot: Some(BASE.to_owned()), ..OpenOptions::default() };
    assert_eq!(all(&disk(bundle.open(older).unwrap())), Bundle::flat(false));
    let info = image::identify(bundle.folder.path(), image::local::Devices::Refused).unwrap();
    assert_eq!((info.size, info.path), (22 * 512, bundle.path()));
}

#[test]
fn writing_to_a_bundle_changes_only_its_current_state() {
    let bundle = Bundle::new();
    let disk = disk(bundle.open(WRITE).unwrap());
    let mut model = Bundle::flat(true);
    for (at, len, fill) in [(100, 50, 9), (3000, 6000, 8), (6000, 300, 0), (0, 1, 5), (11000, 264, 6)] {
        disk.write_at(at, &vec![fill; len]).unwrap();
        let at = usize::try_from(at).unwrap();
        model[at..at + len].fill(fill);
    }
    for (at, len) in [(2048_usize, 2048_usize), (6144, 2048), (9000, 100)] {
        disk.discard(at as u64, len as u64).unwrap();
        model[at..at + len].fill(0);
    }
    assert_eq!(all(&disk), model);
    disk.close().unwrap();
    assert_eq!(all(&ChainDisk::new(vec![bundle.open(OpenOptions::default()).unwrap()], Vec::new())), model);
    let older = OpenOptions { snapshot: Some(BASE.to_owned()), ..OpenOptions::default() };
    assert_eq!(all(&ChainDisk::new(vec![bundle.open(older).unwrap()], Vec::new())), Bundle::flat(false));
}

#[test]
fn snapshots_are_not_written_and_unknown_ones_are_refused() {
    let bundle = Bundle::new();
    let refused = |snapshot: &str, writable| {
        let options = OpenOptions { writable, snapshot: Some(snapshot.to_owned()), ..OpenOptions::default() };
        bundle.open(options).err().unwrap().to_string()
    };
    assert!(
        refused(BASE, true).contains("is a snapshot, and other states of the disk depend on it; open it read-only")
    );
    assert!(refused("yesterday", false).contains("it has no snapshot \"yesterday\""));
    let other = refused("{22222222-1111-1111-1111-111111111111}", false);
    assert!(other.contains("expected a Shot for 22222222-1111-1111-1111-111111111111, found none"), "{other}");
    let options = OpenOptions { snapshot: Some(BASE.to_owned()), ..OpenOptions::default() };
    let single = open_bytes(Build::default().bytes(), &options).err().unwrap().to_string();
    assert!(single.contains("its format has no internal snapshots"), "{single}");
}

#[test]
fn each_broken_element_of_a_descriptor_has_its_own_message() {
    let bundle = Bundle::new();
    let cases = [
        (
            "<Disk_size>22<",
            "<Disk_size>many<",
            "Disk_size in the descriptor at offset 106 (0x6a): expected a number of sectors below 2^54, found \"many\"",
        ),
        ("<Disk_size>22<", "<Disk_size>36028797018963968<", "expected a number of sectors below 2^54"),
        ("<Disk_size>22</Disk_size>", "", "expected a Disk_size element, found none"),
        (
            "<Disk_size>22<",
            "<Disk_size>23<",
            "expected parts up to byte 11776, the disk's size, found parts up to 11264",
        ),
        (
            "<Start>12<",
            "<Start>13<",
            "expected a part of the disk that begins at byte 6144, found one from 6656 to 11264",
        ),
        ("<End>12<", "<End>0<", "expected a part of the disk that begins at byte 0, found one from 0 to 0"),
        ("<Engine>{0", "<Engine>{1", "Encryption in the descriptor"),
        (">Compressed<", ">Zipped<", "Type of an Image in the descriptor"),
        ("<Type>Compressed</Type>", "", "expected a Type element, found none"),
        (BASE, "1", "GUID in the descriptor"),
        ("0.top.hds", "../0.top.hds", "Cannot open"),
        ("0.top.hds", "/dev/zero", "may only name files in its own folder"),
        ("0.top.hds", "nbd://host/disk", "only local files beside the image are opened"),
        ("0.top.hds", "none.hds", "Cannot open"),
        (
            "0.top.hds",
            "1.top.hds",
            "bytes of the Parallels disk at offset 36 (0x24): expected 6144, as the descriptor says, found 5120",
        ),
        (
            "<GUID>{1111",
            "<GUID>{2111",
            "expected an Image for the snapshot 11111111-1111-1111-1111-111111111111, found none",
        ),
        ("</Parallels_disk_image>", "", "expected the end of every element, found the end of the document"),
    ];
    for (from, to, fault) in cases {
        let text = bundle.broken(from, to);
        assert!(text.contains(fault), "{text}\nis not\n{fault}");
    }
    let zero = format!("<ParentGUID>{{{}}}", Uuid::nil());
    let text = bundle.broken(&zero, &format!("<ParentGUID>{TOP}"));
    assert!(
        text.contains("expected a tree, found 5fbaabe3-6958-40ff-92a7-860e329aab41, which is an ancestor of its own"),
        "{text}"
    );
    let text = bundle.broken(TOP, "{33333333-1111-1111-1111-111111111111}");
    assert!(text.contains("expected a Shot for") || text.contains("expected an Image"), "{text}");
    std::fs::write(bundle.folder.path().join("1.base.hds"), [0; 5000]).unwrap();
    let text = crate::error::message(&bundle.open(OpenOptions::default()).err().unwrap());
    assert!(
        text.contains("plain file of a Parallels bundle at offset 0 (0x0): expected 5120 bytes, found 5000"),
        "{text}"
    );
}

#[test]
fn a_folder_that_is_no_bundle_stays_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = image::open(folder.path(), OpenOptions::default()).err().unwrap().to_string();
    assert!(text.contains("it is a folder"), "{text}");
}
