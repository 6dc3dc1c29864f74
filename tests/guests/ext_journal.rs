//! Journals of ext4 that are whole, cut short or corrupt: what the kernel replays is what we show, and what the kernel
//! refuses to mount we refuse too, or show without and report that.
//!
//! Needs root (loop devices), e2fsprogs and python3; fails loudly without.

use super::corrupt;
use super::ours::ours;
use crate::against::disks::disk;
use crate::against::mounted::Mounted;
use crate::against::tree;
use crate::against::tree::{Walk, kernel};
use crate::guestfs::GuestFs;
use crate::guestfs::ext::Ext;
use crate::support::{LOOP, sh};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// A journal whose blocks are one after the other on the volume.
struct Journal {
    block_size: usize,
    /// In bytes of the image.
    start: usize,
    blocks: usize,
}

/// A block of the journal that is no data: where it is in the image, its `h_blocktype` and its `h_sequence`.
#[derive(Debug, Clone, Copy)]
struct Block {
    at: usize,
    kind: u32,
    sequence: u32,
}

fn u32_be(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(*bytes[at..].first_chunk().unwrap())
}

impl Journal {
    fn of(directory: &Path, image: &[u8], name: &str) -> Self {
        let block_size = 1024 << u32::from_le_bytes(*image[1024 + 24..].first_chunk().unwrap());
        let bmap = |number: usize| -> usize {
            let request = format!("bmap <8> {number}");
            let done = Command::new("debugfs").args(["-R", &request, name]).current_dir(directory).output().unwrap();
            String::from_utf8_lossy(&done.stdout).trim().parse().unwrap_or_else(|_| panic!("{done:?}"))
        };
        let start = bmap(0);
        let blocks = usize::try_from(u32_be(image, start * block_size + 16)).unwrap();
        assert_eq!(bmap(blocks - 1), start + blocks - 1, "the journal is fragmented");
        Self { block_size, start: start * block_size, blocks }
    }

    /// The blocks that are no data and belong to transactions of the journal.
    fn headers(&self, image: &[u8]) -> Vec<Block> {
        let first = u32_be(image, self.start + 24);
        (1..self.blocks)
            .map(|i| self.start + i * self.block_size)
            .filter(|at| image[*at..].starts_with(&[0xC0, 0x3B, 0x39, 0x98]))
            .map(|at| Block { at, kind: u32_be(image, at + 4), sequence: u32_be(image, at + 8) })
            .filter(|block| block.sequence >= first)
            .collect()
    }
}

/// What the kernel shows of an image; none when it does not mount it.
fn replayed(directory: &Path, image: &[u8]) -> Option<Walk> {
    std::fs::write(directory.join("copy"), image).unwrap();
    let mounted = Command::new("bash")
        .args(["-c", &format!("{LOOP}mount -o loop copy m")])
        .current_dir(directory)
        .output()
        .unwrap();
    if !mounted.status.success() {
        return None;
    }
    sh(directory, r#"cd "$1"; mount -o remount,ro m"#);
    let walk = kernel(&directory.join("m"));
    // Something that looks at all mounts may hold it for a moment.
    sh(
        directory,
        r#"for i in 1 2 3 4 5 6 7 8 9; do umount "$1/m" 2>/dev/null && exit; sleep 0.2; done; umount "$1/m""#,
    );
    Some(walk)
}

/// What we show of an image, and our note on it.
fn shown(directory: &Path, image: &[u8]) -> Result<(Walk, String), String> {
    std::fs::write(directory.join("copy"), image).unwrap();
    let disk = disk(&directory.join("copy"));
    let ext = Ext::open(disk.clone()).map_err(|e| e.to_string())?;
    let note = ext.facts().notes.join("; ");
    Ok((ours(&(disk, ext)), note))
}

/// Transactions with everything that a journal can have, and the image while they are only there.
const TRANSACTIONS: &str = r#"
cd "$1/m"; mkdir keep many; for i in $(seq 1 60); do echo $i > many/$i; done; for i in $(seq 1 30); do echo $i > keep/$i; done; sync -f .
for turn in 1 2 3 4; do
  echo $turn > keep/turn; mkdir turn-$turn; for i in $(seq 1 20); do echo $turn $i > turn-$turn/$i; done; rm many/$turn?
  mv keep/$((turn + 10)) keep/moved-$turn; setfattr -n user.turn -v $turn keep/1; sync -f .
done
rm -r turn-1; sync -f .; cp ../image ../dirty
"#;

/// Damages blocks of every kind, in the middle of the journal and at its end.
fn corrupt_each(what: &str, directory: &Path, image: &[u8]) {
    let journal = Journal::of(directory, image, "dirty");
    let headers = journal.headers(image);
    let last = headers.iter().filter(|block| block.kind == 2).map(|block| block.sequence).max().unwrap();
    let mut offsets = vec![("superblock of the journal", journal.start + 0x44)];
    for sequence in [last, last - 1] {
        let of_kind =
            |kind| headers.iter().find(move |block| block.sequence == sequence && block.kind == kind).map(|b| b.at);
        let (descriptor, commit) = (of_kind(1).unwrap(), of_kind(2).unwrap());
        offsets.push(("descriptor", descriptor + 18));
        offsets.push(("data", descriptor + journal.block_size + 77));
        offsets.push(("commit block", commit + 18));
        offsets.push(("end of a commit block", commit + journal.block_size - 1));
        offsets.extend(of_kind(5).map(|at| ("revoke block", at + 18)));
    }
    let (mut refused, mut same) = (0, 0);
    for (name, at) in offsets {
        let what = format!("{what}: {name} at {at:#x}");
        let mut corrupt = image.to_vec();
        corrupt[at] ^= 0x10;
        match (replayed(directory, &corrupt), shown(directory, &corrupt)) {
            (Some(theirs), Ok((ours, _))) => {
                tree::assert_same(&what, &theirs, &ours);
                same += 1;
            }
            (None, Err(e)) => {
                assert!(e.contains("checksum"), "{what}: {e}");
                refused += 1;
            }
            (None, Ok((_, note))) => panic!("{what}: the kernel refuses it, we report {note:?}"),
            (Some(_), Err(e)) => panic!("{what}: the kernel mounts it, we report {e}"),
        }
    }
    println!("{what}: {refused} refused, {same} the same");
    assert!(refused > 0, "{what}: nothing was refused");
}

#[test]
fn ends_the_replay_at_a_bad_checksum_as_the_kernel() {
    for (mkfs, options) in [
        ("mkfs.ext4 -q -F -b 1024", "rw"),
        ("mkfs.ext4 -q -F", "journal_async_commit,data=writeback"),
        ("mkfs.ext4 -q -F -b 1024 -O ^metadata_csum", "journal_checksum"),
        ("mkfs.ext4 -q -F -b 1024 -O ^metadata_csum,^64bit", "journal_async_commit,data=writeback"),
    ] {
        let mounted = Mounted::new(mkfs, "40M");
        let directory = mounted.directory.path();
        sh(directory, &format!(r#"cd "$1"; umount m; mount -o loop,{options} image m"#));
        sh(directory, TRANSACTIONS);
        sh(directory, r#"umount "$1/m""#);
        let image = std::fs::read(mounted.path("dirty")).unwrap();
        let what = format!("{mkfs} {options}");
        let (walk, note) = shown(directory, &image).unwrap();
        assert!(walk.contains_key("turn-4/7") && note.contains("transactions of its journal are replayed"), "{note}");
        tree::assert_same(&what, &replayed(directory, &image).unwrap(), &walk);
        corrupt_each(&what, directory, &image);
    }
}

/// Files that are there before, in a transaction of their own, as the first one is never noted in the short form.
const BEFORE: &str = r#"
cd "$1/m"; mkdir a a/b c; for i in $(seq 1 30); do head -c $((i * 1500)) /dev/urandom > a/f$i; echo $i > c/$i; done
setfattr -n user.kept -v value a/f3; ln a/f5 c/hard; truncate -s 5M a/b/sparse; echo end >> a/b/sparse; sync -f .; echo x > a/x; sync -f .
"#;

/// Without what the kernel sets while it replays: the times of directories, and when an inode got or lost a name.
fn comparable(walk: Walk) -> Walk {
    let keep = |text: &str| -> String {
        let directory = text.starts_with("mode=4");
        let drop = |word: &str| word.starts_with("ctime=") || directory && word.starts_with("mtime=");
        text.split(' ').filter(|word| !drop(word)).collect::<Vec<_>>().join(" ")
    };
    walk.into_iter().map(|(name, text)| (name, keep(&text))).collect()
}

/// An image with fast commits, left while they are only there.
fn churned(mounted: &Mounted, seed: u32, steps: u32, each: &str) -> Vec<u8> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ext/churn.py");
    sh(mounted.directory.path(), BEFORE);
    sh(
        mounted.directory.path(),
        &format!(r#"cd "$1"; python3 {script} m {seed} {steps} {each}; cp image dirty; umount m"#),
    );
    std::fs::read(mounted.path("dirty")).unwrap()
}

#[test]
fn replays_fast_commits() {
    for (mkfs, each) in [("mkfs.ext4 -q -F -O fast_commit -b 1024", "each"), ("mkfs.ext4 -q -F -O fast_commit", "")] {
        let mounted = Mounted::new(mkfs, "80M");
        // Others for looking further than a suite has time for.
        let seed = std::env::var("CHURN_SEED").map_or(1, |seed| seed.parse().unwrap());
        let image = churned(&mounted, seed, 40, each);
        let what = format!("{mkfs} {seed}");
        let (ours, note) = shown(mounted.directory.path(), &image).unwrap();
        println!("{what}: {note}");
        assert!(note.contains("replayed in memory, and ") && note.ends_with(" fast commits"), "{what}: {note}");
        let theirs = replayed(mounted.directory.path(), &image).unwrap();
        tree::assert_same(&what, &comparable(theirs), &comparable(ours));
    }
}

/// Data that outgrew its inode, for which the kernel's own replay shows other bytes than were synced.
#[test]
fn reports_what_fast_commits_do_not_hold() {
    let mounted = Mounted::new("mkfs.ext4 -q -F -O fast_commit,inline_data -I 512", "80M");
    let image = churned(&mounted, 1, 40, "each");
    let (ours, note) = shown(mounted.directory.path(), &image).unwrap();
    assert!(note.contains("its fast commits cannot be read (map of inode ") && note.contains("are missing"), "{note}");
    assert!(ours.contains_key("a/x") && ours.contains_key("c/hard"));
}

/// Where the tags of fast commits are in an image: offset, `fc_tag` and length.
fn tags(image: &[u8]) -> Vec<(usize, u16, usize)> {
    let number = |at: usize| u16::from_le_bytes([image[at], image[at + 1]]);
    // The newest list of all: the head of transaction 4 or so, at the start of a block.
    let heads = (0..image.len()).step_by(1024).filter(|at| image[*at..].starts_with(&[9, 0, 8, 0, 0, 0, 0, 0]));
    let mut tags = Vec::new();
    for block in heads.flat_map(|first| (0..).map(move |i| first + i * 1024)).take_while(|at| image[*at] != 0) {
        let mut at = block;
        while at + 4 <= block + 1024 && (1..=9).contains(&number(at)) {
            let len = usize::from(number(at + 2));
            tags.push((at, number(at), len));
            at += 4 + len;
        }
    }
    tags
}

#[test]
fn ends_at_corrupt_fast_commits_as_the_kernel_or_reports_them() {
    let mounted = Mounted::new("mkfs.ext4 -q -F -O fast_commit -b 1024", "80M");
    let image = churned(&mounted, 3, 30, "each");
    let tags = tags(&image);
    let tails: Vec<usize> = (0..tags.len()).filter(|i| tags[*i].1 == 8).collect();
    assert!(tails.len() > 20, "{} ends", tails.len());
    let directory = mounted.directory.path();
    let (mut reported, mut same) = (0, 0);
    for (i, offset) in [
        (0, 0),
        (0, 8),
        (1, 6),
        (tails[0], 8),
        (tails[0] + 1, 0),
        (tails[9], 4),
        (tails[9] + 1, 2),
        (tails[19] - 1, 30),
    ] {
        let what = format!("tag {i} ({}) at {offset}", tags[i].1);
        let mut corrupt = image.clone();
        corrupt[tags[i].0 + offset] ^= 0x14;
        let (ours, note) = shown(directory, &corrupt).unwrap();
        match replayed(directory, &corrupt) {
            Some(theirs) => {
                tree::assert_same(&what, &comparable(theirs), &comparable(ours));
                same += 1;
            }
            None => {
                assert!(note.contains("its fast commits cannot be read (") && note.contains("are missing"), "{note}");
                // As it was before them.
                assert!(ours.contains_key("a/x") && ours.contains_key("c/hard"));
                reported += 1;
            }
        }
    }
    println!("{reported} reported, {same} the same");
    assert!(reported > 0 && same > 2, "{reported} reported, {same} the same");
}

/// A file that was open when it lost its name, in a fast commit with others: the kernel gives up with such a journal.
#[test]
fn hides_a_file_that_was_deleted_while_open() {
    let mounted = Mounted::new("mkfs.ext4 -q -F -O fast_commit", "80M");
    let directory = mounted.directory.path();
    sh(directory, BEFORE);
    sh(
        directory,
        r#"cd "$1"; python3 - <<'END'
import os
gone = os.open("m/c/7", os.O_RDWR)
os.write(gone, b"changed")
os.unlink("m/c/7")
kept = os.open("m/c/8", os.O_RDWR)
os.write(kept, b"synced")
os.fsync(kept)
open("dirty", "wb").write(open("image", "rb").read())
END
        umount m"#,
    );
    let (walk, note) = shown(directory, &std::fs::read(mounted.path("dirty")).unwrap()).unwrap();
    assert!(note.ends_with(", and 1 fast commits"), "{note}");
    assert!(!walk.contains_key("c/7") && walk["c/8"].contains(" size=6 "), "{}", walk["c/8"]);
}

#[test]
fn survives_corruption_in_a_journal() {
    // The sums of metadata keep the parsers from being reached, so there are none.
    let mounted = Mounted::new("mkfs.ext4 -q -F -O fast_commit,^metadata_csum -b 1024", "80M");
    let image = churned(&mounted, 5, 30, "each");
    let journal = Journal::of(mounted.directory.path(), &image, "dirty");
    let area = journal.start..journal.start + journal.blocks * journal.block_size;
    let tags = tags(&image);
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let mut corrupt = image.clone();
    let file = std::fs::OpenOptions::new().write(true).open(mounted.path("dirty")).unwrap();
    let start = std::time::Instant::now();
    let mut replayed = 0;
    for round in 0..400 {
        corrupt[area.clone()].copy_from_slice(&image[area.clone()]);
        for _ in 0..3 {
            let (at, tag, len) = tags[1 + random(tags.len() - 1)];
            if tag < 7 {
                corrupt[at + 4 + random(len.min(24))] ^= 1 << random(8);
            }
        }
        // Mended, so that what is corrupt is taken for valid.
        mend(&mut corrupt, &tags);
        if round % 2 == 0 {
            corrupt[journal.start + random(journal.block_size * 40)] ^= 1 << random(8);
        }
        file.write_all_at(&corrupt[area.clone()], area.start as u64).unwrap();
        let disk = disk(&mounted.path("dirty"));
        if let Ok(ext) = Ext::open(disk.clone()) {
            replayed += usize::from(ext.facts().notes.first().is_some_and(|note| note.ends_with("fast commits")));
            corrupt::look(&ext, Some(&*disk));
        }
    }
    assert!(replayed > 20 && start.elapsed().as_secs() < 300, "{replayed} replayed in {:?}", start.elapsed());
}

/// Puts the sums into the ends of fast commits.
fn mend(image: &mut [u8], tags: &[(usize, u16, usize)]) {
    let mut sum = 0_u32;
    for (at, tag, len) in tags {
        let end = if *tag == 8 { at + 8 } else { at + 4 + len };
        sum = !crc32c::crc32c_append(!sum, &image[*at..end]);
        if *tag == 8 {
            image[end..end + 4].copy_from_slice(&sum.to_le_bytes());
            sum = 0;
        }
    }
}
