//! Text files that belong to machines and images: XML, and lines of keys and values.

use super::{Kind, optical};
use crate::image::Sample;
use encoding_rs::{Encoding, UTF_8};
use std::borrow::Cow;

const IMAGE: &str = "give the disk image that it names";

/// Root elements, what such a document is, and what to do with it.
const ROOTS: [(&str, &str, &str); 7] = [
    ("Envelope", "the OVF description of an appliance", IMAGE),
    ("VirtualBox", "a settings file of VirtualBox", "give it with --settings, and an image with --image"),
    ("domain", "the libvirt description of a machine", IMAGE),
    ("Foundry", "a settings file of VMware", IMAGE),
    ("ParallelsVirtualMachine", "a settings file of Parallels", IMAGE),
    ("preferences", "a settings file of Virtual PC", IMAGE),
    ("configuration", "a settings file of Hyper-V", IMAGE),
];

pub(super) fn identify(sample: &Sample) -> Option<Kind> {
    let text = text(&sample.head)?;
    let start = text.trim_start();
    if start.starts_with('<') {
        return xml(start);
    }
    let first = || start.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '/']));
    let has = |key: &str| {
        first().any(|line| line.split('=').next().is_some_and(|found| found.trim().eq_ignore_ascii_case(key)))
    };
    let begins = |words: &[&str]| first().next().is_some_and(|line| words.contains(&line));
    if has("config.version") || has("virtualHW.version") {
        Some(Kind::new("the configuration of a VMware machine (VMX)", IMAGE))
    } else if has("snapshot.lastUID") {
        Some(Kind::new("the snapshot list of a VMware machine (VMSD)", IMAGE))
    } else if begins(&["[CloneCD]"]) {
        Some(Kind::new("the description of a CloneCD image (CCD)", optical::ADVICE))
    } else if begins(&["CD_DA", "CD_ROM", "CD_ROM_XA"]) {
        Some(Kind::new("a table of contents of cdrdao (TOC)", "make a cue sheet of it with toc2cue, and give that"))
    } else {
        None
    }
}

/// The sample as text; none where it has a zero byte or what is not UTF-8, and no byte order mark of UTF-16 in front.
fn text(head: &[u8]) -> Option<Cow<'_, str>> {
    if let Some((encoding, mark)) = Encoding::for_bom(head).filter(|(encoding, _)| *encoding != UTF_8) {
        return Some(encoding.decode_without_bom_handling(&head[mark..]).0);
    }
    let bytes = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    // Other encodings have byte order marks too, but tags and keys in ASCII.
    (!bytes.contains(&0)).then(|| String::from_utf8_lossy(bytes))
}

/// The name of the root element of an XML document, without its namespace; none of other files.
pub(crate) fn root(sample: &Sample) -> Option<String> {
    root_of(text(&sample.head)?.trim_start()).map(str::to_owned)
}

fn root_of(text: &str) -> Option<&str> {
    let mut rest = text;
    let name = loop {
        rest = rest.trim_start().strip_prefix('<')?;
        rest = if let Some(comment) = rest.strip_prefix("!--") {
            comment.split_once("-->")?.1
        } else if rest.starts_with(['?', '!']) {
            rest.split_once('>')?.1
        } else {
            break rest.split(|c: char| c.is_whitespace() || matches!(c, '>' | '/')).next()?;
        };
    };
    Some(name.rsplit(':').next().unwrap_or(name))
}

/// What an XML document is, by its root element; none without one, or without a declaration for an unknown one.
fn xml(text: &str) -> Option<Kind> {
    let declared = text.starts_with("<?xml");
    let local = root_of(text)?;
    let is_name = !local.is_empty() && local.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    match ROOTS.iter().find(|(root, ..)| *root == local) {
        Some((_, what, advice)) => Some(Kind::new(*what, *advice)),
        None if declared && is_name => Some(Kind::new(format!("an XML document ({local})"), IMAGE)),
        None => None,
    }
}
