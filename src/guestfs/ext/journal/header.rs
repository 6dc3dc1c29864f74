//! The journal's superblock, in its first block. Field names and offsets are those of the kernel's
//! `struct journal_superblock_s` (`include/linux/jbd2.h`).

use super::{MAGIC, sums};
use crate::guestfs::ext::checksum;
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// `h_blocktype` of superblocks; the first one has no features.
const SUPERBLOCK_V1: u32 = 3;
const SUPERBLOCK_V2: u32 = 4;
/// Bit of `s_feature_compat`: checksums of version 1.
const COMPAT_CHECKSUM: u32 = 0x1;
/// Bits of `s_feature_incompat`.
const INCOMPAT_REVOKE: u32 = 0x1;
const INCOMPAT_64BIT: u32 = 0x2;
const INCOMPAT_ASYNC_COMMIT: u32 = 0x4;
const INCOMPAT_CSUM_V2: u32 = 0x8;
const INCOMPAT_CSUM_V3: u32 = 0x10;
const INCOMPAT_FAST_COMMIT: u32 = 0x20;
const INCOMPAT_KNOWN: u32 = INCOMPAT_REVOKE
    | INCOMPAT_64BIT
    | INCOMPAT_ASYNC_COMMIT
    | INCOMPAT_CSUM_V2
    | INCOMPAT_CSUM_V3
    | INCOMPAT_FAST_COMMIT;
/// `s_checksum_type`: CRC-32C.
const CRC32C: u8 = 4;
/// Bytes of the superblock that its checksum is of, and where that is.
const SIZE: usize = 1024;
const SUM: usize = 0xFC;
/// The most blocks of a journal that are read: 16 GiB with blocks of 4 KiB, sixteen times what mke2fs makes at most.
const MAX_BLOCKS: u32 = 4 << 20;
/// Blocks that the ring has at least when it leaves room for the short form; 256 blocks of that are the default.
const MIN_RING: u32 = 1024;
const FAST_COMMIT_BLOCKS: u32 = 256;

/// The journal's superblock.
pub(super) struct JournalHeader {
    /// `s_first`, and the block after the last one of the ring.
    pub(super) first: u32,
    pub(super) last: u32,
    /// The blocks with changes in the short form: the first one, and the one after the last.
    pub(super) fast: (u32, u32),
    /// `s_sequence`: the number of the first transaction.
    pub(super) sequence: u32,
    /// `s_start`: where that begins; 0 in a journal that is not to be replayed.
    pub(super) start: u32,
    pub(super) wide: bool,
    pub(super) sums_v1: bool,
    pub(super) sums_v3: bool,
    /// What the checksums of versions 2 and 3 begin with; none without them.
    pub(super) seed: Option<u32>,
    /// A commit block may reach the disk before the blocks of its transaction.
    pub(super) async_commit: bool,
}

impl JournalHeader {
    /// Parses the block that is at byte `at` of the volume.
    pub(super) fn parse(bytes: &[u8], at: u64, block_size: u32) -> Result<Self, ParseError> {
        let f = Fields::new("journal superblock", bytes, at);
        let rule = |offset: usize, what: &str, expected: String, found: String| {
            ParseError::corrupt(f.offset(offset), what, expected, found)
        };
        let (magic, kind, size) = (f.u32_be(0)?, f.u32_be(4)?, f.u32_be(12)?);
        if magic != MAGIC {
            return Err(rule(0, "magic number of the journal", format!("{MAGIC:#x}"), format!("{magic:#x}")));
        }
        if !matches!(kind, SUPERBLOCK_V1 | SUPERBLOCK_V2) {
            return Err(rule(4, "type of the journal's first block", "a superblock (3 or 4)".into(), kind.to_string()));
        }
        if size != block_size {
            return Err(rule(12, "block size of the journal", block_size.to_string(), size.to_string()));
        }
        let features = |at| if kind == SUPERBLOCK_V1 { Ok(0) } else { f.u32_be(at) };
        let (compat, incompat) = (features(36)?, features(40)?);
        let has = |bit: u32| incompat & bit != 0;
        if incompat & !INCOMPAT_KNOWN != 0 {
            let expected = format!("only bits of {INCOMPAT_KNOWN:#x}");
            return Err(rule(40, "features of the journal", expected, format!("{incompat:#x}")));
        }
        let sums_v1 = compat & COMPAT_CHECKSUM != 0;
        let versions = [sums_v1, has(INCOMPAT_CSUM_V2), has(INCOMPAT_CSUM_V3)];
        if versions.iter().filter(|version| **version).count() > 1 {
            let found = format!("{compat:#x} and {incompat:#x}");
            return Err(rule(36, "features of the journal", "one version of checksums".into(), found));
        }
        let seed = if versions[1] || versions[2] { Some(seed(&f)?) } else { None };

        let (blocks, first) = (f.u32_be(16)?, f.u32_be(20)?);
        if blocks > MAX_BLOCKS || first == 0 || first >= blocks {
            let found = format!("{first} to {blocks}");
            return Err(rule(16, "blocks of the journal", format!("1 to {MAX_BLOCKS}"), found));
        }
        let (mut last, mut fast) = (blocks, (blocks, blocks));
        if has(INCOMPAT_FAST_COMMIT) {
            let count = Some(f.u32_be(84)?).filter(|n| *n > 0).unwrap_or(FAST_COMMIT_BLOCKS);
            if let Some(ring) = blocks.checked_sub(count).filter(|ring| *ring >= MIN_RING && *ring > first) {
                last = ring;
                // The kernel leaves a block between.
                fast = (blocks.min(ring + 1), blocks);
            }
        }
        let start = f.u32_be(28)?;
        if start != 0 && !(first..last).contains(&start) {
            return Err(rule(28, "start of the journal", format!("{first} to {}", last - 1), start.to_string()));
        }
        Ok(Self {
            first,
            last,
            fast,
            sequence: f.u32_be(24)?,
            start,
            wide: has(INCOMPAT_64BIT),
            sums_v1,
            sums_v3: has(INCOMPAT_CSUM_V3),
            seed,
            async_commit: has(INCOMPAT_ASYNC_COMMIT),
        })
    }

    /// Bytes of a tag without the UUID that may follow. Of version 2 each is two bytes longer than its fields, as in
    /// the kernel.
    pub(super) fn tag_size(&self) -> usize {
        match (self.sums_v3, self.seed) {
            (true, _) => 16,
            (false, seed) => 8 + if self.wide { 4 } else { 0 } + if seed.is_some() { 2 } else { 0 },
        }
    }

    /// Where the content of a block of `len` bytes that is no data ends: before its checksum, if it has one.
    pub(super) fn end(&self, len: usize) -> usize {
        if self.seed.is_some() { len.saturating_sub(4) } else { len }
    }
}

/// The sum of the journal's UUID, when that of the superblock itself fits.
fn seed(f: &Fields<'_>) -> Result<u32, ParseError> {
    let kind = f.u8(80)?;
    if kind != CRC32C {
        return Err(ParseError::corrupt(f.offset(80), "type of the journal's checksums", CRC32C, kind));
    }
    let stated = f.u32_be(SUM)?;
    let found = sums::of_block(!0, f.bytes(0, SIZE)?, SUM, SIZE);
    if stated != found {
        let (expected, found) = (format!("{found:#010x}"), format!("{stated:#010x}"));
        return Err(ParseError::corrupt(f.offset(SUM), "checksum of the journal's superblock", expected, found));
    }
    Ok(checksum(!0, f.bytes(48, 16)?))
}
