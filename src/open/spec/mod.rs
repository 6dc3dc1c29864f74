//! Chain specs, Oracle's other way to say what to open: `-i
//! ':iprtvfs:file(vd,/x/a.vdi)|vfs(dvm)|file(open,vol0)|dir(mount)'`.
//!
//! `syntax` takes the text apart, `plan` finds out what it means, `start` finds the files that it begins with and
//! `follow` makes of them what it ends in: a disk, or a file system. A spec names files by itself, so they may be
//! anywhere; names inside of images go through the gate as ever, and locks are taken, which upstream does not do.
//! Upstream fails without a word on any mistake; here each has a message with its position.

mod error;
mod follow;
mod plan;
mod start;
mod syntax;

pub(super) use error::Error;
pub(super) use plan::Plan;
