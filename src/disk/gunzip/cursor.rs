//! Decompressing a gzip file from a position on.
//!
//! The crate `miniz_oxide` does it, and not `flate2` as elsewhere, because its state can be copied: a copy is a
//! position to start from again.

use super::header::{MAGIC, length};
use crate::disk::{Disk, Result};
use crate::ondisk::ParseError;
use crc32fast::Hasher;
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};
use std::path::Path;

/// Bytes of the file that are read at once. No header is longer.
const BUFFER: usize = 128 << 10;

/// A gzip file.
pub(super) struct Source<'a> {
    pub(super) disk: &'a dyn Disk,
    /// What it is called in messages.
    pub(super) name: &'a Path,
}

impl Source<'_> {
    /// The error of something in the file.
    pub(super) fn corrupt(&self, offset: u64, what: &str, expected: &str, found: &str) -> crate::disk::Error {
        self.wrong(ParseError::corrupt(offset, what, expected, found))
    }

    fn wrong(&self, error: ParseError) -> crate::disk::Error {
        error.in_file(self.name).into()
    }
}

/// A member that was begun.
#[derive(Clone)]
struct Member {
    state: Box<InflateState>,
    /// Of what it gave so far.
    crc: Hasher,
    /// Bytes that it gave so far, as ISIZE counts them.
    size: u32,
}

/// A position in a gzip file, at which it is decompressed.
pub(super) struct Cursor {
    /// None between two members.
    member: Option<Member>,
    /// The offset of the next byte of the file.
    input: u64,
    /// How many bytes came before.
    pub(super) output: u64,
    /// Bytes of the file, up to this offset.
    buffer: Vec<u8>,
    buffered_to: u64,
    /// Where bytes begin that belong to no member.
    pub(super) leftover: Option<u64>,
}

impl Clone for Cursor {
    /// A copy without the buffer, which is read again.
    fn clone(&self) -> Self {
        let Self { ref member, input, output, leftover, .. } = *self;
        Self { member: member.clone(), input, output, buffer: Vec::new(), buffered_to: input, leftover }
    }
}

impl Cursor {
    /// The beginning.
    pub(super) fn new() -> Self {
        Self { member: None, input: 0, output: 0, buffer: Vec::new(), buffered_to: 0, leftover: None }
    }

    /// Fills `out`, or less at the end, and returns how many bytes that were. The sums of members that end are checked.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(super) fn read(&mut self, source: &Source<'_>, out: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < out.len() {
            if self.member.is_none() && !self.begin(source)? {
                break;
            }
            self.fill(source, 1)?;
            let at = self.input;
            let Some(member) = &mut self.member else { break };
            let bytes = &self.buffer[self.buffer.len() - usize::try_from(self.buffered_to - at).unwrap_or(0)..];
            let step = inflate(&mut member.state, bytes, &mut out[done..], MZFlush::None);
            let written = &out[done..done + step.bytes_written];
            member.crc.update(written);
            member.size = member.size.wrapping_add(u32::try_from(written.len()).unwrap_or(u32::MAX));
            done += written.len();
            self.input += step.bytes_consumed as u64;
            self.output += written.len() as u64;
            match step.status {
                Ok(MZStatus::StreamEnd) => self.end(source)?,
                Ok(_) => {}
                Err(MZError::Buf) if step.bytes_consumed + step.bytes_written > 0 => {}
                Err(MZError::Buf) => {
                    return Err(source.corrupt(at, "gzip data", "more of it", "the end of the file"));
                }
                Err(_) => return Err(source.corrupt(at, "gzip data", "deflate blocks", "what is none, near here")),
            }
        }
        Ok(done)
    }

    /// Sees that at least `least` bytes are in the buffer, or all that are left.
    fn fill(&mut self, source: &Source<'_>, least: usize) -> Result<()> {
        let left = usize::try_from(source.disk.size() - self.input).unwrap_or(usize::MAX);
        if self.buffered_to - self.input >= left.min(least) as u64 {
            return Ok(());
        }
        self.buffer.resize(left.min(BUFFER), 0);
        source.disk.read_at(self.input, &mut self.buffer)?;
        self.buffered_to = self.input + self.buffer.len() as u64;
        Ok(())
    }

    fn buffered(&self) -> &[u8] {
        &self.buffer[self.buffer.len() - usize::try_from(self.buffered_to - self.input).unwrap_or(0)..]
    }

    /// Goes past the header of the next member, if there is one. As `gzip` does, it takes anything else for padding.
    fn begin(&mut self, source: &Source<'_>) -> Result<bool> {
        self.fill(source, BUFFER)?;
        let bytes = self.buffered();
        if self.input > 0 && !bytes.starts_with(&MAGIC) {
            if bytes.first().is_some_and(|byte| *byte != 0) {
                self.leftover = Some(self.input);
            }
            return Ok(false);
        }
        let length = length(bytes, self.input).map_err(|e| source.wrong(e))?;
        self.input += length as u64;
        let state = InflateState::new_boxed(DataFormat::Raw);
        self.member = Some(Member { state, crc: Hasher::new(), size: 0 });
        Ok(true)
    }

    /// Checks CRC32 and ISIZE, which follow a member.
    fn end(&mut self, source: &Source<'_>) -> Result<()> {
        self.fill(source, 8)?;
        let stated: Option<[u8; 8]> = self.buffered().first_chunk().copied();
        let Some((stated, member)) = stated.zip(self.member.take()) else {
            return Err(source.corrupt(self.input, "gzip CRC32, ISIZE", "8 bytes", "the end of the file"));
        };
        let [crc, size] = [[0, 1, 2, 3], [4, 5, 6, 7]].map(|at| u32::from_le_bytes(at.map(|at: usize| stated[at])));
        let computed = member.crc.finalize();
        if (crc, size) != (computed, member.size) {
            let text = |crc, size| format!("{crc:08x}, {size}");
            let (expected, found) = (text(crc, size), text(computed, member.size));
            return Err(source.corrupt(self.input, "gzip CRC32, ISIZE", &expected, &format!("{found} of the data")));
        }
        self.input += 8;
        Ok(())
    }
}
