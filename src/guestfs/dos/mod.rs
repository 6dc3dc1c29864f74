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

/// The index of the first cluster.
pub(super) const FIRST_CLUSTER: u32 = 2;

/// Formats a volume's serial number as DOS does.
pub(super) fn serial(number: u32) -> String {
    format!("{:04X}-{:04X}", number >> 16, number & 0xFFFF)
}
