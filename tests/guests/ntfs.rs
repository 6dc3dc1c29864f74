//! Compares NTFS volumes with ntfs-3g: names, sizes, times and bytes. (Owners and modes are made up by ntfs-3g.)
//!
//! Needs root and ntfs-3g; fails loudly without.

use super::corrupt;
use super::ours::ours;
use crate::against::disks::disk;
use crate::against::tree;
use crate::against::tree::{Walk, kernel};
use crate::disk::Disk;
use crate::guestfs::GuestFs;
use crate::guestfs::ntfs::Ntfs;
use crate::guestfs::read;
use crate::support::sh;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

fn open(image: &Path) -> (Arc<dyn Disk>, Ntfs) {
    let disk = disk(image);
    let ntfs = Ntfs::open(disk.clone()).unwrap();
    (disk, ntfs)
}

/// Reduces a tree to what both can know: links, size, modification time, digest, target, streams.
fn comparable(walk: Walk) -> Walk {
    let keep = |text: String| -> String {
        let words = text.split(' ').filter(|word| !["uid=", "gid=", "ctime="].iter().any(|p| word.starts_with(p)));
        let words = words.map(|word| match word.strip_prefix("mode=") {
            Some(mode) => format!("mode={}", &mode[..mode.len() - 4]),
            None => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    };
    walk.into_iter().map(|(name, text)| (name, keep(text))).collect()
}

const FILL: &str = r#"
cd "$1/m"
mkdir -p etc many deep/a/b/c/d 'naïve ☃' compressed huge
seq -f 'huge/entry-with-a-longer-name-%.0f' 1 10000 | xargs touch
echo lab > etc/hostname; echo 7 > seven; touch -d '1999-12-31 23:59:59.1234567' seven; ln etc/hostname etc/hard
ln -s ../etc/hostname etc/short; ln -s "$(printf 'x%.0s' $(seq 200))" etc/long
for i in $(seq 1 3000); do echo $i > many/file-$i; done; rm many/file-1??
head -c 3000000 /dev/urandom > data; truncate -s 20M sparse; echo end >> sparse; echo mid | dd of=sparse bs=1 seek=7000000 conv=notrunc status=none
for i in $(seq 1 400); do head -c 9000 /dev/urandom >> frag1; head -c 5000 /dev/urandom >> frag2; done
: > empty; printf 'tiny' > tiny; mkdir emptydir; head -c 700 /dev/urandom > resident; head -c 20000000 /dev/urandom > large
echo x > 'naïve ☃/ein ß.txt'; echo y > "$(printf 'n%.0s' $(seq 250))"; echo e > 'emoji 😀'
setfattr -h -v 0x00000810 -n system.ntfs_attrib_be compressed
seq 1 300000 > compressed/text; head -c 300000 /dev/urandom > compressed/noise; truncate -s 3M compressed/holes; echo end >> compressed/holes
(seq 1 9000; head -c 70000 /dev/urandom; seq 1 9000; head -c 200000 /dev/zero; echo x) > compressed/mixed
for i in $(seq 1 120); do seq 1 3000 >> compressed/frag; head -c 5000 /dev/urandom >> frag3; done
for i in $(seq 1 60); do setfattr -n user.stream-with-a-long-name-$i -v "$(printf 'v%.0s' $(seq 90))" data; done
setfattr -n user.small -v five tiny
"#;

#[test]
fn reads_every_cluster_size_like_ntfs_3g() {
    for cluster in [512, 4096, 65536] {
        let directory = tempfile::tempdir().unwrap();
        let options = if cluster > 4096 { "" } else { "compression," };
        sh(
            directory.path(),
            &format!(
                "cd $1; truncate -s 200M image; mkfs.ntfs -q -F -Q -L 'Lab ü' -c {cluster} image >/dev/null; mkdir m; \
             ntfs-3g -o {options}streams_interface=xattr,special_files=wsl image m"
            ),
        );
        sh(directory.path(), FILL);
        sh(directory.path(), "cd $1; umount m; ntfs-3g -o ro,streams_interface=xattr image m");
        let theirs = kernel(&directory.path().join("m"));
        sh(directory.path(), "cd $1; umount m");
        let opened = open(&directory.path().join("image"));
        assert_eq!(opened.1.facts().label, "Lab ü");
        // ntfs-3g calls streams user.NAME; this reader calls them user.stream.NAME.
        let ours: Walk =
            ours(&opened).into_iter().map(|(name, text)| (name, text.replace("user.stream.", "user."))).collect();
        tree::assert_same(&format!("clusters of {cluster} bytes"), &comparable(theirs), &comparable(ours));
    }
}

/// Links and devices created by ntfs-3g in the forms of Interix (its default) and the Windows subsystem for Linux.
#[test]
fn reads_special_files_like_ntfs_3g() {
    for form in ["interix", "wsl"] {
        let directory = tempfile::tempdir().unwrap();
        let script = format!(
            r#"cd "$1"; truncate -s 50M image; mkfs.ntfs -q -F -Q image >/dev/null 2>&1; mkdir m; ntfs-3g -o special_files={form} image m
            cd m; mkdir sub; for i in $(seq 1 20); do echo $i > sub/$i; done; ln -s /etc/passwd absolute; ln -s ../nowhere sub/dangling; ln -s sub/1 'ünï ☃'
            ln -s "$(printf 'x%.0s' $(seq 200))" long; mknod c c 5 300; mknod b b 8 1; echo IntxLNK > text; [ {form} = interix ] || mkfifo pipe
            cd ..; umount m; ntfs-3g -o ro,special_files={form},streams_interface=none image m"#
        );
        sh(directory.path(), &script);
        let mut theirs = kernel(&directory.path().join("m"));
        sh(directory.path(), r#"umount "$1/m""#);
        // ntfs-3g shows the bytes of a device file, which no other file system does.
        theirs.values_mut().for_each(|text| *text = text.replace(" size=24 ", " size=0 "));
        tree::assert_same(form, &comparable(theirs), &comparable(ours(&open(&directory.path().join("image")))));
    }
}

/// Sources, and a program that extracts the compressed bytes of each file from a WIM image.
const WOF: &str = r#"
cd "$1"; mkdir -p src m
cp /bin/bash src/program; seq 1 40000 > src/text; printf x > src/one; seq 1 200 > src/small; head -c 65536 src/text > src/even
(seq 1 3000; head -c 70000 /dev/urandom; seq 1 3000; head -c 50000 /dev/zero) > src/mixed; head -c 32768 src/program > src/chunk
cat > extract.py <<'END'
import hashlib, os, re, subprocess, sys
wim, out = sys.argv[1:]
listed = subprocess.run(["wimlib-imagex", "info", wim, "--blobs"], capture_output=True, text=True, check=True).stdout
blobs = {}
for blob in listed.split("\n\n"):
    found = dict(re.findall(r"^(\w[\w ]*?) += (?:0x)?(\w+)", blob, re.M))
    if "Hash" in found:
        blobs[found["Hash"]] = (int(found["Offset in WIM"]), int(found.get("Compressed size", 0)), "RESHDR_FLAG_COMPRESSED" in blob)
for name in os.listdir("src"):
    offset, size, compressed = blobs[hashlib.sha1(open("src/" + name, "rb").read()).hexdigest()]
    if compressed:
        with open(wim, "rb") as f:
            f.seek(offset)
            open(out + "/" + name, "wb").write(f.read(size))
END
"#;

/// wimlib compresses the chunks of files in WIM images like Windows does in `WofCompressedData`, including the table.
#[test]
fn reads_compressed_system_files() {
    let forms = [("XPRESS", 4096, 0), ("LZX", 32768, 1), ("XPRESS", 8192, 2), ("XPRESS", 16384, 3)];
    let directory = tempfile::tempdir().unwrap();
    sh(directory.path(), WOF);
    for (algorithm, chunk, number) in forms {
        let script = format!(
            r#"cd "$1"; rm -rf compressed x.wim image; mkdir compressed; truncate -s 50M image; mkfs.ntfs -q -F -Q image >/dev/null 2>&1
            wimlib-imagex capture src x.wim --compress={algorithm} --chunk-size={chunk} --no-acls >/dev/null; python3 extract.py x.wim compressed
            ntfs-3g -o streams_interface=windows image m
            for f in $(ls compressed); do truncate -s $(stat -c %s src/$f) m/$f; cat compressed/$f > m/$f:WofCompressedData
            setfattr -n system.ntfs_reparse_data -v 0x17000080100000000100000002000000010000000{number}000000 m/$f; done; umount m"#
        );
        sh(directory.path(), &script);
        let (disk, ntfs) = open(&directory.path().join("image"));
        let mut compared = 0;
        for entry in std::fs::read_dir(directory.path().join("compressed")).unwrap() {
            let name = entry.unwrap().file_name();
            let expected = std::fs::read(directory.path().join("src").join(&name)).unwrap();
            let node = ntfs.lookup(ntfs.root(), name.as_encoded_bytes()).unwrap().unwrap();
            let attributes = ntfs.attributes(node).unwrap();
            let read = |offset: usize, len: usize| {
                let mut buf = vec![0; len];
                let got = read::read(&ntfs, &*disk, node, &attributes, offset as u64, &mut buf);
                buf.truncate(got.unwrap_or_else(|e| panic!("{algorithm} {name:?}: {e}")));
                buf
            };
            assert!(read(0, expected.len() + 1) == expected, "{algorithm} {chunk} {name:?}");
            for offset in [1, 4095, 32767, 100_000] {
                let rest = expected.get(offset..).unwrap_or_default();
                assert!(read(offset, 5000) == rest[..rest.len().min(5000)], "{algorithm} {name:?} from {offset}");
            }
            assert_eq!(ntfs.xattr_names(node).unwrap(), [b""; 0]);
            compared += 1;
        }
        assert!(compared >= 5, "{algorithm}: {compared}");
    }
}

/// Flips bits of compressed chunks: the result is an error or as many other bytes, never more.
#[test]
fn survives_corrupt_system_files() {
    let directory = tempfile::tempdir().unwrap();
    sh(directory.path(), WOF);
    for (algorithm, number) in [("XPRESS", 0), ("LZX", 1)] {
        let script = format!(
            r#"cd "$1"; rm -rf compressed x.wim image; mkdir compressed; truncate -s 20M image; mkfs.ntfs -q -F -Q image >/dev/null 2>&1
            wimlib-imagex capture src x.wim --compress={algorithm} --chunk-size=$(({number} ? 32768 : 4096)) --no-acls >/dev/null; python3 extract.py x.wim compressed
            ntfs-3g -o streams_interface=windows image m; truncate -s $(stat -c %s src/text) m/text; cat compressed/text > m/text:WofCompressedData
            setfattr -n system.ntfs_reparse_data -v 0x17000080100000000100000002000000010000000{number}000000 m/text; umount m"#
        );
        sh(directory.path(), &script);
        let image = std::fs::read(directory.path().join("image")).unwrap();
        let compressed = std::fs::read(directory.path().join("compressed/text")).unwrap();
        let start = image.windows(64).position(|window| window == &compressed[..64]).unwrap();
        let mut wrong = 0;
        for round in 0..200 {
            let mut corrupt = image.clone();
            corrupt[start + round * compressed.len() / 200] ^= 1 << (round % 8);
            let path = directory.path().join("corrupt");
            std::fs::write(&path, corrupt).unwrap();
            let (disk, ntfs) = open(&path);
            let node = ntfs.lookup(ntfs.root(), b"text").unwrap().unwrap();
            let attributes = ntfs.attributes(node).unwrap();
            let mut buf = vec![0; usize::try_from(attributes.size).unwrap()];
            wrong += usize::from(read::read(&ntfs, &*disk, node, &attributes, 0, &mut buf).is_err());
        }
        assert!(wrong > 10, "{algorithm}: {wrong} of 200");
    }
}

/// Restart pages like those of Windows: the journal open or closed, the volume unmounted or not.
const RESTART: &str = r#"
import struct, sys
image, client, flags, newer = sys.argv[1], int(sys.argv[2], 0), int(sys.argv[3]), int(sys.argv[4])
raw = bytearray(open(image, "rb").read())
cluster = struct.unpack_from("<H", raw, 11)[0] * raw[13]
# The third record of the file table: $LogFile; its unnamed stream is in one run.
record = struct.unpack_from("<Q", raw, 48)[0] * cluster + 2 * 1024
at = record + struct.unpack_from("<H", raw, record + 20)[0]
while struct.unpack_from("<I", raw, at)[0] != 0x80:
    at += struct.unpack_from("<I", raw, at + 4)[0]
runs = at + struct.unpack_from("<H", raw, at + 32)[0]
low, high = raw[runs] & 15, raw[runs] >> 4
place = int.from_bytes(raw[runs + 1 + low:runs + 1 + low + high], "little") * cluster
def page(lsn, client, flags):
    head = struct.pack("<4sHHQIIHHH", b"RSTR", 30, 9, 0, 4096, 4096, 48, 1, 1) + struct.pack("<H", 7) + bytes(16)
    area = struct.pack("<QHHHHIHHQIHHII", lsn, 1, 0xFFFF, client, flags, 45, 224, 64, 2 << 20, 0, 48, 64, 1, 0)
    area = area.ljust(64, b"\0") + struct.pack("<QQHHHHHHHHI8s", lsn, lsn, 0xFFFF, 0xFFFF, 0, 0, 0, 0, 0, 0, 8, b"N\0T\0F\0S\0")
    full = bytearray((head + area).ljust(4096, b"\0"))
    for end in range(510, 4096, 512):
        full[end:end + 2] = struct.pack("<H", 7)
    return full
raw[place:place + 4096] = page(100, client, flags)
raw[place + 4096:place + 8192] = page(200 if newer else 50, 0xFFFF, 0)
open(image, "wb").write(raw)
"#;

#[test]
fn reports_changes_only_in_journal() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("restart.py"), RESTART).unwrap();
    sh(directory.path(), "cd $1; truncate -s 20M made; mkfs.ntfs -q -F -Q made >/dev/null");
    // Client, flags, and whether the second page is newer; the expected state.
    for (client, flags, newer, clean) in
        [(0, 0, 0, false), (0, 2, 0, true), (0xFFFF, 0, 0, true), (0, 0, 1, true), (0, 1, 0, false)]
    {
        sh(directory.path(), &format!("cd $1; cp made image; python3 restart.py image {client} {flags} {newer}"));
        let image = directory.path().join("image");
        let notes = open(&image).1.facts().notes.join("; ");
        let what = format!("client {client:#x}, flags {flags}, newer {newer}: {notes}");
        assert_eq!(notes.is_empty(), clean, "{what}");
        assert_eq!(notes.contains("It was not cleanly unmounted: the newest changes may be missing"), !clean, "{what}");
        // The same with ntfs-3g, which returns 15 for a volume that was not unmounted.
        let probe = Command::new("ntfs-3g.probe").arg("--readwrite").arg(&image).output().unwrap();
        assert_eq!(probe.status.code(), Some(if clean { 0 } else { 15 }), "{what}: {probe:?}");
    }
}

#[test]
fn refuses_files_stored_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    sh(
        directory.path(),
        r#"cd "$1"; truncate -s 20M image; mkfs.ntfs -q -F -Q image >/dev/null 2>&1; mkdir m; ntfs-3g image m
        point() { echo bytes > m/$1; setfattr -n system.ntfs_reparse_data -v 0x$2 m/$1; }
        tag() { point $1 ${2}0800000000000000ffffffff; }
        tag dedup 13000080; tag sis 07000080; tag hsm 040000c0
        echo bytes > m/cloud; setfattr -n system.ntfs_attrib_be -v 0x00001020 m/cloud; setfattr -n system.ntfs_reparse_data -v 0x1a60009008000000000000000000ffff m/cloud
        tag here 1a600090; tag unknown 99000080
        point wim 170000801000000001000000010000000100000000000000; point future 170000801000000001000000020000000100000009000000
        umount m"#,
    );
    let (_, ntfs) = open(&directory.path().join("image"));
    let outcome = |name: &str| {
        let node = ntfs.lookup(ntfs.root(), name.as_bytes()).unwrap().unwrap();
        assert_eq!(ntfs.attributes(node).unwrap().size, 6, "{name}");
        ntfs.extent(node, 0, 1).map_or_else(|e| e.to_string(), |_| "here".to_owned())
    };
    for (name, what) in [
        ("dedup", "is deduplicated by Windows"),
        ("sis", "single instance storage"),
        ("hsm", "moved to another storage"),
        ("cloud", "is in the cloud, not on this disk; use the guest itself"),
        ("wim", "is in a WIM image"),
        ("future", "compressed like Windows' system files, in an unknown form"),
        ("here", "here"),
        ("unknown", "here"),
    ] {
        assert!(outcome(name).contains(what), "{name}: {}", outcome(name));
    }
}

#[test]
fn survives_corruption() {
    let directory = tempfile::tempdir().unwrap();
    sh(
        directory.path(),
        "cd $1; truncate -s 40M image; mkfs.ntfs -q -F -Q image >/dev/null; mkdir m; \
         ntfs-3g -o compression,streams_interface=xattr,special_files=wsl image m",
    );
    sh(directory.path(), corrupt::FILL);
    sh(
        directory.path(),
        "cd $1; mkdir m/compressed; setfattr -h -v 0x00000810 -n system.ntfs_attrib_be m/compressed; seq 1 90000 > m/compressed/text; umount m",
    );
    corrupt::survive("NTFS", disk(&directory.path().join("image")), Ntfs::open);
}
