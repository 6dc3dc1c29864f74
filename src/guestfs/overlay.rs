//! Metadata that a journal holds and the volume not yet.

use std::collections::BTreeMap;

/// Bytes of a sector.
const SECTOR: u64 = 512;

/// Sectors that are newer than the volume's, by their index.
#[derive(Default)]
pub(super) struct Overlay(pub(super) BTreeMap<u64, [u8; 512]>);

impl Overlay {
    /// Copies the newer bytes over those that were read from byte `at` on, and returns whether there were any.
    pub(super) fn patch(&self, at: u64, bytes: &mut [u8]) -> bool {
        let end = at.saturating_add(bytes.len() as u64);
        let mut any = false;
        for (index, sector) in self.0.range(at / SECTOR..end.div_ceil(SECTOR)) {
            let start = index * SECTOR;
            let (from, to) = (start.max(at), (start + SECTOR).min(end));
            let within = |offset: u64, base: u64| usize::try_from(offset - base).unwrap_or(0);
            bytes[within(from, at)..within(to, at)].copy_from_slice(&sector[within(from, start)..within(to, start)]);
            any = true;
        }
        any
    }

    /// Whether a range has newer bytes.
    pub(super) fn touches(&self, at: u64, len: u64) -> bool {
        self.0.range(at / SECTOR..at.saturating_add(len).div_ceil(SECTOR)).next().is_some()
    }

    /// Adds whole sectors from byte `at` on.
    pub(super) fn insert(&mut self, at: u64, bytes: &[u8]) {
        for (index, sector) in (at / SECTOR..).zip(bytes.as_chunks::<512>().0) {
            self.0.insert(index, *sector);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_reads_that_begin_and_end_within_a_sector() {
        let mut overlay = Overlay::default();
        let newer: Vec<u8> = (0..1024_u32).map(|i| u8::try_from(i / 256).unwrap() + 1).collect();
        overlay.insert(1024, &newer);
        let read = |at: u64, len: usize| {
            let mut bytes = vec![0; len];
            (overlay.patch(at, &mut bytes), bytes)
        };
        assert_eq!(read(1280, 256), (true, vec![2; 256]));
        assert_eq!(read(1536 + 256, 512), (true, [vec![4; 256], vec![0; 256]].concat()));
        assert_eq!(read(768, 512), (true, [vec![0; 256], vec![1; 256]].concat()));
        assert_eq!((read(0, 1024).0, read(2048, 512).0, overlay.touches(0, 1024)), (false, false, false));
        assert!(overlay.touches(1000, 25) && overlay.touches(2047, 1));
    }
}
