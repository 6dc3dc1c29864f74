//! The one way to open an image: by content, never by extension alone.

use super::local::{self, Devices};
use super::storage::{self, File};
use super::{Error, Fault, Format, Image, ImageInfo, Result, raw, vdi, vmdk};
use std::path::{Path, PathBuf};

/// How an image is to be opened.
#[derive(Debug, Clone, Copy)]
pub struct OpenOptions {
    /// For writing too.
    pub writable: bool,
    /// The user gave this path, so it may be a block device.
    pub devices: Devices,
    /// Open a damaged image as far as it can be read; reads of what is missing fail. Never together with `writable`.
    pub force: bool,
    /// Take it for this format whatever the content looks like: the user or the child's header says so.
    pub format: Option<Format>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { writable: false, devices: Devices::Refused, force: false, format: None }
    }
}

/// Bytes from the start and the end of a file that decide its format.
#[derive(Debug)]
pub struct Sample {
    /// The file.
    pub path: PathBuf,
    /// The first bytes, up to 68 KiB (an ISO image's descriptors begin at 32 KiB, VHDX's first header at 64 KiB).
    pub head: Vec<u8>,
    /// The last 512 bytes (VHD's footer, UDIF's trailer); fewer when the file is smaller.
    pub tail: Vec<u8>,
    /// The file's length in bytes.
    pub len: u64,
}

const HEAD: usize = 68 << 10;

impl Sample {
    /// Reads the sample of a file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn read(file: &dyn storage::Storage) -> Result<Self> {
        let len = storage::length(file)?;
        let head = storage::read_up_to(file, 0, HEAD)?;
        let tail = storage::read_up_to(file, len.saturating_sub(512), 512)?;
        Ok(Self { path: file.path().to_path_buf(), head, tail, len })
    }

    /// Whether the file has `magic` at `offset` of its first bytes.
    #[must_use]
    pub fn starts_with(&self, offset: usize, magic: &[u8]) -> bool {
        self.head.get(offset..).is_some_and(|rest| rest.starts_with(magic))
    }
}

type Probe = (Format, fn(&Sample) -> bool);

/// The format of a sample; what no format claims is raw.
#[must_use]
pub fn probe(sample: &Sample) -> Format {
    // VirtualBox's own order (VDGetFormat), so that a file that satisfies two probes means the same here and there.
    let probes: [Probe; 10] = [
        (Format::Vmdk, vmdk::probe),
        (Format::Vdi, vdi::probe),
        (Format::Vhd, |s| {
            s.tail.starts_with(b"conectix")
                || s.tail.get(1..).is_some_and(|t| t.starts_with(b"conectix"))
                || s.starts_with(0, b"conectix")
        }),
        (Format::Parallels, |s| s.starts_with(0, b"WithoutFreeSpace") || s.starts_with(0, b"WithouFreSpacExt")),
        (Format::Dmg, |s| s.tail.starts_with(b"koly")),
        (Format::Qed, |s| s.starts_with(0, b"QED\0")),
        (Format::Qcow, |s| s.starts_with(0, b"QFI\xfb")),
        (Format::Vhdx, |s| s.starts_with(0, b"vhdxfile")),
        (Format::Cue, |s| s.starts_with(0, b"FILE \"") && s.head.windows(8).any(|w| w.starts_with(b"TRACK "))),
        (Format::Iso, |s| s.starts_with(0x8001, b"CD001") || s.starts_with(0x8001, b"BEA01")),
    ];
    probes.iter().find(|(_, is)| is(sample)).map_or(Format::Raw, |(format, _)| *format)
}

/// Opens an image of any format.
///
/// # Errors
/// Any [`Error`]: the file cannot be read, is damaged, or uses what is not supported.
pub fn open(path: &Path, options: OpenOptions) -> Result<Box<dyn Image>> {
    let file = local::open(path, options.writable, options.devices)?;
    open_file(file, options)
}

/// Opens an image of any format on an open file.
///
/// # Errors
/// As [`open`].
pub fn open_file(file: File, options: OpenOptions) -> Result<Box<dyn Image>> {
    let sample = Sample::read(&*file)?;
    let format = options.format.unwrap_or_else(|| probe(&sample));
    log::debug!("{}: {format}", sample.path.display());
    match format {
        Format::Vdi => vdi::open(file, options),
        Format::Vmdk => vmdk::open(file, &options),
        Format::Raw => {
            if options.format.is_none() {
                vmdk::refuse_extent(&sample)?;
            }
            raw::open(file, options)
        }
        other => Err(unsupported(&sample, other)),
    }
}

fn unsupported(sample: &Sample, format: Format) -> Error {
    Fault::unsupported(0, "image format", "VDI, VMDK or raw", format).in_file(&sample.path)
}

/// What the header of an image says, without reading its map. Cheap: for listings and for following parents.
///
/// # Errors
/// As [`open`].
pub fn identify(path: &Path, devices: Devices) -> Result<ImageInfo> {
    let file = local::open(path, false, devices)?;
    let sample = Sample::read(&*file)?;
    match probe(&sample) {
        Format::Vdi => vdi::identify(&sample),
        Format::Vmdk => vmdk::identify(&file),
        Format::Raw => {
            vmdk::refuse_extent(&sample)?;
            raw::identify(&sample)
        }
        other => Err(unsupported(&sample, other)),
    }
}
