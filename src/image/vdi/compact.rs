//! Filling the holes that discards leave in the data area.
//!
//! VirtualBox puts a new block at the index `cBlocksAllocated` and refuses an image where that exceeds `cBlocks`, so an
//! image with unused indices below it could never be filled. As VirtualBox does on a discard, the last blocks are moved
//! into the holes and the file is cut after the last one.

use super::Vdi;
use super::map::VdiEntry;
use crate::image::Result;
use crate::storage;
use std::sync::atomic::Ordering;

/// Bytes copied at once.
const CHUNK: usize = 1 << 20;

/// A block to be moved: where it is on the disk, and its old and new index of the data area.
struct Move {
    block: u64,
    from: u32,
    to: u32,
}

impl Vdi {
    /// Moves the last blocks into the holes and cuts the file. The map on the disk must be up to date. A crash at any
    /// moment leaves each block at its old or its new offset, both whole.
    pub(super) fn compact(&self) -> Result<()> {
        let writer = self.state()?;
        let mut space = writer.space();
        let holes: Vec<u64> = space.free().collect();
        let end = space.end().saturating_sub(holes.len() as u64);
        if end == space.end() {
            return Ok(());
        }
        let low: Vec<u64> = holes.into_iter().filter(|index| *index < end).collect();

        let moves = self.moves(end, &low)?;
        let file = self.file();
        for step in &moves {
            self.copy(step)?;
        }
        storage::sync(&**file)?;
        for step in &moves {
            self.map.set(step.block, VdiEntry::Index(step.to))?;
        }
        self.map.cache.write_through()?;
        for step in &moves {
            space.exchange(step.from.into(), step.to.into());
        }
        self.write_count(end)?;
        storage::sync(&**file)?;
        let len = space.cut();
        storage::set_len(&**file, len)?;
        self.map.file_len.store(len, Ordering::Release);
        storage::sync(&**file)
    }

    /// Which block goes into which of the `low` holes: those with an index from `end` on.
    fn moves(&self, end: u64, low: &[u64]) -> Result<Vec<Move>> {
        let mut holes = low.iter();
        let mut moves = Vec::with_capacity(low.len());
        for block in 0..u64::from(self.map.header.blocks) {
            if moves.len() == low.len() {
                break;
            }
            if let VdiEntry::Index(from) = self.map.entry(block)?
                && u64::from(from) >= end
                && let Some(to) = holes.next()
            {
                moves.push(Move { block, from, to: u32::try_from(*to).unwrap_or(u32::MAX) });
            }
        }
        Ok(moves)
    }

    fn copy(&self, step: &Move) -> Result<()> {
        let header = &self.map.header;
        let (from, to) = (header.block_at(step.from), header.block_at(step.to));
        let mut buf = vec![0; CHUNK.min(usize::try_from(header.stride()).unwrap_or(CHUNK))];
        let mut done = 0;
        while done < header.stride() {
            let len = usize::try_from(header.stride() - done).unwrap_or(CHUNK).min(buf.len());
            let chunk = &mut buf[..len];
            storage::read_exact(&**self.file(), chunk, from + done, "VDI block to be moved")?;
            storage::write_all(&**self.file(), chunk, to + done)?;
            done += len as u64;
        }
        Ok(())
    }
}
