//! Replaying the log: in memory for reading, in the file for writing.

use super::log::{Change, Replay};
use crate::image::Result;
use crate::storage;
use crate::storage::{File, Segment, Storage};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// A file as it is after the log was replayed, without being changed.
#[derive(Debug)]
pub(super) struct Replayed {
    file: File,
    length: u64,
    /// The changes by where they begin, without overlaps.
    changes: BTreeMap<u64, Change>,
}

impl Replayed {
    pub(super) fn new(file: File, replay: Replay) -> Self {
        let mut changes = BTreeMap::new();
        for change in replay.changes {
            insert(&mut changes, change);
        }
        Self { file, length: replay.length, changes }
    }

    /// The first change that ends after `offset`.
    fn next(&self, offset: u64) -> Option<&Change> {
        let ends_after = |change: &&Change| change.range().0 + change.range().1 > offset;
        let before = self.changes.range(..=offset).next_back().map(|(_, change)| change).filter(ends_after);
        before.or_else(|| self.changes.range(offset..).next().map(|(_, change)| change))
    }
}

/// Puts a change in over those that are there.
fn insert(changes: &mut BTreeMap<u64, Change>, new: Change) {
    let (start, length) = new.range();
    let end = start + length;
    let overlapped: Vec<u64> = changes
        .range(..end)
        .rev()
        .take_while(|(_, change)| change.range().0 + change.range().1 > start)
        .map(|(at, _)| *at)
        .collect();
    for at in overlapped {
        // All offsets and lengths are whole sectors, so content is covered whole or not at all; zeros may stay in part.
        if let Some(Change::Zero { offset, length }) = changes.remove(&at) {
            if offset < start {
                changes.insert(offset, Change::Zero { offset, length: start - offset });
            }
            if offset + length > end {
                changes.insert(end, Change::Zero { offset: end, length: offset + length - end });
            }
        }
    }
    changes.insert(start, new);
}

impl Storage for Replayed {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.length)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.length.saturating_sub(offset);
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let change = self.next(offset).map(|change| (change, change.range()));
        match change {
            Some((change, (start, length))) if start <= offset => {
                let len = usize::try_from(start + length - offset).unwrap_or(usize::MAX).min(most);
                match change {
                    Change::Zero { .. } => buf[..len].fill(0),
                    Change::Data { bytes, .. } => {
                        let skip = usize::try_from(offset - start).unwrap_or(0);
                        buf[..len].copy_from_slice(&bytes[skip..skip + len]);
                    }
                }
                Ok(len)
            }
            change => {
                let until = change.map_or(u64::MAX, |(_, (start, _))| start - offset);
                let len = usize::try_from(until).unwrap_or(usize::MAX).min(most);
                let got = self.file.read_at(&mut buf[..len], offset)?;
                if got == 0 {
                    // The log makes the file longer, with zeros.
                    buf[..len].fill(0);
                    return Ok(len);
                }
                Ok(got)
            }
        }
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn zero(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn segment(&self, offset: u64) -> io::Result<Segment> {
        Ok(Segment::Data(self.length.saturating_sub(offset)))
    }
}

/// Makes the changes in the file and waits until they are on the disk. May be repeated after a crash.
pub(super) fn write_back(file: &dyn Storage, replay: &Replay) -> Result<()> {
    if storage::length(file)? < replay.length {
        storage::set_len(file, replay.length)?;
    }
    for change in &replay.changes {
        match change {
            Change::Zero { offset, length } => storage::zero(file, *offset, *length)?,
            Change::Data { offset, bytes } => storage::write_all(file, &bytes[..], *offset)?,
        }
    }
    storage::sync(file)
}
