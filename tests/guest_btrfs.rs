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
        ("mkfs.btrfs -q -O raid56", "compress-force=zstd:1,max_inline=3900"),
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
        if options.contains("compress") {
            sh(mounted.folder.path(), "filefrag -v $1/m/copy | grep -q encoded");
        }
        let (theirs, ours) = mounted.both(clean);
        tree::assert_same(mkfs, &comparable(theirs), &comparable(ours));
    }
}

#[test]
fn what_other_programs_make_of_a_file_system_reads_as_the_kernel_shows_it() {
    // Another UUID than the one in the nodes; a seed device.
    for change in ["btrfstune -m", "btrfstune -S 1"] {
        let mounted = Mounted::new("mkfs.btrfs -q", "200M");
        mounted.fill();
        sh(mounted.folder.path(), &format!("cd $1; umount m; {change} image; mount -o loop,ro image m"));
        let (theirs, found) = mounted.both(clean);
        tree::assert_same(change, &theirs, &found);
    }
    let mounted = Mounted::new("mkfs.ext4 -q -F -b 4096", "300M");
    mounted.fill();
    sh(mounted.folder.path(), "cd $1; umount m; btrfs-convert --no-progress image >/dev/null; mount -o loop image m");
    let (theirs, found) = mounted.both(clean);
    assert!(theirs.contains_key("ext2_saved/image"));
    tree::assert_same("converted", &theirs, &found);
}

/// Sectors larger than a page are read by few kernels, but mkfs.btrfs fills such file systems from a tree on the host.
#[test]
fn large_sectors_read_as_what_mkfs_put_in() {
    let folder = tempfile::tempdir().unwrap();
    sh(
        folder.path(),
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
    let wanted = comparable(kernel(&folder.path().join("src")));
    for sector in [8192, 65536] {
        let mkfs = format!("mkfs.btrfs -q -s {sector} -n 65536 --rootdir src image");
        sh(folder.path(), &format!("cd $1; rm -f image; truncate -s 300M image; {mkfs}"));
        let disk = disk(&folder.path().join("image"));
        let fs = clean(disk.clone());
        tree::assert_same(&mkfs, &wanted, &comparable(ours(&(disk, fs))));
    }
}

#[test]
fn each_device_of_a_mirror_reads_alone() {
    let folder = tempfile::tempdir().unwrap();
    sh(
        folder.path(),
        r#"cd $1; truncate -s 300M a b c; mkdir m; mkfs.btrfs -q -d raid1c3 -m raid1c3 a b c
           for i in a b c; do eval $i=$(losetup -f --show $i); done
           mount -o device=$a,device=$b,device=$c $a m || { losetup -d $a $b $c; exit 1; }
           losetup -d $a $b $c; cp -r /usr/include/linux m/; sync -f m; btrfs -q subvolume create m/sub; echo x > m/sub/x"#,
    );
    let theirs = kernel(&folder.path().join("m"));
    sh(folder.path(), "umount $1/m");
    for name in ["a", "b", "c"] {
        let disk = disk(&folder.path().join(name));
        let fs = btrfs(disk.clone());
        assert!(fs.facts().notes[0].contains("on 3 devices"), "{:?}", fs.facts().notes);
        tree::assert_same(name, &theirs, &ours(&(disk, fs)));
    }
    sh(
        folder.path(),
        r#"cd $1; mkfs.btrfs -q -f -d raid0 -m raid1 a b; a=$(losetup -f --show a); b=$(losetup -f --show b)
           mount -o device=$b $a m || { losetup -d $a $b; exit 1; }
           losetup -d $a $b; head -c 1000000 /dev/urandom > m/noise; umount m"#,
    );
    for name in ["a", "b"] {
        let refused = open_error(&folder.path().join(name));
        assert!(refused.contains("2 devices") && refused.contains("RAID0"), "{refused}");
    }
}

fn open_error(image: &std::path::Path) -> String {
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
fn restore(image: &std::path::Path, sound: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).open(image).unwrap();
    for place in [65536, 64 << 20] {
        file.write_all_at(&sound[place..place + 4096], place as u64).unwrap();
    }
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    sh(folder.path(), "cd $1; truncate -s 200M image; mkfs.btrfs -q image");
    let image = folder.path().join("image");
    let sound = std::fs::read(&image).unwrap();
    let incompat = u64::from_le_bytes(sound[65536 + 0xBC..65536 + 0xC4].try_into().unwrap());
    let size = u64::from_le_bytes(sound[65536 + 0xD1..65536 + 0xD9].try_into().unwrap());
    let with = |bit: u32| (incompat | 1 << bit).to_le_bytes();
    let cases: [(usize, &[u8], &str); 12] = [
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
        (0x30, &[1], "own place in the superblock"),
        (0xD1, &(size + 1).to_le_bytes(), "size of the volume"),
    ];
    for (at, bytes, message) in cases {
        restore(&image, &sound);
        // The copy, which would do for a damaged first one.
        patch(&image, 64 << 20, 0x40, b"x");
        patch(&image, 65536, at, bytes);
        let refused = open_error(&image);
        assert!(refused.contains(message), "{message}: {refused}");
    }
    restore(&image, &sound);
    std::fs::File::options().write(true).open(&image).unwrap().set_len(100 << 20).unwrap();
    assert!(open_error(&image).contains("size of the volume"));
}

#[test]
fn damaged_copies_are_passed_over() {
    let mounted = Mounted::new("mkfs.btrfs -q -d dup -m dup", "300M");
    mounted.fill();
    sh(mounted.folder.path(), "cd $1/m; head -c 1000000 /dev/urandom > noise; cp noise ..; sync -f .");
    let noise = std::fs::read(mounted.path("noise")).unwrap();
    sh(mounted.folder.path(), "cd $1; umount m; mount -o loop,ro image m");
    let theirs = kernel(&mounted.path("m"));
    sh(mounted.folder.path(), "cd $1; umount m");
    let image = mounted.path("image");
    let mut bytes = std::fs::read(&image).unwrap();
    let places = |bytes: &[u8], part: &[u8]| -> Vec<usize> {
        let sectors = (0..bytes.len()).step_by(4096);
        sectors.filter(|at| bytes[*at..].starts_with(part)).collect()
    };
    let copies: Vec<_> = noise.chunks(4096).map(|part| places(&bytes, part)).take(40).collect();
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

#[test]
fn a_default_subvolume_is_told_and_files_without_checksums_are_runs() {
    let mounted = Mounted::new("mkfs.btrfs -q", "200M");
    sh(
        mounted.folder.path(),
        r#"cd $1/m; mkdir -p a/b; btrfs -q subvolume create a/b/system; mkdir a/b/system/etc
           btrfs -q subvolume snapshot a/b/system a/b/system/etc/first; btrfs subvolume set-default a/b/system/etc/first
           touch nocow; chattr +C nocow; head -c 1000000 /dev/urandom > nocow; head -c 1000000 /dev/urandom > cow; cd ..; umount m"#,
    );
    let volume = disk(&mounted.path("image"));
    let fs = btrfs(volume);
    assert_eq!(fs.facts().notes, ["The guest mounts its folder a/b/system/etc/first unless told otherwise"]);
    let extent = |name: &[u8]| fs.extent(fs.lookup(fs.root(), name).unwrap().unwrap(), 0, 1_000_000).unwrap().extent;
    assert!(matches!(extent(b"nocow"), FileExtent::Stored(_)));
    assert_eq!(extent(b"cow"), FileExtent::Decoded);
    assert!(fs.attributes(Node(1 << 53)).is_err());
}

/// Changes that are synced one by one, so that they are in the log.
const LOGGED: [(&str, &str); 8] = [
    (
        "data",
        r#"
write("new", os.urandom(300000)); write("new-small", b"tiny"); write("new-text", b"text " * 100000)
write("d/f1", b"append" * 5000, "ab"); write("d/f2", b"inside" * 3000, "r+b", 100001)
os.truncate("d/f3", 70000); sync("d/f3"); os.truncate("d/f4", 900000); sync("d/f4"); write("d/f5", b"", "wb")
run("fallocate -p -o 50000 -l 100000 d/f6"); sync("d/f6"); run("fallocate -n -l 2000000 d/f7"); sync("d/f7")
write("d/nocow", b"N" * 20000, "r+b", 8192); write("new-sparse", b"end", "wb", 10 << 20); write("d/small1", b"longer than before")
run("cp --reflink=always d/f8 clone"); sync("clone"); write("d/f9", b"z" * 200000, "r+b", 0); write("d/f9", b"y" * 5000, "r+b", 150000)
"#,
    ),
    (
        "attributes",
        r#"
os.chmod("d/f1", 0o4711); os.chown("d/f1", 7, 8); sync("d/f1"); os.setxattr("d/f2", "user.new", b"value"); sync("d/f2")
os.removexattr("d/f3", "user.old"); os.setxattr("d/f3", "user.more", b"m" * 900); sync("d/f3"); os.setxattr("d/f4", "user.old", b"other"); sync("d/f4")
os.utime("d/f5", ns=(123456789, 987654321)); sync("d/f5"); os.setxattr("d", "user.of-folder", b"1"); sync("d")
"#,
    ),
    (
        "renamed",
        r#"
os.rename("d/f1", "d/renamed"); sync("d/renamed"); os.rename("d/f2", "e/moved"); sync("e/moved"); write("d/f3.new", b"replaced"); os.rename("d/f3.new", "d/f3"); sync("d/f3")
"#,
    ),
    (
        "linked",
        r#"
for i in range(60):
    os.link("d/f4", "e/link-%d" % i)
os.link("d/f4", "d/link"); sync("d/f4"); os.link("d/f5", "d/" + "n" * 240); sync("d/f5"); os.unlink("e/hard"); sync("d/f6")
"#,
    ),
    (
        "many links",
        r#"
for i in range(100):
    os.link("d/f7", "e/" + "l" * 100 + str(i))
sync("d/f7")
"#,
    ),
    (
        "folder",
        r#"
os.mkdir("new"); write("new/a", b"a" * 9000); write("new/b", b"b"); os.symlink("target", "new/link"); os.mknod("new/device", 0o20600, os.makedev(5, 300)); os.mkfifo("new/pipe")
os.makedirs("new/x/y/z"); write("new/x/y/z/deep", b"deep"); sync("new"); sync("new/x/y"); write("d/unsynced", b"u", sync_it=False); sync("d")
"#,
    ),
    (
        "deleted",
        r#"
for i in range(0, 200, 3):
    os.unlink("many/%d" % i)
os.unlink("d/f8"); os.rmdir("e/empty"); os.rename("many/1", "many/one"); write("many/7", b"changed"); sync("many"); sync("d"); sync("e")
"#,
    ),
    (
        "subvolume",
        r#"
write("sub/file", b"s" * 100000); write("sub/new", b"new"); sync("sub"); write("d/f1", b"both", "r+b", 4096); os.rename("sub/old", "sub/older"); sync("sub/older")
for i in range(300):
    write("sub/n%d" % i, b"x" * (i * 40))
"#,
    ),
];

#[test]
fn what_was_synced_since_the_last_transaction_is_replayed() {
    let prelude = r#"
import os, subprocess
def sync(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
def run(command):
    subprocess.run(command, shell=True, check=True)
def write(path, data, mode="wb", at=None, sync_it=True):
    with open(path, mode) as f:
        if at is not None:
            f.seek(at)
        f.write(data)
        f.flush()
        if sync_it:
            os.fsync(f.fileno())
"#;
    for (number, (what, script)) in LOGGED.iter().enumerate() {
        let kinds = ["mkfs.btrfs -q", "mkfs.btrfs -q -O ^no-holes --csum sha256 -n 4096"];
        let mounted = Mounted::new(kinds[number % 2], "200M");
        sh(
            mounted.folder.path(),
            r#"mount -o remount,commit=300,compress=lzo "$1/m"; cd "$1/m"; mkdir d e many e/empty; btrfs -q subvolume create sub; echo old > sub/old; echo file > sub/file
               for i in 1 2 3 4 5 6 7 8 9; do head -c 300000 /dev/urandom > d/f$i; echo small > d/small$i; setfattr -n user.old -v old d/f$i; done
               touch d/nocow; chattr +C d/nocow; head -c 100000 /dev/urandom > d/nocow; ln d/f6 e/hard; for i in $(seq 0 199); do echo $i > many/$i; done; sync -f ."#,
        );
        std::fs::write(mounted.path("script"), format!("{prelude}{script}")).unwrap();
        sh(mounted.folder.path(), "cd $1/m; python3 ../script; cp ../image ../dirty; cd ..; umount m");
        let volume = disk(&mounted.path("dirty"));
        let fs = btrfs(volume.clone());
        assert!(
            fs.facts().notes.first().is_some_and(|note| note.ends_with("replayed in memory")),
            "{what}: {:?}",
            fs.facts().notes
        );
        let found = ours(&(volume, fs));
        let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        sh(mounted.folder.path(), "cd $1; mount -o loop dirty m; mount -o remount,ro m");
        let theirs = kernel(&mounted.path("m"));
        sh(mounted.folder.path(), "cd $1; umount m");
        let (theirs, found) = without_new_times(theirs, found, before);
        tree::assert_same(what, &theirs, &found);
    }
}

/// What the kernel changes while it replays has the time of now, that is after `before`: without those times.
fn without_new_times(mut theirs: Walk, mut ours: Walk, before: f64) -> (Walk, Walk) {
    for (name, text) in &mut theirs {
        let Some(other) = ours.get_mut(name) else { continue };
        for key in ["mtime=", "ctime="] {
            let time = text.split(' ').find_map(|word| word.strip_prefix(key)).unwrap();
            if time.parse::<f64>().unwrap() >= before {
                for text in [&mut *text, &mut *other] {
                    *text = text.split(' ').filter(|word| !word.starts_with(key)).collect::<Vec<_>>().join(" ");
                }
            }
        }
    }
    (theirs, ours)
}

/// A disk whose nodes and superblock always have the right checksum, so that damage reaches the parsers.
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

    fn writable(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> vboximg_mount::disk::Result<()> {
        self.0.read_at(offset, buf)?;
        if buf.len() >= 4096 && buf[32..48] == self.1 {
            let sum = crc32c::crc32c(&buf[32..]).to_le_bytes();
            buf[..4].copy_from_slice(&sum);
        }
        Ok(())
    }

    fn span(&self, offset: u64) -> vboximg_mount::disk::Result<vboximg_mount::disk::Span> {
        self.0.span(offset)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> vboximg_mount::disk::Result<()> {
        self.0.write_at(offset, buf)
    }

    fn discard(&self, offset: u64, len: u64) -> vboximg_mount::disk::Result<()> {
        self.0.discard(offset, len)
    }

    fn flush(&self) -> vboximg_mount::disk::Result<()> {
        self.0.flush()
    }
}

#[test]
fn damage_is_an_error_or_data_never_a_panic_or_a_hang() {
    for (mkfs, options) in
        [("mkfs.btrfs -q -m single", "compress=lzo"), ("mkfs.btrfs -q -m single -n 4096", "compress=zstd")]
    {
        let mounted = Mounted::new(mkfs, "200M");
        sh(mounted.folder.path(), &format!("mount -o remount,{options} $1/m"));
        sh(mounted.folder.path(), damage::FILL);
        sh(
            mounted.folder.path(),
            r#"cd $1/m; seq 1 90000 > text; cp --reflink text copy; btrfs -q subvolume create etc/sub; echo x > etc/sub/x; cp one etc/sub
               btrfs -q subvolume snapshot etc/sub snapshot; cd ..; umount m"#,
        );
        damage::survive(mkfs, disk(&mounted.path("image")), |disk| Btrfs::open(Arc::new(Resummed::new(disk))));
    }
    // With a log that is replayed, and as checksums show it.
    let mounted = Mounted::new("mkfs.btrfs -q -m single -n 4096", "200M");
    sh(mounted.folder.path(), "mount -o remount,commit=300 $1/m");
    sh(mounted.folder.path(), damage::FILL);
    sh(
        mounted.folder.path(),
        r#"cd $1/m; sync -f .; rm many/*7; ln one etc/other; mv two moved; mkdir new; for i in $(seq 1 60); do echo $i > new/$i; done
           echo more >> one; for i in one moved new many etc new/5; do sync $i; done; cp ../image ../dirty; cd ..; umount m"#,
    );
    let dirty = disk(&mounted.path("dirty"));
    assert!(btrfs(dirty.clone()).facts().notes[0].contains("replayed"));
    damage::survive("checksums", dirty.clone(), Btrfs::open);
    damage::survive("log", dirty, |disk| Btrfs::open(Arc::new(Resummed::new(disk))));
}
