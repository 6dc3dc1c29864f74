//! ISO 9660 with Rock Ridge, with Joliet and with neither, written by two programs. The result must be the source tree,
//! or the tree that another reader shows when the format changes names.
//!
//! Needs root (device nodes), genisoimage, xorriso and bsdtar; fails loudly without.

use super::corrupt;
use super::ours::ours;
use crate::against::disc::{comparable, plain};
use crate::against::disks::disk;
use crate::against::tree;
use crate::against::tree::kernel;
use crate::disk::Disk;
use crate::guestfs::GuestFs;
use crate::guestfs::iso::Iso;
use crate::support::sh;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Creates a source tree with everything that is hard to read.
const FILL: &str = r#"
mkdir -p "$1/src"; cd "$1/src"
mkdir -p etc many deep/a/b/c/d/e/f/g/h/i/j/k deep/a/b/c/d/e/f/g/h2 'naïve ☃' emptydir
echo lab > etc/hostname; echo 7 > seven; chmod 4751 seven; chown 12345:54321 seven; touch -d '1999-12-31 23:59:59' seven
ln -s ../etc/hostname etc/short; ln -s "$(printf 'x%.0s' $(seq 200))" etc/long; ln etc/hostname etc/hard
ln -s / etc/root; ln -s /usr/../bin/./sh etc/dots; ln -s .. etc/up; ln -s . etc/here
ln -s "$(printf 'directory/%.0s' $(seq 30))end" etc/many-chunks
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

#[test]
fn reads_rock_ridge_of_two_programs() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    sh(directory.path(), FILL);
    sh(
        directory.path(),
        "cd $1; genisoimage -quiet -R -J -joliet-long -V 'LAB DISC' -o gen.iso src 2>/dev/null
         xorriso -as mkisofs -quiet --hardlinks -R -J -joliet-long -V LAB_DISC -o xor.iso src 2>/dev/null
         genisoimage -quiet -R -T -D -m many -o flat.iso src 2>/dev/null",
    );
    let theirs = comparable(kernel(&path("src")));
    for name in ["gen.iso", "xor.iso", "flat.iso"] {
        let opened = open(&path(name));
        let mut ours = comparable(ours(&opened));
        let mut theirs = theirs.clone();
        if name == "flat.iso" {
            theirs.retain(|name, _| !name.starts_with("many"));
        }
        // genisoimage adds a directory for relocated directories, and tables of names.
        ours.remove("rr_moved");
        ours.retain(|name, _| !name.ends_with("TRANS.TBL"));
        tree::assert_same(name, &theirs, &ours);
        assert!(opened.1.facts().has_owners, "{name}");
    }
    for (name, label) in [("gen.iso", "LAB DISC"), ("xor.iso", "LAB_DISC")] {
        let facts = open(&path(name)).1.facts().clone();
        let blkid = Command::new("blkid").args(["-p", "-o", "value", "-s", "UUID"]).arg(path(name)).output().unwrap();
        assert_eq!((facts.label.as_str(), facts.uuid.as_str()), (label, String::from_utf8_lossy(&blkid.stdout).trim()));
        assert_eq!(u64::from(facts.block_size), 2048);
        assert_eq!(facts.notes, Vec::<String>::new());
    }
}

#[test]
fn reads_names_without_rock_ridge_like_bsdtar() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    sh(directory.path(), &FILL.replace("10000", "300"));
    sh(
        directory.path(),
        "cd $1; genisoimage -quiet -D -J -joliet-long -input-charset utf-8 -o joliet.iso src 2>/dev/null
         genisoimage -quiet -D -o plain.iso src 2>/dev/null
         genisoimage -quiet -D -iso-level 4 -o level4.iso src 2>/dev/null
         xorriso -as mkisofs -quiet --norock -J -joliet-long -o xorriso.iso src 2>/dev/null
         bsdtar -cf bsdtar.iso --format iso9660 --options '!rockridge' -C src etc many data sector empty 'naïve ☃' emptydir seven
         for name in joliet plain level4 xorriso bsdtar; do
           mkdir $name; LC_ALL=C.UTF-8 bsdtar -xf $name.iso -C $name; chmod -R u+rwX $name
         done",
    );
    for name in ["joliet", "plain", "level4", "xorriso", "bsdtar"] {
        let opened = open(&path(&format!("{name}.iso")));
        let (theirs, ours) = (plain(kernel(&path(name))), plain(ours(&opened)));
        tree::assert_same(name, &theirs, &ours);
        assert!(!opened.1.facts().has_owners, "{name}");
        let long = ours.keys().any(|key| key == "naïve ☃/ein ß.txt");
        assert_eq!(long, name != "plain", "{name}");
    }
}

#[test]
fn decompresses_zisofs() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    sh(
        directory.path(),
        r#"mkdir $1/src; cd $1/src; for i in $(seq 30); do seq $i > small-$i; done
           seq 1 400000 > text; head -c 300000 /dev/urandom > noise; : > empty
           (seq 1 9000; head -c 900000 /dev/zero; seq 1 9000) > holes; head -c 131072 text > block; touch -d 2020-02-02 *
           cd ..; for version in off on as_needed; do
             xorriso -outdev $version.iso -zisofs level=6:block_size=32k:version_2=$version -padding 0 -map src /                -set_filter_r --zisofs / -- 2>/dev/null >/dev/null
           done"#,
    );
    let theirs = plain(kernel(&path("src")));
    for name in ["off.iso", "on.iso", "as_needed.iso"] {
        let (disk, iso) = open(&path(name));
        assert!(fs::metadata(path(name)).unwrap().len() < 2_200_000, "{name} is not compressed");
        let opened = (disk, iso);
        tree::assert_same(name, &theirs, &plain(ours(&opened)));
    }
}

#[test]
fn survives_corruption() {
    let directory = tempfile::tempdir().unwrap();
    sh(directory.path(), "mkdir $1/m");
    sh(directory.path(), &corrupt::FILL.replace("setfattr", ": setfattr"));
    sh(
        directory.path(),
        "cd $1; genisoimage -quiet -R -o rock.iso m 2>/dev/null; genisoimage -quiet -D -J -o joliet.iso m 2>/dev/null
         xorriso -outdev compressed.iso -zisofs version_2=on -map m / -set_filter_r --zisofs / -- 2>/dev/null >/dev/null",
    );
    for name in ["rock.iso", "joliet.iso", "compressed.iso"] {
        corrupt::survive(name, disk(&directory.path().join(name)), Iso::open);
    }
}
