//! Adapters for readers from other crates: a volume as a stream with a position, and a pool of readers, since most of
//! them can only be used by one thread at a time.

mod pool;
mod stream;

pub(crate) use pool::{Pool, guarded};
pub(crate) use stream::{Blocks, Stream};
