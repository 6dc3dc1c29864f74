//! Finding, replaying and refusing logs.

use super::*;
use crate::disk::ChainDisk;
use crate::disk::testing::all;
use crate::image::vhdx::testing::{Change, LOG, entry, filled, header, sum};
use crate::storage::read_exact;
use crate::storage::testing::Op;

const MB: u64 = MIB as u64;
const GUID: Uuid = Uuid::from_u128(42);

/// [`two_blocks`] with a log of these entries, each at an offset of the log in bytes.
fn logged(entries: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = two_blocks().bytes();
    bytes[128 << 10..][..4096].copy_from_slice(&header(2, Uuid::from_u128(1), GUID));
    for (at, entry) in entries {
        let first = entry.len().min(MIB - at);
        bytes[LOG + at..][..first].copy_from_slice(&entry[..first]);
        bytes[LOG..][..entry.len() - first].copy_from_slice(&entry[first..]);
    }
    bytes
}

/// The lengths in entries for the file of [`two_blocks`].
const LENGTHS: (u64, u64) = (6 * MB, 6 * MB);

/// An entry that fills a sector of block 0.
fn fills(sequence: u64, tail: u32, fill: u8) -> Vec<u8> {
    entry(GUID, sequence, tail, LENGTHS, &[Change::Fill(5 * MB + 4096, fill)])
}

/// What the second sector of the disk is after replay, in memory and in the file.
fn replayed(bytes: Vec<u8>) -> Vec<u8> {
    let disk = ChainDisk::new(vec![open_good(bytes.clone())], Vec::new());
    let file = MemFile::new("/t/a.vhdx", bytes);
    let written = open(file.clone(), OpenOptions { writable: true, ..OpenOptions::default() }).unwrap();
    assert_eq!(written.info().notes, ["It was not cleanly closed; its log was replayed"]);
    let again = ChainDisk::new(vec![open_good(file.bytes())], Vec::new());
    assert!(all(&disk) == all(&again), "replay in memory and in the file differ");
    assert!(again.links()[0].info().notes.is_empty(), "the log is empty afterwards");
    all(&disk)[4096..8192].to_vec()
}

#[test]
fn an_entry_is_replayed() {
    let bytes = logged(&[(0, fills(7, 0, 99))]);
    assert_eq!(open_good(bytes.clone()).info().notes, ["It was not cleanly closed; its log is replayed in memory"]);
    assert_eq!(replayed(bytes), filled(99));
}

#[test]
fn the_table_is_replayed_before_it_is_read() {
    // Block 1 gets the offset of block 0, and all of the rest of the table is not there.
    let mut sector = vec![0; 4096];
    sector[8..16].copy_from_slice(&(5 * MB + 6).to_le_bytes());
    let mut log = entry(GUID, 7, 0, LENGTHS, &[Change::Fill(TABLE as u64, 0)]);
    log[64 + 4..64 + 16].fill(0);
    log[4096 + 8..][..4084].copy_from_slice(&sector[8..4092]);
    sum(&mut log);
    let image = open_good(logged(&[(0, log)]));
    assert_eq!(image.extent(0, 4 * MB).unwrap().extent, crate::image::Extent::Absent);
    assert_eq!(image.extent(MB, MB).unwrap().extent, crate::image::Extent::Stored { file: 0, offset: 5 * MB });
}

#[test]
fn a_sequence_is_replayed_from_its_tail_in_order() {
    let first = fills(7, 0, 1);
    let second = fills(8, 8192, 2);
    let zeros = entry(GUID, 9, 8192, LENGTHS, &[Change::Zero(5 * MB, 3 * 4096), Change::Fill(5 * MB, 3)]);
    let bytes = logged(&[(0, first), (8192, second), (16384, zeros)]);
    assert_eq!(replayed(bytes.clone()), vec![0; 4096]);
    let disk = ChainDisk::new(vec![open_good(bytes)], Vec::new());
    let bytes = all(&disk);
    assert_eq!(bytes[..4096], filled(3));
    assert_eq!(bytes[8192..3 * 4096], [0; 4096]);
    assert_eq!(bytes[3 * 4096], 8);
}

#[test]
fn a_log_goes_on_at_its_start() {
    let last = MIB - 8192;
    let tail = u32::try_from(last).unwrap();
    let bytes = logged(&[(last, fills(7, tail, 1)), (0, fills(8, tail, 2))]);
    assert_eq!(replayed(bytes), filled(2));
    let split = MIB - 4096;
    let bytes = logged(&[(split, fills(7, u32::try_from(split).unwrap(), 5))]);
    assert_eq!(replayed(bytes), filled(5));
}

#[test]
fn the_newest_whole_sequence_counts() {
    // A torn entry after the second, entries of another log, and an older sequence after it.
    let mut torn = fills(9, 0, 3);
    torn[5000] ^= 1;
    let other = entry(Uuid::from_u128(43), 20, 40960, LENGTHS, &[Change::Fill(5 * MB + 4096, 4)]);
    let old = fills(3, 81920, 5);
    let bytes = logged(&[(0, fills(7, 0, 1)), (8192, fills(8, 0, 2)), (16384, torn), (40960, other), (81920, old)]);
    assert_eq!(replayed(bytes), filled(2));
    // A sequence whose oldest entry is gone is not whole.
    let bytes = logged(&[(0, fills(3, 0, 1)), (8192, fills(8, 65536, 2))]);
    assert_eq!(replayed(bytes), filled(1));
}

#[test]
fn a_file_becomes_as_long_as_the_log_says() {
    let long = entry(GUID, 7, 0, (6 * MB, 9 * MB), &[]);
    let file = MemFile::new("/t/a.vhdx", logged(&[(0, long.clone())]));
    open(file.clone(), OpenOptions { writable: true, ..OpenOptions::default() }).unwrap();
    assert_eq!(file.bytes().len(), 9 * MIB);
    let image = open_good(logged(&[(0, long)]));
    let mut bytes = vec![1; 5000];
    read_exact(&*image.files()[0], &mut bytes, 9 * MB - 5000, "zeros").unwrap();
    assert_eq!(bytes, vec![0; 5000]);
    assert!(read_exact(&*image.files()[0], &mut bytes, 9 * MB - 4999, "zeros").is_err());
}

#[test]
fn reading_leaves_the_file_alone_and_replay_keeps_its_order() {
    let file = MemFile::new("/t/a.vhdx", logged(&[(0, fills(7, 0, 99))]));
    open(file.clone(), OpenOptions::default()).unwrap();
    assert!(file.ops().is_empty());
    open(file.clone(), OpenOptions { writable: true, ..OpenOptions::default() }).unwrap();
    let kinds: Vec<u64> = file
        .ops()
        .iter()
        .map(|op| match op {
            Op::Write { offset, .. } => *offset,
            _ => 0,
        })
        .collect();
    assert_eq!(kinds, [64 << 10, 0, 5 * MB + 4096, 0, 128 << 10, 0], "header, sync, change, sync, header, sync");
}

#[test]
fn log_that_would_corrupt_the_image_is_not_replayed_in_the_file() {
    let bytes = logged(&[(0, entry(GUID, 7, 0, LENGTHS, &[Change::Fill(TABLE as u64, 0xFC)]))]);
    let file = MemFile::new("/t/a.vhdx", bytes);
    assert!(open(file.clone(), OpenOptions { writable: true, ..OpenOptions::default() }).is_err());
    assert!(file.ops().is_empty());
}

#[test]
fn a_log_without_a_whole_sequence_is_an_error() {
    let mut torn = fills(7, 0, 1);
    torn[5000] ^= 1;
    let text = message(logged(&[(0, torn.clone())]));
    assert!(text.contains(&format!("VHDX log at offset 1048576 (0x100000): expected a whole sequence of valid entries, found none with the header's LogGuid {GUID}")), "{text}");
    let forced = OpenOptions { force: true, ..OpenOptions::default() };
    let image = open_bytes(logged(&[(0, torn.clone())]), forced.clone()).unwrap();
    assert!(image.info().notes[0].ends_with("; reading without it"), "{:?}", image.info().notes);
    assert!(open_bytes(logged(&[(0, torn)]), OpenOptions { writable: true, ..forced }).is_err());
}

/// One thing wrong with an entry at a time: it must not be replayed.
#[test]
fn a_wrong_entry_is_not_replayed() {
    let cases: [(usize, &[u8]); 14] = [
        (0, b"logE"),
        (8, &4096_u32.to_le_bytes()),
        (8, &8193_u32.to_le_bytes()),
        (8, &0_u32.to_le_bytes()),
        (8, &((1_u32 << 20) + 4096).to_le_bytes()),
        (12, &100_u32.to_le_bytes()),
        (12, &4096_u32.to_le_bytes()),
        (16, &0_u64.to_le_bytes()),
        (24, &2_u32.to_le_bytes()),
        (24, &u32::MAX.to_le_bytes()),
        (64, b"desC"),
        (64 + 16, &100_u64.to_le_bytes()),
        (64 + 24, &8_u64.to_le_bytes()),
        (4096, b"datA"),
    ];
    for (at, new) in cases {
        let mut wrong = fills(7, 0, 1);
        wrong[at..at + new.len()].copy_from_slice(new);
        sum(&mut wrong);
        assert!(message(logged(&[(0, wrong)])).contains("whole sequence"), "byte {at} is {new:?}");
    }
    for (at, new) in [(4096 + 4, 1_u32), (8192 - 4, 8)] {
        let mut wrong = fills(7, 0, 1);
        wrong[at..at + 4].copy_from_slice(&new.to_le_bytes());
        sum(&mut wrong);
        assert!(message(logged(&[(0, wrong)])).contains("whole sequence"), "byte {at}");
    }
    let zero = |offset, length| entry(GUID, 7, 0, LENGTHS, &[Change::Zero(offset, length)]);
    for wrong in [zero(4096, 100), zero(u64::MAX - 4095, 4096), zero(4096, u64::MAX - 4095)] {
        assert!(message(logged(&[(0, wrong)])).contains("whole sequence"));
    }
}

#[test]
fn a_file_shorter_than_the_log_says_was_cut() {
    let text = message(logged(&[(0, entry(GUID, 7, 0, (7 * MB, 7 * MB), &[]))]));
    assert!(
        text.contains("end of the VHDX file at offset 6291456 (0x600000): expected at least 7340032 bytes, as the log says, found 6291456"),
        "{text}"
    );
}

#[test]
fn a_log_that_is_too_long_to_hold_is_refused() {
    let mut bytes = logged(&[]);
    let header = &mut bytes[128 << 10..][..4096];
    header[68..72].copy_from_slice(&(65_u32 << 20).to_le_bytes());
    sum(header);
    let text = message(bytes);
    assert!(text.contains("VHDX log at offset 1048576 (0x100000): expected 1 to 67108864 bytes for a log that is not empty, found 68157440"), "{text}");
}

/// Each sector of the log claims to be an entry as long as the whole log, but is invalid.
#[test]
fn a_log_full_of_torn_entries_does_not_take_forever() {
    let mut bytes = logged(&[]);
    for sector in bytes[LOG..2 * MIB].chunks_mut(4096) {
        sector[..4096].copy_from_slice(&fills(7, 0, 1)[..4096]);
        sector[8..12].copy_from_slice(&(1_u32 << 20).to_le_bytes());
    }
    let text = message(bytes);
    assert!(text.contains("expected valid entries, found more that are torn than a crash leaves"), "{text}");
}

#[test]
fn changes_over_changes_are_read_as_if_written() {
    let mut changes = Vec::new();
    let mut random = 12345_u64;
    for _ in 0..60 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (at, length, fill) = (random >> 33 & 0x3F, random >> 40 & 0xF, (random >> 48).to_le_bytes()[0]);
        let offset = 5 * MB + at * 4096;
        changes.push(if fill % 3 == 0 { Change::Zero(offset, length * 4096) } else { Change::Fill(offset, fill) });
    }
    replayed(logged(&[(0, entry(GUID, 7, 0, LENGTHS, &changes))]));
}
