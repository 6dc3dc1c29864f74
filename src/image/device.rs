//! Devices that an image names, as the VMDK of a whole disk or of partitions does. Whoever made the image chose the
//! name, and opening a device may already do something to it, so the user must allow each.

use super::{Error, Result};
use crate::storage::File;
use crate::storage::local;
use crate::storage::local::Devices;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What happens to a device that an image names.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NamedDevices<'a> {
    /// It stays closed; for those who need headers only.
    Closed,
    /// It is opened, for reading, when it is one of these that the user allows; else refused.
    Allowed(&'a [PathBuf]),
}

/// What a name leads to.
#[derive(Debug)]
pub(crate) enum Named {
    /// A device that is open now.
    Open(File),
    /// A device that stays closed.
    Closed,
    /// No device.
    Other,
}

impl NamedDevices<'_> {
    /// Opens the device that `image` names as `name`, if it is one.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Refused`] for a device that is not allowed, is not there, or is to be written.
    pub(crate) fn open(self, image: &Path, name: &OsStr, writable: bool) -> Result<Named> {
        let path = &*image.parent().unwrap_or(Path::new("")).join(name);
        let attributes = fs::metadata(path).ok();
        let device = attributes.filter(|found| found.file_type().is_block_device()).map(|found| found.rdev());
        let is_gone = device.is_none() && has_name_of_device(&name.to_string_lossy()) && !path.exists();
        let allowed = match self {
            Self::Closed if device.is_some() || is_gone => return Ok(Named::Closed),
            Self::Closed => return Ok(Named::Other),
            Self::Allowed(allowed) => allowed,
        };
        if is_gone {
            let reason = format!("it names the device {name:?}, which is not there; give the device itself with -i");
            return Err(Error::Refused { path: image.to_path_buf(), reason });
        }
        let Some(device) = device else { return Ok(Named::Other) };
        let is_it = |other: &PathBuf| {
            fs::metadata(other).is_ok_and(|other| other.file_type().is_block_device() && other.rdev() == device)
        };
        let what = if !allowed.iter().any(is_it) {
            format!("this device; allow it with --allow-device {}, or give the device itself with -i", path.display())
        } else if writable {
            "this device, which is only read; give the device itself with -i and --rw".to_owned()
        } else {
            return local::open(path, false, Devices::Allowed).map(Named::Open);
        };
        Err(Error::Refused { path: path.to_path_buf(), reason: format!("{} names {what}", image.display()) })
    }
}

/// Whether a name is one that Unix or Windows gives to devices.
fn has_name_of_device(name: &str) -> bool {
    name.starts_with("/dev/") || name.starts_with(r"\\.\") || name.starts_with(r"\\?\GLOBALROOT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices_are_refused_or_stay_closed() {
        let image = Path::new("/t/a.vmdk");
        for name in ["/dev/gone", r"\\.\PhysicalDrive0"] {
            let error = NamedDevices::Allowed(&[]).open(image, name.as_ref(), false).unwrap_err().to_string();
            assert!(error.contains("names the device") && error.contains("which is not there"), "{error}");
            assert!(matches!(NamedDevices::Closed.open(image, name.as_ref(), false), Ok(Named::Closed)));
        }
        for name in ["/dev/null", "/dev", "gone", "/etc/passwd"] {
            assert!(matches!(NamedDevices::Allowed(&[]).open(image, name.as_ref(), false), Ok(Named::Other)), "{name}");
        }
    }
}
