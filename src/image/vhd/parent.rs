//! The parent of a differencing VHD, from its header.

use super::header::{Locator, VhdHeader, text};
use crate::image::{Note, ParentLink, Result};
use crate::storage;
use crate::storage::Storage;

/// Platform codes of the parent locators, those first whose names are most likely to be right after a move: relative
/// names, then absolute ones, then the URL of a file on a Mac. `Wi2r` and `Wi2k` are the deprecated forms without
/// Unicode.
const CODES: [&[u8; 4]; 5] = [b"W2ru", b"Wi2r", b"W2ku", b"Wi2k", b"MacX"];
/// 2000-01-01 00:00 UTC, from which the format counts, in seconds since the Unix epoch.
const EPOCH: u64 = 946_684_800;
/// Longer names are ignored.
const MAX_NAME: u32 = 64 << 10;

/// The parent that the header names. A name that cannot be read is left out, with a sentence in `notes`: names only
/// help to find the parent, the UUID says whether it is the one.
pub(super) fn link(file: &dyn Storage, header: &VhdHeader, notes: &mut Vec<Note>) -> Result<ParentLink> {
    let mut hints: Vec<String> = Vec::new();
    for code in CODES {
        for locator in header.locators.iter().filter(|locator| locator.code == *code) {
            match name(file, locator)? {
                Some(name) if name.is_empty() || hints.contains(&name) => {}
                Some(name) => hints.push(name),
                None => notes.push(Note::corrupt(format!(
                    "The parent's name of the kind {} ({} bytes at offset {}) cannot be read and is not used",
                    code.escape_ascii(),
                    locator.length,
                    locator.offset
                ))),
            }
        }
    }
    let name = &header.parent_name;
    if !name.is_empty() && !hints.contains(name) {
        hints.push(name.clone());
    }
    let uuid = Some(header.parent_unique_id).filter(|uuid| !uuid.is_nil());
    let time_stamp = (header.parent_time_stamp != 0).then(|| EPOCH + u64::from(header.parent_time_stamp));
    Ok(ParentLink { uuid, hints, time_stamp, ..ParentLink::default() })
}

/// The text that a locator points to; none when it is not in the file, too long, or no text.
fn name(file: &dyn Storage, locator: &Locator) -> Result<Option<String>> {
    let Some(len) = usize::try_from(locator.length).ok().filter(|_| locator.length <= MAX_NAME) else {
        return Ok(None);
    };
    let bytes = storage::read_up_to(file, locator.offset, len)?;
    if bytes.len() < len {
        return Ok(None);
    }
    Ok(match &locator.code {
        b"W2ru" | b"W2ku" => {
            let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
            Some(text(&units))
        }
        _ => {
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(len);
            std::str::from_utf8(&bytes[..end]).ok().map(str::to_owned)
        }
    })
}
