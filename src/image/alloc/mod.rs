//! The writer's side that all formats share: which space of a file is free, what was handed out, what waits for a flush,
//! and in which order a flush brings data and metadata to the disk. A format supplies how its map entry and its header
//! are written.

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

/// Where the units (of `size` bytes each) of a range of the disk begin; the range begins with one.
pub(super) fn units(offset: u64, len: u64, size: u64) -> impl Iterator<Item = u64> + use<> {
    (offset / size..offset.saturating_add(len).div_ceil(size)).map(move |unit| unit * size)
}

/// Runs for the positions in the file with index `file` that units of a range of the disk got, joined where they are contiguous.
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
