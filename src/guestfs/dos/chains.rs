//! Chains of clusters as runs. Seeking far into a chain means following all links before, so the results are cached:
//! the start of each segment of a chain, and the runs of recently used segments.

use super::table::{Cursor, Link, Table};
use crate::guestfs::Result;
use crate::ondisk::ParseError;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::hash::Hash;
use std::sync::Arc;

/// Clusters in a segment.
const SEGMENT: u64 = 4096;
/// Bytes of cached segment starts, and of cached runs.
const WALKS: u64 = 8 << 20;
const SEGMENTS: u64 = 16 << 20;
/// Approximate overhead of a cached element in bytes.
const OVERHEAD: u64 = 100;

/// Clusters that are contiguous both in the chain and on the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::guestfs) struct Run {
    /// Index of the first cluster in its segment.
    index: u32,
    /// The first cluster.
    pub(in crate::guestfs) cluster: u32,
    /// Number of clusters.
    pub(in crate::guestfs) count: u32,
}

/// How a chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With an end-of-chain entry.
    Proper,
    /// The end has not been reached yet.
    Open,
    /// With this entry, which no cluster in use has.
    Broken(u32),
    /// With a link to this cluster, which the chain already contains.
    Loop(u32),
}

/// A chain that was followed as far as needed.
#[derive(Debug)]
struct Walk {
    needed: u64,
    /// Clusters up to the end, all different; at least `needed` when the end is open.
    len: u64,
    /// The last one of them.
    last: u32,
    end: End,
    /// The first cluster of each segment up to `needed`.
    starts: Vec<u32>,
}

#[derive(Clone)]
struct ByMemory;

impl<K: Hash> Weighter<K, Arc<Walk>> for ByMemory {
    fn weight(&self, _: &K, walk: &Arc<Walk>) -> u64 {
        OVERHEAD + (walk.starts.capacity() * size_of::<u32>()) as u64
    }
}

impl<K: Hash> Weighter<K, Arc<[Run]>> for ByMemory {
    fn weight(&self, _: &K, runs: &Arc<[Run]>) -> u64 {
        OVERHEAD + size_of_val::<[Run]>(runs) as u64
    }
}

/// The chains of a volume.
pub(in crate::guestfs) struct Chains {
    pub(in crate::guestfs) table: Table,
    walks: Cache<u32, Arc<Walk>, ByMemory>,
    segments: Cache<(u32, u64), Arc<[Run]>, ByMemory>,
}

fn cache<K: Hash + Eq, V: Clone>(bytes: u64) -> Cache<K, V, ByMemory>
where
    ByMemory: Weighter<K, V>,
{
    Cache::with_weighter(usize::try_from(bytes / OVERHEAD / 2).unwrap_or(0), bytes, ByMemory)
}

impl Chains {
    pub(in crate::guestfs) fn new(table: Table) -> Self {
        Self { table, walks: cache(WALKS), segments: cache(SEGMENTS) }
    }

    /// Returns the run of clusters at `index` of the chain that begins with `first`, a cluster of the volume. `None`
    /// when the chain properly ends before. `needed` is the number of clusters that the chain's owner has, more than
    /// `index`: these are guaranteed to be all different.
    ///
    /// # Errors
    /// Corruption when the chain breaks before `index`; any error of the disk.
    pub(in crate::guestfs) fn find(&self, first: u32, index: u64, needed: u64) -> Result<Option<Run>> {
        let walk = self.walk(first, needed.max(index.saturating_add(1)))?;
        if index >= walk.len {
            return match walk.end {
                End::Proper | End::Open => Ok(None),
                End::Broken(value) => Err(self.table.broken(walk.last, value)),
                End::Loop(to) => {
                    let expected = "a cluster that the chain does not have yet";
                    let what = format!("link of cluster {:#x}", walk.last);
                    let found = format!("{to:#x}, a loop");
                    Err(ParseError::corrupt(self.table.entry_offset(walk.last), what, expected, found).into())
                }
            };
        }
        let segment = index / SEGMENT;
        let runs = self.segment(first, segment, &walk)?;
        let inside = u32::try_from(index % SEGMENT).unwrap_or(0);
        let after = runs.partition_point(|run| run.index <= inside);
        Ok(after.checked_sub(1).and_then(|i| runs.get(i)).map(|run| {
            let skip = inside - run.index;
            Run { index: inside, cluster: run.cluster + skip, count: run.count - skip }
        }))
    }

    /// The error for a chain that ends too early: it names the offset of the last link and the number of clusters.
    pub(super) fn too_short(&self, first: u32, needed: u64) -> Result<crate::guestfs::Error> {
        let walk = self.walk(first, needed)?;
        let what = format!("chain of clusters from {first:#x} on");
        let found = format!("its end after {}", walk.len);
        Ok(ParseError::corrupt(self.table.entry_offset(walk.last), what, format!("{needed} clusters"), found).into())
    }

    fn walk(&self, first: u32, needed: u64) -> Result<Arc<Walk>> {
        // A chain cannot have more clusters than the volume without a loop.
        let needed = needed.min(u64::from(self.table.clusters) + 1);
        if let Some(walk) = self.walks.get(&first)
            && (walk.needed >= needed || walk.end != End::Open)
            && walk.starts.len() as u64 >= needed.min(walk.len).div_ceil(SEGMENT)
        {
            return Ok(walk);
        }
        let walk = Arc::new(self.follow(first, needed)?);
        self.walks.insert(first, walk.clone());
        Ok(walk)
    }

    /// Follows a chain to its end, or as far as needed to prove that the first `needed` clusters are all different.
    /// Brent's algorithm, which remembers a cluster from time to time, finds a loop among them in at most three times
    /// as many steps.
    fn follow(&self, first: u32, needed: u64) -> Result<Walk> {
        let mut cursor = self.table.cursor();
        let mut walk = Walk { needed, len: 1, last: first, end: End::Open, starts: vec![first] };
        let most = needed.saturating_mul(3).saturating_add(8);
        let (mut remembered, mut since, mut until) = (first, 0_u64, 1_u64);
        while walk.len <= most {
            let next = match cursor.link(walk.last)? {
                Link::To(next) => next,
                Link::End => {
                    walk.end = End::Proper;
                    break;
                }
                Link::Broken(value) => {
                    walk.end = End::Broken(value);
                    break;
                }
            };
            since += 1;
            if next == remembered {
                self.cut_loop(&mut walk, first, since)?;
                break;
            }
            if since == until {
                (remembered, since, until) = (next, 0, until * 2);
            }
            if walk.len.is_multiple_of(SEGMENT) && walk.len < needed {
                walk.starts.push(next);
            }
            walk.len += 1;
            walk.last = next;
        }
        Ok(walk)
    }

    /// Ends a walk before the first repeated cluster, for a loop of `period` clusters.
    fn cut_loop(&self, walk: &mut Walk, first: u32, period: u64) -> Result<()> {
        let (mut behind, mut ahead, mut last) = (first, first, first);
        let (mut cursor_behind, mut cursor_ahead) = (self.table.cursor(), self.table.cursor());
        let step = |cursor: &mut Cursor<'_>, cluster: u32| match cursor.link(cluster)? {
            Link::To(next) => Ok(next),
            _ => Err(self.table.broken(cluster, 0)),
        };
        let mut len = period;
        for _ in 0..period {
            (last, ahead) = (ahead, step(&mut cursor_ahead, ahead)?);
        }
        while behind != ahead {
            behind = step(&mut cursor_behind, behind)?;
            (last, ahead) = (ahead, step(&mut cursor_ahead, ahead)?);
            len += 1;
        }
        walk.len = len;
        walk.last = last;
        walk.end = End::Loop(ahead);
        walk.starts.truncate(usize::try_from(len.div_ceil(SEGMENT)).unwrap_or(usize::MAX));
        Ok(())
    }

    /// The runs in one segment of a chain.
    fn segment(&self, first: u32, index: u64, walk: &Walk) -> Result<Arc<[Run]>> {
        if let Some(runs) = self.segments.get(&(first, index)) {
            return Ok(runs);
        }
        let start = usize::try_from(index).ok().and_then(|index| walk.starts.get(index)).copied().unwrap_or(first);
        let len = u32::try_from((walk.len - index * SEGMENT).min(SEGMENT)).unwrap_or(0);
        let mut cursor = self.table.cursor();
        let mut run = Run { index: 0, cluster: start, count: 1 };
        let mut runs = Vec::new();
        for position in 1..len {
            let last = run.cluster + (run.count - 1);
            match cursor.link(last)? {
                Link::To(next) if next == last + 1 => run.count += 1,
                Link::To(next) => {
                    runs.push(run);
                    run = Run { index: position, cluster: next, count: 1 };
                }
                // The chain was followed before, so the disk has changed.
                _ => return Err(self.table.broken(last, 0)),
            }
        }
        runs.push(run);
        let runs: Arc<[Run]> = runs.into();
        self.segments.insert((first, index), runs.clone());
        Ok(runs)
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Width;
    use super::*;
    use crate::disk::memory::MemoryDisk;
    use crate::guestfs::foreign::Blocks;

    /// Chains over a table in which cluster `i + 2` has the entry `links[i]`.
    fn chains(links: &[u32]) -> Chains {
        let bytes: Vec<u8> = [0, 0].iter().chain(links).flat_map(|entry| entry.to_le_bytes()).collect();
        let len = bytes.len() as u64;
        let blocks = Arc::new(Blocks::new(Arc::new(MemoryDisk::new(bytes))));
        let clusters = u32::try_from(links.len()).unwrap();
        Chains::new(Table { blocks, at: 0, len, width: Width::Fat32, clusters })
    }

    const END: u32 = 0x0FFF_FFFF;

    /// All readable clusters of a chain, and the error at its end.
    fn read(chains: &Chains, first: u32, needed: u64) -> (Vec<u32>, Option<String>) {
        let mut all = Vec::new();
        loop {
            match chains.find(first, all.len() as u64, needed) {
                Ok(Some(run)) => all.extend(run.cluster..run.cluster + run.count),
                Ok(None) => return (all, None),
                Err(e) => return (all, Some(e.to_string())),
            }
        }
    }

    #[test]
    fn merges_contiguous_clusters_into_runs() {
        let chains = chains(&[3, 4, 7, 0, 0, 8, 9, END]);
        assert_eq!(read(&chains, 2, 6), (vec![2, 3, 4, 7, 8, 9], None));
        let run = chains.find(2, 1, 6).unwrap().unwrap();
        assert_eq!((run.cluster, run.count), (3, 2));
    }

    #[test]
    fn reads_clusters_before_broken_link() {
        let bad = chains(&[3, 0x0FFF_FFF7, 0, 99]);
        let (all, error) = read(&bad, 2, 9);
        assert_eq!(all, [2, 3]);
        assert!(error.as_ref().unwrap().contains("at offset 12 "), "{error:?}");
        let (all, error) = read(&bad, 5, 9);
        assert_eq!(all, [5]);
        assert!(error.as_ref().unwrap().contains("found 0x63"), "{error:?}");
        assert!(read(&bad, 4, 9).1.unwrap().contains("a free cluster"));
    }

    #[test]
    fn stops_before_first_repeated_cluster_of_loop() {
        for len in 1..60_u32 {
            for back in 0..len {
                let mut links: Vec<u32> = (0..len).map(|i| i + 3).collect();
                links[usize::try_from(len - 1).unwrap()] = back + 2;
                let chains = chains(&links);
                for needed in [u64::from(len) + 1, u64::from(len) * 5, 1 << 40] {
                    let (all, error) = read(&chains, 2, needed);
                    assert_eq!(all, (2..len + 2).collect::<Vec<_>>(), "{len} {back}");
                    assert!(error.unwrap().contains("a loop"), "{len} {back}");
                }
            }
        }
    }

    #[test]
    fn follows_long_fragmented_chain() {
        let count = 30_011_u32;
        // A step coprime to the count visits every cluster once.
        let order: Vec<u32> = (0..count).map(|i| (i * 7919) % count + 2).collect();
        let mut links = vec![END; usize::try_from(count).unwrap()];
        for pair in order.windows(2) {
            links[usize::try_from(pair[0] - 2).unwrap()] = pair[1];
        }
        let chains = chains(&links);
        for index in (0..u64::from(count)).rev().step_by(97).chain([0, 4095, 4096, 8191, 8192]) {
            let run = chains.find(order[0], index, count.into()).unwrap().unwrap();
            assert_eq!(run.cluster, order[usize::try_from(index).unwrap()], "{index}");
        }
        assert_eq!(chains.find(order[0], count.into(), u64::from(count) + 1).unwrap(), None);
        assert_eq!(read(&chains, order[0], count.into()).0, order);
        // An owner that needs less of the chain, and then more.
        let first = order[20_000];
        assert_eq!(chains.find(first, 3, 5).unwrap().unwrap().cluster, order[20_003]);
        assert_eq!(chains.find(first, 9_999, 10_011).unwrap().unwrap().cluster, order[29_999]);
    }
}
