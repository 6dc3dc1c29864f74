//! The image that a path leads to, and where its lock file is: next to it, or in the user's runtime directory where the
//! image's directory cannot be written.

use super::{Error, Result};
use crate::storage::archive::host_file;
use directories::BaseDirs;
use nix::unistd::geteuid;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The end of a lock file's name; the image's name is before it.
const SUFFIX: &str = ".vboximg-lock";
/// The directory of lock files in a runtime directory.
const DIRECTORY: &str = "vboximg-mount";

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
        // One in an archive is locked with all others of the archive.
        let path = image.canonicalize().or_else(|e| match host_file(image) {
            archive if archive != image => archive.canonicalize(),
            _ => Err(e),
        });
        let path = path.map_err(|e| Error::io(image, "find", e))?;
        let attributes = path.metadata().map_err(|e| Error::io(&path, "read the attributes of", e))?;
        Ok(Self { path, attributes })
    }

    /// As [`find`](Self::find), for looking only: the path may still lead through linked directories. A file that is no
    /// link itself has the same lock file next to it whatever path led to its directory.
    pub(super) fn look_at(image: &Path) -> Result<Self> {
        match fs::symlink_metadata(image) {
            Ok(attributes) if attributes.is_file() => Ok(Self { path: image.to_path_buf(), attributes }),
            _ => Self::find(image),
        }
    }

    pub(super) fn is_block_device(&self) -> bool {
        self.attributes.file_type().is_block_device()
    }

    /// The lock file next to the image; none for a device, whose directory belongs to the system.
    pub(super) fn next_to(&self) -> Option<PathBuf> {
        if self.is_block_device() {
            return None;
        }
        let mut name = OsString::from(".");
        name.push(self.path.file_name()?);
        name.push(SUFFIX);
        Some(self.path.with_file_name(name))
    }

    /// The name of the lock file in a runtime directory. It comes from the inode, as that directory is for all images.
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

/// The user's directory of lock files, made when it is missing. None where there is no directory that only this user
/// can write: then the lock on the image itself has to do.
pub(super) fn make_runtime_directory() -> Option<PathBuf> {
    let directory = runtime_directory()?;
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            log::debug!("Cannot create {}: {e}", directory.display());
            None
        }
        _ => Some(directory).filter(|directory| is_private(directory, geteuid().as_raw())),
    }
}

/// The names of the files in the user's directory of lock files, and where it is. None if it is not there or others can
/// put files into it.
pub(super) fn look_into_runtime_directory() -> Option<(PathBuf, HashSet<OsString>)> {
    let directory = runtime_directory().filter(|directory| is_private(directory, geteuid().as_raw()))?;
    let names = fs::read_dir(&directory).ok()?.flatten().map(|entry| entry.file_name()).collect();
    Some((directory, names))
}

/// Root's is in `/run`, as that of any daemon: root's environment may be that of the user who ran `sudo`. Directories
/// that all users share, such as `/tmp`, are never used: whoever comes first has the name there.
fn runtime_directory() -> Option<PathBuf> {
    let user = geteuid();
    if user.is_root() {
        return runtime_directory_of([PathBuf::from("/run")], user.as_raw());
    }
    let given = BaseDirs::new().and_then(|user| user.runtime_dir().map(Path::to_path_buf));
    runtime_directory_of(given.into_iter().chain([Path::new("/run/user").join(user.to_string())]), user.as_raw())
}

/// Ours in the first of these directories that only the user can write.
fn runtime_directory_of(all: impl IntoIterator<Item = PathBuf>, user: u32) -> Option<PathBuf> {
    all.into_iter().find(|directory| is_private(directory, user)).map(|directory| directory.join(DIRECTORY))
}

/// Whether a directory is the user's own and no other user can write to it.
fn is_private(directory: &Path, user: u32) -> bool {
    let attributes = fs::symlink_metadata(directory);
    attributes.is_ok_and(|a| a.is_dir() && a.uid() == user && a.permissions().mode() & 0o022 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_lock_file_is_next_to_the_image_itself() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().canonicalize().unwrap().join("a disk.vdi");
        fs::write(&image, "x").unwrap();
        symlink(&image, directory.path().join("link")).unwrap();
        let target = Target::find(&directory.path().join("link")).unwrap();
        assert_eq!(target.path, image);
        assert_eq!(target.next_to(), Some(image.with_file_name(".a disk.vdi.vboximg-lock")));
    }

    #[test]
    fn a_look_finds_the_same_lock_file_through_links() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().canonicalize().unwrap();
        let image = directory.join("a.vdi");
        fs::write(&image, "x").unwrap();
        symlink(&directory, directory.join("here")).unwrap();
        symlink("a.vdi", directory.join("link")).unwrap();
        let found = Target::find(&image).unwrap();
        for path in [image.clone(), directory.join("here/a.vdi"), directory.join("link"), directory.join("here/link")] {
            let seen = Target::look_at(&path).unwrap();
            assert_eq!(seen.name_in_runtime(), found.name_in_runtime());
            let next_to = seen.next_to().unwrap();
            let in_directory = next_to.parent().unwrap().canonicalize().unwrap();
            assert_eq!(
                (Some(&*in_directory), next_to.file_name()),
                (Some(&*directory), found.next_to().unwrap().file_name())
            );
        }
        assert!(Target::look_at(&directory.join("gone")).is_err());
    }

    #[test]
    fn the_lock_file_is_for_those_that_the_image_is_for() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("a.vdi");
        fs::write(&image, "x").unwrap();
        for (image_mode, lock_mode) in [(0o644, 0o644), (0o755, 0o644), (0o660, 0o660), (0o400, 0o600)] {
            fs::set_permissions(&image, fs::Permissions::from_mode(image_mode)).unwrap();
            assert_eq!(Target::find(&image).unwrap().lock_file_permissions(), lock_mode, "{image_mode:o}");
        }
    }

    #[test]
    fn the_runtime_directory_is_the_first_that_only_the_user_can_write() {
        let directory = tempfile::tempdir().unwrap();
        let user = directory.path().metadata().unwrap().uid();
        let own = directory.path().join("own");
        DirBuilder::new().mode(0o755).create(&own).unwrap();
        let open = directory.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
        let link = directory.path().join("link");
        symlink(&own, &link).unwrap();
        let none = directory.path().join("none");

        let all = [none, open, link, own.clone()];
        assert_eq!(runtime_directory_of(all.clone(), user), Some(own.join(DIRECTORY)));
        assert_eq!(runtime_directory_of(all[..3].to_vec(), user), None);
        // A directory of somebody else is not used.
        assert_eq!(runtime_directory_of(all, user + 1), None);
    }
}
