//! Folders. An entry is `inode`, `rec_len`, `name_len`, `file_type` and the name
//! (<https://docs.kernel.org/filesystems/ext4/directory.html>). The index blocks of hashed folders look like blocks of
//! unused entries, so reading all blocks in order finds all names.

use super::inode::{Inode, flags};
use super::{Ext, damage};
use crate::guestfs::{Entry, Error, Node, NodeKind, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::ops::ControlFlow;

/// `file_type` of the checksum at the end of a block.
const TAIL: u8 = 0xDE;
/// Bytes of an entry without its name.
const FIXED: usize = 8;
/// Folders larger than this are damaged: 2 GiB is the kernel's own limit without, and far above real ones with, the
/// feature `large_dir`.
const MAX_FOLDER: u64 = 8 << 30;

/// A name as the folder has it.
struct Raw<'a> {
    inode: u32,
    file_type: u8,
    name: &'a [u8],
    /// Where the next entry begins in its block.
    end: usize,
}

impl Ext {
    /// Tells the entries of a folder from byte `from` of it on.
    pub(super) fn entries(
        &self,
        folder: &Inode,
        from: u64,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<()> {
        if folder.attributes.kind != NodeKind::Folder {
            return Err(Error::NotFolder);
        }
        folder.readable("folder")?;
        match self.view.names(folder.number) {
            Some(names) => self.changed_entries(names, from, |each| self.stored_entries(folder, from, each), each),
            None => self.stored_entries(folder, from, each),
        }
    }

    /// Tells the entries that a folder has on the volume.
    fn stored_entries(&self, folder: &Inode, from: u64, each: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<()> {
        if folder.has(flags::INLINE_DATA) {
            return self.inline_entries(folder, from, each);
        }
        if folder.attributes.size > MAX_FOLDER {
            let what = format!("size of the folder with inode {}", folder.number);
            return Err(damage(ParseError::corrupt(
                0,
                what,
                format_args!("at most {MAX_FOLDER}"),
                folder.attributes.size,
            )));
        }
        let size = u64::from(self.sb.block_size);
        let blocks = folder.attributes.size.div_ceil(size);
        let mut number = from / size;
        let mut skip = from % size;
        while number < blocks {
            let mapped = self.map(folder, number)?;
            let Some(block) = mapped.block else {
                // A hole in a folder: nothing of it is lost by going on, and a huge one must not take long.
                number = number.saturating_add(mapped.count);
                skip = 0;
                continue;
            };
            let bytes = self.block(block, "folder")?;
            if !is_index(folder, number, &bytes) {
                self.check_folder_block(folder, &bytes, self.byte_of(block))?;
            }
            let base = number * size;
            if self
                .block_entries(&bytes, self.byte_of(block), usize_of(skip), &mut |entry, end| {
                    each(Entry { next: base + end as u64, ..entry })
                })?
                .is_break()
            {
                return Ok(());
            }
            number += 1;
            skip = 0;
        }
        Ok(())
    }

    /// An inline folder: the parent's inode, then entries in the map, then entries in the attribute `system.data`.
    fn inline_entries(&self, folder: &Inode, from: u64, each: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<()> {
        let bytes = self.inline_data(folder)?;
        // The two parts are chains of their own, as the map's end is no multiple of an entry.
        let parts = [(4, bytes.len().min(super::inode::BLOCK_BYTES)), (super::inode::BLOCK_BYTES, bytes.len())];
        for (start, end) in parts {
            let Some(part) = bytes.get(start..end).filter(|part| !part.is_empty()) else { continue };
            let skip = usize_of(from).saturating_sub(start).min(part.len());
            if usize_of(from) >= end {
                continue;
            }
            let told =
                self.block_entries(part, 0, skip, &mut |entry, at| each(Entry { next: (start + at) as u64, ..entry }))?;
            if told.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Tells the entries of one block, which is at byte `at` of the volume, from its byte `skip` on.
    fn block_entries(
        &self,
        bytes: &[u8],
        at: u64,
        skip: usize,
        each: &mut dyn FnMut(Entry, usize) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let mut place = 0;
        while place + FIXED <= bytes.len() {
            let raw = self.raw_entry(bytes, at, place)?;
            let used = raw.inode != 0 && raw.file_type != TAIL && !matches!(raw.name, b"" | b"." | b"..");
            if used && place >= skip {
                if raw.name.iter().any(|byte| matches!(byte, b'/' | 0)) {
                    let cause =
                        ParseError::corrupt(at + place as u64, "name in a folder", "no / and no zero byte", "one");
                    return Err(damage(cause));
                }
                let node = Node(u64::from(raw.inode));
                let kind = match NodeKind::of_entry(raw.file_type).filter(|_| self.sb.file_types) {
                    Some(kind) => kind,
                    None => self.inode(raw.inode)?.attributes.kind,
                };
                let entry = Entry { name: raw.name.to_vec(), node, kind, next: 0 };
                if each(entry, raw.end).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            place = raw.end;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn raw_entry<'a>(&self, bytes: &'a [u8], at: u64, place: usize) -> Result<Raw<'a>> {
        let f = Fields::new("folder", bytes, at);
        let read = || -> Result<Raw<'a>, ParseError> {
            // With blocks of 64 KiB a length that does not fit 16 bits is 65535 or 0; others have its upper bits below.
            let rec_len = match usize::from(f.u16_le(place + 4)?) {
                65535 | 0 if self.sb.block_size == 65536 => 65536,
                len if self.sb.block_size == 65536 => len & 0xFFFC | (len & 3) << 16,
                len => len,
            };
            let name_len = usize::from(f.u8(place + 6)?);
            if rec_len < FIXED + name_len || !rec_len.is_multiple_of(4) || rec_len > bytes.len() - place {
                let expected = format!("a multiple of 4 from {} to {}", FIXED + name_len, bytes.len() - place);
                return Err(ParseError::corrupt(f.offset(place + 4), "length of a folder's entry", expected, rec_len));
            }
            let name = f.bytes(place + FIXED, name_len)?;
            Ok(Raw { inode: f.u32_le(place)?, file_type: f.u8(place + 7)?, name, end: place + rec_len })
        };
        read().map_err(damage)
    }

    /// Holds a block of a folder against the checksum in its last 12 bytes, if it has one.
    fn check_folder_block(&self, folder: &Inode, bytes: &[u8], at: u64) -> Result<()> {
        let Some(seed) = folder.checksum_seed(&self.sb) else { return Ok(()) };
        let tail = bytes.len() - 12;
        let f = Fields::new("folder", bytes, at);
        if f.bytes(tail, 8).map_err(damage)? != [0, 0, 0, 0, 12, 0, 0, TAIL] {
            return Ok(());
        }
        let stated = f.u32_le(tail + 8).map_err(damage)?;
        let found = super::checksum(seed, &bytes[..tail]);
        super::same_checksum("checksum of a folder", f.offset(tail + 8), found, stated)
    }
}

/// Whether a folder's block is a part of its hash index, which has no names and keeps its checksum elsewhere: the first
/// block, and those with one unused entry that fills them.
fn is_index(folder: &Inode, number: u64, bytes: &[u8]) -> bool {
    let unused = bytes.starts_with(&[0, 0, 0, 0]);
    let rec_len = bytes.get(4..6).map_or(0, |len| usize::from(u16::from_le_bytes([len[0], len[1]])));
    folder.has(flags::INDEX) && (number == 0 || unused && (rec_len == bytes.len() || rec_len == 65535 || rec_len == 0))
}

/// Places within a block fit.
fn usize_of(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
