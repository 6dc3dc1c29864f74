//! Extended attributes: a table has for each index where the attributes are and how many; each is a name and a value,
//! or the position of a value that several share (the kernel's `struct squashfs_xattr_id` and `squashfs_xattr_entry`,
//! <https://docs.kernel.org/filesystems/squashfs.html>).

use super::Squashfs;
use super::metadata::Position;
use super::superblock::Superblock;
use crate::disk::Disk;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// Bytes of the table's header and of an entry.
const HEADER: usize = 16;
const ID: usize = 16;
/// Bit of an attribute's type: its value is elsewhere.
const ELSEWHERE: u16 = 0x100;
/// The largest value that Linux lets an attribute have.
const MAX_VALUE: u32 = 65_536;
/// Attributes of one inode: more names than Linux can list.
const MAX_COUNT: u32 = 16_384;

/// Where attributes are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    /// Where the attributes themselves begin.
    attributes: u64,
    count: u32,
    /// Where the blocks of the table are listed.
    list: u64,
}

impl Table {
    /// Reads the table's header; `None` without attributes.
    pub(super) fn read(volume: &dyn Disk, sb: &Superblock) -> Result<Option<Self>> {
        let Some(at) = sb.xattr_table else { return Ok(None) };
        let end = at.saturating_add(HEADER as u64);
        if end > sb.bytes_used {
            let expected = format!("at most {}", sb.bytes_used - HEADER as u64);
            return Err(ParseError::corrupt(56, "position of the xattr table", expected, at).into());
        }
        let mut raw = [0; HEADER];
        volume.read_at(at, &mut raw)?;
        let f = Fields::new("xattr table", &raw, at);
        let (attributes, count) = (f.u64_le(0)?, f.u32_le(8)?);
        Ok(Some(Self { attributes, count, list: end }))
    }
}

impl Squashfs {
    /// Lists the attributes at an index of the table: the name with its namespace, and where the value is.
    fn each_xattr(&self, number: u32, each: &mut dyn FnMut(Vec<u8>, Position) -> Result<bool>) -> Result<()> {
        let bad = |at: u64, what: &str, expected: String, found: String| {
            Error::from(ParseError::corrupt(at, what, expected, found))
        };
        let table = self.xattrs.filter(|table| number < table.count).ok_or_else(|| {
            let count = self.xattrs.map_or(0, |table| table.count);
            bad(0, "number of an inode's attributes", format!("below {count}"), number.to_string())
        })?;
        let (raw, at) = self.table_entry(table.list, number.into(), ID, "attributes")?;
        let f = Fields::new("position of attributes", &raw, at);
        let (reference, count) = (f.u64_le(0)?, f.u32_le(8)?);
        if count > MAX_COUNT {
            return Err(bad(at, "attributes of an inode", format!("at most {MAX_COUNT}"), count.to_string()));
        }
        let mut position = self.position(table.attributes, reference, "position of attributes")?;
        for _ in 0..count {
            let within = position.block;
            let raw = self.read_metadata(&mut position, 4, "attributes")?;
            let f = Fields::new("attribute", &raw, within);
            let (kind, size) = (f.u16_le(0)?, f.u16_le(2)?);
            let prefix: Option<&[u8]> = match kind & !ELSEWHERE {
                0 => Some(b"user."),
                1 => Some(b"trusted."),
                2 => Some(b"security."),
                // As in the kernel, other kinds are hidden.
                _ => None,
            };
            let name = self.read_metadata(&mut position, size.into(), "attributes")?;
            let mut value = position;
            if kind & ELSEWHERE != 0 {
                let mut at = position;
                self.value_len(&mut at)?;
                let raw = self.read_metadata(&mut at, 8, "attributes")?;
                let reference = Fields::new("attribute", &raw, within).u64_le(0)?;
                value = self.position(table.attributes, reference, "position of an attribute's value")?;
            }
            if let Some(prefix) = prefix
                && !each([prefix, &name].concat(), value)?
            {
                break;
            }
            let len = self.value_len(&mut position)?;
            self.read_metadata(&mut position, len, "attributes")?;
        }
        Ok(())
    }

    /// The length of the value at `position`.
    fn value_len(&self, position: &mut Position) -> Result<usize> {
        let at = position.block;
        let raw = self.read_metadata(position, 4, "attributes")?;
        let len = Fields::new("attribute", &raw, at).u32_le(0)?;
        if len > MAX_VALUE {
            let expected = format!("at most {MAX_VALUE}");
            return Err(ParseError::corrupt(at, "length of an attribute's value", expected, len).into());
        }
        Ok(usize::try_from(len).unwrap_or(0))
    }

    pub(super) fn attribute_names(&self, number: u32) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        self.each_xattr(number, &mut |name, _| {
            names.push(name);
            Ok(true)
        })?;
        Ok(names)
    }

    pub(super) fn attribute(&self, number: u32, wanted: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut found = None;
        self.each_xattr(number, &mut |name, mut position| {
            if name != wanted {
                return Ok(true);
            }
            let len = self.value_len(&mut position)?;
            found = Some(self.read_metadata(&mut position, len, "attributes")?);
            Ok(false)
        })?;
        Ok(found)
    }
}
