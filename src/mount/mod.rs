//! The tree a user sees, served over FUSE.

pub mod error;

pub use error::{Error, Result};
