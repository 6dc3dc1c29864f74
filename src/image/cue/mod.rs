//! CD images that a cue sheet describes. The disk is the first data track: 2048 bytes of each of its sectors.
//! Read-only.
//!
//! Sectors that are stored with their headers are decoded in groups instead of being mapped to the file, so each
//! sector's mode and checksum are checked when it is read, and a group is one read of the file instead of one for each
//! 2048 bytes.

mod sector;
mod sheet;
#[cfg(test)]
mod tests;

use super::fitting::Nearness;
use super::{Extent, Format, Image, ImageInfo, Note, OpenOptions, Result, Run, Sample, fitting, iso};
use crate::ondisk::ParseError;
use crate::storage;
use crate::storage::Allowed;
use crate::storage::File;
use crate::storage::InFile;
use crate::storage::Storage;
use sector::{Layout, SYNC, USER};

/// Sheets have some lines for each of 99 tracks; longer ones than this are refused.
const MAX_SHEET: u64 = 1 << 20;
/// Sectors that are decoded together.
const GROUP: u64 = 32;

/// Whether a file is a cue sheet.
#[must_use]
pub(crate) fn probe(sample: &Sample) -> bool {
    sheet::probe(&sample.head)
}

/// Describes the CD from its sheet.
///
/// # Errors
/// As [`open`].
pub(crate) fn identify(file: &File, _: &Sample, allowed: &Allowed) -> Result<ImageInfo> {
    Ok(open_track(file, allowed)?.info)
}

/// Opens the first data track of a sheet.
///
/// # Errors
/// [`super::Error::Io`], [`super::Error::Corrupt`]; [`super::Error::Unsupported`] for a sheet without data tracks;
/// [`super::Error::Refused`] when the sheet names a file that is not next to it.
pub(crate) fn open(file: &File, _: &Sample, options: &OpenOptions) -> Result<Box<dyn Image>> {
    Ok(Box::new(open_track(file, &options.allowed)?))
}

fn open_track(file: &File, allowed: &Allowed) -> Result<Cue> {
    let path = file.path();
    let sheet_len = storage::length(&**file)?;
    let Some(len) = usize::try_from(sheet_len).ok().filter(|_| sheet_len <= MAX_SHEET) else {
        let expected = format_args!("at most {MAX_SHEET} bytes");
        return Err(ParseError::unsupported(0, "cue sheet", expected, format_args!("{sheet_len} bytes")).in_file(path));
    };
    let files = sheet::parse(&storage::read_up_to(&**file, 0, len)?).in_file(path)?;
    let in_sheet = |cause: ParseError| cause.in_file(path);

    let is_data = |track: &sheet::Track| !matches!(track.mode.name.as_str(), "AUDIO" | "CDG");
    let position = files.iter().find_map(|file| Some((file, file.tracks.iter().position(is_data)?)));
    let Some((data, index)) = position else {
        let tracks: usize = files.iter().map(|file| file.tracks.len()).sum();
        let found = format_args!("{tracks} audio tracks");
        return Err(in_sheet(ParseError::unsupported(0, "tracks of the cue sheet", "a data track", found)));
    };
    let track = &data.tracks[index];
    let layout = Layout::of(&track.mode.name).ok_or_else(|| {
        let expected = "MODE1/2048, MODE1/2352, MODE2/2048, MODE2/2336 or MODE2/2352";
        let what = format!("mode of track {}", track.number);
        in_sheet(ParseError::unsupported(data.at, what, expected, &track.mode.name))
    })?;
    if data.kind != "BINARY" {
        let cause = ParseError::unsupported(data.at, "type of the data track's file", "BINARY", &data.kind);
        return Err(in_sheet(cause));
    }

    let fits = |file: &File, nearness| {
        let len = storage::length(&**file)?;
        let range = sheet::range(data, index, len);
        let whole = range.end <= len
            && range.end.checked_sub(range.start).is_some_and(|n| n > 0 && n.is_multiple_of(track.mode.stride));
        // With another name it must be a disk by its content, too, and have the sheet's own name.
        let named = file.path().file_stem() == path.file_stem();
        Ok(whole && (nearness == Nearness::Alike || named && is_disk(&**file, range.start, track.mode.stride, layout)?))
    };
    let content = fitting::open(path, data.name.as_ref(), false, allowed, &fits)?;
    let content_len = storage::length(&*content)?;
    let range = sheet::range(data, index, content_len);
    let bytes = range.end.checked_sub(range.start).filter(|bytes| *bytes > 0 && range.end <= content_len);
    let bytes = bytes.filter(|bytes| bytes.is_multiple_of(track.mode.stride)).ok_or_else(|| {
        let expected = format_args!("whole sectors of {} bytes up to offset {}", track.mode.stride, range.end);
        let found = format_args!("a file of {content_len} bytes");
        ParseError::corrupt(range.start, format!("track {} of the CD", track.number), expected, found)
            .in_file(content.path())
    })?;
    let sectors = bytes / track.mode.stride;
    let details = format!("track {}, {}, {sectors} sectors", track.number, track.mode.name);
    let mut info = iso::info(path, Format::Cue, sectors * iso::SECTOR, sheet_len.saturating_add(content_len), details);
    info.notes.extend(fitting::note(data.name.as_ref(), &content).map(Note::from));
    Ok(Cue { info, files: [content], start: range.start, stride: track.mode.stride, layout })
}

/// Whether a track begins as data tracks do: with the sync pattern of a sector, or, without the sectors' headers, with
/// an ISO 9660 or UDF file system.
fn is_disk(file: &dyn Storage, start: u64, stride: u64, layout: Layout) -> Result<bool> {
    if stride == 2352 {
        return Ok(storage::read_up_to(file, start, SYNC.len())? == SYNC);
    }
    let skip = if layout == Layout::Plain { 1 } else { 9 };
    let magic = storage::read_up_to(file, start + 16 * stride + skip, 5)?;
    Ok(matches!(&*magic, b"CD001" | b"BEA01"))
}

/// An open track.
struct Cue {
    info: ImageInfo,
    files: [File; 1],
    /// Where in the file the track begins.
    start: u64,
    /// Bytes of a sector in the file.
    stride: u64,
    layout: Layout,
}

impl Image for Cue {
    fn info(&self) -> &ImageInfo {
        &self.info
    }

    fn files(&self) -> &[File] {
        &self.files
    }

    fn extent(&self, offset: u64, len: u64) -> Result<Run> {
        if self.layout == Layout::Plain {
            return Ok(Run { extent: Extent::Stored { file: 0, offset: self.start + offset }, len });
        }
        let group = GROUP * iso::SECTOR;
        let (cluster, skip) = (offset / group, offset % group);
        let size = group.min(self.info.size - cluster * group);
        Ok(Run { extent: Extent::Encoded { cluster, skip, size }, len: len.min(size - skip) })
    }

    fn decode(&self, cluster: u64, out: &mut [u8]) -> Result<()> {
        let file = &self.files[0];
        let stride = usize::try_from(self.stride).unwrap_or(usize::MAX);
        let first = self.start + cluster.saturating_mul(GROUP * self.stride);
        let mut sectors = vec![0; out.len().div_ceil(USER).saturating_mul(stride)];
        storage::read_exact(&**file, &mut sectors, first, "CD sectors")?;
        for ((sector, at), out) in sectors.chunks(stride).zip((first..).step_by(stride)).zip(out.chunks_mut(USER)) {
            self.layout.user(sector, at, out).in_file(file.path())?;
        }
        Ok(())
    }
}
