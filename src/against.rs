//! Tests that hold whole readers and writers against other programs: the kernel, QEMU, VirtualBox and the tools of file
//! systems. They need more of the library than its face, so they are compiled into it. They lie in `tests/`, with what
//! they share with the tests of the program.

#[path = "../tests/common/mod.rs"]
pub(crate) mod common;
#[path = "../tests/tree/disc.rs"]
mod disc;
#[path = "../tests/disks/mod.rs"]
mod disks;
#[path = "../tests/guests/mod.rs"]
mod guests;
#[path = "../tests/images/mod.rs"]
mod images;
#[path = "../tests/lab/mod.rs"]
mod lab;
#[path = "../tests/tree/mounted.rs"]
mod mounted;
#[path = "../tests/qemu/mod.rs"]
mod qemu;
#[path = "../tests/support/mod.rs"]
pub(crate) mod support;
#[path = "../tests/tree/mod.rs"]
mod tree;
