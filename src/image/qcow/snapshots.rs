//! The table of internal snapshots.

use super::header::{QcowHeader, check_l1_size};
use crate::image::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use crate::storage;
use crate::storage::File;
use crate::storage::InFile;

/// QEMU's bound of the table, in bytes.
const MAX_TABLE: u64 = 64 << 20;
/// Bytes of an entry before its extra data.
const FIXED: usize = 40;
/// QEMU's bound of an entry's extra data, in bytes.
const MAX_EXTRA: usize = 1024;

/// An internal snapshot: a level 1 table of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// `unique_id`.
    pub id: String,
    /// `name`.
    pub name: String,
    /// Where its level 1 table is; a multiple of the cluster size.
    pub l1_table_offset: u64,
    /// Entries of that table.
    pub l1_size: u32,
    /// The disk's size in bytes when the snapshot was made, in whole sectors.
    pub size: u64,
}

/// The snapshots of an image, and how many bytes their table has.
pub(super) fn read(file: &File, header: &QcowHeader) -> Result<(Vec<Snapshot>, u64)> {
    let mut snapshots = Vec::new();
    let mut at = header.snapshots_offset;
    for number in 1..=header.nb_snapshots {
        let (snapshot, len) = read_one(file, header, at)?;
        snapshots.push(snapshot);
        at += len;
        let done = at - header.snapshots_offset;
        if done > MAX_TABLE {
            let expected = format_args!("at most {MAX_TABLE} bytes");
            let found = format_args!("{done} bytes for {number} entries");
            return Err(ParseError::unsupported(at, "QCOW2 snapshot table", expected, found).in_file(file.path()));
        }
    }
    Ok((snapshots, at.saturating_sub(header.snapshots_offset)))
}

/// The entry at `at` and its length with padding, in bytes.
fn read_one(file: &File, header: &QcowHeader, at: u64) -> Result<(Snapshot, u64)> {
    let cause = |cause: ParseError| cause.in_file(file.path());
    let mut fixed = [0; FIXED];
    storage::read_exact(&**file, &mut fixed, at, "QCOW2 snapshot table entry")?;
    let f = Fields::new("QCOW2 snapshot table entry", &fixed, at);
    let length = |at| f.u16_be(at).map(usize::from).in_file(file.path());
    let (id_len, name_len) = (length(12)?, length(14)?);
    let extra = f.u32_be(36).in_file(file.path())?;
    let extra_len = usize::try_from(extra).ok().filter(|len| *len <= MAX_EXTRA);
    let extra_len = extra_len.ok_or_else(|| {
        let expected = format_args!("at most {MAX_EXTRA}");
        cause(ParseError::unsupported(at + 36, "extra_data_size of a QCOW2 snapshot", expected, extra))
    })?;
    let mut rest = vec![0; extra_len + id_len + name_len];
    storage::read_exact(&**file, &mut rest, at + FIXED as u64, "QCOW2 snapshot table entry")?;
    let snapshot =
        parse(header, &f, &Fields::new("QCOW2 snapshot table entry", &rest, at + FIXED as u64)).in_file(file.path())?;
    Ok((snapshot, (FIXED + rest.len()).next_multiple_of(8) as u64))
}

/// `f` has the fixed part, `rest` the extra data, the id and the name.
fn parse(header: &QcowHeader, f: &Fields<'_>, rest: &Fields<'_>) -> Result<Snapshot, ParseError> {
    let extra_len = f.u32_be(36)? as usize;
    let (id_len, name_len) = (usize::from(f.u16_be(12)?), usize::from(f.u16_be(14)?));
    let l1_table_offset = f.u64_be(0)?;
    header.check_table(f.offset(0), "l1_table_offset of a QCOW2 snapshot", l1_table_offset)?;
    let l1_size = f.u32_be(8)?;
    check_l1_size(f.offset(8), l1_size)?;
    let size = if extra_len >= 16 { rest.u64_be(8)? & !511 } else { header.size };
    if i64::try_from(size).is_err() || header.l1_needed(size) > u64::from(l1_size) {
        let expected = format_args!("at least {} for {size} bytes", header.l1_needed(size));
        return Err(ParseError::corrupt(f.offset(8), "l1_size of a QCOW2 snapshot", expected, l1_size));
    }
    Ok(Snapshot {
        id: rest.text(extra_len, id_len)?,
        name: rest.text(extra_len + id_len, name_len)?,
        l1_table_offset,
        l1_size,
        size,
    })
}

/// The snapshot with the name `wanted`, or else with that id.
pub(super) fn find<'a>(file: &File, snapshots: &'a [Snapshot], wanted: &str) -> Result<&'a Snapshot> {
    let path = file.path().to_path_buf();
    let mut named = snapshots.iter().filter(|snapshot| snapshot.name == wanted);
    match (named.next(), named.next()) {
        (Some(found), None) => Ok(found),
        (Some(first), Some(second)) => {
            let [first, second] = [&first.id, &second.id];
            let reason = format!(
                "more than one internal snapshot is named {wanted:?}; give an id instead, such as {first} or {second}"
            );
            Err(Error::Refused { path, reason })
        }
        (None, _) => snapshots.iter().find(|snapshot| snapshot.id == wanted).ok_or_else(|| {
            let reason = if snapshots.is_empty() {
                format!("it has no internal snapshots, so there is none named {wanted:?}; leave the snapshot out")
            } else {
                format!("it has no internal snapshot named {wanted:?}; it has {}", names(snapshots))
            };
            Error::NoSnapshot { path, reason }
        }),
    }
}

/// The names of all snapshots, for a message.
pub(super) fn names(snapshots: &[Snapshot]) -> String {
    let names: Vec<String> = snapshots.iter().map(|s| format!("{:?} (id {})", s.name, s.id)).collect();
    names.join(", ")
}
