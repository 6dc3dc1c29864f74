//! ext2, ext3 and ext4 as the kernel shows them: the same tree, attribute by attribute and byte by byte.
//!
//! Needs root (loop devices) and e2fsprogs; fails loudly without.

mod tree;

use std::path::{Path, PathBuf};
use std::process::Command;
use tree::{Walk, kernel, ours};
use vboximg_mount::guestfs::GuestFs;
use vboximg_mount::guestfs::ext::Ext;

/// Runs a shell script with `$1` as its folder; its failure is the test's.
fn sh(folder: &Path, script: &str) {
    let done = Command::new("bash").args(["-euc", script, "sh"]).arg(folder).output().expect("bash runs");
    assert!(done.status.success(), "{script}\n{}", String::from_utf8_lossy(&done.stderr));
}

/// A mounted image, unmounted when dropped.
struct Mounted {
    folder: tempfile::TempDir,
}

impl Mounted {
    /// Makes an image of `size` with `mkfs` and mounts it with the kernel.
    fn new(mkfs: &str, size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        sh(
            folder.path(),
            &format!("cd $1; truncate -s {size} image; {mkfs} image >/dev/null 2>&1; mkdir m; mount -o loop image m"),
        );
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn fill(&self) {
        sh(self.folder.path(), FILL);
    }

    /// What the kernel shows, then the image once it is unmounted, opened by us.
    fn both(self) -> (Walk, Walk) {
        // What the kernel still has in memory may be more than the disk can hold, such as times after 2038.
        sh(self.folder.path(), "cd $1; umount m; mount -o loop,ro image m");
        let theirs = kernel(&self.path("m"));
        sh(self.folder.path(), "cd $1; umount m");
        (theirs, ours(&open(&self.path("image"))))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let mount = self.path("m");
        if Command::new("mountpoint").arg("-q").arg(&mount).status().is_ok_and(|s| s.success()) {
            let _ = Command::new("umount").arg(&mount).status();
        }
    }
}

fn open(image: &Path) -> (std::sync::Arc<dyn vboximg_mount::disk::Disk>, Ext) {
    let image = vboximg_mount::image::open(image, Default::default()).unwrap();
    let disk: std::sync::Arc<dyn vboximg_mount::disk::Disk> =
        std::sync::Arc::new(vboximg_mount::disk::ChainDisk::new(vec![image], Vec::new()));
    let ext = Ext::open(disk.clone()).unwrap();
    (disk, ext)
}

/// Everything that a reader may stumble over.
const FILL: &str = r#"
cd "$1/m"
mkdir -p etc many deep/a/b/c/d 'naïve ☃'
echo lab > etc/hostname; echo 7 > seven; chmod 4751 seven; chown 12345:54321 seven; touch -d '1999-12-31 23:59:59.123456789' seven
ln -s ../etc/hostname etc/short; ln -s "$(printf 'x%.0s' $(seq 200))" etc/long; ln etc/hostname etc/hard
for i in $(seq 1 3000); do echo $i > many/file-$i; done; rm many/file-1??
head -c 3000000 /dev/urandom > data; truncate -s 20M sparse; echo end >> sparse; echo mid | dd of=sparse bs=1 seek=7000000 conv=notrunc status=none
for i in $(seq 1 60); do head -c 9000 /dev/urandom >> frag1; head -c 5000 /dev/urandom >> frag2; done
mknod dev-c c 5 300; mknod dev-b b 8 1; mkfifo pipe; : > empty; printf 'tiny' > tiny; mkdir emptydir
fallocate -l 100000 unwritten || : > unwritten; echo x > 'naïve ☃/ein ß.txt'; echo y > "$(printf 'n%.0s' $(seq 250))"
touch -d '2100-01-01 00:00:00.5' future; touch past; touch -d '1930-05-05' past
setfattr -n user.small -v five tiny; setfattr -n user.mid -v "$(printf 'v%.0s' $(seq 600))" tiny; setfattr -n trusted.t -v 1 data
setfattr -n user.on.folder -v yes many; setfattr -n security.capability -v 0x0100000200240000000000000000000000000000 seven
"#;

#[test]
fn every_version_and_feature_set_reads_as_the_kernel_shows_it() {
    let kinds = [
        "mkfs.ext4 -q -F",
        "mkfs.ext2 -q -F",
        "mkfs.ext3 -q -F",
        "mkfs.ext4 -q -F -b 1024 -I 256 -O inline_data,^64bit",
        "mkfs.ext4 -q -F -b 2048 -O meta_bg,^resize_inode,large_dir,ea_inode,metadata_csum_seed",
        "mkfs.ext4 -q -F -O ^metadata_csum,uninit_bg,^has_journal,^flex_bg",
        "mkfs.ext4 -q -F -O inline_data,ea_inode,bigalloc",
        "mkfs.ext4 -q -F -I 128",
        "mkfs.ext2 -q -F -r 0 -b 1024",
    ];
    for mkfs in kinds {
        let mounted = Mounted::new(mkfs, "80M");
        mounted.fill();
        let (theirs, ours) = mounted.both();
        tree::assert_same(mkfs, &theirs, &ours);
    }
}

#[test]
fn a_copy_of_a_mounted_file_system_is_replayed() {
    let mounted = Mounted::new("mkfs.ext4 -q -F", "80M");
    mounted.fill();
    sh(
        mounted.folder.path(),
        "cd $1/m; sync -f .; rm -r many; mv etc moved; echo more >> seven; mkdir new; echo n > new/n; sync -f .; cp ../image ../dirty",
    );
    let (disk, ext) = open(&mounted.path("dirty"));
    assert!(ext.facts().notes[0].contains("transactions of its journal are replayed"), "{:?}", ext.facts().notes);
    let walk = ours(&(disk, ext));
    assert!(walk.contains_key("moved/hostname") && walk.contains_key("new/n") && !walk.contains_key("many"));
    sh(mounted.folder.path(), "cd $1; umount m; mount -o loop dirty m; mount -o remount,ro m");
    tree::assert_same("dirty", &kernel(&mounted.path("m")), &walk);
}
