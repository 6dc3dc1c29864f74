//! Block groups: where their descriptors are, and their fields. Field names and offsets are those of the kernel's
//! `struct ext4_group_desc` (<https://docs.kernel.org/filesystems/ext4/group_descr.html>).

use super::Ext;
use super::superblock::Superblock;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// The most groups checked on opening: 2 TiB with blocks of 4 KiB.
const CHECKED: u64 = 16 << 10;

/// What is asked of a group's descriptor.
struct Descriptor {
    /// `bg_inode_table`
    inode_table: u64,
    /// Whether the checksum (`bg_checksum`) is not the one of its bytes. The kernel reads such groups all the same.
    is_suspect: bool,
}

impl Descriptor {
    fn parse(raw: &[u8], at: u64, number: u64, sb: &Superblock) -> Result<Self, ParseError> {
        let f = Fields::new("group descriptor", raw, at);
        let high = if raw.len() >= 64 { f.u32_le(0x28)? } else { 0 };
        let inode_table = u64::from(f.u32_le(0x8)?) | u64::from(high) << 32;
        let number = u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
        let stated = u32::from(f.u16_le(0x1E)?);
        let is_suspect = match sb.checksum_seed {
            Some(seed) => {
                let parts = [&number, &raw[..0x1E], &[0, 0], &raw[0x20..]];
                parts.into_iter().fold(seed, super::checksum) & 0xFFFF != stated
            }
            // The older checksum skips its own field.
            None if sb.group_checksums => {
                let parts = [sb.uuid.as_bytes().as_slice(), &number, &raw[..0x1E], &raw[0x20..]];
                u32::from(parts.into_iter().fold(!0, crc16)) != stated
            }
            None => false,
        };
        Ok(Self { inode_table, is_suspect })
    }
}

/// CRC-16 with the polynomial 0x8005, the lowest bit first, as the kernel's `crc16`.
fn crc16(start: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(start, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte), |sum, _| if sum & 1 == 0 { sum >> 1 } else { sum >> 1 ^ 0xA001 })
    })
}

impl Ext {
    /// The block that a group's descriptor is in, and where in it.
    fn descriptor_position(&self, group: u64) -> (u64, usize) {
        let per_block = u64::from(self.sb.block_size) / u64::from(self.sb.descriptor_size);
        let index = group / per_block;
        let offset = usize::try_from(group % per_block).unwrap_or(0) * usize::from(self.sb.descriptor_size);
        // With blocks of 1 KiB the superblock is block 1, also where (BIGALLOC) the first group begins with block 0.
        let superblock = u64::from(self.sb.block_size == 1024);
        let first = u64::from(self.sb.first_data_block);
        let block = match self.sb.first_meta_group {
            // With META_BG each block of descriptors is in the first of the groups that it is for, after that
            // group's copy of the superblock if it has one.
            Some(meta) if index >= u64::from(meta) => {
                let home = index * per_block;
                let start = first + home * u64::from(self.sb.blocks_per_group);
                let shifted = if index == 0 { superblock - first.min(superblock) } else { 0 };
                start + u64::from(self.has_superblock(home)) + shifted
            }
            _ => superblock + 1 + index,
        };
        (block, offset)
    }

    /// Whether a group has a copy of the superblock: 0, 1 and the powers of 3, 5 and 7 where copies are sparse, which
    /// they are wherever META_BG is used.
    fn has_superblock(&self, group: u64) -> bool {
        let power_of = |base: u64| {
            let mut n = base;
            while n < group {
                n *= base;
            }
            n == group
        };
        group <= 1 || [3, 5, 7].into_iter().any(power_of)
    }

    /// `bg_inode_table` of a group.
    pub(super) fn inode_table(&self, group: u64) -> Result<u64> {
        Ok(self.descriptor(group)?.inode_table)
    }

    /// The descriptor of a group.
    fn descriptor(&self, number: u64) -> Result<Descriptor> {
        let (block, offset) = self.descriptor_position(number);
        let bytes = self.block(block, "group descriptors")?;
        let at = self.byte_of(block).saturating_add(offset as u64);
        let f = Fields::new("group descriptors", &bytes, self.byte_of(block));
        let raw = f.bytes(offset, usize::from(self.sb.descriptor_size))?;
        Descriptor::parse(raw, at, number, &self.sb).map_err(Error::from)
    }

    /// What a user should know of the groups, whose inodes are read all the same.
    pub(super) fn note_of_groups(&self) -> Option<String> {
        if self.sb.checksum_seed.is_none() && !self.sb.group_checksums {
            return None;
        }
        // Reading an inode of a corrupt group reports it.
        let is_suspect = |group: &u64| self.descriptor(*group).is_ok_and(|descriptor| descriptor.is_suspect);
        let mut suspect = (0..self.sb.groups().min(CHECKED)).filter(is_suspect);
        let first = suspect.next()?;
        let more = match suspect.count() {
            0 => String::new(),
            count => format!(" and of {count} other groups"),
        };
        Some(format!(
            "The checksum of the descriptor of block group {first}{more} is wrong: their files are read as Linux does; \
             check it with e2fsck"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_checksum_is_that_of_the_catalogue() {
        // CRC-16/MODBUS of the nine digits.
        assert_eq!(crc16(!0, b"123456789"), 0x4B37);
    }
}
