//! btrfs as the kernel shows it: the same tree, attribute by attribute and byte by byte, through all subvolumes.
//!
//! Needs root (loop devices) and btrfs-progs; fails loudly without.

mod broken;
mod log;

use crate::against::disks::disk;
use crate::against::guests::ours::ours;
use crate::against::mounted::Mounted;
use crate::against::tree;
use crate::against::tree::{Walk, kernel};
use crate::disk::Disk;
use crate::guestfs::btrfs::Btrfs;
use crate::guestfs::{FileExtent, GuestFs, Node};
use crate::support::sh;
use broken::open_error;
use std::sync::Arc;

/// What btrfs has forms of its own for.
const MORE: &str = r#"
cd "$1/m"
btrfs -q subvolume create home; btrfs -q subvolume create home/inner; echo in > home/inner/file; mkdir home/dir
btrfs -q subvolume create home/dir/deep; echo deep > home/dir/deep/file; echo user > home/file; chown 7:8 home; chmod 750 home
head -c 2000000 /dev/urandom > large; seq 1 400000 > text; cp --reflink=always text copy
echo changed | dd of=copy bs=1 seek=900000 conv=notrunc status=none; truncate -s 1000001 copy
(head -c 300000 /dev/zero; seq 1 90000; head -c 100000 /dev/urandom; seq 1 90000) > mixed
seq 1 300 > small-text; head -c 1500 /dev/urandom > small-noise; seq 1 90 > grown; truncate -s 100000 grown; seq 1 9 > tail; truncate -s 3000 tail
touch nocow; chattr +C nocow; head -c 700000 /dev/urandom > nocow; btrfs -q property set mixed compression zlib 2>/dev/null || findmnt -no OPTIONS -T . | grep -q nodatasum; seq 1 30000 >> mixed
fallocate -l 1M fallocated; head -c 50000 /dev/urandom | dd of=fallocated bs=1000 seek=300 conv=notrunc status=none
cp text punched; fallocate -p -o 500000 -l 300000 punched; fallocate -z -o 1200000 -l 50000 punched
sync -f .
btrfs -q subvolume snapshot home snapshot; btrfs -q subvolume snapshot -r . whole; echo later > home/file; rm text many/file-2??
btrfs -q subvolume create gone; echo x > gone/x; btrfs -q subvolume delete gone; mv home/inner moved-subvolume
python3 - <<'END'
import os
table = []
for i in range(256):
    c = i
    for _ in range(8):
        c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
    table.append(c)
def crc(name):
    c = 0xFFFFFFFE
    for byte in name:
        c = c >> 8 ^ table[(c ^ byte) & 255]
    return c
seen, found = {}, 0
for i in range(10**7):
    name = b"user.%x" % (i * 2654435761 % 2**32)
    other = seen.setdefault(crc(name), name)
    if other != name:
        for n in (name, other):
            open(b"collide-" + n, "w").write(n.decode())
            open(n, "w").write(n.decode())
            os.setxattr(name if os.path.exists(name) else n, n, b"value of " + n)
        found += 1
        if found == 3:
            break
os.open("attributes", os.O_CREAT)
for i in range(300):
    os.setxattr("attributes", "user.a-name-%d" % i, os.urandom(i % 200))
os.setxattr("attributes", "user.largest", os.urandom(2500))
entries = [(1, 7, -1), (2, 6, 1000), (4, 5, -1), (8, 4, 50), (16, 7, -1), (32, 0, -1)]
acl = b"\2\0\0\0" + b"".join(t.to_bytes(2, "little") + p.to_bytes(2, "little") + (i & 0xffffffff).to_bytes(4, "little") for t, p, i in entries)
os.setxattr("home", "system.posix_acl_access", acl)
os.setxattr("home", "system.posix_acl_default", acl)
with open("holes", "wb") as f:
    for i in range(700):
        f.seek(i * 12288 + 100)
        f.write(b"part %d" % i)
END
"#;

fn btrfs(disk: Arc<dyn Disk>) -> Btrfs {
    Btrfs::open(disk).unwrap()
}

fn clean(disk: Arc<dyn Disk>) -> Btrfs {
    let fs = btrfs(disk);
    assert!(fs.facts().notes.is_empty(), "{:?}", fs.facts().notes);
    fs
}

/// Where a snapshot has the name of a subvolume of its original, there is an empty directory, with the time of now.
fn comparable(walk: Walk) -> Walk {
    let placeholders = ["snapshot/inner", "snapshot/dir/deep", "whole/home", "whole/snapshot"];
    let without_times = |text: String| {
        let words = text.split(' ').filter(|word| !word.starts_with("mtime=") && !word.starts_with("ctime="));
        words.collect::<Vec<_>>().join(" ")
    };
    for name in placeholders {
        assert!(walk.contains_key(name) && !walk.keys().any(|key| key.starts_with(&format!("{name}/"))), "{name}");
    }
    let change = |(name, text): (String, String)| {
        let text = if placeholders.contains(&name.as_str()) { without_times(text) } else { text };
        (name, text)
    };
    walk.into_iter().map(change).collect()
}

#[test]
fn reads_every_layout_checksum_and_compression_as_the_kernel() {
    let kinds = [
        ("mkfs.btrfs -q -L lab", "compress=zstd"),
        ("mkfs.btrfs -q -n 4096 -d dup -m dup --csum xxhash", "compress-force=lzo"),
        ("mkfs.btrfs -q -n 65536 --csum sha256 -m single", "compress-force=zstd:12"),
        ("mkfs.btrfs -q --mixed --csum blake2 -O ^no-holes", "compress-force=zlib"),
        ("mkfs.btrfs -q -O ^no-holes,^skinny-metadata,^extref -R ^free-space-tree", "nodatasum"),
        ("mkfs.btrfs -q -O raid56", "compress-force=zstd:1,max_inline=3900"),
    ];
    for (mkfs, options) in kinds {
        let mounted = Mounted::new(mkfs, "400M");
        sh(mounted.directory.path(), &format!("mount -o remount,{options} $1/m"));
        mounted.fill();
        sh(mounted.directory.path(), MORE);
        if mkfs == kinds[0].0 {
            sh(
                mounted.directory.path(),
                "cd $1/m; mkdir huge; seq -f 'huge/entry-with-a-longer-name-%.0f' 1 10000 | xargs touch",
            );
        }
        if options.contains("compress") {
            sh(mounted.directory.path(), "filefrag -v $1/m/copy | grep -q encoded");
        }
        let (theirs, ours) = mounted.both(clean);
        tree::assert_same(mkfs, &comparable(theirs), &comparable(ours));
    }
}

#[test]
fn reads_converted_and_tuned_file_systems_as_the_kernel() {
    // Another UUID than the one in the nodes; a seed device.
    for change in ["btrfstune -m", "btrfstune -S 1"] {
        let mounted = Mounted::new("mkfs.btrfs -q", "200M");
        mounted.fill();
        sh(mounted.directory.path(), &format!("cd $1; umount m; {change} image; mount -o loop,ro image m"));
        let (theirs, found) = mounted.both(clean);
        tree::assert_same(change, &theirs, &found);
    }
    let mounted = Mounted::new("mkfs.ext4 -q -F -b 4096", "300M");
    mounted.fill();
    sh(
        mounted.directory.path(),
        "cd $1; umount m; btrfs-convert --no-progress image >/dev/null; mount -o loop image m",
    );
    let (theirs, found) = mounted.both(clean);
    assert!(theirs.contains_key("ext2_saved/image"));
    tree::assert_same("converted", &theirs, &found);
}

/// Sectors larger than a page are read by few kernels, but mkfs.btrfs fills such file systems from a tree on the host.
#[test]
fn reads_large_sectors() {
    let directory = tempfile::tempdir().unwrap();
    sh(
        directory.path(),
        r#"cd $1; mkdir -p src/many src/deep/a; for i in $(seq 1 3000); do echo $i > src/many/$i; done; head -c 9000001 /dev/urandom > src/large
           ln -s target src/link; setfattr -n user.name -v value src/large; seq 1 2000 > src/deep/a/text; : > src/empty; chmod 4711 src/large"#,
    );
    let comparable = |walk: Walk| -> Walk {
        let without = |text: String| {
            text.split(' ')
                .filter(|w| !w.starts_with("mtime=") && !w.starts_with("ctime="))
                .collect::<Vec<_>>()
                .join(" ")
        };
        walk.into_iter().map(|(name, text)| (name, without(text))).collect()
    };
    let wanted = comparable(kernel(&directory.path().join("src")));
    for sector in [8192, 65536] {
        let mkfs = format!("mkfs.btrfs -q -s {sector} -n 65536 --rootdir src image");
        sh(directory.path(), &format!("cd $1; rm -f image; truncate -s 300M image; {mkfs}"));
        let disk = disk(&directory.path().join("image"));
        let fs = clean(disk.clone());
        tree::assert_same(&mkfs, &wanted, &comparable(ours(&(disk, fs))));
    }
}

#[test]
fn reads_each_device_of_a_mirror_alone() {
    let directory = tempfile::tempdir().unwrap();
    sh(
        directory.path(),
        r#"cd $1; truncate -s 300M a b c; mkdir m; mkfs.btrfs -q -d raid1c3 -m raid1c3 a b c
           for i in a b c; do eval $i=$(losetup -f --show $i); done
           mount -o device=$a,device=$b,device=$c $a m || { losetup -d $a $b $c; exit 1; }
           losetup -d $a $b $c; cp -r /usr/include/linux m/; sync -f m; btrfs -q subvolume create m/sub; echo x > m/sub/x"#,
    );
    let theirs = kernel(&directory.path().join("m"));
    sh(directory.path(), "umount $1/m");
    for name in ["a", "b", "c"] {
        let disk = disk(&directory.path().join(name));
        let fs = btrfs(disk.clone());
        assert!(fs.facts().notes[0].contains("on 3 devices"), "{:?}", fs.facts().notes);
        tree::assert_same(name, &theirs, &ours(&(disk, fs)));
    }
    sh(
        directory.path(),
        r#"cd $1; mkfs.btrfs -q -f -d raid0 -m raid1 a b; a=$(losetup -f --show a); b=$(losetup -f --show b)
           mount -o device=$b $a m || { losetup -d $a $b; exit 1; }
           losetup -d $a $b; head -c 1000000 /dev/urandom > m/noise; umount m"#,
    );
    for name in ["a", "b"] {
        let refused = open_error(&directory.path().join(name));
        assert!(refused.contains("2 devices") && refused.contains("RAID0"), "{refused}");
    }
}

#[test]
fn a_default_subvolume_is_reported_and_files_without_checksums_are_runs() {
    let mounted = Mounted::new("mkfs.btrfs -q", "200M");
    sh(
        mounted.directory.path(),
        r#"cd $1/m; mkdir -p a/b; btrfs -q subvolume create a/b/system; mkdir a/b/system/etc
           btrfs -q subvolume snapshot a/b/system a/b/system/etc/first; btrfs subvolume set-default a/b/system/etc/first
           touch nocow; chattr +C nocow; head -c 1000000 /dev/urandom > nocow; head -c 1000000 /dev/urandom > cow; cd ..; umount m"#,
    );
    let volume = disk(&mounted.path("image"));
    let fs = btrfs(volume);
    assert_eq!(
        fs.facts().notes,
        ["The guest mounts its directory a/b/system/etc/first unless its mount options say otherwise"]
    );
    let extent = |name: &[u8]| fs.extent(fs.lookup(fs.root(), name).unwrap().unwrap(), 0, 1_000_000).unwrap().extent;
    assert!(matches!(extent(b"nocow"), FileExtent::Stored(_)));
    assert_eq!(extent(b"cow"), FileExtent::Decoded);
    assert!(fs.attributes(Node(1 << 53)).is_err());
}
