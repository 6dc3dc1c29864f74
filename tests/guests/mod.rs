//! The guest's file systems, held against the kernel and other programs.

mod apfs;
mod btrfs;
mod corrupt;
mod detect;
mod exfat;
mod ext;
mod ext_journal;
mod fat;
mod hfsplus;
mod iso;
mod ntfs;
mod one_bad;
mod ours;
mod short;
mod squashfs;
mod udf;
mod xfs;
