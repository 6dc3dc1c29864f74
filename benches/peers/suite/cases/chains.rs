//! Chains: each MiB of the disk comes from another link than the one before.

use super::{megabytes, per_second};
use crate::suite::book::{Book, Unit};
use crate::suite::disks::cached;
use crate::suite::disks::media::Medium;
use crate::suite::disks::vdi::{self, BLOCK, FREE, Identity};
use crate::suite::peers::{Peer, Request, Target};
use crate::suite::read::{self, Place, RANDOM, SEQUENTIAL};
use crate::suite::scale::MIB;
use crate::suite::stage::Stage;
use crate::suite::{Bench, Result, host, noise};
use std::os::unix::fs::FileExt;

/// How often a disk is read again with one mount: it takes a fifth of a second, and single readings move by a fifth.
const AGAIN: usize = 3;
/// The noise of the disk.
const SEED: u64 = 7;

pub(super) fn run(bench: &Bench<'_>, book: &mut Book) -> Result<()> {
    let (mut media, mut chains) = (Vec::new(), Vec::new());
    for depth in bench.scale.depths {
        let cases = Cases::new(*depth);
        if cases.all().iter().any(|case| bench.wants(case)) {
            cases.announce(*depth, book);
            media.extend(chain(bench, *depth)?);
            chains.push((cases, media.len() - 1));
        }
    }
    if chains.is_empty() {
        return Ok(());
    }
    let stage = Stage::new(bench, &media)?;
    // The depths in turn, too: they are compared with each other.
    for _ in 0..bench.options.rounds() {
        for (cases, leaf) in &chains {
            for peer in &bench.peers {
                let measured = measure(&stage, peer, &media[*leaf], cases, book);
                if let Err(reason) = stage.allow(peer, measured)? {
                    cases.all().iter().for_each(|case| book.absent(case, &peer.name, &reason));
                }
            }
        }
    }
    Ok(())
}

/// The names of what is measured of a depth.
struct Cases {
    first: String,
    again: String,
    random: String,
}

impl Cases {
    fn new(depth: u32) -> Self {
        let name = |kind: &str, when: &str| format!("chain-{kind}/{depth}-{when}");
        Self { first: name("seq", "first"), again: name("seq", "again"), random: name("rand", "again") }
    }

    fn all(&self) -> [&str; 3] {
        [&self.first, &self.again, &self.random]
    }

    fn announce(&self, depth: u32, book: &mut Book) {
        let of = if depth == 1 { "one image".to_owned() } else { format!("chain of {depth}") };
        book.case(&self.first, &format!("{of}: 1 MiB in order, first time"), Unit::Speed);
        book.case(&self.again, &format!("{of}: 1 MiB in order, again"), Unit::Speed);
        book.case(&self.random, &format!("{of}: 4 KiB random, again"), Unit::Operations);
    }
}

fn measure(stage: &Stage<'_>, peer: &Peer, leaf: &Medium, cases: &Cases, book: &mut Book) -> Result<()> {
    let mounted = peer.mount(stage, Request { medium: leaf, source: None, guests: false, writable: false })?;
    let place = mounted.place(&Target::Disk).ok_or("not shown")?;
    let place = Place { start: place.start + MIB, ..place };
    let size = (stage.bench.scale.chain - 1) * MIB;
    let mut in_order = |case: &str| -> Result<()> {
        let time = read::read(&place, &SEQUENTIAL, size / MIB)?;
        book.add(case, &peer.name, megabytes(size, time), mounted.pid.and_then(host::peak));
        Ok(())
    };
    in_order(&cases.first)?;
    (0..AGAIN).try_for_each(|_| in_order(&cases.again))?;
    let reads = stage.bench.scale.random.0.min(size / 4096);
    for _ in 0..AGAIN {
        let time = read::read(&place, &RANDOM, reads)?;
        book.add(&cases.random, &peer.name, per_second(reads, time), mounted.pid.and_then(host::peak));
    }
    let expect = |at: u64, buf: &mut [u8]| {
        noise::fill(SEED, MIB + at, buf);
        Ok(())
    };
    read::check(&place, size, &expect)?;
    mounted.unmount()
}

/// The images of a chain, the base first. Of `depth` blocks that follow each other, each is in another image.
fn chain(bench: &Bench<'_>, depth: u32) -> Result<Vec<Medium>> {
    let size = bench.scale.chain * MIB;
    let identity = |link: u32| Identity::numbered(1_000_000 + size + u64::from(depth * 1000 + link));
    let directory = cached(bench.out.join(format!("chain-{}-{depth}", bench.scale.name)), |directory| {
        let blocks = u32::try_from(size / BLOCK)?;
        for link in 0..depth {
            let holds = |block: &u32| block % depth == link;
            let map: Vec<u32> = (0..blocks).map(|block| if holds(&block) { block / depth } else { FREE }).collect();
            let parent = link.checked_sub(1).map(identity);
            let image = vdi::create(&directory.join(format!("{link}.vdi")), size, identity(link), parent, &map)?;
            for block in (0..blocks).filter(holds) {
                let mut bytes = vdi::partition_block(size);
                if block > 0 {
                    noise::fill(SEED, u64::from(block) * BLOCK, &mut bytes);
                }
                image.file.write_all_at(&bytes, image.block_at(block / depth))?;
            }
        }
        Ok(())
    })?;
    let medium = |link: u32| {
        let parent = link.checked_sub(1).map(|parent| identity(parent).uuid);
        Medium::new(directory.join(format!("{link}.vdi")), identity(link), parent)
    };
    Ok((0..depth).map(medium).collect())
}
