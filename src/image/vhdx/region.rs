//! The region table and its copy: where the block allocation table and the metadata are. [MS-VHDX] section 2.2.3.

use super::checksum;
use super::header::MIB;
use crate::image::{Note, Result};
use crate::ondisk::fields::Fields;
use crate::ondisk::{ParseError, ParseErrorKind};
use crate::storage;
use crate::storage::Storage;
use uuid::{Uuid, uuid};

/// Where the table and its copy are.
const OFFSETS: [u64; 2] = [192 << 10, 256 << 10];
/// Bytes of a table.
const SIZE: usize = 64 << 10;
/// `EntryCount` is at most this.
const MAX_ENTRIES: u32 = 2047;
const BAT: Uuid = uuid!("2dc27766-f623-4200-9d64-115e9bfd4a08");
const METADATA: Uuid = uuid!("8b7ca206-4790-4b9a-b8fe-575f050f886e");

/// A range of the file in bytes; both are multiples of 1 MiB and the sum does not overflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// The regions of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Regions {
    pub(super) bat: Region,
    pub(super) metadata: Region,
    /// Regions of unknown meaning, which blocks must not overlap either.
    pub(super) others: Vec<Region>,
}

impl Regions {
    fn parse(bytes: &[u8], base: u64) -> Result<Self, ParseError> {
        let f = Fields::new("VHDX region table", bytes, base);
        let signature = f.bytes(0, 4)?;
        if signature != b"regi" {
            let found = String::from_utf8_lossy(signature);
            return Err(ParseError::corrupt(
                base,
                "VHDX region table signature",
                "\"regi\"",
                format_args!("{found:?}"),
            ));
        }
        f.bytes(0, SIZE)?;
        checksum::check(&f, "VHDX region table checksum")?;
        let count = f.u32_le(8)?;
        if count > MAX_ENTRIES {
            let expected = format_args!("at most {MAX_ENTRIES}");
            return Err(ParseError::corrupt(f.offset(8), "number of VHDX regions", expected, count));
        }
        let (mut bat, mut metadata, mut others) = (None, None, Vec::new());
        for entry in 0..count as usize {
            let at = 16 + 32 * entry;
            let guid = f.uuid_le(at)?;
            let region = Self::region(&f, at)?;
            let slot = match guid {
                BAT => &mut bat,
                METADATA => &mut metadata,
                _ if f.u32_le(at + 28)? & 1 == 1 => {
                    let expected = "the block allocation table or the metadata";
                    return Err(ParseError::unsupported(f.offset(at), "required VHDX region", expected, guid));
                }
                _ => {
                    others.push(region);
                    continue;
                }
            };
            if slot.replace(region).is_some() {
                return Err(ParseError::corrupt(
                    f.offset(at),
                    "VHDX region",
                    "one of each kind",
                    format_args!("{guid} again"),
                ));
            }
        }
        let needed = |region: Option<Region>, name: &str, guid: Uuid| {
            region.ok_or_else(|| ParseError::corrupt(f.offset(16), name, guid, "no such region"))
        };
        Ok(Self {
            bat: needed(bat, "VHDX region of the block allocation table", BAT)?,
            metadata: needed(metadata, "VHDX region of the metadata", METADATA)?,
            others,
        })
    }

    /// The region that the entry at `at` describes.
    fn region(f: &Fields<'_>, at: usize) -> Result<Region, ParseError> {
        let offset = f.u64_le(at + 16)?;
        if !offset.is_multiple_of(MIB) || offset < MIB || i64::try_from(offset).is_err() {
            let expected = "a multiple of 1 MiB, at least 1 MiB";
            return Err(ParseError::corrupt(f.offset(at + 16), "VHDX region offset", expected, offset));
        }
        let length = u64::from(f.u32_le(at + 24)?);
        if !length.is_multiple_of(MIB) || length == 0 {
            let expected = "a multiple of 1 MiB, at least 1 MiB";
            return Err(ParseError::corrupt(f.offset(at + 24), "VHDX region length", expected, length));
        }
        Ok(Region { offset, length })
    }
}

/// What is wrong with the copy of a region table that is right, or how the two differ. Of a table that is corrupt,
/// opening has a note.
pub(super) fn check(file: &dyn Storage) -> Result<Option<ParseError>> {
    let parse = |at: u64| Ok::<_, crate::image::Error>(Regions::parse(&storage::read_up_to(file, at, SIZE)?, at));
    Ok(match (parse(OFFSETS[0])?, parse(OFFSETS[1])?) {
        (Ok(_), Err(cause)) => Some(cause),
        (Ok(first), Ok(second)) if first != second => {
            let what = "copy of the VHDX region table";
            Some(ParseError::corrupt(OFFSETS[1], what, "the regions of the first table", "others"))
        }
        _ => None,
    })
}

/// Reads the region table, or else its copy, with a sentence in `notes`.
pub(super) fn read(file: &dyn Storage, notes: &mut Vec<Note>) -> Result<Regions> {
    let parse = |at: u64| Ok::<_, crate::image::Error>(Regions::parse(&storage::read_up_to(file, at, SIZE)?, at));
    let cause = match parse(OFFSETS[0])? {
        Ok(regions) => return Ok(regions),
        Err(cause) if cause.kind == ParseErrorKind::Unsupported => return Err(cause.in_file(file.path())),
        Err(cause) => cause,
    };
    match parse(OFFSETS[1])? {
        Ok(regions) => {
            notes.push(Note::corrupt(format!("The region table is corrupt ({cause}); its copy is used")));
            Ok(regions)
        }
        Err(_) => Err(cause.in_file(file.path())),
    }
}
