//! Compares exFAT volumes with exfat-fuse: names, sizes, times and bytes. (Owners and modes are made up by exfat-fuse.)
//!
//! Needs root (loop devices), exfatprogs and exfat-fuse; fails loudly without.

use super::corrupt;
use super::ours::ours;
use crate::against::disks::disk;
use crate::against::tree;
use crate::against::tree::{Walk, kernel};
use crate::disk::Disk;
use crate::guestfs::exfat::Exfat;
use crate::guestfs::{Error, GuestFs, Node, read};
use crate::support::sh;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// A directory with an image that is mounted on `m` at times; unmounted when dropped.
struct Lab(tempfile::TempDir);

impl Lab {
    /// Creates an image of `size` and runs a script while its root is mounted on `$1/m`.
    fn new(mkfs: &str, size: &str, fill: &str) -> Self {
        let lab = Self(tempfile::tempdir().unwrap());
        lab.sh(&format!("truncate -s {size} image; mkfs.exfat {mkfs} image >/dev/null; mkdir m"));
        lab.sh("mount -t exfat-fuse -o loop image m");
        sh(lab.0.path(), fill);
        lab.sh("umount m; fsck.exfat -n image");
        lab
    }

    fn sh(&self, script: &str) -> String {
        sh(self.0.path(), &format!("cd \"$1\"; {script}"))
    }

    fn image(&self) -> PathBuf {
        self.0.path().join("image")
    }

    fn theirs(&self) -> Walk {
        self.sh("mount -t exfat-fuse -o loop,ro image m");
        let theirs = kernel(&self.0.path().join("m"));
        self.sh("umount m");
        comparable(theirs)
    }

    fn open(&self) -> (Arc<dyn Disk>, Exfat) {
        let disk = disk(&self.image());
        let exfat = Exfat::open(disk.clone()).unwrap_or_else(|e| panic!("{e}"));
        (disk, exfat)
    }

    /// Changes the image's bytes.
    fn patch(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(self.image()).unwrap();
        change(&mut bytes);
        std::fs::write(self.image(), bytes).unwrap();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let mount = self.0.path().join("m");
        if Command::new("mountpoint").arg("-q").arg(&mount).status().is_ok_and(|s| s.success()) {
            let _ = Command::new("umount").arg(&mount).status();
        }
    }
}

/// Reduces a tree to what both can know: kind, size, modification time in seconds, digest.
fn comparable(walk: Walk) -> Walk {
    let retain = |text: String| -> String {
        let others = ["uid=", "gid=", "links=", "ctime="];
        let words = text.split(' ').filter(|word| !others.iter().any(|prefix| word.starts_with(prefix)));
        let words = words.map(|word| match (word.strip_prefix("mode="), word.strip_prefix("mtime=")) {
            (Some(mode), _) => format!("mode={}", &mode[..mode.len() - 4]),
            (_, Some(time)) => format!("mtime={}", time.split('.').next().unwrap()),
            _ => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    };
    walk.into_iter().map(|(name, text)| (name, retain(text))).collect()
}

/// Has no times after February 2100, which is not a leap year: there exfat-fuse is off by a day.
const FILL: &str = r#"
cd "$1/m"
mkdir -p many deep/a/b/c/d/e 'naïve ☃' empty-directory
for i in $(seq 1 $MANY); do echo $i > "many/$i"; done; rm many/1?1*
for i in $(seq 1 40); do head -c 9000 /dev/urandom >> frag1; head -c 70000 /dev/urandom >> frag2; echo $i > many/"a longer name, number $i"; done
head -c 3000000 /dev/urandom > data; : > empty; echo leaf > deep/a/b/c/d/e/leaf; printf tiny > tiny; truncate -s 2M zeros
echo 1 > 'naïve ☃/ein ß.txt'; echo 2 > 'Ключ.txt'; echo 3 > 'emoji 😀 beyond the first plane'; echo 4 > '15 letters here'
echo 5 > "$(printf 'n%.0s' $(seq 255))"; echo 6 > "$(printf '語%.0s' $(seq 80))"; echo 7 > .hidden; echo 8 > 'a+b, [c]; d=e & f'
touch -d '1980-01-01 00:00:02' tiny; touch -d '2099-12-31 23:59:57' empty; touch -d '2000-02-29 12:34:57' data
"#;

#[test]
fn reads_every_cluster_size_like_exfat_fuse() {
    for (mkfs, size, many) in [("-c 4K", "100M", 10_000), ("-c 512", "40M", 500), ("-c 256K", "600M", 300)] {
        let lab = Lab::new(&format!("{mkfs} -L 'Lab ü'"), size, &format!("MANY={many}; {FILL}"));
        let opened = lab.open();
        let facts = opened.1.facts();
        assert_eq!((facts.type_name, facts.label.as_str(), &facts.notes), ("exFAT", "Lab ü", &Vec::new()), "{mkfs}");
        let dump = lab.sh("dump.exfat image");
        let value = |what: &str| dump.lines().find_map(|line| line.strip_prefix(what)).unwrap().trim().to_owned();
        assert_eq!(format!("0x{}", facts.uuid.replace('-', "").to_lowercase()), value("Volume Serial:"), "{mkfs}");
        assert_eq!(facts.free_blocks.to_string(), value("Free Clusters:"), "{mkfs}");
        assert_eq!(facts.blocks.to_string(), value("Total Clusters:"), "{mkfs}");
        tree::assert_same(mkfs, &lab.theirs(), &comparable(ours(&opened)));
    }
}

#[test]
fn reads_large_fragmented_file() {
    let lab = Lab::new(
        "-c 4K",
        "150M",
        "cd $1/m; for i in $(seq 1 30); do head -c 1M /dev/urandom >> a; head -c 1M /dev/urandom >> b; echo > s$i; done
         rm a; head -c 60M /dev/urandom > big",
    );
    tree::assert_same("large", &lab.theirs(), &comparable(ours(&lab.open())));
}

/// Looks up a path name by name.
fn find(exfat: &Exfat, path: &str) -> Option<Node> {
    path.split('/').try_fold(exfat.root(), |directory, name| exfat.lookup(directory, name.as_bytes()).unwrap())
}

#[test]
fn lookup_ignores_case() {
    let fill =
        "cd $1/m; mkdir 'Straße ÜBER'; echo 1 > 'Straße ÜBER/éÿ Ωm.TXT'; echo 2 > x; touch -d '2001-02-03 04:05:07' x";
    let lab = Lab::new("", "20M", fill);
    let (_, exfat) = lab.open();
    let node = find(&exfat, "Straße ÜBER/éÿ Ωm.TXT").unwrap();
    assert_eq!(find(&exfat, "straße üBER/ÉŸ ωM.txt"), Some(node));
    assert_eq!(find(&exfat, "Strasse ÜBER"), None);
    let attributes = exfat.attributes(find(&exfat, "X").unwrap()).unwrap();
    assert_eq!((attributes.modified.seconds, attributes.mode), (981_173_107, 0o755));
}

/// The offset of the slots of a file in an image, found by its name.
fn set_of(bytes: &[u8], name: &str) -> usize {
    let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let is_name = |slot: &[u8]| slot[0] == 0xC1 && slot[2..].starts_with(&units);
    let found = bytes.chunks(32).position(is_name).unwrap();
    (found - 2) * 32
}

/// Writes the checksum of a set of slots.
fn sum(bytes: &mut [u8], set: usize) {
    let len = (usize::from(bytes[set + 1]) + 1) * 32;
    let sum = bytes[set..set + len].iter().enumerate().filter(|(i, _)| !matches!(i, 2 | 3));
    let sum = sum.fold(0_u16, |sum, (_, byte)| sum.rotate_right(1).wrapping_add((*byte).into()));
    bytes[set + 2..set + 4].copy_from_slice(&sum.to_le_bytes());
}

fn read_all(opened: &(Arc<dyn Disk>, Exfat), path: &str) -> Result<Vec<u8>, Error> {
    let node = find(&opened.1, path).unwrap();
    let attributes = opened.1.attributes(node)?;
    let mut all = vec![0xEE; usize::try_from(attributes.size).unwrap()];
    read::read(&opened.1, &*opened.0, node, &attributes, 0, &mut all)?;
    Ok(all)
}

#[test]
fn reads_unwritten_bytes_as_zeros() {
    let lab = Lab::new("-c 4K", "20M", "cd $1/m; head -c 50000 /dev/urandom > valid; cp valid ..");
    let mut bytes = std::fs::read(lab.0.path().join("valid")).unwrap();
    lab.patch(|image| {
        let set = set_of(image, "valid");
        image[set + 32 + 8..set + 32 + 16].copy_from_slice(&12_345_u64.to_le_bytes());
        sum(image, set);
    });
    bytes[12_345..].fill(0);
    assert!(read_all(&lab.open(), "valid").unwrap() == bytes);
    // Read-only, with a modification zone of +01:00.
    lab.patch(|image| {
        let set = set_of(image, "valid");
        image[set + 4] |= 1;
        image[set + 23] = 0x80;
        sum(image, set);
    });
    let (_, exfat) = lab.open();
    let utc = exfat.attributes(find(&exfat, "valid").unwrap()).unwrap();
    assert_eq!(utc.mode, 0o555);
    lab.patch(|image| {
        let set = set_of(image, "valid");
        image[set + 23] = 0x84;
        sum(image, set);
    });
    let (_, exfat) = lab.open();
    let east = exfat.attributes(find(&exfat, "valid").unwrap()).unwrap();
    assert_eq!(east.modified.seconds, utc.modified.seconds - 3600);
}

/// Lists the root directory, and returns the names and the result.
fn names(exfat: &Exfat) -> (Vec<String>, Result<(), Error>) {
    let mut names = Vec::new();
    let reported = exfat.read_directory(exfat.root(), 0, &mut |entry| {
        names.push(String::from_utf8(entry.name).unwrap());
        ControlFlow::Continue(())
    });
    (names, reported)
}

#[test]
fn skips_or_refuses_unknown_slots() {
    let lab = Lab::new("-L LABEL", "20M", "cd $1/m; echo 1 > one; echo 2 > two; echo 3 > three");
    let label = |image: &[u8]| image.chunks(32).position(|slot| slot.starts_with(b"\x83\x05L\0A\0B\0")).unwrap() * 32;
    let all = (vec!["one".to_owned(), "two".to_owned(), "three".to_owned()], ());
    lab.patch(|image| {
        let at = label(image);
        image[at] = 0xA3;
    });
    let (_, exfat) = lab.open();
    let (found, reported) = names(&exfat);
    assert_eq!((found, reported.unwrap()), all);
    assert_eq!(exfat.facts().label, "");
    lab.patch(|image| {
        let at = image.chunks(32).position(|slot| slot.starts_with(b"\xA3\x05L\0A\0B\0")).unwrap() * 32;
        image[at] = 0x86;
    });
    let (found, reported) = names(&lab.open().1);
    let reported = reported.unwrap_err();
    assert!(
        matches!(reported, Error::Incomplete(_)) && reported.to_string().contains("unknown type 0x86"),
        "{reported}"
    );
    assert_eq!(found, all.0);
    lab.patch(|image| {
        let at = image.chunks(32).position(|slot| slot.starts_with(b"\x86\x05L\0A\0B\0")).unwrap() * 32;
        image[at] = 0x03;
        let set = set_of(image, "two");
        image[set + 40] ^= 4;
    });
    // An invalid set is still listed, and other files can be read.
    let opened = lab.open();
    let (found, reported) = names(&opened.1);
    assert_eq!((found, reported.unwrap()), all);
    assert!(read_all(&opened, "two").unwrap_err().to_string().contains("checksum of a file's slots"));
    assert_eq!(
        (read_all(&opened, "ONE").unwrap(), read_all(&opened, "three").unwrap()),
        (b"1\n".to_vec(), b"3\n".to_vec())
    );
    // A set cut short by the next one, and a set without its start.
    for (at, value) in [(1, 9), (0, 0x05)] {
        lab.patch(|image| {
            let set = set_of(image, "two");
            image[set + at] = value;
        });
        let opened = lab.open();
        let (found, reported) = names(&opened.1);
        assert_eq!(found.contains(&"two".to_owned()), at == 1, "{found:?}");
        assert_eq!(reported.is_err(), at == 0, "{reported:?}");
        assert_eq!(read_all(&opened, "three").unwrap(), b"3\n");
        assert_eq!(opened.1.lookup(Node(1), b"none").is_err(), at == 0);
    }
}

#[test]
fn escapes_unusable_names() {
    let lab = Lab::new("", "20M", "cd $1/m; echo 1 > one; echo 2 > two");
    lab.patch(|image| {
        let set = set_of(image, "two");
        image[set + 66] = b'/';
        sum(image, set);
    });
    let opened = lab.open();
    assert_eq!(names(&opened.1).0, ["one", "\\x2Fwo"]);
    assert_eq!(read_all(&opened, "\\x2Fwo").unwrap(), b"2\n");
}

/// The checksum of the boot region in sectors of 512 bytes.
fn sum_boot(image: &mut [u8]) {
    let summed = image[..11 * 512].iter().enumerate().filter(|(i, _)| !matches!(i, 106 | 107 | 112));
    let sum = summed.fold(0_u32, |sum, (_, byte)| sum.rotate_right(1).wrapping_add((*byte).into()));
    for raw in image[11 * 512..12 * 512].chunks_mut(4) {
        raw.copy_from_slice(&sum.to_le_bytes());
    }
}

#[test]
fn uses_active_table_and_backup_boot_region() {
    let lab = Lab::new("-c 4K -L LABEL", "100M", &format!("MANY=300; {FILL}"));
    let theirs = lab.theirs();
    let notes = |lab: &Lab| lab.open().1.facts().notes.join("|");
    // A second table after the first, which is then overwritten.
    lab.patch(|image| {
        let word = |at: usize| usize::try_from(u32::from_le_bytes(image[at..at + 4].try_into().unwrap())).unwrap();
        let (at, len) = (word(80) * 512, word(84) * 512);
        assert!(at + 2 * len <= word(88) * 512, "no room for a second table");
        image.copy_within(at..at + len, at + len);
        image[at..at + len].fill(0);
        (image[106], image[110]) = (1, 2);
        sum_boot(image);
    });
    tree::assert_same("second table", &theirs, &comparable(ours(&lab.open())));
    assert_eq!(notes(&lab), "");
    lab.patch(|image| image[106] = 3);
    assert!(notes(&lab).contains("not cleanly unmounted"));
    lab.patch(|image| image[106] = 0);
    assert!(read_all(&lab.open(), "frag2").unwrap_err().to_string().contains("a free cluster"));
    // The backup still records a single table, which was overwritten.
    lab.patch(|image| image[800] ^= 1);
    assert!(notes(&lab).contains("the backup is used"));
    lab.patch(|image| image[12 * 512 + 800] ^= 1);
    assert!(Exfat::open(disk(&lab.image())).is_err_and(|e| e.to_string().contains("checksum of the boot region")));
}

#[test]
fn reports_short_volume() {
    let lab = Lab::new("-c 4K", "40M", "cd $1/m; head -c 20M /dev/urandom > big; echo 1 > small");
    std::fs::OpenOptions::new().write(true).open(lab.image()).unwrap().set_len(10 << 20).unwrap();
    let opened = lab.open();
    assert!(opened.1.facts().notes[0].contains("shorter than it says"), "{:?}", opened.1.facts().notes);
    assert!(matches!(read_all(&opened, "big"), Err(Error::Corrupt { .. })));
    let cut = |path: &Path, len| std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
    cut(&lab.image(), 1 << 20);
    assert!(Exfat::open(disk(&lab.image())).is_err());
}

#[test]
fn survives_corruption() {
    for (mkfs, size) in [("-c 4K", "30M"), ("-c 512", "20M")] {
        let lab = Lab::new(mkfs, size, &format!("MANY=500; {FILL}"));
        corrupt::survive(mkfs, disk(&lab.image()), Exfat::open);
    }
}
