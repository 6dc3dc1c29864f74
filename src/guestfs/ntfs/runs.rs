//! Run lists (mapping pairs): the clusters that hold a value.

use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// The most runs of a value: 16 GiB when every run is a single cluster of 4 KiB.
const MAX_RUNS: usize = 4 << 20;

/// A contiguous range of a value's clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClusterRun {
    /// The first cluster within the value (VCN).
    pub(super) first: u64,
    /// The first cluster on the volume (LCN); `None` for a hole.
    pub(super) lcn: Option<u64>,
    /// Number of clusters.
    pub(super) count: u64,
}

/// The runs of a value in order, without gaps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Runs(pub(super) Vec<ClusterRun>);

impl Runs {
    /// The run that holds a cluster of the value.
    pub(super) fn find(&self, cluster: u64) -> Option<ClusterRun> {
        let after = self.0.partition_point(|run| run.first <= cluster);
        let run = *self.0.get(after.checked_sub(1)?)?;
        (cluster - run.first < run.count).then_some(run)
    }

    /// The value's cluster after the last one.
    pub(super) fn end(&self) -> u64 {
        self.0.last().map_or(0, |run| run.first.saturating_add(run.count))
    }

    /// Appends the runs from another record, which must continue where these end.
    pub(super) fn append(&mut self, more: &Self, at: u64) -> Result<(), ParseError> {
        let from = more.0.first().map_or(self.end(), |run| run.first);
        if from != self.end() {
            return Err(ParseError::corrupt(at, "first cluster of a value's next run list", self.end(), from));
        }
        if self.0.len() + more.0.len() > MAX_RUNS {
            return Err(ParseError::unsupported(at, "runs of a value", format_args!("at most {MAX_RUNS}"), "more"));
        }
        self.0.extend(&more.0);
        Ok(())
    }
}

/// Decodes a compressed list. Each run has a byte with the lengths of two numbers: its cluster count, and the distance
/// of its LCN from that of the run before (left out for a hole). A zero byte ends the list.
pub(super) fn decode(compressed: &[u8], lowest: u64, at: u64) -> Result<Runs, ParseError> {
    let f = Fields::new("run list", compressed, at);
    let mut runs = Vec::new();
    let (mut first, mut lcn, mut i) = (lowest, 0_i64, 0);
    while i < compressed.len() && compressed[i] != 0 {
        let (count_len, lcn_len) = (usize::from(compressed[i] & 15), usize::from(compressed[i] >> 4));
        let bad = |what: &str| {
            ParseError::corrupt(f.offset(i), "run of clusters", "a count and a cluster on the volume", what)
        };
        let count = number(f.bytes(i + 1, count_len)?).filter(|n| *n > 0).ok_or_else(|| bad("no count"))?;
        let count = u64::try_from(count).map_err(|_| bad("no count"))?;
        let distance = f.bytes(i + 1 + count_len, lcn_len)?;
        let here = if distance.is_empty() {
            None
        } else {
            lcn = number(distance).and_then(|by| lcn.checked_add(by)).ok_or_else(|| bad("a cluster out of range"))?;
            Some(u64::try_from(lcn).map_err(|_| bad("a cluster before the volume"))?)
        };
        runs.push(ClusterRun { first, lcn: here, count });
        first = first.checked_add(count).ok_or_else(|| bad("a count too large"))?;
        i += 1 + count_len + lcn_len;
    }
    Ok(Runs(runs))
}

/// A signed little-endian number of up to 8 bytes.
fn number(bytes: &[u8]) -> Option<i64> {
    let fill = if bytes.last()? & 0x80 != 0 { 0xFF } else { 0 };
    let mut raw = [fill; 8];
    raw.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_relative_runs() {
        let compressed = [0x21, 0x18, 0x34, 0x56, 0x11, 0x04, 0xFC, 0x01, 0x10, 0x00, 0xFF];
        let runs = decode(&compressed, 0, 0).unwrap();
        let run = |first, lcn, count| ClusterRun { first, lcn, count };
        assert_eq!(runs.0, [run(0, Some(0x5634), 0x18), run(0x18, Some(0x5630), 4), run(0x1C, None, 0x10)]);
        assert_eq!(runs.find(0x17), Some(runs.0[0]));
        assert_eq!(runs.find(0x18), Some(runs.0[1]));
        assert_eq!(runs.find(0x2C), None);
        assert_eq!(runs.end(), 0x2C);
    }

    #[test]
    fn refuses_invalid_runs() {
        for compressed in
            [&[0x11_u8, 4][..], &[0x10, 4], &[0x11, 0, 4], &[0x11, 4, 0x80], &[0x91, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1]]
        {
            assert!(decode(compressed, 0, 0).is_err(), "{compressed:02x?}");
        }
    }
}
