//! Header extensions of versions 2 and 3: a type, a length and data, each padded to 8 bytes, up to one of type 0.

use super::bounds::within_header;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

const END: u32 = 0;
const BACKING_FORMAT: u32 = 0xE279_2ACA;
const FEATURE_NAMES: u32 = 0x6803_F857;
const DATA_FILE: u32 = 0x4441_5441;
/// Bytes of an entry of the feature name table: type, bit number, and a name padded with zeros.
const FEATURE_NAME: usize = 48;
/// Entries of the feature name table that say something on incompatible features.
const INCOMPATIBLE: u8 = 0;

/// What the extensions say. Those of other types may be ignored, as the specification has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extensions {
    /// The backing file's format, such as `raw` or `qcow2`.
    pub backing_format: Option<String>,
    /// The name of the external data file.
    pub data_file: Option<String>,
    /// Names of incompatible features by bit number.
    feature_names: Vec<(u8, String)>,
}

impl Extensions {
    /// Parses the extensions from `start` on, which end before `end`. Both are offsets in the file and in `f`.
    ///
    /// # Errors
    /// [`ParseError`] for one that runs past the end or appears twice.
    pub(crate) fn parse(f: &Fields<'_>, start: u64, end: u64) -> Result<Self, ParseError> {
        let mut found = Self::default();
        let mut at = start;
        while at.saturating_add(8) <= end {
            let here = within_header(at, "QCOW2 header extension", at, at + 8)?;
            let (kind, len) = (f.u32_be(here)?, f.u32_be(here + 4)?);
            if kind == END {
                break;
            }
            let data_end = at + 8 + u64::from(len);
            if data_end > end {
                let what = format!("length of the QCOW2 header extension {kind:#010x}");
                return Err(ParseError::corrupt(at + 4, what, format_args!("at most {}", end - at - 8), len));
            }
            within_header(at, "QCOW2 header extension", at, data_end)?;
            found.take(kind, f, here + 8, len as usize)?;
            at += 8 + u64::from(len).next_multiple_of(8);
        }
        Ok(found)
    }

    fn take(&mut self, kind: u32, f: &Fields<'_>, at: usize, len: usize) -> Result<(), ParseError> {
        let slot = match kind {
            BACKING_FORMAT => &mut self.backing_format,
            DATA_FILE => &mut self.data_file,
            FEATURE_NAMES => {
                for entry in f.bytes(at, len)?.chunks_exact(FEATURE_NAME) {
                    let names = Fields::new("QCOW2 feature name", entry, at as u64);
                    if names.u8(0)? == INCOMPATIBLE {
                        self.feature_names.push((names.u8(1)?, names.text(2, FEATURE_NAME - 2)?));
                    }
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        if slot.replace(f.text(at, len)?).is_some() {
            let what = format!("QCOW2 header extension {kind:#010x}");
            return Err(ParseError::corrupt(at as u64 - 8, what, "once", "a second one"));
        }
        Ok(())
    }

    /// The feature bits of `mask` for a message: `bit 5 (name)`.
    #[must_use]
    pub(crate) fn names_of(&self, mask: u64) -> String {
        let name_of = |bit: u8| {
            let name = self.feature_names.iter().find(|(named, _)| *named == bit);
            name.map_or_else(|| format!("bit {bit}"), |(_, name)| format!("bit {bit} ({name})"))
        };
        let bits: Vec<String> = (0..64).filter(|bit| mask >> bit & 1 == 1).map(name_of).collect();
        bits.join(", ")
    }
}
