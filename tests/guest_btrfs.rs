//! btrfs as the kernel shows it: the same tree, attribute by attribute and byte by byte, through all subvolumes.
//!
//! Needs root (loop devices) and btrfs-progs; fails loudly without.

#[path = "tree/damage.rs"]
mod damage;
#[path = "tree/mounted.rs"]
mod mounted;
mod tree;

use mounted::{Mounted, disk, sh};
use std::sync::Arc;
use tree::{Walk, kernel, ours};
use vboximg_mount::disk::Disk;
use vboximg_mount::guestfs::btrfs::Btrfs;
use vboximg_mount::guestfs::{Error, FileExtent, GuestFs, Node, read};

/// What btrfs has forms of its own for.
const MORE: &str = r#"
cd "$1/m"
btrfs -q subvolume create home; btrfs -q subvolume create home/inner; echo in > home/inner/file; mkdir home/dir
btrfs -q subvolume create home/dir/deep; echo deep > home/dir/deep/file; echo user > home/file; chown 7:8 home; chmod 750 home
head -c 2000000 /dev/urandom > large; seq 1 400000 > text; cp --reflink=always text copy
echo changed | dd of=copy bs=1 seek=900000 conv=notrunc status=none; truncate -s 1000001 copy
(head -c 300000 /dev/zero; seq 1 90000; head -c 100000 /dev/urandom; seq 1 90000) > mixed
seq 1 300 > small-text; head -c 1500 /dev/urandom > small-noise; seq 1 90 > grown; truncate -s 100000 grown; seq 1 9 > tail; truncate -s 3000 tail
touch nocow; chattr +C nocow; head -c 700000 /dev/urandom > nocow; btrfs -q property set mixed compression zlib; seq 1 30000 >> mixed
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

/// Where a snapshot has the name of a subvolume of its original, there is an empty folder, with the time of now.
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
fn every_layout_checksum_and_compression_reads_as_the_kernel_shows_it() {
    let kinds = [
        ("mkfs.btrfs -q -L lab", "compress=zstd"),
        ("mkfs.btrfs -q -n 4096 -d dup -m dup --csum xxhash", "compress-force=lzo"),
        ("mkfs.btrfs -q -n 65536 --csum sha256 -m single", "compress-force=zstd:12"),
        ("mkfs.btrfs -q --mixed --csum blake2 -O ^no-holes", "compress-force=zlib"),
        ("mkfs.btrfs -q -O ^no-holes,^skinny-metadata,^extref -R ^free-space-tree", "nodatasum"),
        ("mkfs.btrfs -q -O block-group-tree", "flushoncommit,compress-force=zlib:9,max_inline=3900"),
    ];
    for (mkfs, options) in kinds {
        let mounted = Mounted::new(mkfs, "400M");
        sh(mounted.folder.path(), &format!("mount -o remount,{options} $1/m"));
        mounted.fill();
        sh(mounted.folder.path(), MORE);
        if mkfs == kinds[0].0 {
            sh(
                mounted.folder.path(),
                "cd $1/m; mkdir huge; seq -f 'huge/entry-with-a-longer-name-%.0f' 1 10000 | xargs touch",
            );
        }
        let (theirs, ours) = mounted.both(clean);
        tree::assert_same(mkfs, &comparable(theirs), &comparable(ours));
    }
}
