//! Whether the backup of a GPT is right, which reading the primary does not show.

use super::{EntryArray, HeaderLocation, PRIMARY, Read};
use crate::disk::Disk;
use crate::ondisk::fields::Fields;
use crate::volume::Result;

/// What is wrong with the backup of a GPT whose primary is right and counts in sectors of `sector_size` bytes.
///
/// # Errors
/// Of the disk.
pub(in crate::volume) fn check(disk: &dyn Disk, sector_size: u32) -> Result<Option<String>> {
    let Read::Valid(primary) = (HeaderLocation { sector_size, lba: PRIMARY }).read(disk)? else { return Ok(None) };
    let fields = Fields::new("GPT header", &primary.header, u64::from(sector_size));
    let lba = fields.u64_le(32).unwrap_or(0); // AlternateLBA
    Ok(match (HeaderLocation { sector_size, lba }).read(disk)? {
        Read::Valid(EntryArray { entries, .. }) if entries == primary.entries => None,
        Read::Valid(_) => {
            Some(format!("The entries of the backup GPT at sector {lba} are others than those of the primary"))
        }
        Read::Corrupt { cause, .. } => Some(format!("The backup GPT at sector {lba} is corrupt: {cause}")),
        Read::Absent => {
            Some(format!("The backup GPT is corrupt: there is none at sector {lba}, which the primary names"))
        }
    })
}
