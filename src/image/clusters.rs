//! A set of clusters of a file, a bit for each.

use super::Result;
use crate::ondisk::ParseError;
use std::path::Path;

/// More clusters than this are not kept track of: 256 MiB of bits.
const MAX: u64 = 1 << 31;

/// Which clusters of a file are in use. Clusters past its end may be added as the file grows.
#[derive(Debug)]
pub(super) struct ClusterSet {
    bits: Vec<u64>,
}

impl ClusterSet {
    /// An empty set for the clusters of the file at `path`, `clusters` of them now.
    ///
    /// # Errors
    /// [`Error::Unsupported`](super::Error::Unsupported) for more than can be kept in memory.
    pub(super) fn new(path: &Path, clusters: u64) -> Result<Self> {
        match usize::try_from(clusters.div_ceil(64)) {
            Ok(words) if clusters <= MAX => Ok(Self { bits: vec![0; words] }),
            _ => {
                let expected = format_args!("at most {MAX} clusters, to keep track of each");
                Err(ParseError::unsupported(0, "length of the file", expected, format_args!("{clusters} clusters"))
                    .in_file(path))
            }
        }
    }

    pub(super) fn contains(&self, cluster: u64) -> bool {
        let word = usize::try_from(cluster / 64).ok().and_then(|word| self.bits.get(word));
        word.is_some_and(|word| word >> (cluster % 64) & 1 == 1)
    }

    /// Adds a cluster; false when it was there already. Numbers from 2^31 on are not kept, and false.
    pub(super) fn insert(&mut self, cluster: u64) -> bool {
        let Some(index) = usize::try_from(cluster / 64).ok().filter(|_| cluster < MAX) else { return false };
        if index >= self.bits.len() {
            self.bits.resize(index + 1, 0);
        }
        let bit = 1 << (cluster % 64);
        let new = self.bits[index] & bit == 0;
        self.bits[index] |= bit;
        new
    }

    pub(super) fn remove(&mut self, cluster: u64) {
        if let Some(word) = usize::try_from(cluster / 64).ok().and_then(|word| self.bits.get_mut(word)) {
            *word &= !(1 << (cluster % 64));
        }
    }

    /// The first cluster from `from` on that is not in the set.
    pub(super) fn first_free(&self, from: u64) -> u64 {
        let mut cluster = from;
        loop {
            let word = usize::try_from(cluster / 64).ok().and_then(|word| self.bits.get(word));
            let Some(word) = word else { return cluster };
            let skip = cluster % 64;
            let free = (!word >> skip).trailing_zeros();
            if free < 64 && u64::from(free) + skip < 64 {
                return cluster + u64::from(free);
            }
            cluster += 64 - skip;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_added_found_and_removed() {
        let mut set = ClusterSet::new(Path::new("/t/a"), 100).unwrap();
        for cluster in 0..130 {
            assert_eq!(set.first_free(0), cluster);
            assert!(set.insert(cluster));
            assert!(!set.insert(cluster));
        }
        set.remove(63);
        set.remove(64);
        assert_eq!([set.first_free(0), set.first_free(64), set.first_free(65)], [63, 64, 130]);
        assert_eq!(set.first_free(5000), 5000);
        assert!(!set.contains(63) && set.contains(65) && !set.contains(1 << 40));
        assert!(!set.insert(1 << 31));
    }

    #[test]
    fn files_of_too_many_clusters_are_refused_before_memory_is_taken() {
        let error = ClusterSet::new(Path::new("/t/a"), u64::MAX).unwrap_err().to_string();
        assert!(error.contains("expected at most 2147483648 clusters"), "{error}");
    }
}
