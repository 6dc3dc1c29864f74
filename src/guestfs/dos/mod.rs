//! What FAT and exFAT share: chains of clusters linked by a table, directories of 32-byte slots, case-insensitive
//! lookup of names, and DOS times.

mod chains;
mod heap;
mod names;
mod table;
mod time;

pub(super) use heap::{Heap, Location, SLOT, Slot};
pub(super) use names::{Named, Names, upper_case};
pub(super) use table::{Table, Width};
pub(super) use time::{date_and_time, has_date};

use super::Error;
use crate::ondisk::{ParseError, ParseErrorKind};

/// The index of the first cluster.
pub(super) const FIRST_CLUSTER: u32 = 2;

/// Wraps the cause of a failure as the error of a file system of this type.
pub(super) fn error(type_name: &'static str, cause: ParseError) -> Error {
    match cause.kind {
        ParseErrorKind::Corrupt => Error::Corrupt { type_name, cause: Box::new(cause) },
        ParseErrorKind::Unsupported => Error::Unsupported { type_name, what: cause.to_string() },
    }
}

/// Formats a volume's serial number as DOS does.
pub(super) fn serial(number: u32) -> String {
    format!("{:04X}-{:04X}", number >> 16, number & 0xFFFF)
}
