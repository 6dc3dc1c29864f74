//! Opening a chain and checking that each image is the one it should be.

use super::{ChainDisk, Error, Result};
use crate::image::local::Devices;
use crate::image::{self, Format, Image, ImageInfo, OpenOptions};
use crate::registry::{Chain, Link};

/// How a chain is to be opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenMode {
    /// Open the leaf for writing.
    pub writable: bool,
    /// Go on where a parent was changed, or (reading) where an image is damaged.
    pub force: bool,
}

/// Opens all images of a chain and checks their identities.
///
/// # Errors
/// What an image says; [`Error::Identity`]; [`Error::NoParent`]; [`Error::NotWritable`];
/// [`Error::ParentChanged`] for a writable open without force.
pub fn open_chain(chain: &Chain, mode: OpenMode) -> Result<ChainDisk> {
    let mut images = Vec::with_capacity(chain.links.len());
    let mut warnings = Vec::new();
    for (index, link) in chain.links.iter().enumerate() {
        let image = open_link(link, mode, index == 0)?;
        let info = image.info();
        log::info!("  Open: {} ({}, {}, {})", link.path.display(), info.format, info.variant, info.details);
        check_registered(link, info)?;
        warnings.extend(info.notes.iter().map(|note| format!("{}: {note}", link.path.display())));
        images.push(image);
    }
    for (child, rest) in images.iter().zip(1..) {
        let parent = chain.links.get(rest).zip(images.get(rest).map(|image| image.info()));
        check_parent(child.info(), parent, mode, &mut warnings)?;
    }
    Ok(ChainDisk::new(images, warnings))
}

fn open_link(link: &Link, mode: OpenMode, leaf: bool) -> Result<Box<dyn Image>> {
    let writable = mode.writable && leaf;
    let given_by_user = leaf && link.registered_uuid.is_none();
    let options = OpenOptions {
        writable,
        devices: if given_by_user { Devices::Allowed } else { Devices::Refused },
        force: mode.force && !mode.writable,
        format: stated_format(link),
    };
    let image = image::open(&link.path, options)?;
    if writable && image.writer().is_none() {
        let info = image.info();
        let reason = format!("{} images of the kind {} are only read", info.format, info.variant);
        return Err(Error::NotWritable { path: link.path.clone(), reason });
    }
    Ok(image)
}

/// A child that says its parent is raw means it: guest bytes that look like an image header must not be followed.
fn stated_format(link: &Link) -> Option<Format> {
    let stated = link.stated_format.as_deref()?;
    stated.eq_ignore_ascii_case("raw").then_some(Format::Raw)
}

/// Holds the header against what the registry says of the image.
fn check_registered(link: &Link, info: &ImageInfo) -> Result<()> {
    let differs = |what: &str, expected: String, found: String| {
        Err(Error::Identity { path: link.path.clone(), what: what.to_owned(), expected, found })
    };
    if let Some(format) = &link.registered_format
        && !same_format(format, info.format)
    {
        return differs("the registered format:", format.clone(), info.format.to_string());
    }
    // Formats without UUIDs have nothing to compare, and a VMDK by VMware may lack the one that its format can have.
    match (link.registered_uuid, info.uuid) {
        (Some(expected), Some(found)) if expected != found => {
            differs("the registered UUID:", expected.to_string(), found.to_string())
        }
        (Some(expected), None) if info.format == Format::Vdi => {
            differs("the registered UUID:", expected.to_string(), "no UUID".to_owned())
        }
        _ => Ok(()),
    }
}

/// Whether the registry's word for a format fits what the content is. VirtualBox registers optical and floppy images
/// of any content as `RAW`.
fn same_format(registered: &str, found: Format) -> bool {
    registered.eq_ignore_ascii_case(found.name())
        || registered.eq_ignore_ascii_case("raw") && matches!(found, Format::Iso | Format::Raw)
        || registered.eq_ignore_ascii_case("parallels") && found == Format::Raw
}

/// Holds a child's header against its parent, or against there being none.
fn check_parent(
    child: &ImageInfo,
    parent: Option<(&Link, &ImageInfo)>,
    mode: OpenMode,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let (stated, (link, parent)) = match (&child.parent, parent) {
        (None, None) => return Ok(()),
        (Some(stated), None) => {
            let name = stated.uuid.map(|uuid| uuid.to_string()).or_else(|| stated.hints.first().cloned());
            return Err(Error::NoParent { path: child.path.clone(), parent: name.unwrap_or_default() });
        }
        (None, Some((link, _))) => {
            return Err(Error::Identity {
                path: child.path.clone(),
                what: "the parent:".to_owned(),
                expected: format!("{}, as the registry says", link.path.display()),
                found: "a header that names none".to_owned(),
            });
        }
        (Some(stated), Some(parent)) => (stated, parent),
    };
    if let Some(expected) = stated.uuid {
        // A parent of a format without UUIDs has only the one that the registry gave it.
        match parent.uuid.or(link.registered_uuid) {
            Some(found) if found == expected => {}
            Some(found) => {
                return Err(Error::Identity {
                    path: link.path.clone(),
                    what: format!("the parent that {} names:", child.path.display()),
                    expected: expected.to_string(),
                    found: found.to_string(),
                });
            }
            None => warnings.push(format!(
                "{} has no UUID, so it cannot be checked that {} was made from it",
                link.path.display(),
                child.path.display()
            )),
        }
    }
    let change =
        changed(stated.modification, parent.modification).map(|(a, b)| (a.to_string(), b.to_string())).or_else(|| {
            changed(stated.content_id, parent.content_id).map(|(a, b)| (format!("{a:08x}"), format!("{b:08x}")))
        });
    if let Some((expected, found)) = change {
        let error = Error::ParentChanged { parent: link.path.clone(), child: child.path.clone(), expected, found };
        if mode.writable && !mode.force {
            return Err(error);
        }
        warnings.push(error.to_string());
    }
    Ok(())
}

/// Both values, when both are known and differ.
fn changed<T: PartialEq>(expected: Option<T>, found: Option<T>) -> Option<(T, T)> {
    expected.zip(found).filter(|(a, b)| a != b)
}
