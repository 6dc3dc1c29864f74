//! Checks whether a directory can be mounted on.

use super::{Error, Result, table};
use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
use std::io;
use std::path::{Path, PathBuf};

/// Checks a mount point and returns its path as the mount table will have it.
///
/// # Errors
/// [`Error::Point`] for what is no directory, is not empty (unless `nonempty`), or has one of our mounts already;
/// [`Error::Io`] when it does not exist or cannot be examined.
pub(super) fn check(point: &Path, nonempty: bool) -> Result<PathBuf> {
    let path = table::canonical(point)?;
    let refuse = |reason| Err(Error::Point { path: path.clone(), reason });
    let metadata = match std::fs::metadata(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotConnected => {
            return refuse("the process of an earlier mount there was killed; remove it with vboximg-mount --unmount");
        }
        other => other.map_err(Error::io(&path, "look at"))?,
    };
    if !metadata.is_dir() {
        return refuse("it is not a directory; give an empty directory");
    }
    if may_be_mounted(&path) && table::at(&path)?.is_some_and(|entry| entry.is_ours()) {
        return refuse(
            "a disk is mounted there already; unmount it with vboximg-mount --unmount, or use another directory",
        );
    }
    if !nonempty && std::fs::read_dir(&path).map_err(Error::io(&path, "list"))?.next().is_some() {
        return refuse("it is not empty; give an empty directory, or hide what it holds with -o nonempty");
    }
    Ok(path)
}

/// Whether something is mounted there, or a kernel older than 5.8 does not report it. The mount table would, but it
/// takes the kernel a tenth of a millisecond to write one, and more on hosts with many mounts.
fn may_be_mounted(path: &Path) -> bool {
    let root = StatxAttributes::MOUNT_ROOT;
    let seen = rustix::fs::statx(rustix::fs::CWD, path, AtFlags::empty(), StatxFlags::empty());
    seen.map_or(true, |seen| !seen.stx_attributes_mask.contains(root) || seen.stx_attributes.contains(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(point: &Path) -> String {
        check(point, false).unwrap_err().to_string()
    }

    #[test]
    fn requires_an_empty_directory() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("inside");
        assert!(reason(&inside).starts_with(&format!("Cannot find {}", inside.display())));
        assert_eq!(check(directory.path(), false).unwrap(), directory.path().canonicalize().unwrap());
        std::fs::write(&inside, "").unwrap();
        assert!(reason(directory.path()).contains("it is not empty"));
        assert!(check(directory.path(), true).is_ok());
        assert!(reason(&inside).contains("it is not a directory"));
    }
}
