//! Listing the names of a directory.

use super::Exfat;
use super::entry::{File, SlotKind, title};
use crate::guestfs::dos::{Location, Named, SLOT, Slot};
use crate::guestfs::{Entry, Error, Node, NodeKind, Result};
use crate::ondisk::ParseError;
use std::ops::ControlFlow;

/// A set of slots while it is collected.
#[derive(Default)]
struct Set {
    bytes: Vec<u8>,
    /// Index and offset of the first slot.
    start: u64,
    at: u64,
    /// Number of slots still to come.
    left: usize,
    /// Whether secondary slots belong to a skipped set.
    skipping: bool,
    /// Whether there are no more slots.
    is_end: bool,
}

impl Exfat {
    /// Calls `each` for the names of a directory from a slot on, which is the first of a set. `is_run` states whether
    /// the directory is contiguous. An invalid set is skipped; the next one is recognized by its first slot.
    pub(super) fn list_names(
        &self,
        node: Node,
        (directory, is_run): (Location, bool),
        from: u64,
        each: &mut dyn FnMut(Named) -> ControlFlow<()>,
    ) -> Result<()> {
        self.gaps.list(node, from, each, |each, skip| {
            let mut set = Set::default();
            let mut broken = false;
            self.heap.slots(directory, from, &mut |slot| {
                let reported = match slot.and_then(|slot| set.take(&slot, is_run)) {
                    Ok(Found::Name(named)) => each(named),
                    Ok(Found::Nothing) => ControlFlow::Continue(()),
                    Ok(Found::End) => ControlFlow::Break(()),
                    Err(error) => skip(error),
                };
                broken = reported.is_break();
                Ok(reported)
            })?;
            if set.left > 0 && !broken {
                // The set is cut off by the end of the directory.
                let _ = match named(&set, u64::from(u32::MAX), is_run) {
                    Some(named) => each(named),
                    None => skip(cut_short(&set)),
                };
            }
            Ok(())
        })
    }
}

/// What a slot contributes to the listing.
enum Found {
    Name(Named),
    Nothing,
    /// All further slots are unused.
    End,
}

impl Set {
    /// Takes the next slot of the directory. An error ends the current set.
    fn take(&mut self, slot: &Slot<'_>, is_run: bool) -> Result<Found> {
        if self.is_end {
            return Ok(Found::End);
        }
        let kind = SlotKind::of(slot.raw);
        let is_short = self.left > 0 && kind != SlotKind::Secondary;
        let short = is_short.then(|| named(self, slot.index, is_run).ok_or_else(|| cut_short(self)));
        match kind {
            SlotKind::File(more) => {
                let (bytes, start, at) = (slot.raw.to_vec(), slot.index, slot.at);
                *self = Self { bytes, start, at, left: more, ..Self::default() };
            }
            SlotKind::Secondary if self.left > 0 => {
                self.bytes.extend(slot.raw);
                self.left -= 1;
            }
            SlotKind::Secondary if self.skipping => {}
            SlotKind::Secondary => {
                // The secondary slots that follow have none either.
                self.skipping = true;
                let found = format!("{:#04x} without one", slot.raw[0]);
                return Err(ParseError::corrupt(slot.at, "slot of a directory", "the first one of a set", found).into());
            }
            SlotKind::End => *self = Self { is_end: true, ..Self::default() },
            SlotKind::Free | SlotKind::Volume => *self = Self::default(),
            SlotKind::Benign => *self = Self { skipping: true, ..Self::default() },
            SlotKind::Critical => {
                *self = Self { skipping: true, ..Self::default() };
                let what =
                    format!("a directory has a slot of the unknown type {:#04x} at byte {}", slot.raw[0], slot.at);
                return Err(Error::Unsupported(what));
            }
        }
        if let Some(short) = short {
            return short.map(Found::Name);
        }
        if self.is_end {
            return Ok(Found::End);
        }
        if self.left > 0 || self.bytes.is_empty() {
            return Ok(Found::Nothing);
        }
        let found = named(self, slot.index + 1, is_run);
        let cause = if found.is_none() { File::parse(&self.bytes, self.at).err() } else { None };
        *self = Self { skipping: true, ..Self::default() };
        match (found, cause) {
            (Some(named), _) => Ok(Found::Name(named)),
            (None, Some(cause)) => Err(cause.into()),
            (None, None) => Ok(Found::Nothing),
        }
    }
}

fn cut_short(set: &Set) -> Error {
    let expected = format!("{} slots", set.bytes.len() / SLOT + set.left);
    Error::from(ParseError::corrupt(set.at, "set of slots of a file", expected, set.bytes.len() / SLOT))
}

/// The name of a set; `next` is the index of the slot after it. A set that is invalid otherwise still yields its name,
/// and fails when the file is opened.
fn named(set: &Set, next: u64, is_run: bool) -> Option<Named> {
    let (name, is_directory) = title(&set.bytes, set.at).ok()?;
    let node = Node(set.at / SLOT as u64 * 2 + u64::from(is_run));
    let kind = if is_directory { NodeKind::Directory } else { NodeKind::File };
    Some(Named { start: set.start, entry: Entry { name, node, kind, next }, alias: None })
}
