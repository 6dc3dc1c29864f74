//! FAT as others write and read it: made by mkfs.fat and filled by mtools, read by 7-Zip; made by QEMU from a directory.
//!
//! Needs dosfstools, mtools, 7zip and qemu-utils; fails loudly without.

use crate::corrupt;
use crate::support::{disk, sh};
use crate::tree;
use crate::tree::{Walk, kernel, ours};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use vboximg_mount::disk::{Disk, Slice};
use vboximg_mount::guestfs::fat::Fat;
use vboximg_mount::guestfs::{FileExtent, GuestFs, Node, read};

fn open(image: &Path) -> (Arc<dyn Disk>, Fat) {
    let disk = disk(image);
    let fat = Fat::open(disk.clone()).unwrap_or_else(|e| panic!("{e}"));
    (disk, fat)
}

/// Leaves what both can know: kind, size, time of the content in steps of two seconds, digest.
fn comparable(walk: Walk) -> Walk {
    let keep = |text: String| -> String {
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
    walk.into_iter().map(|(name, text)| (name, keep(text))).collect()
}

/// A directory `src` with names of all sorts, and in `many` so many files as `$2` says.
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

/// Makes `image` by mkfs.fat and copies `src` into it, with files that lie scattered.
const FILL: &str = r#"
cd "$1"; truncate -s $SIZE image; mkfs.fat $MKFS -n 'LAB 1' -i 1234ABCD image >/dev/null
mcopy -i image -s -m -Q src/* ::/
head -c 60000 /dev/urandom > piece; for i in $(seq 1 12); do cp piece p$i; done
mcopy -i image p* ::/; mdel -i image ::/p1 ::/p3 ::/p5 ::/p7 ::/p9
# The next cluster to use, as FSInfo has it, so that holes are filled.
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
fn every_width_and_size_of_clusters_reads_as_7_zip_shows_it() {
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
        // mtools counts what is free.
        let free = sh(directory.path(), "cd $1; mdir -i image ::/ | tail -2 | tr -dc 0-9");
        assert_eq!((facts.free_blocks * u64::from(facts.block_size)).to_string(), free, "{mkfs}");
        tree::assert_same(mkfs, &comparable(kernel(&directory.path().join("theirs"))), &comparable(ours(&opened)));
    }
}

#[test]
fn large_directories_and_files_are_quick() {
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
fn a_disk_that_qemu_makes_of_a_directory_reads_as_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    sh(directory.path(), &format!("MANY=300; {SOURCE}"));
    // QEMU writes local times; those before 1980 or after 2038 it cannot.
    sh(
        directory.path(),
        r#"cd $1; echo e > 'src/emoji 😀 beyond the first plane'; touch -d '2001-02-03 04:05:06' src/TINY src/noext
           qemu-img convert -O raw 'json:{"driver":"vvfat","dir":"src","fat-type":16}' image"#,
    );
    // The first partition of a disk.
    let disk = disk(&directory.path().join("image"));
    let volume: Arc<dyn Disk> = Arc::new(Slice::new(disk, 63 * 512, u64::MAX));
    let walk = ours(&(volume.clone(), Fat::open(volume).unwrap()));
    tree::assert_same("vvfat", &comparable(kernel(&directory.path().join("src"))), &comparable(walk));
}

/// The node of a path, looked up name by name.
fn find(fat: &Fat, path: &str) -> Option<Node> {
    path.split('/').try_fold(fat.root(), |directory, name| fat.lookup(directory, name.as_bytes()).unwrap())
}

#[test]
fn names_are_found_in_any_case_and_by_their_short_form() {
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
    assert_eq!(find(&fat, "a long FOLDER/üBER nÄME.TXT"), Some(node));
    assert_eq!(find(&fat, "ALONGF~1/übernä~1.TXT"), Some(node));
    assert_eq!(find(&fat, "A Long Directory/Uber Name.txt"), None);
    assert_eq!(fat.attributes(find(&fat, "readonly").unwrap()).unwrap().mode, 0o555);
    assert_eq!(fat.attributes(find(&fat, "PLAIN").unwrap()).unwrap().mode, 0o755);
    assert_eq!(fat.attributes(find(&fat, "übér.txt").unwrap()).unwrap().size, 2);
    // A long name with the checksum of another short one belongs to a file that is gone.
    let slots = std::fs::read(&image).unwrap();
    let short = slots.chunks(32).position(|slot| slot.starts_with(b"ALONGF~1   ")).unwrap() as u64;
    patch(&image, (short - 1) * 32 + 13, &[0x5A]);
    let (_, fat) = open(&image);
    assert_eq!(root_names(&fat), ["ALONGF~1", "plain", "readonly", "ÜBÉR.TXT"]);
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

/// The clusters of a file as mtools tells them.
fn clusters(directory: &Path, path: &str) -> Vec<u64> {
    let text = sh(directory, &format!("cd $1; mshowfat -i image '::/{path}'"));
    let mut clusters = Vec::new();
    for part in text.split(['<', '>']).skip(1).step_by(2) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        clusters.extend(first.parse::<u64>().unwrap()..=last.parse().unwrap());
    }
    clusters
}

/// All bytes of a file, or as many as there are before an error, and that.
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

/// FAT32 with one table in use, clusters of 512 bytes, and a file `frag` that is scattered.
fn small(directory: &Path) -> (u64, Vec<u64>, Vec<u8>) {
    fill(directory, "-F 32 -s 1 -f 2", "60M", 100);
    let mut head = [0; 512];
    std::fs::File::open(directory.join("image")).unwrap().read_exact_at(&mut head, 0).unwrap();
    let table = u64::from(u16::from_le_bytes([head[14], head[15]])) * 512;
    (table, clusters(directory, "frag"), std::fs::read(directory.join("frag")).unwrap())
}

#[test]
fn the_runs_of_a_file_are_where_mtools_says() {
    let directory = tempfile::tempdir().unwrap();
    let (_, clusters, _) = small(directory.path());
    let (_, fat) = open(&directory.path().join("image"));
    let node = find(&fat, "frag").unwrap();
    let (mut offset, mut places, mut runs) = (0, Vec::new(), 0);
    while offset < 400_000 {
        let run = fat.extent(node, offset, 400_000 - offset).unwrap();
        let FileExtent::Stored(at) = run.extent else { panic!("{run:?}") };
        places.extend((0..run.len.div_ceil(512)).map(|i| at + i * 512));
        offset += run.len;
        runs += 1;
    }
    let first = places[0] - clusters[0] * 512;
    assert_eq!(places, clusters.iter().map(|cluster| first + cluster * 512).collect::<Vec<_>>());
    assert!((5..50).contains(&runs), "{runs}");
}

#[test]
fn broken_chains_are_errors_after_what_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let (table, clusters, bytes) = small(directory.path());
    let image = directory.path().join("image");
    let place = |index: usize| table + clusters[index] * 4;
    let second = u32::try_from(clusters[2]).unwrap();
    let cases = [
        (0x0FFF_FFF7, 100, 101, "the mark of a bad cluster"),
        (0, 300, 301, "0, a free cluster"),
        (0x0FFF_FFFF, 500, 501, "its end after 501"),
        (0x0ABC_DEF0, 0, 1, "found 0xabcdef0"),
        (1, 50, 51, "found 0x1"),
        (0x0FFF_FFF6, 779, 780, "found 0xffffff6"),
        (second, 700, 701, "a loop"),
        (second, 10, 11, "a loop"),
    ];
    for (value, index, sound, message) in cases {
        let before = &mut [0; 4];
        std::fs::File::open(&image).unwrap().read_exact_at(before, place(index)).unwrap();
        patch(&image, place(index), &u32::to_le_bytes(value));
        let (read, error) = read_all(&open(&image), "frag");
        assert!(read == bytes[..sound * 512], "{value:#x}: {} bytes", read.len());
        let error = error.unwrap();
        assert!(error.contains(message) && error.contains(&format!("offset {} ", place(index))), "{value:#x}: {error}");
        patch(&image, place(index), before);
    }
    assert!(read_all(&open(&image), "frag") == (bytes, None));
    // A directory's chain.
    let many = self::clusters(directory.path(), "many");
    let third = table + many[2] * 4;
    for (value, message) in [
        (0, "0, a free cluster"),
        (u32::try_from(many[1]).unwrap(), "a loop"),
        (0x0FFF_FFF7, "the mark of a bad cluster"),
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

/// As Linux leaves it when space was allocated for more than was written.
#[test]
fn a_chain_that_goes_on_after_the_end_of_its_file_is_no_corrupt() {
    let directory = tempfile::tempdir().unwrap();
    let (_, _, bytes) = small(directory.path());
    let image = directory.path().join("image");
    let slot = std::fs::read(&image).unwrap().chunks(32).position(|slot| slot.starts_with(b"FRAG       ")).unwrap();
    patch(&image, slot as u64 * 32 + 28, &u32::to_le_bytes(100_000));
    assert!(read_all(&open(&image), "frag") == (bytes[..100_000].to_vec(), None));
    // So does mtools; 7-Zip gives nothing of it.
    sh(directory.path(), "cd $1; mtype -i image ::/frag | cmp - <(head -c 100000 frag)");
}

#[test]
fn the_second_table_is_read_where_the_first_is_out_of_use() {
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
    assert!(Fat::open(disk(&image)).is_err_and(|e| e.to_string().contains("number of the table in use")));
}

#[test]
fn what_a_short_volume_lacks_is_an_error_and_a_use_in_progress_a_note() {
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
fn corrupt_is_an_error_or_data_never_a_panic_or_a_hang() {
    for (mkfs, size) in [("-F 12 -s 4", "5M"), ("-F 16 -s 2", "20M"), ("-F 32 -s 1", "40M")] {
        let directory = tempfile::tempdir().unwrap();
        fill(directory.path(), mkfs, size, 500);
        corrupt::survive(mkfs, disk(&directory.path().join("image")), Fat::open);
    }
}
