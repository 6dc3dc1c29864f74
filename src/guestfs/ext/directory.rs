//! Directories. An entry is `inode`, `rec_len`, `name_len`, `file_type` and the name
//! (<https://docs.kernel.org/filesystems/ext4/directory.html>). The index blocks of hashed directories look like blocks
//! of unused entries, so reading all blocks in order finds all names.

use super::Ext;
use super::inode::{Inode, flags};
use crate::guestfs::gaps::Skip;
use crate::guestfs::{Entry, Error, Node, NodeKind, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::ops::ControlFlow;
use std::sync::Arc;

/// `file_type` of the checksum at the end of a block.
const TAIL: u8 = 0xDE;
/// The first two names of a directory, which are not listed.
const DOTS: [&[u8]; 2] = [b".", b".."];
/// Bytes of an entry without its name.
const FIXED: usize = 8;
/// Directories larger than this are corrupt: 2 GiB is the kernel's own limit without, and far above real ones with, the
/// feature `large_dir`.
const MAX_DIRECTORY: u64 = 8 << 30;

/// A block and where it is on the volume, in bytes.
type PlacedBlock = (Arc<[u8]>, u64);

/// A name as the directory has it.
struct Raw<'a> {
    inode: u32,
    file_type: u8,
    name: &'a [u8],
    /// Where the next entry begins in its block.
    end: usize,
}

impl Ext {
    /// Tells the entries of a directory from byte `from` of it on.
    pub(super) fn entries(
        &self,
        directory: &Inode,
        from: u64,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<()> {
        if directory.attributes.kind != NodeKind::Directory {
            return Err(Error::NotDirectory);
        }
        directory.readable("directory")?;
        self.gaps.list(Node(directory.number.into()), from, each, |each, skip| {
            match self.view.names(directory.number) {
                Some(names) => {
                    self.changed_entries(names, from, |each| self.stored_entries(directory, from, each, skip), each)
                }
                None => self.stored_entries(directory, from, each, skip),
            }
        })
    }

    /// Lists the entries that a directory has on the volume. As in the kernel, a block that cannot be read is passed
    /// over, and so is the rest of one after an entry that makes no sense.
    fn stored_entries(
        &self,
        directory: &Inode,
        from: u64,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
        skip_over: Skip<'_>,
    ) -> Result<()> {
        if directory.has(flags::INLINE_DATA) {
            return self.inline_entries(directory, from, each, skip_over);
        }
        if directory.attributes.size > MAX_DIRECTORY {
            let what = format!("size of the directory with inode {}", directory.number);
            return Err(ParseError::corrupt(
                0,
                what,
                format_args!("at most {MAX_DIRECTORY}"),
                directory.attributes.size,
            )
            .into());
        }
        let size = u64::from(self.sb.block_size);
        let blocks = directory.attributes.size.div_ceil(size);
        let mut number = from / size;
        let mut skip = from % size;
        while number < blocks {
            let base = number * size;
            let (reported, count) = match self.directory_block(directory, number) {
                // A hole in a directory: nothing of it is lost by going on, and a huge one must not take long.
                Ok((None, count)) => (Ok(ControlFlow::Continue(())), count),
                Ok((Some((bytes, at)), _)) => {
                    let is_first = number == 0;
                    let reported = self.block_entries(&bytes, (at, is_first), usize_of(skip), &mut |entry, end| {
                        each(Entry { next: base + end as u64, ..entry })
                    });
                    (reported, 1)
                }
                Err(error) => (Err(error), 1),
            };
            if reported.unwrap_or_else(&mut *skip_over).is_break() {
                return Ok(());
            }
            number = number.saturating_add(count);
            skip = 0;
        }
        Ok(())
    }

    /// A block of a directory and where it is on the volume, and for how many blocks the answer goes on.
    fn directory_block(&self, directory: &Inode, number: u64) -> Result<(Option<PlacedBlock>, u64)> {
        let mapped = self.map_metadata(directory, number)?;
        let Some(block) = mapped.block else { return Ok((None, mapped.count)) };
        let bytes = self.block(block, "directory")?;
        if !is_index(directory, number, &bytes) {
            self.check_directory_block(directory, &bytes, self.byte_of(block))?;
        }
        Ok((Some((bytes, self.byte_of(block))), 1))
    }

    /// An inline directory: the parent's inode, then entries in the map, then entries in the attribute `system.data`.
    fn inline_entries(
        &self,
        directory: &Inode,
        from: u64,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
        skip_over: Skip<'_>,
    ) -> Result<()> {
        let bytes = self.inline_data(directory)?;
        // The two ranges are chains of their own, as the map's end is no multiple of an entry.
        let parts = [(4, bytes.len().min(super::inode::BLOCK_BYTES)), (super::inode::BLOCK_BYTES, bytes.len())];
        for (start, end) in parts {
            let Some(part) = bytes.get(start..end).filter(|part| !part.is_empty()) else { continue };
            let skip = usize_of(from).saturating_sub(start).min(part.len());
            if usize_of(from) >= end {
                continue;
            }
            let reported = self.block_entries(part, (0, false), skip, &mut |entry, at| {
                each(Entry { next: (start + at) as u64, ..entry })
            });
            if reported.unwrap_or_else(&mut *skip_over).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Lists the entries of one block, which is at byte `at` of the volume and may be the directory's first, from its
    /// byte `skip` on. Only the first two entries are the directory itself and the one above.
    fn block_entries(
        &self,
        bytes: &[u8],
        (at, is_first): (u64, bool),
        skip: usize,
        each: &mut dyn FnMut(Entry, usize) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let (mut offset, mut dots) = (0, if is_first { DOTS.as_slice() } else { &[] });
        while offset + FIXED <= bytes.len() {
            let raw = self.raw_entry(bytes, at, offset)?;
            let is_dots = dots.split_off_first().is_some_and(|expected| raw.name == *expected);
            let used = raw.inode != 0 && !(raw.file_type == TAIL && raw.name.is_empty()) && !is_dots;
            if used && offset >= skip {
                let node = Node(u64::from(raw.inode));
                let kind = match NodeKind::of_entry(raw.file_type).filter(|_| self.sb.file_types) {
                    Some(kind) => kind,
                    // What is corrupt has a name all the same.
                    None => self.inode(raw.inode).map_or(NodeKind::File, |inode| inode.attributes.kind),
                };
                let entry = Entry { name: raw.name.to_vec(), node, kind, next: 0 };
                if each(entry, raw.end).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            offset = raw.end;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn raw_entry<'a>(&self, bytes: &'a [u8], at: u64, offset: usize) -> Result<Raw<'a>> {
        let f = Fields::new("directory", bytes, at);
        let read = || -> Result<Raw<'a>, ParseError> {
            // With blocks of 64 KiB a length that does not fit 16 bits is 65535 or 0; others have its upper bits below.
            let rec_len = match usize::from(f.u16_le(offset + 4)?) {
                65535 | 0 if self.sb.block_size == 65536 => 65536,
                len if self.sb.block_size == 65536 => len & 0xFFFC | (len & 3) << 16,
                len => len,
            };
            let name_len = usize::from(f.u8(offset + 6)?);
            if rec_len < FIXED + name_len || !rec_len.is_multiple_of(4) || rec_len > bytes.len() - offset {
                let expected = format!("a multiple of 4 from {} to {}", FIXED + name_len, bytes.len() - offset);
                return Err(ParseError::corrupt(
                    f.offset(offset + 4),
                    "length of a directory's entry",
                    expected,
                    rec_len,
                ));
            }
            let name = f.bytes(offset + FIXED, name_len)?;
            Ok(Raw { inode: f.u32_le(offset)?, file_type: f.u8(offset + 7)?, name, end: offset + rec_len })
        };
        read().map_err(Error::from)
    }

    /// Checks a block of a directory against the checksum in its last 12 bytes, if it has one.
    fn check_directory_block(&self, directory: &Inode, bytes: &[u8], at: u64) -> Result<()> {
        let Some(seed) = directory.checksum_seed(&self.sb) else { return Ok(()) };
        let tail = bytes.len() - 12;
        let f = Fields::new("directory", bytes, at);
        if f.bytes(tail, 8)? != [0, 0, 0, 0, 12, 0, 0, TAIL] {
            return Ok(());
        }
        let stated = f.u32_le(tail + 8)?;
        let found = super::checksum(seed, &bytes[..tail]);
        super::same_checksum("checksum of a directory", f.offset(tail + 8), found, stated)
    }
}

/// Whether a directory's block belongs to its hash index, which has no names and keeps its checksum elsewhere: the
/// first block, and those with one unused entry that fills them.
fn is_index(directory: &Inode, number: u64, bytes: &[u8]) -> bool {
    let unused = bytes.starts_with(&[0, 0, 0, 0]);
    let rec_len = bytes.get(4..6).map_or(0, |len| usize::from(u16::from_le_bytes([len[0], len[1]])));
    directory.has(flags::INDEX)
        && (number == 0 || unused && (rec_len == bytes.len() || rec_len == 65535 || rec_len == 0))
}

/// Places within a block fit.
fn usize_of(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
