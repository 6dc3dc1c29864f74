//! The manifest of an appliance: whether its files are those that it was made of.

use super::{Finding, Findings, Options, Part, PartKind, Reading};
use crate::error_kind::message;
use crate::open::{Lookup, Which};
use crate::registry;
use crate::registry::ovf::{Manifest, ManifestEntry};
use std::path::Path;
use std::sync::atomic::Ordering;

/// Checks the manifest of the appliance that the user named, if it has one. Answers whether to go on.
pub(super) fn check(lookup: &Lookup, which: &Which, options: &Options<'_>, each: &mut dyn FnMut(Part) -> bool) -> bool {
    let named = lookup.settings.as_deref().or_else(|| which.image.as_deref().map(Path::new));
    // A relative path says nothing of the archive that a member is in.
    let named = named.and_then(|path| std::path::absolute(path).ok());
    let manifest = match named.as_deref().map(Manifest::of) {
        None | Some(Ok(None)) => return true,
        Some(Ok(Some(manifest))) => manifest,
        Some(Err(error)) => {
            let name = named.map_or_else(String::new, |path| path.display().to_string());
            return each(part(name, String::new(), [unreadable(&error)]));
        }
    };
    (options.watch.expect)(manifest.total());
    let mut found = Vec::new();
    for entry in &manifest.entries {
        match compare(&manifest, entry, options) {
            Ok(finding) => found.extend(finding),
            Err(Ended::Stopped) => return false,
            Err(Ended::Failed(error)) => found.push(unreadable(&error)),
        }
    }
    let details = format!("manifest of {} files", manifest.entries.len());
    each(part(manifest.path.display().to_string(), details, found))
}

fn part(name: String, details: String, found: impl IntoIterator<Item = Finding>) -> Part {
    let mut findings = Findings::default();
    found.into_iter().for_each(|finding| findings.add(finding));
    Part { slot: None, kind: PartKind::Manifest, name, details, size: None, findings }
}

fn unreadable(error: &registry::Error) -> Finding {
    Finding::new(message(error), Reading::Refused)
}

/// Why a file was not compared to its end.
enum Ended {
    Stopped,
    Failed(registry::Error),
}

impl From<registry::Error> for Ended {
    fn from(error: registry::Error) -> Self {
        Self::Failed(error)
    }
}

fn compare(manifest: &Manifest, entry: &ManifestEntry, options: &Options<'_>) -> Result<Option<Finding>, Ended> {
    let found = manifest.verify(entry, &mut |bytes| {
        (options.watch.progress)(bytes);
        if options.watch.stop.load(Ordering::Relaxed) { Err(Ended::Stopped) } else { Ok(()) }
    })?;
    Ok(found.map(|found| {
        let what = format!("{} has the digest {found}, and the manifest states {}", entry.name, entry.digest);
        Finding::new(what, Reading::Stale).advise("get the appliance again, or export the machine again")
    }))
}
