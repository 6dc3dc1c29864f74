//! Optical disks, which may have two file systems over the same files.

use super::iso::{self, Iso};
use super::udf::{self, Udf};
use super::{Error, GuestFs, Result};
use crate::disk::Disk;
use std::sync::Arc;

/// Opens the file system of an optical disk; `None` for anything else. Of one that has both, UDF is taken, as
/// Windows and Linux do, and ISO 9660 where that is corrupt.
///
/// # Errors
/// Corruption, unknown features, and when the volume cannot be read.
pub(crate) fn open(volume: &Arc<dyn Disk>) -> Result<Option<Box<dyn GuestFs>>> {
    let mut failed = None;
    if udf::probe(&**volume)? {
        match Udf::open(volume.clone()) {
            Ok(udf) => return Ok(Some(Box::new(udf))),
            Err(error @ Error::Disk(_)) => return Err(error),
            Err(error) => failed = Some(error),
        }
    }
    if iso::probe(&**volume)? {
        let mut iso = Iso::open(volume.clone())?;
        if let Some(error) = failed {
            iso.note(format!("Its ISO 9660 file system is shown in place of UDF: {error}"));
        }
        return Ok(Some(Box::new(iso)));
    }
    failed.map_or(Ok(None), Err)
}
