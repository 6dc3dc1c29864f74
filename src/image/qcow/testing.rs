//! QCOW2 files built byte by byte, for tests.

use super::header::MAGIC;

/// Bit 63 of an entry: the cluster has one user.
pub(crate) const COPIED: u64 = 1 << 63;
/// Bit 62 of a level 2 entry: the cluster is compressed.
pub(crate) const COMPRESSED: u64 = 1 << 62;
/// Bytes of a cluster.
pub(crate) const CLUSTER: usize = 512;
/// The clusters of the fixed structures.
pub(crate) const REFCOUNT_TABLE: usize = CLUSTER;
pub(crate) const REFCOUNT_BLOCK: usize = 2 * CLUSTER;
pub(crate) const L1: usize = 3 * CLUSTER;
pub(crate) const L2: usize = 4 * CLUSTER;
pub(crate) const DATA: usize = 5 * CLUSTER;

/// What a test image should be: version 3 with clusters of 512 bytes and one level 2 table.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    pub(crate) version: u32,
    pub(crate) size: u64,
    /// Features after `snapshots_offset`: incompatible, compatible, autoclear.
    pub(crate) features: [u64; 3],
    pub(crate) compression: u8,
    /// Header extensions: type and data.
    pub(crate) extensions: Vec<(u32, Vec<u8>)>,
    pub(crate) backing: Option<&'static str>,
    /// Entries of the level 2 table; [`stored`] gives those of `data`.
    pub(crate) entries: Vec<u64>,
    /// The clusters from [`DATA`] on.
    pub(crate) data: Vec<Vec<u8>>,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            version: 3,
            size: 60 * CLUSTER as u64,
            features: [0; 3],
            compression: 0,
            extensions: Vec::new(),
            backing: None,
            entries: Vec::new(),
            data: Vec::new(),
        }
    }
}

/// The entry for a cluster of [`Build::data`].
pub(crate) fn stored(index: usize) -> u64 {
    (DATA + index * CLUSTER) as u64 | COPIED
}

impl Build {
    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; DATA];
        let put = |out: &mut Vec<u8>, at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(&mut out, 0, &MAGIC);
        put(&mut out, 4, &self.version.to_be_bytes());
        put(&mut out, 20, &9_u32.to_be_bytes());
        put(&mut out, 24, &self.size.to_be_bytes());
        put(&mut out, 36, &1_u32.to_be_bytes());
        put(&mut out, 40, &(L1 as u64).to_be_bytes());
        put(&mut out, 48, &(REFCOUNT_TABLE as u64).to_be_bytes());
        put(&mut out, 56, &1_u32.to_be_bytes());
        let mut at = 72;
        if self.version == 3 {
            for (index, features) in self.features.iter().enumerate() {
                put(&mut out, 72 + 8 * index, &features.to_be_bytes());
            }
            put(&mut out, 96, &4_u32.to_be_bytes());
            put(&mut out, 100, &112_u32.to_be_bytes());
            out[104] = self.compression;
            at = 112;
        }
        for (kind, data) in &self.extensions {
            put(&mut out, at, &kind.to_be_bytes());
            put(&mut out, at + 4, &u32::try_from(data.len()).unwrap().to_be_bytes());
            put(&mut out, at + 8, data);
            at += 8 + data.len().next_multiple_of(8);
        }
        if let Some(name) = self.backing {
            let at = CLUSTER - name.len();
            put(&mut out, at, name.as_bytes());
            put(&mut out, 8, &(at as u64).to_be_bytes());
            put(&mut out, 16, &u32::try_from(name.len()).unwrap().to_be_bytes());
        }
        put(&mut out, REFCOUNT_TABLE, &(REFCOUNT_BLOCK as u64).to_be_bytes());
        for cluster in 0..5 + self.data.len() {
            put(&mut out, REFCOUNT_BLOCK + 2 * cluster, &1_u16.to_be_bytes());
        }
        put(&mut out, L1, &(L2 as u64 | COPIED).to_be_bytes());
        for (index, entry) in self.entries.iter().enumerate() {
            put(&mut out, L2 + 8 * index, &entry.to_be_bytes());
        }
        out.extend(self.data.concat());
        out
    }
}
