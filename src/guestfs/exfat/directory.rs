//! The names of a directory.

use super::Exfat;
use super::entry::{File, SlotKind, title};
use crate::guestfs::dos::{Named, Place, SLOT, Slot};
use crate::guestfs::{Entry, Error, Node, NodeKind, Result};
use crate::ondisk::ParseError;
use std::ops::ControlFlow;

/// The slots of a set as they come.
#[derive(Default)]
struct Set {
    bytes: Vec<u8>,
    /// The number and place of the first one.
    start: u64,
    at: u64,
    /// Those that are still to come.
    left: usize,
    /// Whether secondary slots are those of a set that is passed over.
    passing: bool,
    /// Whether there are no more slots.
    is_end: bool,
}

impl Exfat {
    /// Tells the names of a directory from a slot on, which is the first one of a set. The directory may be one run. A set
    /// that breaks its rules is passed over; the next one tells itself by its first slot.
    pub(super) fn tell_names(
        &self,
        node: Node,
        (directory, is_run): (Place, bool),
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
                // At the directory's end.
                let _ = match named(&set, u64::from(u32::MAX), is_run) {
                    Some(named) => each(named),
                    None => skip(cut_short(&set)),
                };
            }
            Ok(())
        })
    }
}

/// What a slot told.
enum Found {
    Name(Named),
    Nothing,
    /// There are no more.
    End,
}

impl Set {
    /// Takes the next slot of the directory. After a failure the set is done with.
    fn take(&mut self, slot: &Slot<'_>, is_run: bool) -> Result<Found> {
        if self.is_end {
            return Ok(Found::End);
        }
        let kind = SlotKind::of(slot.raw);
        let is_short = self.left > 0 && kind != SlotKind::Secondary;
        let short = is_short.then(|| named(self, slot.number, is_run).ok_or_else(|| cut_short(self)));
        match kind {
            SlotKind::File(more) => {
                let (bytes, start, at) = (slot.raw.to_vec(), slot.number, slot.at);
                *self = Self { bytes, start, at, left: more, ..Self::default() };
            }
            SlotKind::Secondary if self.left > 0 => {
                self.bytes.extend(slot.raw);
                self.left -= 1;
            }
            SlotKind::Secondary if self.passing => {}
            SlotKind::Secondary => {
                // So are those that follow it.
                self.passing = true;
                let found = format!("{:#04x} without one", slot.raw[0]);
                return Err(ParseError::corrupt(slot.at, "slot of a directory", "the first one of a set", found).into());
            }
            SlotKind::End => *self = Self { is_end: true, ..Self::default() },
            SlotKind::Free | SlotKind::Volume => *self = Self::default(),
            SlotKind::Benign => *self = Self { passing: true, ..Self::default() },
            SlotKind::Critical => {
                *self = Self { passing: true, ..Self::default() };
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
        let found = named(self, slot.number + 1, is_run);
        let cause = if found.is_none() { File::parse(&self.bytes, self.at).err() } else { None };
        *self = Self { passing: true, ..Self::default() };
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

/// The name of a set, behind which the slot `next` is. A set that breaks another rule has its name all the same, and
/// fails when it is looked at.
fn named(set: &Set, next: u64, is_run: bool) -> Option<Named> {
    let (name, is_directory) = title(&set.bytes, set.at).ok()?;
    let node = Node(set.at / SLOT as u64 * 2 + u64::from(is_run));
    let kind = if is_directory { NodeKind::Directory } else { NodeKind::File };
    Some(Named { start: set.start, entry: Entry { name, node, kind, next }, alias: None })
}
