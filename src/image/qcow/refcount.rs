//! Refcounts: how many references each cluster of the file has.

use super::header::{MAX_OFFSET, MAX_REFCOUNT_TABLE, QcowHeader};
use crate::image::{Error, Result};
use crate::ondisk::ParseError;
use crate::storage;
use crate::storage::File;
use crate::storage::meta::{MetaCache, PAGE};
use std::collections::BTreeSet;

/// Bytes of refcount blocks cached in memory.
const CACHE: usize = 1 << 20;
/// `refcount_table_offset` and, directly after it, `refcount_table_clusters` in the header.
const TABLE_FIELDS: u64 = 48;

/// The refcount table, all in memory (at most [`MAX_REFCOUNT_TABLE`] bytes), and the blocks that it points to.
#[derive(Debug)]
pub(super) struct Refcounts {
    order: u32,
    per_block: u64,
    cluster_bits: u32,
    pub(super) blocks: MetaCache,
    /// Where each block is; 0 where there is none.
    table: Vec<u64>,
    pub(super) table_offset: u64,
    /// Entries of the table that the file does not have yet.
    new: BTreeSet<usize>,
}

impl Refcounts {
    pub(super) fn read(file: &File, header: &QcowHeader) -> Result<Self> {
        let bytes = u64::from(header.refcount_table_clusters) << header.cluster_bits;
        let mut raw = vec![0; usize::try_from(bytes.min(MAX_REFCOUNT_TABLE)).unwrap_or(0)];
        storage::read_exact(&**file, &mut raw, header.refcount_table_offset, "QCOW2 refcount table")?;
        let mut table = Vec::with_capacity(raw.len() / 8);
        for (index, raw) in raw.as_chunks::<8>().0.iter().enumerate() {
            let block = u64::from_be_bytes(*raw);
            if !block.is_multiple_of(header.cluster_size()) || block > MAX_OFFSET {
                let at = header.refcount_table_offset + 8 * index as u64;
                let expected = format_args!("a multiple of {}", header.cluster_size());
                let cause = ParseError::corrupt(at, "QCOW2 refcount table entry", expected, format_args!("{block:#x}"));
                return Err(cause.in_file(file.path()));
            }
            table.push(block);
        }
        Ok(Self {
            order: header.refcount_order,
            per_block: header.refcounts_per_block(),
            cluster_bits: header.cluster_bits,
            blocks: MetaCache::with_pages(file.clone(), CACHE, PAGE.min(1 << header.cluster_bits)),
            table,
            table_offset: header.refcount_table_offset,
            new: BTreeSet::new(),
        })
    }

    fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Where the blocks are.
    pub(super) fn block_offsets(&self) -> impl Iterator<Item = u64> {
        self.table.iter().copied().filter(|block| *block != 0)
    }

    /// Clusters that the table takes in the file.
    pub(super) fn table_clusters(&self) -> u64 {
        (self.table.len() as u64 * 8) >> self.cluster_bits
    }

    /// The first cluster that no table entry is for.
    pub(super) fn table_end(&self) -> u64 {
        self.table.len() as u64 * self.per_block
    }

    fn block_of(&self, cluster: u64) -> Option<u64> {
        let index = usize::try_from(cluster / self.per_block).ok()?;
        self.table.get(index).copied().filter(|block| *block != 0)
    }

    pub(super) fn has_block(&self, cluster: u64) -> bool {
        self.block_of(cluster).is_some()
    }

    /// Where in a block the refcount of a cluster begins: byte and, for less than 8 bits, bit.
    fn position(&self, cluster: u64) -> (u64, u32) {
        let bit = (cluster % self.per_block) << self.order;
        (bit / 8, u32::try_from(bit % 8).unwrap_or(0))
    }

    /// Bytes that hold a refcount.
    fn width(&self) -> usize {
        1 << self.order.saturating_sub(3)
    }

    /// The refcount of a cluster; 0 where no block says anything.
    pub(super) fn get(&self, cluster: u64) -> Result<u64> {
        let Some(block) = self.block_of(cluster) else { return Ok(0) };
        let (byte, bit) = self.position(cluster);
        let mut raw = [0; 8];
        self.blocks.read(block + byte, &mut raw[8 - self.width()..], "QCOW2 refcount")?;
        let value = u64::from_be_bytes(raw);
        Ok(if self.order < 3 { value >> bit & ((1 << (1 << self.order)) - 1) } else { value })
    }

    /// Changes the refcount of a cluster that has a block. The value is at most one more than any that was there.
    pub(super) fn set(&self, cluster: u64, value: u64) -> Result<()> {
        let Some(block) = self.block_of(cluster) else { return Ok(()) };
        let (byte, bit) = self.position(cluster);
        let mut raw = value.to_be_bytes();
        if self.order < 3 {
            let mut old = [0];
            self.blocks.read(block + byte, &mut old, "QCOW2 refcount")?;
            let mask = ((1_u8 << (1 << self.order)) - 1) << bit;
            raw[7] = old[0] & !mask | raw[7] << bit & mask;
        }
        self.blocks.write(block + byte, &raw[8 - self.width()..])
    }

    /// Makes `cluster` the block for the clusters around it, itself among them.
    pub(super) fn add_block(&mut self, cluster: u64) -> Result<()> {
        let index = usize::try_from(cluster / self.per_block).unwrap_or(usize::MAX);
        let offset = cluster << self.cluster_bits;
        self.blocks.write(offset, &vec![0; 1 << self.cluster_bits])?;
        if let Some(entry) = self.table.get_mut(index) {
            *entry = offset;
            self.new.insert(index);
        }
        self.set(cluster, 1)
    }

    /// Puts a table of twice the size after all that the old one is for, and blocks for itself. Returns the first
    /// cluster after these and the clusters of the old table, which are free once this returns.
    pub(super) fn grow(&mut self) -> Result<(u64, std::ops::Range<u64>)> {
        let file = self.blocks.file().clone();
        let old_clusters = self.table_clusters();
        let clusters = (old_clusters * 2).min(MAX_REFCOUNT_TABLE >> self.cluster_bits);
        if clusters <= old_clusters {
            let reason = "its refcount table cannot grow any more; convert it to larger clusters";
            return Err(Error::full(file.path(), reason));
        }
        let start = self.table_end();
        let mut end = start + clusters + 1;
        while (end - start - clusters) * self.per_block < end - start {
            end += 1;
        }
        let old_len = self.table.len();
        if let Err(error) = self.write_grown(start, clusters, end) {
            self.table.truncate(old_len);
            return Err(error);
        }
        let old_start = self.table_offset / self.cluster_size();
        self.table_offset = start << self.cluster_bits;
        self.new.clear();
        storage::sync(&*file)?;
        Ok((end, old_start..old_start + old_clusters))
    }

    /// Writes a table of `clusters` clusters at the cluster `start`, the blocks after it up to `end`, and the
    /// header's fields. Blocks, then the table, then the header: each is on the disk before something points to it.
    fn write_grown(&mut self, start: u64, clusters: u64, end: u64) -> Result<()> {
        let file = self.blocks.file().clone();
        let old_len = self.table.len();
        self.table.resize(usize::try_from((clusters << self.cluster_bits) / 8).unwrap_or(old_len), 0);
        for (entry, block) in self.table[old_len..].iter_mut().zip(start + clusters..end) {
            *entry = block << self.cluster_bits;
            self.blocks.write(*entry, &vec![0; 1 << self.cluster_bits])?;
        }
        for cluster in start..end {
            self.set(cluster, 1)?;
        }
        self.blocks.write_back()?;
        storage::sync(&*file)?;
        let table: Vec<u8> = self.table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        let offset = start << self.cluster_bits;
        storage::write_all(&*file, &table, offset)?;
        storage::sync(&*file)?;
        let mut fields = offset.to_be_bytes().to_vec();
        fields.extend(u32::try_from(clusters).unwrap_or(u32::MAX).to_be_bytes());
        storage::write_all(&*file, &fields, TABLE_FIELDS)
    }

    /// Puts all changes on the disk: the blocks before the table that points to them.
    pub(super) fn flush(&mut self) -> Result<()> {
        let file = self.blocks.file();
        self.blocks.write_through()?;
        if !self.new.is_empty() {
            for index in &self.new {
                let at = self.table_offset + 8 * *index as u64;
                storage::write_all(&**file, &self.table[*index].to_be_bytes(), at)?;
            }
            storage::sync(&**file)?;
            self.new.clear();
        }
        Ok(())
    }

    pub(super) fn pending(&self) -> usize {
        self.blocks.pending() + self.new.len() * 8
    }
}
