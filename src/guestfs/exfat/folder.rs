//! The names of a folder.

use super::damage;
use super::entry::{File, SlotKind};
use crate::guestfs::dos::{Heap, Named, Place, SLOT, Slot};
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
}

/// Tells the names of a folder from a slot on, which is the first one of a set. The folder may be one run.
pub(super) fn tell_names(
    heap: &Heap,
    (folder, is_run): (Place, bool),
    from: u64,
    each: &mut dyn FnMut(Named) -> ControlFlow<()>,
) -> Result<()> {
    let mut set = Set::default();
    heap.slots(folder, from, &mut |slot| {
        let kind = SlotKind::of(slot.raw);
        if set.left > 0 && kind != SlotKind::Secondary {
            return Err(cut_short(&set));
        }
        match kind {
            SlotKind::End => return Ok(ControlFlow::Break(())),
            SlotKind::File(more) => {
                set = Set { bytes: slot.raw.to_vec(), start: slot.number, at: slot.at, left: more, passing: false };
            }
            SlotKind::Secondary if set.left > 0 => {
                set.bytes.extend(slot.raw);
                set.left -= 1;
            }
            SlotKind::Secondary if set.passing => {}
            SlotKind::Secondary => {
                let found = format!("{:#04x} without one", slot.raw[0]);
                return Err(damage(ParseError::corrupt(slot.at, "slot of a folder", "the first one of a set", found)));
            }
            SlotKind::Free | SlotKind::Volume => set.passing = false,
            SlotKind::Benign => set.passing = true,
            SlotKind::Critical => {
                let what = format!("a folder has a slot of the unknown type {:#04x} at byte {}", slot.raw[0], slot.at);
                return Err(Error::Unsupported { type_name: super::TYPE, what });
            }
        }
        if set.left > 0 || set.bytes.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let named = named(&set, &slot, is_run)?;
        set.bytes.clear();
        Ok(each(named))
    })?;
    if set.left > 0 { Err(cut_short(&set)) } else { Ok(()) }
}

fn cut_short(set: &Set) -> Error {
    let expected = format!("{} slots", set.bytes.len() / SLOT + set.left);
    damage(ParseError::corrupt(set.at, "set of slots of a file", expected, set.bytes.len() / SLOT))
}

/// The name of a set, the last slot of which is this one.
fn named(set: &Set, last: &Slot<'_>, is_run: bool) -> Result<Named> {
    let file = File::parse(&set.bytes, set.at).map_err(damage)?;
    let node = Node(set.at / SLOT as u64 * 2 + u64::from(is_run));
    let kind = if file.is_folder { NodeKind::Folder } else { NodeKind::File };
    Ok(Named { start: set.start, entry: Entry { name: file.name, node, kind, next: last.number + 1 }, alias: None })
}
