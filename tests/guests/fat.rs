//! Compares FAT volumes with other implementations: created by mkfs.fat, filled by mtools and read by 7-Zip, or created
//! by QEMU from a directory.
//!
//! Needs dosfstools, mtools, 7zip and qemu-utils; fails loudly without.

use super::corrupt;
use super::ours::ours;
use crate::against::disks::disk;
use crate::against::tree;
use crate::against::tree::{Walk, kernel};
use crate::disk::{Disk, Slice};
use crate::guestfs::fat::Fat;
use crate::guestfs::{FileExtent, GuestFs, Node, read};
use crate::support::sh;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

fn open(image: &Path) -> (Arc<dyn Disk>, Fat) {
    let disk = disk(image);
    let fat = Fat::open(disk.clone()).unwrap_or_else(|e| panic!("{e}"));
    (disk, fat)
}

/// Reduces a tree to what both can know: kind, size, modification time in steps of two seconds, digest.
fn comparable(walk: Walk) -> Walk {
    let retain = |text: String| -> String {
        let words =
            text.split(' ').filter(|word| !["uid=", "gid=", "links=", "ctime="].iter().any(|p| word.starts_with(p)));
        let words = words.map(|word| match (word.strip_prefix("mode="), word.strip_prefix("mtime=")) {
            (Some(mode), _) => format!("mode={}", &mode[..mode.len() - 4]),
            (_, Some(time)) => {
                let seconds: i64 = time.split('.').next().unwrap().parse().unwrap();
                format!("mtime={}", seconds - seconds % 2)
            }
            _ => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    };
    walk.into_iter().map(|(name, text)| (name, retain(text))).collect()
}

/// Creates a directory `src` with all kinds of names, and `$MANY` files in `many`.
const SOURCE: &str = r#"
cd "$1"; mkdir src; cd src
mkdir -p many deep/a/b/c/d/e 'naïve ☃' 'Directory With A Long Name'
for i in $(seq 1 $MANY); do echo $i > "many/$i with a name.txt"; done
head -c 300000 /dev/urandom > data.bin; : > empty; echo leaf > deep/a/b/c/d/e/leaf; printf 'tiny' > TINY
echo 1 > lower.txt; echo 2 > UPPER.TXT; echo 3 > Mixed.Txt; echo 4 > lower.TXT2; echo 5 > noext; echo 6 > .hidden
echo 7 > 'naïve ☃/ein ß.txt'; echo 8 > 'Ключ.txt'; echo 9 > '13 characters'; echo a > '26 characters of this name'
echo b > "$(printf 'n%.0s' $(seq 180))"; echo c > 'a+b, [c]; d=e & f.tar.gz'; echo d > '日本語のとても長い名前.テキスト'
touch -d '1980-01-01 00:00:02' TINY; touch -d '2107-12-31 23:59:58' noext; touch -d '2000-02-29 12:34:56' UPPER.TXT
"#;

/// Creates `image` with mkfs.fat and copies `src` into it; some files are fragmented.
const FILL: &str = r#"
cd "$1"; truncate -s $SIZE image; mkfs.fat $MKFS -n 'LAB 1' -i 1234ABCD image >/dev/null
mcopy -i image -s -m -Q src/* ::/
head -c 60000 /dev/urandom > chunk; for i in $(seq 1 12); do cp chunk p$i; done
mcopy -i image p* ::/; mdel -i image ::/p1 ::/p3 ::/p5 ::/p7 ::/p9
# The next cluster to allocate, as recorded in FSInfo, so that holes are filled.
[[ $MKFS != *32* ]] || printf '\2\0\0\0' | dd of=image bs=1 seek=$((SECTOR + 492)) conv=notrunc status=none
head -c 400000 /dev/urandom > frag; mcopy -i image frag ::/
mdel -i image ::/p2 '::/many/1* with a name.txt'
fsck.fat -n image >/dev/null; mkdir theirs; cd theirs; 7zz x ../image >/dev/null
"#;

fn fill(directory: &Path, mkfs: &str, size: &str, many: u32) {
    sh(directory, &format!("MANY={many}; {SOURCE}"));
    let sector = if mkfs.contains("-S 2048") { 2048 } else { 512 };
    sh(directory, &format!("MKFS='{mkfs}'; SIZE={size}; SECTOR={sector}; {FILL}"));
}

#[test]
fn reads_every_width_and_cluster_size_like_7_zip() {
    let kinds = [
        ("FAT12", "-F 12 -f 2", "2880K", 100),
        ("FAT12", "-F 12 -f 1 -s 16 -r 1024 -S 1024", "40M", 300),
        ("FAT16", "-F 16 -s 2", "60M", 300),
        ("FAT16", "-F 16 -s 64 -S 4096 -R 7", "2G", 100),
        ("FAT32", "-F 32 -s 1 -f 1", "60M", 300),
        ("FAT32", "-F 32 -s 8 -S 2048 --mbr=y", "1100M", 300),
        ("FAT32", "-F 32 -s 128", "5G", 100),
    ];
    for (type_name, mkfs, size, many) in kinds {
        let directory = tempfile::tempdir().unwrap();
        fill(directory.path(), mkfs, size, many);
        let opened = open(&directory.path().join("image"));
        let facts = opened.1.facts();
        assert_eq!(
            (facts.type_name, facts.label.as_str(), facts.uuid.as_str()),
            (type_name, "LAB 1", "1234-ABCD"),
            "{mkfs}"
        );
        assert_eq!(facts.notes, [""; 0], "{mkfs}");
        // mtools counts free clusters.
        let free = sh(directory.path(), "cd $1; mdir -i image ::/ | tail -2 | tr -dc 0-9");
        assert_eq!((facts.free_blocks * u64::from(facts.block_size)).to_string(), free, "{mkfs}");
        tree::assert_same(mkfs, &comparable(kernel(&directory.path().join("theirs"))), &comparable(ours(&opened)));
    }
}

#[test]
fn reads_large_directories_and_files_quickly() {
    let directory = tempfile::tempdir().unwrap();
    sh(directory.path(), &format!("MANY=10000; {SOURCE}"));
    sh(
        directory.path(),
        "cd $1; truncate -s 300M image; mkfs.fat -F 32 -s 1 image >/dev/null; mcopy -i image -s -m -Q src/* ::/
         head -c 60000000 /dev/urandom > big; mcopy -i image big ::/; mkdir theirs; cd theirs; 7zz x ../image >/dev/null",
    );
    let opened = open(&directory.path().join("image"));
    let start = std::time::Instant::now();
    let walk = ours(&opened);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    tree::assert_same("large", &comparable(kernel(&directory.path().join("theirs"))), &comparable(walk));
}

#[test]
fn reads_disk_created_by_qemu() {
    let directory = tempfile::tempdir().unwrap();
    sh(directory.path(), &format!("MANY=300; {SOURCE}"));
    // QEMU writes local times, and none before 1980 or after 2038.
    sh(
        directory.path(),
        r#"cd $1; echo e > 'src/emoji 😀 beyond the first plane'; touch -d '2001-02-03 04:05:06' src/TINY src/noext
           qemu-img convert -O raw 'json:{"driver":"vvfat","dir":"src","fat-type":16}' image"#,
    );
    // QEMU creates a disk; the file system is in its first partition.
    let disk = disk(&directory.path().join("image"));
    let volume: Arc<dyn Disk> = Arc::new(Slice::new(disk, 63 * 512, u64::MAX));
    let walk = ours(&(volume.clone(), Fat::open(volume).unwrap()));
    tree::assert_same("vvfat", &comparable(kernel(&directory.path().join("src"))), &comparable(walk));
}

/// Looks up a path name by name.
fn find(fat: &Fat, path: &str) -> Option<Node> {
    path.split('/').try_fold(fat.root(), |directory, name| fat.lookup(directory, name.as_bytes()).unwrap())
}

#[test]
fn lookup_ignores_case_and_accepts_short_names() {
    let directory = tempfile::tempdir().unwrap();
    sh(
        directory.path(),
        r#"cd $1; truncate -s 3M image; mkfs.fat -F 12 image >/dev/null; mkdir 'A Long Directory'
           echo 1 > 'A Long Directory/Über Näme.txt'; echo 2 > plain; echo 3 > 'ÜBÉR.TXT'; echo 4 > readonly
           mcopy -i image -s 'A Long Directory' plain readonly ::/; mattrib -i image +r ::/readonly
           printf 'default_codepage=437\nmtools_no_vfat=1\n' > rc; MTOOLSRC=rc mcopy -i image 'ÜBÉR.TXT' ::/"#,
    );
    let image = directory.path().join("image");
    let (_, fat) = open(&image);
    assert_eq!(root_names(&fat), ["A Long Directory", "plain", "readonly", "ÜBÉR.TXT"]);
    let node = find(&fat, "A Long Directory/Über Näme.txt").unwrap();
    assert_eq!(find(&fat, "a long DIRECTORY/üBER nÄME.TXT"), Some(node));
    assert_eq!(find(&fat, "ALONGD~1/übernä~1.TXT"), Some(node));
    assert_eq!(find(&fat, "A Long Directory/Uber Name.txt"), None);
    assert_eq!(fat.attributes(find(&fat, "readonly").unwrap()).unwrap().mode, 0o555);
    assert_eq!(fat.attributes(find(&fat, "PLAIN").unwrap()).unwrap().mode, 0o755);
    assert_eq!(fat.attributes(find(&fat, "übér.txt").unwrap()).unwrap().size, 2);
    // A long name with the checksum of another short name belongs to a deleted file.
    let slots = std::fs::read(&image).unwrap();
    let short = slots.chunks(32).position(|slot| slot.starts_with(b"ALONGD~1   ")).unwrap() as u64;
    patch(&image, (short - 1) * 32 + 13, &[0x5A]);
    let (_, fat) = open(&image);
    assert_eq!(root_names(&fat), ["ALONGD~1", "plain", "readonly", "ÜBÉR.TXT"]);
    assert_eq!(find(&fat, "A Long Directory"), None);
}

fn root_names(fat: &Fat) -> Vec<String> {
    let mut names = Vec::new();
    fat.read_directory(fat.root(), 0, &mut |entry| {
        names.push(String::from_utf8(entry.name).unwrap());
        ControlFlow::Continue(())
    })
    .unwrap();
    names
}

/// Changes some bytes of an image.
fn patch(image: &Path, at: u64, bytes: &[u8]) {
    std::fs::OpenOptions::new().write(true).open(image).unwrap().write_all_at(bytes, at).unwrap();
}

/// The clusters of a file as reported by mtools.
fn clusters(directory: &Path, path: &str) -> Vec<u64> {
    let text = sh(directory, &format!("cd $1; mshowfat -i image '::/{path}'"));
    let mut clusters = Vec::new();
    for range in text.split(['<', '>']).skip(1).step_by(2) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        clusters.extend(first.parse::<u64>().unwrap()..=last.parse().unwrap());
    }
    clusters
}

/// All bytes of a file, or those before an error and the error.
fn read_all(opened: &(Arc<dyn Disk>, Fat), path: &str) -> (Vec<u8>, Option<String>) {
    let (disk, fat) = opened;
    let node = find(fat, path).unwrap();
    let attributes = fat.attributes(node).unwrap();
    let mut all = Vec::new();
    while (all.len() as u64) < attributes.size {
        let mut buf = [0; 512];
        match read::read(fat, &**disk, node, &attributes, all.len() as u64, &mut buf) {
            Ok(count) => all.extend(&buf[..count]),
            Err(e) => return (all, Some(e.to_string())),
        }
    }
    (all, None)
}

/// Creates FAT32 with one active table, clusters of 512 bytes, and a fragmented file `frag`.
fn small(directory: &Path) -> (u64, Vec<u64>, Vec<u8>) {
    fill(directory, "-F 32 -s 1 -f 2", "60M", 100);
    let mut head = [0; 512];
    std::fs::File::open(directory.join("image")).unwrap().read_exact_at(&mut head, 0).unwrap();
    let table = u64::from(u16::from_le_bytes([head[14], head[15]])) * 512;
    (table, clusters(directory, "frag"), std::fs::read(directory.join("frag")).unwrap())
}

#[test]
fn maps_files_to_the_clusters_that_mtools_reports() {
    let directory = tempfile::tempdir().unwrap();
    let (_, clusters, _) = small(directory.path());
    let (_, fat) = open(&directory.path().join("image"));
    let node = find(&fat, "frag").unwrap();
    let (mut offset, mut offsets, mut runs) = (0, Vec::new(), 0);
    while offset < 400_000 {
        let run = fat.extent(node, offset, 400_000 - offset).unwrap();
        let FileExtent::Stored(at) = run.extent else { panic!("{run:?}") };
        offsets.extend((0..run.len.div_ceil(512)).map(|i| at + i * 512));
        offset += run.len;
        runs += 1;
    }
    let first = offsets[0] - clusters[0] * 512;
    assert_eq!(offsets, clusters.iter().map(|cluster| first + cluster * 512).collect::<Vec<_>>());
    assert!((5..50).contains(&runs), "{runs}");
}

#[test]
fn reads_files_and_directories_up_to_broken_link() {
    let directory = tempfile::tempdir().unwrap();
    let (table, clusters, bytes) = small(directory.path());
    let image = directory.path().join("image");
    let entry_at = |index: usize| table + clusters[index] * 4;
    let second = u32::try_from(clusters[2]).unwrap();
    let cases = [
        (0x0FFF_FFF7, 100, 101, "a bad cluster"),
        (0, 300, 301, "0, a free cluster"),
        (0x0FFF_FFFF, 500, 501, "its end after 501"),
        (0x0ABC_DEF0, 0, 1, "found 0xabcdef0"),
        (1, 50, 51, "found 0x1"),
        (0x0FFF_FFF6, 779, 780, "found 0xffffff6"),
        (second, 700, 701, "a loop"),
        (second, 10, 11, "a loop"),
    ];
    for (value, index, readable, message) in cases {
        let before = &mut [0; 4];
        std::fs::File::open(&image).unwrap().read_exact_at(before, entry_at(index)).unwrap();
        patch(&image, entry_at(index), &u32::to_le_bytes(value));
        let (read, error) = read_all(&open(&image), "frag");
        assert!(read == bytes[..readable * 512], "{value:#x}: {} bytes", read.len());
        let error = error.unwrap();
        assert!(
            error.contains(message) && error.contains(&format!("offset {} ", entry_at(index))),
            "{value:#x}: {error}"
        );
        patch(&image, entry_at(index), before);
    }
    assert!(read_all(&open(&image), "frag") == (bytes, None));
    // The chain of a directory.
    let many = self::clusters(directory.path(), "many");
    let third = table + many[2] * 4;
    for (value, message) in [
        (0, "0, a free cluster"),
        (u32::try_from(many[1]).unwrap(), "a loop"),
        (0x0FFF_FFF7, "a bad cluster"),
        (0x0FFF_FFF0, "found 0xffffff0"),
    ] {
        patch(&image, third, &u32::to_le_bytes(value));
        let (_, fat) = open(&image);
        let mut names = 0;
        let reported = fat.read_directory(find(&fat, "many").unwrap(), 0, &mut |_| {
            names += 1;
            ControlFlow::Continue(())
        });
        let error = reported.unwrap_err().to_string();
        assert!(names > 5 && error.contains(message) && error.contains(&format!("offset {third} ")), "{names} {error}");
    }
}

/// Linux leaves such a chain when more space was allocated than written.
#[test]
fn accepts_chain_longer_than_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let (_, _, bytes) = small(directory.path());
    let image = directory.path().join("image");
    let slot = std::fs::read(&image).unwrap().chunks(32).position(|slot| slot.starts_with(b"FRAG       ")).unwrap();
    patch(&image, slot as u64 * 32 + 28, &u32::to_le_bytes(100_000));
    assert!(read_all(&open(&image), "frag") == (bytes[..100_000].to_vec(), None));
    // mtools accepts it as well; 7-Zip does not read the file.
    sh(directory.path(), "cd $1; mtype -i image ::/frag | cmp - <(head -c 100000 frag)");
}

#[test]
fn reads_active_second_table() {
    let directory = tempfile::tempdir().unwrap();
    let (table, _, bytes) = small(directory.path());
    let image = directory.path().join("image");
    patch(&image, 40, &[0x81, 0]);
    patch(&image, table, &[0xEE; 4096]);
    assert!(read_all(&open(&image), "frag") == (bytes, None));
    tree::assert_same(
        "second",
        &comparable(kernel(&directory.path().join("theirs"))),
        &comparable(ours(&open(&image))),
    );
    patch(&image, 40, &[0x82, 0]);
    assert!(Fat::open(disk(&image)).is_err_and(|e| e.to_string().contains("index of the active table")));
}

#[test]
fn reports_short_and_dirty_volumes() {
    let directory = tempfile::tempdir().unwrap();
    let (table, _, bytes) = small(directory.path());
    let image = directory.path().join("image");
    patch(&image, 65, &[1]);
    let notes = open(&image).1.facts().notes.clone();
    assert!(notes.len() == 1 && notes[0].contains("not cleanly unmounted"), "{notes:?}");
    patch(&image, 65, &[0]);
    patch(&image, table + 7, &[0x03]);
    let notes = open(&image).1.facts().notes.clone();
    assert!(notes.len() == 2 && notes[1].contains("errors of its disk"), "{notes:?}");
    patch(&image, table + 7, &[0x0F]);
    std::fs::OpenOptions::new().write(true).open(&image).unwrap().set_len(2_000_000).unwrap();
    let opened = open(&image);
    assert!(opened.1.facts().notes[0].contains("60914560 bytes shorter"), "{:?}", opened.1.facts().notes);
    let (read, error) = read_all(&opened, "frag");
    assert!(read.len() < bytes.len() && bytes.starts_with(&read) && error.unwrap().contains("cut short"));
    std::fs::OpenOptions::new().write(true).open(&image).unwrap().set_len(200_000).unwrap();
    assert!(Fat::open(disk(&image)).is_err());
}

#[test]
fn survives_corruption() {
    for (mkfs, size) in [("-F 12 -s 4", "5M"), ("-F 16 -s 2", "20M"), ("-F 32 -s 1", "40M")] {
        let directory = tempfile::tempdir().unwrap();
        fill(directory.path(), mkfs, size, 500);
        corrupt::survive(mkfs, disk(&directory.path().join("image")), Fat::open);
    }
}
