//! Changes since the last transaction in the short form: what one `fsync` wrote, as a list of tags that ends with a
//! checksum. Names and offsets are those of the kernel's `fs/ext4/fast_commit.h`
//! (<https://docs.kernel.org/filesystems/ext4/journal.html#fast-commits>); numbers are little-endian.

use super::header::JournalHeader;
use crate::guestfs::Result;
use crate::guestfs::ext::inode::Inode;
use crate::guestfs::ext::{Ext, checksum};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// `fc_tag`.
mod tag {
    pub(super) const ADD_RANGE: u16 = 1;
    pub(super) const DEL_RANGE: u16 = 2;
    pub(super) const CREAT: u16 = 3;
    pub(super) const LINK: u16 = 4;
    pub(super) const UNLINK: u16 = 5;
    pub(super) const INODE: u16 = 6;
    pub(super) const PAD: u16 = 7;
    pub(super) const TAIL: u16 = 8;
    pub(super) const HEAD: u16 = 9;
}

/// Bytes before a tag's value: `fc_tag`, `fc_len`.
const TAG: usize = 4;
/// Bytes of a name with the two inodes before it.
const NAMED: std::ops::RangeInclusive<usize> = 8 + 1..=8 + 255;
/// Bytes of a whole inode of the first version, with the inode's number before it.
const SMALLEST_INODE: usize = 4 + 128;
/// Bytes of changes that are retained in memory at most.
const MAX_BYTES: usize = 256 << 20;

/// The changes that were written whole.
#[derive(Debug, Default)]
pub(in crate::guestfs::ext) struct Area {
    pub(in crate::guestfs::ext) changes: Vec<Change>,
    /// How often something was synced so.
    pub(in crate::guestfs::ext) commits: u32,
    /// Why changes, which belong to the newest state, cannot be read.
    pub(in crate::guestfs::ext) cause: Option<Box<ParseError>>,
}

/// A change of one inode or name.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::guestfs::ext) enum Change {
    /// `ADD_RANGE`: a file has blocks, or space that was never written, as in this extent.
    Add { inode: u32, extent: [u8; 12] },
    /// `DEL_RANGE`: a file has a hole of `count` blocks from its block `first` on.
    Delete { inode: u32, first: u32, count: u32 },
    /// `CREAT`: an inode is new and has this name.
    Create { directory: u32, inode: u32, name: Vec<u8> },
    /// `LINK`: an inode has one more name.
    Link { directory: u32, inode: u32, name: Vec<u8> },
    /// `UNLINK`: an inode has lost a name.
    Unlink { directory: u32, inode: u32, name: Vec<u8> },
    /// `INODE`: an inode's fields are these.
    Inode { inode: u32, raw: Vec<u8> },
}

/// What a tag means for the list.
enum Step {
    Change(Change),
    Nothing,
    /// The end of what was synced at once.
    Synced,
    /// Nothing that belongs to the newest state.
    Older,
}

/// A list that is being read.
struct List {
    /// The transaction that the changes would be in.
    transaction: u32,
    inode_size: usize,
    sum: u32,
    bytes: usize,
    /// Changes since the last end.
    open: Vec<Change>,
    area: Area,
}

impl Ext {
    /// Reads the changes in the short form that were made in the transaction `transaction`, the first one that is not
    /// whole.
    pub(super) fn fast_commits(&self, journal: &Inode, header: &JournalHeader, transaction: u32) -> Result<Area> {
        let inode_size = usize::from(self.sb.inode_size);
        let mut list = List { transaction, inode_size, sum: 0, bytes: 0, open: Vec::new(), area: Area::default() };
        for number in header.fast.0..header.fast.1 {
            let block = self.journal_block(journal, number)?;
            let bytes = self.raw_block(block)?;
            let f = Fields::new("fast commits", &bytes, self.byte_of(block));
            let is_first = number == header.fast.0;
            match list.block(&f, is_first) {
                Ok(true) => {}
                Ok(false) => break,
                Err(cause) => {
                    // After a whole end there may be anything: what was not written whole, or what is older.
                    if list.area.commits == 0 || list.bytes > MAX_BYTES {
                        list.area = Area { cause: Some(Box::new(cause)), ..Area::default() };
                    }
                    break;
                }
            }
        }
        Ok(list.area)
    }
}

impl List {
    /// Takes the tags of a block; whether the list may go on in the next one.
    fn block(&mut self, f: &Fields<'_>, is_first: bool) -> Result<bool, ParseError> {
        let mut at = 0;
        while at + TAG <= f.len() {
            let (tag, len) = (f.u16_le(at)?, usize::from(f.u16_le(at + 2)?));
            if is_first && at == 0 && tag != tag::HEAD {
                return Ok(false);
            }
            match self.tag(f, at, tag, len)? {
                Step::Nothing => {}
                Step::Older => return Ok(false),
                Step::Change(change) => {
                    self.bytes += size_of::<Change>() + len;
                    if self.bytes > MAX_BYTES {
                        let expected = format!("at most {MAX_BYTES} bytes");
                        return Err(ParseError::corrupt(f.offset(at), "size of the fast commits", expected, "more"));
                    }
                    self.open.push(change);
                }
                Step::Synced => {
                    self.area.changes.append(&mut self.open);
                    self.area.commits += 1;
                }
            }
            at += TAG + len;
        }
        Ok(true)
    }

    fn tag(&mut self, f: &Fields<'_>, at: usize, tag: u16, len: usize) -> Result<Step, ParseError> {
        let whole = f.bytes(at, TAG + len)?;
        let value = Fields::new("fast commit", &whole[TAG..], f.offset(at + TAG));
        let has_room = match tag {
            tag::ADD_RANGE => len == 16,
            tag::DEL_RANGE => len == 12,
            tag::CREAT | tag::LINK | tag::UNLINK => NAMED.contains(&len),
            tag::INODE => (SMALLEST_INODE..=4 + self.inode_size).contains(&len),
            tag::PAD => true,
            tag::TAIL => len >= 8,
            tag::HEAD => len == 8,
            _ => return Err(ParseError::corrupt(f.offset(at), "tag of a fast commit", "1 to 9", tag)),
        };
        if !has_room {
            let what = format!("length of tag {tag} of a fast commit");
            return Err(ParseError::corrupt(f.offset(at + 2), what, "one that the tag has", len));
        }
        if tag == tag::TAIL {
            return self.tail(&value, &whole[..TAG + 4]);
        }
        if tag == tag::HEAD {
            let (features, transaction) = (value.u32_le(0)?, value.u32_le(4)?);
            if features != 0 {
                let found = format!("{features:#x}");
                return Err(ParseError::unsupported(value.offset(0), "features of the fast commits", 0, found));
            }
            if transaction != self.transaction {
                return Ok(Step::Older);
            }
        }
        self.sum = checksum(self.sum, whole);
        let named = || -> Result<(u32, u32, Vec<u8>), ParseError> {
            Ok((value.u32_le(0)?, value.u32_le(4)?, value.bytes(8, len - 8)?.to_vec()))
        };
        Ok(Step::Change(match tag {
            tag::ADD_RANGE => {
                let mut extent = [0; 12];
                extent.copy_from_slice(value.bytes(4, 12)?);
                Change::Add { inode: value.u32_le(0)?, extent }
            }
            tag::DEL_RANGE => {
                Change::Delete { inode: value.u32_le(0)?, first: value.u32_le(4)?, count: value.u32_le(8)? }
            }
            tag::CREAT => named().map(|(directory, inode, name)| Change::Create { directory, inode, name })?,
            tag::LINK => named().map(|(directory, inode, name)| Change::Link { directory, inode, name })?,
            tag::UNLINK => named().map(|(directory, inode, name)| Change::Unlink { directory, inode, name })?,
            tag::INODE => Change::Inode { inode: value.u32_le(0)?, raw: value.bytes(4, len - 4)?.to_vec() },
            _ => return Ok(Step::Nothing),
        }))
    }

    /// The end of what was synced at once; `summed` are its bytes that count in the checksum.
    fn tail(&mut self, value: &Fields<'_>, summed: &[u8]) -> Result<Step, ParseError> {
        let (transaction, stated) = (value.u32_le(0)?, value.u32_le(4)?);
        let found = checksum(std::mem::take(&mut self.sum), summed);
        if transaction != self.transaction {
            let expected = self.transaction;
            return Err(ParseError::corrupt(value.offset(0), "transaction of a fast commit", expected, transaction));
        }
        if stated != found {
            let (expected, found) = (format!("{found:#010x}"), format!("{stated:#010x}"));
            return Err(ParseError::corrupt(value.offset(4), "checksum of a fast commit", expected, found));
        }
        Ok(Step::Synced)
    }
}
