//! Trees as the kernel shows them: listed, found, hashed and copied.

use crate::mounted::Mounted;
use crate::support::sh;
use crate::tree::{Walk, assert_same, kernel};
use crate::{alone, output_of, without_fuse};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// Without what no copy can have: the time of the last change.
fn copied(walk: Walk) -> Walk {
    let without =
        |text: String| text.split(' ').filter(|word| !word.starts_with("ctime=")).collect::<Vec<_>>().join(" ");
    walk.into_iter().map(|(name, text)| (name, without(text))).collect()
}

fn shell(mounted: &Mounted, script: &str) -> String {
    let mut command = Command::new("bash");
    let command = command.args(["-euc", script]).current_dir(mounted.path("m")).env("LC_ALL", "C").env("TZ", "UTC");
    output_of(&command.output().unwrap())
}

fn check(mkfs: &str, size: &str) {
    let _alone = alone();
    let mounted = Mounted::new(mkfs, size);
    mounted.fill();
    sh(mounted.directory.path(), "cd $1; umount m; mount -o loop,ro image m");
    let theirs = copied(kernel(&mounted.path("m")));
    let listed =
        shell(&mounted, "ls -lnR --time-style=long-iso etc deep; ls -dln --time-style=long-iso seven dev-* pipe");
    let found = shell(&mounted, "find . -name '*1' -type f -size +0c -newermt 2000-01-01 | sort");
    let hashed = shell(&mounted, "sha256sum data sparse etc/hard frag1 tiny");
    let hostname = shell(&mounted, "cat etc/short");
    sh(mounted.directory.path(), "cd $1; umount m; mkdir out");
    let image = mounted.path("image");

    let out = mounted.path("out");
    output_of(&without_fuse(&image, "cp", &["-rp", "fs0", out.to_str().unwrap()]));
    let ours = copied(kernel(&out.join("fs0")));
    assert_same(mkfs, &theirs, &ours);
    let sparse = fs::metadata(out.join("fs0/sparse")).unwrap();
    assert!(sparse.blocks() * 512 < 1 << 20 && sparse.size() > 20 << 20, "{sparse:?}");

    let ls = output_of(&without_fuse(&image, "ls", &["-lR", "fs0/etc", "fs0/deep"]));
    let single = output_of(&without_fuse(&image, "ls", &["-l", "fs0/dev-b", "fs0/dev-c", "fs0/pipe", "fs0/seven"]));
    assert_eq!(comparable(&ls) + &comparable(&single), comparable(&listed), "{mkfs}");
    let find =
        without_fuse(&image, "find", &["-name", "*1", "-type", "f", "-size", "+0c", "-newer", "2000-01-01", "fs0"]);
    let mut paths: Vec<String> = output_of(&find).lines().map(|line| line.replacen("fs0", ".", 1)).collect();
    paths.sort();
    assert_eq!(paths.join("\n") + "\n", found, "{mkfs}");
    let names = ["data", "sparse", "etc/hard", "frag1", "tiny"].map(|name| format!("fs0/{name}"));
    let hash = output_of(&without_fuse(&image, "hash", &names.each_ref().map(String::as_str)));
    assert_eq!(hash.replace("fs0/", ""), hashed, "{mkfs}");
    assert_eq!(output_of(&without_fuse(&image, "cat", &["fs0/etc/short"])), hostname, "{mkfs}");
}

/// Paths from the top of the file system, sizes of directories left out: those are the kernel's own.
fn comparable(listing: &str) -> String {
    let lines = listing.lines().filter(|line| !line.starts_with("total ")).map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let line = words.iter().enumerate().filter(|(i, _)| !(line.starts_with('d') && *i == 4));
        line.map(|(_, word)| *word).collect::<Vec<_>>().join(" ").replace("fs0/", "")
    });
    lines.map(|line| line + "\n").collect()
}

#[test]
fn ext4_is_copied_as_the_kernel_shows_it() {
    check("mkfs.ext4 -q -F", "80M");
}

#[test]
fn xfs_is_copied_as_the_kernel_shows_it() {
    check("mkfs.xfs -q", "400M");
}

#[test]
fn btrfs_is_copied_as_the_kernel_shows_it() {
    check("mkfs.btrfs -q", "300M");
}

/// The kernel tells of each range of a file whether another file has the same blocks.
#[test]
fn a_disk_shares_its_blocks_with_a_copy_where_the_file_system_can() {
    let _alone = alone();
    let mounted = Mounted::new("mkfs.xfs -q", "400M");
    let (image, out) = (mounted.path("m/disk.img"), mounted.path("m/out"));
    sh(mounted.directory.path(), "cd $1/m; mkdir out; head -c 8M /dev/urandom > disk.img");
    let mut copy = Command::new(env!("CARGO_BIN_EXE_vboximg-mount"));
    output_of(&copy.args(["cp", "-i"]).arg(&image).arg("vhdd").arg(&out).output().unwrap());
    let ranges = shell(&mounted, "cmp disk.img out/vhdd; filefrag -v out/vhdd");
    let lines: Vec<&str> =
        ranges.lines().filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit())).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.contains("shared")), "{ranges}");
}
