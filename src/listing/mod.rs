//! Tables of machines, media and partitions, written to a `Write`.

pub mod error;

pub use error::{Error, Result};
