//! Opening a chain and checking that each image is the one it should be.

use super::{ChainDisk, Error, Result};
use crate::image::{self, Format, Image, ImageInfo, Note, OpenOptions, ParentLink};
use crate::registry::{Chain, Link, is_format};
use crate::storage::local;
use crate::storage::local::Devices;
use crate::storage::{Allowed, gate};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// How a chain is to be opened.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenMode {
    /// Open the leaf for writing.
    pub writable: bool,
    /// Go on where a parent was changed, or (reading) where an image is corrupt.
    pub force: bool,
    /// Files that images may name although they lie elsewhere.
    pub allowed: Allowed,
    /// Show this snapshot that the leaf's own file has, instead of its current state.
    pub snapshot: Option<String>,
    /// Devices that an image of the chain may name.
    pub allowed_devices: Vec<PathBuf>,
}

/// Opens all images of a chain and checks their identities.
///
/// # Errors
/// Errors of the images; [`Error::Identity`]; [`Error::NoParent`]; [`Error::NotWritable`]; [`Error::ParentChanged`] for
/// a writable open without force.
pub(crate) fn open_chain(chain: &Chain, mode: &OpenMode) -> Result<ChainDisk> {
    let mut images: Vec<Box<dyn Image>> = Vec::with_capacity(chain.links.len());
    let mut warnings = Vec::new();
    for (index, link) in chain.links.iter().enumerate() {
        let child = index.checked_sub(1).and_then(|child| images.get(child));
        let image = open_link(link, mode, child.map(|child| child.info()))?;
        let info = image.info();
        log::info!("  Open: {} ({}, {}, {})", link.path.display(), info.format, info.variant, info.details);
        check_registered(link, info)?;
        warnings.extend(info.notes.iter().map(|note| format!("{}: {note}", link.path.display())));
        images.push(image);
    }
    let mut doubts = Vec::new();
    for (child, rest) in images.iter().zip(1..) {
        let parent = chain.links.get(rest).zip(images.get(rest).map(|image| image.info()));
        check_parent(child.info(), parent, mode, &mut doubts)?;
    }
    warnings.extend(doubts.iter().map(ToString::to_string));
    Ok(ChainDisk::new(images, warnings))
}

/// Refuses a chain in which only a name in an image or an appliance leads elsewhere: before anything is locked, since a
/// lock leaves a file next to the image. [`open_chain`] checks again what it opens.
///
/// # Errors
/// [`image::Error::Elsewhere`].
pub(crate) fn check_names(chain: &Chain, allowed: &Allowed) -> Result<()> {
    for (index, link) in chain.links.iter().enumerate() {
        let child = index
            .checked_sub(1)
            .map(|child| &chain.links[child])
            .filter(|_| link.registered_uuid.is_none() && !link.given);
        let directory = link.named_in.as_deref().or_else(|| Some(gate::directory_of(&child?.path)));
        let opened = directory.map(|directory| local::open_near(&link.path, false, directory, allowed)).transpose();
        let Err(elsewhere @ image::Error::Elsewhere(_)) = opened else { continue };
        let Some(child) = child else { return Err(elsewhere.into()) };
        let devices = if index == 1 { Devices::Allowed } else { Devices::Refused };
        let stated = image::identify_allowing(&child.path, devices, allowed)?.parent;
        let found = image::identify_allowing(&link.path, Devices::Refused, allowed)?;
        if !stated.is_some_and(|stated| is_decided_by_identity(&stated, link, &found)) {
            return Err(elsewhere.into());
        }
    }
    Ok(())
}

/// Whether a parent that lies elsewhere is known by its identity. One of several copies may differ from what its child
/// states, which [`check_copy`] refuses by naming them all, or lets pass with force.
fn is_decided_by_identity(stated: &ParentLink, link: &Link, found: &ImageInfo) -> bool {
    let is_one_of_several = link.far || !link.rivals.is_empty();
    let has_both = stated.modification.is_some() && found.modification.is_some()
        || stated.content_id.is_some() && found.content_id.is_some();
    stated.identifies(found) || is_one_of_several && has_both
}

/// Opens the leaf, or the parent of `child`. A parent that no registry names and that the child knows by no identity
/// must lie in the child's directory or below, or be allowed: anybody may write a name into an image.
pub(crate) fn open_link(link: &Link, mode: &OpenMode, child: Option<&ImageInfo>) -> Result<Box<dyn Image>> {
    let leaf = child.is_none();
    let writable = mode.writable && leaf;
    let given_by_user = link.given || leaf && link.registered_uuid.is_none();
    let named_by = child.filter(|_| link.registered_uuid.is_none() && !link.given);
    let options = OpenOptions {
        writable,
        devices: if given_by_user { Devices::Allowed } else { Devices::Refused },
        near: link.named_in.clone().or_else(|| Some(gate::directory_of(&named_by?.path).to_path_buf())),
        allowed: mode.allowed.clone(),
        force: mode.force && !mode.writable,
        format: stated_format(link),
        snapshot: mode.snapshot.clone().filter(|_| leaf),
        allowed_devices: mode.allowed_devices.clone(),
    };
    let image = match (image::open(&link.path, options.clone()), named_by) {
        (Err(elsewhere @ image::Error::Elsewhere(_)), Some(child)) => {
            let image = image::open(&link.path, OpenOptions { near: None, ..options })?;
            let stated = child.parent.as_ref();
            if !stated.is_some_and(|stated| is_decided_by_identity(stated, link, image.info())) {
                return Err(elsewhere.into());
            }
            image
        }
        (opened, _) => opened?,
    };
    if writable && image.writer().is_none() {
        let info = image.info();
        let reason = format!("{} images of the kind {} are only read", info.format, info.variant);
        return Err(Error::NotWritable { path: link.path.clone(), reason });
    }
    Ok(image)
}

/// A parent that the child declares raw is never probed: guest bytes that look like an image header must not be
/// followed.
pub(crate) fn stated_format(link: &Link) -> Option<Format> {
    let stated = link.stated_format.as_deref()?;
    stated.eq_ignore_ascii_case("raw").then_some(Format::Raw)
}

/// Checks the header against the registry.
pub(crate) fn check_registered(link: &Link, info: &ImageInfo) -> Result<()> {
    let differs = |what: &str, expected: String, found: String| {
        Err(Error::Identity { path: link.path.clone(), what: what.to_owned(), expected, found })
    };
    if let Some(format) = &link.registered_format
        && !is_format(format, info.format)
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

/// Holds a child's header against its parent, or against there being none. What is doubtful is added to `warnings`.
pub(crate) fn check_parent(
    child: &ImageInfo,
    parent: Option<(&Link, &ImageInfo)>,
    mode: &OpenMode,
    warnings: &mut Vec<Note>,
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
                expected: format!(
                    "{}, as the {} says",
                    link.path.display(),
                    if link.given { "chain spec" } else { "registry" }
                ),
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
            None => warnings.push(Note::from(format!(
                "{} has no UUID, so it cannot be checked that {} was made from it",
                link.path.display(),
                child.path.display()
            ))),
        }
    }
    let modification = changed(stated.modification, parent.modification);
    let modification = modification.filter(|(_, found)| stated.modification2 != Some(*found));
    let is_one_of_several = link.far || !link.rivals.is_empty();
    if let (None, Some((expected, found)), false) = (stated.uuid, modification, mode.force || is_one_of_several) {
        // A VHDX knows its parent by nothing else: the file may be another disk.
        return Err(Error::Identity {
            path: link.path.clone(),
            what: format!("the data that {} was made from:", child.path.display()),
            expected: expected.to_string(),
            found: found.to_string(),
        });
    }
    let change = modification.map(|(a, b)| (a.to_string(), b.to_string())).or_else(|| {
        changed(stated.content_id, parent.content_id).map(|(a, b)| (format!("{a:08x}"), format!("{b:08x}")))
    });
    if let Some(doubt) = check_copy(child, stated, link, parent, change.as_ref(), mode)? {
        warnings.push(doubt.into());
    } else if let Some((expected, found)) = change {
        let refused = mode.writable && !mode.force;
        let advice = if refused { "; use --force to write to it all the same" } else { "" };
        let (parent, child) = (link.path.clone(), child.path.clone());
        let error = Error::ParentChanged { parent, child, expected, found, advice };
        if refused {
            return Err(error);
        }
        warnings.push(Note::corrupt(error.to_string()));
    }
    Ok(())
}

/// Refuses a parent that may be of another copy of the machine: it lies elsewhere or is one of several, and nothing
/// proves that the child was made from it. With `force` it is read; it is never written over. Answers what to warn of.
fn check_copy(
    child: &ImageInfo,
    stated: &ParentLink,
    link: &Link,
    parent: &ImageInfo,
    change: Option<&(String, String)>,
    mode: &OpenMode,
) -> Result<Option<String>> {
    if !link.far && link.rivals.is_empty() {
        return Ok(None);
    }
    let is_proven = stated.modification.is_some() && parent.modification.is_some()
        || stated.content_id.is_some() && parent.content_id.is_some();
    let written = stated.time_stamp.zip(last_written(&link.path)).filter(|_| link.far && !is_proven);
    let (mismatch, is_doubtful) = match (change, written) {
        (Some((expected, found)), _) => (format!("its modification id is {found}, the child expects {expected}"), true),
        (None, Some((expected, found))) if expected != found => {
            let time = |seconds| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds));
            (format!("it was last written to at {}, the child expects {}", time(found), time(expected)), true)
        }
        (None, Some(_)) => return Ok(None),
        (None, None) if is_proven || stated.uuid.is_some() && !link.far => return Ok(None),
        (None, None) => ("the child has no id by which it could be known".to_owned(), false),
    };
    let rivals: Vec<String> = link.rivals.iter().map(|path| path.display().to_string()).collect();
    let rivals = if rivals.is_empty() {
        String::new()
    } else {
        format!(", and {} could be the parent as well", rivals.join(", "))
    };
    let error = |advice: &str| Error::OtherCopy {
        parent: link.path.clone(),
        child: child.path.clone(),
        reason: format!("{mismatch}{rivals}{advice}"),
    };
    // What lies elsewhere and has no ids is what such a format names, as long as there is no other.
    if mode.writable && (is_doubtful || !link.rivals.is_empty()) {
        return Err(error("; put the images of one copy together to write to them"));
    }
    if is_doubtful && !mode.force {
        return Err(error("; put the images of one copy together, or use --force to read them all the same"));
    }
    Ok(Some(error("").to_string()))
}

/// When a file was last written to, in seconds since the Unix epoch.
fn last_written(path: &Path) -> Option<u64> {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified()).ok()?;
    Some(modified.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// Both values, when both are known and differ.
fn changed<T: PartialEq>(expected: Option<T>, found: Option<T>) -> Option<(T, T)> {
    expected.zip(found).filter(|(a, b)| a != b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::error_kind::ErrorKind;
    use crate::image::vdi::testing::Build;
    use crate::registry::MediumKind;
    use uuid::Uuid;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn link(&self, name: &str, bytes: &[u8], uuid: Option<u128>) -> Link {
            let path = self.0.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            Link { path, registered_uuid: uuid.map(Uuid::from_u128), ..Link::default() }
        }
    }

    fn chain(links: Vec<Link>) -> Chain {
        Chain {
            links,
            uuid: None,
            kind: MediumKind::Normal,
            children: Vec::new(),
            saved_in: Vec::new(),
            base_properties: Default::default(),
            outside: None,
            notes: Vec::new(),
        }
    }

    fn child(parent: u128, parent_modify: u128) -> Vec<u8> {
        let (parent, parent_modify) = (Uuid::from_u128(parent), Uuid::from_u128(parent_modify));
        Build { kind: 4, uuid: Uuid::from_u128(5), parent, parent_modify, ..Build::default() }.bytes()
    }

    fn failure(links: Vec<Link>, mode: &OpenMode) -> (ErrorKind, String) {
        let error = open_chain(&chain(links), mode).err().expect("the chain is wrong");
        (error.kind(), error.to_string())
    }

    const READ: OpenMode =
        OpenMode { writable: false, force: false, allowed: Allowed::NONE, snapshot: None, allowed_devices: Vec::new() };
    const WRITE: OpenMode =
        OpenMode { writable: true, force: false, allowed: Allowed::NONE, snapshot: None, allowed_devices: Vec::new() };

    #[test]
    fn a_chain_that_fits_opens_without_warning() {
        let files = Files::new();
        let links = vec![
            files.link("child.vdi", &child(1, 2), Some(5)),
            files.link("base.vdi", &Build::default().bytes(), Some(1)),
        ];
        let disk = open_chain(&chain(links), &WRITE).unwrap();
        assert!(disk.writable() && disk.warnings().is_empty());
    }

    #[test]
    fn an_image_with_another_uuid_than_registered_is_refused() {
        let files = Files::new();
        let link = files.link("base.vdi", &Build::default().bytes(), Some(9));
        let (kind, text) = failure(vec![link], &READ);
        assert_eq!(kind, ErrorKind::Corrupt);
        let (expected, found) = (Uuid::from_u128(9), Uuid::from_u128(1));
        assert!(
            text.contains(&format!(
                "base.vdi is not the image it should be: the registered UUID: expected {expected}, found {found}"
            )),
            "{text}"
        );
        let nil = Build { uuid: Uuid::nil(), ..Build::default() };
        let (_, text) = failure(vec![files.link("nil.vdi", &nil.bytes(), Some(9))], &READ);
        assert!(text.contains("found no UUID"), "{text}");
    }

    #[test]
    fn an_image_of_another_format_than_registered_is_refused() {
        let files = Files::new();
        let link = files.link("base.vdi", &Build::default().bytes(), None);
        let link = Link { registered_format: Some("VMDK".to_owned()), ..link };
        let (_, text) = failure(vec![link.clone()], &READ);
        assert!(text.contains("the registered format: expected VMDK, found VDI"), "{text}");
        assert!(open_chain(&chain(vec![Link { registered_format: Some("vdi".to_owned()), ..link }]), &READ).is_ok());
    }

    #[test]
    fn a_parent_with_another_uuid_than_the_child_names_is_refused() {
        let files = Files::new();
        let links = vec![
            files.link("child.vdi", &child(7, 2), Some(5)),
            files.link("base.vdi", &Build::default().bytes(), Some(1)),
        ];
        let (kind, text) = failure(links, &OpenMode { force: true, ..READ });
        assert_eq!(kind, ErrorKind::Corrupt);
        assert!(text.contains("the parent that") && text.contains(&Uuid::from_u128(7).to_string()), "{text}");
    }

    #[test]
    fn a_difference_without_its_parent_and_a_base_with_one_are_refused() {
        let files = Files::new();
        let (kind, text) = failure(vec![files.link("child.vdi", &child(7, 2), None)], &READ);
        assert_eq!(kind, ErrorKind::NotFound);
        assert!(text.contains(&format!("needs its parent {}", Uuid::from_u128(7))), "{text}");
        let bytes = Build::default().bytes();
        let links = vec![files.link("a.vdi", &bytes, None), files.link("b.vdi", &bytes, None)];
        let (_, text) = failure(links, &READ);
        assert!(text.contains("found a header that names none"), "{text}");
    }

    #[test]
    fn a_parent_that_changed_is_warned_of_and_not_written_over_without_force() {
        let files = Files::new();
        let links = vec![
            files.link("child.vdi", &child(1, 3), Some(5)),
            files.link("base.vdi", &Build::default().bytes(), Some(1)),
        ];
        let disk = open_chain(&chain(links.clone()), &READ).unwrap();
        assert!(disk.warnings()[0].contains("was changed after"), "{:?}", disk.warnings());
        let (kind, text) = failure(links.clone(), &WRITE);
        assert_eq!(kind, ErrorKind::Refused);
        assert!(text.contains(&Uuid::from_u128(3).to_string()), "{text}");
        assert!(open_chain(&chain(links), &OpenMode { force: true, ..WRITE }).is_ok());
    }

    #[test]
    fn a_raw_parent_goes_by_the_uuid_that_the_registry_gives_it() {
        let files = Files::new();
        let raw = vec![0xAB; 16384];
        let base = files.link("base.raw", &raw, Some(7));
        let disk = open_chain(&chain(vec![files.link("child.vdi", &child(7, 0), None), base]), &READ).unwrap();
        let mut bytes = vec![0; 16384];
        disk.read_at(0, &mut bytes).unwrap();
        assert_eq!(bytes, raw);
        assert!(disk.warnings().is_empty());
        let unknown = files.link("base.raw", &raw, None);
        let disk = open_chain(&chain(vec![files.link("child.vdi", &child(7, 0), None), unknown]), &READ).unwrap();
        assert!(disk.warnings()[0].contains("cannot be checked"), "{:?}", disk.warnings());
    }

    #[test]
    fn a_vhdx_knows_its_parent_by_its_data() {
        use crate::image::vhdx::testing::Build as Vhdx;
        let files = Files::new();
        let child = |linkage: u128, linkage2: u128| {
            let guid = |id: u128| Uuid::from_u128(id).braced().to_string();
            let locator = vec![("parent_linkage", guid(linkage)), ("parent_linkage2", guid(linkage2))];
            files.link("child.vhdx", &Vhdx { flags: 2, locator, ..Vhdx::default() }.bytes(), None)
        };
        let base = files.link("base.vhdx", &Vhdx::default().bytes(), None);
        for (linkage, linkage2) in [(1, 9), (9, 1)] {
            let disk = open_chain(&chain(vec![child(linkage, linkage2), base.clone()]), &WRITE).unwrap();
            assert!(disk.warnings().is_empty());
        }
        let (kind, text) = failure(vec![child(8, 9), base.clone()], &READ);
        assert_eq!(kind, ErrorKind::Corrupt);
        let (expected, found) = (Uuid::from_u128(8), Uuid::from_u128(1));
        assert!(text.contains(&format!("was made from: expected {expected}, found {found}")), "{text}");
        let forced = OpenMode { force: true, ..READ };
        let disk = open_chain(&chain(vec![child(8, 9), base]), &forced).unwrap();
        assert!(disk.warnings()[0].contains("was changed after"), "{:?}", disk.warnings());
    }

    #[test]
    fn a_missing_file_is_not_found() {
        let files = Files::new();
        let link = files.link("gone.vdi", b"", None);
        std::fs::remove_file(&link.path).unwrap();
        let (kind, text) = failure(vec![Link { path: PathBuf::from(&link.path), ..link }], &READ);
        assert_eq!(kind, ErrorKind::NotFound);
        assert!(text.starts_with("Cannot open ") && text.contains("gone.vdi"), "{text}");
    }

    #[test]
    fn a_chain_of_300_links_opens_and_reads() {
        let files = Files::new();
        let mut links = Vec::new();
        for i in (1..300_u128).rev() {
            let entry = usize::try_from(i % 4).unwrap();
            let mut map = vec![0xFFFF_FFFF; 4];
            map[entry] = 0;
            let build = Build {
                kind: 4,
                uuid: Uuid::from_u128(1000 + i),
                parent: Uuid::from_u128(if i == 1 { 1 } else { 999 + i }),
                map,
                data: vec![u8::try_from(i % 256).unwrap()],
                ..Build::default()
            };
            links.push(files.link(&format!("{i}.vdi"), &build.bytes(), None));
        }
        links.push(files.link("base.vdi", &Build::default().bytes(), None));
        let disk = open_chain(&chain(links), &READ).unwrap();
        let mut bytes = vec![0; 16384];
        disk.read_at(0, &mut bytes).unwrap();
        let fills: Vec<u8> = bytes.chunks(4096).map(|block| block[0]).collect();
        assert_eq!(fills, [296 % 256, 297 % 256, 298 % 256, 299 % 256].map(|i: u16| u8::try_from(i).unwrap()));
    }
}
