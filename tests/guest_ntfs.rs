//! NTFS as ntfs-3g shows it: the same names, sizes, times and bytes. (Owners and modes are ntfs-3g's own invention.)
//!
//! Needs root and ntfs-3g; fails loudly without.

#[path = "tree/damage.rs"]
mod damage;
mod tree;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tree::{Walk, kernel, ours};
use vboximg_mount::disk::{ChainDisk, Disk};
use vboximg_mount::guestfs::GuestFs;
use vboximg_mount::guestfs::ntfs::Ntfs;

fn sh(folder: &Path, script: &str) {
    let done = Command::new("bash").args(["-euc", script, "sh"]).arg(folder).output().expect("bash runs");
    assert!(done.status.success(), "{script}\n{}", String::from_utf8_lossy(&done.stderr));
}

fn disk(image: &Path) -> Arc<dyn Disk> {
    let image = vboximg_mount::image::open(image, Default::default()).unwrap();
    Arc::new(ChainDisk::new(vec![image], Vec::new()))
}

fn open(image: &Path) -> (Arc<dyn Disk>, Ntfs) {
    let disk = disk(image);
    let ntfs = Ntfs::open(disk.clone()).unwrap();
    (disk, ntfs)
}

/// Leaves what both can know: links, size, time of the content, digest, target, streams.
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
mkdir -p etc many deep/a/b/c/d 'naïve ☃' packed
echo lab > etc/hostname; echo 7 > seven; touch -d '1999-12-31 23:59:59.1234567' seven; ln etc/hostname etc/hard
ln -s ../etc/hostname etc/short; ln -s "$(printf 'x%.0s' $(seq 200))" etc/long
for i in $(seq 1 3000); do echo $i > many/file-$i; done; rm many/file-1??
head -c 3000000 /dev/urandom > data; truncate -s 20M sparse; echo end >> sparse; echo mid | dd of=sparse bs=1 seek=7000000 conv=notrunc status=none
for i in $(seq 1 400); do head -c 9000 /dev/urandom >> frag1; head -c 5000 /dev/urandom >> frag2; done
: > empty; printf 'tiny' > tiny; mkdir emptydir; head -c 700 /dev/urandom > resident; head -c 20000000 /dev/urandom > large
echo x > 'naïve ☃/ein ß.txt'; echo y > "$(printf 'n%.0s' $(seq 250))"; echo e > 'emoji 😀'
setfattr -h -v 0x00000810 -n system.ntfs_attrib_be packed
seq 1 300000 > packed/text; head -c 300000 /dev/urandom > packed/noise; truncate -s 3M packed/holes; echo end >> packed/holes
(seq 1 9000; head -c 70000 /dev/urandom; seq 1 9000; head -c 200000 /dev/zero; echo x) > packed/mixed
for i in $(seq 1 120); do seq 1 3000 >> packed/frag; head -c 5000 /dev/urandom >> frag3; done
for i in $(seq 1 60); do setfattr -n user.stream-with-a-long-name-$i -v "$(printf 'v%.0s' $(seq 90))" data; done
setfattr -n user.small -v five tiny
"#;

#[test]
fn volumes_of_every_cluster_size_read_as_ntfs_3g_shows_them() {
    for cluster in [512, 4096, 65536] {
        let folder = tempfile::tempdir().unwrap();
        let options = if cluster > 4096 { "" } else { "compression," };
        sh(
            folder.path(),
            &format!(
                "cd $1; truncate -s 200M image; mkfs.ntfs -q -F -Q -L 'Lab ü' -c {cluster} image >/dev/null; mkdir m; \
             ntfs-3g -o {options}streams_interface=xattr,special_files=wsl image m"
            ),
        );
        sh(folder.path(), FILL);
        sh(folder.path(), "cd $1; umount m; ntfs-3g -o ro,streams_interface=xattr image m");
        let theirs = kernel(&folder.path().join("m"));
        sh(folder.path(), "cd $1; umount m");
        let opened = open(&folder.path().join("image"));
        assert_eq!(opened.1.facts().label, "Lab ü");
        // ntfs-3g names streams user.NAME, we user.stream.NAME.
        let ours: Walk =
            ours(&opened).into_iter().map(|(name, text)| (name, text.replace("user.stream.", "user."))).collect();
        tree::assert_same(&format!("clusters of {cluster} bytes"), &comparable(theirs), &comparable(ours));
    }
}

#[test]
fn damage_is_an_error_or_data_never_a_panic_or_a_hang() {
    let folder = tempfile::tempdir().unwrap();
    sh(
        folder.path(),
        "cd $1; truncate -s 40M image; mkfs.ntfs -q -F -Q image >/dev/null; mkdir m; \
         ntfs-3g -o compression,streams_interface=xattr,special_files=wsl image m",
    );
    sh(folder.path(), damage::FILL);
    sh(
        folder.path(),
        "cd $1; mkdir m/packed; setfattr -h -v 0x00000810 -n system.ntfs_attrib_be m/packed; seq 1 90000 > m/packed/text; umount m",
    );
    damage::survive("NTFS", disk(&folder.path().join("image")), Ntfs::open);
}
