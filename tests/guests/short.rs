//! Volumes shorter than their file systems, such as incomplete copies: existing data is shown with a note, and reading
//! past the end is an error, never zeros.
//!
//! Needs root (loop devices) and the tools of `setup.sh`; fails loudly without.

use crate::against::disks::disk;
use crate::disk::{Disk, Slice};
use crate::guestfs::{self, Error, GuestFs, read};
use crate::support::sh;
use crate::volume;
use std::path::Path;
use std::sync::Arc;

/// Scripts that create `image` with the files `f` and `g` of the directory `s`.
const KINDS: [(&str, &str); 11] = [
    ("ext2", "truncate -s 40M image; mke2fs -q -F -t ext2 -d s image"),
    ("ext4", "truncate -s 40M image; mke2fs -q -F -t ext4 -b 1024 -d s image"),
    ("NTFS", "truncate -s 80M image; mkfs.ntfs -q -F -Q image; ntfscp -q -f image s/f f; ntfscp -q -f image s/g g"),
    (
        "XFS",
        r"truncate -s 300M image; printf '/\n0 0\nd--755 0 0\nf ---644 0 0 s/f\ng ---644 0 0 s/g\n$\n' > p; mkfs.xfs -q -p p image",
    ),
    ("btrfs", "truncate -s 150M image; mkfs.btrfs -q --rootdir s image"),
    ("FAT16", "truncate -s 40M image; mkfs.vfat -F 16 image; mcopy -i image s/f s/g ::"),
    ("FAT32", "truncate -s 60M image; mkfs.vfat -F 32 image; mcopy -i image s/f s/g ::"),
    (
        "exFAT",
        "truncate -s 40M image; mkfs.exfat image; mkdir m; mount -t exfat-fuse -o loop image m; cp s/f m; cp s/g m; umount m",
    ),
    ("UDF", "genisoimage -quiet -udf -o image s"),
    ("ISO 9660", "xorrisofs -quiet -R -o image s"),
    ("HFS+", "xorriso -as mkisofs -quiet -hfsplus -o image s"),
];

/// The volume with the file system, which starts 1 MiB into the disk: a partition of the Apple partition map on a
/// hybrid optical disk, or the whole rest.
fn volume(image: &Path) -> Arc<dyn Disk> {
    let disk = disk(image);
    let rest: Arc<dyn Disk> = Arc::new(Slice::new(disk.clone(), 1 << 20, disk.size() - (1 << 20)));
    let table = volume::read_table(&*rest).unwrap();
    match table.volumes.iter().find(|volume| volume.type_name == "Apple_HFS") {
        Some(volume) => Arc::new(Slice::new(rest, volume.offset, volume.size)),
        None => rest,
    }
}

/// Reads a file in chunks of 4 KiB, as the kernel does when larger reads fail: `None` for unreadable ones.
fn chunks(fs: &dyn GuestFs, volume: &dyn Disk, name: &str) -> Vec<Option<Vec<u8>>> {
    let node = fs.lookup(fs.root(), name.as_bytes()).unwrap().unwrap_or_else(|| panic!("{name} is there"));
    let attributes = fs.attributes(node).unwrap();
    let mut chunks = Vec::new();
    for offset in (0..attributes.size).step_by(4096) {
        let mut buf = vec![0xEE; 4096];
        chunks.push(match read::read(fs, volume, node, &attributes, offset, &mut buf) {
            Ok(len) => Some(buf[..len].to_vec()),
            Err(Error::Corrupt { .. }) => None,
            Err(other) => panic!("{name}: {other}"),
        });
    }
    chunks
}

#[test]
fn reads_truncated_volumes_up_to_their_end() {
    for (kind, script) in KINDS {
        let directory = tempfile::tempdir().unwrap();
        sh(
            directory.path(),
            &format!(
                "cd $1; mkdir s; head -c 100000 /dev/urandom > s/f; head -c 18M /dev/urandom > s/g; ({script}) >log 2>&1 || {{ cat log >&2; false; }}
                python3 -c 'd = open(\"image\", \"rb\").read(); open(\"cut\", \"w\").write(str(d.index(open(\"s/g\", \"rb\").read()[-4096:])))'
                truncate -s 1M disk; head -c $(cat cut) image >> disk"
            ),
        );
        let volume = volume(&directory.path().join("disk"));
        let fs = guestfs::detect::open(volume.clone()).unwrap_or_else(|e| panic!("{kind}: {e}")).unwrap();
        let facts = fs.facts();
        assert_eq!(facts.type_name, kind);
        assert!(facts.notes.iter().any(|note| note.contains("shorter than it says")), "{kind}: {:?}", facts.notes);
        let whole = chunks(&*fs, &*volume, "f");
        assert!(whole.iter().all(Option::is_some), "{kind}: a file before the end");
        assert_eq!(
            whole.into_iter().flatten().flatten().collect::<Vec<_>>(),
            std::fs::read(directory.path().join("s/f")).unwrap()
        );
        let source = std::fs::read(directory.path().join("s/g")).unwrap();
        let cut = chunks(&*fs, &*volume, "g");
        assert!(cut.iter().any(Option::is_none), "{kind}: a file past the end");
        for (chunk, source) in cut.iter().zip(source.chunks(4096)) {
            assert!(chunk.as_ref().is_none_or(|chunk| chunk == source), "{kind}: other bytes");
        }
        assert!(cut.iter().filter(|chunk| chunk.is_some()).count() > cut.len() / 2, "{kind}: chunks before the end");
    }
}
