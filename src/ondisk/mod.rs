//! Reading on-disk structures from bytes. Nothing here does I/O.
//!
//! * [`fields`]: fields of a structure by name and offset
//! * [`ParseError`]: the error of parsers, which does not name the file yet
//! * [`bitmap`], [`blocks`]: sector bitmaps, and ranges cut at the edges of blocks
//! * [`calendar`], [`utf16`]: dates and names as file systems store them
//! * [`xml`], [`zstd`]: documents and compressed blocks that formats carry

pub(crate) mod bitmap;
pub(crate) mod blocks;
pub(crate) mod calendar;
pub(crate) mod fields;
mod parse_error;
pub(crate) mod utf16;
pub(crate) mod xml;
pub(crate) mod zstd;

pub(crate) use calendar::Time;
pub(crate) use parse_error::{ParseError, ParseErrorKind};
