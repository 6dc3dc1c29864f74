//! Corruption, and what is refused.

use super::btrfs;
use crate::against::disks::disk;
use crate::against::guests::corrupt;
use crate::against::guests::ours::ours;
use crate::against::mounted::Mounted;
use crate::against::tree::{self, kernel};
use crate::disk::Disk;
use crate::guestfs::btrfs::Btrfs;
use crate::guestfs::{Error, GuestFs, read};
use crate::support::sh;
use std::sync::Arc;

pub(crate) fn open_error(image: &std::path::Path) -> String {
    match Btrfs::open(disk(image)) {
        Ok(fs) => panic!("opened with {:?}", fs.facts()),
        Err(e) => e.to_string(),
    }
}

/// Writes `bytes` at byte `at` of a superblock of an image, and its checksum.
fn patch(image: &std::path::Path, superblock: u64, at: usize, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().read(true).write(true).open(image).unwrap();
    let mut all = [0; 4096];
    file.read_exact_at(&mut all, superblock).unwrap();
    all[at..at + bytes.len()].copy_from_slice(bytes);
    let sum = crc32c::crc32c(&all[32..]).to_le_bytes();
    all[..4].copy_from_slice(&sum);
    file.write_all_at(&all, superblock).unwrap();
}

/// Puts an image's superblocks back.
fn restore(image: &std::path::Path, valid: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).open(image).unwrap();
    for offset in [65536, 64 << 20] {
        file.write_all_at(&valid[offset..offset + 4096], offset as u64).unwrap();
    }
}

#[test]
fn refuses_unsupported_features_by_name() {
    let directory = tempfile::tempdir().unwrap();
    sh(directory.path(), "cd $1; truncate -s 200M image; mkfs.btrfs -q image");
    let image = directory.path().join("image");
    let valid = std::fs::read(&image).unwrap();
    let incompat = u64::from_le_bytes(valid[65536 + 0xBC..65536 + 0xC4].try_into().unwrap());
    let with = |bit: u32| (incompat | 1 << bit).to_le_bytes();
    let cases: [(usize, &[u8], &str); 11] = [
        (0xBC, &with(12), "the feature zoned"),
        (0xBC, &with(13), "the feature extent-tree-v2"),
        (0xBC, &with(14), "the feature raid-stripe-tree"),
        (0xBC, &with(17), "the feature remap-tree"),
        (0xBC, &with(40), "incompatible features 0x10000000000 are not known"),
        (0x38, &(1_u64 << 33 | 1).to_le_bytes(), "without data (btrfs-image)"),
        (0x38, &(1_u64 << 35 | 1).to_le_bytes(), "btrfstune did not finish"),
        (0xC4, &[9, 0], "checksums are of type 9"),
        (0xC6, &[8], "level of a tree in the superblock"),
        (0x94, &[0, 0, 2, 0], "node size in the superblock"),
        (0x30, &[1], "own offset in the superblock"),
    ];
    for (at, bytes, message) in cases {
        restore(&image, &valid);
        // The copy, which would do for a corrupt first one.
        patch(&image, 64 << 20, 0x40, b"x");
        patch(&image, 65536, at, bytes);
        let refused = open_error(&image);
        assert!(refused.contains(message), "{message}: {refused}");
    }
}

#[test]
fn skips_corrupt_copies() {
    let mounted = Mounted::new("mkfs.btrfs -q -d dup -m dup", "300M");
    mounted.fill();
    sh(mounted.directory.path(), "cd $1/m; head -c 1000000 /dev/urandom > noise; cp noise ..; sync -f .");
    let noise = std::fs::read(mounted.path("noise")).unwrap();
    sh(mounted.directory.path(), "cd $1; umount m; mount -o loop,ro image m");
    let theirs = kernel(&mounted.path("m"));
    sh(mounted.directory.path(), "cd $1; umount m");
    let image = mounted.path("image");
    let mut bytes = std::fs::read(&image).unwrap();
    let offsets = |bytes: &[u8], part: &[u8]| -> Vec<usize> {
        let sectors = (0..bytes.len()).step_by(4096);
        sectors.filter(|at| bytes[*at..].starts_with(part)).collect()
    };
    let copies: Vec<_> = noise.chunks(4096).map(|part| offsets(&bytes, part)).take(40).collect();
    assert!(copies.iter().all(|copies| copies.len() == 2), "{copies:?}");
    // Each sector in one of its copies, all nodes of one copy of the metadata, and the first superblock.
    for (i, copies) in copies.iter().enumerate() {
        bytes[copies[i % 2] + i * 7] ^= 1;
    }
    let uuid = bytes[65536 + 32..65536 + 48].to_vec();
    let nodes = (0..bytes.len()).step_by(16384).filter(|at| bytes[at + 32..].starts_with(&uuid)).collect::<Vec<_>>();
    let mut seen = std::collections::HashSet::new();
    for at in nodes.into_iter().filter(|at| !matches!(at, 65536 | 0x400_0000)) {
        let logical = u64::from_le_bytes(bytes[at + 48..at + 56].try_into().unwrap());
        if seen.insert(logical) {
            bytes[at + 200] ^= 0x10;
        }
    }
    assert!(seen.len() > 30, "{}", seen.len());
    bytes[65536 + 300] ^= 1;
    std::fs::write(&image, &bytes).unwrap();
    let volume = disk(&image);
    let fs = btrfs(volume.clone());
    assert!(fs.facts().notes[0].contains("copy at offset 67108864 is used"), "{:?}", fs.facts().notes);
    tree::assert_same("one copy", &theirs, &ours(&(volume, fs)));
    // Both copies of a sector.
    bytes[copies[5][0] + 9] ^= 1;
    bytes[copies[5][1] + 9] ^= 1;
    std::fs::write(&image, &bytes).unwrap();
    let volume = disk(&image);
    let fs = btrfs(volume.clone());
    let node = fs.lookup(fs.root(), b"noise").unwrap().unwrap();
    let read = |offset: u64, len: usize| {
        let mut buf = vec![0; len];
        read::read(&fs, &*volume, node, &fs.attributes(node).unwrap(), offset, &mut buf).map(|_| buf)
    };
    assert_eq!(read(0, 5 * 4096).unwrap(), noise[..5 * 4096]);
    assert_eq!(read(6 * 4096 + 1, 99_999).unwrap(), noise[6 * 4096 + 1..][..99_999]);
    for (offset, len) in [(5 * 4096, 4096), (6 * 4096 - 1, 1), (0, noise.len())] {
        let error = read(offset, len).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("at offset {}", copies[5][0])), "{error}");
    }
}

/// A disk whose nodes and superblock always have the right checksum, so that corruption reaches the parsers.
struct Resummed(Arc<dyn Disk>, [u8; 16]);

impl Resummed {
    fn new(disk: Arc<dyn Disk>) -> Self {
        let mut uuid = [0; 16];
        disk.read_at(65536 + 32, &mut uuid).unwrap();
        Self(disk, uuid)
    }
}

impl Disk for Resummed {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn sector_size(&self) -> u32 {
        self.0.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> crate::disk::Result<()> {
        self.0.read_at(offset, buf)?;
        if buf.len() >= 4096 && buf[32..48] == self.1 {
            let sum = crc32c::crc32c(&buf[32..]).to_le_bytes();
            buf[..4].copy_from_slice(&sum);
        }
        Ok(())
    }

    fn allocation(&self, offset: u64) -> crate::disk::Result<crate::disk::Allocation> {
        self.0.allocation(offset)
    }
}

#[test]
fn survives_corruption() {
    for (mkfs, options) in
        [("mkfs.btrfs -q -m single", "compress=lzo"), ("mkfs.btrfs -q -m single -n 4096", "compress=zstd")]
    {
        let mounted = Mounted::new(mkfs, "200M");
        sh(mounted.directory.path(), &format!("mount -o remount,{options} $1/m"));
        sh(mounted.directory.path(), corrupt::FILL);
        sh(
            mounted.directory.path(),
            r#"cd $1/m; seq 1 90000 > text; cp --reflink text copy; btrfs -q subvolume create etc/sub; echo x > etc/sub/x; cp one etc/sub
               btrfs -q subvolume snapshot etc/sub snapshot; cd ..; umount m"#,
        );
        corrupt::survive(mkfs, disk(&mounted.path("image")), |disk| Btrfs::open(Arc::new(Resummed::new(disk))));
    }
    // With a log that is replayed, and as checksums show it.
    let mounted = Mounted::new("mkfs.btrfs -q -m single -n 4096", "200M");
    sh(mounted.directory.path(), "mount -o remount,commit=300 $1/m");
    sh(mounted.directory.path(), corrupt::FILL);
    sh(
        mounted.directory.path(),
        r#"cd $1/m; sync -f .; rm many/*7; ln one etc/other; mv two moved; mkdir new; for i in $(seq 1 60); do echo $i > new/$i; done
           echo more >> one; for i in one moved new many etc new/5; do sync $i; done; cp ../image ../dirty; cd ..; umount m"#,
    );
    let dirty = disk(&mounted.path("dirty"));
    assert!(btrfs(dirty.clone()).facts().notes[0].contains("replayed"));
    corrupt::survive("checksums", dirty.clone(), Btrfs::open);
    corrupt::survive("log", dirty, |disk| Btrfs::open(Arc::new(Resummed::new(disk))));
}
