//! The System Use Sharing Protocol (IEEE P1281): the fields after a directory record's name, which may continue
//! elsewhere
//! (<https://web.archive.org/web/20170404132301/http://www.ymi.com/ymi/sites/default/files/pdf/Systems%20Use%20P1281.pdf>).

use super::Iso;
use super::record::Record;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// Bytes in a field before its data: signature, length, version.
pub(super) const HEADER: usize = 4;
/// Bytes that a CD-ROM XA disc has before the fields of each record.
const XA: usize = 14;
/// The check bytes of `SP`.
const CHECK: [u8; 2] = [0xBE, 0xEF];
/// The most continuation areas of one record, and their total bytes: the target of a link has at most 4096 bytes.
const MAX_AREAS: usize = 256;
const MAX_BYTES: u64 = 1 << 20;

/// A field with its header. Numbers are stored twice: little-endian, then big-endian.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) signature: [u8; 2],
    pub(super) version: u8,
    pub(super) f: Fields<'a>,
}

/// The continuation of a record's fields (`CE`).
struct Continuation {
    block: u32,
    offset: u32,
    len: u32,
}

/// Bytes of system use before the fields, in the root directory's own record and in all other records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Skip {
    pub(super) root: usize,
    pub(super) others: usize,
}

impl Iso {
    /// Calls `each` for the fields of a record after the first `skip` bytes of its system use. Fields before an error
    /// are valid.
    pub(super) fn fields(
        &self,
        record: &Record,
        skip: usize,
        each: &mut dyn FnMut(&Field<'_>) -> Result<(), ParseError>,
    ) -> Result<()> {
        let mut bytes = record.system_use.get(skip..).unwrap_or_default().to_vec();
        let mut at = record.system_use_at + skip as u64;
        let (mut seen, mut total) = (Vec::new(), 0);
        while let Some(next) = area(&bytes, at, each)? {
            at = u64::from(next.block) * self.block_size() + u64::from(next.offset);
            total += u64::from(next.len);
            if seen.contains(&at) || seen.len() == MAX_AREAS || total > MAX_BYTES {
                let expected = format!("at most {MAX_AREAS} of {MAX_BYTES} bytes together");
                let what = "continuations of a directory record";
                return Err(ParseError::corrupt(record.at, what, expected, "more, or a circle").into());
            }
            seen.push(at);
            bytes = self.bytes(at, u64::from(next.len), "continuation of a directory record")?;
        }
        Ok(())
    }

    /// Finds the start of the fields; `None` when the root directory does not announce any.
    pub(super) fn find_susp(&self, root: &Record) -> Result<Option<Skip>> {
        for before in [0, XA] {
            let (mut skip, mut first) = (None, true);
            let reported = self.fields(root, before, &mut |field| {
                if first && field.signature == *b"SP" && field.f.bytes(HEADER, 2)? == CHECK {
                    skip = Some(Skip { root: before, others: usize::from(field.f.u8(HEADER + 2)?) });
                }
                first = false;
                Ok(())
            });
            match reported {
                Err(error @ Error::Disk(_)) => return Err(error),
                // Other data may look like anything, so errors are ignored.
                _ if skip.is_some() => return Ok(skip),
                _ => {}
            }
        }
        Ok(None)
    }
}

/// Calls `each` for the fields of one area, and returns its continuation. Anything that is not a field ends the area,
/// as in the kernel: other systems store data of their own there.
fn area(
    bytes: &[u8],
    at: u64,
    each: &mut dyn FnMut(&Field<'_>) -> Result<(), ParseError>,
) -> Result<Option<Continuation>, ParseError> {
    let (mut position, mut next) = (0, None);
    while let Some(header) = bytes.get(position..).and_then(|rest| rest.first_chunk::<HEADER>()) {
        let (signature, len) = ([header[0], header[1]], usize::from(header[2]));
        if signature == [0, 0] || signature == *b"ST" {
            break;
        }
        // No signature begins with a zero byte: Apple's fields are padded with one.
        if signature[0] == 0 {
            position += 1;
            continue;
        }
        let found = at.saturating_add(position as u64);
        let Some(field) = bytes.get(position..position + len).filter(|field| field.len() >= HEADER) else {
            let what = signature.escape_ascii();
            log::debug!("The field {what} of a directory record at byte {found} has {len} bytes: it ends the fields");
            break;
        };
        let f = Fields::new("field in a directory record", field, found);
        if signature == *b"CE" {
            next = Some(Continuation { block: f.u32_le(4)?, offset: f.u32_le(12)?, len: f.u32_le(20)? });
        }
        each(&Field { signature, version: header[3], f })?;
        position += len;
    }
    Ok(next)
}
