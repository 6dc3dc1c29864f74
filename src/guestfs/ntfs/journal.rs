//! Whether the journal, `$LogFile`, has changes that are not on the volume yet, as recorded in its restart pages. It is
//! not replayed. Names and offsets are from `struct RESTART_HDR` and `struct RESTART_AREA` in the Linux kernel's
//! `fs/ntfs3/fslog.c`.

use super::record::{apply_fixups, kind};
use super::{Ntfs, Stream};
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// The journal's file record.
const RECORD: u64 = 2;
/// `sign` of a restart page: the usual one, and the one that `chkdsk` leaves.
const SIGNATURES: [&[u8; 4]; 2] = [b"RSTR", b"CHKD"];
/// Possible offsets of the two restart pages: the start, and after a page of any size.
const OFFSETS: [u64; 9] = [0, 512, 1024, 2048, 4096, 8192, 16 << 10, 32 << 10, 64 << 10];
/// Bytes of the largest restart page, and of its header.
const MAX_PAGE: usize = 64 << 10;
const HEADER: usize = 30;
/// `client_idx[1]`, the first client that has the journal open: no client.
const NO_CLIENT: u16 = 0xFFFF;
/// Bit of the area's `flags`: the volume was unmounted although the journal stayed open.
const CLEAN: u16 = 2;

impl Ntfs {
    /// Whether the volume was not cleanly unmounted, so that the journal has newer changes.
    pub(super) fn has_open_journal(&self) -> Result<bool> {
        let stream = match self.read_file(RECORD, 0).and_then(|file| file.stream(kind::DATA, &[])) {
            Ok(Some(stream)) => stream,
            Ok(None) => return Ok(false),
            // An unreadable journal may have newer changes.
            Err(Error::Corrupt(_) | Error::Unsupported(_)) => return Ok(true),
            Err(other) => return Err(other),
        };
        let mut newest: Option<(u64, bool)> = None;
        for at in OFFSETS {
            match self.restart_page(&stream, at) {
                Ok(Some(found)) => newest = newest.max(Some(found)),
                // When one page is torn, the other one counts.
                Ok(None) | Err(Error::Corrupt(_)) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(newest.is_some_and(|(_, open)| open))
    }

    /// Reads a restart page: the sequence number of its newest change (`current_lsn`), and whether the journal is open.
    fn restart_page(&self, stream: &Stream, at: u64) -> Result<Option<(u64, bool)>> {
        if stream.size() < at + HEADER as u64 {
            return Ok(None);
        }
        let mut head = [0; HEADER];
        let volume_at = self.read_stream(stream, at, &mut head)?;
        let Some(signature) = SIGNATURES.into_iter().find(|signature| head.starts_with(*signature)) else {
            return Ok(None);
        };
        let size = Fields::new("restart page", &head, volume_at).u32_le(16)?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if !(512..=MAX_PAGE).contains(&size) || !size.is_power_of_two() {
            let cause = ParseError::corrupt(volume_at + 16, "size of a restart page", "512 to 65536", size);
            return Err(cause.into());
        }
        let mut page = vec![0; size];
        self.read_stream(stream, at, &mut page)?;
        let read = |mut page: Vec<u8>| -> Result<(u64, bool), ParseError> {
            apply_fixups(&mut page, volume_at, signature)?;
            let f = Fields::new("restart page", &page, volume_at);
            let area = usize::from(f.u16_le(24)?);
            let (client, flags) = (f.u16_le(area + 12)?, f.u16_le(area + 14)?);
            Ok((f.u64_le(area)?, client != NO_CLIENT && flags & CLEAN == 0))
        };
        read(page).map(Some).map_err(Error::from)
    }
}
