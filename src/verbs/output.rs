//! Output that keeps holes where it can.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// Zeros for [`Sink::skip`].
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A writer that zeros may be left out of.
pub(crate) trait Sink: Write {
    /// Writes `len` zeros, or leaves a hole in their place.
    ///
    /// # Errors
    /// What writing says.
    fn skip(&mut self, len: u64) -> io::Result<()> {
        let mut left = len;
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
            self.write_all(&ZEROS[..now])?;
            left -= now as u64;
        }
        Ok(())
    }
}

/// An open file, such as standard output. A regular file that is written at its end gets holes.
pub(crate) struct Stream(File);

impl Stream {
    /// The stream of an open file.
    #[must_use]
    pub(crate) fn new(file: File) -> Self {
        Self(file)
    }

    /// Its position, when it is a regular file and nothing comes after that.
    fn end(&mut self) -> Option<u64> {
        let metadata = self.0.metadata().ok().filter(std::fs::Metadata::is_file)?;
        self.0.stream_position().ok().filter(|at| *at == metadata.len())
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Sink for Stream {
    fn skip(&mut self, len: u64) -> io::Result<()> {
        let Some(end) = self.end().and_then(|at| at.checked_add(len)) else { return Written(&mut self.0).skip(len) };
        self.0.set_len(end)?;
        self.0.seek(SeekFrom::Start(end)).map(drop)
    }
}

/// A writer that keeps no holes.
pub(super) struct Written<W>(pub(super) W);

impl<W: Write> Write for Written<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> Sink for Written<W> {}
