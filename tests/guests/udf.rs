//! Compares UDF volumes with Linux in images that Linux wrote, and with the source tree in those by genisoimage.
//!
//! No kernel with UDF is needed: fixtures/udf/README.md describes how the images were created and the trees recorded.
//! Needs genisoimage and zstd; fails loudly without.

use super::corrupt;
use super::ours::ours;
use crate::against::disc::plain;
use crate::against::disks::disk;
use crate::against::tree;
use crate::against::tree::{Walk, kernel};
use crate::disk::Disk;
use crate::guestfs::udf::Udf;
use crate::guestfs::{GuestFs, detect};
use crate::support::sh;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const IMAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/udf/images.tar.zst");

fn extract() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    sh(directory.path(), &format!("cd $1; tar --zstd -xSf {IMAGES}"));
    directory
}

fn open(image: &Path) -> (Arc<dyn Disk>, Udf) {
    let disk = disk(image);
    let udf = Udf::open(disk.clone()).unwrap_or_else(|e| panic!("{}: {e}", image.display()));
    (disk, udf)
}

/// The tree of an image as recorded on Linux.
fn recorded(path: &Path) -> Walk {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, seen)| (name.to_owned(), seen.to_owned()))
        .collect()
}

#[test]
fn reads_images_like_linux() {
    let directory = extract();
    let path = |name: &str| directory.path().join(name);
    let mut seen = 0;
    for entry in fs::read_dir(directory.path()).unwrap() {
        let image = entry.unwrap().path();
        if image.extension().is_none_or(|extension| extension != "img") {
            continue;
        }
        let opened = open(&image);
        let name = image.file_name().unwrap().to_str().unwrap().to_owned();
        tree::assert_same(&name, &recorded(&image.with_extension("walk")), &ours(&opened));
        assert!(opened.1.facts().has_owners, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 9);
    let facts = open(&path("hd512.img")).1.facts().clone();
    assert_eq!((facts.label.as_str(), facts.uuid.as_str()), ("Lab ü ☃", "6b086b6b75fa5c22"), "as blkid showed them");
    // As df showed them.
    assert_eq!((facts.block_size, facts.blocks / 2, facts.free_blocks / 2), (512, 24316, 22450));
    assert_eq!(facts.notes, Vec::<String>::new());
    let notes = open(&path("dirty.img")).1.facts().notes.clone();
    assert!(notes.len() == 1 && notes[0].contains("not cleanly unmounted"), "{notes:?}");
}

#[test]
fn reads_bridge_disc_as_udf_then_iso_9660() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    sh(
        directory.path(),
        r#"mkdir -p $1/src/many $1/src/deep/a/b/c/d; cd $1/src
           for i in $(seq 1 3000); do echo $i > many/file-number-$i; done; seq 1 300000 > data; : > empty; head -c 2048 data > block
           mkdir 'naïve ☃'; echo x > 'naïve ☃/ein ß.txt'; echo d > deep/a/b/c/d/file; echo y > "$(printf 'n%.0s' $(seq 200))"
           cd ..; genisoimage -quiet -udf -R -input-charset utf-8 -V LAB -o bridge.iso src 2>/dev/null"#,
    );
    let theirs = plain(kernel(&path("src")));
    let image = path("bridge.iso");
    let opened = open(&image);
    tree::assert_same("genisoimage -udf", &theirs, &plain(ours(&opened)));
    assert_eq!(opened.1.facts().label, "LAB");
    assert_eq!(detect::open(disk(&image)).unwrap().unwrap().facts().type_name, "UDF");

    // After its anchors are overwritten.
    let file = File::options().write(true).open(&image).unwrap();
    let blocks = file.metadata().unwrap().len() / 2048;
    for block in [256, 512, blocks - 1, blocks - 256, blocks - 257] {
        file.write_all_at(&[0; 16], block * 2048).unwrap();
    }
    let iso = detect::open(disk(&image)).unwrap().unwrap();
    let facts = iso.facts();
    assert_eq!((facts.type_name, facts.has_owners), ("ISO 9660", true));
    assert!(facts.notes.len() == 1 && facts.notes[0].contains("anchor volume descriptor"), "{:?}", facts.notes);
}

#[test]
fn uses_reserve_for_corrupt_volume_descriptors() {
    let directory = extract();
    let image = directory.path().join("hd2048.img");
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let mut anchor = [0; 32];
    file.read_exact_at(&mut anchor, 256 * 2048).unwrap();
    let main = u64::from(u32::from_le_bytes([anchor[20], anchor[21], anchor[22], anchor[23]])) * 2048;
    file.write_all_at(b"corruption", main + 2048 + 100).unwrap();
    let opened = open(&image);
    let notes = &opened.1.facts().notes;
    assert!(notes.len() == 1 && notes[0].contains("reserve of its volume descriptors is used"), "{notes:?}");
    tree::assert_same("reserve", &recorded(&image.with_extension("walk")), &ours(&opened));
}

/// Changes a tagged block, and updates the tag.
fn change(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
    let mut crc = 0_u16;
    for byte in &bytes[16..16 + usize::from(u16::from_le_bytes([bytes[10], bytes[11]]))] {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
        }
    }
    bytes[8..10].copy_from_slice(&crc.to_le_bytes());
    bytes[4] = 0;
    bytes[4] = bytes[..16].iter().fold(0, |sum, byte| sum.wrapping_add(*byte));
}

#[test]
fn refuses_other_strategies_and_cyclic_descriptors() {
    let directory = extract();
    let image = directory.path().join("hd512.img");
    let mut bytes = fs::read(&image).unwrap();
    let udf = open(&image).1;
    let node = |name: &str| udf.lookup(udf.root(), name.as_bytes()).unwrap().unwrap();
    let (mut entries, mut cycles) = (0, 0);
    for block in bytes.chunks_exact_mut(512) {
        let (id, location) = (u16::from_le_bytes([block[0], block[1]]), &block[12..16].to_owned());
        if matches!(id, 261 | 266) && u64::from(u32::from_le_bytes(location[..].try_into().unwrap())) == node("seven").0
        {
            change(block, 20, &4096_u16.to_le_bytes());
            entries += 1;
        }
        // A block of allocation descriptors that continues in itself.
        if id == 258 {
            change(block, 24, &[&(3_u32 << 30 | 512).to_le_bytes(), &location[..]].concat());
            cycles += 1;
        }
    }
    assert!(entries == 1 && cycles > 0, "{entries} entries, {cycles} blocks of descriptors");
    fs::write(&image, bytes).unwrap();
    let udf = open(&image).1;
    let message = |name: &str| udf.attributes(node(name)).unwrap_err().to_string();
    assert!(message("seven").contains("strategy 4096"), "{}", message("seven"));
    assert!(message("frag1").contains("a circle"), "{}", message("frag1"));
    assert!(udf.attributes(node("tiny")).is_ok());
}

#[test]
fn survives_corruption() {
    let directory = extract();
    corrupt::survive("hd512", disk(&directory.path().join("hd512.img")), Udf::open);
}

#[test]
fn lists_names_around_corrupt_descriptor() {
    let directory = tempfile::tempdir().unwrap();
    sh(
        directory.path(),
        "cd $1; mkdir -p s/many; for i in $(seq 200); do echo $i > s/many/a-file-$i; done; genisoimage -quiet -udf -o i s",
    );
    let image = directory.path().join("i");
    let valid = fs::read(&image).unwrap();
    // The name follows its width and has one byte for each character.
    let is_descriptor = |at: &usize| valid[*at..].starts_with(&[1, 1]) && valid[*at + 38..][..10] == *b"\x08a-file-77";
    let descriptor = (0..valid.len() - 100).step_by(4).find(is_descriptor).unwrap();
    // A byte covered only by the CRC, the length of the name, and the tag.
    for at in [30, 19, 0] {
        let mut bytes = valid.clone();
        bytes[descriptor + at] ^= 0x55;
        fs::write(&image, bytes).unwrap();
        let (_, udf) = open(&image);
        let many = udf.lookup(udf.root(), b"many").unwrap().unwrap();
        let mut names = Vec::new();
        let reported = udf.read_directory(many, 0, &mut |entry| {
            names.push(String::from_utf8(entry.name).unwrap());
            std::ops::ControlFlow::Continue(())
        });
        assert!(matches!(reported, Err(crate::guestfs::Error::Incomplete(_))), "{reported:?}");
        assert!(names.len() == 199 && !names.contains(&"a-file-77".to_owned()), "{}", names.len());
        assert!(udf.lookup(many, b"a-file-78").unwrap().is_some() && udf.lookup(many, b"a-file-77").is_err());
    }
}
