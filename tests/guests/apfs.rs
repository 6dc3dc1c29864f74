//! APFS: containers that macOS wrote, from the project dissect.apfs, where the samples are, read as that project says;
//! and what is ours (nodes, names, several volumes, limits) on containers that the crate itself formats.

use super::corrupt;
use super::ours::ours;
use crate::against::disks::disk;
use crate::against::qemu;
use crate::disk::Disk;
use crate::guestfs::apfs::Apfs;
use crate::guestfs::{Error, GuestFs, Node, NodeKind, read};
use crate::support::sha256;
use ferrosys::apfs::{FormatOptions, VolumeName, VolumeRequest, format_to};
use ferrosys::{Metadata, Timestamp, TreeBuilder};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// The node at a path.
fn at(fs: &Apfs, path: &str) -> Node {
    path.split('/')
        .filter(|name| !name.is_empty())
        .fold(fs.root(), |dir, name| fs.lookup(dir, name.as_bytes()).unwrap().unwrap_or_else(|| panic!("{path}")))
}

fn bytes(fs: &Apfs, disk: &dyn Disk, path: &str) -> Vec<u8> {
    let node = at(fs, path);
    let attributes = fs.attributes(node).unwrap();
    let mut bytes = vec![0; usize::try_from(attributes.size).unwrap() + 1];
    let len = read::read(fs, disk, node, &attributes, 0, &mut bytes).unwrap_or_else(|e| panic!("{path}: {e}"));
    bytes.truncate(len);
    bytes
}

#[test]
fn reads_containers_by_macos_as_dissect() {
    let dir = tempfile::tempdir().unwrap();
    for (name, label, count) in [
        ("case_insensitive", "Case Insensitive", 11),
        ("case_sensitive", "Case Sensitive", 11),
        ("case_insensitive_beta", "Case Insensitive (beta)", 11),
        ("jhfs_converted", "JHFS+ Converted", 12),
        ("snapshot", "Snapshots", 1),
    ] {
        let Some(path) = qemu::sample(dir.path(), &format!("dissect-apfs-{name}.bin.gz")) else { continue };
        let disk = disk(&path);
        let fs = Apfs::open(disk.clone()).unwrap();
        assert_eq!((fs.facts().label.as_str(), &fs.facts().notes[..]), (label, &[][..]));
        let mut names = 0;
        let reported = fs.read_directory(fs.root(), 0, &mut |entry| {
            assert_eq!(fs.lookup(fs.root(), &entry.name).unwrap(), Some(entry.node));
            names += 1;
            ControlFlow::Continue(())
        });
        reported.unwrap();
        assert_eq!(names, count, "{name}");
        if name == "snapshot" {
            continue;
        }
        if name != "case_insensitive_beta" {
            // Content packed by macOS: zlib, LZVN and LZFSE, in the attribute and in the resource fork.
            let forms = if name == "jhfs_converted" { &["zlib"][..] } else { &["zlib", "lzvn", "lzfse"] };
            for form in forms {
                let small = bytes(&fs, &*disk, &format!("dir/compressed-{form}-xattr"));
                assert!(small.starts_with(b"Compressed data in xattr aaaa") && small.len() == 116, "{form}");
                let large = sha256(&bytes(&fs, &*disk, &format!("dir/compressed-{form}-fork")));
                assert_eq!(large, "5f46d97f947137dcf974fc19914c547acd18fcdb25124c846c1100f8b3fbca5f", "{form}");
            }
        }
        assert_eq!(bytes(&fs, &*disk, "empty"), b"");
        assert_eq!(at(&fs, "hardlink"), at(&fs, "dir/file"));
        assert_eq!(fs.attributes(at(&fs, "hardlink")).unwrap().links, 2);
        assert_eq!(fs.read_link(at(&fs, "symlink-file")).unwrap(), b"dir/file");
        assert!(matches!(fs.read_link(at(&fs, "empty")), Err(Error::NotSymlink)));
        let other_case = fs.lookup(fs.root(), b"EMPTY").unwrap();
        assert_eq!(other_case.is_some(), name != "case_sensitive", "{name}");
        let value = |path: &str, name: &str| fs.xattr(at(&fs, path), name.as_bytes()).unwrap().unwrap();
        assert_eq!(value("dir/resourcefork", "user.com.apple.ResourceFork"), b"Resource fork data\n");
        assert_eq!(value("dir/xattr-small", "user.xattr-small"), b"Small xattr data");
        assert_eq!(value("dir/xattr-dir", "user.xattr-dir"), b"xattr data on directory");
        if name == "case_insensitive" {
            let large = fs.xattr(at(&fs, "dir/xattr-large"), b"user.xattr-large").unwrap_err().to_string();
            assert!(large.contains("322342 bytes is larger than Linux allows"), "{large}");
            let pipe = fs.attributes(at(&fs, "dir/fifo")).unwrap();
            assert_eq!((pipe.kind, pipe.mode, pipe.uid, pipe.gid), (NodeKind::Fifo, 0o644, 99, 99));
        }
    }
    for (name, why) in [("encrypted", "volume 0 is encrypted"), ("corrupt", "the checksum does not cover it")] {
        let Some(path) = qemu::sample(dir.path(), &format!("dissect-apfs-{name}.bin.gz")) else { continue };
        let error = Apfs::open(disk(&path)).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

const TIME: Timestamp = Timestamp::from_secs(1_700_000_000);

fn meta(mode: u16) -> Metadata {
    Metadata::new(mode, TIME).owned_by(501, 20)
}

fn content(files: usize) -> TreeBuilder {
    let mut tree = TreeBuilder::new().directory("/many", meta(0o755));
    for i in 0..files {
        tree = tree.file(format!("/many/file-with-a-name-{i}"), i.to_string(), meta(0o640));
    }
    let noise: Vec<u8> = (0..3_000_000_u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect();
    tree.file("/large", noise, meta(0o600))
        .xattr("note", "five")
        .symlink("/link", "many/file-with-a-name-1", meta(0o777))
        .directory("/naïve ☃", meta(0o700))
        .fifo("/pipe", meta(0o644))
}

fn formatted(dir: &Path, volumes: &[&str], files: usize) -> Arc<dyn Disk> {
    let request =
        |name: &&str| VolumeRequest::new(VolumeName::new(name).unwrap(), [u8::try_from(name.len()).unwrap(); 16]);
    let mut options = FormatOptions::new([7; 16], TIME, request(&volumes[0]));
    for name in &volumes[1..] {
        options = options.volume(request(name).contents(content(3)));
    }
    let path = dir.join("image");
    // There is a volume for each half of a gigabyte.
    let size = if volumes.len() > 1 { 1200 << 20 } else { 64 << 20 };
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(size).unwrap();
    format_to(file, content(files), size, options).unwrap();
    disk(&path)
}

#[test]
fn shows_one_volume_as_the_root_and_several_as_directories() {
    let dir = tempfile::tempdir().unwrap();
    let disk = formatted(dir.path(), &["Data"], 4000);
    let opened = (disk.clone(), Apfs::open(disk).unwrap());
    let facts = opened.1.facts();
    assert_eq!((facts.label.as_str(), facts.uuid.as_str()), ("Data", "07070707-0707-0707-0707-070707070707"));
    let walk = ours(&opened);
    assert_eq!(walk.len(), 4005);
    assert!(
        walk["many/file-with-a-name-3999"].starts_with("mode=100640 uid=501 gid=20 links=1 size=4 mtime=1700000000.")
    );
    assert!(walk["large"].ends_with("{\"user.note\": [102, 105, 118, 101]}"), "{}", walk["large"]);
    assert!(walk["link"].contains(" many/file-with-a-name-1 "), "{}", walk["link"]);
    let disk = formatted(dir.path(), &["Data", "Other"], 10);
    let opened = (disk.clone(), Apfs::open(disk).unwrap());
    let walk = ours(&opened);
    assert_eq!(opened.1.facts().label, "");
    assert_eq!(walk.keys().filter(|name| !name.contains('/')).collect::<Vec<_>>(), ["Data", "Other"]);
    assert_eq!(walk["Data/large"], walk["Other/large"]);
    assert_eq!(walk.keys().filter(|name| name.starts_with("Other/")).count(), 8);
}

#[test]
fn survives_corruption() {
    let dir = tempfile::tempdir().unwrap();
    corrupt::survive("APFS", formatted(dir.path(), &["Data", "Other"], 450), Apfs::open);
}
