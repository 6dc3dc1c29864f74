//! Checking one image: what is wrong with its file, and what reading the disk would give there.
//!
//! [`walk()`] asks [`Image::extent`](super::Image::extent) for the whole disk, which shows what every format has in
//! common: entries that cannot be read, data past the end of a file, ranges of the disk that share bytes of a file,
//! clusters that do not decode. What that cannot show (copies of headers, refcounts) a format reports by the `check` of
//! its [`Driver`].

mod claims;
mod walk;

pub(crate) use walk::walk;

use super::drivers::Driver;
use super::open::open_given;
use super::{Error, OpenOptions, Result, Sample};
use crate::error_kind::{ErrorKind, message};
use serde::Serialize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Findings about one image that are kept; more are counted.
const MOST: usize = 1000;

/// What reading gives where something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reading {
    /// An error (`EIO`).
    Error,
    /// Nothing: the disk is not opened, or only with `--force`.
    Refused,
    /// Bytes that may not be the disk's: older ones, or another range's.
    Stale,
    /// The right bytes.
    Fine,
}

/// Something that a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What is wrong: the structure, where it is, what was expected and what was found.
    pub what: String,
    /// Further findings of the same kind on the bytes that follow, which are joined to this one.
    pub more: u64,
    /// What reading gives.
    pub reading: Reading,
    /// The first byte of the disk that it is about, where it is about some only.
    pub offset: Option<u64>,
    /// How many bytes of the disk.
    pub length: Option<u64>,
    /// What to do about it; empty where there is nothing to be done, or `what` says it.
    pub advice: String,
    /// Whether it is only good to know: nothing is corrupt.
    pub note: bool,
}

impl Finding {
    /// A finding about all of the disk or none of it.
    #[must_use]
    pub(crate) fn new(what: impl Into<String>, reading: Reading) -> Self {
        Self { what: what.into(), more: 0, reading, offset: None, length: None, advice: String::new(), note: false }
    }

    /// Something that is good to know, of an image that reads well.
    #[must_use]
    pub(crate) fn note(what: impl Into<String>) -> Self {
        Self { note: true, ..Self::new(what, Reading::Fine) }
    }

    /// What an error of the image file at `path` says.
    #[must_use]
    pub(crate) fn of_error(error: &Error, path: &Path, reading: Reading) -> Self {
        let (file, cause, advice) = match error {
            Error::Corrupt { path, cause, .. } => (path, cause, "restore the file from a backup"),
            Error::Unsupported { path, cause } => (path, cause, "convert it with the program that wrote it"),
            other => {
                let is_gone = other.kind() == ErrorKind::NotFound;
                let advice = if is_gone { "find the file, or restore it from a backup" } else { "" };
                return Self::new(message(other), reading).advise(advice);
            }
        };
        let what = if file == path { cause.to_string() } else { format!("{}: {cause}", file.display()) };
        Self { advice: advice.to_owned(), ..Self::new(what, reading) }
    }

    /// The same about a range of the disk.
    #[must_use]
    pub(crate) fn at(self, offset: u64, length: u64) -> Self {
        Self { offset: Some(offset), length: Some(length), ..self }
    }

    /// The same with what to do about it.
    #[must_use]
    pub(crate) fn advise(self, advice: &str) -> Self {
        Self { advice: advice.to_owned(), ..self }
    }

    /// Joins a finding of the same kind about the bytes that follow.
    fn join(&mut self, next: &Self) -> bool {
        let end = self.offset.zip(self.length).and_then(|(offset, length)| offset.checked_add(length));
        let follows = end.is_some() && end == next.offset && self.reading == next.reading;
        let (Some(length), Some(added)) = (self.length, next.length) else { return false };
        if !follows || !is_alike(&self.what, &next.what) {
            return false;
        }
        self.length = Some(length + added);
        self.more += 1;
        true
    }
}

/// Whether two texts differ in their numbers only.
fn is_alike(one: &str, other: &str) -> bool {
    words(one).eq(words(other))
}

/// The words of a text that are no numbers.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_number = |word: &&str| word.bytes().any(|byte| byte.is_ascii_digit());
    text.split(|c: char| !c.is_alphanumeric()).filter(move |word| !is_number(word))
}

/// What a check of one image found, in the order in which it was found.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Findings {
    /// The first of them.
    #[serde(rename = "findings")]
    pub list: Vec<Finding>,
    /// How many more there are.
    #[serde(rename = "more_findings")]
    pub more: u64,
}

impl Findings {
    /// How many findings there are that are not only notes.
    #[must_use]
    pub(crate) fn count(&self) -> u64 {
        let single = self.list.iter().filter(|found| !found.note).map(|found| 1 + found.more);
        single.sum::<u64>() + self.more
    }

    /// Adds a finding, unless it was found before.
    pub(crate) fn add(&mut self, finding: Finding) {
        if self.list.last_mut().is_some_and(|last| last.join(&finding)) {
            return;
        }
        // Opening reports the first of what the walk then finds. Only the walk knows which bytes it is about.
        if let Some(known) = self.list.iter_mut().find(|known| known.what == finding.what && known.offset.is_none()) {
            (known.offset, known.length) = (finding.offset, finding.length);
            known.reading = finding.reading;
        } else if self.list.len() < MOST {
            self.list.push(finding);
        } else {
            self.more += 1;
        }
    }
}

/// Called by a format with what is wrong and what reading gives there. An error that it returns ends the check.
pub(crate) type Report<'a> = &'a mut dyn FnMut(Error, Reading) -> Result<()>;

/// How a long check is followed and ended.
#[derive(Clone, Copy)]
pub(crate) struct Watch<'a> {
    /// Called with the number of bytes of a disk that are to be checked next.
    pub expect: &'a dyn Fn(u64),
    /// Called with the number of bytes of the disk that were checked since the last call.
    pub progress: &'a dyn Fn(u64),
    /// Set to end the check.
    pub stop: &'a AtomicBool,
}

impl Watch<'_> {
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Checks what only the format knows, such as copies of headers; also of a file that cannot be opened.
pub(crate) fn check_format(path: &Path, options: &OpenOptions, findings: &mut Findings) {
    let checked = open_given(path, options).and_then(|file| {
        let sample = Sample::read(&*file)?;
        let driver = options.format.map_or_else(|| Driver::probe(&sample), Driver::of);
        (driver.check)(&file, findings)
    });
    if let Err(error) = checked {
        findings.add(Finding::of_error(&error, path, Reading::Refused));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(what: &str, offset: u64, length: u64) -> Finding {
        Finding::new(what, Reading::Error).at(offset, length)
    }

    #[test]
    fn joins_findings_that_differ_in_their_numbers_only() {
        let mut findings = Findings::default();
        findings.add(finding("entry 1 at offset 16 (0x10): expected less", 0, 10));
        findings.add(finding("entry 2 at offset 20 (0x14): expected less", 10, 10));
        findings.add(finding("entry 4 at offset 28 (0x1c): expected less", 30, 10));
        findings.add(finding("another entry 5", 40, 10));
        let ranges: Vec<_> = findings.list.iter().map(|found| (found.offset, found.length, found.more)).collect();
        assert_eq!(ranges, [(Some(0), Some(20), 1), (Some(30), Some(10), 0), (Some(40), Some(10), 0)]);
    }

    #[test]
    fn what_opening_reported_gets_its_range() {
        let mut findings = Findings::default();
        findings.add(Finding::new("entry 7", Reading::Refused));
        findings.add(finding("entry 7", 70, 10));
        assert_eq!(findings.list, [finding("entry 7", 70, 10)]);
    }

    #[test]
    fn counts_what_is_too_much_to_keep() {
        let mut findings = Findings::default();
        for at in 0..MOST as u64 + 5 {
            findings.add(finding("entry", at * 20, 10));
        }
        assert_eq!((findings.list.len(), findings.more), (MOST, 5));
    }
}
