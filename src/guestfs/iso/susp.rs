//! The System Use Sharing Protocol (IEEE P1281): the fields behind a directory record's name, which may go on elsewhere
//! (<https://web.archive.org/web/20170404132301/http://www.ymi.com/ymi/sites/default/files/pdf/Systems%20Use%20P1281.pdf>).

use super::Iso;
use super::record::Record;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// Bytes of a field before its data: signature, length, version.
pub(super) const HEADER: usize = 4;
/// Bytes before the fields that a CD-ROM XA disc has in each record.
const XA: usize = 14;
/// The check bytes of `SP`.
const CHECK: [u8; 2] = [0xBE, 0xEF];
/// Parts that the fields of one record may be in, and the bytes of all: a target of a link has 4096 bytes at most.
const MAX_AREAS: usize = 256;
const MAX_BYTES: u64 = 1 << 20;

/// A field with its header. Numbers are stored twice, first with the low byte first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) signature: [u8; 2],
    pub(super) version: u8,
    pub(super) f: Fields<'a>,
}

/// Where the fields of a record go on (`CE`).
struct Continuation {
    block: u32,
    offset: u32,
    len: u32,
}

/// Bytes of system use before the fields, in the root directory's own record and in all others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Skip {
    pub(super) root: usize,
    pub(super) others: usize,
}

impl Iso {
    /// Tells the fields of a record, whose first `skip` bytes of system use are for others. Those told before an error
    /// are right.
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

    /// Where the fields begin, if the root directory says that there are any at all.
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
                // What is no such field may look like anything.
                _ if skip.is_some() => return Ok(skip),
                _ => {}
            }
        }
        Ok(None)
    }
}

/// Tells the fields of one part; where they go on. What is no field ends it, as in the kernel: other systems have bytes
/// of their own there.
fn area(
    bytes: &[u8],
    at: u64,
    each: &mut dyn FnMut(&Field<'_>) -> Result<(), ParseError>,
) -> Result<Option<Continuation>, ParseError> {
    let (mut place, mut next) = (0, None);
    while let Some(header) = bytes.get(place..).and_then(|rest| rest.first_chunk::<HEADER>()) {
        let (signature, len) = ([header[0], header[1]], usize::from(header[2]));
        if signature == [0, 0] || signature == *b"ST" {
            break;
        }
        // No signature begins with a zero byte: Apple's fields are padded with one.
        if signature[0] == 0 {
            place += 1;
            continue;
        }
        let found = at.saturating_add(place as u64);
        let Some(field) = bytes.get(place..place + len).filter(|field| field.len() >= HEADER) else {
            let what = signature.escape_ascii();
            log::debug!("The field {what} of a directory record at byte {found} has {len} bytes: it ends the fields");
            break;
        };
        let f = Fields::new("field in a directory record", field, found);
        if signature == *b"CE" {
            next = Some(Continuation { block: f.u32_le(4)?, offset: f.u32_le(12)?, len: f.u32_le(20)? });
        }
        each(&Field { signature, version: header[3], f })?;
        place += len;
    }
    Ok(next)
}
