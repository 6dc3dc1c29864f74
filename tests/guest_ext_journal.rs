//! Journals of ext4 that are whole, cut short or damaged: what the kernel replays is what we show, and what the kernel
//! refuses to mount we refuse too, or show without and say so.
//!
//! Needs root (loop devices), e2fsprogs and python3; fails loudly without.

#[path = "tree/damage.rs"]
mod damage;
#[path = "tree/mounted.rs"]
mod mounted;
mod tree;

use mounted::{Mounted, disk, sh};
use std::path::Path;
use std::process::Command;
use tree::{Walk, kernel, ours};
use vboximg_mount::guestfs::GuestFs;
use vboximg_mount::guestfs::ext::Ext;

/// A journal whose blocks are one behind the other on the volume.
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
    fn of(folder: &Path, image: &[u8], name: &str) -> Self {
        let block_size = 1024 << u32::from_le_bytes(*image[1024 + 24..].first_chunk().unwrap());
        let bmap = |number: usize| -> usize {
            let request = format!("bmap <8> {number}");
            let done = Command::new("debugfs").args(["-R", &request, name]).current_dir(folder).output().unwrap();
            String::from_utf8_lossy(&done.stdout).trim().parse().unwrap_or_else(|_| panic!("{done:?}"))
        };
        let start = bmap(0);
        let blocks = usize::try_from(u32_be(image, start * block_size + 16)).unwrap();
        assert_eq!(bmap(blocks - 1), start + blocks - 1, "the journal is in pieces");
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
fn replayed(folder: &Path, image: &[u8]) -> Option<Walk> {
    std::fs::write(folder.join("copy"), image).unwrap();
    let mounted = Command::new("mount").args(["-o", "loop", "copy", "m"]).current_dir(folder).output().unwrap();
    if !mounted.status.success() {
        return None;
    }
    sh(folder, r#"cd "$1"; mount -o remount,ro m"#);
    let walk = kernel(&folder.join("m"));
    sh(folder, r#"umount "$1/m""#);
    Some(walk)
}

/// What we show of an image, and what we say of it.
fn shown(folder: &Path, image: &[u8]) -> Result<(Walk, String), String> {
    std::fs::write(folder.join("copy"), image).unwrap();
    let disk = disk(&folder.join("copy"));
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
fn damage_each(what: &str, folder: &Path, image: &[u8]) {
    let journal = Journal::of(folder, image, "dirty");
    let headers = journal.headers(image);
    let last = headers.iter().filter(|block| block.kind == 2).map(|block| block.sequence).max().unwrap();
    let mut places = vec![("superblock of the journal", journal.start + 0x44)];
    for sequence in [last, last - 1, last - 3] {
        let all = || headers.iter().filter(move |block| block.sequence == sequence);
        for (kind, names) in [
            (1, ["descriptor", "end of a descriptor", "data"]),
            (2, ["commit block", "end of a commit block", "time of a commit block"]),
            (5, ["revoke block", "end of a revoke block", "rest of a revoke block"]),
        ] {
            if let Some(block) = all().find(|block| block.kind == kind) {
                let third = if kind == 1 { block.at + journal.block_size + 77 } else { block.at + 55 };
                places.extend(names.into_iter().zip([block.at + 18, block.at + journal.block_size - 1, third]));
            }
        }
    }
    let (mut refused, mut same) = (0, 0);
    for (name, at) in places {
        let what = format!("{what}: {name} at {at:#x}");
        let mut damaged = image.to_vec();
        damaged[at] ^= 0x10;
        match (replayed(folder, &damaged), shown(folder, &damaged)) {
            (Some(theirs), Ok((ours, _))) => {
                tree::assert_same(&what, &theirs, &ours);
                same += 1;
            }
            (None, Err(e)) => {
                assert!(e.contains("checksum"), "{what}: {e}");
                refused += 1;
            }
            (None, Ok((_, note))) => panic!("{what}: the kernel refuses it, we say {note:?}"),
            (Some(_), Err(e)) => panic!("{what}: the kernel mounts it, we say {e}"),
        }
    }
    println!("{what}: {refused} refused, {same} the same");
    assert!(refused > 0, "{what}: nothing was refused");
}

#[test]
fn checksums_end_the_replay_where_the_kernel_ends_it() {
    for (mkfs, options) in [
        ("mkfs.ext4 -q -F -b 1024", "rw"),
        ("mkfs.ext4 -q -F", "journal_async_commit,data=writeback"),
        ("mkfs.ext4 -q -F -b 1024 -O ^metadata_csum", "journal_checksum"),
        ("mkfs.ext4 -q -F -b 1024 -O ^metadata_csum,^64bit", "journal_async_commit,data=writeback"),
    ] {
        let mounted = Mounted::new(mkfs, "40M");
        let folder = mounted.folder.path();
        sh(folder, &format!(r#"cd "$1"; umount m; mount -o loop,{options} image m"#));
        sh(folder, TRANSACTIONS);
        sh(folder, r#"umount "$1/m""#);
        let image = std::fs::read(mounted.path("dirty")).unwrap();
        let what = format!("{mkfs} {options}");
        let (walk, note) = shown(folder, &image).unwrap();
        assert!(walk.contains_key("turn-4/7") && note.contains("transactions of its journal are replayed"), "{note}");
        tree::assert_same(&what, &replayed(folder, &image).unwrap(), &walk);
        damage_each(&what, folder, &image);
    }
}
