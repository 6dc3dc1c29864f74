//! What readers from other crates need to implement [`GuestFs`](super::GuestFs): a volume as a stream with a position,
//! and a pool, since most of them can only be used by one thread at a time.

mod pool;
mod stream;

pub use pool::{Pool, guarded};
pub use stream::{Blocks, Stream};
