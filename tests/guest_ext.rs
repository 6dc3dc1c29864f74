//! ext2, ext3 and ext4 as the kernel shows them: the same tree, attribute by attribute and byte by byte.
//!
//! Needs root (loop devices) and e2fsprogs; fails loudly without.

#[path = "tree/damage.rs"]
mod damage;
#[path = "tree/mounted.rs"]
mod mounted;
mod tree;

use mounted::{Mounted, disk, sh};
use tree::{kernel, ours};
use vboximg_mount::guestfs::GuestFs;
use vboximg_mount::guestfs::ext::Ext;

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
        let (theirs, ours) = mounted.both(|disk| Ext::open(disk).unwrap());
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
    let disk = disk(&mounted.path("dirty"));
    let ext = Ext::open(disk.clone()).unwrap();
    assert!(ext.facts().notes[0].contains("transactions of its journal are replayed"), "{:?}", ext.facts().notes);
    let walk = ours(&(disk, ext));
    assert!(walk.contains_key("moved/hostname") && walk.contains_key("new/n") && !walk.contains_key("many"));
    sh(mounted.folder.path(), "cd $1; umount m; mount -o loop dirty m; mount -o remount,ro m");
    tree::assert_same("dirty", &kernel(&mounted.path("m")), &walk);
}

#[test]
fn damage_is_an_error_or_data_never_a_panic_or_a_hang() {
    // Without checksums damage reaches the parsers.
    for mkfs in ["mkfs.ext4 -q -F -O ^metadata_csum -b 1024", "mkfs.ext4 -q -F", "mkfs.ext2 -q -F -b 1024"] {
        let mounted = Mounted::new(mkfs, "40M");
        sh(mounted.folder.path(), damage::FILL);
        sh(mounted.folder.path(), "cd $1; umount m");
        damage::survive(mkfs, disk(&mounted.path("image")), Ext::open);
    }
}
