//! The writing machinery that all formats share: which space of a file is free, reserved or pending free, and the order
//! in which a flush writes data and metadata. A format supplies only how its map entries and its header are written.

mod reservations;
mod set;
mod space;
mod state;

pub(super) use reservations::Reservations;
pub(super) use set::{MAX_UNITS, UnitSet};
pub(super) use space::{Grant, Space, Taken, cut, give_back};
pub(super) use state::{State, sync_in_order};

use super::{Extent, Run};
use std::ops::Range;

/// The offsets of the units of `size` bytes in a range of the disk, which begins with a whole one.
pub(super) fn units(offset: u64, len: u64, size: u64) -> impl Iterator<Item = u64> + use<> {
    (offset / size..offset.saturating_add(len).div_ceil(size)).map(move |unit| unit * size)
}

/// Runs for the positions in the file with index `file` that units of a range of the disk got, joined where they are
/// contiguous.
pub(super) fn runs(file: usize, positions: &[u64], unit: u64, len: u64) -> Vec<Run> {
    let mut runs = Vec::new();
    for (position, at) in positions.iter().zip((0..len).step_by(usize::try_from(unit).unwrap_or(usize::MAX))) {
        let run = Run { extent: Extent::Stored { file, offset: *position }, len: unit.min(len - at) };
        Run::push(&mut runs, run);
    }
    runs
}

/// Where in their file the bytes of stored runs are.
pub(super) fn positions(runs: &[Run]) -> impl Iterator<Item = (usize, Range<u64>)> {
    runs.iter().filter_map(|run| match run.extent {
        Extent::Stored { file, offset } => Some((file, offset..offset + run.len)),
        _ => None,
    })
}
