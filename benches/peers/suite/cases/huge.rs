//! A huge disk, all of whose blocks are there and lie in the file in an order without a pattern, read at random all
//! over.

use super::per_second;
use crate::suite::book::{Book, Unit};
use crate::suite::disks::cached;
use crate::suite::disks::media::Medium;
use crate::suite::disks::vdi::{self, BLOCK, Identity};
use crate::suite::peers::{Request, Target};
use crate::suite::read::{self, RANDOM_8};
use crate::suite::stage::Stage;
use crate::suite::{Bench, Result, host, noise};
use std::os::unix::fs::FileExt;

const CASE: &str = "huge/rand-8";

pub(super) fn run(bench: &Bench<'_>, book: &mut Book) -> Result<()> {
    if !bench.wants(CASE) {
        return Ok(());
    }
    let (tebibytes, each) = bench.scale.huge;
    book.case(CASE, &format!("{tebibytes} TiB: {}", RANDOM_8.text()), Unit::Operations);
    let medium = huge(bench)?;
    let stage = Stage::new(bench, std::slice::from_ref(&medium))?;
    let pages = (tebibytes << 40) / 4096;
    for round in 0..u64::from(bench.options.rounds()) {
        for peer in &bench.peers {
            let measure = || -> Result<(f64, Option<u64>)> {
                let mounted =
                    peer.mount(&stage, Request { medium: &medium, source: None, guests: false, writable: false })?;
                let place = mounted.place(&Target::Disk).ok_or("not shown")?;
                let order = |reader: u64| {
                    let number = move |read: u64| noise::mix((round << 48) + (reader << 40) + read) % pages * 4096;
                    (0..each).map(number).collect()
                };
                let time = read::read_places(&place, &RANDOM_8, (0..RANDOM_8.readers).map(order).collect())?;
                let peak = mounted.pid.and_then(host::peak);
                mounted.unmount()?;
                Ok((per_second(each * RANDOM_8.readers, time), peak))
            };
            match stage.allow(peer, measure())? {
                Ok((sample, peak)) => book.add(CASE, &peer.name, sample, peak),
                Err(reason) => book.absent(CASE, &peer.name, &reason),
            }
        }
    }
    Ok(())
}

/// The image. Its file takes little space: of the blocks only the first has been written.
pub(super) fn huge(bench: &Bench<'_>) -> Result<Medium> {
    let size = bench.scale.huge.0 << 40;
    let identity = Identity::numbered(size);
    let directory = cached(bench.out.join(format!("huge-{}", bench.scale.huge.0)), |directory| {
        let blocks = u32::try_from(size / BLOCK)?;
        // An odd factor reaches every number below a power of two.
        let map: Vec<u32> =
            (0..blocks).map(|block| block.wrapping_mul(0x9E37_79B1).wrapping_add(77) % blocks).collect();
        let image = vdi::create(&directory.join("huge.vdi"), size, identity, None, &map)?;
        Ok(image.file.write_all_at(&vdi::partition_block(size), image.block_at(map[0]))?)
    })?;
    Ok(Medium::new(directory.join("huge.vdi"), identity, None))
}
