//! Identification of volumes, compared with `blkid`: type, label and UUID of images created by the real tools, or
//! crafted where Debian has none.
//!
//! Needs root (a loop device for pvcreate) and the tools of `setup.sh`; fails loudly without.

use crate::against::disks::disk;
use crate::guestfs::{self, Content};
use crate::support::sh;

/// The type in blkid, its name here, and a script that creates `image`.
const KINDS: [(&str, &str, &str); 52] = [
    ("crypto_LUKS", "LUKS1", "echo p | cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 image -"),
    (
        "crypto_LUKS",
        "LUKS2",
        "echo p | cryptsetup luksFormat -q --type luks2 --label vault --pbkdf pbkdf2 --pbkdf-force-iterations 1000 image -",
    ),
    ("LVM2_member", "LVM member", "L=$(losetup -f --show image); pvcreate -qq -ff -y $L; losetup -d $L"),
    ("swap", "swap", "mkswap -L swappy image"),
    ("swap", "swap", "mkswap -p 16384 -L sixteen image"),
    ("swap", "swap", "mkswap -v0 image || craft 4086 SWAP-SPACE"),
    ("ext2", "ext2", "mkfs.ext2 -q -L old image"),
    ("ext3", "ext3", "mkfs.ext3 -q image"),
    ("ext4", "ext4", "mkfs.ext4 -q -L 'röot fs' image"),
    ("xfs", "XFS", "truncate -s 400M image; mkfs.xfs -q -L ix image"),
    ("ntfs", "NTFS", "mkfs.ntfs -q -F -Q -L 'Lab ü' image"),
    ("vfat", "FAT16", "mkfs.vfat -F 16 -n EFI image"),
    ("vfat", "FAT32", "truncate -s 100M image; mkfs.vfat -F 32 image"),
    ("exfat", "exFAT", "mkfs.exfat image"),
    ("btrfs", "btrfs", "truncate -s 200M image; mkfs.btrfs -q -L bee image"),
    ("f2fs", "F2FS", "truncate -s 128M image; mkfs.f2fs -q -l 'eff zwei ü' image"),
    ("jfs", "JFS", "mkfs.jfs -q -L jay image"),
    ("reiserfs", "ReiserFS", "truncate -s 64M image; mkreiserfs -q -ff -l rei image"),
    ("minix", "minix", "mkfs.minix image"),
    ("minix", "minix", "mkfs.minix -2 image"),
    ("minix", "minix", "mkfs.minix -3 image"),
    ("nilfs2", "NILFS2", "truncate -s 200M image; mkfs.nilfs2 -q -L nil image"),
    ("erofs", "erofs", "mkdir x; echo y > x/y; mkfs.erofs --quiet image x"),
    ("squashfs", "squashfs", "mkdir x; echo y > x/y; mksquashfs x image -quiet -noappend"),
    ("udf", "UDF", "mkudffs image"),
    ("iso9660", "ISO 9660", "mkdir x; xorrisofs -quiet -V 'A DISC' -o image x"),
    // No tools.
    ("linux_raid_member", "Linux RAID member", "raid 4096 0"),
    ("linux_raid_member", "Linux RAID member", "raid 0 1"),
    ("linux_raid_member", "Linux RAID member", "raid $((SIZE - 8192)) 2"),
    ("zfs_member", "ZFS", "SIZE=$((80 << 20)); truncate -s $SIZE image; zfs '<'"),
    ("zfs_member", "ZFS", "SIZE=$((80 << 20)); truncate -s $SIZE image; zfs '>'"),
    ("ReFS", "ReFS", r"craft 0 '\0\0\0ReFS\0\0\0\0'"),
    (
        "BitLocker",
        "BitLocker",
        r"craft 0 '\353\130\220-FVE-FS-'; craft 160 '\073\326\147\111\051\056\330\112\203\231\366\243\071\343\320\001'; craft 176 '\0\020'; craft 4096 -FVE-FS-; craft 4106 '\002\0'",
    ),
    ("reiser4", "Reiser4", "craft 65536 ReIsEr4; craft 65556 sixteen-bytes-id; craft 65572 four"),
    ("ufs", "UFS", r"craft 66908 '\031\001\124\031'; craft 65680 12345678; craft 66216 free"),
    (
        "gfs2",
        "GFS2",
        r"craft 65536 '\001\026\031\160\0\0\0\001'; craft 65560 '\0\0\007\011\0\0\007\154'; craft 65696 cluster:fs; craft 65792 sixteen-bytes-id",
    ),
    ("ocfs2", "OCFS2", "craft 4096 OCFSV2; craft 4432 sixteen-bytes-id; craft 4368 oracle"),
    ("VMFS", "VMFS", r"craft 2097152 '\136\361\253\057'; craft 2097161 ABCDEFGHIJKLMNOP; craft 2097181 datastore"),
    // An erased label that is still in the boot sector.
    (
        "vfat",
        "FAT16",
        "mkfs.vfat -F 16 -n GONE image; python3 -c 'f=open(\"image\",\"r+b\"); d=f.read(1<<20); i=d.index(b\"GONE       \\x08\"); f.seek(i); f.write(b\"\\xe5\")'",
    ),
    ("vfat", "FAT16", "mkfs.vfat -F 16 image; mlabel -i image ::rooted"),
    ("vfat", "FAT32", "truncate -s 100M image; mkfs.vfat -F 32 -n SET image; mlabel -c -i image ::"),
    ("iso9660", "ISO 9660", "mkdir x; genisoimage -quiet -J -V 'A label of more than 16' -o image x"),
    ("iso9660", "ISO 9660", "mkdir x; xorrisofs -quiet -J -V 'Größer als sechzehn' -o image x"),
    ("cramfs", "cramfs", "mkdir x; echo y > x/y; mkfs.cramfs -n crammed x image"),
    ("cramfs", "cramfs", "mkdir x; echo y > x/y; mkfs.cramfs -N big -n crammed x image"),
    ("vdo", "VDO", "craft 0 dmvdo001; craft 40 sixteen-bytes-id"),
    (
        "hpfs",
        "HPFS",
        r"craft 8192 '\111\350\225\371'; craft 8704 '\111\030\221\371'; craft 38 '\050\1\2\3\4OS2LABEL'; craft 54 'HPFS    '; craft 510 '\125\252'",
    ),
    ("hpfs", "HPFS", r"craft 8192 '\111\350\225\371'; craft 8704 '\111\030\221\371'"),
    ("bcache", "bcache", "bcache 4E1A45CA8265F57F48BA6D81 8"),
    ("linux_raid_member", "Linux RAID member", "old_raid '<'"),
    ("linux_raid_member", "Linux RAID member", "old_raid '>'"),
    ("hfs", "HFS", r"craft 1024 BD; craft 1044 '\0\0\020\0'; craft 1060 '\007Old Mac'; craft 1140 8-bytes."),
];

/// Helpers for the scripts: SIZE, `craft OFFSET BYTES`, `raid OFFSET MINOR`, `zfs ORDER`.
const HEAD: &str = r#"
SIZE=$((40 << 20)); rm -rf image x; truncate -s $SIZE image
craft() { printf -- "$2" | dd of=image bs=1 seek=$1 conv=notrunc status=none; }
raid() { python3 - $1 $2 $SIZE <<'END'
import struct, sys
offset, minor, size = map(int, sys.argv[1:])
block = struct.pack("<IIII16s32s", 0xa92b4efc, 1, 0, 0, bytes(range(16, 32)), b"host:array")
block += struct.pack("<QIIQIIIIQIIIIQQQ", 0, 1, 0, 2048, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2048, 20000, offset // 512)
block = block.ljust(256, b"\0")
total = sum(struct.unpack("<64I", block))
block = block[:216] + struct.pack("<I", ((total & 0xffffffff) + (total >> 32)) & 0xffffffff) + block[220:]
image = open("image", "r+b")
image.seek(offset)
image.write(block)
END
}
bcache() { python3 - $1 $2 <<'END'
import struct, sys
block = struct.pack("<QQQ", 0, int(sys.argv[2]), 1) + bytes.fromhex("C68573F6" + sys.argv[1]) + b"sixteen-bytes-id" + b"another-identity"
block += b"a label".ljust(32, b"\0")
image = open("image", "r+b")
image.seek(4096)
image.write(block)
END
}
old_raid() { python3 - $1 $SIZE <<'END'
import struct, sys
order, size = sys.argv[1], int(sys.argv[2])
words = [0] * 1024
words[:10] = [0xa92b4efc, 0, 90, 0, 0, 0x01020304, 1700000000, 1, 20000, 2]
words[13:16] = [0x05060708, 0x090a0b0c, 0x0d0e0f10]
image = open("image", "r+b")
image.seek((size & ~0xffff) - 65536)
image.write(struct.pack(order + "1024I", *words))
END
}
zfs() { python3 - "$1" $SIZE <<'END'
import struct, sys
order, size = sys.argv[1], int(sys.argv[2])
def text(s):
    return struct.pack(">I", len(s)) + s.ljust(-(-len(s) // 4) * 4, b"\0")
def pair(name, kind, value):
    body = text(name) + struct.pack(">II", kind, 1) + value
    return struct.pack(">II", len(body) + 8, 64) + body
pairs = pair(b"version", 8, struct.pack(">Q", 5000)) + pair(b"name", 9, text(b"tank")) + pair(b"state", 8, struct.pack(">Q", 0))
pairs += pair(b"txg", 8, struct.pack(">Q", 4)) + pair(b"pool_guid", 8, struct.pack(">Q", 12345678901234567890)) + pair(b"guid", 8, struct.pack(">Q", 777))
label = bytearray(256 << 10)
nv = b"\1\1\0\0" + struct.pack(">II", 0, 1) + pairs + struct.pack(">II", 0, 0)
label[16 << 10:(16 << 10) + len(nv)] = nv
for i in range(16):
    offset = (128 << 10) + 1024 * i
    label[offset:offset + 40] = struct.pack(order + "QQQQQ", 0xbab10c, 5000, 4 + i, 777, 1700000000)
image = open("image", "r+b")
for offset in [0, 256 << 10, size - (512 << 10), size - (256 << 10)]:
    image.seek(offset)
    image.write(label)
END
}
"#;

#[test]
fn identifies_volumes_like_blkid() {
    let directory = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for (theirs, ours, script) in KINDS {
        sh(directory.path(), &format!("{HEAD}\n({script}) >/dev/null 2>log || {{ cat log >&2; exit 1; }}"));
        let blkid =
            |tag: &str| sh(directory.path(), &format!("blkid -p -s {tag} -o value image || :")).trim().to_owned();
        let found = guestfs::identify(&disk(&directory.path().join("image")));
        // For these, blkid derives them from other data.
        let uuid = if ["UDF", "ISO 9660"].contains(&ours) { found.uuid.clone() } else { blkid("UUID") };
        let label = if ours == "UDF" { found.label.clone() } else { blkid("LABEL") };
        let expected = (theirs.to_owned(), ours.to_owned(), label, uuid);
        let found = (blkid("TYPE"), found.type_name, found.label, found.uuid);
        if found != expected {
            wrong.push(format!("{script}:\n  blkid {expected:?}\n  ours  {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The magic number of ext has two bytes, which another file system may have by chance; blkid then reports neither.
#[test]
fn identifies_fat_with_magic_number_of_ext_in_table() {
    let directory = tempfile::tempdir().unwrap();
    sh(
        directory.path(),
        r"truncate -s 2M image; mkfs.vfat -F 12 -n SMALL image; printf '\123\357' | dd of=image bs=1 seek=1080 conv=notrunc status=none",
    );
    let disk = disk(&directory.path().join("image"));
    let found = guestfs::detect::detect(&*disk).unwrap();
    assert_eq!((found.type_name.as_str(), found.label.as_str()), ("FAT12", "SMALL"));
}

#[test]
fn identifies_nothing_on_short_empty_volumes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    for size in [512, 1024, 4096, 5000, 66_000, 263_000] {
        std::fs::write(&path, vec![0; size]).unwrap();
        assert_eq!(guestfs::identify(&disk(&path)), Content::default(), "{size}");
    }
}
