//! The tree a user sees, served over FUSE.
//!
//! [`tree`] says what there is and [`file`] what reading and writing mean; `fuse` is the kernel's interface, and only
//! `server` and `attach` know it. [`mount`] puts a [`Source`] on a folder, [`Mounted::serve`] keeps it there until it is unmounted, and
//! [`unmount`] ends the mount of another process.

mod attach;
pub mod attributes;
pub mod background;
pub mod error;
pub mod file;
mod flush;
mod fuse;
pub mod guests;
mod options;
mod point;
mod policy;
mod process;
mod serve;
mod server;
mod source;
pub mod table;
#[cfg(test)]
mod tests;
pub mod tree;
mod unmount;

pub use error::{Error, Result};
pub use guests::Guest;
pub use options::{Access, Options};
pub use policy::check_writable;
pub use process::Process;
pub use serve::{Mounted, OnSignal, Stopper, mount};
pub use source::Source;
pub use tree::Tree;
pub use unmount::unmount;
