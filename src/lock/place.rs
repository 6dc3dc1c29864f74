//! Which image a path means, and where its lock file is: beside it, or in the user's runtime folder where the image's
//! folder cannot be written.

use super::{Error, Result};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The end of a lock file's name; the image's name is before it.
const SUFFIX: &str = ".vboximg-lock";
/// The folder of lock files in a runtime folder.
const FOLDER: &str = "vboximg-mount";

/// An image, whatever path led to it.
#[derive(Debug)]
pub(super) struct Target {
    /// The path without symbolic links.
    pub(super) path: PathBuf,
    /// The attributes.
    pub(super) attributes: Metadata,
}

impl Target {
    pub(super) fn find(image: &Path) -> Result<Self> {
        let path = image.canonicalize().map_err(|e| Error::io(image, "find", e))?;
        let attributes = path.metadata().map_err(|e| Error::io(&path, "read the attributes of", e))?;
        Ok(Self { path, attributes })
    }

    /// As [`find`](Self::find), for looking only: the path may still lead through linked folders. A file that is no link
    /// itself has the same lock file beside it whatever path led to its folder.
    pub(super) fn look_at(image: &Path) -> Result<Self> {
        match fs::symlink_metadata(image) {
            Ok(attributes) if attributes.is_file() => Ok(Self { path: image.to_path_buf(), attributes }),
            _ => Self::find(image),
        }
    }

    pub(super) fn is_block_device(&self) -> bool {
        self.attributes.file_type().is_block_device()
    }

    /// The lock file beside the image; none for a device, whose folder belongs to the system.
    pub(super) fn beside(&self) -> Option<PathBuf> {
        if self.is_block_device() {
            return None;
        }
        let mut name = OsString::from(".");
        name.push(self.path.file_name()?);
        name.push(SUFFIX);
        Some(self.path.with_file_name(name))
    }

    /// The name of the lock file in a runtime folder. It comes from the inode, as that folder is for all images.
    pub(super) fn name_in_runtime(&self) -> OsString {
        let a = &self.attributes;
        if self.is_block_device() {
            format!("device-{:x}{SUFFIX}", a.rdev()).into()
        } else {
            format!("{:x}-{}{SUFFIX}", a.dev(), a.ino()).into()
        }
    }

    /// Who may use the lock file: whoever may read the image may lock it for reading, and whoever may write it for
    /// writing.
    pub(super) fn lock_file_permissions(&self) -> u32 {
        self.attributes.mode() & 0o666 | 0o600
    }
}

/// The user's folder of lock files, made when it is missing.
pub(super) fn make_runtime_folder() -> Result<PathBuf> {
    let folder = runtime_folder();
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(Error::io(&folder, "create the folder", e)),
        _ => check_private(&folder).map(|()| folder),
    }
}

/// The names of the files in the user's folder of lock files, and where it is. None if it is not there or others can put
/// files into it.
pub(super) fn look_into_runtime_folder() -> Option<(PathBuf, HashSet<OsString>)> {
    let folder = runtime_folder();
    check_private(&folder).ok()?;
    let names = fs::read_dir(&folder).ok()?.flatten().map(|entry| entry.file_name()).collect();
    Some((folder, names))
}

fn runtime_folder() -> PathBuf {
    let user = nix::unistd::geteuid();
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    runtime_folder_of(given, Path::new("/run/user"), user.as_raw())
}

/// `given` or a folder of `all` when it is the user's own, or a folder in `/tmp` that is for us alone.
fn runtime_folder_of(given: Option<PathBuf>, all: &Path, user: u32) -> PathBuf {
    let own = |folder: &PathBuf| {
        folder.is_absolute() && fs::symlink_metadata(folder).is_ok_and(|a| a.is_dir() && a.uid() == user)
    };
    given
        .into_iter()
        .chain([all.join(user.to_string())])
        .find(own)
        .map_or_else(|| PathBuf::from(format!("/tmp/{FOLDER}-{user}")), |folder| folder.join(FOLDER))
}

/// Refuses a folder that another user owns or can write, as `/tmp` is open to all.
fn check_private(folder: &Path) -> Result<()> {
    let attributes = fs::symlink_metadata(folder).map_err(|e| Error::io(folder, "read the attributes of", e))?;
    let user = nix::unistd::geteuid().as_raw();
    if attributes.is_dir() && attributes.uid() == user && attributes.permissions().mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(Error::Folder { path: folder.to_path_buf() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_lock_file_is_beside_the_image_itself() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().canonicalize().unwrap().join("a disk.vdi");
        fs::write(&image, "x").unwrap();
        symlink(&image, folder.path().join("link")).unwrap();
        let target = Target::find(&folder.path().join("link")).unwrap();
        assert_eq!(target.path, image);
        assert_eq!(target.beside(), Some(image.with_file_name(".a disk.vdi.vboximg-lock")));
    }

    #[test]
    fn a_look_finds_the_same_lock_file_through_links() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let image = folder.join("a.vdi");
        fs::write(&image, "x").unwrap();
        symlink(&folder, folder.join("here")).unwrap();
        symlink("a.vdi", folder.join("link")).unwrap();
        let found = Target::find(&image).unwrap();
        for path in [image.clone(), folder.join("here/a.vdi"), folder.join("link"), folder.join("here/link")] {
            let seen = Target::look_at(&path).unwrap();
            assert_eq!(seen.name_in_runtime(), found.name_in_runtime());
            let beside = seen.beside().unwrap();
            let in_folder = beside.parent().unwrap().canonicalize().unwrap();
            assert_eq!((Some(&*in_folder), beside.file_name()), (Some(&*folder), found.beside().unwrap().file_name()));
        }
        assert!(Target::look_at(&folder.join("gone")).is_err());
    }

    #[test]
    fn the_lock_file_is_for_those_that_the_image_is_for() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("a.vdi");
        fs::write(&image, "x").unwrap();
        for (image_mode, lock_mode) in [(0o644, 0o644), (0o755, 0o644), (0o660, 0o660), (0o400, 0o600)] {
            fs::set_permissions(&image, fs::Permissions::from_mode(image_mode)).unwrap();
            assert_eq!(Target::find(&image).unwrap().lock_file_permissions(), lock_mode, "{image_mode:o}");
        }
    }

    #[test]
    fn the_runtime_folder_is_the_users_own() {
        let folder = tempfile::tempdir().unwrap();
        let user = folder.path().metadata().unwrap().uid();
        let in_all = folder.path().join(user.to_string());
        fs::create_dir(&in_all).unwrap();
        let (given, none) = (folder.path().to_path_buf(), folder.path().join("none"));

        assert_eq!(runtime_folder_of(Some(given.clone()), &none, user), given.join(FOLDER));
        assert_eq!(runtime_folder_of(None, &given, user), in_all.join(FOLDER));
        assert_eq!(runtime_folder_of(Some(none.clone()), &given, user), in_all.join(FOLDER));
        let in_tmp = PathBuf::from(format!("/tmp/{FOLDER}-{user}"));
        assert_eq!(runtime_folder_of(Some(PathBuf::from("relative")), &none, user), in_tmp);
        // A folder of somebody else is not used.
        assert_ne!(runtime_folder_of(Some(given.clone()), &none, user + 1), given.join(FOLDER));
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_private(folder.path()).is_ok());
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(check_private(folder.path()), Err(Error::Folder { .. })));
        let link = folder.path().join("link");
        symlink("/root", &link).unwrap();
        assert!(matches!(check_private(&link), Err(Error::Folder { .. })));
    }
}
