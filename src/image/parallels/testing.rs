//! Parallels files built byte by byte, for tests.

use super::header::{MAGIC, MAGIC_EXT};

/// What a test image should be.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    pub(crate) extended: bool,
    pub(crate) tracks: u32,
    pub(crate) sectors: u64,
    pub(crate) in_use: u32,
    pub(crate) data_off: u32,
    pub(crate) flags: u32,
    /// For each cluster of the disk: the fill of its data and its position among the file's clusters.
    pub(crate) clusters: Vec<Option<(u8, u64)>>,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            extended: false,
            tracks: 3,
            sectors: 10,
            in_use: 0,
            data_off: 0,
            flags: 0,
            clusters: vec![Some((11, 1)), None, Some((22, 0)), None],
        }
    }
}

impl Build {
    /// Bytes of a cluster.
    pub(crate) fn cluster(&self) -> u64 {
        u64::from(self.tracks) * 512
    }

    /// Where the first cluster is.
    pub(crate) fn data_offset(&self) -> u64 {
        let unit = if self.extended { self.cluster() } else { 512 };
        (64 + 4 * self.clusters.len() as u64).next_multiple_of(unit)
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let used = self.clusters.iter().flatten().map(|(_, position)| position + 1).max().unwrap_or(0);
        let len = usize::try_from(self.data_offset() + used * self.cluster()).unwrap();
        let mut out = vec![0; len];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, if self.extended { MAGIC_EXT } else { MAGIC });
        put(16, &2_u32.to_le_bytes());
        put(28, &self.tracks.to_le_bytes());
        put(32, &u32::try_from(self.clusters.len()).unwrap().to_le_bytes());
        put(36, &self.sectors.to_le_bytes());
        put(44, &self.in_use.to_le_bytes());
        put(48, &self.data_off.to_le_bytes());
        put(52, &self.flags.to_le_bytes());
        let unit = if self.extended { self.cluster() } else { 512 };
        for (i, (fill, position)) in self.clusters.iter().enumerate().filter_map(|(i, c)| Some((i, (*c)?))) {
            let at = self.data_offset() + position * self.cluster();
            put(64 + 4 * i, &u32::try_from(at / unit).unwrap().to_le_bytes());
            put(usize::try_from(at).unwrap(), &vec![fill; usize::try_from(self.cluster()).unwrap()]);
        }
        out
    }

    /// What the disk holds.
    pub(crate) fn flat(&self) -> Vec<u8> {
        let cluster = usize::try_from(self.cluster()).unwrap();
        let mut out: Vec<u8> =
            self.clusters.iter().flat_map(|c| vec![c.map_or(0, |(fill, _)| fill); cluster]).collect();
        out.truncate(usize::try_from(self.sectors * 512).unwrap());
        out
    }
}
