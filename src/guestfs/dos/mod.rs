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

/// The number of the first cluster.
pub(super) const FIRST_CLUSTER: u32 = 2;

/// A volume's serial number as DOS writes it.
pub(super) fn serial(number: u32) -> String {
    format!("{:04X}-{:04X}", number >> 16, number & 0xFFFF)
}
