//! Directories: a stream of entries, sorted by name, in groups that share a header. Large ones have an index of the
//! groups that each block of metadata begins with (the kernel's `struct squashfs_dir_header`, `squashfs_dir_entry` and
//! `squashfs_dir_index`, <https://docs.kernel.org/filesystems/squashfs.html>).

use super::Squashfs;
use super::inode::{Content, Directory, Inode, kind};
use super::metadata::{BLOCK, Position};
use crate::guestfs::gaps::{Skip, may_be_escaped};
use crate::guestfs::{Entry, Error, GuestFs, Node, NodeKind, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::ops::ControlFlow;

/// Bytes of a group's header, and of an entry and of an index's entry before their names.
const HEADER: usize = 12;
const ENTRY: usize = 8;
const INDEX: usize = 12;
/// Entries of one group at most.
const MAX_GROUP: u32 = 256;
/// The longest name.
pub(super) const NAME_MAX: usize = 256;

/// Where to begin.
enum From<'a> {
    /// At the group that holds a byte of the directory, or before it.
    Byte(u64),
    /// At the group that holds a name, or before it.
    Name(&'a [u8]),
}

impl Squashfs {
    /// Lists the entries of a directory from its byte `from` on. After a range that cannot be read its index has the
    /// next one that can.
    pub(super) fn entries(
        &self,
        inode: &Inode,
        mut from: u64,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
        skip: Skip<'_>,
    ) -> Result<()> {
        let directory = directory_of(inode)?;
        let mut broken = false;
        loop {
            let mut end = from;
            let reported = self.walk(directory, From::Byte(from), &mut |entry, start| {
                end = end.max(entry.next);
                if start >= from && each(entry).is_break() {
                    broken = true;
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            });
            let Err(error) = reported else { return Ok(()) };
            if broken || skip(error).is_break() {
                return Ok(());
            }
            match self.indexed_after(directory, end) {
                Some(next) => from = next,
                None => return Ok(()),
            }
        }
    }

    /// The first byte of a directory, after byte `after`, that its index has a position for.
    fn indexed_after(&self, directory: &Directory, after: u64) -> Option<u64> {
        let (count, mut position) = directory.index;
        (0..count).find_map(|_| match self.index_entry(&mut position) {
            Ok((index, ..)) if u64::from(index) > after => Some(Some(u64::from(index))),
            Ok(_) => None,
            Err(_) => Some(None),
        })?
    }

    pub(super) fn find(&self, node: Node, name: &[u8]) -> Result<Option<Node>> {
        let inode = &*self.inode(node)?;
        let mut found = None;
        if may_be_escaped(name) {
            let reported = self.read_directory(node, 0, &mut |entry| {
                if entry.name != name {
                    return ControlFlow::Continue(());
                }
                found = Some(entry.node);
                ControlFlow::Break(())
            });
            return reported.map(|()| found);
        }
        self.walk(directory_of(inode)?, From::Name(name), &mut |entry, _| match entry.name.as_slice().cmp(name) {
            std::cmp::Ordering::Less => ControlFlow::Continue(()),
            std::cmp::Ordering::Equal => {
                found = Some(entry.node);
                ControlFlow::Break(())
            }
            std::cmp::Ordering::Greater => ControlFlow::Break(()),
        })?;
        Ok(found)
    }

    /// Tells entries with their first byte within the directory.
    fn walk(
        &self,
        directory: &Directory,
        from: From<'_>,
        each: &mut dyn FnMut(Entry, u64) -> ControlFlow<()>,
    ) -> Result<()> {
        let (mut at, mut position) = self.start(directory, from)?;
        while at < directory.size {
            let header = self.read_metadata(&mut position, HEADER, "directories")?;
            at += HEADER as u64;
            let f = Fields::new("group of a directory", &header, position.block);
            let count = f.u32_le(0)?;
            let block = f.u32_le(4)?;
            if count >= MAX_GROUP {
                let expected = format!("at most {MAX_GROUP}");
                let found = u64::from(count) + 1;
                return Err(
                    ParseError::corrupt(position.block, "entries of a group of a directory", expected, found).into()
                );
            }
            for _ in 0..=count {
                if at >= directory.size {
                    let expected = format!("entries up to its byte {}", directory.size);
                    return Err(ParseError::corrupt(position.block, "group of a directory", expected, "more").into());
                }
                let start = at;
                let entry = self.entry(&mut position, &mut at, block)?;
                if each(entry, start).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The entry at `position`; `block` is where its group's inodes begin.
    fn entry(&self, position: &mut Position, at: &mut u64, block: u32) -> Result<Entry> {
        let within = position.block;
        let raw = self.read_metadata(position, ENTRY, "directories")?;
        let f = Fields::new("entry of a directory", &raw, within);
        let (offset, number, size) = (f.u16_le(0)?, f.u16_le(4)?, f.u16_le(6)?);
        let size = usize::from(size) + 1;
        let bad =
            |what: &str, expected: &str, found: String| Error::from(ParseError::corrupt(within, what, expected, found));
        if size > NAME_MAX {
            return Err(bad("length of a name in a directory", "at most 256", size.to_string()));
        }
        let name = self.read_metadata(position, size, "directories")?;
        // Reading its inode reports that.
        let kind = kind(number).unwrap_or(NodeKind::File);
        *at += (ENTRY + size) as u64;
        Ok(Entry { name, node: Node(u64::from(block) << 16 | u64::from(offset)), kind, next: *at })
    }

    /// The last group that the index has before what is wanted, or the first group: its byte within the directory, and
    /// its position.
    fn start(&self, directory: &Directory, from: From<'_>) -> Result<(u64, Position)> {
        let mut best = (0, directory.first);
        let (count, mut position) = directory.index;
        for _ in 0..count {
            // Without its index a directory is read from its start.
            let Ok((index, block, name)) = self.index_entry(&mut position) else { break };
            let before = match from {
                From::Byte(byte) => u64::from(index) <= byte,
                From::Name(wanted) => name.as_slice() <= wanted,
            };
            if !before {
                break;
            }
            let index = u64::from(index);
            let offset = (directory.first.offset as u64 + index) % BLOCK as u64;
            let position =
                self.position(self.sb.directory_table, u64::from(block) << 16 | offset, "index of a directory")?;
            best = (index, position);
        }
        Ok(best)
    }

    /// An entry of a directory's index, which moves on: the byte of a group, its metadata block, and its first name.
    fn index_entry(&self, position: &mut Position) -> Result<(u32, u32, Vec<u8>)> {
        let within = position.block;
        let raw = self.read_metadata(position, INDEX, "indexes of directories")?;
        let f = Fields::new("index of a directory", &raw, within);
        let (index, block) = (f.u32_le(0)?, f.u32_le(4)?);
        let size = usize::try_from(f.u32_le(8)?).unwrap_or(usize::MAX).saturating_add(1);
        if size > NAME_MAX {
            return Err(ParseError::corrupt(within, "length of a name in an index", "at most 256", size).into());
        }
        Ok((index, block, self.read_metadata(position, size, "indexes of directories")?))
    }
}

fn directory_of(inode: &Inode) -> Result<&Directory> {
    match &inode.content {
        Content::Directory(directory) => Ok(directory),
        _ => Err(Error::NotDirectory),
    }
}
