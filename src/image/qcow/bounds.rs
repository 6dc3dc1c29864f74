//! How much of a file its header may take, in all versions.

use crate::ondisk::ParseError;

/// Everything that belongs to the header lies in this many first bytes of the file.
pub(super) const MAX_HEADER: usize = 64 << 10;

/// `start` as an index of the header's bytes, of which only the first are read.
pub(super) fn within_header(at: u64, what: &str, start: u64, end: u64) -> Result<usize, ParseError> {
    match usize::try_from(start) {
        Ok(start) if end <= MAX_HEADER as u64 => Ok(start),
        _ => Err(ParseError::unsupported(at, what, format_args!("within the first {MAX_HEADER} bytes"), start)),
    }
}
