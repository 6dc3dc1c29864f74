//! What FAT and exFAT have in common: clusters in chains that a table links, directories of 32-byte slots, names that are
//! found whatever their case, and the time of DOS.

mod chains;
mod heap;
mod names;
mod table;
mod time;

pub(super) use heap::{Heap, Place, SLOT, Slot};
pub(super) use names::{Named, Names, upper_case};
pub(super) use table::{Table, Width};
pub(super) use time::{date_and_time, has_date};

use super::Error;
use crate::ondisk::{ParseError, ParseErrorKind};

/// The number of the first cluster.
pub(super) const FIRST_CLUSTER: u32 = 2;

/// The error that a cause of a file system of this type is.
pub(super) fn error(type_name: &'static str, cause: ParseError) -> Error {
    match cause.kind {
        ParseErrorKind::Corrupt => Error::Corrupt { type_name, cause: Box::new(cause) },
        ParseErrorKind::Unsupported => Error::Unsupported { type_name, what: cause.to_string() },
    }
}

/// A volume's serial number as DOS writes it.
pub(super) fn serial(number: u32) -> String {
    format!("{:04X}-{:04X}", number >> 16, number & 0xFFFF)
}
