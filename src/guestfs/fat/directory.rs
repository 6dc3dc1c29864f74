//! The names of a directory.

use super::entry::{LongName, SlotKind};
use super::{Fat, Place};
use crate::guestfs::dos::{Named, SLOT, Slot};
use crate::guestfs::{Entry, Node, NodeKind, Result};
use std::ops::ControlFlow;

impl Fat {
    /// Tells the names of a directory from a slot on. A long name that is told from its middle on is none, so a place to
    /// go on from is always behind a short one.
    pub(super) fn tell_names(
        &self,
        node: Node,
        directory: Place,
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

    /// The label that is a slot of the root directory.
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
            long.push(slot.number, slot.raw);
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
        None => (slot.number, dos, None),
    };
    let kind = if short.is_directory() { NodeKind::Directory } else { NodeKind::File };
    let entry = Entry { name, node: Node(slot.at / SLOT as u64), kind, next: slot.number + 1 };
    Found::Name(Named { start, entry, alias })
}

/// What a slot told.
enum Found {
    Name(Named),
    Nothing,
    /// There are no more.
    End,
}
