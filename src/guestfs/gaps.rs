//! Listings that continue after corrupt entries. A reader skips an entry that cannot be read and lists all others; at
//! its end the listing reports that it is incomplete, so that nothing is left out silently. A name that no program can
//! use is shown escaped. The first problem of each directory is logged.

use super::{Entry, Error, Node, Result};
use crate::error_kind::message;
use quick_cache::sync::Cache;
use std::collections::HashSet;
use std::fmt::Display;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

/// Directories whose gaps are remembered. A listing comes in several calls, and only the last one reports them.
const DIRECTORIES: usize = 4096;
/// The most gaps of one listing, which bounds its time.
const MOST: usize = 64 << 10;
/// The most directories to warn about; a hostile image could have any number.
const WARNED: usize = 100;
/// The longest name that the kernel takes (`FUSE_NAME_MAX`).
const NAME_MAX: usize = 1024;

/// What cannot be read of the directories of a file system.
pub(super) struct Gaps {
    type_name: &'static str,
    /// The first failure in each directory.
    known: Cache<Node, Arc<Error>>,
    warned: Mutex<HashSet<Node>>,
}

/// Something that holds an entry of a directory.
pub(super) trait Listed {
    fn entry(&mut self) -> &mut Entry;
}

impl Listed for Entry {
    fn entry(&mut self) -> &mut Entry {
        self
    }
}

/// Receives what a reader skips; breaks off when that is enough.
pub(super) type Skip<'a> = &'a mut dyn FnMut(Error) -> ControlFlow<()>;

impl Gaps {
    /// None yet.
    pub(super) fn new(type_name: &'static str) -> Self {
        Self { type_name, known: Cache::new(DIRECTORIES), warned: Mutex::default() }
    }

    /// Lists a directory from a position on (0 is the start) by `emit`, which passes the entries to `each` and skips
    /// what cannot be read. Names become usable on the way.
    ///
    /// # Errors
    /// [`Error::Incomplete`] at the end when this or an earlier segment of the listing has gaps, or `emit` failed after
    /// an entry; the error of `emit` before.
    pub(super) fn list<T: Listed>(
        &self,
        directory: Node,
        from: u64,
        each: &mut dyn FnMut(T) -> ControlFlow<()>,
        emit: impl FnOnce(&mut dyn FnMut(T) -> ControlFlow<()>, Skip<'_>) -> Result<()>,
    ) -> Result<()> {
        if from == 0 {
            self.known.remove(&directory);
        }
        let (mut broken, mut count, mut any) = (false, 0, from > 0);
        let note = |error| {
            if self.known.get(&directory).is_none() {
                self.warn(directory, format_args!("entries are missing from its listing. {}", message(&error)));
                self.known.insert(directory, Arc::new(error));
            }
        };
        let reported = emit(
            &mut |mut reported| {
                let name = &mut reported.entry().name;
                if let Some(escaped) = escaped(name) {
                    let what = format!("the name {:?} is shown as {}", String::from_utf8_lossy(name), lossy(&escaped));
                    self.warn(directory, what);
                    *name = escaped;
                }
                any = true;
                let flow = each(reported);
                broken = flow.is_break();
                flow
            },
            &mut |error| {
                count += 1;
                note(error);
                if count < MOST { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            },
        );
        match reported {
            Err(error) if any => note(error),
            reported => reported?,
        }
        match self.known.get(&directory).filter(|_| !broken) {
            Some(first) => Err(Error::Incomplete(first)),
            None => Ok(()),
        }
    }

    fn warn(&self, directory: Node, what: impl Display) {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.len() >= WARNED || !warned.insert(directory) {
            return;
        }
        log::warn!("In the directory {} of the {} file system {what}", directory.0, self.type_name);
        if warned.len() == WARNED {
            log::warn!("Further directories of the {} file system are not warned of", self.type_name);
        }
    }
}

fn lossy(name: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(name)
}

/// The name in a form that can be in a directory: `/`, zero bytes and dots that would mean another directory become
/// `\x2F` and so on, an empty name `\x`, and a name that is too long ends with `\x`. `None` for a name that is in
/// such a form.
pub(super) fn escaped(name: &[u8]) -> Option<Vec<u8>> {
    let dots = matches!(name, b"." | b"..");
    if !name.is_empty() && !dots && name.len() <= NAME_MAX && !name.iter().any(|byte| matches!(byte, b'/' | 0)) {
        return None;
    }
    let mut out = Vec::new();
    for byte in name {
        if out.len() + 6 > NAME_MAX {
            break;
        }
        match byte {
            b'/' | 0 => out.extend(format!("\\x{byte:02X}").into_bytes()),
            b'.' if dots => out.extend(b"\\x2E"),
            _ => out.push(*byte),
        }
    }
    if name.is_empty() || name.len() > NAME_MAX {
        out.extend(b"\\x");
    }
    Some(out)
}

/// Whether a name may be one that is shown escaped, so that no index of the volume has it.
pub(super) fn may_be_escaped(name: &[u8]) -> bool {
    name.windows(2).any(|pair| pair == b"\\x")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guestfs::NodeKind;
    use crate::ondisk::ParseError;

    fn entry(name: &[u8], next: u64) -> Entry {
        Entry { name: name.to_vec(), node: Node(next), kind: NodeKind::File, next }
    }

    fn cause(number: u64) -> Error {
        let cause = ParseError::corrupt(number, "entry", "one", "none");
        cause.into()
    }

    /// Lists three entries and a gap before the second, up to `most` of them.
    fn list(gaps: &Gaps, from: u64, most: usize) -> (Vec<Vec<u8>>, Result<()>) {
        let mut names = Vec::new();
        let reported = gaps.list(
            Node(7),
            from,
            &mut |entry: Entry| {
                names.push(entry.name);
                if names.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            },
            |each, skip| {
                for (name, next) in [(&b"a/b"[..], 1), (b"", 2), (b"c", 3)] {
                    if next == 2 && from < 2 && skip(cause(2)).is_break()
                        || next > from && each(entry(name, next)).is_break()
                    {
                        break;
                    }
                }
                Ok(())
            },
        );
        (names, reported)
    }

    #[test]
    fn an_incomplete_listing_fails_at_its_end_in_whatever_parts_it_comes() {
        let gaps = Gaps::new("test");
        let (names, reported) = list(&gaps, 0, 9);
        assert_eq!(names, [&b"a\\x2Fb"[..], b"\\x", b"c"]);
        assert!(matches!(reported, Err(Error::Incomplete(_))), "{reported:?}");
        assert!(list(&gaps, 0, 1).1.is_ok() && list(&gaps, 1, 1).1.is_ok());
        let (names, reported) = list(&gaps, 2, 9);
        assert_eq!(names, [b"c"]);
        assert!(reported.unwrap_err().to_string().contains("missing from its listing"));
        assert!(list(&Gaps::new("test"), 2, 9).1.is_ok());
        assert_eq!(gaps.warned.lock().unwrap().len(), 1);
    }

    #[test]
    fn listings_of_gaps_only_end_and_warnings_are_bounded() {
        let gaps = Gaps::new("test");
        for directory in 0..1000 {
            let mut count = 0;
            let reported = gaps.list(Node(directory), 0, &mut |_: Entry| ControlFlow::Continue(()), |_, skip| {
                while directory > 0 && count < 2 || skip(cause(1)).is_continue() && directory == 0 {
                    count += 1;
                }
                Ok(())
            });
            assert!(reported.is_err() && count < 100_000);
        }
        assert_eq!(gaps.warned.lock().unwrap().len(), WARNED);
    }

    #[test]
    fn names_that_no_program_can_use_are_escaped() {
        for (name, shown) in [("a/b\0", "a\\x2Fb\\x00"), (".", "\\x2E"), ("..", "\\x2E\\x2E"), ("", "\\x")] {
            assert_eq!(escaped(name.as_bytes()).unwrap(), shown.as_bytes());
            assert!(may_be_escaped(shown.as_bytes()) && escaped(shown.as_bytes()).is_none());
        }
        for usable in ["a", "...", ".x", "ä \\ b"] {
            assert_eq!(escaped(usable.as_bytes()), None);
        }
        let long = escaped(&[b'n'; 5000]).unwrap();
        assert!(long.len() <= NAME_MAX && long.ends_with(b"n\\x"));
    }
}
