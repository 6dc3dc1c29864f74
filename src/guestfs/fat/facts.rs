//! The file system's own facts: label, free space, whether it was cleanly unmounted. The FSInfo sector is described in
//! Microsoft's specification (<https://academy.cba.mit.edu/classes/networking_communications/SD/FAT.pdf>, chapter 5).

use super::{Fat, type_name};
use crate::guestfs::dos::{FIRST_CLUSTER, Width, serial};
use crate::guestfs::{Facts, Result, shortage};
use crate::ondisk::fields::Fields;

/// `FSI_LeadSig` and `FSI_StrucSig`.
const LEAD: u32 = 0x4161_5252;
const STRUCTURE: u32 = 0x6141_7272;
/// Tables up to this size in bytes are read to count free clusters; for larger ones the recorded count is used.
const COUNTED: u64 = 256 << 10;
/// The longest name: 255 UTF-16 units of at most three bytes each.
const NAME_MAX: u32 = 765;
const DIRTY: &str = "It was not cleanly unmounted: the newest changes may be missing";
const ERRORS: &str = "The guest met errors of its disk; check it from within the guest";

impl Fat {
    /// Leaves out what is too corrupt to read: files may still be readable, and reading them reports the corruption.
    pub(super) fn read_facts(&self) -> Facts {
        Facts {
            type_name: type_name(self.boot.width),
            // The boot sector may still have a label that was erased from the root directory.
            label: self.root_label().map_or_else(|_| self.boot.label.clone(), Option::unwrap_or_default),
            uuid: self.boot.serial.map(serial).unwrap_or_default(),
            block_size: u32::try_from(self.boot.cluster).unwrap_or(u32::MAX),
            blocks: self.boot.clusters.into(),
            free_blocks: self.free().unwrap_or(0).into(),
            name_max: NAME_MAX,
            notes: self.notes(),
            ..Facts::default()
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        // There is no cluster 1; the upper bits of its entry are two flags: cleanly unmounted, and no I/O errors. All
        // other bits are set.
        let value = self.heap.chains.table.cursor().value(1).unwrap_or(0);
        let (clean, no_errors) = match self.boot.width {
            Width::Fat16 if value & 0x3FF8 == 0x3FF8 => (value & 0x8000 != 0, value & 0x4000 != 0),
            Width::Fat32 if value & 0x03FF_FFF8 == 0x03FF_FFF8 => (value & 0x0800_0000 != 0, value & 0x0400_0000 != 0),
            _ => (true, true),
        };
        if self.boot.dirty || !clean {
            notes.push(DIRTY.to_owned());
        }
        if !no_errors {
            notes.push(ERRORS.to_owned());
        }
        let end = self.boot.data + u64::from(self.boot.clusters) * self.boot.cluster;
        notes.extend(shortage(end, self.heap.blocks.size()));
        notes
    }

    /// Free clusters: counted in a small table, else as recorded; 0 when the record is invalid.
    fn free(&self) -> Result<u32> {
        if self.boot.table.1 <= COUNTED {
            let mut cursor = self.heap.chains.table.cursor();
            let mut free = 0;
            for cluster in FIRST_CLUSTER..self.heap.chains.table.end() {
                free += u32::from(cursor.value(cluster)? == 0);
            }
            return Ok(free);
        }
        let Some(at) = self.boot.info.filter(|at| *at < self.boot.table.0) else { return Ok(0) };
        let mut raw = [0; super::boot::SIZE];
        self.heap.blocks.read_at(at, &mut raw)?;
        let f = Fields::new("FSInfo sector", &raw, at);
        Ok(match (f.u32_le(0)?, f.u32_le(484)?, f.u32_le(488)?) {
            (LEAD, STRUCTURE, free) if free <= self.boot.clusters => free, // FSI_Free_Count
            _ => 0,
        })
    }
}
