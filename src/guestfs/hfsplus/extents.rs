//! The extents overflow tree: the further extents of forks with more than eight
//! (<https://developer.apple.com/library/archive/technotes/tn/tn1150.html#ExtentsOverflowFile>).

use super::HfsPlus;
use super::header::{HfsExtent, extents};
use super::source::{Owned, find};
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// `forkType` of the resource fork; that of the data fork is 0.
const RESOURCE: u8 = 0xFF;

/// `HFSPlusExtentKey` without its length: file, fork, first block, in the order in which they are compared.
fn key(raw: &[u8]) -> Result<(u32, u8, u32), ParseError> {
    let f = Fields::new("key of the extents overflow tree", raw, 0);
    Ok((f.u32_be(2)?, f.u8(0)?, f.u32_be(6)?))
}

impl HfsPlus {
    /// Finds the extent that holds a block of a fork after its first eight extents, and the block's index in it.
    pub(super) fn overflow(&self, owned: Owned<'_>, block: u64) -> Result<(HfsExtent, u64)> {
        let fork = if owned.resource { RESOURCE } else { 0 };
        let missing = |at: u64| {
            let what = format!("extents of a fork of file {}", owned.file);
            Error::from(ParseError::corrupt(at, what, format_args!("one for its block {block}"), "none"))
        };
        let start = self.source.bounds.start;
        let wanted = (owned.file, fork, u32::try_from(block).map_err(|_| missing(start))?);
        let tree = self.extents.as_ref().ok_or_else(|| missing(start))?;
        let found = self.last(tree, &|raw| Ok(key(raw)?.cmp(&wanted)), |record| {
            let (file, of, first) = key(record.key)?;
            if (file, of) != (wanted.0, wanted.1) {
                return Ok(None);
            }
            let f = Fields::new("record of the extents overflow tree", record.data, record.at);
            Ok(find(&extents(&f, 0)?, first.into(), block))
        })?;
        found.flatten().ok_or_else(|| missing(start))
    }
}
