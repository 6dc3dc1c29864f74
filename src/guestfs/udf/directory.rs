//! Folders: file identifier descriptors one after the other (ECMA-167, 4/14.4).

use super::tag::{self, Expected, id};
use super::{Address, Opened, Udf, text};
use crate::guestfs::gaps::Skip;
use crate::guestfs::{Entry, Error, Node, NodeKind, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::ops::ControlFlow;

/// Bytes before the implementation's own and the name.
const FIXED: usize = 38;
/// Descriptors begin at multiples of this.
const ALIGNED: u64 = 4;
/// Bytes of one listing that are looked through for the next descriptor.
const MAX_PASSED: u64 = 1 << 20;
/// `FileCharacteristics`.
const DIRECTORY: u8 = 2;
const DELETED: u8 = 4;
const PARENT: u8 = 8;

impl Udf {
    /// Tells the entries of a directory from byte `from` of it on. Behind a descriptor that makes no sense the next one is
    /// looked for, which its checksum and CRC prove.
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
        let (mut place, mut passed) = (from, 0);
        let mut is_found = true;
        while place < size {
            let reported = match self.descriptor(directory, place) {
                Ok((entry, next)) => {
                    (place, is_found) = (next, true);
                    match entry.transpose() {
                        None => ControlFlow::Continue(()),
                        Some(Ok(entry)) => each(entry),
                        Some(Err(error)) => skip(error),
                    }
                }
                Err(error) if passed >= MAX_PASSED => return Err(error),
                Err(error) => {
                    place += ALIGNED;
                    passed += ALIGNED;
                    // One gap, however long.
                    if std::mem::take(&mut is_found) { skip(error) } else { ControlFlow::Continue(()) }
                }
            };
            if reported.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The descriptor at byte `place` of a directory, of which not all have an entry, and where the next one is.
    fn descriptor(&self, directory: &Opened, place: u64) -> Result<(Result<Option<Entry>>, u64)> {
        let size = directory.entry.attributes.size;
        let mut bytes = vec![0; FIXED];
        let at = self.read_directory_bytes(directory, place, &mut bytes)?;
        let f = Fields::new("file identifier descriptor", &bytes, at);
        let (name_len, own_len) = (usize::from(f.u8(19)?), f.u16_le(36)?);
        let len = FIXED + usize::from(own_len) + name_len;
        // Each takes a multiple of four bytes, and its CRC may be of those that fill it up too.
        let padded = (len.next_multiple_of(4) as u64).min((size - place).max(len as u64));
        bytes.resize(usize::try_from(padded).unwrap_or(len), 0);
        self.read_directory_bytes(directory, place, &mut bytes)?;
        let expected = Expected { what: "file identifier descriptor", ids: &[id::FILE_IDENTIFIER], location: None };
        tag::check(&bytes, at, &expected)?;
        let next = place + len.next_multiple_of(4) as u64;
        let f = Fields::new("file identifier descriptor", &bytes[..len], at);
        Ok((self.entry(&f, len - name_len, next), next))
    }

    /// What a descriptor tells; none for one that is not shown. A file whose entry is corrupt has a name all the same.
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

    /// Fills `buf` from byte `place` of a directory on. Tells where that is on the volume.
    fn read_directory_bytes(&self, directory: &Opened, place: u64, buf: &mut [u8]) -> Result<u64> {
        let size = directory.entry.attributes.size;
        if place.saturating_add(buf.len() as u64) > size {
            let what = "length of a file identifier descriptor";
            let expected = format!("at most {} up to the end of the directory", size - place);
            return Err(ParseError::corrupt(directory.entry.descriptors_at, what, expected, buf.len()).into());
        }
        self.read_file(directory, place, buf)
    }
}
