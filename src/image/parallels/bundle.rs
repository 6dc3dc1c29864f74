//! Bundles: directories with `DiskDescriptor.xml` and the files that it names.

use super::descriptor::{Descriptor, ImageFile, Kind, ROOT};
use super::part::{Layer, ParallelsStorage};
use super::{Parallels, open_mapped, plain_info};
use crate::image::Sample;
use crate::image::{Error, ImageInfo, Note, OpenOptions, Result, Variant};
use crate::ondisk::ParseError;
use crate::storage;
use crate::storage::Allowed;
use crate::storage::File;
use crate::storage::InFile;
use crate::storage::local::{self, Devices};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The descriptor's name in the bundle's directory.
const NAME: &str = "DiskDescriptor.xml";
/// Descriptors are a few kilobytes; longer ones than this are refused.
const MAX_DESCRIPTOR: u64 = 4 << 20;
/// The root element begins within this many bytes.
const LOOKED_AT: usize = 4096;

/// The descriptor of a bundle, when `path` is the directory of one.
#[must_use]
pub(crate) fn descriptor_in(path: &Path) -> Option<PathBuf> {
    let inside = path.join(NAME);
    (path.is_dir() && inside.is_file()).then_some(inside)
}

/// Refuses a file of a bundle that holds only a part of the disk, or what changed since a snapshot: by the descriptor
/// next to it, or by the number in its name, as in `disk.hdd.1.{GUID}.hds`.
pub(super) fn refuse_chunk(path: &Path) -> Result<()> {
    if path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("hds")) {
        return Ok(());
    }
    let is_chunk = match local::open(&path.with_file_name(NAME), false, Devices::Refused).and_then(|file| read(&file)) {
        Ok(descriptor) => descriptor.storages.len() > 1 || descriptor.storages.iter().any(|part| part.images.len() > 1),
        Err(_) => {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            name.rsplit('.').nth(1).and_then(|number| number.parse::<u32>().ok()).is_some_and(|number| number > 0)
        }
    };
    if !is_chunk {
        return Ok(());
    }
    let what = "a part of a Parallels disk".to_owned();
    let advice = format!("give the directory of the disk, or {NAME} in it");
    Err(Error::Foreign { path: path.to_path_buf(), what, advice })
}

/// Whether a file is the descriptor of a bundle.
pub(super) fn probe(sample: &Sample) -> bool {
    let head = &sample.head[..sample.head.len().min(LOOKED_AT)];
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    text.starts_with(b"<") && text.windows(ROOT.len() + 1).any(|w| w[0] == b'<' && &w[1..] == ROOT.as_bytes())
}

/// What the descriptor says.
pub(super) fn identify(file: &File, allowed: &Allowed) -> Result<ImageInfo> {
    let descriptor = read(file)?;
    let chain = descriptor.chain(None).in_file(file.path())?;
    let mut stored_size = storage::length(&**file)?;
    for storage in &descriptor.storages {
        for guid in &chain {
            let image = storage.image(*guid).in_file(file.path())?;
            let part = local::open_named(file.path(), &image.name, false, allowed)?;
            stored_size = stored_size.saturating_add(storage::length(&*part)?);
        }
    }
    info(file.path(), &descriptor, &chain, stored_size)
}

fn read(file: &File) -> Result<Descriptor> {
    let len = storage::length(&**file)?;
    let Some(len) = usize::try_from(len).ok().filter(|_| len <= MAX_DESCRIPTOR) else {
        let expected = format_args!("at most {MAX_DESCRIPTOR} bytes");
        let cause =
            ParseError::unsupported(0, "descriptor of the Parallels bundle", expected, format_args!("{len} bytes"));
        return Err(cause.in_file(file.path()));
    };
    let bytes = storage::read_up_to(&**file, 0, len)?;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    Descriptor::parse(text).in_file(file.path())
}

fn info(path: &Path, descriptor: &Descriptor, chain: &[Uuid], stored_size: u64) -> Result<ImageInfo> {
    let mut variant = Variant::Fixed;
    let top = chain.first().copied().unwrap_or_default();
    for storage in &descriptor.storages {
        let image = storage.image(top).in_file(path)?;
        if image.kind == Kind::Compressed {
            variant = Variant::Dynamic;
        }
    }
    let details = format!("bundle, {} parts of {} files", descriptor.storages.len(), chain.len());
    Ok(ImageInfo { details, ..plain_info(path, descriptor.disk_size, variant, stored_size) })
}

/// Opens the files that hold the current state, or that of the snapshot asked for.
pub(super) fn open(file: &File, options: &OpenOptions) -> Result<Parallels> {
    let path = file.path();
    let descriptor = read(file)?;
    let snapshot = options.snapshot.as_deref().map(|name| snapshot_guid(path, &descriptor, name)).transpose()?;
    let chain = descriptor.chain(snapshot).in_file(path)?;
    let top = chain.first().copied().unwrap_or_default();
    if options.writable && (snapshot.is_some() || descriptor.has_children(top)) {
        let reason = format!("{top} is a snapshot, and other states of the disk depend on it; open it read-only");
        return Err(Error::Refused { path: path.to_path_buf(), reason });
    }
    let mut opening = Opening { path, options, files: Vec::new(), notes: Vec::new() };
    let mut parts = Vec::new();
    for storage in &descriptor.storages {
        let images = chain.iter().map(|guid| storage.image(*guid)).collect::<Result<Vec<_>, _>>();
        let images = images.in_file(path)?;
        parts.push(opening.part(storage.start, storage.end, &images)?);
    }
    let Opening { files, notes, .. } = opening;
    let unit = if options.writable { Some(unit(path, &parts)?) } else { None };
    let block_size = parts.iter().map(|part| cluster(&part.top)).max().unwrap_or_default();
    let lengths = files.iter().chain([file]).map(|file| storage::length(&**file));
    let stored_size = lengths.sum::<Result<u64>>()?;
    let info = ImageInfo { notes, block_size, ..info(path, &descriptor, &chain, stored_size)? };
    Ok(Parallels { info, files, parts, unit })
}

fn snapshot_guid(path: &Path, descriptor: &Descriptor, name: &str) -> Result<Uuid> {
    Uuid::try_parse(name).ok().filter(|guid| descriptor.has_snapshot(*guid)).ok_or_else(|| {
        let reason = format!("it has no snapshot {name:?}: snapshots of a bundle have GUIDs, which its {NAME} lists");
        Error::NoSnapshot { path: path.to_path_buf(), reason }
    })
}

/// Bytes of a layer's cluster; 0 without a map.
fn cluster(layer: &Layer) -> u64 {
    if let Layer::Mapped(map) = layer { map.header.cluster } else { 0 }
}

/// The unit of allocation: all parts must have the same clusters, and begin with a whole one.
fn unit(path: &Path, parts: &[ParallelsStorage]) -> Result<u64> {
    let unit = parts.iter().map(|part| cluster(&part.top)).max().unwrap_or_default().max(512);
    for part in parts {
        let size = cluster(&part.top);
        if (size != 0 && size != unit) || part.start % unit != 0 {
            let expected = format_args!("parts of whole clusters of {unit} bytes, to write to the bundle");
            let found = format_args!("a part from byte {} on with clusters of {size} bytes", part.start);
            return Err(ParseError::unsupported(0, "parts of the Parallels bundle", expected, found).in_file(path));
        }
    }
    Ok(unit)
}

/// The files of a bundle that are open so far.
struct Opening<'a> {
    path: &'a Path,
    options: &'a OpenOptions,
    files: Vec<File>,
    notes: Vec<Note>,
}

impl Opening<'_> {
    /// Opens the files of one part, newest first.
    fn part(&mut self, start: u64, end: u64, images: &[&ImageFile]) -> Result<ParallelsStorage> {
        let mut layers = Vec::new();
        let mut writer = None;
        for (depth, image) in images.iter().enumerate() {
            let (layer, top_writer) = self.layer(image, end - start, depth == 0)?;
            writer = writer.or(top_writer);
            layers.push(layer);
        }
        let mut layers = layers.into_iter();
        let top = layers.next().ok_or_else(|| {
            let cause = ParseError::corrupt(0, "Snapshots in the descriptor", "a current state", "the nil GUID");
            cause.in_file(self.path)
        })?;
        Ok(ParallelsStorage { start, end, top, below: layers.collect(), writer })
    }

    fn layer(&mut self, image: &ImageFile, len: u64, top: bool) -> Result<(Layer, Option<super::Writer>)> {
        let options = OpenOptions { writable: self.options.writable && top, ..self.options.clone() };
        let file = local::open_named(self.path, &image.name, options.writable, &options.allowed)?;
        let file_index = self.files.len();
        self.files.push(file.clone());
        match image.kind {
            Kind::Plain => {
                let found = storage::length(&*file)?;
                if found < len {
                    let cause =
                        ParseError::corrupt(0, "plain file of a Parallels bundle", format_args!("{len} bytes"), found);
                    return Err(cause.in_file(file.path()));
                }
                Ok((Layer::Plain(file_index), None))
            }
            Kind::Compressed => {
                let (map, writer) = open_mapped(&file, file_index, &options, &mut self.notes)?;
                if map.header.disk_size != len {
                    let expected = format_args!("{len}, as the descriptor says");
                    let what = "bytes of the Parallels disk";
                    return Err(ParseError::corrupt(36, what, expected, map.header.disk_size).in_file(file.path()));
                }
                Ok((Layer::Mapped(map), writer))
            }
        }
    }
}
