//! XFS as the kernel shows it: the same tree, attribute by attribute and byte by byte. Version 4, which many kernels no
//! longer mount, is filled by mkfs.xfs itself from a tree on the host.
//!
//! Needs root (loop devices) and xfsprogs; fails loudly without.

use super::corrupt;
use super::ours::ours;
use crate::against::disks::disk;
use crate::against::mounted::Mounted;
use crate::against::tree;
use crate::against::tree::{Walk, kernel};
use crate::guestfs::GuestFs;
use crate::guestfs::xfs::Xfs;
use crate::support::{LOOP, sh};

/// What XFS has forms of its own for.
const MORE: &str = r#"
cd "$1/m"
mkdir huge wide; seq -f 'huge/entry-with-a-longer-name-%.0f' 1 10000 | xargs touch; rm huge/*7
seq -f 'wide/d%.0f' 1 700 | xargs mkdir
head -c LARGE /dev/urandom > large; cp --reflink=auto large copy; echo changed | dd of=copy bs=1 seek=9000000 conv=notrunc status=none
python3 - <<'END'
import os
with open("holes", "wb") as f:
    for i in range(4000):
        f.seek(i * 8192 + 100)
        f.write(b"part %d" % i)
fd = os.open("attributes", os.O_CREAT)
for i in range(900):
    os.setxattr("attributes", "user.a-name-%d" % i, b"v" * (i % 200))
for i in range(9):
    os.setxattr("attributes", "trusted.large-%d" % i, bytes([i]) * (7000 * i + 3000))
os.setxattr("attributes", "user.largest", os.urandom(65536))
for i in range(40):
    open("few-%d" % i, "w")
    for n in range(i):
        os.setxattr("few-%d" % i, "user.x%d" % n, b"y" * (3 * n))
entries = [(1, 7, -1), (2, 6, 1000), (4, 5, -1), (8, 4, 50), (16, 7, -1), (32, 0, -1)]
acl = b"\2\0\0\0" + b"".join(t.to_bytes(2, "little") + p.to_bytes(2, "little") + (i & 0xffffffff).to_bytes(4, "little") for t, p, i in entries)
os.setxattr("wide", "system.posix_acl_access", acl)
os.setxattr("wide", "system.posix_acl_default", acl)
for n in [1, 50, 100, 300, 336, 337, 500, 1000, 1023]:
    os.symlink("t" * n, "link-%d" % n)
END
"#;

fn xfs(disk: std::sync::Arc<dyn crate::disk::Disk>) -> Xfs {
    Xfs::open(disk).unwrap()
}

fn clean(disk: std::sync::Arc<dyn crate::disk::Disk>) -> Xfs {
    let fs = xfs(disk);
    assert!(fs.facts().notes.is_empty(), "{:?}", fs.facts().notes);
    fs
}

/// The kernel shows root also the stored form of access control lists, which no other file system could take.
fn comparable(walk: Walk) -> Walk {
    let stored = |text: &str, name: &str| -> String {
        let Some(at) = text.find(&format!("\"{name}\": [")) else { return text.to_owned() };
        let end = at + text[at..].find(']').unwrap() + 1;
        let (before, after) = (text[..at].trim_end_matches(", "), &text[end..]);
        let after = if before.ends_with('{') { after.trim_start_matches(", ") } else { after };
        format!("{before}{after}")
    };
    walk.into_iter()
        .map(|(name, text)| (name, stored(&stored(&text, "trusted.SGI_ACL_FILE"), "trusted.SGI_ACL_DEFAULT")))
        .collect()
}

#[test]
fn reads_version_5_as_the_kernel() {
    let kinds = [
        "mkfs.xfs -q",
        "mkfs.xfs -q -b size=1024 -m bigtime=1,inobtcount=1 -d agcount=7",
        "mkfs.xfs -q -b size=65536 -i size=1024,nrext64=1 -n size=65536 -d agcount=3",
        "mkfs.xfs -q -n size=8192 -m reflink=0,finobt=0,bigtime=0 -i sparse=0 -d agsize=83890176",
        "mkfs.xfs -q -s size=4096 -b size=8192 -i size=2048 -m rmapbt=1 -L lab",
    ];
    for mkfs in kinds {
        let mounted = Mounted::new(mkfs, "900M");
        mounted.fill();
        sh(mounted.directory.path(), &MORE.replace("LARGE", if mkfs == kinds[0] { "200M" } else { "10M" }));
        let (theirs, ours) = mounted.both(clean);
        tree::assert_same(mkfs, &comparable(theirs), &ours);
    }
}

/// Changes of every kind that the journal has.
const CHANGES: &str = r#"
cd $1/m; sync -f .; rm -r many; mv etc moved; echo more >> seven; mkdir new; echo n > new/n
for i in $(seq 1 2000); do echo $i > new/file-$i; done; mknod new/dev c 7 9; setfattr -n user.new -v 1 new/n
for i in $(seq 1 400); do echo x | dd of=new/holes bs=1 seek=$((i * 9000)) conv=notrunc status=none; done
"#;

/// More changes than the journal holds, so that it goes around its end.
const AROUND: &str = r#"
cd $1/m; rm -r many; mv etc moved; mkdir new; echo n > new/n
python3 - <<'END'
import os
new = os.open("new", os.O_RDONLY)
for turn in range(70):
    for i in range(2500):
        name = "new/%d-%s" % (i, "n" * (100 + turn))
        if turn:
            os.rename("new/%d-%s" % (i, "n" * (99 + turn)), name)
        else:
            open(name, "w")
    os.fsync(new)
END
"#;

#[test]
fn replays_the_journal_of_a_copy_taken_while_mounted() {
    for changes in [CHANGES, AROUND] {
        let mounted = Mounted::new("mkfs.xfs -q -d agcount=5", "400M");
        mounted.fill();
        sh(mounted.directory.path(), changes);
        sh(mounted.directory.path(), "cd $1; sync; xfs_io -x -c 'shutdown -f' m; umount m; cp image dirty");
        let disk = disk(&mounted.path("dirty"));
        let fs = xfs(disk.clone());
        assert!(fs.facts().notes[0].contains("transactions of its journal are replayed"), "{:?}", fs.facts().notes);
        let walk = ours(&(disk, fs));
        assert!(walk.contains_key("moved/hostname") && walk.contains_key("new/n") && !walk.contains_key("many"));
        sh(mounted.directory.path(), "cd $1; mount -o loop dirty m; mount -o remount,ro m");
        tree::assert_same("dirty", &kernel(&mounted.path("m")), &walk);
    }
}

/// Many records of the journal, each synced on its own.
const RECORDS: &str = r#"
cd "$1"; umount m; mount -o loop,logbsize=32k image m; cd m; mkdir many; for i in $(seq 1 40); do echo $i > many/$i; done; sync -f .
python3 - <<'END'
import os
for turn in range(16):
    os.mkdir("turn-%d" % turn)
    for i in range(40):
        open("turn-%d/%s%d" % (turn, "n" * 40, i), "w").write("%d" % i)
    os.unlink("many/%d" % (turn + 1))
    fd = os.open("turn-%d" % turn, os.O_RDONLY)
    os.fsync(fd)
END
cd ..; xfs_io -x -c 'shutdown -f' m; umount m
"#;

/// Up to eight records at the end may never have been written whole. Corruption before those is no such thing: the
/// kernel does not mount it, and a part of the journal would mix old and new.
#[test]
fn ends_the_replay_of_a_corrupt_journal_as_the_kernel() {
    let mounted = Mounted::new("mkfs.xfs -q", "320M");
    let directory = mounted.directory.path();
    sh(directory, RECORDS);
    let image = std::fs::read(mounted.path("image")).unwrap();
    let u32_be = |at: usize| usize::try_from(u32::from_be_bytes(*image[at..].first_chunk().unwrap())).unwrap();
    let (block, group_bits) = (u32_be(4), image[124]);
    let start = u64::from_be_bytes(*image[48..].first_chunk().unwrap());
    let (group, within) = (start >> group_bits, start & ((1 << group_bits) - 1));
    let start = (usize::try_from(group).unwrap() * u32_be(84) + usize::try_from(within).unwrap()) * block;
    // Headers of the first round.
    let records: Vec<usize> = (start..start + u32_be(96) * block)
        .step_by(512)
        .filter(|at| image[*at..].starts_with(&[0xFE, 0xED, 0xBA, 0xBE]) && u32_be(at + 4) == 1)
        .collect();
    let n = records.len();
    assert!(n > 16, "{n} records");
    let (mut same, mut reported) = (0, 0);
    // The sum of a record, its length, what it holds, and the round of one of its sectors.
    for at in [
        records[n - 1] + 33,
        records[n - 1] + 13,
        records[n - 1] + 1000,
        records[n - 3] + 13,
        records[n - 3] + 512 * 5 + 3,
        records[n - 8] + 1000,
        records[n - 9] + 1000,
        records[n / 2] + 13,
        records[3] + 1000,
    ] {
        let mut corrupt = image.clone();
        corrupt[at] ^= 0x11;
        std::fs::write(mounted.path("copy"), corrupt).unwrap();
        let disk = disk(&mounted.path("copy"));
        let fs = xfs(disk.clone());
        let note = fs.facts().notes.join("; ");
        let walk = ours(&(disk, fs));
        let mount = std::process::Command::new("bash")
            .args(["-c", &format!("{LOOP}mount -o loop copy m")])
            .current_dir(directory)
            .output()
            .unwrap();
        let count = records.iter().filter(|record| **record > at).count();
        if mount.status.success() {
            sh(directory, r#"cd "$1"; mount -o remount,ro m"#);
            let theirs = kernel(&mounted.path("m"));
            sh(directory, r#"umount "$1/m""#);
            tree::assert_same(&format!("{count} records after the corruption: {note}"), &theirs, &walk);
            same += 1;
        } else {
            assert!(note.contains("its journal cannot be replayed (journal record at offset "), "{count}: {note}");
            assert!(note.contains("recent changes may be missing"), "{count}: {note}");
            reported += 1;
        }
    }
    assert_eq!((same, reported), (6, 3));
}

/// A tree made by mkfs itself has the host's content and owners, but the time of mkfs and no attributes.
const PROTOTYPE: &str = r#"
cd "$1"; mkdir -p src/many src/few src/sub/deep
for i in $(seq 1 10000); do echo $i > src/many/file-number-$i; done; for i in 1 2 3; do echo $i > src/few/$i; done
for i in $(seq 1 60); do echo $i > src/sub/entry-$i; done
head -c 30000000 /dev/urandom > src/large; : > src/empty; ln -s ../few/1 src/sub/link; ln -s "$(printf 'x%.0s' $(seq 700))" src/sub/long
python3 - > proto <<'END'
import os
print("none\n0 0\nd--755 0 0")
def show(directory, depth):
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if os.path.islink(path):
            print(" " * depth + name, "l--777 3 4", os.readlink(path))
        elif os.path.isdir(path):
            print(" " * depth + name, "d--750 1 2")
            show(path, depth + 1)
            print(" " * depth + "$")
        else:
            print(" " * depth + name, "---640 5 6", path)
show("src", 1)
print(" dev b--600 7 8 8 17\n pipe p--600 7 8\n$")
END
"#;

#[test]
fn reads_version_4() {
    let kinds = [
        "-m crc=0",
        "-m crc=0 -n ftype=0 -i attr=1,projid32bit=0",
        "-m crc=0 -b size=1024 -i size=256 -n size=4096 -d agcount=5",
        "-m crc=0 -b size=512 -i size=256",
    ];
    let directory = tempfile::tempdir().unwrap();
    sh(directory.path(), PROTOTYPE);
    let wanted = without_times(kernel(&directory.path().join("src")));
    for options in kinds {
        sh(
            directory.path(),
            &format!("cd $1; rm -f image; truncate -s 400M image; mkfs.xfs -q {options} -p proto image"),
        );
        let disk = disk(&directory.path().join("image"));
        let fs = clean(disk.clone());
        let mut found = ours(&(disk, fs));
        let device = found.remove("dev").unwrap();
        assert!(device.starts_with("mode=60600 uid=7 gid=8") && device.contains(" 8:17 "), "{device}");
        assert!(found.remove("pipe").unwrap().starts_with("mode=10600"));
        for (name, text) in &found {
            let owner = match text.split(' ').next().unwrap() {
                "mode=120777" => "uid=3 gid=4",
                "mode=40750" => "uid=1 gid=2",
                _ => "uid=5 gid=6",
            };
            assert!(text.contains(owner), "{name}: {text}");
        }
        tree::assert_same(options, &wanted, &without_times(found));
    }
}

/// Leaves type, links, size, digest and target.
fn without_times(walk: Walk) -> Walk {
    let keep = |text: String| -> String {
        let drop = ["uid=", "gid=", "mtime=", "ctime="];
        let words = text.split(' ').filter(|word| !drop.iter().any(|prefix| word.starts_with(prefix)));
        let words = words.map(|word| if word.starts_with("mode=") { &word[..word.len() - 3] } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    walk.into_iter().map(|(name, text)| (name, keep(text))).collect()
}

/// Sets a field of an image with xfs_db and returns how it opens, or how its file `name` reads.
fn changed(directory: &std::path::Path, commands: &str, name: &str) -> String {
    sh(directory, &format!("cd $1; cp image changed; xfs_db -x {commands} changed"));
    let disk = disk(&directory.join("changed"));
    let fs = match Xfs::open(disk) {
        Ok(fs) => fs,
        Err(e) => return e.to_string(),
    };
    let node = fs.lookup(fs.root(), name.as_bytes()).unwrap().unwrap();
    match fs.extent(node, 0, 1) {
        Ok(run) => format!("{run:?} {:?}", fs.facts().notes),
        Err(e) => e.to_string(),
    }
}

#[test]
fn refuses_unsupported_features_by_name() {
    let mounted = Mounted::new("mkfs.xfs -q", "400M");
    sh(mounted.directory.path(), "cd $1; echo x > m/file; stat -c %i m/file > number; umount m");
    let directory = mounted.directory.path();
    let number = std::fs::read_to_string(directory.join("number")).unwrap();
    let number = number.trim();
    assert!(changed(directory, "-c 'sb 0'", "file").starts_with("FileRun { extent: Stored("));
    let realtime = changed(directory, &format!("-c 'inode {number}' -c 'write core.realtime 1'"), "file");
    assert!(realtime.contains(&format!("the file with inode {number} is on its realtime device")), "{realtime}");
    let unknown = changed(directory, "-c 'sb 0' -c 'write -d features_incompat 0x8000003'", "file");
    assert!(unknown.contains("incompatible features 0x8000000 are not known"), "{unknown}");
    let repair = changed(directory, "-c 'sb 0' -c 'write -d features_incompat 0x1b'", "file");
    assert!(repair.contains("in need of a repair"), "{repair}");
    let unfinished = changed(directory, "-c 'sb 0' -c 'write -d inprogress 1'", "file");
    assert!(unfinished.contains("unfinished mkfs"), "{unfinished}");
    let bad_sum = changed(directory, &format!("-c 'inode {number}' -c 'write -c core.uid 77'"), "file");
    assert!(bad_sum.contains(&format!("checksum of inode {number}")), "{bad_sum}");
}

#[test]
fn survives_corruption() {
    let mounted = Mounted::new("mkfs.xfs -q", "400M");
    sh(mounted.directory.path(), corrupt::FILL);
    sh(
        mounted.directory.path(),
        "cd $1; for i in $(seq 1 200); do setfattr -n user.more-$i -v value-$i m/two; done; umount m",
    );
    corrupt::survive("version 5", disk(&mounted.path("image")), Xfs::open);
    // With a journal that is replayed, over metadata that is in its place (else the journal has all of it, twice).
    let mounted = Mounted::new("mkfs.xfs -q", "400M");
    sh(mounted.directory.path(), corrupt::FILL);
    sh(
        mounted.directory.path(),
        "cd $1; umount m; mount -o loop image m; for i in $(seq 1 100); do echo $i > m/many/later-$i; rm m/many/*-name-$i; done
         xfs_io -x -c 'shutdown -f' m; umount m",
    );
    corrupt::survive("dirty", disk(&mounted.path("image")), Xfs::open);
    // Without checksums corruption reaches the parsers.
    let directory = tempfile::tempdir().unwrap();
    sh(directory.path(), PROTOTYPE);
    sh(
        directory.path(),
        r#"cd $1; truncate -s 400M image; sed -i '/file-number-[0-9]*[1-9] /d' proto; mkfs.xfs -q -m crc=0 -b size=1024 -p proto image
           for i in $(seq 1 200); do echo "attr_set -v 60 attribute-$i"; done | sed '1i path /sub' | xfs_db -x image >/dev/null"#,
    );
    corrupt::survive("version 4", disk(&directory.path().join("image")), Xfs::open);
}
