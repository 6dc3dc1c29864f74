//! The property list of a UDIF image: finds the block tables in it (`resource-fork`, `blkx`, `Data`).

use crate::ondisk::ParseError;
use crate::ondisk::xml;
use crate::ondisk::xml::{Place, Step};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A block table as it stands in the property list.
#[derive(Debug)]
pub(super) struct Table {
    /// Where its text ends in the file.
    pub(super) at: u64,
    pub(super) bytes: Vec<u8>,
}

/// The block tables of a property list that begins `base` bytes into its file, in order.
///
/// # Errors
/// [`ParseError`] for what is not a property list, and one without block tables.
pub(super) fn tables(bytes: &[u8], base: u64) -> Result<Vec<Table>, ParseError> {
    // The key that was seen last at each depth: it names the value that follows.
    let mut keys: Vec<String> = Vec::new();
    let mut tables = Vec::new();
    xml::walk(bytes, base, &mut |place, step| {
        let Step::Close(text) = step else { return Ok(()) };
        let path = place.path();
        match path.last().copied() {
            Some("key") => {
                keys.resize(path.len(), String::new());
                if let Some(key) = keys.last_mut() {
                    text.clone_into(key);
                }
            }
            Some("data") if is_table(&path, &keys) => tables.push(decode(place, text)?),
            _ => {}
        }
        Ok(())
    })?;
    if tables.is_empty() {
        return Err(ParseError::corrupt(base, "UDIF property list", "block tables (resource-fork, blkx)", "none"));
    }
    Ok(tables)
}

fn is_table(path: &[&str], keys: &[String]) -> bool {
    let key = |depth: usize| keys.get(depth - 1).map(String::as_str);
    path == ["plist", "dict", "dict", "array", "dict", "data"]
        && [key(3), key(4), key(6)] == [Some("resource-fork"), Some("blkx"), Some("Data")]
}

fn decode(place: &Place<'_>, text: &str) -> Result<Table, ParseError> {
    let compact: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let bytes = STANDARD.decode(compact).map_err(|error| {
        ParseError::corrupt(place.offset(), "block table in the UDIF property list", "base64", error)
    })?;
    Ok(Table { at: place.offset(), bytes })
}
