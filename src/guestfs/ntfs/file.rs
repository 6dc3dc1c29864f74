//! Files: attributes collected from all records of a file, and its streams.

use super::Ntfs;
use super::record::{Attribute, DOS_NAME, ENCRYPTED, Record, Sizes, Value, kind, utf16};
use super::runs::Runs;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::Time;
use crate::ondisk::fields::Fields;
use std::collections::HashSet;

/// The most records of one file.
const MAX_RECORDS: usize = 65536;
/// The largest attribute list or other small value in bytes.
const MAX_VALUE: u64 = 16 << 20;
/// 1970-01-01 in units of 100 nanoseconds since 1601-01-01.
const EPOCH: i64 = 116_444_736_000_000_000;

/// The bytes of one attribute of a file, such as its unnamed `$DATA`.
#[derive(Debug, Clone)]
pub(super) enum Stream {
    /// In the file record.
    Resident(Vec<u8>),
    /// In clusters.
    Clusters {
        runs: Runs,
        sizes: Sizes,
        /// Clusters in a compression unit; 0 when the stream is not compressed.
        unit: u64,
    },
}

impl Stream {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Resident(bytes) => bytes.len() as u64,
            Self::Clusters { sizes, .. } => sizes.data,
        }
    }

    pub(super) fn allocated(&self) -> u64 {
        match self {
            Self::Resident(_) => 0,
            Self::Clusters { sizes, .. } => sizes.total,
        }
    }
}

/// `$STANDARD_INFORMATION`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Information {
    pub(super) created: Time,
    pub(super) modified: Time,
    pub(super) changed: Time,
    pub(super) accessed: Time,
    pub(super) flags: u32,
}

/// Bits of [`Information::flags`].
pub(super) const READ_ONLY: u32 = 0x1;
pub(super) const SYSTEM: u32 = 0x4;
pub(super) const HAS_REPARSE_POINT: u32 = 0x400;
/// The file's bytes are not on the volume (`FILE_ATTRIBUTE_OFFLINE`, `..._RECALL_ON_OPEN`,
/// `..._RECALL_ON_DATA_ACCESS`).
pub(super) const NOT_HERE: u32 = 0x1000 | 0x4_0000 | 0x40_0000;

/// One file or directory.
#[derive(Debug)]
pub(super) struct File {
    pub(super) number: u64,
    pub(super) record: Record,
    /// The attributes of all records, in the order of the attribute list if there is one.
    attributes: Vec<Attribute>,
}

impl Ntfs {
    /// Reads a file; `sequence` is the sequence number that the reference expects, 0 for any.
    pub(super) fn read_file(&self, number: u64, sequence: u16) -> Result<File> {
        let record = self.record(number)?;
        let bad = |what: &str, expected: String, found: String| {
            Error::from(ParseError::corrupt(
                self.record_offset(number),
                format!("{what} of file record {number}"),
                expected,
                found,
            ))
        };
        if !record.in_use || record.base != 0 {
            return Err(bad("use", "a file".to_owned(), "a free record or one of another file".to_owned()));
        }
        if sequence != 0 && sequence != record.sequence {
            return Err(bad("sequence number", sequence.to_string(), record.sequence.to_string()));
        }
        let mut attributes = record.attributes.clone();
        if let Some(list) = attributes.iter().find(|attribute| attribute.kind == kind::ATTRIBUTE_LIST) {
            let bytes = self.small_value(&list.value, number)?;
            let own = attributes;
            attributes = own.iter().filter(|a| a.kind != kind::ATTRIBUTE_LIST).cloned().collect();
            for other in listed_records(&bytes)? {
                if other == number {
                    continue;
                }
                let more = self.record(other)?;
                if !more.in_use || more.base != number {
                    return Err(bad("attribute list", format!("records of file {number}"), format!("record {other}")));
                }
                attributes.extend(more.attributes);
            }
        }
        Ok(File { number, record, attributes })
    }

    /// Reads all bytes of a value that is small by nature.
    fn small_value(&self, value: &Value, number: u64) -> Result<Vec<u8>> {
        match value {
            Value::Resident(bytes) => Ok(bytes.clone()),
            Value::Runs { runs, sizes, .. } => {
                if sizes.data > MAX_VALUE {
                    let what = format!("size of a value of file record {number}");
                    return Err(ParseError::corrupt(0, what, format_args!("at most {MAX_VALUE}"), sizes.data).into());
                }
                let mut bytes = vec![0; usize::try_from(sizes.data).unwrap_or(0)];
                self.read_runs(runs, 0, &mut bytes)?;
                Ok(bytes)
            }
        }
    }

    /// Reads all bytes of a stream that is small by nature.
    pub(super) fn small_stream(&self, stream: &Stream, number: u64) -> Result<Vec<u8>> {
        match stream {
            Stream::Resident(bytes) => Ok(bytes.clone()),
            Stream::Clusters { runs, sizes, .. } => {
                let value = Value::Runs { runs: runs.clone(), lowest: 0, sizes: *sizes, unit: 0 };
                self.small_value(&value, number)
            }
        }
    }
}

impl File {
    /// Returns the stream of this type and name, joined from its attributes in all records.
    pub(super) fn stream(&self, of: u32, name: &[u16]) -> Result<Option<Stream>> {
        let mut ranges: Vec<&Attribute> = self.attributes.iter().filter(|a| a.kind == of && a.name == name).collect();
        ranges.sort_by_key(|range| if let Value::Runs { lowest, .. } = range.value { lowest } else { 0 });
        let Some(first) = ranges.first() else { return Ok(None) };
        if first.flags & ENCRYPTED != 0 && of == kind::DATA {
            return Err(Error::Unsupported(format!("the file with record {} is encrypted by Windows", self.number)));
        }
        let (mut all, sizes, unit) = match &first.value {
            Value::Resident(bytes) => return Ok(Some(Stream::Resident(bytes.clone()))),
            Value::Runs { runs, sizes, unit, .. } => (runs.clone(), *sizes, *unit),
        };
        for range in &ranges[1..] {
            if let Value::Runs { runs, .. } = &range.value {
                all.append(runs, 0)?;
            }
        }
        let compressed = first.flags & super::record::COMPRESSED != 0;
        if compressed && !(1..=8).contains(&unit) {
            let what = format!("compression unit of file record {}", self.number);
            return Err(ParseError::corrupt(0, what, "2 to 256 clusters", format_args!("2^{unit}")).into());
        }
        Ok(Some(Stream::Clusters { runs: all, sizes, unit: if compressed { 1 << unit } else { 0 } }))
    }

    /// The names of its alternate data streams.
    pub(super) fn stream_names(&self) -> Vec<String> {
        let data = self.attributes.iter().filter(|a| a.kind == kind::DATA && !a.name.is_empty());
        let mut names: Vec<String> = data.map(|a| String::from_utf16_lossy(&a.name)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The resident value of the first attribute of a kind.
    pub(super) fn resident(&self, of: u32) -> Option<&[u8]> {
        self.attributes.iter().find(|a| a.kind == of).and_then(|a| match &a.value {
            Value::Resident(bytes) => Some(bytes.as_slice()),
            Value::Runs { .. } => None,
        })
    }

    pub(super) fn information(&self) -> Result<Information> {
        let Some(bytes) = self.resident(kind::STANDARD_INFORMATION) else { return Ok(Information::default()) };
        let f = Fields::new("standard information", bytes, 0);
        let read = || -> Result<Information, ParseError> {
            Ok(Information {
                created: time(f.u64_le(0)?),
                modified: time(f.u64_le(8)?),
                changed: time(f.u64_le(16)?),
                accessed: time(f.u64_le(24)?),
                flags: f.u32_le(32)?,
            })
        };
        read().map_err(Error::from)
    }

    /// The number of names that a user sees, which are its links: all but short DOS names.
    pub(super) fn visible_names(&self) -> u32 {
        let names = self.attributes.iter().filter(|a| a.kind == kind::FILE_NAME);
        let long = names.filter(|a| match &a.value {
            Value::Resident(bytes) => bytes.get(65) != Some(&DOS_NAME),
            Value::Runs { .. } => false,
        });
        u32::try_from(long.count()).unwrap_or(u32::MAX)
    }

    /// The record number of the directory with its first name.
    pub(super) fn parent(&self) -> Option<u64> {
        let bytes = self.resident(kind::FILE_NAME)?;
        Some(u64::from_le_bytes(*bytes.first_chunk()?) & 0xFFFF_FFFF_FFFF)
    }

    /// The value of an extended attribute of OS/2 (`$EA`), as the Windows subsystem for Linux uses them. Each has the
    /// offset of the next one, flags, the lengths of name and value, the name, a zero byte and the value.
    pub(super) fn old_attribute(&self, name: &[u8]) -> Option<&[u8]> {
        let mut rest = self.resident(kind::EA)?;
        loop {
            let next = usize::try_from(u32::from_le_bytes(*rest.first_chunk()?)).ok()?;
            let (name_len, value_len) =
                (usize::from(*rest.get(5)?), usize::from(u16::from_le_bytes([*rest.get(6)?, *rest.get(7)?])));
            if rest.get(8..8 + name_len)?.eq_ignore_ascii_case(name) {
                return rest.get(9 + name_len..9 + name_len + value_len);
            }
            rest = rest.get(next..).filter(|_| next > 0)?;
        }
    }

    /// The text of an attribute such as `$VOLUME_NAME`.
    pub(super) fn text(&self, of: u32) -> String {
        self.resident(of).map_or_else(String::new, |bytes| String::from_utf16_lossy(&utf16(bytes)))
    }
}

/// The record numbers in an attribute list.
fn listed_records(bytes: &[u8]) -> Result<Vec<u64>, ParseError> {
    let f = Fields::new("attribute list", bytes, 0);
    let (mut seen, mut records, mut at) = (HashSet::new(), Vec::new(), 0);
    while at + 26 <= bytes.len() {
        let len = usize::from(f.u16_le(at + 4)?);
        if len < 26 {
            return Err(ParseError::corrupt(at as u64, "length of an entry of an attribute list", "at least 26", len));
        }
        let record = f.u64_le(at + 16)? & 0xFFFF_FFFF_FFFF;
        if seen.insert(record) {
            records.push(record);
        }
        if records.len() > MAX_RECORDS {
            return Err(ParseError::unsupported(
                at as u64,
                "records of a file",
                format_args!("at most {MAX_RECORDS}"),
                "more",
            ));
        }
        at += len;
    }
    Ok(records)
}

/// Converts a Windows time, in units of 100 nanoseconds since 1601.
pub(super) fn time(raw: u64) -> Time {
    let ticks = i64::try_from(raw).unwrap_or(i64::MAX) - EPOCH;
    let nanoseconds = u32::try_from(ticks.rem_euclid(10_000_000) * 100).unwrap_or(0);
    Time { seconds: ticks.div_euclid(10_000_000), nanoseconds }
}
