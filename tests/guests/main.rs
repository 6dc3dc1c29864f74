//! The guest's file systems, held against the kernel and other programs. In one program, so that one test runs while
//! another waits for a mount.

mod apfs;
mod btrfs;
#[path = "../tree/corrupt.rs"]
mod corrupt;
mod detect;
#[path = "../tree/disc.rs"]
mod disc;
mod exfat;
mod ext;
mod ext_journal;
mod fat;
mod hfsplus;
mod iso;
#[path = "../lab/mod.rs"]
mod lab;
#[path = "../tree/mounted.rs"]
mod mounted;
mod ntfs;
mod one_bad;
#[path = "../qemu/mod.rs"]
mod qemu;
mod short;
mod squashfs;
#[path = "../support/mod.rs"]
mod support;
#[path = "../tree/mod.rs"]
mod tree;
mod udf;
mod xfs;
