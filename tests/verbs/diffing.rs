//! `diff` and `history`: held against a walk of both states as the kernel shows them.

use crate::common::Fixture;
use crate::mounted::Mounted;
use crate::support::sh;
use crate::tree::{Walk, kernel};
use crate::{alone, program_without_fuse, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Changes of every kind. What a file system cannot do is left out.
const CHANGE: &str = r#"
cd "$1/m"
rm many/file-7; echo new > many/file-new; echo changed > etc/hostname
mkdir -p added/sub; echo in > added/sub/file; rm -r deep/a/b
mv frag1 moved
# The same bytes elsewhere, and nothing else: no change.
cp --preserve=all --reflink=never frag2 copy; sync; mv copy frag2; touch -r data reference; touch -r reference .
# Other bytes, and nothing else.
printf 'other bytes' | dd of=data bs=1 seek=1500000 conv=notrunc status=none; touch -r reference data; rm reference
printf 'more' >> sparse; printf x | dd of=sparse bs=1 seek=9000000 conv=notrunc status=none
rmdir emptydir; echo file > emptydir; rm future; mkdir future; echo within > future/file
touch -d '2001-02-03 04:05:06' empty; printf 'TINY' > tiny
{ chmod 600 seven; chown 1:2 tiny; ln -sfn elsewhere etc/short; rm dev-c; mknod dev-c c 5 301; } 2>/dev/null || :
{ setfattr -n user.small -v six tiny; setfattr -x user.on.directory many; } 2>/dev/null || :
"#;

/// What is to be filled in where the usual tree cannot be.
const PLAIN: &str = r#"
cd "$1/m"
mkdir -p etc many deep/a/b/c/d 'naïve ☃' emptydir
echo lab > etc/hostname; echo 7 > seven; : > empty; printf tiny > tiny; echo x > future; echo y > sparse
for i in $(seq 1 300); do echo $i > many/file-$i; done; echo x > 'naïve ☃/ein ß.txt'
head -c 3000000 /dev/urandom > data
for i in $(seq 1 60); do head -c 9000 /dev/urandom >> frag1; head -c 5000 /dev/urandom >> frag2; done
"#;

/// A path, and what changed of it; `added` and `removed` alone.
type Changes = BTreeMap<String, BTreeSet<String>>;

fn one(word: &str) -> BTreeSet<String> {
    BTreeSet::from([word.to_owned()])
}

/// The differences of two walks of the kernel.
fn expected_in(top: &str, old: &Walk, new: &Walk) -> Changes {
    let mut changes = Changes::new();
    for path in old.keys().chain(new.keys()) {
        let of = match (old.get(path), new.get(path)) {
            (Some(a), Some(b)) => aspects(a, b),
            (None, _) => one("added"),
            (_, None) => one("removed"),
        };
        if !of.is_empty() {
            changes.insert(format!("{top}/{path}"), of);
        }
    }
    changes
}

/// In what two lines of a walk differ.
fn aspects(old: &str, new: &str) -> BTreeSet<String> {
    let field = |line: &str, name: &str| {
        line.split(' ').find_map(|word| word.strip_prefix(name)).unwrap_or_default().to_owned()
    };
    let mode = |line: &str| u32::from_str_radix(&field(line, "mode="), 8).unwrap();
    // After the time of the last change come the content and the attributes.
    let rest = |line: &str| line.split_once(" ctime=").unwrap().1.split_once(' ').unwrap().1.to_owned();
    let content = |line: &str| rest(line).split_once('{').unwrap().0.to_owned();
    let xattrs = |line: &str| rest(line).split_once('{').unwrap().1.to_owned();
    let kind = mode(old) >> 12;
    let is_same_kind = kind == mode(new) >> 12;
    let of_kind = match kind {
        0xA => "target",
        0x2 | 0x6 => "device",
        _ => "content",
    };
    let differ = |get: &dyn Fn(&str) -> String| get(old) != get(new);
    let tests = [
        ("kind", !is_same_kind),
        ("size", is_same_kind && kind == 8 && differ(&|line| field(line, "size="))),
        ("mode", mode(old) & 0o7777 != mode(new) & 0o7777),
        ("owner", differ(&|line| field(line, "uid=") + ":" + &field(line, "gid="))),
        ("time", differ(&|line| field(line, "mtime="))),
        (of_kind, is_same_kind && differ(&content)),
        ("xattrs", differ(&xattrs)),
    ];
    tests.iter().filter(|(_, differs)| *differs).map(|(name, _)| (*name).to_owned()).collect()
}

/// What the program reports as JSON, without the root directory.
fn reported(json: &[u8]) -> Changes {
    let items: Vec<Value> = serde_json::from_slice(json).unwrap_or_else(|e| panic!("{e}: {}", text(json)));
    let mut changes = Changes::new();
    for item in items {
        let path = item["path"].as_str().unwrap();
        let of = match item["change"].as_str().unwrap() {
            "changed" => {
                item["aspects"].as_array().unwrap().iter().map(|aspect| aspect.as_str().unwrap().to_owned()).collect()
            }
            other => one(other),
        };
        if path != "fs0" {
            assert!(changes.insert(path.to_owned(), of).is_none(), "{path} twice");
        }
    }
    changes
}

/// Runs the program where there is no FUSE.
fn diff(words: &[&str]) -> Output {
    let mut command = program_without_fuse();
    command.arg("diff").args(words).env("VBOX_USER_HOME", "/nonexistent").output().expect("nsenter is installed")
}

/// Writes the blocks in which two raw images differ to a differencing image, and each block with a multiple of this
/// number, which may be the same.
fn write_differences(old: &Path, new: &Path, (child, format): (&Path, &str), same: usize) {
    const BLOCK: usize = 64 << 10;
    let (a, b) = (fs::read(old).unwrap(), fs::read(new).unwrap());
    let directory = child.with_extension("blocks");
    fs::create_dir(&directory).unwrap();
    let mut commands = String::new();
    for (index, (old, new)) in a.chunks(BLOCK).zip(b.chunks(BLOCK)).enumerate() {
        if old != new || index % same == 0 {
            let name = directory.join(index.to_string());
            fs::write(&name, new).unwrap();
            commands += &format!("write -s {} {} {}\n", name.display(), index * BLOCK, new.len());
        }
    }
    let mut child = Command::new("qemu-io")
        .args(["-f", format])
        .arg(child)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("qemu-io is installed");
    child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success() && !text(&done.stdout).contains("failed"), "{}", text(&done.stdout));
}

/// Fills a file system, changes it, and has the change in a differencing image.
fn check(mkfs: &str, size: &str, (mount, fill): (&str, Option<&str>), format: &str) {
    let _alone = alone();
    let mounted = Mounted::new(mkfs, size);
    let directory = mounted.directory.path();
    let remount = format!("cd $1; umount m; {mount} image m;");
    sh(directory, &remount);
    match fill {
        None => mounted.fill(),
        Some(script) => drop(sh(directory, script)),
    }
    sh(directory, &format!("{remount} umount m; cp --sparse=always image old; {mount},ro image m"));
    let before = kernel(&mounted.path("m"));
    sh(directory, &remount);
    sh(directory, CHANGE);
    sh(directory, &format!("cd $1; umount m; {mount},ro image m"));
    let after = kernel(&mounted.path("m"));
    sh(
        directory,
        &format!(
            "cd $1; umount m; qemu-img convert -q -f raw -O {format} old base
             qemu-img create -q -f {format} -b base -F {format} child"
        ),
    );
    write_differences(&mounted.path("old"), &mounted.path("image"), (&mounted.path("child"), format), 50);
    let (base, child) = (mounted.path("base"), mounted.path("child"));
    let states = [base.to_str().unwrap(), child.to_str().unwrap()];

    let expected = expected_in("fs0", &before, &after);
    assert!(expected.len() > 15 && !expected.contains_key("fs0/frag2"), "{expected:#?}");
    let done = diff(&[&states[..], &["--json"]].concat());
    assert!(done.status.success(), "{done:?}");
    assert_eq!(reported(&done.stdout), expected, "{mkfs}");
    // One directory, and from the other end.
    let many = diff(&[states[1], states[0], "fs0/many", "--json", "--exit-code"]);
    assert_eq!(many.status.code(), Some(1), "{many:?}");
    let reverse = reported(&many.stdout);
    assert_eq!((&reverse["fs0/many/file-7"], &reverse["fs0/many/file-new"]), (&one("added"), &one("removed")));
    assert!(reverse.keys().all(|path| path.starts_with("fs0/many")), "{reverse:?}");
    ranges_are_those_of_cmp(&mounted, &states);
}

/// Every range that is reported differs in all its sectors, and nothing else does.
fn ranges_are_those_of_cmp(mounted: &Mounted, states: &[&str]) {
    const SECTOR: usize = 512;
    let (a, b) = (fs::read(mounted.path("old")).unwrap(), fs::read(mounted.path("image")).unwrap());
    let sectors = a.chunks(SECTOR).zip(b.chunks(SECTOR)).enumerate();
    let expected: BTreeSet<u64> =
        sectors.filter(|(_, (a, b))| a != b).map(|(index, _)| (index * SECTOR) as u64).collect();
    let sectors_of = |words: &[&str]| -> BTreeSet<u64> {
        let done = diff(&[states, &["--ranges", "--json"], words].concat());
        assert!(done.status.success(), "{done:?}");
        let items: Vec<Value> = serde_json::from_slice(&done.stdout).unwrap();
        let ranges = items.iter().map(|item| (item["offset"].as_u64().unwrap(), item["length"].as_u64().unwrap()));
        ranges.flat_map(|(offset, len)| (offset..offset + len).step_by(SECTOR)).collect()
    };
    assert_eq!(sectors_of(&[]), expected);
    let unread = sectors_of(&["--no-read"]);
    assert!(expected.is_subset(&unread) && unread.len() > expected.len() && unread.len() < a.len() / SECTOR / 2);
}

/// The chains of real snapshots: their ranges against their bytes, their files against the kernel's walk.
#[test]
fn changes_of_real_snapshots_are_those_of_their_bytes_and_files() {
    let _alone = alone();
    let registry = Fixture::registry();
    let (directory, run) = (tempfile::tempdir().unwrap(), |words: &[&str]| {
        let done = registry.program().args(words).output().unwrap();
        assert!(done.status.success(), "{words:?}: {done:?}");
        done.stdout
    });
    let raw = |medium: &str, path: &str| {
        let file = directory.path().join(format!("{medium}-{path}"));
        if !file.exists() {
            fs::write(&file, run(&["cat", "-i", medium, path])).unwrap();
        }
        file
    };
    let walk = |medium: &&str| {
        let script = format!("mkdir -p m; mount -o loop,ro,noload {} m", raw(medium, "vol1").display());
        sh(directory.path(), &script);
        let walk = kernel(&directory.path().join("m"));
        sh(directory.path(), "umount m");
        ((*medium).to_owned(), walk)
    };
    let vdi = ["7cbdf0db", "fbfdf717", "84f9a618", "fae6adfc", "6ae26a8c"];
    let walks: BTreeMap<String, Walk> = vdi.iter().map(walk).collect();
    let vhd = ["9706b379", "4ad7b86d", "6c9a682b"];
    let vmdk = ["ec32efa2", "12daa797"];
    let (mut compared, mut differences) = (0, 0);
    for chain in [&vdi[..], &vhd, &vmdk] {
        for (old, new) in (0..chain.len()).flat_map(|at| chain[at + 1..].iter().map(move |new| (chain[at], *new))) {
            let ranges: Vec<Value> = serde_json::from_slice(&run(&["diff", old, new, "--ranges", "--json"])).unwrap();
            let changed: Vec<u64> = ranges
                .iter()
                .map(|range| (range["offset"].as_u64().unwrap(), range["length"].as_u64().unwrap()))
                .flat_map(|(offset, len)| (offset..offset + len).step_by(512))
                .collect();
            let (a, b) = (fs::read(raw(old, "vhdd")).unwrap(), fs::read(raw(new, "vhdd")).unwrap());
            let sectors = a.chunks(512).zip(b.chunks(512)).zip((0..).step_by(512));
            let expected: Vec<u64> = sectors.filter(|((a, b), _)| a != b).map(|(_, offset)| offset).collect();
            assert_eq!(changed, expected, "{old} {new}");
            compared += 1;
            if chain == vdi {
                let files = reported(&run(&["diff", old, new, "fs1", "--json"]));
                let files: Changes = files.into_iter().filter(|(path, _)| path != "fs1").collect();
                let expected = expected_in("fs1", &walks[old], &walks[new]);
                assert_eq!(files, expected, "{old} {new}");
                differences += expected.len();
            }
        }
    }
    assert!(compared == 14 && differences > 0, "{compared} {differences}");
}

#[test]
fn changes_of_ext4_are_those_that_the_kernel_shows() {
    check("mkfs.ext4 -q -F", "80M", ("mount -o loop", None), "qcow2");
}

#[test]
fn changes_of_xfs_are_those_that_the_kernel_shows() {
    check("mkfs.xfs -q", "400M", ("mount -o loop", None), "vmdk");
}

#[test]
fn changes_of_compressed_btrfs_are_those_that_the_kernel_shows() {
    check("mkfs.btrfs -q", "300M", ("mount -o loop,compress-force=zstd", None), "qcow2");
}

/// The data of one file are corrupt in both states, so reading them fails; what the states share is not read.
#[test]
fn shared_data_of_btrfs_is_not_read() {
    let _alone = alone();
    for profile in ["single", "dup"] {
        let mounted = Mounted::new(&format!("mkfs.btrfs -q -d {profile}"), "300M");
        let script = "cd $1; head -c 1000000 /dev/urandom > m/shared; head -c 9000 /dev/urandom > m/other; cp m/shared .; umount m";
        sh(mounted.directory.path(), script);
        let mut old = fs::read(mounted.path("image")).unwrap();
        let needle = &fs::read(mounted.path("shared")).unwrap()[8192..8192 + 64];
        let found: Vec<usize> = (0..old.len()).step_by(4096).filter(|at| old[*at..].starts_with(needle)).collect();
        assert_eq!(found.len(), if profile == "dup" { 2 } else { 1 });
        found.iter().for_each(|at| old[*at] ^= 1);
        fs::write(mounted.path("image"), &old).unwrap();
        sh(
            mounted.directory.path(),
            "cd $1; cp --sparse=always image old; mount -o loop image m; echo x > m/other; umount m
             qemu-img convert -q -f raw -O qcow2 old base; qemu-img create -q -f qcow2 -b base -F qcow2 child
             qemu-img convert -q -f raw -O qcow2 image apart",
        );
        write_differences(&mounted.path("old"), &mounted.path("image"), (&mounted.path("child"), "qcow2"), usize::MAX);
        let states = ["base", "child", "apart"].map(|name| mounted.path(name).to_str().unwrap().to_owned());
        let shared = diff(&[&states[0], &states[1], "--json"]);
        assert_eq!(shared.status.code(), Some(0), "{profile}: {shared:?}");
        let of = ["content", "size", "time"].map(str::to_owned);
        assert_eq!(reported(&shared.stdout), Changes::from([("fs0/other".to_owned(), BTreeSet::from(of))]));
        let apart = diff(&[&states[0], &states[2]]);
        assert_eq!(apart.status.code(), Some(4), "{profile}: {apart:?}");
        assert!(text(&apart.stderr).contains("fs0/shared"), "{profile}: {apart:?}");
    }
}

#[test]
fn changes_of_fat_are_those_that_mtools_made() {
    let directory = tempfile::tempdir().unwrap();
    sh(
        directory.path(),
        r#"cd "$1"; export MTOOLS_SKIP_CHECK=1; truncate -s 40M new; mkfs.vfat -F 32 new >/dev/null
        head -c 300000 /dev/urandom > data; cp data moved; printf x > small; printf 'other bytes' > other
        touch -d '2020-02-02 02:02:02' data moved small other
        mcopy -mi new data moved small ::; mmd -i new ::dir ::gone; mcopy -mi new small ::gone
        cp new old
        mcopy -moi new data ::data; mdel -i new ::moved; mcopy -mi new moved ::moved; mcopy -moi new other ::small
        mcopy -mi new other ::dir/added; mdeltree -i new ::gone; mattrib -i new +r ::data
        qemu-img convert -q -f raw -O vpc -o force_size=on old base
        qemu-img create -q -f qcow2 -b base -F vpc child"#,
    );
    let path = |name: &str| directory.path().join(name);
    write_differences(&path("old"), &path("new"), (&path("child"), "qcow2"), 50);
    let done = diff(&[path("base").to_str().unwrap(), path("child").to_str().unwrap(), "--json"]);
    assert!(done.status.success(), "{done:?}");
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    let expected = [
        ("data", words(&["mode"])),
        ("dir/added", words(&["added"])),
        ("gone", words(&["removed"])),
        ("gone/small", words(&["removed"])),
        ("small", words(&["content", "size"])),
    ];
    let expected: Changes = expected.into_iter().map(|(path, of)| (format!("fs0/{path}"), of)).collect();
    assert_eq!(reported(&done.stdout), expected);
}

#[test]
fn changes_of_ntfs_are_those_that_ntfs_3g_shows() {
    check("mkfs.ntfs -Q -F", "80M", ("ntfs-3g -o streams_interface=xattr", Some(PLAIN)), "vmdk");
}
