//! The images of a chain: each by itself, and what they say of each other.

use super::{Check, Finding, Findings, Part, PartKind, Reading};
use crate::disk::{self, OpenMode};
use crate::error_kind::{ErrorKind, message};
use crate::image::check::{check_format, walk};
use crate::image::{self, Format, Image, ImageInfo, Note, OpenOptions};
use crate::open;
use crate::registry::{Chain, Link};
use crate::storage::local::Devices;

/// Children of the leaf whose headers are compared with it.
const MOST_CHILDREN: usize = 256;

impl Check<'_> {
    /// Checks all images. Answers them, leaf first, when they make up a disk, else none; `None` when the check was
    /// ended.
    pub(super) fn links(
        &self,
        chain: &Chain,
        broken: Option<&open::Error>,
        warned: Vec<String>,
        each: &mut dyn FnMut(Part) -> bool,
    ) -> Option<Vec<Box<dyn Image>>> {
        let mut opened: Vec<(Option<Box<dyn Image>>, Findings)> = Vec::new();
        for link in &chain.links {
            let child = opened.last().zip(chain.links.get(opened.len().wrapping_sub(1)));
            let child = child.map(|((image, _), link)| info_or_path(image.as_deref(), link));
            opened.push(self.open(link, child.as_ref()));
        }
        warned.into_iter().for_each(|text| opened[0].1.add(Finding::note(text)));
        let infos: Vec<Option<ImageInfo>> =
            opened.iter().map(|(image, _)| image.as_ref().map(|image| image.info().clone())).collect();
        let mut whole = broken.is_none();
        let mut images = Vec::new();
        for (at, (image, mut findings)) in opened.into_iter().enumerate() {
            let link = &chain.links[at];
            match &image {
                Some(image) => {
                    let is_last = at + 1 == chain.links.len();
                    let parent = chain.links.get(at + 1).zip(infos.get(at + 1).and_then(Option::as_ref));
                    whole &= self.identity(link, image.info(), parent, is_last, broken, &mut findings);
                    if at == 0 {
                        self.children(chain, image.info(), &mut findings);
                    }
                    if !walk(&**image, &mut findings, self.options.watch) {
                        return None;
                    }
                }
                None => whole = false,
            }
            let info = infos[at].as_ref();
            let part = Part {
                slot: None,
                kind: PartKind::Image,
                name: link.path.display().to_string(),
                details: info.map_or_else(String::new, |info| format!("{}, {}", info.format, info.variant)),
                size: info.map(|info| info.size),
                findings,
            };
            if !each(part) {
                return None;
            }
            images.extend(image);
        }
        Some(if whole { images } else { Vec::new() })
    }

    /// Opens an image, a corrupt one too, and reports what is wrong with its headers.
    fn open(&self, link: &Link, child: Option<&ImageInfo>) -> (Option<Box<dyn Image>>, Findings) {
        let mut findings = Findings::default();
        let mode = OpenMode {
            writable: false,
            force: false,
            allowed: self.lookup.allowed.clone(),
            snapshot: self.options.internal_snapshot.clone(),
            allowed_devices: self.options.allowed_devices.clone(),
        };
        let (image, failure) = match disk::open_link(link, &mode, child) {
            Ok(image) => (Some(image), None),
            Err(error) => {
                let is_corrupt = error.kind() == ErrorKind::Corrupt;
                let forced = || disk::open_link(link, &OpenMode { force: true, ..mode }, child).ok();
                (is_corrupt.then(forced).flatten(), Some(error))
            }
        };
        let cause = failure.as_ref().map(|error| finding_of(error, link));
        for note in image.iter().flat_map(|image| &image.info().notes) {
            match &cause {
                // With force, what kept the image from opening is a note.
                Some(cause) if note.contains(&cause.what) => {}
                _ => findings.add(of_note(note)),
            }
        }
        if let Some(cause) = cause {
            let advice = match &image {
                Some(_) => format!("{}, or use --force to read the rest", cause.advice),
                None => cause.advice.clone(),
            };
            findings.add(Finding { advice, ..cause });
        }
        let is_seen = failure.is_none_or(|error| matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported));
        if is_seen {
            let options = OpenOptions {
                devices: if child.is_none() { Devices::Allowed } else { Devices::Refused },
                allowed: self.lookup.allowed.clone(),
                format: disk::stated_format(link),
                ..OpenOptions::default()
            };
            check_format(&link.path, &options, &mut findings);
        }
        (image, findings)
    }

    /// Compares an image with what the registry and its child's header say. Answers whether the disk can be made up of
    /// them.
    fn identity(
        &self,
        link: &Link,
        info: &ImageInfo,
        parent: Option<(&Link, &ImageInfo)>,
        is_last: bool,
        broken: Option<&open::Error>,
        findings: &mut Findings,
    ) -> bool {
        let registered = disk::check_registered(link, info);
        // A parent that cannot be opened has its own finding.
        let mut doubts = Vec::new();
        let fits = match (is_last, broken) {
            (true, Some(error)) => {
                findings.add(Finding::new(message(error), Reading::Refused));
                Ok(())
            }
            _ if parent.is_none() && !is_last => Ok(()),
            _ => disk::check_parent(info, parent, &OpenMode::default(), &mut doubts),
        };
        for note in &doubts {
            let found = of_note(note);
            findings.add(if found.note { found } else { Finding { reading: Reading::Stale, ..found } });
        }
        let mut is_whole = true;
        for error in [registered.err(), fits.err()].into_iter().flatten() {
            is_whole = false;
            findings.add(Finding::new(message(&error), Reading::Refused));
        }
        is_whole
    }

    /// Compares the leaf with what the headers of its children say: of this disk all bytes are right, of theirs not.
    fn children(&self, chain: &Chain, leaf: &ImageInfo, findings: &mut Findings) {
        let link = &chain.links[0];
        for path in chain.children.iter().take(MOST_CHILDREN) {
            let Ok(child) = image::identify_allowing(path, Devices::Refused, &self.lookup.allowed) else { continue };
            let mut doubts = Vec::new();
            let fits = disk::check_parent(&child, Some((link, leaf)), &OpenMode::default(), &mut doubts);
            let doubts = doubts.iter().filter(|note| note.is_corruption).map(|note| note.to_string());
            for text in doubts.chain(fits.err().map(|error| message(&error))) {
                findings.add(Finding::new(format!("Its child {}: {text}", path.display()), Reading::Fine));
            }
        }
    }
}

fn of_note(note: &Note) -> Finding {
    if note.is_corruption { Finding::new(&**note, Reading::Fine) } else { Finding::note(&**note) }
}

fn finding_of(error: &disk::Error, link: &Link) -> Finding {
    match error {
        disk::Error::Image(error) => Finding::of_error(error, &link.path, Reading::Refused),
        other => Finding::new(message(other), Reading::Refused),
    }
}

/// What a parent needs to know of its child. Of one that cannot be opened that is its path: nothing proves then that a
/// parent elsewhere is the one that is meant.
fn info_or_path(image: Option<&dyn Image>, link: &Link) -> ImageInfo {
    image.map_or_else(|| ImageInfo::plain(&link.path, Format::Raw, 0), |image| image.info().clone())
}
