//! Folders: directory records, one after the other (ECMA-119, 6.8).

use super::record::Record;
use super::{Iso, MAX_PARTS, kind, names, next_sector};
use crate::guestfs::gaps::Skip;
use crate::guestfs::{Entry, Error, Node, NodeKind, Result};
use std::ops::ControlFlow;

impl Iso {
    /// Tells the entries of a directory from byte `from` of it on. Records do not go from one sector to the next, so one
    /// that makes no sense takes the rest of its sector along and no more.
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
        let mut place = from;
        while place < len {
            let reported = match self.whole_record(directory.0 + place) {
                Ok(Some((first, end))) => {
                    place = end - directory.0;
                    self.entry(&first, place).map_or(ControlFlow::Continue(()), &mut *each)
                }
                Ok(None) => {
                    place = next_sector(directory.0 + place) - directory.0;
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    place = next_sector(directory.0 + place) - directory.0;
                    skip(error)
                }
            };
            if reported.is_break() {
                return Ok(());
            }
        }
        // Of a volume that is cut short.
        if let Err(error) = self.inside(directory.0, stated, "directory") {
            let _ = skip(error);
        }
        Ok(())
    }

    /// The record at a place, and where the last one of the same file ends. A file without all of its parts ends with
    /// its first record, and fails when it is opened.
    fn whole_record(&self, at: u64) -> Result<Option<(Record, u64)>> {
        let Some(first) = self.record(at)? else { return Ok(None) };
        let mut last = first.clone();
        for _ in 0..MAX_PARTS {
            if !last.has_more() || last.is_directory() {
                break;
            }
            match self.next_part(&last) {
                Ok(next) => last = next,
                Err(_) => break,
            }
        }
        let end = last.at + last.len;
        Ok(Some((first, end)))
    }

    /// What a directory tells of a record; none for one that is not shown. A file whose attributes are corrupt has a name
    /// all the same.
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
