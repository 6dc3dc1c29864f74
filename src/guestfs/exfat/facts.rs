//! What the root directory records about the volume: its label, and the locations of the bitmap and the up-case table.

use super::boot::Boot;
use super::entry::{SlotKind, kind};
use super::{TYPE, root};
use crate::guestfs::dos::{Heap, Location, SLOT, serial};
use crate::guestfs::{Facts, shortage};
use std::ops::ControlFlow;

/// Bitmaps up to this size in bytes are read to count free clusters; for larger ones the recorded percentage is used.
const COUNTED: u64 = 1 << 20;
/// The longest name: 255 UTF-16 units of at most three bytes each.
const NAME_MAX: u32 = 765;
/// The most units in a label.
const MAX_LABEL: usize = 11;
/// `BitmapFlags`: belongs to the second table.
const OF_SECOND: u8 = 1;

/// The slots of the root directory that describe the volume.
#[derive(Default)]
pub(super) struct System {
    label: String,
    /// `FirstCluster` and `DataLength` of the bitmap.
    bitmap: Option<(u32, u64)>,
    /// Offset of the slot of the up-case table, and its checksum, first cluster, and length in bytes.
    pub(super) upper: Option<(u64, u32, u32, u64)>,
}

fn word(raw: &[u8; SLOT], at: usize) -> u32 {
    u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]])
}

impl System {
    /// Reads as far as the root directory is readable: files may still be readable, and listing it reports the
    /// corruption.
    pub(super) fn read(heap: &Heap, boot: &Boot) -> Self {
        let mut system = Self::default();
        let _ = heap.slots(root(boot), 0, &mut |slot| {
            let slot = slot?;
            let raw = slot.raw;
            // FirstCluster, DataLength
            let (first, len) = (word(raw, 20), u64::from(word(raw, 24)) | u64::from(word(raw, 28)) << 32);
            match (SlotKind::of(raw), raw[0]) {
                (SlotKind::End, _) => return Ok(ControlFlow::Break(())),
                (_, kind::VOLUME_LABEL) => {
                    let (units, _) = raw[2..].as_chunks::<2>();
                    let count = usize::from(raw[1]).min(MAX_LABEL); // CharacterCount
                    let units: Vec<u16> = units[..count].iter().map(|pair| u16::from_le_bytes(*pair)).collect();
                    system.label = String::from_utf16_lossy(&units);
                }
                (_, kind::ALLOCATION_BITMAP) if (raw[1] & OF_SECOND != 0) == boot.second => {
                    system.bitmap = Some((first, len));
                }
                (_, kind::UP_CASE_TABLE) => system.upper = Some((slot.at, word(raw, 4), first, len)), // TableChecksum
                _ => {}
            }
            Ok(ControlFlow::Continue(()))
        });
        system
    }
}

pub(super) fn facts(heap: &Heap, boot: &Boot, system: &System) -> Facts {
    let mut notes = Vec::new();
    if boot.backup {
        notes.push("Its boot region is corrupt; the backup is used".to_owned());
    }
    if boot.dirty {
        notes.push("It was not cleanly unmounted: the newest changes may be missing".to_owned());
    }
    if boot.media_failure {
        notes.push("The guest met errors of its disk; check it from within the guest".to_owned());
    }
    let end = boot.heap + u64::from(boot.clusters) * boot.cluster;
    notes.extend(shortage(end, heap.blocks.size()));
    let blocks = u64::from(boot.clusters);
    Facts {
        type_name: TYPE,
        label: system.label.clone(),
        uuid: serial(boot.serial),
        block_size: u32::try_from(boot.cluster).unwrap_or(u32::MAX),
        blocks,
        free_blocks: free(heap, boot, system).unwrap_or_else(|| {
            let percent = boot.percent_in_use.unwrap_or(100);
            blocks * (100 - u64::from(percent)) / 100
        }),
        name_max: NAME_MAX,
        notes,
        ..Facts::default()
    }
}

/// Free clusters, counted when the bitmap is valid and small.
fn free(heap: &Heap, boot: &Boot, system: &System) -> Option<u64> {
    let (first, len) = system.bitmap?;
    let needed = u64::from(boot.clusters).div_ceil(8);
    if needed > COUNTED || len < needed || !heap.chains.table.has(first) {
        return None;
    }
    let mut bits = vec![0; usize::try_from(needed).ok()?];
    heap.read(Location::Chain { first, clusters: needed.div_ceil(heap.cluster) }, 0, &mut bits).ok()?;
    let used: u64 = bits.iter().map(|byte| u64::from(byte.count_ones())).sum();
    // The last byte may have bits past the last cluster.
    let beyond = u32::try_from(needed * 8 - u64::from(boot.clusters)).unwrap_or(0);
    let last = bits.last().map_or(0, |last| last.checked_shr(8 - beyond).unwrap_or(0).count_ones());
    Some(u64::from(boot.clusters).saturating_sub(used - u64::from(last)))
}
