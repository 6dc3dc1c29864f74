//! The kernel's interface to FUSE servers, `/dev/fuse`, as far as a file system of files that are there needs it.
//!
//! A session of our own instead of a crate's for two reasons, both measured (see `benches/README.md`): the bytes of an
//! image go from the host's cache to the kernel by splice(2), without a copy in this process, and one thread serves a
//! single reader without waking others, while several serve what waits for the host's disk.
//!
//! Facts: `include/uapi/linux/fuse.h` and `Documentation/filesystems/fuse/` of Linux 6.18. Numbers are in the machine's
//! own byte order.

mod abi;
mod baton;
mod device;
mod helper;
mod init;
mod reply;
mod request;
mod session;

pub(super) use abi::{MAX_READ, MAX_WRITE, open_flags};
pub(super) use helper::{mount_by_helper, unmount_by_helper};
pub(super) use reply::{Attr, Body, Dirent};
pub(super) use request::{Operation, Request, SetAttr};
pub(super) use session::{Handler, Session};
