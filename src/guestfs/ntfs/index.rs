//! Directories: indexes of names. A listing does not need the tree's order, so the blocks are read in the order in
//! which they are stored: the root in the record, then every index block that the bitmap marks as used. No tree is
//! walked, so a corrupt one cannot cause a loop.

use super::Ntfs;
use super::file::{File, HAS_REPARSE_POINT, SYSTEM};
use super::record::{DOS_NAME, apply_fixups, kind};
use crate::guestfs::gaps::Skip;
use crate::guestfs::{Entry, Error, Node, NodeKind, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use crate::ondisk::utf16::to_utf8;
use std::ops::ControlFlow;

/// "$I30", the index of names.
const NAMES: [u16; 4] = [0x24, 0x49, 0x33, 0x30];
/// Bit of an entry's flags: the last entry, which has no name.
const LAST: u16 = 2;
/// Bit of a name's file attributes.
const DIRECTORY: u32 = 0x1000_0000;
/// Records below this one are the file system's own files.
const FIRST_USER_RECORD: u64 = 16;
/// Positions in a directory are a block (0 is the root) and an offset in it: index blocks have at most 64 KiB.
const BLOCK_SHIFT: u32 = 20;

/// Called for each entry.
type Each<'a> = &'a mut dyn FnMut(Entry) -> ControlFlow<()>;

impl Ntfs {
    /// Calls `each` for the entries of a directory from a position on. A block that cannot be read is skipped, and so
    /// is the rest of a block after an invalid entry.
    pub(super) fn entries(&self, directory: &File, from: u64, each: Each<'_>, skip_over: Skip<'_>) -> Result<()> {
        let Some(root) = directory.stream(kind::INDEX_ROOT, &NAMES)?.filter(|_| directory.record.directory) else {
            return Err(Error::NotDirectory);
        };
        let root = self.small_stream(&root, directory.number)?;
        let f = Fields::new("index root", &root, 0);
        let block_size = usize::try_from(f.u32_le(8)?).unwrap_or(0);
        if !block_size.is_power_of_two() || !(512..=65536).contains(&block_size) {
            let what = format!("size of the index blocks of directory {}", directory.number);
            return Err(ParseError::corrupt(8, what, "512 to 65536", block_size).into());
        }
        let (first, skip) = (from >> BLOCK_SHIFT, usize::try_from(from & ((1 << BLOCK_SHIFT) - 1)).unwrap_or(0));
        if first == 0 {
            let reported = self.block_entries(&root, 0, (16, 0), skip, each, skip_over);
            if reported.unwrap_or_else(&mut *skip_over).is_break() {
                return Ok(());
            }
        }
        let Some(blocks) = directory.stream(kind::INDEX_ALLOCATION, &NAMES)? else { return Ok(()) };
        let bitmap = directory.stream(kind::BITMAP, &NAMES)?.ok_or_else(|| {
            let what = format!("bitmap of the index blocks of directory {}", directory.number);
            ParseError::corrupt(self.record_offset(directory.number), what, "one", "none")
        })?;
        let bitmap = self.small_stream(&bitmap, directory.number)?;
        let count = (bitmap.len() as u64 * 8).min(blocks.size() / block_size as u64);
        for block in first.max(1)..=count {
            let index = usize::try_from(block - 1).unwrap_or(usize::MAX);
            if bitmap.get(index / 8).is_none_or(|byte| byte >> (index % 8) & 1 == 0) {
                continue;
            }
            let mut bytes = vec![0; block_size];
            let skip = if block == first { skip } else { 0 };
            let read = self.read_stream(&blocks, (block - 1) * block_size as u64, &mut bytes).and_then(|at| {
                apply_fixups(&mut bytes, at, b"INDX")?;
                Ok(at)
            });
            let reported = read.and_then(|at| self.block_entries(&bytes, at, (24, block), skip, each, skip_over));
            if reported.unwrap_or_else(&mut *skip_over).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Calls `each` for the entries of one block from its byte `skip` on; `header` is the offset of the index header in
    /// it.
    fn block_entries(
        &self,
        bytes: &[u8],
        at: u64,
        (header, block): (usize, u64),
        skip: usize,
        each: Each<'_>,
        skip_over: Skip<'_>,
    ) -> Result<ControlFlow<()>> {
        let f = Fields::new("index", bytes, at);
        let word =
            |position: usize| f.u32_le(position).map(|n| usize::try_from(n).unwrap_or(usize::MAX)).map_err(Error::from);
        let end = header.saturating_add(word(header + 4)?);
        if end > bytes.len() {
            let cause = ParseError::corrupt(
                f.offset(header + 4),
                "used bytes of an index",
                format_args!("at most {}", bytes.len()),
                end,
            );
            return Err(cause.into());
        }
        let mut position = header.saturating_add(word(header)?);
        while position + 16 <= end {
            let len = usize::from(f.u16_le(position + 8)?);
            if len < 16 || !len.is_multiple_of(8) || len > end - position {
                let expected = format!("a multiple of 8 from 16 to {}", end - position);
                return Err(
                    ParseError::corrupt(f.offset(position + 8), "length of an index entry", expected, len).into()
                );
            }
            if f.u16_le(position + 12)? & LAST != 0 {
                break;
            }
            let next = block << BLOCK_SHIFT | (position + len) as u64;
            let raw = Fields::new("name", f.bytes(position, len)?, f.offset(position));
            let reported = match self.entry(&raw, next) {
                Ok(Some(entry)) if position >= skip => each(entry),
                Err(error) if position >= skip => skip_over(error),
                _ => ControlFlow::Continue(()),
            };
            if reported.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            position += len;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Parses one entry; `None` for hidden ones: short names and the file system's own files.
    fn entry(&self, f: &Fields<'_>, next: u64) -> Result<Option<Entry>> {
        let read = || -> Result<(u64, u8, Vec<u8>, u32), ParseError> {
            let len = usize::from(f.u8(16 + 64)?);
            let name = super::record::utf16(f.bytes(16 + 66, 2 * len)?);
            Ok((f.u64_le(0)?, f.u8(16 + 65)?, to_utf8(&name), f.u32_le(16 + 56)?))
        };
        let (reference, namespace, name, flags) = read()?;
        if namespace == DOS_NAME || reference & 0xFFFF_FFFF_FFFF < FIRST_USER_RECORD {
            return Ok(None);
        }
        // The sequence number is dropped: an entry that outlived its file is detected by its free record.
        let node = Node(reference & 0xFFFF_FFFF_FFFF);
        let kind = match flags {
            // A corrupt file is still listed.
            _ if flags & (HAS_REPARSE_POINT | SYSTEM) != 0
                && let Ok(opened) = self.file(node) =>
            {
                opened.kind
            }
            _ if flags & DIRECTORY != 0 => NodeKind::Directory,
            _ => NodeKind::File,
        };
        Ok(Some(Entry { name, node, kind, next }))
    }
}
