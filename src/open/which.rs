//! Which disk the user means, and opening what was found. Everything that takes a disk takes a [`Which`].

use super::{DiskOptions, Lookup, OpenDisk, Result};
use crate::error_kind::message;
use crate::lock;
use crate::registry::Chain;
use std::ffi::OsString;

/// The disk that the user means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Which {
    /// A medium's UUID, or the path of an image.
    pub image: Option<OsString>,
    /// The snapshot that the image file itself has (QCOW, Parallels), by its name or id.
    pub snapshot: Option<String>,
}

/// The disks that were found, not yet opened.
pub struct Selection {
    /// What a user should know, a sentence each.
    pub warnings: Vec<String>,
    disks: Vec<(Option<String>, Result<Chain>)>,
    internal_snapshot: Option<String>,
}

/// The disks that are open. Their images stay locked as long as they are here.
pub struct OpenDisks {
    /// The disks, at least one. Those of a machine that is opened whole have the names of their slots, such as
    /// `SATA-0-0`; a disk that is opened by itself has none.
    pub disks: Vec<(Option<String>, OpenDisk)>,
    /// What a user should know, a sentence each: which disks could not be opened, what is doubtful about the others.
    pub warnings: Vec<String>,
}

impl Lookup {
    /// The disks that are meant.
    ///
    /// # Errors
    /// As [`chain`](Self::chain).
    pub fn find(&self, which: &Which, writable: bool) -> Result<Selection> {
        let found = self.chain(which.image.as_deref().unwrap_or_default(), writable)?;
        let disks = vec![(None, Ok(found.chain))];
        Ok(Selection { warnings: found.warnings, disks, internal_snapshot: which.snapshot.clone() })
    }
}

impl Selection {
    /// Locks and opens the disks. Of the disks of a machine, those that cannot be opened for reading are left out with a
    /// warning.
    ///
    /// # Errors
    /// As [`OpenDisk::open`]: of the first disk when none can be opened, of any disk for writing.
    pub fn open(self, lookup: &Lookup, options: &DiskOptions) -> Result<OpenDisks> {
        let options = DiskOptions { internal_snapshot: self.internal_snapshot, ..options.clone() };
        let (mut disks, mut warnings, mut failed) = (Vec::new(), Vec::new(), None);
        for (slot, found) in self.disks {
            match found.and_then(|chain| OpenDisk::open(lookup, chain, &options)) {
                Ok(disk) => {
                    let of_table = disk.table.notes.iter();
                    warnings
                        .extend(disk.warnings.iter().chain(of_table).map(|warning| of_slot(slot.as_deref(), warning)));
                    disks.push((slot, disk));
                }
                Err(e) if options.writable => return Err(e),
                Err(e) => {
                    warnings.push(of_slot(slot.as_deref(), &format!("not opened: {}", message(&e))));
                    failed.get_or_insert(e);
                }
            }
        }
        match failed {
            Some(e) if disks.is_empty() => Err(e),
            _ => Ok(OpenDisks { disks, warnings }),
        }
    }
}

impl OpenDisks {
    /// As [`OpenDisk::warning_of_writers`], of each disk.
    pub fn warnings_of_writers(&mut self) -> Vec<String> {
        let warning = |(slot, disk): &mut (Option<String>, OpenDisk)| {
            disk.warning_of_writers().map(|warning| of_slot(slot.as_deref(), &warning))
        };
        self.disks.iter_mut().filter_map(warning).collect()
    }

    /// As [`OpenDisk::into_locks`], of all disks.
    #[must_use]
    pub fn into_locks(self) -> Vec<lock::Guard> {
        self.disks.into_iter().flat_map(|(_, disk)| disk.into_locks()).collect()
    }
}

/// What is said of a disk, with its slot where there are several.
#[must_use]
pub fn of_slot(slot: Option<&str>, text: &str) -> String {
    slot.map_or_else(|| text.to_owned(), |slot| format!("{slot}: {text}"))
}
