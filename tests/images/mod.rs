//! Image formats, held against QEMU, VirtualBox and other programs: what they make is read, and what is written here
//! they find whole.

mod dmg;
mod killed;
mod optical;
mod parallels;
mod qcow;
mod qed;
mod vhd;
mod vhdx;
mod vmdk;
