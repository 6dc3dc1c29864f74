//! The one way to open an image: by content, never by extension alone.

use super::{
    Error, Format, Image, ImageInfo, Rescue, Result, cue, dmg, iso, parallels, qcow, qed, raw, vdi, vhd, vhdx, vmdk,
};
use crate::storage;
use crate::storage::Allowed;
use crate::storage::File;
use crate::storage::local;
use crate::storage::local::Devices;
use std::path::{Path, PathBuf};

/// How an image is to be opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// For writing too.
    pub writable: bool,
    /// The user gave this path, so it may be a block device.
    pub devices: Devices,
    /// Only a name in a file led to this path, and nothing proves that the image is the one meant: it must lie in this
    /// directory or below, or be allowed.
    pub near: Option<PathBuf>,
    /// Files that images may name although they lie elsewhere.
    pub allowed: Allowed,
    /// Open a corrupt image as far as it can be read; reads of what is missing fail. Never together with `writable`.
    pub force: bool,
    /// Take it for this format whatever the content looks like: the user or the child's header says so.
    pub format: Option<Format>,
    /// Show this internal snapshot (qcow2: its name or id; a Parallels bundle: its GUID) instead of the current state;
    /// only for reading.
    pub snapshot: Option<String>,
    /// Devices that an image may name and that are then opened, for reading.
    pub allowed_devices: Vec<PathBuf>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            writable: false,
            devices: Devices::Refused,
            near: None,
            allowed: Allowed::NONE,
            force: false,
            format: None,
            snapshot: None,
            allowed_devices: Vec::new(),
        }
    }
}

impl OpenOptions {
    /// Makes a note of corruption that the image is to be opened with, or else returns it.
    pub(super) fn tolerate(&self, corrupt: Error, notes: &mut Vec<String>) -> Result<()> {
        if !self.force || self.writable {
            return Err(corrupt);
        }
        notes.push(format!("{}; reading what is left of it", crate::error_kind::message(&corrupt)));
        Ok(())
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
        let mut sample = Self::read_head(file, HEAD)?;
        sample.tail = storage::read_up_to(file, sample.len.saturating_sub(512), 512)?;
        Ok(sample)
    }

    /// Reads no more than the first `bytes` of a file, and nothing of its end.
    fn read_head(file: &dyn storage::Storage, bytes: usize) -> Result<Self> {
        let head = storage::read_up_to(file, 0, bytes)?;
        Ok(Self { path: file.path().to_path_buf(), head, tail: Vec::new(), len: storage::length(file)? })
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
    let probes: [Probe; 11] = [
        (Format::Vmdk, vmdk::probe),
        (Format::Vdi, vdi::probe),
        (Format::Vhd, vhd::probe),
        (Format::Parallels, parallels::probe),
        (Format::Dmg, dmg::probe),
        (Format::Qed, qed::probe),
        (Format::Qcow, qcow::probe),
        (Format::Vhdx, vhdx::probe),
        (Format::Cue, cue::probe),
        (Format::Iso, iso::probe),
        (Format::Parallels, parallels::probe_flat),
    ];
    probes.iter().find(|(_, is)| is(sample)).map_or(Format::Raw, |(format, _)| *format)
}

/// Opens an image of any format.
///
/// # Errors
/// Any [`Error`]: the file cannot be read, is corrupt, or uses what is not supported.
pub fn open(path: &Path, options: OpenOptions) -> Result<Box<dyn Image>> {
    let file = open_given(path, &options)?;
    let forced = OpenOptions { writable: false, force: true, ..options.clone() };
    let rescue = if options.writable { Rescue::ReadOnly } else { Rescue::Force };
    let was_forced = options.force;
    open_file(file, options).map_err(|error| match error {
        // Only trying tells whether force gets past this error and those behind it.
        Error::Corrupt { path: file, cause, .. } if !was_forced && opens(path, forced) => {
            Error::Corrupt { path: file, cause, rescue }
        }
        other => other,
    })
}

fn opens(path: &Path, options: OpenOptions) -> bool {
    open_given(path, &options).and_then(|file| open_file(file, options)).is_ok()
}

fn open_given(path: &Path, options: &OpenOptions) -> Result<File> {
    open_local(path, |path| match &options.near {
        Some(directory) => local::open_near(path, options.writable, directory, &options.allowed),
        None => local::open(path, options.writable, options.devices),
    })
}

/// Opens an image of any format on an open file.
///
/// # Errors
/// As [`open`].
pub fn open_file(file: File, options: OpenOptions) -> Result<Box<dyn Image>> {
    let sample = Sample::read(&*file)?;
    let format = options.format.unwrap_or_else(|| probe(&sample));
    log::debug!("{}: {format}", sample.path.display());
    if !matches!(format, Format::Qcow | Format::Parallels) {
        no_snapshot(&sample.path, &options)?;
    }
    match format {
        Format::Qcow => qcow::open(file, options),
        Format::Qed => qed::open(file, options),
        Format::Vdi => vdi::open(file, options),
        Format::Vhd => vhd::open(file, options),
        Format::Vhdx => vhdx::open(file, options),
        Format::Cue => cue::open(&file, &options.allowed),
        Format::Dmg => dmg::open(file, &options),
        Format::Iso => iso::open(file, &options),
        Format::Parallels => parallels::open(file, &options),
        Format::Vmdk => vmdk::open(file, &options),
        Format::Raw => {
            if options.format.is_none() {
                vmdk::refuse_extent(&sample)?;
            }
            raw::open(file, options)
        }
    }
}

/// Images are files; only the bundles of Parallels are directories, which cannot be opened, and their descriptor stands for
/// them.
fn open_local(path: &Path, open: impl Fn(&Path) -> Result<File>) -> Result<File> {
    open(path).or_else(|error| match parallels::descriptor_in(path) {
        Some(descriptor) => open(&descriptor),
        None => Err(error),
    })
}

/// Refuses options that ask for an internal snapshot, for formats that have none.
///
/// # Errors
/// [`Error::NoSnapshot`].
pub(super) fn no_snapshot(path: &Path, options: &OpenOptions) -> Result<()> {
    match &options.snapshot {
        None => Ok(()),
        Some(name) => {
            let reason = format!(
                "its format has no internal snapshots, so there is none named {name:?}; leave the snapshot out"
            );
            Err(Error::NoSnapshot { path: path.to_path_buf(), reason })
        }
    }
}

/// What the header of an image says, without reading its map. Cheap: for listings and for following parents.
///
/// # Errors
/// As [`open`].
pub fn identify(path: &Path, devices: Devices) -> Result<ImageInfo> {
    identify_allowing(path, devices, &Allowed::NONE)
}

/// As [`identify`], with files that the image may name although they lie elsewhere.
///
/// # Errors
/// As [`open`].
pub fn identify_allowing(path: &Path, devices: Devices, allowed: &Allowed) -> Result<ImageInfo> {
    let file = open_local(path, |path| local::open(path, false, devices))?;
    // Most images of a registry of thousands are VDIs, and the rest of the sample takes longer than all else here.
    let head = Sample::read_head(&*file, vdi::header::MAX_HEADER)?;
    if vdi::is_titled(&head) {
        return vdi::identify(&head);
    }
    let sample = Sample::read(&*file)?;
    match probe(&sample) {
        Format::Qcow => qcow::identify(&sample, allowed),
        Format::Qed => qed::identify(&sample),
        Format::Vdi => vdi::identify(&sample),
        Format::Vhd => vhd::identify(&file),
        Format::Vhdx => vhdx::identify(&file),
        Format::Cue => cue::identify(&file, allowed),
        Format::Dmg => dmg::identify(&file, &sample),
        Format::Iso => iso::identify(&sample),
        Format::Parallels => parallels::identify(&file, &sample, allowed),
        Format::Vmdk => vmdk::identify(&file, allowed),
        Format::Raw => {
            vmdk::refuse_extent(&sample)?;
            raw::identify(&sample)
        }
    }
}
