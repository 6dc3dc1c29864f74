//! The log of what programs synced, replayed as the kernel does.

use super::btrfs;
use crate::against::disks::disk;
use crate::against::guests::ours::ours;
use crate::against::mounted::Mounted;
use crate::against::tree::{self, Walk, kernel};
use crate::guestfs::GuestFs;
use crate::support::sh;

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
        "directory",
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
fn replays_what_was_synced_since_the_last_transaction() {
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
            mounted.directory.path(),
            r#"mount -o remount,commit=300,compress=lzo "$1/m"; cd "$1/m"; mkdir d e many e/empty; btrfs -q subvolume create sub; echo old > sub/old; echo file > sub/file
               for i in 1 2 3 4 5 6 7 8 9; do head -c 300000 /dev/urandom > d/f$i; echo small > d/small$i; setfattr -n user.old -v old d/f$i; done
               touch d/nocow; chattr +C d/nocow; head -c 100000 /dev/urandom > d/nocow; ln d/f6 e/hard; for i in $(seq 0 199); do echo $i > many/$i; done; sync -f ."#,
        );
        std::fs::write(mounted.path("script"), format!("{prelude}{script}")).unwrap();
        sh(mounted.directory.path(), "cd $1/m; python3 ../script; cp ../image ../dirty; cd ..; umount m");
        let volume = disk(&mounted.path("dirty"));
        let fs = btrfs(volume.clone());
        assert!(
            fs.facts().notes.first().is_some_and(|note| note.ends_with("replayed in memory")),
            "{what}: {:?}",
            fs.facts().notes
        );
        let found = ours(&(volume, fs));
        let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        sh(mounted.directory.path(), "cd $1; mount -o loop dirty m; mount -o remount,ro m");
        let theirs = kernel(&mounted.path("m"));
        sh(mounted.directory.path(), "cd $1; umount m");
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
