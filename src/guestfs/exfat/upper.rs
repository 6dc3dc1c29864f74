//! The up-case table, which maps each UTF-16 unit to its upper case. In the compressed form that formatters write,
//! 0xFFFF and a count stand for that many units without another case
//! (<https://learn.microsoft.com/en-us/windows/win32/fileio/exfat-specification>, section 7.2).
use crate::guestfs::Result;
use crate::guestfs::dos::{Heap, Location, Names, upper_case};
use crate::ondisk::ParseError;

/// The most units in a table.
const UNITS: usize = 1 << 16;
/// The largest table in bytes.
const MAX_LEN: u64 = 2 * UNITS as u64;
const SAME: u16 = 0xFFFF;

/// Names compared by the volume's up-case table. When that cannot be read, Unicode's rules are used and a note says so.
pub(super) fn names(heap: &Heap, slot: Option<(u64, u32, u32, u64)>, notes: &mut Vec<String>) -> Names {
    match slot.map(|slot| read(heap, slot)) {
        Some(Ok(table)) => Names::new(move |c| {
            // Characters outside the BMP have no other case here.
            let unit = u16::try_from(u32::from(c)).ok().map(usize::from);
            let upper = unit.and_then(|unit| table.get(unit)).and_then(|unit| char::from_u32((*unit).into()));
            upper.unwrap_or(c)
        }),
        Some(Err(_)) | None => {
            notes.push("Its table of upper-case letters cannot be read; names are compared without it".to_owned());
            Names::new(upper_case)
        }
    }
}

fn read(heap: &Heap, (at, checksum, first, len): (u64, u32, u32, u64)) -> Result<Vec<u16>> {
    if len > MAX_LEN || !len.is_multiple_of(2) || !heap.chains.table.has(first) {
        let found = format!("{len} bytes from cluster {first:#x} on");
        return Err(ParseError::corrupt(at, "table of upper-case letters", "up to 65536 letters", found).into());
    }
    let mut raw = vec![0; usize::try_from(len).unwrap_or(0)];
    heap.read(Location::Chain { first, clusters: len.div_ceil(heap.cluster) }, 0, &mut raw)?;
    let sum = raw.iter().fold(0_u32, |sum, byte| sum.rotate_right(1).wrapping_add(u32::from(*byte)));
    if sum != checksum {
        let (sum, stated) = (format!("{sum:#010x}"), format!("{checksum:#010x}"));
        return Err(ParseError::corrupt(at, "checksum of the table of upper-case letters", sum, stated).into());
    }
    Ok(decompress(&raw))
}

/// Decompresses a table; units that it leaves out have no other case.
fn decompress(raw: &[u8]) -> Vec<u16> {
    let (pairs, _) = raw.as_chunks::<2>();
    let mut units = pairs.iter().map(|pair| u16::from_le_bytes(*pair));
    let mut table: Vec<u16> = Vec::with_capacity(UNITS);
    while let Some(unit) = units.next()
        && table.len() < UNITS
    {
        // A full table ends with the unit 0xFFFF itself.
        match units.len() {
            1.. if unit == SAME => {
                let count = usize::from(units.next().unwrap_or(0)).min(UNITS - table.len());
                table.extend((table.len()..table.len() + count).map(|same| u16::try_from(same).unwrap_or(SAME)));
            }
            _ => table.push(unit),
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(units: &[u16]) -> Vec<u8> {
        units.iter().flat_map(|unit| unit.to_le_bytes()).collect()
    }

    #[test]
    fn expands_runs_without_another_case() {
        let table = decompress(&bytes(&[9, SAME, 3, 8, 7]));
        assert_eq!(table, [9, 1, 2, 3, 8, 7]);
        let all = decompress(&bytes(&[SAME, u16::MAX, SAME]));
        assert_eq!((all.len(), all[1000], all[65535]), (65536, 1000, SAME));
        assert_eq!(decompress(&bytes(&[SAME, u16::MAX, SAME, u16::MAX, SAME, u16::MAX])).len(), UNITS);
        assert!(decompress(&[1]).is_empty());
    }
}
