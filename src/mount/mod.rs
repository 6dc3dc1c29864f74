//! A [view](crate::view) over FUSE.
//!
//! `server` and `requests` answer the kernel, through the crate `fuser`; `splice` adds replies from files, which the
//! crate lacks; `attach` mounts. [`mount`] puts a [`View`](crate::view::View) on a directory, [`serve::Mounted::serve`]
//! keeps it there until it is unmounted, and [`unmount()`] ends the mount of another process.

mod attach;
pub(crate) mod background;
pub(crate) mod error;
mod file;
mod flush;
mod helper;
mod options;
mod point;
mod process;
mod requests;
mod serve;
mod server;
mod splice;
pub(crate) mod table;
#[cfg(test)]
mod tests;
mod unmount;

pub(crate) use error::{Error, Result};
pub(crate) use options::KNOWN_OPTIONS;
pub(crate) use options::{Access, Options};
pub(crate) use serve::{OnSignal, mount};
pub(crate) use unmount::unmount;

/// The extended attribute of the root directory that holds the id of the process that serves the mount.
pub(crate) const PID_ATTRIBUTE: &str = "user.vboximg-mount.pid";
/// The one that holds when that process started, as [`process::Process::started`].
pub(crate) const STARTED_ATTRIBUTE: &str = "user.vboximg-mount.started";
/// The one that holds why the last flush failed, while it is so.
pub(crate) const FAILURE_ATTRIBUTE: &str = "user.vboximg-mount.failure";
/// The one that exists, with the same value, when writes may be lost and no later flush can succeed.
pub(crate) const LOSS_ATTRIBUTE: &str = "user.vboximg-mount.loss";
