//! Microsoft's first virtual hard disks, by Virtual PC, Hyper-V, VirtualBox and others: fixed, dynamic, differencing.
//!
//! A fixed one is the disk's bytes and a footer. The others begin with a copy of the footer and a header; a table has
//! one 32-bit entry per block of the disk, and a block is a bitmap of its sectors and then their bytes.

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

use super::open::Sample;
use super::{Error, Format, Image, ImageInfo, ImageMut, OpenOptions, Result, Run, Variant, raw};
use crate::ondisk::ParseError;
use crate::storage;
use crate::storage::File;
use footer::{COOKIE, Footer, Kind};
use header::Header;
use map::Map;
use write::Writer;

/// Whether a file is a VHD.
#[must_use]
pub fn probe(sample: &Sample) -> bool {
    sample.tail.starts_with(COOKIE)
        || sample.tail.get(1..).is_some_and(|old| old.starts_with(COOKIE))
        || sample.starts_with(0, COOKIE)
}

/// What the headers of a VHD say.
///
/// # Errors
/// [`Error::Io`], [`Error::Corrupt`], [`Error::Unsupported`].
pub fn identify(file: &File) -> Result<ImageInfo> {
    Ok(Parts::read(file)?.info)
}

/// Opens a VHD.
///
/// # Errors
/// [`Error::Io`], [`Error::Corrupt`], [`Error::Unsupported`]. The whole table is checked: blocks past the end of the
/// file and blocks that overlap are an error here already, unless `options.force` is given.
pub fn open(file: File, options: OpenOptions) -> Result<Box<dyn Image>> {
    let Parts { footer, map, mut info, end } = Parts::read(&file)?;
    let Some(map) = map else {
        return Ok(raw::flat(file, info, options.writable));
    };
    if let Err(error) = map.check() {
        options.forgive(error, &mut info.notes)?;
    }
    let writer = options.writable.then(|| Writer::new(&footer, &end, map.header.stride()));
    Ok(Box::new(Vhd { info, files: [file], map, writer }))
}

/// The end of a VHD's file.
struct End {
    /// Where the footer begins, or would begin; blocks lie before it.
    data_end: u64,
    /// The footer is there. Without it only its copy at the start was found.
    has_footer: bool,
}

/// All that the headers of a VHD hold.
struct Parts {
    footer: Footer,
    /// None for a fixed disk.
    map: Option<Map>,
    info: ImageInfo,
    end: End,
}

impl Parts {
    fn read(file: &File) -> Result<Self> {
        let mut notes = Vec::new();
        let (footer, end) = read_footer(file, &mut notes)?;
        if footer.saved_state {
            notes.push(
                "The disk belongs to a virtual machine that was saved while running, by the program that made it; \
                 files may be in the middle of a change"
                    .to_owned(),
            );
        }
        let (size, map, parent) = if footer.kind == Kind::Fixed {
            check_fixed(&footer, &end).map_err(|cause| cause.in_file(file.path()))?;
            (size::fixed(&footer, file)?, None, None)
        } else {
            let mut raw = [0; header::SIZE];
            storage::read_exact(&**file, &mut raw, footer.data_offset, "VHD dynamic disk header")?;
            let header = Header::parse(&raw, footer.data_offset).map_err(|cause| cause.in_file(file.path()))?;
            let parent = match footer.kind {
                Kind::Differencing => Some(parent::link(&**file, &header, &mut notes)?),
                _ => None,
            };
            let map = Map::new(file.clone(), header, footer.current_size, end.data_end)?;
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
        Ok(Self { footer, map, info, end })
    }
}

/// Whether the file holds all of a fixed disk.
fn check_fixed(footer: &Footer, end: &End) -> Result<(), ParseError> {
    if footer.current_size <= end.data_end {
        return Ok(());
    }
    Err(ParseError::corrupt(
        end.data_end + 48,
        "VHD current size of a fixed disk",
        format_args!("at most {}, the bytes before the footer", end.data_end),
        footer.current_size,
    ))
}

fn details(footer: &Footer, size: u64) -> String {
    let (major, minor) = (footer.creator_version >> 16, footer.creator_version & 0xFFFF);
    let mut text = format!("by {:?} version {major}.{minor}", footer.creator.escape_ascii().to_string());
    if size != footer.current_size {
        text.push_str(", size by its geometry");
    }
    text
}

/// Finds a footer: at the end of the file, or else its copy at the start.
fn read_footer(file: &File, notes: &mut Vec<String>) -> Result<(Footer, End)> {
    let len = storage::length(&**file)?;
    let mut end = End { data_end: len, has_footer: false };
    let mut at_end = None;
    for size in [footer::SIZE, footer::OLD_SIZE] {
        let base = len.saturating_sub(size as u64);
        let bytes = storage::read_up_to(&**file, base, size)?;
        if bytes.starts_with(COOKIE) {
            end = End { data_end: base, has_footer: true };
            at_end = Some(Footer::parse(&bytes, base));
            break;
        }
    }
    let damage = match at_end {
        Some(Ok(footer)) => return Ok((footer, end)),
        Some(Err(cause)) => Some(cause),
        None => None,
    };
    let copy = Footer::parse(&storage::read_up_to(&**file, 0, footer::SIZE)?, 0);
    match (copy, damage) {
        (Ok(footer), damage) if footer.kind != Kind::Fixed => {
            let what = damage.map_or_else(|| "is missing".to_owned(), |cause| format!("is damaged ({cause})"));
            notes.push(format!("The footer at the end of the file {what}; its copy at the start is used"));
            Ok((footer, End { has_footer: false, ..end }))
        }
        (_, Some(cause)) => Err(cause.in_file(file.path())),
        (Err(cause), None) => Err(cause.in_file(file.path())),
        (Ok(_), None) => {
            Err(ParseError::corrupt(len, "VHD footer", "512 bytes", "the end of the file").in_file(file.path()))
        }
    }
}

/// An open dynamic or differencing VHD.
struct Vhd {
    info: ImageInfo,
    files: [File; 1],
    map: Map,
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
