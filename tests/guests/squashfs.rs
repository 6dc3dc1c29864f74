//! squashfs as the kernel shows it: the same tree, attribute by attribute and byte by byte, with each compressor and
//! layout that mksquashfs makes. LZMA, which kernels do not mount, is held against what unsquashfs takes out.
//!
//! Needs root (loop devices) and squashfs-tools; fails loudly without.

use super::corrupt;
use super::ours::ours;
use crate::against::disks::disk;
use crate::against::mounted::Mounted;
use crate::against::tree;
use crate::against::tree::{Walk, kernel};
use crate::guestfs::GuestFs;
use crate::guestfs::squashfs::Squashfs;
use crate::support::sh;

/// What squashfs has forms of its own for: blocks and fragments, compressed and not, long inodes, indexed directories.
const MORE: &str = r#"
cd "$1/m"
mkdir wide sizes; seq -f 'wide/folder-with-a-longer-name-%.0f' 1 700 | xargs mkdir
for i in $(seq 0 30); do head -c $((i * 3277)) /dev/urandom > sizes/noise-$i; seq 1 $((i * 700)) > sizes/text-$i; done
for size in 4095 4096 4097 131071 131072 131073 262144 1048576 1048577; do seq 1 999999 | head -c $size > sizes/exact-$size; done
(seq 1 90000; head -c 700000 /dev/urandom; seq 1 400000) > mixed; cp mixed copy
for i in 1 2 3 4; do seq 1 20000; head -c 300000 /dev/zero; head -c 100000 /dev/urandom; done > zeros; truncate -s 5M hole
mknod dev-large b 4000 70000; ln -s "$(printf 'x%.0s' $(seq 1000))" etc/longer
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
setfattr -n user.large -v "$(printf 'v%.0s' $(seq 3000))" tiny; setfattr -h -n trusted.link -v l etc/short; setfattr -n user.empty tiny
setfattr -n trusted.dev -v d dev-c; setfattr -n trusted.p -v p pipe; setfattr -n trusted.p -v p socket
for i in 1 2 3 4 5 6 7 8 9; do setfattr -n user.same -v "$(printf 'shared%.0s' $(seq 99))" sizes/text-$i; setfattr -n user.own-$i -v $i sizes/text-$i; done
"#;

/// A directory `m` with what is to be compressed.
fn source() -> Mounted {
    let source = Mounted { directory: tempfile::tempdir().unwrap() };
    sh(source.directory.path(), "mkdir $1/m");
    source.fill();
    sh(source.directory.path(), MORE);
    source
}

/// The tree as the kernel shows it and as we do.
fn compressed(source: &Mounted, options: &str) -> (Walk, Walk) {
    let from = source.path("m");
    let mksquashfs = format!("f() {{ mksquashfs {} $1 {options} -noappend; }}; f", from.display());
    let mounted = Mounted::new(&mksquashfs, "0");
    let statfs = nix::sys::statvfs::statvfs(&mounted.path("m")).unwrap();
    mounted.both(|disk| {
        let fs = Squashfs::open(disk).unwrap();
        assert_eq!((fs.facts().blocks, fs.facts().files), (statfs.blocks(), statfs.files()), "{options}");
        fs
    })
}

#[test]
fn reads_every_layout_as_the_kernel() {
    let source = source();
    let kinds = [
        "-comp gzip",
        "-comp gzip -b 4096 -no-exports",
        "-comp lzo -b 1M -Xalgorithm lzo1x_1",
        "-comp lzo -Xcompression-level 3",
        "-comp lz4 -b 64K",
        "-comp lz4 -Xhc -no-fragments",
        "-comp xz -b 256K",
        "-comp xz -Xbcj x86,arm -b 8K -Xdict-size 8K",
        "-comp zstd -Xcompression-level 1 -b 1M -always-use-fragments",
        "-comp gzip -Xcompression-level 1 -noI -noD -noF -noX -noId",
        "-comp zstd -Xcompression-level 1 -noF -no-duplicates -b 16K",
    ];
    for options in kinds {
        let (theirs, ours) = compressed(&source, options);
        tree::assert_same(options, &theirs, &ours);
    }
}

#[test]
fn reads_a_directory_of_ten_thousand_files() {
    let source = Mounted { directory: tempfile::tempdir().unwrap() };
    sh(
        source.directory.path(),
        "mkdir -p $1/m/huge; cd $1/m/huge; seq -f 'a-name-in-a-large-folder-%.0f' 1 10000 | xargs touch; setfattr -n user.a -v b .",
    );
    let (theirs, ours) = compressed(&source, "");
    assert_eq!(ours.len(), 10_001);
    tree::assert_same("huge", &theirs, &ours);
}

#[test]
fn reads_lzma_as_unsquashfs() {
    let source = source();
    sh(
        source.directory.path(),
        "cd $1; mksquashfs m image -comp lzma -quiet -no-progress; unsquashfs -quiet -no-progress -d out image >/dev/null",
    );
    let drop = |walk: Walk| -> Walk {
        let keep = |text: String| text.split(' ').filter(|w| !w.starts_with("ctime=")).collect::<Vec<_>>().join(" ");
        walk.into_iter().map(|(name, text)| (name, keep(text))).collect()
    };
    let disk = disk(&source.path("image"));
    let found = ours(&(disk.clone(), Squashfs::open(disk).unwrap()));
    tree::assert_same("lzma", &drop(kernel(&source.path("out"))), &drop(found));
}

#[test]
fn refuses_truncated_images() {
    let directory = tempfile::tempdir().unwrap();
    sh(directory.path(), "cd $1; mkdir src; seq 1 90000 > src/file; mksquashfs src image -quiet -no-progress -nopad");
    let image = directory.path().join("image");
    let whole = std::fs::metadata(&image).unwrap().len();
    for cut in [1, 1000, whole - 96, whole - 50] {
        let file = std::fs::OpenOptions::new().write(true).open(&image).unwrap();
        file.set_len(whole - cut).unwrap();
        let error = Squashfs::open(disk(&image)).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("cut short") || error.contains("at least"), "{cut}: {error}");
    }
}

#[test]
fn survives_corruption() {
    let directory = tempfile::tempdir().unwrap();
    sh(directory.path(), "mkdir $1/m");
    sh(directory.path(), corrupt::FILL);
    sh(
        directory.path(),
        "cd $1/m; head -c 300000 /dev/urandom > noise; seq 1 90000 > text; mkdir wide; seq -f 'wide/d%.0f' 1 500 | xargs mkdir",
    );
    // Metadata that is not compressed lets corruption reach the parsers, not only the compressors.
    for options in ["-noI -noId -noX -b 4096", "-comp lzo -noF", "-comp zstd"] {
        let options = format!("{options} -quiet -no-progress -noappend");
        sh(directory.path(), &format!("cd $1; mksquashfs m image {options}"));
        corrupt::survive(&options, disk(&directory.path().join("image")), Squashfs::open);
    }
}
