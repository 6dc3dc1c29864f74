//! ISO 9660 with Rock Ridge, with Joliet and without either, packed by two programs: the tree that was packed comes back,
//! and where names are changed, the names that another reader shows.
//!
//! Needs root (device nodes), genisoimage, xorriso and bsdtar; fails loudly without.

#[path = "tree/damage.rs"]
mod damage;
#[path = "tree/mounted.rs"]
mod mounted;
mod tree;

use mounted::{disk, sh};
use std::path::Path;
use std::sync::Arc;
use tree::{Walk, kernel, ours};
use vboximg_mount::disk::Disk;
use vboximg_mount::guestfs::iso::Iso;
use vboximg_mount::guestfs::{self, GuestFs, NodeKind, read};

/// Everything that a reader may stumble over.
const FILL: &str = r#"
mkdir -p "$1/src"; cd "$1/src"
mkdir -p etc many deep/a/b/c/d/e/f/g/h/i/j/k deep/a/b/c/d/e/f/g/h2 'naïve ☃' emptydir
echo lab > etc/hostname; echo 7 > seven; chmod 4751 seven; chown 12345:54321 seven; touch -d '1999-12-31 23:59:59' seven
ln -s ../etc/hostname etc/short; ln -s "$(printf 'x%.0s' $(seq 200))" etc/long; ln etc/hostname etc/hard
ln -s / etc/root; ln -s /usr/../bin/./sh etc/dots; ln -s .. etc/up; ln -s . etc/here
ln -s "$(printf 'directory/%.0s' $(seq 30))end" etc/many-parts
for i in $(seq 1 10000); do echo $i > many/file-number-$i.text; done
echo d > deep/a/b/c/d/e/f/g/h/i/j/k/file; echo e > deep/a/b/c/d/e/f/g/h2/file; chmod 2750 deep/a/b/c/d/e/f/g/h
head -c 3000000 /dev/urandom > data; head -c 2048 /dev/urandom > sector; : > empty; printf 'tiny' > tiny
mknod dev-c c 5 300; mknod dev-b b 8 1; mkfifo pipe; echo x > 'naïve ☃/ein ß.txt'; echo y > "$(printf 'n%.0s' $(seq 240))"
echo dot > ends.; echo two > two..dots; echo sp > 'with space'; touch -d '2033-03-03 03:03:03' future; echo h > .hidden
chmod 0 tiny; echo semi > 'semi;colon;1'; touch -d '2024-02-29 12:00:00' many etc
"#;

fn open(image: &Path) -> (Arc<dyn Disk>, Iso) {
    let disk = disk(image);
    let iso = Iso::open(disk.clone()).unwrap_or_else(|e| panic!("{}: {e}", image.display()));
    (disk, iso)
}

/// Leaves what a disc can hold and the packed tree has: times have no fraction, and writers set their own ctime.
fn comparable(walk: Walk) -> Walk {
    let keep = |text: String| -> String {
        let words = text.split(' ').filter(|word| !word.starts_with("ctime="));
        let words = words.map(|word| word.split_once('.').filter(|_| word.starts_with("mtime=")).map_or(word, |w| w.0));
        words.collect::<Vec<_>>().join(" ")
    };
    walk.into_iter().map(|(name, text)| (name, keep(text))).collect()
}

/// Leaves kind, size and digest: what there is without Rock Ridge.
fn plain(walk: Walk) -> Walk {
    let keep = |text: String| -> String {
        let words: Vec<&str> = text.split(' ').collect();
        format!("{} {} {}", &words[0][..words[0].len() - 4], words[4], words.get(7).unwrap_or(&""))
    };
    walk.into_iter().map(|(name, text)| (name, keep(text))).collect()
}

#[test]
fn rock_ridge_of_two_programs_is_the_tree_that_was_packed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    sh(folder.path(), FILL);
    sh(
        folder.path(),
        "cd $1; genisoimage -quiet -R -J -joliet-long -V 'LAB DISC' -o gen.iso src 2>/dev/null
         xorriso -as mkisofs -quiet --hardlinks -R -J -joliet-long -V LAB_DISC -o xor.iso src 2>/dev/null
         genisoimage -quiet -R -T -D -o flat.iso src 2>/dev/null",
    );
    let theirs = comparable(kernel(&path("src")));
    for name in ["gen.iso", "xor.iso", "flat.iso"] {
        let opened = open(&path(name));
        let mut ours = comparable(ours(&opened));
        // Where genisoimage keeps the folders that are too deep, and its tables of names.
        ours.remove("rr_moved");
        ours.retain(|name, _| !name.ends_with("TRANS.TBL"));
        tree::assert_same(name, &theirs, &ours);
    }
}
