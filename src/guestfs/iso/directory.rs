//! Directories: sequences of directory records (ECMA-119, 6.8).

use super::record::Record;
use super::{Iso, MAX_EXTENTS, kind, names, next_sector};
use crate::guestfs::gaps::Skip;
use crate::guestfs::{Entry, Error, Node, NodeKind, Result};
use std::ops::ControlFlow;

impl Iso {
    /// Calls `each` for the entries of a directory from its byte `from` on. Records do not cross sector boundaries, so
    /// an invalid one loses only the rest of its sector.
    pub(super) fn entries(
        &self,
        directory: Node,
        from: u64,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
        skip: Skip<'_>,
    ) -> Result<()> {
        let opened = self.opened(directory)?;
        if opened.kind != NodeKind::Directory {
            return Err(Error::NotDirectory);
        }
        let stated = u64::from(opened.record.data_len);
        let len = stated.min(self.blocks.size().saturating_sub(directory.0));
        let mut position = from;
        while position < len {
            let reported = match self.whole_record(directory.0 + position) {
                Ok(Some((first, end))) => {
                    position = end - directory.0;
                    self.entry(&first, position).map_or(ControlFlow::Continue(()), &mut *each)
                }
                Ok(None) => {
                    position = next_sector(directory.0 + position) - directory.0;
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    position = next_sector(directory.0 + position) - directory.0;
                    skip(error)
                }
            };
            if reported.is_break() {
                return Ok(());
            }
        }
        // The directory may go past the end of a truncated volume.
        if let Err(error) = self.inside(directory.0, stated, "directory") {
            let _ = skip(error);
        }
        Ok(())
    }

    /// The record at an offset, and the end of the last record of the same file. A file with missing extents ends early
    /// here, and fails when it is opened.
    fn whole_record(&self, at: u64) -> Result<Option<(Record, u64)>> {
        let Some(first) = self.record(at)? else { return Ok(None) };
        let mut last = first.clone();
        for _ in 0..MAX_EXTENTS {
            if !last.has_more() || last.is_directory() {
                break;
            }
            match self.next_record(&last) {
                Ok(next) => last = next,
                Err(_) => break,
            }
        }
        let end = last.at + last.len;
        Ok(Some((first, end)))
    }

    /// The entry for a record; `None` for a hidden one. A file with corrupt attributes is still listed.
    fn entry(&self, record: &Record, next: u64) -> Option<Entry> {
        if record.is_self() || record.is_parent() || record.is_associated() {
            return None;
        }
        let rock_ridge = self.rock_ridge(record);
        if rock_ridge.relocated {
            return None;
        }
        let name = rock_ridge.name().map_or_else(|| names::shown(&record.identifier, self.naming), <[u8]>::to_vec);
        let directory = match rock_ridge.child {
            Some(block) => Some(u64::from(block) * self.block_size()),
            None => record.is_directory().then(|| record.data_at(self.block_size())),
        };
        let kind = kind(directory.is_some(), &rock_ridge);
        Some(Entry { name, node: Node(directory.unwrap_or(record.at)), kind, next })
    }
}
