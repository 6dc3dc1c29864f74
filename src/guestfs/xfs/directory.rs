//! Directories: in the inode, or in blocks. However large a directory is, its names are in its data blocks, which are
//! the first 32 GiB of its own addresses; hashes for looking them up come after and are not needed here
//! (<https://www.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf>, chapter Directories).

use super::inode::{Format, Inode};
use super::{Block, HeaderFields, Xfs};
use crate::guestfs::gaps::Skip;
use crate::guestfs::{Entry, Error, Node, NodeKind, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Magic numbers of a directory that is one block (`XD2B`, `XDB3`) and of one of several (`XD2D`, `XDD3`).
const SINGLE_V4: u32 = 0x5844_3242;
const SINGLE_V5: u32 = 0x5844_4233;
const DATA_V4: u32 = 0x5844_3244;
const DATA_V5: u32 = 0x5844_4433;
/// Bytes before the entries of a block in version 4 and 5.
const HEADER_V4: usize = 16;
const HEADER_V5: usize = 64;
const HEADER_FIELDS: HeaderFields = HeaderFields { crc: 4, block: 8, uuid: 24 };
/// Where the names end and the hashes begin, in bytes of the directory.
const NAMES_END: u64 = 32 << 30;
/// In place of the upper bits of an inode's number: unused space.
const UNUSED: u16 = 0xFFFF;

/// A name as the directory has it.
struct Raw<'a> {
    inode: u64,
    file_type: u8,
    name: &'a [u8],
}

impl Xfs {
    /// Lists the entries of a directory from its byte `from` on. A block that cannot be read is passed over, and so is
    /// the rest of one after an entry that makes no sense.
    pub(super) fn entries(
        &self,
        directory: &Inode,
        from: u64,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
        skip_over: Skip<'_>,
    ) -> Result<()> {
        if directory.attributes.kind != NodeKind::Directory {
            return Err(Error::NotDirectory);
        }
        if directory.data.format == Format::Local {
            return self.short_entries(directory, from, each);
        }
        let size = directory.attributes.size;
        let most = NAMES_END.min(self.sb.blocks.saturating_mul(self.sb.block_size.into()));
        if size > most {
            let what = format!("size of the directory with inode {}", directory.number);
            return Err(ParseError::corrupt(directory.data.at, what, format_args!("at most {most}"), size).into());
        }
        let step = u64::from(self.sb.directory_block);
        let mut base = from - from % step;
        let mut skip = usize::try_from(from % step).unwrap_or(0);
        while base < size {
            let (reported, mapped) = match self.directory_block(directory, base) {
                Ok((Some(block), mapped)) => (self.block_entries(&block, base, skip, each), mapped),
                Ok((None, mapped)) => (Ok(ControlFlow::Continue(())), mapped),
                Err(error) => (Err(error), step),
            };
            if reported.unwrap_or_else(&mut *skip_over).is_break() {
                return Ok(());
            }
            base = base.saturating_add(mapped);
            skip = 0;
        }
        Ok(())
    }

    /// The block of a directory at its byte `base`, and how many bytes to go on by; a hole is passed as a whole.
    fn directory_block(&self, directory: &Inode, base: u64) -> Result<(Option<Arc<Block>>, u64)> {
        let (size, step) = (u64::from(self.sb.block_size), u64::from(self.sb.directory_block));
        let first = base / size;
        let mapped = self.map(directory, &directory.data, first)?;
        let Some(offset) = mapped.block else {
            let bytes = mapped.count.saturating_mul(size);
            return Ok((None, (bytes - bytes % step).max(step)));
        };
        let mut whole = self.block(offset, "directory")?;
        if step > size {
            let mut joined = Block::clone(&whole);
            for number in first + 1..first + step / size {
                let Some(offset) = self.map(directory, &directory.data, number)?.block else {
                    let what = format!("block of the directory with inode {}", directory.number);
                    return Err(ParseError::corrupt(joined.at, what, format_args!("{step} bytes"), "a hole").into());
                };
                let part = self.block(offset, "directory")?;
                joined.bytes.extend_from_slice(&part.bytes);
                joined.replayed |= part.replayed;
            }
            whole = Arc::new(joined);
        }
        self.check(&whole, "directory", &HEADER_FIELDS)?;
        Ok((Some(whole), step))
    }

    /// Tells the entries of one block, which is at byte `base` of the directory, from its byte `skip` on.
    fn block_entries(
        &self,
        block: &Block,
        base: u64,
        skip: usize,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let f = Fields::new("directory", &block.bytes, block.at);
        let (mut offset, end) = self.names_of_block(&f)?;
        let mut dots = [b".".as_slice(), b".."].into_iter();
        while offset < end {
            let (raw, next) = self.raw_entry(&f, offset, end)?;
            // The directory itself and the one above are the first two entries of its first block.
            let is_dots = raw.as_ref().is_some_and(|raw| base == 0 && dots.next() == Some(raw.name));
            if let Some(raw) = raw.filter(|_| offset >= skip && !is_dots)
                && each(self.entry(&raw, base + next as u64)).is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            offset = next;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Where the entries of a block begin and end. A directory of one block has its hashes at the block's end, counted
    /// in the last 8 bytes.
    fn names_of_block(&self, f: &Fields<'_>) -> Result<(usize, usize), ParseError> {
        let (single, data, start) =
            if self.sb.v5 { (SINGLE_V5, DATA_V5, HEADER_V5) } else { (SINGLE_V4, DATA_V4, HEADER_V4) };
        let magic = f.u32_be(0)?;
        if magic == data {
            return Ok((start, f.len()));
        }
        if magic != single {
            let expected = format!("{single:#x} or {data:#x}");
            return Err(ParseError::corrupt(
                f.offset(0),
                "magic number of a directory",
                expected,
                format_args!("{magic:#x}"),
            ));
        }
        let count_at = f.len() - 8;
        let hashes = f.u32_be(count_at)?;
        let end = usize::try_from(hashes).ok().and_then(|n| n.checked_mul(8)).and_then(|n| count_at.checked_sub(n));
        let end = end.filter(|end| *end >= start);
        let end = end.ok_or_else(|| {
            ParseError::corrupt(f.offset(count_at), "number of hashes in a directory", "as many as fit", hashes)
        })?;
        Ok((start, end))
    }

    /// The entry at `offset`, none for unused space, and where the next one begins.
    fn raw_entry<'a>(&self, f: &Fields<'a>, offset: usize, end: usize) -> Result<(Option<Raw<'a>>, usize), ParseError> {
        let unused = f.u16_be(offset)? == UNUSED;
        let (raw, len) = if unused {
            (None, usize::from(f.u16_be(offset + 2)?))
        } else {
            let name_len = usize::from(f.u8(offset + 8)?);
            let typed = usize::from(self.sb.file_types);
            let file_type = if self.sb.file_types { f.u8(offset + 9 + name_len)? } else { 0 };
            let raw = Raw { inode: f.u64_be(offset)?, file_type, name: f.bytes(offset + 9, name_len)? };
            // The inode's number, the name with its length, its type, and the offset of the entry in two bytes.
            (Some(raw), (8 + 1 + name_len + typed + 2).next_multiple_of(8))
        };
        if len == 0 || !len.is_multiple_of(8) || len > end - offset {
            let expected = format!("a multiple of 8 up to {}", end - offset);
            return Err(ParseError::corrupt(f.offset(offset), "length of a directory's entry", expected, len));
        }
        Ok((raw, offset + len))
    }

    /// A directory in its inode: numbers of inodes take 8 bytes when any of them needs them, else 4.
    fn short_entries(
        &self,
        directory: &Inode,
        from: u64,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<()> {
        let f = Fields::new("directory", &directory.data.bytes, directory.data.at);
        let wide = f.u8(1)? != 0;
        let count = f.u8(0)?;
        let number_len = if wide { 8 } else { 4 };
        let mut offset = 2 + number_len;
        for _ in 0..count {
            let (raw, next) = self.short_entry(&f, offset, wide)?;
            if offset as u64 >= from && each(self.entry(&raw, next as u64)).is_break() {
                return Ok(());
            }
            offset = next;
        }
        Ok(())
    }

    fn short_entry<'a>(&self, f: &Fields<'a>, offset: usize, wide: bool) -> Result<(Raw<'a>, usize), ParseError> {
        let name_len = usize::from(f.u8(offset)?);
        // The length of the name, two bytes for the offset that the entry would have in a block, the name, its type.
        let mut at = offset + 3 + name_len;
        let name = f.bytes(offset + 3, name_len)?;
        let file_type = if self.sb.file_types { f.u8(at)? } else { 0 };
        at += usize::from(self.sb.file_types);
        let (inode, next) = if wide { (f.u64_be(at)?, at + 8) } else { (f.u32_be(at)?.into(), at + 4) };
        Ok((Raw { inode, file_type, name }, next))
    }

    /// An entry as programs see it. What is corrupt has a name all the same.
    fn entry(&self, raw: &Raw<'_>, next: u64) -> Entry {
        let kind = match NodeKind::of_entry(raw.file_type) {
            Some(kind) => kind,
            None => self.inode(raw.inode).map_or(NodeKind::File, |inode| inode.attributes.kind),
        };
        Entry { name: raw.name.to_vec(), node: Node(raw.inode), kind, next }
    }
}
