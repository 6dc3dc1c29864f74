//! The files that a chain spec begins with, as a chain of images.

use super::error::Error;
use super::plan::{Plan, Start};
use crate::image::{self, Format};
use crate::open::lookup::Found;
use crate::open::{self, Lookup};
use crate::registry::{Chain, Link, MAX_LINKS};
use crate::storage::file_identity;
use crate::storage::local::Devices;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

impl Plan {
    /// The images that the spec begins with. They are the user's word. The parents of an image that names none in the
    /// spec are found as those of any image; written to is only a chain that is the same without the spec.
    ///
    /// # Errors
    /// As [`Lookup::chain`], with the position in the spec.
    pub(in crate::open) fn find(&self, lookup: &Lookup, writable: bool) -> open::Result<Found> {
        let start = &self.start;
        let files = start.files.iter().map(|file| real(file, start)).collect::<Result<Vec<_>, _>>()?;
        if files.len() > MAX_LINKS {
            let what = format!("vd takes at most {MAX_LINKS} images; clone the disk into one");
            return Err(Error::syntax(start.location.clone(), &what).into());
        }
        let found = match (&files[..], start.plain) {
            ([file], true) => plain(file, lookup, writable, start),
            ([file], false) => lookup.chain(file.as_os_str(), writable),
            (files, _) => several(files, lookup, writable, start),
        };
        found.map_err(|e| start.failed(e))
    }
}

impl Start {
    /// The error with the position of what the spec begins with.
    pub(super) fn failed(&self, error: open::Error) -> open::Error {
        match error {
            open::Error::Spec(error) => open::Error::Spec(error),
            source => Error::Failed { location: self.location.clone(), source: Box::new(source) }.into(),
        }
    }

    fn refuse(&self, what: &str) -> open::Error {
        Error::Refused { location: self.location.clone(), what: what.to_owned() }.into()
    }
}

/// The path of a file that is there, absolute and without links.
fn real(file: &Path, start: &Start) -> open::Result<PathBuf> {
    fs::canonicalize(file).map_err(|e| {
        let what = format!("{} cannot be opened ({e}); correct the path", file.display());
        Error::NotFound { location: start.location.clone(), what }.into()
    })
}

/// A file whose bytes are those of the disk.
fn plain(file: &Path, lookup: &Lookup, writable: bool, start: &Start) -> open::Result<Found> {
    if !writable {
        let link =
            Link { path: file.to_path_buf(), stated_format: Some("raw".to_owned()), given: true, ..Link::default() };
        return Ok(Found { chain: Chain::of_links(vec![link], None), warnings: Vec::new() });
    }
    let format = image::identify(file, Devices::Allowed)?.format;
    if format != Format::Raw {
        let what = format!(
            "to write to its bytes would make the {format} image corrupt; write file(vd,IMAGE) to write to its disk"
        );
        return Err(start.refuse(&what));
    }
    lookup.chain(file.as_os_str(), true)
}

/// A chain whose images the spec names, the base first.
fn several(files: &[PathBuf], lookup: &Lookup, writable: bool, start: &Start) -> open::Result<Found> {
    let (base, leaf) = match files {
        [base, .., leaf] => (base.as_os_str(), leaf.as_os_str()),
        _ => (OsStr::new(""), OsStr::new("")),
    };
    if writable {
        let found = lookup.chain(leaf, true)?;
        let known = found.chain.links.iter().rev().map(|link| file_identity(&link.path));
        if known.ne(files.iter().map(|file| file_identity(file))) {
            let what = "these are not the images that the last of them has according to VirtualBox's settings and their \
                        headers; name only the last one to write to it";
            return Err(start.refuse(what));
        }
        return Ok(found);
    }
    let found = lookup.chain(base, false)?;
    let link = |file: &PathBuf| Link { path: file.clone(), given: true, ..Link::default() };
    let mut links: Vec<Link> = files.iter().skip(1).rev().map(link).collect();
    let mut parents = found.chain.links.into_iter();
    links.extend(parents.next().map(|base| Link { given: true, ..base }));
    links.extend(parents);
    for parent in &mut links[1..files.len()] {
        parent.found_by = "the chain spec".to_owned();
    }
    let uuid = image::identify_allowing(leaf.as_ref(), Devices::Allowed, &lookup.allowed)?.uuid;
    let chain = Chain { base_properties: found.chain.base_properties, ..Chain::of_links(links, uuid) };
    Ok(Found { chain, warnings: found.warnings })
}
