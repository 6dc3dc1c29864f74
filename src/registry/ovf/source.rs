//! Finds the descriptor of an appliance: by content, whatever the names of files are.

use crate::image::{self, Sample};
use crate::registry::parents::has_image_name;
use crate::registry::{Error, Result};
use crate::storage::archive::{self, Member, is_tar};
use crate::storage::local::{self, Devices};
use crate::storage::{self, File};
use std::fs;
use std::path::{Path, PathBuf};

/// The largest descriptor that is read, in bytes. Those with the texts of licences in them have some 100 KiB.
const LARGEST: u64 = 16 << 20;

/// Members of an archive without a descriptor that a message lists.
const SHOWN: usize = 4;

/// A descriptor, not parsed yet.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::registry) struct Descriptor {
    /// The file that the user named: the descriptor, or the archive that it is in.
    pub(in crate::registry) given: PathBuf,
    /// The descriptor itself. Its disks are named from its directory, which may be an archive.
    pub(in crate::registry) path: PathBuf,
    /// Its bytes.
    pub(in crate::registry) bytes: Vec<u8>,
}

/// The descriptor that is at a path, or in the archive there. None for other files, and for what is no regular file.
///
/// # Errors
/// [`Error::Image`] when the file cannot be read, or is an archive that is corrupt; [`Error::Unsupported`] for an
/// archive without a descriptor or with several.
pub(in crate::registry) fn descriptor_of(path: &Path) -> Result<Option<Descriptor>> {
    if !fs::metadata(archive::host_file(path)).is_ok_and(|attributes| attributes.is_file()) {
        return Ok(None);
    }
    let file = local::open(path, false, Devices::Refused)?;
    let sample = Sample::read(&*file)?;
    if !is_tar(&sample.head) {
        let is_descriptor = image::xml_root(&sample).is_some_and(|root| root == "Envelope");
        return if is_descriptor { read(path, path, &file).map(Some) } else { Ok(None) };
    }
    let members = archive::members(&file)?;
    let is_descriptor =
        |member: &&Member| member.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("ovf"));
    match *members.iter().filter(is_descriptor).collect::<Vec<_>>() {
        [only] => {
            let inner = path.join(&only.path);
            let file = local::open(&inner, false, Devices::Refused)?;
            read(path, &inner, &file).map(Some)
        }
        [] => Err(unsupported(path, without_descriptor(path, &members))),
        [first, ..] => {
            let first = path.join(&first.path);
            let reason =
                format!("it is a tar archive with several OVF descriptions; give one, such as {}", first.display());
            Err(unsupported(path, reason))
        }
    }
}

/// Refuses a file that has no settings: what is known and no XML, such as a compressed archive or a machine of VMware,
/// and every other file in an archive.
///
/// # Errors
/// [`Error::Image`] that says what it is; [`Error::Unsupported`].
pub(in crate::registry) fn refuse_others(path: &Path) -> Result<()> {
    // What cannot be read is reported by its reader.
    let Ok(file) = local::open(path, false, Devices::Refused) else { return Ok(()) };
    if image::xml_root(&Sample::read(&*file)?).is_none()
        && let Err(foreign @ image::Error::Foreign { .. }) = image::identify_file(&file, &storage::Allowed::NONE)
    {
        return Err(foreign.into());
    }
    match archive::split(path) {
        Some(_) => Err(unsupported(path, "it has no settings; give a disk image with --image".to_owned())),
        None => Ok(()),
    }
}

fn read(given: &Path, path: &Path, file: &File) -> Result<Descriptor> {
    let len = storage::length(&**file)?;
    if len > LARGEST {
        let reason = format!("it has {len} bytes, and no description of an appliance has more than {LARGEST}");
        return Err(unsupported(path, reason));
    }
    let bytes = storage::read_up_to(&**file, 0, usize::try_from(len).unwrap_or_default())?;
    Ok(Descriptor { given: given.to_path_buf(), path: path.to_path_buf(), bytes })
}

fn unsupported(path: &Path, reason: String) -> Error {
    Error::Unsupported { path: path.to_path_buf(), reason }
}

/// What to do with an archive that has no descriptor: a box of Vagrant for another hypervisor, or any archive.
fn without_descriptor(archive: &Path, members: &[Member]) -> String {
    let is_image = |member: &&Member| {
        local::open(&archive.join(&member.path), false, Devices::Refused)
            .and_then(|file| image::identify_file(&file, &storage::Allowed::NONE))
            .is_ok_and(|info| info.format != image::Format::Raw || has_image_name(&member.path))
    };
    let images: Vec<String> = members
        .iter()
        .take(64)
        .filter(is_image)
        .take(SHOWN)
        .map(|m| archive.join(&m.path).display().to_string())
        .collect();
    let what = "it is a tar archive without the OVF description of an appliance";
    match &*images {
        [] => format!("{what}, and no disk image is seen in it; extract it and give the disk image"),
        images => format!("{what}; give the disk image in it: {}", images.join(" or ")),
    }
}
