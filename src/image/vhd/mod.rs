//! Microsoft's first virtual hard disks, by Virtual PC, Hyper-V, VirtualBox and others: fixed, dynamic, differencing.
//!
//! A fixed image is the disk's bytes and a footer. The others begin with a copy of the footer and a header; a table has
//! one 32-bit entry per block of the disk, and a block is a bitmap of its sectors and then their bytes.

mod find;
mod footer;
mod header;
mod map;
mod parent;
mod size;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod write;

use super::check::{Finding, Findings, Reading};
use super::{
    Error, Format, Image, ImageInfo, ImageMut, Note, OpenOptions, ParentLink, Result, Run, Sample, Variant, raw,
};
use crate::storage;
use crate::storage::InFile;
use crate::storage::{Allowed, File};
use find::{Doubt, End, Found};
use footer::{COOKIE, Footer, Kind};
use header::{SECTOR, VhdHeader};
use map::VhdMap;
use write::Writer;

/// Whether a file is a VHD.
#[must_use]
pub(crate) fn probe(sample: &Sample) -> bool {
    sample.tail.starts_with(COOKIE)
        || sample.tail.get(1..).is_some_and(|old| old.starts_with(COOKIE))
        || sample.starts_with(0, COOKIE)
}

/// Describes a VHD from its headers.
///
/// # Errors
/// [`Error::Io`], [`Error::Corrupt`], [`Error::Unsupported`].
pub(crate) fn identify(file: &File, _: &Sample, _: &Allowed) -> Result<ImageInfo> {
    Ok(Parts::read(file)?.info)
}

/// Opens a VHD.
///
/// # Errors
/// [`Error::Io`], [`Error::Corrupt`], [`Error::Unsupported`]. The whole table is checked: blocks past the end of the
/// file, blocks that overlap and a footer that does not fit the file are an error here already, unless `options.force`
/// is given.
pub(crate) fn open(file: &File, _: &Sample, options: &OpenOptions) -> Result<Box<dyn Image>> {
    let mut parts = Parts::read(file)?;
    parts.settle_doubt(options)?;
    let Parts { footer, map, mut info, end, .. } = parts;
    let Some(mut map) = map else {
        return Ok(raw::flat(file.clone(), info, options.writable));
    };
    if let Err(error) = map.check() {
        options.tolerate(error, &mut info.notes)?;
        map.refuse_shared()?;
    }
    let writer = options.writable.then(|| Writer::new(&footer, &end, map.header.stride()));
    Ok(Box::new(Vhd { info, files: [file.clone()], map, writer }))
}

/// Reports a copy of the footer that does not stand in for it.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn check(file: &File, findings: &mut Findings) -> Result<()> {
    if let Some(cause) = find::check_copy(file)? {
        let found = Finding::of_error(&cause.in_file(file.path()), file.path(), Reading::Fine);
        findings
            .add(found.advise("the footer at the end of the file is right and is used; it is written again with --rw"));
    }
    Ok(())
}

/// All that the headers of a VHD hold.
struct Parts {
    footer: Footer,
    /// None for a fixed disk.
    map: Option<VhdMap>,
    info: ImageInfo,
    end: End,
    doubt: Option<Doubt>,
}

impl Parts {
    fn read(file: &File) -> Result<Self> {
        let mut notes = Vec::new();
        let Found { footer, end, mut doubt } = find::footer(file, &mut notes)?;
        if footer.saved_state {
            notes.push(
                "The disk belongs to a virtual machine that was saved while running, by the program that made it; \
                 files may be in the middle of a change"
                    .into(),
            );
        }
        let (size, map, parent) = if footer.kind == Kind::Fixed {
            let size = match find::check_fixed(&footer, &end, &mut notes) {
                Ok(()) => size::fixed(&footer, file)?,
                Err(cause) => {
                    // Of the disk that the footer is of, or of another one that it was appended to: only these are
                    // sure.
                    let left = end.data_end - end.data_end % SECTOR;
                    if left == 0 {
                        return Err(cause.in_file(file.path()));
                    }
                    doubt = Some(Doubt { cause, sure: false });
                    left
                }
            };
            (size, None, None)
        } else {
            // What is wrong with the footer is also why its header is not where it says.
            let unfit = |error: Error| match &doubt {
                Some(doubt) => doubt.cause.clone().in_file(file.path()),
                None => error,
            };
            let (map, parent) = read_map(file, &footer, &end, &mut notes).map_err(unfit)?;
            if let Some(doubt) = &mut doubt {
                // The header has a checksum of its own.
                doubt.sure &= u64::from(map.header.max_table_entries) == map.blocks();
            }
            (size::mapped(&footer, &map)?, Some(map), parent)
        };
        let info = ImageInfo {
            variant: match footer.kind {
                Kind::Fixed => Variant::Fixed,
                Kind::Dynamic => Variant::Dynamic,
                Kind::Differencing => Variant::Differencing,
            },
            details: details(&footer, size),
            block_size: map.as_ref().map_or(0, |map| u64::from(map.header.block_size)),
            uuid: Some(footer.unique_id).filter(|uuid| !uuid.is_nil()),
            parent,
            notes,
            stored_size: storage::length(&**file)?,
            ..ImageInfo::plain(file.path(), Format::Vhd, size)
        };
        Ok(Self { footer, map, info, end, doubt })
    }

    /// Goes on with a footer that may be wrong, where its bytes are sure or the options ask for it.
    fn settle_doubt(&mut self, options: &OpenOptions) -> Result<()> {
        let Some(Doubt { cause, sure }) = self.doubt.take() else { return Ok(()) };
        if sure && !options.writable {
            let note = format!("{cause}; all else fits, so it is read all the same");
            self.info.notes.push(Note::corrupt(note));
            return Ok(());
        }
        options.tolerate(cause.in_file(&self.info.path), &mut self.info.notes)
    }
}

/// The map of a dynamic or differencing disk, and the parent that its header names.
fn read_map(file: &File, footer: &Footer, end: &End, notes: &mut Vec<Note>) -> Result<(VhdMap, Option<ParentLink>)> {
    let mut raw = [0; header::SIZE];
    storage::read_exact(&**file, &mut raw, footer.data_offset, "VHD dynamic disk header")?;
    let header = VhdHeader::parse(&raw, footer.data_offset).in_file(file.path())?;
    let parent = match footer.kind {
        Kind::Differencing => Some(parent::link(&**file, &header, notes)?),
        _ => None,
    };
    Ok((VhdMap::new(file.clone(), header, footer.current_size, end.data_end)?, parent))
}

fn details(footer: &Footer, size: u64) -> String {
    let (major, minor) = (footer.creator_version >> 16, footer.creator_version & 0xFFFF);
    let mut text = format!("by {:?} version {major}.{minor}", footer.creator.escape_ascii().to_string());
    if size < footer.current_size {
        text.push_str(", size by its geometry");
    }
    text
}

/// An open dynamic or differencing VHD.
struct Vhd {
    info: ImageInfo,
    files: [File; 1],
    map: VhdMap,
    writer: Option<Writer>,
}

impl Image for Vhd {
    fn info(&self) -> &ImageInfo {
        &self.info
    }

    fn files(&self) -> &[File] {
        &self.files
    }

    fn extent(&self, offset: u64, len: u64) -> Result<Run> {
        self.map.extent(offset, len)
    }

    fn writer(&self) -> Option<&dyn ImageMut> {
        self.writer.is_some().then_some(self)
    }
}

impl Vhd {
    fn state(&self) -> Result<&Writer> {
        self.writer.as_ref().ok_or_else(|| Error::read_only(&self.info.path))
    }
}
