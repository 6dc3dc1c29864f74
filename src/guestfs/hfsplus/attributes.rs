//! Extended attributes, which are stored in a separate tree: inline in its records, or in a fork. Field names and
//! offsets are from `HFSPlusAttrKey`, `HFSPlusAttrData`, `HFSPlusAttrForkData` and `HFSPlusAttrExtents` in Apple's
//! `hfs_format.h` (<https://github.com/apple-oss-distributions/hfs/blob/main/core/hfs_format.h>).

use super::HfsPlus;
use super::btree::Record;
use super::header::{Fork, HfsExtent, extents};
use super::source::find;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// `recordType`.
const INLINE: u32 = 0x10;
const FORK: u32 = 0x20;
const MORE_EXTENTS: u32 = 0x30;
/// The largest extended attribute that Linux allows.
pub(super) const MAX_VALUE: u64 = 65_536;

/// `HFSPlusAttrKey` without its length: the file, the name, and the first block of further extents, in the order in
/// which they are compared.
fn key(raw: &[u8]) -> Result<(u32, Vec<u16>, u32), ParseError> {
    let f = Fields::new("key of the attributes tree", raw, 0);
    let len = usize::from(f.u16_be(10)?);
    let name = f.bytes(12, 2 * len)?.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    Ok((f.u32_be(2)?, name, f.u32_be(6)?))
}

impl HfsPlus {
    /// Calls `each` for the attribute records of a file with their names.
    fn each_attribute(
        &self,
        file: u32,
        each: &mut dyn FnMut(String, &Record<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        if let Some(cause) = &self.attributes_error {
            return Err(cause.clone().into());
        }
        let Some(tree) = &self.attributes else { return Ok(()) };
        let order = |raw: &[u8]| {
            Ok(Fields::new("key of the attributes tree", raw, 0).u32_be(2)?.cmp(&file).then(Ordering::Greater))
        };
        self.walk(tree, &order, &mut |record| {
            let record = record?;
            let (of, name, _) = key(record.key)?;
            if of != file {
                return Ok(ControlFlow::Break(()));
            }
            each(String::from_utf16_lossy(&name), record)
        })
    }

    pub(super) fn attribute_names(&self, file: u32) -> Result<Vec<String>> {
        let mut names = Vec::new();
        self.each_attribute(file, &mut |name, record| {
            let f = Fields::new("record of the attributes tree", record.data, record.at);
            if f.u32_be(0)? != MORE_EXTENTS {
                names.push(name);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(names)
    }

    /// The value of an attribute of at most [`MAX_VALUE`] bytes; `None` when there is none of that name.
    pub(super) fn attribute(&self, file: u32, wanted: &str) -> Result<Option<Vec<u8>>> {
        let mut value = None;
        let mut fork = None;
        let mut more: Vec<HfsExtent> = Vec::new();
        self.each_attribute(file, &mut |name, record| {
            if name != wanted {
                // All records of an attribute are adjacent.
                let done = value.is_some() || fork.is_some();
                return Ok(if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
            }
            let f = Fields::new("record of the attributes tree", record.data, record.at);
            match f.u32_be(0)? {
                INLINE => {
                    let len = usize::try_from(f.u32_be(12)?).unwrap_or(usize::MAX);
                    value = Some(f.bytes(16, len)?.to_vec());
                }
                FORK => {
                    let found = Fork::parse(&f, 8)?;
                    if found.size > MAX_VALUE {
                        let what = format!("the attribute {name} of {} bytes is larger than Linux allows", found.size);
                        return Err(Error::Unsupported(what));
                    }
                    fork = Some((found, record.at));
                }
                MORE_EXTENTS => more.extend(extents(&f, 8)?),
                other => {
                    let what = "type of a record of the attributes tree";
                    return Err(
                        ParseError::corrupt(record.at, what, "0x10, 0x20 or 0x30", format_args!("{other:#x}")).into()
                    );
                }
            }
            // A fork of at most 64 KiB cannot have more extents.
            if more.len() as u64 > MAX_VALUE / 512 + 8 {
                return Err(ParseError::corrupt(record.at, "extents of an attribute", "fewer", more.len()).into());
            }
            Ok(ControlFlow::Continue(()))
        })?;
        match (value, fork) {
            (Some(value), _) => Ok(Some(value)),
            (None, Some((fork, at))) => self.attribute_fork(wanted, &fork, &more, at).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn attribute_fork(&self, name: &str, fork: &Fork, more: &[HfsExtent], at: u64) -> Result<Vec<u8>> {
        let all: Vec<HfsExtent> = fork.extents.iter().chain(more).copied().collect();
        let mut bytes = vec![0; usize::try_from(fork.size).unwrap_or(0)];
        let size = u64::from(self.header.block_size);
        let mut done = 0;
        while done < bytes.len() {
            let block = done as u64 / size;
            let (extent, within) = find(&all, 0, block).ok_or_else(|| {
                ParseError::corrupt(
                    at,
                    format!("extents of the attribute {name}"),
                    format_args!("block {block}"),
                    "none",
                )
            })?;
            let chunk = self.chunk(extent, within, done as u64 % size)?;
            let now = usize::try_from(chunk.len).unwrap_or(usize::MAX).min(bytes.len() - done);
            self.source.read(chunk.at, &mut bytes[done..done + now])?;
            done += now;
        }
        Ok(bytes)
    }
}
