//! Bundles: a descriptor, parts and snapshots.

use super::super::*;
use super::{WRITE, all, disk, open_bytes};
use crate::disk::{ChainDisk, Disk};
use crate::image;
use crate::image::parallels::testing::Build;
use uuid::Uuid;

const BASE: &str = "{11111111-1111-1111-1111-111111111111}";
const TOP: &str = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";

/// A bundle of two parts, each with a base and a newer state; the second part's base is a plain file.
struct Bundle {
    directory: tempfile::TempDir,
    xml: String,
}

impl Bundle {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
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
        let bundle = Self { directory, xml };
        bundle.save();
        let [base, top, second] = Self::images();
        for (name, bytes) in [
            ("0.base.hds", base.bytes()),
            ("0.top.hds", top.bytes()),
            ("1.base.hds", vec![77; 5120]),
            ("1.top.hds", second.bytes()),
        ] {
            std::fs::write(bundle.directory.path().join(name), bytes).unwrap();
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
        self.directory.path().join("DiskDescriptor.xml")
    }

    fn save(&self) {
        std::fs::write(self.path(), &self.xml).unwrap();
    }

    fn open(&self, options: OpenOptions) -> Result<Box<dyn Image>> {
        image::open(self.directory.path(), options)
    }

    /// The message that a changed descriptor gets.
    fn broken(&self, from: &str, to: &str) -> String {
        assert!(self.xml.contains(from), "{from}");
        std::fs::write(self.path(), self.xml.replacen(from, to, 1)).unwrap();
        let text =
            crate::error_kind::message(&self.open(OpenOptions::default()).err().expect("the descriptor is broken"));
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
    let info = image::identify(bundle.directory.path(), crate::storage::local::Devices::Refused).unwrap();
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
    assert!(other.contains("it has no snapshot \"{22222222-1111-1111-1111-111111111111}\""), "{other}");
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
        ("0.top.hds", "../0.top.hds", "Cannot find"),
        ("0.top.hds", "/dev/zero", "it is a device"),
        ("0.top.hds", "/etc/passwd", "--allow-file /etc/passwd"),
        ("0.top.hds", "nbd://host/disk", "only local files are opened"),
        ("0.top.hds", "none.hds", "Cannot find"),
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
    for (from, to, cause) in cases {
        let text = bundle.broken(from, to);
        assert!(text.contains(cause), "{text}\nis not\n{cause}");
    }
    let zero = format!("<ParentGUID>{{{}}}", Uuid::nil());
    let text = bundle.broken(&zero, &format!("<ParentGUID>{TOP}"));
    assert!(
        text.contains("expected a tree, found 5fbaabe3-6958-40ff-92a7-860e329aab41, which is an ancestor of its own"),
        "{text}"
    );
    let text = bundle.broken(TOP, "{33333333-1111-1111-1111-111111111111}");
    assert!(text.contains("expected a Shot for") || text.contains("expected an Image"), "{text}");
    std::fs::write(bundle.directory.path().join("1.base.hds"), [0; 5000]).unwrap();
    let text = crate::error_kind::message(&bundle.open(OpenOptions::default()).err().unwrap());
    assert!(
        text.contains("plain file of a Parallels bundle at offset 0 (0x0): expected 5120 bytes, found 5000"),
        "{text}"
    );
}

#[test]
fn a_directory_that_is_no_bundle_stays_refused() {
    let directory = tempfile::tempdir().unwrap();
    let text = image::open(directory.path(), OpenOptions::default()).err().unwrap().to_string();
    assert!(text.contains("it is a directory"), "{text}");
}

#[test]
fn a_single_file_of_a_bundle_is_no_disk() {
    let bundle = Bundle::new();
    for name in ["0.base.hds", "0.top.hds", "1.base.hds", "1.top.hds"] {
        let path = bundle.directory.path().join(name);
        let error = image::open(&path, OpenOptions::default()).err().unwrap().to_string();
        assert!(error.contains("a part of a Parallels disk") && error.contains("DiskDescriptor.xml"), "{error}");
        assert!(image::identify(&path, crate::storage::local::Devices::Refused).is_err());
    }
    let alone = tempfile::tempdir().unwrap();
    let [_, _, second] = Bundle::images();
    for (name, opens) in [("a.hdd.0.{g}.hds", true), ("a.hdd.1.{g}.hds", false), ("disk.hds", true)] {
        let path = alone.path().join(name);
        std::fs::write(&path, second.bytes()).unwrap();
        assert_eq!(image::open(&path, OpenOptions::default()).is_ok(), opens, "{name}");
    }
}
