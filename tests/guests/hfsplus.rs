//! HFS+ volumes by three writers: xorriso, macOS (when the samples are available), and tests/hfsplus/volume.py, which
//! covers features that no Linux program writes; 7-Zip must read the same from its volumes.
//!
//! Needs xorriso, 7zip and python3; fails loudly without.

use super::corrupt;
use super::ours::ours;
use crate::against::disks::disk;
use crate::against::qemu;
use crate::against::tree;
use crate::against::tree::{Walk, kernel};
use crate::disk::{Disk, Slice};
use crate::guestfs::hfsplus::HfsPlus;
use crate::guestfs::{Error, FileExtent, GuestFs, NodeKind};
use crate::support::sh;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use unicode_normalization::UnicodeNormalization;

fn opened(disk: Arc<dyn Disk>) -> (Arc<dyn Disk>, HfsPlus) {
    (disk.clone(), HfsPlus::open(disk).unwrap_or_else(|e| panic!("{e}")))
}

/// Creates a volume of a kind that `volume.py` knows, and returns the tree that macOS would show.
fn made(directory: &Path, kind: &str) -> (Arc<dyn Disk>, Walk) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hfsplus/volume.py");
    sh(directory, &format!("python3 {script} $1 {kind}"));
    let tree: BTreeMap<String, String> =
        serde_json::from_slice(&std::fs::read(directory.join("tree")).unwrap()).unwrap();
    (disk(&directory.join("image")), tree)
}

#[test]
fn reads_every_layout() {
    for kind in ["plain", "small", "hfsx", "folding", "scattered", "wrapped", "clean", "huge"] {
        let directory = tempfile::tempdir().unwrap();
        let (disk, tree) = made(directory.path(), kind);
        let opened = opened(disk);
        let facts = opened.1.facts();
        let type_name = if matches!(kind, "hfsx" | "folding") { "HFSX" } else { "HFS+" };
        assert_eq!(
            (facts.type_name, facts.label.as_str(), facts.uuid.as_str()),
            (type_name, "Läb", "de53349f-21ad-3c08-9044-ae10cd9587d3")
        );
        assert_eq!(facts.notes, [""; 0], "{kind}");
        tree::assert_same(kind, &tree, &ours(&opened));
    }
}

#[test]
fn seven_zip_reads_the_same_files() {
    let directory = tempfile::tempdir().unwrap();
    let (_, tree) = made(directory.path(), "plain");
    // 7-Zip does not support fragmented attributes, which its exit status reports.
    let _ = Command::new("7zz").args(["x", "-y", "-bso0"]).arg("image").current_dir(directory.path()).output().unwrap();
    // It does not compose names.
    let label =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir());
    let theirs: Walk = kernel(&label.unwrap()).into_iter().map(|(name, text)| (name.nfc().collect(), text)).collect();
    let (mut same, mut other) = (0, Vec::new());
    for (name, text) in tree.iter().filter(|(_, text)| text.starts_with("mode=100")) {
        let sum = |text: &str| text.split(' ').nth(7).unwrap().to_owned();
        let size = |text: &str| text.split(' ').nth(4).unwrap().to_owned();
        match theirs.get(name) {
            Some(found) if sum(found) == sum(text) && size(found) == size(text) => same += 1,
            _ => other.push(name.as_str()),
        }
    }
    // It shows hard links as empty files.
    other.retain(|name| !name.contains("link"));
    assert_eq!(other, ["naïve ☃ Ünï/a:b"]);
    assert!(same > 350, "{same}");
}

#[test]
fn replays_journal() {
    // The header of the last one is older than the last transaction.
    for kind in ["little", "big", "short"] {
        let directory = tempfile::tempdir().unwrap();
        let (disk, tree) = made(directory.path(), kind);
        let opened = opened(disk);
        let notes = &opened.1.facts().notes;
        assert_eq!(notes[..], ["It was not cleanly unmounted: 3 transactions of its journal are replayed in memory"]);
        tree::assert_same(kind, &tree, &ours(&opened));
    }
}

/// Follows the rules of `replay_journal` in Apple's `bsd/vfs/vfs_journal.c`.
#[test]
fn stops_replay_at_corrupt_transaction() {
    let directory = tempfile::tempdir().unwrap();
    // The volume itself is up to date, so it opens without the journal.
    for kind in ["valid", "valid-short"] {
        made(directory.path(), kind);
        let image = directory.path().join("image");
        let raw = std::fs::read(&image).unwrap();
        let journal = raw.windows(8).position(|bytes| bytes == b"xLNJ\x78\x56\x34\x12").unwrap();
        let number = |at: usize| usize::try_from(u32::from_le_bytes(*raw[at..].first_chunk().unwrap())).unwrap();
        let size = number(journal + 24);
        // The journal wraps around to the position after its header.
        let offset = |at: usize| journal + if at >= size { at % size + 512 } else { at };
        let first = number(journal + 8);
        let second = first + number(offset(first) + 4);
        let third = second + number(offset(second) + 4);
        let outcome = |at: usize| changed(&image, offset(at), &[raw[offset(at)] ^ 0x55]);
        let middle = outcome(second + 4096 + 700);
        assert!(middle.contains(": 1 transactions of its journal"), "{middle}");
        assert!(middle.contains("; the rest is corrupt (checksum of block "), "{middle}");
        let last = outcome(third + 4096 + 700);
        assert!(last.contains(": 2 transactions of its journal"), "{last}");
        // A list after the end in the header was not written completely.
        assert_eq!(last.contains("the rest is corrupt"), kind == "valid", "{last}");
        let head = outcome(third + 8);
        // It is then unknown which transaction the second list belongs to.
        let replayed = if kind == "valid" { 1 } else { 2 };
        assert!(head.contains(&format!(": {replayed} transactions of its journal")), "{head}");
        assert!(outcome(first + 8).contains("Its journal cannot be read (checksum of a block list"));
    }
}

#[test]
fn lookup_follows_case_rules_of_volume() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, finds_other_case) in [("plain", true), ("folding", true), ("hfsx", false)] {
        let (disk, _) = made(directory.path(), kind);
        let fs = opened(disk).1;
        let node = fs.lookup(fs.root(), "naïve ☃ Ünï".as_bytes()).unwrap().unwrap();
        let composed = fs.lookup(node, "é".as_bytes()).unwrap();
        assert!(composed.is_some());
        assert_eq!(fs.lookup(node, "e\u{301}".as_bytes()).unwrap(), composed);
        assert_eq!(fs.lookup(node, "É".as_bytes()).unwrap().is_some(), finds_other_case, "{kind}");
        assert_eq!(fs.lookup(fs.root(), "NAÏVE ☃ ÜNÏ".as_bytes()).unwrap().is_some(), finds_other_case);
        for hidden in ["\0\0\0\0HFS+ Private Data", "␀␀␀␀HFS+ Private Data", ".HFS+ Private Directory Data\r"] {
            assert_eq!(fs.lookup(fs.root(), hidden.as_bytes()).unwrap(), None);
        }
    }
}

#[test]
fn maps_files_to_extents() {
    let directory = tempfile::tempdir().unwrap();
    let (disk, _) = made(directory.path(), "plain");
    let fs = opened(disk).1;
    let node = |name: &str| fs.lookup(fs.root(), name.as_bytes()).unwrap().unwrap();
    let run = fs.extent(node("fragmented"), 100 * 4096 + 7, 1 << 20).unwrap();
    assert!(matches!(run.extent, FileExtent::Stored(_)) && run.len == 4089, "{run:?}");
    let large = fs.attributes(node("resource fragments")).unwrap();
    assert_eq!((large.size, large.allocated), (0, 14 * 4096));
    assert!(matches!(fs.extent(node("etc"), 0, 1), Err(Error::NotFile)));
    assert!(matches!(fs.read_directory(node("large"), 0, &mut |_| unreachable!()), Err(Error::NotDirectory)));
    assert!(matches!(fs.read_link(node("large")), Err(Error::NotSymlink)));
}

#[test]
fn refuses_attributes_too_large_for_linux() {
    let directory = tempfile::tempdir().unwrap();
    let (disk, tree) = made(directory.path(), "attributed");
    let fs = opened(disk).1;
    let node = fs.lookup(fs.root(), b"attributed").unwrap().unwrap();
    assert_eq!(fs.xattr_names(node).unwrap(), [b"user.full".as_slice(), b"user.over", b"user.shattered"]);
    let full = fs.xattr(node, b"user.full").unwrap().unwrap();
    assert_eq!(full.len(), 65_536);
    assert!(tree["attributed"].contains(&format!("{full:?}")));
    for (name, size) in [("over", 65_537), ("shattered", 200_000)] {
        let error = fs.xattr(node, format!("user.{name}").as_bytes()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("the attribute {name} of {size} bytes is larger than Linux allows")),
            "{error}"
        );
    }
}

/// Changes bytes of a volume and returns its notes or the error of opening it.
fn changed(image: &Path, at: usize, bytes: &[u8]) -> String {
    let mut raw = std::fs::read(image).unwrap();
    raw[at..at + bytes.len()].copy_from_slice(bytes);
    let path = image.with_file_name("changed");
    std::fs::write(&path, raw).unwrap();
    match HfsPlus::open(disk(&path)) {
        Ok(fs) => fs.facts().notes.join("; "),
        Err(e) => e.to_string(),
    }
}

#[test]
fn reports_unsupported_and_corrupt_volumes() {
    let directory = tempfile::tempdir().unwrap();
    made(directory.path(), "plain");
    let image = directory.path().join("image");
    assert!(changed(&image, 1024 + 3, &[6]).contains("version 6, only 4 and 5 are known"));
    assert!(changed(&image, 1024, b"BD").contains("the old HFS, not HFS+"));
    assert!(changed(&image, 1024 + 43, &[1]).contains("allocation block size at offset 1064"));
    assert!(changed(&image, 1024 + 6, &[0]).contains("not cleanly unmounted"));
    assert!(changed(&image, 1024 + 6, &[9]).contains("marked as inconsistent"));
    // A journal that does not exist.
    assert!(changed(&image, 1024 + 6, &[0x21, 0, 0, 0, 0, 0, 0, 0, 0, 1]).contains("Its journal cannot be read"));
    let file = std::fs::OpenOptions::new().write(true).open(&image).unwrap();
    file.set_len(3_000_000).unwrap();
    assert!(changed(&image, 0, &[0]).contains("cut short"));
}

const SOURCE: &str = r#"
cd "$1"; mkdir -p src/many src/deep/a/b/c 'src/naïve ☃'; cd src
for i in $(seq 1 10000); do echo $i > many/file-with-a-longer-name-$i; done
echo lab > hostname; chmod 640 hostname; ln -s ../hostname deep/link; ln -s "$(printf 'x%.0s' $(seq 200))" long
head -c 5000000 /dev/urandom > large; : > empty; echo x > 'naïve ☃/ein ß é.txt'; echo y > "$(printf 'n%.0s' $(seq 200))"
cd ..; xorriso -as mkisofs -quiet -V Lab -hfsplus -o image src
"#;

#[test]
fn reads_volume_by_xorriso() {
    let directory = tempfile::tempdir().unwrap();
    sh(directory.path(), SOURCE);
    let hybrid = disk(&directory.path().join("image"));
    // The third entry of the Apple partition map.
    let mut entry = [0; 512];
    hybrid.read_at(3 * 512, &mut entry).unwrap();
    let number = |at: usize| u64::from(u32::from_be_bytes(*entry[at..].first_chunk().unwrap())) * 512;
    let volume: Arc<dyn Disk> = Arc::new(Slice::new(hybrid, number(8), number(12)));
    // xorriso gives files an unknown type and creator.
    let unknown = format!("\"user.com.apple.FinderInfo\": {:?}", [[63_u8; 8], [0; 8], [0; 8], [0; 8]].concat());
    let comparable = |walk: Walk| -> Walk {
        let drop = ["ctime=", "mtime=", "links="];
        let retain = |text: String| {
            let text = text.replace(&unknown, "");
            let words = text.split(' ').filter(|word| !drop.iter().any(|prefix| word.starts_with(prefix)));
            words.collect::<Vec<_>>().join(" ")
        };
        walk.into_iter().map(|(name, text)| (name, retain(text))).collect()
    };
    tree::assert_same(
        "xorriso",
        &comparable(kernel(&directory.path().join("src"))),
        &comparable(ours(&opened(volume))),
    );
}

#[test]
fn reads_volume_by_macos() {
    for name in ["keramics-hfsplus-zlib.dmg", "keramics-hfsplus-bzip2.dmg"] {
        let Some(path) = qemu::shared(&format!("samples/{name}")) else { continue };
        let whole = disk(&path);
        let volume = crate::volume::read_table(&*whole).unwrap().volumes.remove(0);
        let opened = opened(Arc::new(Slice::new(whole, volume.offset, volume.size)));
        let walk = ours(&opened);
        let names: Vec<&str> = walk.keys().map(String::as_str).collect();
        assert_eq!(names.len(), 17, "{names:?}");
        // The same as libfshfs shows.
        for name in ["case_folding_µ", "forward:slash", "nfc_téstfilè", "nfd_téstfilè", "nfd_¾", "nfkd_3⁄4"] {
            assert!(
                walk[name].starts_with("mode=100644 uid=501 gid=20 links=1 size=0 mtime=1731856421."),
                "{}",
                walk[name]
            );
        }
        let linked = &walk["file_hardlink1"];
        assert!(
            linked.starts_with("mode=100644 uid=501 gid=20 links=2 size=9 mtime=1731856420.000000000 "),
            "{linked}"
        );
        assert!(linked.contains(" 71d1281b05e2236c962dd4ed4283b11fcfdbb8e61214d9ad6c707fbd7daf9d81 "), "{linked}");
        assert_eq!(walk["file_hardlink1"], walk["testdir1/testfile1"]);
        assert!(walk["file_symboliclink1"].contains(" /Volumes/hfsplus_test/testdir1/testfile1 "));
        let fs = &opened.1;
        let directory = fs.lookup(fs.root(), b"testdir1").unwrap().unwrap();
        let value = |file: &str, name: &[u8]| {
            let node = fs.lookup(directory, file.as_bytes()).unwrap().unwrap();
            assert_eq!(fs.xattr_names(node).unwrap(), [name]);
            fs.xattr(node, name).unwrap().unwrap()
        };
        assert_eq!(value("resourcefork1", b"user.com.apple.ResourceFork"), b"My resource fork\n");
        assert_eq!(value("xattr1", b"user.myxattr1"), b"My 1st extended attribute");
        assert_eq!(value("large_xattr", b"user.mylargexattr").len(), 8158);
        assert_eq!(fs.attributes(directory).unwrap().kind, NodeKind::Directory);
    }
}

#[test]
fn survives_corruption() {
    let directory = tempfile::tempdir().unwrap();
    for kind in ["scattered", "little"] {
        let (disk, _) = made(directory.path(), kind);
        corrupt::survive(kind, disk, HfsPlus::open);
    }
}

#[test]
fn lists_names_around_corrupt_node_or_record() {
    const NODE: usize = 8192;
    let directory = tempfile::tempdir().unwrap();
    let (_, tree) = made(directory.path(), "plain");
    let valid = std::fs::read(directory.path().join("image")).unwrap();
    let all = tree.keys().filter(|path| path.starts_with("many/")).count();
    // Leaves that only hold names of the directory.
    let leaf = |node: &[u8]| node[8..10] == [0xFF, 1] && node[NODE - 2..] == [0, 14];
    let leaves: Vec<usize> =
        (0..valid.len() / NODE).map(|i| i * NODE).filter(|at| leaf(&valid[*at..][..NODE])).collect();
    let middle = leaves[leaves.len() / 2];
    // The kind of the node, and the length of its first key.
    for (at, value, lost) in [(8, 0x77, 10..60), (14, 0x7F, 1..2)] {
        let mut bytes = valid.clone();
        bytes[middle + at] = value;
        std::fs::write(directory.path().join("image"), bytes).unwrap();
        let fs = opened(disk(&directory.path().join("image"))).1;
        let many = fs.lookup(fs.root(), b"many").unwrap().unwrap();
        let mut names = Vec::new();
        let reported = fs.read_directory(many, 0, &mut |entry| {
            names.push(entry.name);
            std::ops::ControlFlow::Continue(())
        });
        assert!(matches!(reported, Err(Error::Incomplete(_))), "{reported:?}");
        assert!(lost.contains(&(all - names.len())), "{} of {all}", names.len());
        for name in &names {
            let node = fs.lookup(many, name).unwrap().unwrap();
            assert!(fs.attributes(node).is_ok());
        }
        assert!(matches!(fs.lookup(many, b"no such name"), Err(Error::Incomplete(_))));
    }
}
