//! Selects the valid footer, at the end of the file or its copy at the start, and checks it against the file.

use super::footer::{self, COOKIE, Footer, Kind};
use super::header::SECTOR;
use crate::image::{Note, Result};
use crate::ondisk::ParseError;
use crate::storage;
use crate::storage::File;

/// The end of a VHD's file.
pub(super) struct End {
    /// Where the footer begins, or would begin; blocks lie before it.
    pub(super) data_end: u64,
    /// The footer is there. Without it only its copy at the start was found.
    pub(super) has_footer: bool,
}

/// What is wrong with a footer that may be right all the same.
pub(super) struct Doubt {
    pub(super) cause: ParseError,
    /// All else fits, so the disk's bytes are known.
    pub(super) sure: bool,
}

/// The footer that counts.
pub(super) struct Found {
    pub(super) footer: Footer,
    pub(super) end: End,
    pub(super) doubt: Option<Doubt>,
}

/// Finds a footer: at the end of the file, or else its copy at the start.
///
/// # Errors
/// [`Error::Io`](crate::image::Error::Io), and what is wrong with the footers where none can be used.
pub(super) fn footer(file: &File, notes: &mut Vec<Note>) -> Result<Found> {
    let len = storage::length(&**file)?;
    let mut end = End { data_end: len, has_footer: false };
    let mut last = None;
    for size in [footer::SIZE, footer::OLD_SIZE] {
        let base = len.saturating_sub(size as u64);
        let bytes = storage::read_up_to(&**file, base, size)?;
        if bytes.starts_with(COOKIE) {
            end = End { data_end: base, has_footer: true };
            last = Some(bytes);
            break;
        }
    }
    let first = storage::read_up_to(&**file, 0, footer::SIZE)?;
    let at_end = last.as_ref().map(|bytes| Footer::parse(bytes, end.data_end));
    let copy = Footer::parse(&first, 0).and_then(|copy| match copy.kind {
        // Only the others have a copy; this would be a footer that is followed by something else.
        Kind::Fixed => Err(ParseError::corrupt(len, "VHD footer", "512 bytes", "the end of the file")),
        _ => Ok(copy),
    });
    match (at_end, copy) {
        (Some(Ok(footer)), Ok(copy)) if are_of_two_disks(&footer, &copy, &end) => {
            let found = format_args!("one of the disk {}; the copy is of {}", footer.unique_id, copy.unique_id);
            let cause = ParseError::corrupt(end.data_end, "VHD footer", "the same as its copy at the start", found);
            Ok(Found { footer: copy, end, doubt: Some(Doubt { cause, sure: false }) })
        }
        (Some(Ok(footer)), _) => Ok(Found { footer, end, doubt: None }),
        (corrupt, Ok(footer)) => {
            let corrupt = corrupt.and_then(Result::err);
            let what = corrupt.map_or_else(|| "is missing".to_owned(), |cause| format!("is corrupt ({cause})"));
            notes.push(Note::corrupt(format!(
                "The footer at the end of the file {what}; its copy at the start is used"
            )));
            Ok(Found { footer, end: End { has_footer: false, ..end }, doubt: None })
        }
        (at_end, Err(cause)) => {
            let cause = at_end.and_then(Result::err).unwrap_or(cause);
            unsummed(last.as_deref(), &first, end, &cause).ok_or_else(|| cause.in_file(file.path()))
        }
    }
}

/// What is wrong with the copy of a footer that is right, or how it differs from it.
pub(super) fn check_copy(file: &File) -> Result<Option<ParseError>> {
    let len = storage::length(&**file)?;
    let base = len.saturating_sub(footer::SIZE as u64);
    let last = storage::read_up_to(&**file, base, footer::SIZE)?;
    let Ok(footer) = Footer::parse(&last, base) else { return Ok(None) };
    if footer.kind == Kind::Fixed {
        return Ok(None);
    }
    let first = storage::read_up_to(&**file, 0, footer::SIZE)?;
    Ok(match Footer::parse(&first, 0) {
        Err(cause) => Some(cause),
        Ok(copy) if copy.raw != footer.raw => {
            Some(ParseError::corrupt(0, "copy of the VHD footer", "the bytes of the footer", "others"))
        }
        Ok(_) => None,
    })
}

/// Whether a footer and the copy, both with the right checksum, are of two disks. A fixed disk whose footer fits has
/// whatever the guest wrote at its start.
fn are_of_two_disks(footer: &Footer, copy: &Footer, end: &End) -> bool {
    let position = |footer: &Footer| (footer.kind, footer.data_offset, footer.current_size);
    let fits = footer.kind == Kind::Fixed && footer.current_size == end.data_end;
    !fits && position(footer) != position(copy) && (footer.kind != copy.kind || footer.unique_id != copy.unique_id)
}

/// A footer of which only the checksum is wrong, `cause`. It is sure where nothing else contradicts it: a fixed disk
/// that ends where the footer begins, or two copies that are the same.
fn unsummed(last: Option<&[u8]>, first: &[u8], end: End, cause: &ParseError) -> Option<Found> {
    let parse = |bytes: &[u8], base| Footer::parse_unsummed(bytes, base).ok();
    let found = |footer, end, sure| Found { footer, end, doubt: Some(Doubt { cause: cause.clone(), sure }) };
    let footer = last.and_then(|bytes| parse(bytes, end.data_end));
    let copy = parse(first, 0).filter(|copy| copy.kind != Kind::Fixed);
    match (footer, copy) {
        (Some(footer), _) if footer.kind == Kind::Fixed => {
            let sure = footer.current_size == end.data_end;
            Some(found(footer, end, sure))
        }
        (Some(footer), copy) => {
            let sure = copy.is_some_and(|copy| copy.raw == footer.raw);
            Some(found(footer, end, sure))
        }
        (None, Some(copy)) => Some(found(copy, End { has_footer: false, ..end }, false)),
        (None, None) => None,
    }
}

/// Whether the file holds all of a fixed disk. Bytes between the disk and the footer are noted.
///
/// # Errors
/// [`ParseError`] for a footer of a larger disk.
pub(super) fn check_fixed(footer: &Footer, end: &End, notes: &mut Vec<Note>) -> Result<(), ParseError> {
    let Some(rest) = end.data_end.checked_sub(footer.current_size) else {
        return Err(ParseError::corrupt(
            end.data_end + 48,
            "VHD current size of a fixed disk",
            format_args!("at most {}, the bytes before the footer", end.data_end),
            footer.current_size,
        ));
    };
    if rest >= SECTOR {
        notes.push(Note::from(format!(
            "The file has {rest} bytes between the end of the disk, as the footer states it, and the footer; they are \
             not shown"
        )));
    }
    Ok(())
}
