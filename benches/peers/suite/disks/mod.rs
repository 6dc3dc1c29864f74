//! The disks and registries that are measured, made once and kept.

pub(crate) mod machines;
pub(crate) mod media;
pub(crate) mod source;
pub(crate) mod vdi;

use super::Result;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of the cache, filled by `make` unless an earlier run has done it.
pub(crate) fn kept(folder: PathBuf, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    if folder.exists() {
        return Ok(folder);
    }
    // Half a folder must not be taken for a whole one.
    let mut half = folder.clone().into_os_string();
    half.push(".half");
    let half = PathBuf::from(half);
    if half.exists() {
        fs::remove_dir_all(&half)?;
    }
    fs::create_dir_all(&half)?;
    println!("Making {}", folder.display());
    make(&half)?;
    fs::rename(&half, &folder)?;
    Ok(folder)
}
