//! `-g`: the guest's file systems through the programs that people use, against the kernel's own mount of the same image.
//! Needs root (loop devices), attr, acl and rsync; fails loudly without.

use crate::scene::{Mount, ok, program, run, text};
use nix::libc;
use nix::unistd::{Whence, lseek};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// Everything that a copying program may stumble over.
const FILL: &str = r#"
mkdir -p many deep/a/b 'naïve ☃'; seq -f 'many/entry-%.0f' 1 10000 | xargs touch
echo lab > one; ln one two; chmod 4751 one; chown 12345:54321 two; touch -d '1999-12-31 23:59:59.123456789' one
ln -s /etc/passwd absolute; ln -s ../nowhere dangling; ln -s "$(printf 'x%.0s' $(seq 200))" long; mkfifo pipe; mknod dev c 5 300
truncate -s 20M sparse; echo end >> sparse; head -c 3000000 /dev/urandom > data; touch -d 2100-01-01 future
setfattr -n user.small -v five one; setfattr -n user.big -v "$(printf 'v%.0s' $(seq 600))" data; setfattr -n trusted.t -v 1 data
setfattr -n security.capability -v 0x0100000200240000000000000000000000000000 data
setfacl -m u:1234:rwx,g:77:r data; setfacl -d -m u:55:rx many; setfacl -m o::0 deep; chmod 0 'naïve ☃'; setfattr -n user.on.folder -v yes deep
"#;

/// `mount -o loop` that takes a device atomically.
const LOOP: &str = include_str!("../support/loop.sh");

/// An ext4 image, mounted by the kernel as `kernel` and by the program as `mnt`.
struct Both {
    directory: TempDir,
    mount: Option<Mount>,
}

impl Both {
    fn new(options: &[&str]) -> Self {
        let mut both = Self { directory: TempDir::with_prefix("vboximg-guests-").unwrap(), mount: None };
        both.sh("truncate -s 100M image; mkfs.ext4 -q -F -L guest image; mkdir kernel mnt; mount -o loop image kernel");
        both.sh(&format!("cd kernel{FILL}"));
        // An image that is written to must have no other user.
        both.sh(if options.contains(&"--rw") {
            "umount kernel"
        } else {
            "umount kernel; mount -o loop,ro image kernel"
        });
        let output = run(program().arg("-g").args(options).arg("-i").arg(both.path("image")).arg(both.path("mnt")));
        assert!(output.status.success(), "{output:?}");
        both.mount = Some(Mount::find(&both.path("mnt")));
        both
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a script in the directory; what it printed.
    fn sh(&self, script: &str) -> String {
        let output =
            run(Command::new("bash").args(["-euc", &format!("{LOOP}{script}")]).current_dir(self.directory.path()));
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Asserts that a command prints the same in both trees, and something.
    fn assert_same(&self, command: &str) {
        let [theirs, ours] = ["kernel", "mnt/fs0"].map(|directory| self.sh(&format!("cd {directory}; {command}")));
        assert!(!theirs.is_empty(), "{command}");
        let differing = theirs.lines().zip(ours.lines()).find(|(a, b)| a != b);
        assert!(theirs == ours, "{command}: {differing:?}");
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        self.mount = None;
        let _ = Command::new("umount").arg(self.path("kernel")).output();
    }
}

#[test]
fn programs_find_the_same_tree_as_in_the_kernels_mount() {
    let both = Both::new(&[]);
    // Nothing that rsync would have to change, in any byte or attribute.
    assert_eq!(both.sh("rsync -aAXHc --dry-run --itemize-changes --delete kernel/ mnt/fs0/"), "");
    assert_eq!(both.sh("rsync -aAXHc --dry-run --itemize-changes --delete mnt/fs0/ kernel/"), "");
    both.assert_same("ls -lRn --time-style=full-iso .");
    both.assert_same("find . -printf '%p %y %n %s %b %m %U %G %T@ %C@ %A@ %l\n' | sort");
    both.assert_same("find . -type f -size +1M -perm -400 | sort");
    both.assert_same("find . -print0 | sort -z | xargs -0 getfattr -h -d -m - -e hex");
    both.assert_same("find . ! -type l -print0 | sort -z | xargs -0 getfacl -np");
    both.assert_same("grep -rl --devices=skip end . | sort");
    both.assert_same("tar -c --sort=name --xattrs --xattrs-include='*' --acls --numeric-owner -f - . | sha256sum");
    let [theirs, ours] = ["kernel/sparse", "mnt/fs0/sparse"].map(|name| fs::File::open(both.path(name)).unwrap());
    let size = i64::try_from(ours.metadata().unwrap().len()).unwrap();
    for at in [0, 4096, size - 5, size - 1, size, -1] {
        for whence in [Whence::SeekData, Whence::SeekHole] {
            assert_eq!(lseek(&ours, at, whence), lseek(&theirs, at, whence), "{at} {whence:?}");
        }
    }
    both.assert_same("du -s --apparent-size . && df --output=size,used,itotal .");
}

#[test]
fn a_copy_is_whole() {
    let both = Both::new(&[]);
    // Fails for an attribute that it cannot copy; ext4 can have them all.
    both.sh("mkdir copy; truncate -s 100M other; mkfs.ext4 -q -F other; mount -o loop other copy");
    let copied = run(Command::new("cp").args(["-a", text(&both.path("mnt/fs0/.")), text(&both.path("copy"))]));
    let changes = run(Command::new("rsync")
        .args(["-aAXHc", "--dry-run", "--itemize-changes", "--delete", "kernel/", "copy/"])
        .current_dir(both.directory.path()));
    both.sh("umount copy");
    assert!(copied.status.success() && copied.stderr.is_empty(), "{copied:?}");
    assert_eq!(String::from_utf8_lossy(&changes.stdout), "", "{changes:?}");
}

#[test]
fn takes_the_flags_that_readers_pass() {
    let both = Both::new(&[]);
    let [theirs, ours] = ["kernel/data", "mnt/fs0/data"].map(|name| both.path(name));
    let bytes = fs::read(theirs).unwrap();
    for flag in [libc::O_DIRECT, libc::O_NOFOLLOW, libc::O_NOATIME, libc::O_NONBLOCK, libc::O_SYNC, libc::O_APPEND] {
        let file = OpenOptions::new().read(true).custom_flags(flag).open(&ours).unwrap();
        let mut buf = vec![0; 1 << 20];
        assert_eq!(file.read_at(&mut buf, 1 << 20).unwrap(), buf.len(), "{flag:#o}");
        assert!(buf == bytes[1 << 20..][..1 << 20], "{flag:#o}");
    }
    ok(
        "dd",
        &[
            &format!("if={}", text(&ours)),
            &format!("of={}", text(&both.path("direct"))),
            "iflag=direct",
            "bs=4096",
            "status=none",
        ],
    );
    assert!(fs::read(both.path("direct")).unwrap() == bytes);
    let link = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(both.path("mnt/fs0/dangling"));
    assert_eq!(link.unwrap_err().raw_os_error(), Some(libc::ELOOP));
}

#[test]
fn a_writable_mount_shows_them_for_reading() {
    let both = Both::new(&["--rw"]);
    let file = both.path("mnt/fs0/one");
    assert_eq!(fs::read_to_string(&file).unwrap(), "lab\n");
    for append in [false, true] {
        let opened = OpenOptions::new().write(true).append(append).open(&file);
        assert_eq!(opened.unwrap_err().raw_os_error(), Some(libc::EROFS));
    }
    let new = both.path("mnt/fs0/new");
    let moved = fs::rename(&file, &new);
    for failed in
        [fs::remove_file(&file), fs::write(&new, "x"), fs::create_dir(&new), fs::hard_link(&file, &new), moved]
    {
        assert_eq!(failed.unwrap_err().raw_os_error(), Some(libc::EROFS));
    }
    let touched = run(Command::new("touch").arg(&file));
    assert!(String::from_utf8_lossy(&touched.stderr).contains("Read-only file system"), "{touched:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "lab\n");
}

#[test]
fn a_directory_that_is_in_itself_ends() {
    let directory = TempDir::with_prefix("vboximg-guests-").unwrap();
    let script = "mkdir -p src/deep/a/b mnt; echo x > src/deep/a/b/file; truncate -s 20M image
        mkfs.ext4 -q -F -O ^metadata_csum -d src image
        debugfs -w -R 'link deep deep/a/b/again' image 2>/dev/null; debugfs -w -R 'link / deep/a/top' image 2>/dev/null";
    let made = run(Command::new("bash").args(["-euc", &format!("{LOOP}{script}")]).current_dir(directory.path()));
    assert!(made.status.success(), "{made:?}");
    let point = directory.path().join("mnt");
    let output = run(program().arg("-g").arg("-i").arg(directory.path().join("image")).arg(&point));
    assert!(output.status.success(), "{output:?}");
    let _mount = Mount::find(&point);
    for command in [["find", "fs0"], ["ls", "-lR"], ["du", "fs0"], ["grep", "-rq"]] {
        let mut limited = Command::new("timeout");
        limited.arg("20").args(command).arg(if command[0] == "grep" { "nothing" } else { "." });
        let output = run(limited.current_dir(&point));
        assert_ne!(output.status.code(), Some(124), "{command:?} did not end");
    }
    assert_eq!(fs::read_to_string(point.join("fs0/deep/a/b/file")).unwrap(), "x\n");
}

/// One block of names is corrupt: `cp -a`, which takes nothing of a directory whose listing fails, copies all others.
#[test]
fn a_corrupt_block_of_a_directory_takes_nothing_else_out_of_a_copy() {
    let directory = TempDir::with_prefix("vboximg-guests-").unwrap();
    let sh = |script: &str| {
        let output = run(Command::new("bash").args(["-uc", script]).current_dir(directory.path()));
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (made, text) = sh(r#"set -e; mkdir -p src/many mnt; for i in $(seq 300); do echo $i > src/many/file-$i; done
        truncate -s 16M image; mkfs.ext4 -q -F -b 1024 -O metadata_csum,^has_journal -d src image
        block=$(debugfs -R 'bmap many 3' image 2>/dev/null)
        printf X | dd of=image bs=1 seek=$((block * 1024 + 100)) conv=notrunc status=none"#);
    assert_eq!(made, Some(0), "{text}");
    let output =
        run(program().arg("-g").arg("-i").arg(directory.path().join("image")).arg(directory.path().join("mnt")));
    assert!(output.status.success(), "{output:?}");
    let mount = Mount::find(&directory.path().join("mnt"));
    let (status, text) = sh("cp -a mnt/fs0 copy");
    assert_eq!(status, Some(1), "{text}");
    assert!(text.lines().count() == 1 && text.contains("entries-are-missing-here': Input/output error"), "{text}");
    let (_, count) = sh("cd copy/many; for name in *; do [ file-$(cat $name) = $name ] && echo; done | wc -l");
    assert!((200..300).contains(&count.trim().parse::<i32>().unwrap()), "{count}");
    let (_, text) = sh("ls mnt/fs0/many | wc -l; ls mnt/fs0/many | wc -l; ls -d mnt/fs0/many/none mnt/fs0/none");
    let lines: Vec<_> = text.lines().collect();
    let listed = (count.trim().parse::<i32>().unwrap() + 1).to_string();
    assert_eq!(lines[..2], [&*listed; 2], "{text}");
    assert!(lines[2].ends_with("Input/output error") && lines[3].ends_with("No such file or directory"), "{text}");
    drop(mount);
}
