//! VMDKs built byte by byte.

mod corrupt;
mod esx;
mod extents;
mod read;
mod stream;
mod write;

use super::testing::{Build, Entry, descriptor};
use super::*;
use crate::image::{Extent, Variant};
use crate::storage::testing::MemFile;
use Entry::{Absent, Data, One};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

const READ: OpenOptions = OpenOptions {
    writable: false,
    devices: crate::storage::local::Devices::Refused,
    near: None,
    allowed: Allowed::NONE,
    force: false,
    format: None,
    snapshot: None,
    allowed_devices: Vec::new(),
};
const WRITE: OpenOptions = OpenOptions {
    writable: true,
    devices: crate::storage::local::Devices::Refused,
    near: None,
    allowed: crate::storage::Allowed::NONE,
    force: false,
    format: None,
    snapshot: None,
    allowed_devices: Vec::new(),
};

fn open(file: File, options: &OpenOptions) -> Result<Box<dyn Image>> {
    crate::image::open::open_as(crate::image::Format::Vmdk, file, options)
}

fn open_bytes(bytes: Vec<u8>, options: &OpenOptions) -> Result<Box<dyn Image>> {
    open(MemFile::new("/t/a.vmdk", bytes), options)
}

fn open_build(build: &Build) -> Box<dyn Image> {
    open_bytes(build.bytes(), &READ).unwrap()
}

fn message(error: &Error) -> String {
    crate::error_kind::message(error)
}

/// Files in memory that a descriptor names.
#[derive(Default)]
struct Directory(HashMap<&'static str, Arc<MemFile>>);

impl Directory {
    fn with(mut self, name: &'static str, bytes: Vec<u8>) -> Self {
        self.0.insert(name, MemFile::new(&format!("/t/{name}"), bytes));
        self
    }

    /// Opens the VMDK whose main file is `name`.
    fn open(&self, name: &str, options: &OpenOptions) -> Result<Box<dyn Image>> {
        let opener = |_: &Path, name: &OsStr, _: bool, _: Fits<'_>| -> Result<Option<File>> {
            let missing = || Error::io(name.as_ref(), "find", std::io::ErrorKind::NotFound.into());
            Ok(Some(self.0.get(name.to_str().unwrap_or("")).ok_or_else(missing)?.clone()))
        };
        let main: File = self.0[name].clone();
        Ok(Box::new(Vmdk::open(&main, options, &opener)?))
    }

    /// Opens a descriptor with these lines of extents.
    fn open_extents(self, extents: &str, options: &OpenOptions) -> Result<Box<dyn Image>> {
        self.with("a.vmdk", descriptor(extents).into_bytes()).open("a.vmdk", options)
    }
}

/// The error of what should have been one.
fn failure(result: Result<Box<dyn Image>>) -> String {
    message(&result.err().expect("an error"))
}
