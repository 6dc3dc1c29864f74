//! Replaying data: which extents a file has.

use super::Replay;
use crate::guestfs::Result;
use crate::guestfs::btrfs::data::SIZE;
use crate::guestfs::btrfs::kind;
use crate::guestfs::btrfs::node::Key;
use crate::guestfs::btrfs::tree::Item;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::ops::ControlFlow;

/// The range of an extent: its end in the file, in whole sectors when it is inline.
fn end_of(f: &Fields<'_>, key: Key, sector: u64) -> Result<u64, ParseError> {
    let (len, round) = if f.u8(20)? == 0 { (f.u64_le(8)?, true) } else { (f.u64_le(45)?, false) };
    let end = key
        .offset
        .checked_add(len)
        .and_then(|end| if round { end.checked_next_multiple_of(sector) } else { Some(end) });
    end.ok_or_else(|| {
        let what = format!("length of an extent of inode {}", key.objectid);
        ParseError::corrupt(f.offset(45), what, "an end below 2^64", len)
    })
}

impl Replay<'_> {
    /// An extent, which takes the place of those where it is.
    pub(super) fn extent(&mut self, item: &Item) -> Result<()> {
        let f = item.fields()?;
        let end = end_of(&f, item.key, self.sector)?;
        if !self.view.has_inode(item.key.objectid)? {
            let what = format!("inode {} of an extent in the log", item.key.objectid);
            return Err(ParseError::corrupt(item.at(), what, "an INODE_ITEM", "none").into());
        }
        self.drop_extents(item.key.objectid, item.key.offset, end)?;
        self.view.put(item.key, f.bytes(0, f.len())?.to_vec())
    }

    /// Takes a range of a file out of all its extents.
    pub(super) fn drop_extents(&mut self, inode: u64, from: u64, to: u64) -> Result<()> {
        let first = Key::new(inode, kind::EXTENT_DATA, from);
        let mut cursor = self.view.nodes.cursor(&self.view.tree, first)?;
        let mut old = Vec::new();
        while let Some(item) = cursor.next()? {
            let ours = (item.key.objectid, item.key.kind) == (first.objectid, first.kind);
            if item.key > first && (!ours || item.key.offset >= to) {
                break;
            }
            if ours {
                old.push(item);
            }
        }
        for item in old {
            self.cut(&item, from, to)?;
        }
        Ok(())
    }

    /// Leaves of an extent what is before and after a range.
    fn cut(&mut self, item: &Item, from: u64, to: u64) -> Result<()> {
        let f = item.fields()?;
        let (start, end) = (item.key.offset, end_of(&f, item.key, self.sector)?);
        if end <= from || start >= to {
            return Ok(());
        }
        if f.u8(20)? == 0 {
            if start >= from && end <= to {
                return self.view.delete(item.key);
            }
            let what = format!("range of inode {} in the log", item.key.objectid);
            return Err(ParseError::corrupt(f.offset(0), what, "all of an inline extent", "some of it").into());
        }
        let bytes = f.bytes(0, SIZE)?.to_vec();
        let with_len = |mut bytes: Vec<u8>, len: u64| {
            bytes[45..SIZE].copy_from_slice(&len.to_le_bytes());
            bytes
        };
        if start < from {
            self.view.put(item.key, with_len(bytes.clone(), from - start))?;
        } else {
            self.view.delete(item.key)?;
        }
        if end > to {
            let mut rest = with_len(bytes, end - to);
            if f.u64_le(21)? != 0 {
                let skip = f.u64_le(37)?.saturating_add(to - start);
                rest[37..45].copy_from_slice(&skip.to_le_bytes());
            }
            self.view.put(Key { offset: to, ..item.key }, rest)?;
        }
        Ok(())
    }

    /// Bytes that a file's extents take.
    pub(super) fn data_bytes(&self, inode: u64) -> Result<u64> {
        let mut count = 0_u64;
        self.view.nodes.items(&self.view.tree, Key::new(inode, kind::EXTENT_DATA, 0), &mut |item| {
            let f = item.fields()?;
            let len = match f.u8(20)? {
                0 => f.u64_le(8),
                _ if f.u64_le(21)? == 0 => Ok(0),
                _ => f.u64_le(45),
            };
            count = count.saturating_add(len?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(count)
    }
}
