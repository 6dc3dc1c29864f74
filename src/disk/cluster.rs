//! The bytes of a decoded cluster.

use memmap2::MmapMut;
use std::ops::{Deref, DerefMut};

/// From this many bytes on a cluster has pages of its own. The allocator keeps large blocks for the thread that freed
/// them, so a cluster of some megabytes would stay in memory once for every thread that ever decoded one. (The crate
/// memmap2 has the safe call for pages without a file.)
const OWN_PAGES: usize = 1 << 20;

/// Bytes that go back to the system when they are large.
pub(super) enum Cluster {
    Heap(Box<[u8]>),
    Pages(MmapMut),
}

impl Cluster {
    /// So many zeros.
    pub(super) fn zeroed(len: usize) -> Self {
        let pages = if len < OWN_PAGES { None } else { MmapMut::map_anon(len).ok() };
        pages.map_or_else(|| Self::Heap(vec![0; len].into()), Self::Pages)
    }
}

impl Deref for Cluster {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Pages(pages) => pages,
        }
    }
}

impl DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Pages(pages) => pages,
        }
    }
}
