//! Facts from the image files themselves: their size, the size of the disk, and whether they can be used.

use super::report::MediumState;
use crate::error_kind;
use crate::error_kind::ErrorKind;
use crate::image::{self, Format, ImageInfo};
use crate::lock;
use crate::registry::{Medium, is_format};
use crate::storage::Allowed;
use crate::storage::local::{self, Devices};
use std::fs;
use std::io;
use std::path::Path;
use std::thread;

/// The facts about one medium.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// Bytes of its files: 0 without files, `None` when unknown.
    pub(super) size_on_disk: Option<u64>,
    /// Bytes of the disk.
    pub(super) capacity: Option<u64>,
    /// Whether it can be used.
    pub(super) state: MediumState,
    /// Why not, or what is doubtful.
    pub(super) problem: Option<String>,
}

/// Finds out the facts about media. None stands for one that no settings file has.
pub(super) type Examine<'a> = dyn Fn(&[Option<&Medium>]) -> Vec<Facts> + 'a;

/// Examines all media, several at a time: on a file system that is slow to open files this is where a listing waits.
pub(super) fn all(media: &[Option<&Medium>], prober: &lock::Prober, allowed: &Allowed) -> Vec<Facts> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let share = media.len().div_ceil(workers).max(1);
    thread::scope(|scope| {
        let examine = |part: &[Option<&Medium>]| -> Vec<Facts> {
            part.iter().map(|m| m.map_or_else(unregistered, |medium| one(medium, prober, allowed))).collect()
        };
        let parts: Vec<_> = media.chunks(share).map(|part| scope.spawn(move || examine(part))).collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// The facts about a medium that no settings file registers.
pub(super) fn unregistered() -> Facts {
    let problem =
        "It is attached, but no settings file registers it; look for the settings of the machine that owns it";
    Facts { size_on_disk: None, capacity: None, state: MediumState::NoAccess, problem: Some(problem.to_owned()) }
}

fn one(medium: &Medium, prober: &lock::Prober, allowed: &Allowed) -> Facts {
    let path = &medium.location;
    if !medium.is_file() {
        return Facts {
            problem: Some("It is on an iSCSI server; copy it to an image file there".to_owned()),
            ..unregistered()
        };
    }
    let unusable = medium.unusable().map(|error| error_kind::message(&error));
    if let Some(problem) = &unusable
        && !path.exists()
    {
        return Facts { size_on_disk: Some(0), problem: Some(problem.clone()), ..unregistered() };
    }
    let identified = match &medium.named_in {
        Some(directory) => {
            local::open_near(path, false, directory, allowed).and_then(|file| image::identify_file(&file, allowed))
        }
        None => image::identify_allowing(path, Devices::Refused, allowed),
    };
    let facts = match identified {
        Ok(info) => match unusable.or_else(|| contradiction(medium, &info)) {
            None => facts_of(path, Some(&info), MediumState::Created, None),
            Some(problem) => facts_of(path, Some(&info), MediumState::NoAccess, Some(problem)),
        },
        Err(e) if e.kind() == ErrorKind::Unsupported => {
            facts_of(path, None, MediumState::Created, Some(error_kind::message(&e)))
        }
        // Nothing is said of a file elsewhere that only a name leads to.
        Err(e) if e.kind() == ErrorKind::Refused => Facts { problem: Some(error_kind::message(&e)), ..unregistered() },
        Err(e) => facts_of(path, None, MediumState::NoAccess, Some(error_kind::message(&e))),
    };
    match facts.state {
        MediumState::Created => Facts { state: lock_state(path, prober), ..facts },
        _ => facts,
    }
}

fn facts_of(path: &Path, info: Option<&ImageInfo>, state: MediumState, problem: Option<String>) -> Facts {
    let size_on_disk = info.map_or_else(|| size_on_disk(path), |info| Some(info.stored_size));
    Facts { size_on_disk, capacity: info.map(|i| i.size), state, problem }
}

/// Bytes of a medium's file.
fn size_on_disk(path: &Path) -> Option<u64> {
    match fs::metadata(path) {
        Ok(attributes) => Some(attributes.len()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Some(0),
        Err(e) => {
            log::debug!("Cannot read the attributes of {}: {e}", path.display());
            None
        }
    }
}

/// In what an image is not the medium that is registered. VirtualBox refuses such a medium, and so does a mount.
fn contradiction(medium: &Medium, info: &ImageInfo) -> Option<String> {
    // The descriptor of an appliance states neither.
    if medium.named_in.is_some() {
        return None;
    }
    if !is_format(&medium.format, info.format) {
        let content = match info.format {
            Format::Raw => "no image of a known format; restore it from a backup".to_owned(),
            other => format!("{other}; find the right file"),
        };
        return Some(format!("It is registered as {}, but its content is {content}", medium.format));
    }
    let found = info.uuid.filter(|found| *found != medium.uuid)?;
    Some(format!("The registry gives it the UUID {}, but its header has {found}; find the right file", medium.uuid))
}

fn lock_state(path: &Path, prober: &lock::Prober) -> MediumState {
    match prober.state(path) {
        Ok(lock::State::Free) => MediumState::Created,
        Ok(lock::State::Read(_)) => MediumState::ReadLocked,
        Ok(lock::State::Write(_)) => MediumState::WriteLocked,
        Err(e) => {
            log::warn!("{}", error_kind::message(&e));
            MediumState::Created
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::vdi::testing::Build;
    use crate::registry::{DeviceKind, MediumKind};
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use uuid::Uuid;

    fn medium(path: PathBuf, format: &str) -> Medium {
        Medium {
            uuid: Uuid::from_u128(1),
            location: path,
            format: format.to_owned(),
            device: DeviceKind::HardDisk,
            kind: MediumKind::Normal,
            auto_reset: false,
            description: String::new(),
            properties: BTreeMap::new(),
            parent: None,
            children: Vec::new(),
            registered_in: Path::new("").into(),
            named_in: None,
            problem: None,
        }
    }

    /// The facts about a file with these bytes, registered with a format.
    fn facts(bytes: &[u8], format: &str) -> Facts {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        fs::write(&path, bytes).unwrap();
        all(&[Some(&medium(path, format))], &lock::Prober::new(), &Allowed::NONE).swap_remove(0)
    }

    #[test]
    fn an_image_has_two_sizes() {
        let found = facts(&Build::default().bytes(), "VDI");
        assert_eq!((found.size_on_disk, found.capacity), (Some(1024), Some(16384)));
        assert_eq!((found.state, found.problem), (MediumState::Created, None));
        let found = facts(&[0; 2048], "raw");
        assert_eq!((found.size_on_disk, found.capacity, found.state), (Some(2048), Some(2048), MediumState::Created));
    }

    #[test]
    fn an_image_that_is_not_the_registered_one_is_no_access() {
        let found = facts(&Build { uuid: Uuid::from_u128(9), ..Build::default() }.bytes(), "VDI");
        assert_eq!((found.size_on_disk, found.state), (Some(1024), MediumState::NoAccess));
        let problem = found.problem.unwrap();
        assert!(
            problem.ends_with("0001, but its header has 00000000-0000-0000-0000-000000000009; find the right file")
        );
        let found = facts(&Build::default().bytes(), "VMDK");
        assert_eq!(found.state, MediumState::NoAccess);
        assert_eq!(found.problem.unwrap(), "It is registered as VMDK, but its content is VDI; find the right file");
        let found = facts(&[0; 4096], "VDI");
        assert_eq!(found.state, MediumState::NoAccess);
        assert!(found.problem.unwrap().starts_with("It is registered as VDI, but its content is no image"));
    }

    #[test]
    fn explains_no_access_to_an_unreadable_image() {
        let found = facts(&Build::default().bytes()[..80], "VDI");
        assert_eq!((found.state, found.capacity), (MediumState::NoAccess, None));
        assert!(found.problem.unwrap().contains(" is corrupt: "));

        let directory = tempfile::tempdir().unwrap();
        let gone =
            all(&[Some(&medium(directory.path().join("gone.vdi"), "VDI"))], &lock::Prober::new(), &Allowed::NONE)
                .swap_remove(0);
        assert_eq!((gone.size_on_disk, gone.capacity, gone.state), (Some(0), None, MediumState::NoAccess));
        assert!(gone.problem.unwrap().contains("gone.vdi: No such file or directory"));
        let not_a_file =
            all(&[Some(&medium(directory.path().to_owned(), "VDI"))], &lock::Prober::new(), &Allowed::NONE)
                .swap_remove(0);
        assert!(not_a_file.problem.unwrap().contains("it is a directory"));
    }

    #[test]
    fn a_path_of_windows_is_called_one() {
        let gone = medium(PathBuf::from(r"C:\Users\joe\a b.vdi"), "VDI");
        assert_eq!(gone.file_name(), "a b.vdi");
        let found = all(&[Some(&gone)], &lock::Prober::new(), &Allowed::NONE).swap_remove(0);
        assert_eq!((found.size_on_disk, found.state), (Some(0), MediumState::NoAccess));
        assert!(found.problem.unwrap().starts_with(r"C:\Users\joe\a b.vdi is not there: it is a path of the Windows"));
    }

    #[test]
    fn what_is_no_file_is_no_access() {
        let target =
            all(&[Some(&medium(PathBuf::from("iqn.2026-11.lab:disk"), "iSCSI"))], &lock::Prober::new(), &Allowed::NONE)
                .swap_remove(0);
        assert_eq!((target.size_on_disk, target.state), (None, MediumState::NoAccess));
        assert!(target.problem.unwrap().starts_with("It is on an iSCSI server"));
    }

    #[test]
    fn lists_unsupported_images_as_created() {
        let found = facts(&Build { version: 0x0009_0000, ..Build::default() }.bytes(), "VDI");
        assert_eq!((found.size_on_disk, found.capacity, found.state), (Some(1024), None, MediumState::Created));
        assert!(found.problem.is_some());
    }

    #[test]
    fn facts_come_in_the_order_of_the_media() {
        let directory = tempfile::tempdir().unwrap();
        let media: Vec<Medium> = (1..=50)
            .map(|n| {
                let path = directory.path().join(n.to_string());
                fs::write(&path, vec![0; n * 512]).unwrap();
                medium(path, "RAW")
            })
            .collect();
        let asked: Vec<Option<&Medium>> = media.iter().flat_map(|m| [Some(m), None]).collect();
        let sizes: Vec<Option<u64>> =
            all(&asked, &lock::Prober::new(), &Allowed::NONE).into_iter().map(|facts| facts.capacity).collect();
        let expected: Vec<Option<u64>> = (1..=50).flat_map(|n| [Some(n * 512), None]).collect();
        assert_eq!(sizes, expected);
    }
}
