//! Reading the grain directories of a sparse extent. Where the first is corrupt, the redundant one is used.

use super::geometry::SECTOR;
use super::grains::{Grain, Grains};
use crate::image::Result;
use crate::ondisk::ParseError;
use crate::storage;

/// More grain tables in all extents together are refused: their offsets are held in memory (32 TiB of a disk with
/// tables of 512 grains of 64 KiB).
pub(super) const MAX_TABLES: u64 = 1 << 20;

/// What is wrong with a map that can be read all the same.
#[derive(Debug, Default)]
pub(super) struct Corrupt {
    /// Grain tables that are read from their redundant copies.
    pub(super) replaced: u64,
    /// What was found first.
    pub(super) first: Option<String>,
}

impl Corrupt {
    pub(super) fn found(&mut self, error: &dyn std::error::Error) {
        self.first.get_or_insert_with(|| crate::error_kind::message(error));
    }
}

impl Grains {
    /// Reads the directories.
    ///
    /// # Errors
    /// `Corrupt` for a directory or grain table outside of the file that no redundant one stands in for; with `force`,
    /// reading what it maps fails instead.
    pub(super) fn load(&mut self, force: bool) -> Result<Corrupt> {
        let mut corrupt = Corrupt::default();
        let first = self.read_directory(self.geometry.directory_at);
        let second = self.geometry.redundant_at.map(|at| self.read_directory(at));
        let (directory, redundant) = match (first, second) {
            (Ok(first), None) => {
                self.check_directory(&first, force)?;
                (first, Vec::new())
            }
            (Ok(first), Some(Ok(second))) => (self.merge(first, &second, force, &mut corrupt)?, second),
            (Ok(first), Some(Err(error))) => {
                corrupt.found(&error);
                self.check_directory(&first, force)?;
                (first, Vec::new())
            }
            (Err(error), Some(Ok(second))) => {
                corrupt.found(&error);
                corrupt.replaced = second.len() as u64;
                self.check_directory(&second, force)?;
                (second, Vec::new())
            }
            (Err(error), _) => return Err(error),
        };
        self.directory = directory.into_iter().map(Into::into).collect();
        self.redundant = redundant.into_iter().map(Into::into).collect();
        Ok(corrupt)
    }

    fn read_directory(&self, at: u64) -> Result<Vec<u32>> {
        let what = "VMDK grain directory";
        let position = self.geometry.directory(at);
        if position.end > self.len() {
            let expected = format!("{} entries up to offset {}", self.geometry.tables(), position.end);
            let found = format!("the end of the file at {}", self.len());
            return Err(self.cause(ParseError::corrupt(at, what, expected, found)));
        }
        let len = usize::try_from(position.end - at).unwrap_or(usize::MAX);
        let mut raw = vec![0; len];
        storage::read_exact(&**self.file(), &mut raw, at, what)?;
        Ok(raw.as_chunks::<4>().0.iter().map(|raw| u32::from_le_bytes(*raw)).collect())
    }

    fn check_entry(&self, table: usize, raw: u32) -> Result<()> {
        match Grain::decode(raw, self.geometry.zero_grains) {
            Grain::At(at) => self.check_table(table as u64, at),
            _ => Ok(()),
        }
    }

    fn check_directory(&self, entries: &[u32], force: bool) -> Result<()> {
        entries.iter().enumerate().filter(|_| !force).try_for_each(|(table, raw)| self.check_entry(table, *raw))
    }

    /// The entries of the first directory, or of the second where the first one's are corrupt.
    fn merge(&self, mut first: Vec<u32>, second: &[u32], force: bool, corrupt: &mut Corrupt) -> Result<Vec<u32>> {
        let is_table = |raw: u32| matches!(Grain::decode(raw, self.geometry.zero_grains), Grain::At(_));
        for (table, (entry, other)) in first.iter_mut().zip(second).enumerate() {
            let cause = self.check_entry(table, *entry).err();
            let stands_in = is_table(*other) && self.check_entry(table, *other).is_ok();
            if is_table(*entry) && cause.is_none() {
                if !stands_in || entry == other {
                    corrupt.found(&self.malformed_redundant(table, *other));
                }
            } else if stands_in {
                corrupt.found(&cause.unwrap_or_else(|| self.malformed_redundant(table, *other)));
                corrupt.replaced += 1;
                *entry = *other;
            } else if let Some(cause) = cause {
                if !force {
                    return Err(cause);
                }
            } else if entry != other {
                corrupt.found(&self.malformed_redundant(table, *other));
            }
        }
        Ok(first)
    }

    fn malformed_redundant(&self, table: usize, raw: u32) -> crate::image::Error {
        let at = self.geometry.redundant_at.unwrap_or_default() + 4 * table as u64;
        let what = format!("{} redundant grain directory entry {table}", self.geometry.format);
        let found = format!("sector {raw} (offset {})", u64::from(raw) * SECTOR);
        self.cause(ParseError::corrupt(
            at,
            what,
            "a grain table where the first directory has one, and not the same",
            found,
        ))
    }
}
