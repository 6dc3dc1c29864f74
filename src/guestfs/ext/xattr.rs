//! Extended attributes, and the inline data that one of them carries
//! (<https://docs.kernel.org/filesystems/ext4/attributes.html>).

use super::Ext;
use super::inode::{BLOCK_BYTES, Inode, flags};
use crate::guestfs::Result;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// `h_magic`, before the entries in an inode and in a block.
const MAGIC: u32 = 0xEA02_0000;
/// Bytes before the entries of a block.
const BLOCK_HEADER: usize = 32;
/// Bytes of an entry without its name.
const ENTRY: usize = 16;
/// The largest value that the kernel writes, which an inode of its own holds.
const MAX_VALUE: u32 = 65536;

/// One attribute: its full name, and its value or the inode that holds it.
struct Attribute {
    name: Vec<u8>,
    value: Value,
}

enum Value {
    Here(Vec<u8>),
    Inode { number: u32, size: u32 },
}

impl Ext {
    pub(super) fn attribute_names(&self, inode: &Inode) -> Result<Vec<Vec<u8>>> {
        let mut all = self.inode_attributes(inode)?;
        all.extend(self.block_attributes(inode)?);
        Ok(all.into_iter().map(|attribute| attribute.name).filter(|name| name != b"system.data").collect())
    }

    pub(super) fn attribute(&self, inode: &Inode, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let find = |all: Vec<Attribute>| all.into_iter().find(|attribute| attribute.name == name);
        // A block that is corrupt takes none of the inode's own along.
        let found = match find(self.inode_attributes(inode)?) {
            None => find(self.block_attributes(inode)?),
            found => found,
        };
        let value = match found.map(|attribute| attribute.value) {
            None => return Ok(None),
            Some(Value::Here(bytes)) => bytes,
            Some(Value::Inode { number, size }) => self.value_inode(number, size)?,
        };
        Ok(Some(if is_acl(name) { acl_for_user(&value)? } else { value }))
    }

    /// The bytes of a file or directory that are stored in the inode: in the map first, then in `system.data`.
    pub(super) fn inline_data(&self, inode: &Inode) -> Result<Vec<u8>> {
        let mut bytes = inode.block.to_vec();
        if inode.attributes.size > BLOCK_BYTES as u64
            && let Some(more) = self.attribute(inode, b"system.data")?
        {
            bytes.extend(more);
        }
        let size = usize::try_from(inode.attributes.size).unwrap_or(usize::MAX);
        if bytes.len() < size {
            let what = format!("inline data of inode {}", inode.number);
            return Err(ParseError::corrupt(
                0,
                what,
                format_args!("{size} bytes"),
                format_args!("{} bytes", bytes.len()),
            )
            .into());
        }
        bytes.truncate(size);
        Ok(bytes)
    }

    /// Those in the inode itself.
    fn inode_attributes(&self, inode: &Inode) -> Result<Vec<Attribute>> {
        let mut all = Vec::new();
        let f = Fields::new("attributes of an inode", &inode.rest, 0);
        if inode.rest.len() >= 4 && f.u32_le(0)? == MAGIC {
            // Offsets of values count from the first entry.
            parse(&inode.rest[4..], 0, &mut all)?;
        }
        Ok(all)
    }

    /// Those in its block.
    fn block_attributes(&self, inode: &Inode) -> Result<Vec<Attribute>> {
        let mut all = Vec::new();
        if inode.file_acl != 0 {
            let bytes = self.block(inode.file_acl, "attribute block")?;
            let f = Fields::new("attribute block", &bytes, self.byte_of(inode.file_acl));
            let magic = f.u32_le(0)?;
            if magic != MAGIC {
                let (expected, found) = (format!("{MAGIC:#x}"), format!("{magic:#x}"));
                return Err(
                    ParseError::corrupt(f.offset(0), "magic number of an attribute block", expected, found).into()
                );
            }
            self.check_attribute_block(inode.file_acl, &bytes)?;
            parse(&bytes, BLOCK_HEADER, &mut all)?;
        }
        Ok(all)
    }

    /// The sum is of the block's number and its bytes, with the field at 16 as zeros.
    fn check_attribute_block(&self, block: u64, bytes: &[u8]) -> Result<()> {
        let Some(seed) = self.sb.checksum_seed else { return Ok(()) };
        let f = Fields::new("attribute block", bytes, self.byte_of(block));
        let mut plain = bytes.to_vec();
        plain[16..20].fill(0);
        let found = super::checksum(super::checksum(seed, &block.to_le_bytes()), &plain);
        super::same_checksum("checksum of an attribute block", f.offset(16), found, f.u32_le(16)?)
    }

    fn value_inode(&self, number: u32, size: u32) -> Result<Vec<u8>> {
        let inode = self.inode(number)?;
        if !inode.has(flags::EA_INODE) || size > MAX_VALUE || inode.attributes.size < u64::from(size) {
            let what = format!("value of an attribute in inode {number}");
            let found = format!("{size} of {} bytes", inode.attributes.size);
            return Err(ParseError::corrupt(
                0,
                what,
                format_args!("up to {MAX_VALUE} bytes of a value's inode"),
                found,
            )
            .into());
        }
        let mut value = vec![0; usize::try_from(size).unwrap_or(0)];
        self.read_blocks(&inode, &mut value)?;
        Ok(value)
    }
}

/// Parses the entries from byte `start` of `bytes` on; values are at offsets from the first byte.
fn parse(bytes: &[u8], start: usize, all: &mut Vec<Attribute>) -> Result<(), ParseError> {
    let f = Fields::new("extended attributes", bytes, 0);
    let mut at = start;
    while at + 4 <= bytes.len() && f.u32_le(at)? != 0 {
        let name_len = usize::from(f.u8(at)?);
        let size = f.u32_le(at + 8)?;
        let suffix = f.bytes(at + ENTRY, name_len)?;
        let value = match f.u32_le(at + 4)? {
            0 if size == 0 => Value::Here(Vec::new()),
            0 => Value::Here(
                f.bytes(usize::from(f.u16_le(at + 2)?), usize::try_from(size).unwrap_or(usize::MAX))?.to_vec(),
            ),
            number => Value::Inode { number, size },
        };
        if let Some(prefix) = prefix(f.u8(at + 1)?, suffix) {
            all.push(Attribute { name: [prefix, suffix].concat(), value });
        }
        at += (ENTRY + name_len).next_multiple_of(4);
    }
    Ok(())
}

/// What `e_name_index` stands for. The kernel shows no program those that it has no namespace for: what it keeps for
/// itself, as for encryption (9) and verity (11), and what it does not know.
fn prefix(index: u8, name: &[u8]) -> Option<&'static [u8]> {
    Some(match index {
        1 => b"user.",
        2 => b"system.posix_acl_access",
        3 => b"system.posix_acl_default",
        4 => b"trusted.",
        6 => b"security.",
        7 if name == b"data" => b"system.",
        10 => b"gnu.",
        _ => return None,
    })
}

fn is_acl(name: &[u8]) -> bool {
    name == b"system.posix_acl_access" || name == b"system.posix_acl_default"
}

/// ACLs are stored shorter than programs see them: version 1, entries of 4 bytes and an id only where one is meant.
/// Programs see version 2 and entries of 8 bytes.
fn acl_for_user(stored: &[u8]) -> Result<Vec<u8>, ParseError> {
    const USER: u16 = 2;
    const GROUP: u16 = 8;
    let f = Fields::new("access control list", stored, 0);
    let version = f.u32_le(0)?;
    if version != 1 {
        return Err(ParseError::corrupt(0, "version of an access control list", 1, version));
    }
    let mut out = 2_u32.to_le_bytes().to_vec();
    let mut at = 4;
    while at < stored.len() {
        let tag = f.u16_le(at)?;
        out.extend(f.bytes(at, 4)?);
        at += 4;
        if matches!(tag, USER | GROUP) {
            out.extend(f.bytes(at, 4)?);
            at += 4;
        } else {
            out.extend(u32::MAX.to_le_bytes());
        }
    }
    Ok(out)
}
