//! Compressed grains: a marker (`GrainMarker`: the grain's first sector of the extent as u64, the length of the data as
//! u32), then a zlib stream.

use super::geometry::MARKER;
use super::geometry::SECTOR;
use super::grains::{Grain, Grains};
use crate::image::Result;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use crate::storage;
use flate2::{Decompress, FlushDecompress, Status};

impl Grains {
    /// Decodes a compressed grain into `out`, which has as many bytes as the grain holds of the disk.
    ///
    /// # Errors
    /// `Corrupt` when the grain is one of another offset, or does not decode to that many bytes.
    pub(super) fn decode(&self, index: u64, out: &mut [u8]) -> Result<()> {
        let grain = self.grain(index)?;
        self.check_grain(index, grain, self.entry_at(index))?;
        let Grain::At(at) = grain else {
            let what = format!("VMDK compressed grain {index}");
            return Err(self.cause(ParseError::corrupt(0, what, "a grain that is stored", "an empty entry")));
        };
        let data = self.read_compressed(index, at)?;
        // The last grain may be compressed whole although the disk ends within it.
        let mut whole = vec![0; usize::try_from(self.geometry.grain).unwrap_or(usize::MAX)];
        let len = inflate(&data, &mut whole).map_err(|found| {
            let expected = format!("a zlib stream of {} to {} bytes", out.len(), whole.len());
            self.cause(ParseError::corrupt(at + MARKER, format!("VMDK compressed grain {index}"), expected, found))
        })?;
        if len < out.len() {
            let expected = format!("{} bytes when decompressed", out.len());
            let what = format!("VMDK compressed grain {index}");
            return Err(self.cause(ParseError::corrupt(at + MARKER, what, expected, format_args!("{len}"))));
        }
        out.copy_from_slice(&whole[..out.len()]);
        Ok(())
    }

    /// Where the entry of a grain is; 0 without its table.
    fn entry_at(&self, index: u64) -> u64 {
        let (table, entry) = self.split(index);
        if let Grain::At(at) = self.table(table) { at + 4 * entry } else { 0 }
    }

    /// The compressed bytes of a grain whose marker is at `at`.
    fn read_compressed(&self, index: u64, at: u64) -> Result<Vec<u8>> {
        let mut marker = [0; 12];
        storage::read_exact(&**self.file(), &mut marker, at, "VMDK grain marker")?;
        let fields = Fields::new("VMDK grain marker", &marker, at);
        let read = || Ok((fields.u64_le(0)?, fields.u32_le(8)?));
        let (sector, len) = read().map_err(|cause: ParseError| self.cause(cause))?;
        let expected = index * self.geometry.grain / SECTOR;
        if sector != expected {
            let what = format!("offset in the marker of VMDK grain {index}");
            return Err(self.cause(ParseError::corrupt(at, what, format_args!("sector {expected}"), sector)));
        }
        // What does not compress grows by a few bytes only.
        let most = 2 * self.geometry.grain;
        if len == 0 || u64::from(len) > most {
            let what = format!("length in the marker of VMDK grain {index}");
            return Err(self.cause(ParseError::corrupt(at + 8, what, format_args!("1 to {most} bytes"), len)));
        }
        let mut data = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        storage::read_exact(&**self.file(), &mut data, at + MARKER, "VMDK compressed grain")?;
        Ok(data)
    }
}

/// Decompresses a zlib stream; returns the number of bytes, or what is wrong with it.
fn inflate(data: &[u8], out: &mut [u8]) -> std::result::Result<usize, String> {
    let mut stream = Decompress::new(true);
    match stream.decompress(data, out, FlushDecompress::Finish) {
        Ok(Status::StreamEnd) => Ok(usize::try_from(stream.total_out()).unwrap_or(usize::MAX)),
        Ok(_) if stream.total_in() < data.len() as u64 => Err("more bytes".to_owned()),
        Ok(_) => Err(format!("the end of the data after {} bytes", stream.total_out())),
        Err(error) => Err(format!("other data ({error})")),
    }
}
