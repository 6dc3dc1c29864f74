//! Directories: sequences of file identifier descriptors (ECMA-167, 4/14.4).

use super::tag::{self, Expected, id};
use super::{Address, Opened, Udf, text};
use crate::guestfs::gaps::Skip;
use crate::guestfs::{Entry, Error, Node, NodeKind, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::ops::ControlFlow;

/// Bytes in a descriptor before the implementation use and the name.
const FIXED: usize = 38;
/// Descriptors begin at multiples of this.
const ALIGNED: u64 = 4;
/// Bytes that one listing searches for further descriptors.
const MAX_SKIPPED: u64 = 1 << 20;
/// `FileCharacteristics`.
const DIRECTORY: u8 = 2;
const DELETED: u8 = 4;
const PARENT: u8 = 8;

impl Udf {
    /// Calls `each` for the entries of a directory from its byte `from` on. After an invalid descriptor, the next one
    /// is searched for and recognized by its checksum and CRC.
    pub(super) fn entries(
        &self,
        directory: &Opened,
        from: u64,
        each: &mut dyn FnMut(Entry) -> ControlFlow<()>,
        skip: Skip<'_>,
    ) -> Result<()> {
        if directory.entry.attributes.kind != NodeKind::Directory {
            return Err(Error::NotDirectory);
        }
        let size = directory.entry.attributes.size;
        let (mut position, mut skipped) = (from, 0);
        let mut is_found = true;
        while position < size {
            let reported = match self.descriptor(directory, position) {
                Ok((entry, next)) => {
                    (position, is_found) = (next, true);
                    match entry.transpose() {
                        None => ControlFlow::Continue(()),
                        Some(Ok(entry)) => each(entry),
                        Some(Err(error)) => skip(error),
                    }
                }
                Err(error) if skipped >= MAX_SKIPPED => return Err(error),
                Err(error) => {
                    position += ALIGNED;
                    skipped += ALIGNED;
                    // One gap is reported once, however long it is.
                    if std::mem::take(&mut is_found) { skip(error) } else { ControlFlow::Continue(()) }
                }
            };
            if reported.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Reads the descriptor at byte `position` of a directory. Returns its entry, if it has one, and the position of
    /// the next descriptor.
    fn descriptor(&self, directory: &Opened, position: u64) -> Result<(Result<Option<Entry>>, u64)> {
        let size = directory.entry.attributes.size;
        let mut bytes = vec![0; FIXED];
        let at = self.read_directory_bytes(directory, position, &mut bytes)?;
        let f = Fields::new("file identifier descriptor", &bytes, at);
        let (name_len, own_len) = (usize::from(f.u8(19)?), f.u16_le(36)?);
        let len = FIXED + usize::from(own_len) + name_len;
        // Descriptors are padded to a multiple of four bytes, and the CRC may include the padding.
        let padded = (len.next_multiple_of(4) as u64).min((size - position).max(len as u64));
        bytes.resize(usize::try_from(padded).unwrap_or(len), 0);
        self.read_directory_bytes(directory, position, &mut bytes)?;
        let expected = Expected { what: "file identifier descriptor", ids: &[id::FILE_IDENTIFIER], location: None };
        tag::check(&bytes, at, &expected)?;
        let next = position + len.next_multiple_of(4) as u64;
        let f = Fields::new("file identifier descriptor", &bytes[..len], at);
        Ok((self.entry(&f, len - name_len, next), next))
    }

    /// The entry for a descriptor; `None` for a hidden one. A file with a corrupt file entry is still listed.
    fn entry(&self, f: &Fields<'_>, name_at: usize, next: u64) -> Result<Option<Entry>> {
        let characteristics = f.u8(18)?;
        if characteristics & (DELETED | PARENT) != 0 {
            return Ok(None);
        }
        let raw = f.bytes(name_at, f.len() - name_at)?;
        let name = text::cs0(raw).ok_or_else(|| {
            let found = format!("{:?}", raw.first());
            ParseError::corrupt(f.offset(name_at), "width of the characters of a name", "8 or 16", found)
        })?;
        let address = Address { block: f.u32_le(24)?, partition: f.u16_le(28)? };
        let node = Node::from(address);
        let kind = match self.opened(node) {
            Ok(opened) => opened.entry.attributes.kind,
            Err(_) if characteristics & DIRECTORY != 0 => NodeKind::Directory,
            Err(_) => NodeKind::File,
        };
        Ok(Some(Entry { name: name.into_bytes(), node, kind, next }))
    }

    /// Fills `buf` with the bytes of a directory from byte `position` on. Returns their offset on the volume.
    fn read_directory_bytes(&self, directory: &Opened, position: u64, buf: &mut [u8]) -> Result<u64> {
        let size = directory.entry.attributes.size;
        if position.saturating_add(buf.len() as u64) > size {
            let what = "length of a file identifier descriptor";
            let expected = format!("at most {} up to the end of the directory", size - position);
            return Err(ParseError::corrupt(directory.entry.descriptors_at, what, expected, buf.len()).into());
        }
        self.read_file(directory, position, buf)
    }
}
