//! Listing the names of a directory.

use super::entry::{LongName, SlotKind};
use super::{Fat, Location};
use crate::guestfs::dos::{Named, SLOT, Slot};
use crate::guestfs::{Entry, Node, NodeKind, Result};
use std::ops::ControlFlow;

impl Fat {
    /// Calls `each` for the names of a directory from a slot on. A long name cannot be read from its middle on, so a
    /// listing always resumes after a short name.
    pub(super) fn list_names(
        &self,
        node: Node,
        directory: Location,
        from: u64,
        each: &mut dyn FnMut(Named) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut long = LongName::default();
        self.gaps.list(node, from, each, |each, skip| {
            self.heap.slots(directory, from, &mut |slot| {
                let slot = match slot {
                    Ok(slot) => slot,
                    Err(error) => {
                        long.clear();
                        return Ok(skip(error));
                    }
                };
                Ok(match named(&slot, &mut long) {
                    Found::Name(named) => each(named),
                    Found::Nothing => ControlFlow::Continue(()),
                    Found::End => ControlFlow::Break(()),
                })
            })
        })
    }

    /// The label stored in a slot of the root directory.
    pub(super) fn root_label(&self) -> Result<Option<String>> {
        let mut label = None;
        self.heap.slots(self.directory(super::ROOT)?, 0, &mut |slot| {
            match SlotKind::of(slot?.raw) {
                SlotKind::Short(short) if short.is_label() && !short.is_directory() => label = Some(short.label()),
                SlotKind::End => return Ok(ControlFlow::Break(())),
                _ => {}
            }
            Ok(if label.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(label.filter(|label| label != super::boot::NO_NAME))
    }
}

fn named(slot: &Slot<'_>, long: &mut LongName) -> Found {
    let short = match SlotKind::of(slot.raw) {
        SlotKind::End => return Found::End,
        SlotKind::Chunk => {
            long.push(slot.index, slot.raw);
            return Found::Nothing;
        }
        SlotKind::Short(short) if !short.is_label() && !short.is_dots() => short,
        SlotKind::Free | SlotKind::Short(_) => {
            long.clear();
            return Found::Nothing;
        }
    };
    let dos = short.name().into_bytes();
    let (start, name, alias) = match long.take(&short) {
        Some((start, name)) => (start, name, Some(dos)),
        None => (slot.index, dos, None),
    };
    let kind = if short.is_directory() { NodeKind::Directory } else { NodeKind::File };
    let entry = Entry { name, node: Node(slot.at / SLOT as u64), kind, next: slot.index + 1 };
    Found::Name(Named { start, entry, alias })
}

/// What a slot contributes to the listing.
enum Found {
    Name(Named),
    Nothing,
    /// All further slots are unused.
    End,
}
