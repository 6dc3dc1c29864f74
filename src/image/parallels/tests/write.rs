//! Writing, and losing power meanwhile.

use super::super::*;
use super::{WRITE, all, builds, disk, open};
use crate::disk::{ChainDisk, Disk};
use crate::image::parallels::header::IN_USE;
use crate::image::parallels::testing::Build;
use crate::storage::testing::{MemFile, after_power_loss};
use proptest::prelude::*;
use std::sync::Arc;

#[test]
fn the_header_says_in_use_from_the_first_write_until_the_close() {
    for (before, after) in [(0, 0), (0x312E_3276, 0x312E_3276), (IN_USE, 0)] {
        let file = MemFile::new("/t/a.hdd", Build { in_use: before, ..Build::default() }.bytes());
        let in_use = || u32::from_le_bytes(file.bytes()[44..48].try_into().unwrap());
        let image = open(file.clone(), &WRITE).unwrap();
        assert_eq!(image.info().notes.len(), usize::from(before == IN_USE));
        let disk = disk(image);
        disk.flush().unwrap();
        assert!(file.ops().is_empty(), "opening for writing changes nothing");
        disk.write_at(0, &[1]).unwrap();
        assert_eq!(in_use(), IN_USE);
        disk.flush().unwrap();
        assert_eq!(in_use(), IN_USE);
        disk.close().unwrap();
        assert_eq!(in_use(), after);
    }
}

#[test]
fn what_is_discarded_at_the_end_is_cut_off_and_other_space_is_used_again() {
    let file = MemFile::new("/t/a.hdd", Build::default().bytes());
    let disk = disk(open(file.clone(), &WRITE).unwrap());
    disk.discard(0, 1536).unwrap();
    disk.close().unwrap();
    assert_eq!(file.bytes().len(), 512 + 1536);
    let disk = ChainDisk::new(vec![open(file.clone(), &WRITE).unwrap()], Vec::new());
    disk.write_at(1536, &[5; 1536]).unwrap();
    disk.flush().unwrap();
    disk.discard(3072, 1536).unwrap();
    disk.flush().unwrap();
    disk.write_at(0, &[6; 1536]).unwrap();
    disk.close().unwrap();
    assert_eq!(file.bytes().len(), 512 + 2 * 1536);
    let mut expected = vec![6; 1536];
    expected.extend([5; 1536]);
    expected.resize(5120, 0);
    assert_eq!(all(&disk), expected);
}

#[test]
fn a_map_that_cannot_point_further_refuses_instead_of_wrapping() {
    let build = Build {
        extended: false,
        tracks: u32::MAX,
        sectors: u64::from(u32::MAX),
        clusters: vec![None; 3],
        ..Build::default()
    };
    let file = MemFile::new("/t/a.hdd", build.bytes());
    let header = ParallelsHeader::parse(&file.bytes()).unwrap();
    let map = ParallelsMap::new(file, 0, header).unwrap();
    let writer = Writer::new(&map, &[u64::from(u32::MAX) * 512]);
    let text = writer.zeros(&map).unwrap_err().to_string();
    assert!(text.contains("its map cannot point further into the file"), "{text}");
}

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Write { at: usize, len: usize, fill: u8 },
    Discard { at: usize, len: usize },
    Flush,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let range = (0..15360_usize, prop_oneof![1..600_usize, 1..6000_usize]);
    let step = prop_oneof![
        5 => (range.clone(), prop_oneof![Just(0_u8), any::<u8>()])
            .prop_map(|((at, len), fill)| Step::Write { at, len, fill }),
        2 => range.prop_map(|(at, len)| Step::Discard { at, len }),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// The disk is an array of bytes, and whatever moment the power is lost at, the image opens and holds at least
    /// what was flushed: bytes that no later step touched are as they were.
    #[test]
    fn a_disk_is_an_array_also_after_a_crash(
        build in prop::sample::select(builds().to_vec()),
        steps in steps(),
        cut in any::<prop::sample::Index>(),
        lost in any::<u64>(),
    ) {
        let start = build.bytes();
        let file = MemFile::new("/t/a.hdd", start.clone());
        let open_disk = |file: Arc<MemFile>| disk(open(file, &WRITE).unwrap());
        let mut disk = open_disk(file.clone());
        let mut model = build.flat();
        let mut safe: Vec<(usize, Vec<u8>)> = vec![(0, model.clone())];
        let mut touched: Vec<(usize, usize, usize)> = Vec::new();
        for step in &steps {
            let ops = file.ops().len();
            match *step {
                Step::Write { at, len, fill } => {
                    let (at, end) = (at.min(model.len()), model.len().min(at + len));
                    touched.push((ops, at, end));
                    disk.write_at(at as u64, &vec![fill; end - at]).unwrap();
                    model[at..end].fill(fill);
                }
                Step::Discard { at, len } => {
                    let (at, end) = (at.min(model.len()), model.len().min(at + len));
                    touched.push((ops, at, end));
                    disk.discard(at as u64, (end - at) as u64).unwrap();
                    model[at..end].fill(0);
                }
                Step::Flush => disk.flush().unwrap(),
                Step::Reopen => {
                    disk.close().unwrap();
                    disk = open_disk(file.clone());
                }
            }
            if matches!(step, Step::Flush | Step::Reopen) {
                safe.push((file.ops().len(), model.clone()));
            }
            prop_assert_eq!(all(&disk), model.clone());
        }
        disk.close().unwrap();
        prop_assert_eq!(all(&open_disk(file.clone())), model);

        let ops = file.ops();
        let cut = cut.index(ops.len() + 1);
        for killed in [true, false] {
            let bytes = after_power_loss(&start, &ops[..cut], |i| killed || lost >> (i % 64) & 1 == 1);
            let after = all(&open_disk(MemFile::new("/t/a.hdd", bytes)));
            let (flushed, expected) = safe.iter().rev().find(|(at, _)| *at <= cut).unwrap();
            let mut changed = vec![false; expected.len()];
            for (at, from, to) in &touched {
                if at >= flushed || *at >= cut {
                    changed[*from..*to].fill(true);
                }
            }
            for (i, byte) in after.iter().enumerate() {
                prop_assert!(changed[i] || *byte == expected[i], "byte {} after a crash at operation {}", i, cut);
            }
        }
    }
}
