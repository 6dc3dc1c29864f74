//! Checks a whole image: every referenced cluster is counted, and a cluster that may be overwritten has exactly one
//! owner. Before an image is written the first error ends it; a check on the user's behalf reports them all.

use super::entry::{Compressed, QcowEntry, table};
use super::header::QcowHeader;
use super::refcount::Refcounts;
use super::snapshots::Snapshot;
use crate::image::Result;
use crate::image::alloc::UnitSet;
use crate::image::check::{Reading, Report};
use crate::ondisk::ParseError;
use crate::storage;
use crate::storage::File;
use crate::storage::InFile;

/// Entries of a level 1 table read at once.
const L1_CHUNK: u64 = 8192;

/// Who may use a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// One user that may change it.
    Own,
    /// Users that only read it: the current state and snapshots, or several compressed clusters.
    Shared,
    /// As `Shared`, and it is a level 2 table.
    SharedTable,
}

/// The state of a check.
struct Check<'a> {
    file: &'a File,
    header: &'a QcowHeader,
    refs: &'a Refcounts,
    file_len: u64,
    used: UnitSet,
    own: UnitSet,
    tables: UnitSet,
    report: Report<'a>,
}

/// Checks the image and returns the clusters that are in use. `snapshot_table` is the length of that table in bytes.
pub(super) fn check(
    file: &File,
    header: &QcowHeader,
    refs: &Refcounts,
    snapshots: &[Snapshot],
    snapshot_table: u64,
    report: Report<'_>,
) -> Result<UnitSet> {
    let file_len = storage::length(&**file)?;
    let set = || UnitSet::of_clusters(&**file, header.cluster_size());
    let mut check = Check { file, header, refs, file_len, used: set()?, own: set()?, tables: set()?, report };
    check.claim_table(0, 0, header.cluster_size())?;
    check.claim_table(40, header.l1_table_offset, u64::from(header.l1_size) * 8)?;
    check.claim_table(48, refs.table_offset, refs.table_clusters() << header.cluster_bits)?;
    for block in refs.block_offsets() {
        check.claim_table(refs.table_offset, block, header.cluster_size())?;
    }
    check.claim_table(64, header.snapshots_offset, snapshot_table)?;
    for snapshot in snapshots {
        check.claim_table(header.snapshots_offset, snapshot.l1_table_offset, u64::from(snapshot.l1_size) * 8)?;
    }
    check.level_1(header.l1_table_offset, header.l1_size, true)?;
    for snapshot in snapshots {
        check.level_1(snapshot.l1_table_offset, snapshot.l1_size, false)?;
    }
    Ok(check.used)
}

impl Check<'_> {
    /// Claims a structure of `len` bytes at `offset`, which the field at `at` names.
    fn claim_table(&mut self, at: u64, offset: u64, len: u64) -> Result<()> {
        let size = self.header.cluster_size();
        for cluster in offset / size..(offset + len).div_ceil(size) {
            self.claim(at, cluster, Claim::Own)?;
        }
        Ok(())
    }

    /// Claims a cluster for what the entry at `at` says.
    fn claim(&mut self, at: u64, cluster: u64, claim: Claim) -> Result<()> {
        let position = cluster << self.header.cluster_bits;
        let path = self.file.path();
        let cause = |expected: &str, found: std::fmt::Arguments<'_>| {
            ParseError::corrupt(at, "QCOW2 reference", expected, found).in_file(path)
        };
        if position >= self.file_len {
            let found = format_args!("one at {position}, past the end at {}", self.file_len);
            return (self.report)(cause("a cluster in the file", found), Reading::Error);
        }
        let count = self.refs.get(cluster)?;
        if count == 0 || claim == Claim::Own && count != 1 {
            let expected = if claim == Claim::Own { "a cluster with the refcount 1" } else { "a counted cluster" };
            let found = format_args!("one at {position} with the refcount {count}; run qemu-img check -r all");
            (self.report)(cause(expected, found), Reading::Fine)?;
        }
        let is_table = claim == Claim::SharedTable;
        let seen = self.used.contains(cluster);
        let mixed = seen && self.tables.contains(cluster) != is_table;
        if mixed || seen && claim == Claim::Own || self.own.contains(cluster) {
            let found = format_args!("one at {position}, which something else uses too");
            return (self.report)(cause("a cluster of its own", found), Reading::Stale);
        }
        self.used.insert(cluster);
        if claim == Claim::Own {
            self.own.insert(cluster);
        }
        if is_table {
            self.tables.insert(cluster);
        }
        Ok(())
    }

    /// Checks all that a level 1 table points to. Only those of the current state may be changed.
    fn level_1(&mut self, offset: u64, entries: u32, current: bool) -> Result<()> {
        let mut l2 = vec![0; 1 << self.header.cluster_bits];
        let mut index = 0;
        while index < u64::from(entries) {
            let count = (u64::from(entries) - index).min(L1_CHUNK);
            let mut raw = vec![0; usize::try_from(count * 8).unwrap_or(0)];
            if let Err(error) = storage::read_exact(&**self.file, &mut raw, offset + index * 8, "QCOW2 level 1 table") {
                return (self.report)(error, Reading::Error);
            }
            for (skip, raw) in raw.as_chunks::<8>().0.iter().enumerate() {
                let at = offset + (index + skip as u64) * 8;
                match table(u64::from_be_bytes(*raw), self.header, at).in_file(self.file.path()) {
                    Ok(Some((position, own))) => self.level_2(at, position, current && own, &mut l2)?,
                    Ok(None) => {}
                    Err(error) => (self.report)(error, Reading::Error)?,
                }
            }
            index += count;
        }
        Ok(())
    }

    fn level_2(&mut self, at: u64, position: u64, own: bool, buffer: &mut [u8]) -> Result<()> {
        let cluster = position >> self.header.cluster_bits;
        let known = self.tables.contains(cluster);
        self.claim(at, cluster, if own { Claim::Own } else { Claim::SharedTable })?;
        if known {
            return Ok(());
        }
        if let Err(error) = storage::read_exact(&**self.file, buffer, position, "QCOW2 level 2 table") {
            return (self.report)(error, Reading::Error);
        }
        let entry_size = usize::try_from(self.header.entry_size()).unwrap_or(16);
        for (index, raw) in buffer.chunks_exact(entry_size).enumerate() {
            let entry_at = position + (index * entry_size) as u64;
            match QcowEntry::decode(raw, self.header, entry_at).in_file(self.file.path()) {
                Ok(entry) => self.data(entry_at, entry, own)?,
                Err(error) => (self.report)(error, Reading::Error)?,
            }
        }
        Ok(())
    }

    fn data(&mut self, at: u64, entry: QcowEntry, own: bool) -> Result<()> {
        match entry {
            QcowEntry::Compressed(descriptor) => {
                for cluster in compressed_clusters(descriptor, self.header) {
                    self.claim(at, cluster, Claim::Shared)?;
                }
            }
            QcowEntry::Plain(plain) => {
                if let Some(host) = plain.host.filter(|_| !self.header.has_data_file()) {
                    let claim = if own && plain.exclusive { Claim::Own } else { Claim::Shared };
                    self.claim(at, host >> self.header.cluster_bits, claim)?;
                }
            }
        }
        Ok(())
    }
}

/// The clusters of the file that the data of a compressed cluster lies in.
pub(super) fn compressed_clusters(descriptor: u64, header: &QcowHeader) -> std::ops::Range<u64> {
    let compressed = Compressed::decode(descriptor, header.cluster_bits);
    let size = header.cluster_size();
    compressed.offset / size..(compressed.offset + compressed.len).div_ceil(size)
}
