//! Extended attributes: in the inode, or in a tree of blocks by the hashes of their names
//! (<https://www.kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf>, chapter Extended Attributes).

use super::inode::{Fork, Format, Inode};
use super::{Block, HeaderFields, Remote, Xfs};
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::sync::Arc;

/// Magic numbers of leaves and nodes in version 4 and 5.
const LEAF_V4: u16 = 0xFBEE;
const LEAF_V5: u16 = 0x3BEE;
const NODE_V4: u16 = 0xFEBE;
const NODE_V5: u16 = 0x3EBE;
const HEADER_FIELDS: HeaderFields = HeaderFields { crc: 12, block: 16, uuid: 32 };
/// Values in blocks of their own: `XARM`.
const VALUE: Remote = Remote { name: "value of an attribute", magic: 0x5841_524D, by_extent: false };
/// The kernel's own limit of a tree's depth.
const MAX_DEPTH: u16 = 5;
/// The largest value that the kernel writes.
const MAX_VALUE: u32 = 65536;
/// The most leaves of one inode that are read: 4 million attributes and more.
const MAX_LEAVES: u32 = 64 << 10;

/// Bits of an attribute's flags.
mod flags {
    pub(super) const LOCAL: u8 = 1;
    pub(super) const ROOT: u8 = 2;
    pub(super) const SECURE: u8 = 4;
    /// A link from a file to a directory that it is in; no attribute for programs.
    pub(super) const PARENT: u8 = 8;
    /// Was being written when the guest stopped.
    pub(super) const INCOMPLETE: u8 = 0x80;
}

/// How access control lists are stored, and how programs see them. They are not shown by their stored names.
const ACLS: [(&[u8], &[u8]); 2] =
    [(b"SGI_ACL_FILE", b"system.posix_acl_access"), (b"SGI_ACL_DEFAULT", b"system.posix_acl_default")];

/// One attribute: its full name, and its value or where that is.
struct Attribute {
    name: Vec<u8>,
    value: Value,
}

enum Value {
    Here(Vec<u8>),
    /// In blocks of the fork from this one on.
    Blocks {
        first: u32,
        len: u32,
    },
}

impl Xfs {
    pub(super) fn attribute_names(&self, inode: &Inode) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        self.each_attribute(inode, None, &mut |attribute| names.push(attribute.name))?;
        Ok(names)
    }

    pub(super) fn attribute(&self, inode: &Inode, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(fork) = &inode.attrs else { return Ok(None) };
        let mut found = None;
        self.each_attribute(inode, Some(hash(stored_name(name))), &mut |attribute| {
            if attribute.name == name {
                found = Some(attribute.value);
            }
        })?;
        let value = match found {
            None => return Ok(None),
            Some(Value::Here(bytes)) => bytes,
            Some(Value::Blocks { first, len }) => {
                let len = usize::try_from(len).ok().filter(|_| len <= MAX_VALUE).ok_or_else(|| {
                    let what = format!("length of an attribute's value of inode {}", inode.number);
                    ParseError::corrupt(fork.at, what, format_args!("at most {MAX_VALUE}"), len)
                })?;
                self.remote(inode, fork, (first.into(), len), &VALUE)?
            }
        };
        Ok(Some(if is_acl(name) { acl_for_user(&value)? } else { value }))
    }

    /// Tells all attributes, or in large sets at least all with this hash.
    fn each_attribute(&self, inode: &Inode, wanted: Option<u32>, each: &mut dyn FnMut(Attribute)) -> Result<()> {
        let Some(fork) = &inode.attrs else { return Ok(()) };
        match fork.format {
            Format::Local => short(fork, each).map_err(Error::from),
            Format::Extents if fork.extents == 0 => Ok(()),
            _ => self.leaves(inode, fork, wanted, each),
        }
    }

    /// Walks the leaves from the first one, or from the first that may have the hash `wanted`.
    fn leaves(&self, inode: &Inode, fork: &Fork, wanted: Option<u32>, each: &mut dyn FnMut(Attribute)) -> Result<()> {
        let mut block = self.first_leaf(inode, fork, wanted.unwrap_or(0))?;
        for _ in 0..MAX_LEAVES {
            let f = Fields::new("attributes", &block.bytes, block.at);
            let last = self.leaf(&f, wanted, each)?;
            let forward = f.u32_be(0)?;
            if forward == 0 || wanted.is_some_and(|hash| last > hash) {
                return Ok(());
            }
            block = self.attribute_block(inode, fork, forward)?;
            self.level(&block)?;
        }
        let what = format!("attributes of inode {}", inode.number);
        Err(ParseError::corrupt(fork.at, what, format_args!("at most {MAX_LEAVES} blocks"), "more").into())
    }

    fn attribute_block(&self, inode: &Inode, fork: &Fork, number: u32) -> Result<Arc<Block>> {
        let block = self.fork_block(inode, fork, number.into(), "attributes")?;
        self.check(&block, "attributes", &HEADER_FIELDS)?;
        Ok(block)
    }

    /// Goes down to the first leaf that may have this hash.
    fn first_leaf(&self, inode: &Inode, fork: &Fork, hash: u32) -> Result<Arc<Block>> {
        let mut block = self.attribute_block(inode, fork, 0)?;
        let mut above = MAX_DEPTH + 1;
        loop {
            let level = self.level(&block)?;
            if level >= above {
                let what = format!("level in the attributes of inode {}", inode.number);
                return Err(ParseError::corrupt(block.at, what, format_args!("below {above}"), level).into());
            }
            if level == 0 {
                return Ok(block);
            }
            above = level;
            let f = Fields::new("attributes", &block.bytes, block.at);
            let child = self.child(&f, hash)?;
            block = self.attribute_block(inode, fork, child)?;
        }
    }

    /// Which level of the tree a block is of: 0 for a leaf.
    fn level(&self, block: &Block) -> Result<u16> {
        let f = Fields::new("attributes", &block.bytes, block.at);
        let (leaf, node, at) = if self.sb.v5 { (LEAF_V5, NODE_V5, 58) } else { (LEAF_V4, NODE_V4, 14) };
        let magic = f.u16_be(8)?;
        let level = f.u16_be(at)?;
        match magic {
            _ if magic == leaf => Ok(0),
            _ if magic == node && level > 0 => Ok(level),
            _ => {
                let expected = format!("{leaf:#x}, or {node:#x} and a level");
                let found = format!("{magic:#x}, {level}");
                Err(ParseError::corrupt(f.offset(8), "magic number of attributes", expected, found).into())
            }
        }
    }

    /// The first child of a node whose last hash is not below `hash`; the last child when there is none.
    fn child(&self, f: &Fields<'_>, hash: u32) -> Result<u32, ParseError> {
        let (count_at, entries) = if self.sb.v5 { (56, 64) } else { (12, 16) };
        let count = usize::from(f.u16_be(count_at)?);
        if count == 0 {
            return Err(ParseError::corrupt(f.offset(count_at), "entries in a node of attributes", "at least 1", 0));
        }
        for i in 0..count - 1 {
            if f.u32_be(entries + 8 * i)? >= hash {
                return f.u32_be(entries + 8 * i + 4);
            }
        }
        f.u32_be(entries + 8 * (count - 1) + 4)
    }

    /// Tells the attributes of one leaf, with this hash if one is given, and returns the leaf's last hash.
    fn leaf(&self, f: &Fields<'_>, wanted: Option<u32>, each: &mut dyn FnMut(Attribute)) -> Result<u32, ParseError> {
        let (count_at, entries) = if self.sb.v5 { (56, 80) } else { (12, 32) };
        let mut last = 0;
        for i in 0..usize::from(f.u16_be(count_at)?) {
            let at = entries + 8 * i;
            last = f.u32_be(at)?;
            if wanted.is_some_and(|hash| hash != last) {
                continue;
            }
            let offset = usize::from(f.u16_be(at + 4)?);
            let flags = f.u8(at + 6)?;
            let attribute = if flags & flags::LOCAL != 0 {
                let (value_len, name_len) = (f.u16_be(offset)?.into(), f.u8(offset + 2)?.into());
                let value = f.bytes(offset + 3 + name_len, value_len)?;
                (f.bytes(offset + 3, name_len)?, Value::Here(value.to_vec()))
            } else {
                let name = f.bytes(offset + 9, f.u8(offset + 8)?.into())?;
                (name, Value::Blocks { first: f.u32_be(offset)?, len: f.u32_be(offset + 4)? })
            };
            emit(attribute, flags, each);
        }
        Ok(last)
    }
}

/// Tells the attributes that an inode itself holds.
fn short(fork: &Fork, each: &mut dyn FnMut(Attribute)) -> Result<(), ParseError> {
    let f = Fields::new("attributes of an inode", &fork.bytes, fork.at);
    let mut at = 4;
    for _ in 0..f.u8(2)? {
        let (name_len, value_len) = (usize::from(f.u8(at)?), usize::from(f.u8(at + 1)?));
        let name = f.bytes(at + 3, name_len)?;
        let value = f.bytes(at + 3 + name_len, value_len)?;
        emit((name, Value::Here(value.to_vec())), f.u8(at + 2)?, each);
        at += 3 + name_len + value_len;
    }
    Ok(())
}

/// Tells an attribute by its full name, unless programs don't see it.
fn emit((stored, value): (&[u8], Value), flags: u8, each: &mut dyn FnMut(Attribute)) {
    if flags & (flags::PARENT | flags::INCOMPLETE) != 0 {
        return;
    }
    let prefix: &[u8] = match flags & (flags::ROOT | flags::SECURE) {
        0 => b"user.",
        flags::ROOT => b"trusted.",
        _ => b"security.",
    };
    let acl = ACLS.iter().find(|(name, _)| *name == stored && prefix == b"trusted.");
    let name = acl.map_or_else(|| [prefix, stored].concat(), |(_, shown)| shown.to_vec());
    each(Attribute { name, value });
}

/// The name as the file system has it: without its namespace, which is in the flags.
fn stored_name(name: &[u8]) -> &[u8] {
    if let Some((stored, _)) = ACLS.iter().find(|(_, shown)| *shown == name) {
        return stored;
    }
    name.iter().position(|byte| *byte == b'.').map_or(name, |dot| &name[dot + 1..])
}

/// The hash of a name by which leaves are in order: its bytes, 7 bits apart.
fn hash(name: &[u8]) -> u32 {
    let (words, rest) = name.as_chunks::<4>();
    let step = |hash: u32, bytes: &[u8]| {
        let own = bytes.iter().fold(0, |sum: u32, byte| sum << 7 ^ u32::from(*byte));
        let turn = 7 * u32::try_from(bytes.len()).unwrap_or(0);
        own ^ hash.rotate_left(turn)
    };
    step(words.iter().fold(0, |hash, word| step(hash, word)), rest)
}

fn is_acl(name: &[u8]) -> bool {
    ACLS.iter().any(|(_, shown)| *shown == name)
}

/// Access control lists are stored as a count and entries of 12 bytes, big-endian. Programs see version 2 and entries
/// of 8 bytes, little-endian, with an id only where one is meant.
fn acl_for_user(stored: &[u8]) -> Result<Vec<u8>, ParseError> {
    const USER: u32 = 2;
    const GROUP: u32 = 8;
    let f = Fields::new("access control list", stored, 0);
    let count = usize::try_from(f.u32_be(0)?).unwrap_or(usize::MAX);
    let mut out = 2_u32.to_le_bytes().to_vec();
    for i in 0..count.min(stored.len()) {
        let at = 4 + 12 * i;
        let tag = f.u32_be(at)?;
        let id = if matches!(tag, USER | GROUP) { f.u32_be(at + 4)? } else { u32::MAX };
        out.extend(tag.to_le_bytes().first_chunk::<2>().unwrap_or(&[0; 2]));
        out.extend(f.u16_be(at + 8)?.to_le_bytes());
        out.extend(id.to_le_bytes());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hash_as_xfs_db_computes_them() {
        // xfs_db -c "hash NAME"
        for (name, expected) in
            [("a", 0x61), ("ab", 0x30E2), ("abc", 0x18_7163), ("small", 0x3DB8_766B), ("SGI_ACL_FILE", 0x275B_19C4)]
        {
            assert_eq!(hash(name.as_bytes()), expected, "{name}");
        }
    }
}
