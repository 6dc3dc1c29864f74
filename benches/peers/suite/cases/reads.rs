//! Sequential and random reads by one and by more readers, of the disk, a volume and a file in each file system.

use super::{Source, main_volume, megabytes, per_second};
use crate::suite::Result;
use crate::suite::book::{Book, Unit};
use crate::suite::disks::source::BIG;
use crate::suite::host;
use crate::suite::noise;
use crate::suite::peers::{Request, Target};
use crate::suite::read::{self, Expect, Job, Place, RANDOM, RANDOM_8, SEQUENTIAL, SEQUENTIAL_2};
use crate::suite::scale::{MIB, Scale};
use crate::suite::stage::{Stage, Standing};
use std::fs::File;
use std::os::unix::fs::FileExt;

const JOBS: [Job; 4] = [SEQUENTIAL, SEQUENTIAL_2, RANDOM, RANDOM_8];

/// A part of the disk that is read.
struct Region {
    name: String,
    target: Target,
    /// Where in the target, and how much at most.
    start: u64,
    size: u64,
    /// What a file has; none where the plain file tells.
    seed: Option<u64>,
}

pub(super) fn run(source: &Source<'_>, book: &mut Book) -> Result<()> {
    let bench = source.bench;
    let kinds = ["vhdd", "vol", "fs-ext4", "fs-xfs", "fs-ntfs"];
    if !kinds.iter().any(|kind| JOBS.iter().any(|job| bench.wants(&format!("{}/{kind}", job.name)))) {
        return Ok(());
    }
    let disk = source.disk()?;
    let main = main_volume(disk)?;
    let mut regions = vec![
        Region { name: "vhdd".into(), target: Target::Disk, start: main.start, size: main.size, seed: None },
        Region { name: "vol".into(), target: Target::Volume(main.index), start: 0, size: main.size, seed: None },
    ];
    for volume in disk.volumes.iter().filter(|volume| volume.big > 0) {
        let target = Target::Guest(volume.index, BIG.to_owned());
        let (name, seed) = (format!("fs-{}", volume.kind), Some(volume.index as u64));
        regions.push(Region { name, target, start: 0, size: volume.big, seed });
    }
    let mut cases = Vec::new();
    for region in &regions {
        for job in &JOBS {
            let name = format!("{}/{}", job.name, region.name);
            if bench.wants(&name) {
                let unit = if job.random { Unit::Operations } else { Unit::Speed };
                book.case(&name, &format!("{}: {}", region.name, job.text()), unit);
                cases.push((name, region, job));
            }
        }
    }

    let media = std::slice::from_ref(&disk.medium);
    let stage = Stage::new(bench, media)?;
    let guests = regions.len() > 2;
    let standing = stage.mount_all(Request { medium: &disk.medium, source: Some(disk), guests, writable: false })?;
    let raw = File::open(&disk.raw)?;
    for region in &regions {
        let from = if region.name == "vol" { main.start } else { region.start };
        let expect = |at: u64, buf: &mut [u8]| -> Result<()> {
            match region.seed {
                Some(seed) => noise::fill(seed, at, buf),
                None => raw.read_exact_at(buf, from + at)?,
            }
            Ok(())
        };
        check(&standing, region, bench.scale, &expect)?;
    }
    // The first round, which brings the images into the host's cache, does not count.
    for round in 0..=bench.options.rounds() {
        for (name, region, job) in &cases {
            let each = blocks(job, region.size, bench.scale);
            for standing in standing.iter().filter(|standing| bench.compares(standing.peer, name)) {
                let Some((mounted, mut place)) = standing.place(&region.target, name, book) else { continue };
                place.start += region.start;
                mounted.pid.into_iter().for_each(host::reset_peak);
                let Some(time) = book_failure(book, name, &stage, standing, read::read(&place, job, each))? else {
                    continue;
                };
                let count = each * job.readers;
                let sample =
                    if job.random { per_second(count, time) } else { megabytes(count * job.block as u64, time) };
                if round > 0 {
                    book.add(name, &standing.peer.name, sample, mounted.pid.and_then(host::peak));
                }
            }
        }
    }
    standing.into_iter().filter_map(|standing| standing.mounted.ok()).try_for_each(|mounted| mounted.unmount())
}

/// A peer that fails in a case is absent from it.
pub(super) fn book_failure<T>(
    book: &mut Book,
    case: &str,
    stage: &Stage<'_>,
    standing: &Standing<'_>,
    result: Result<T>,
) -> Result<Option<T>> {
    match stage.allow(standing.peer, result)? {
        Ok(value) => Ok(Some(value)),
        Err(reason) => {
            book.absent(case, &standing.peer.name, &reason);
            Ok(None)
        }
    }
}

/// How many blocks each reader reads of a region of `size` bytes.
fn blocks(job: &Job, size: u64, scale: &Scale) -> u64 {
    let block = job.block as u64;
    let wanted = match (job.random, job.readers) {
        (false, readers) => scale.sequential * MIB / block / readers,
        (true, 1) => scale.random.0,
        (true, _) => scale.random.1,
    };
    wanted.min(size / block / job.readers)
}

/// Wrong bytes are nobody's speed: our own program must give the right ones, and so must the others.
fn check(standing: &[Standing<'_>], region: &Region, scale: &Scale, expect: Expect<'_>) -> Result<()> {
    let len = region.size.min(scale.sequential * MIB);
    for standing in standing {
        let place = standing.mounted.as_ref().ok().and_then(|mounted| mounted.place(&region.target));
        if let Some(place) = place {
            let place = Place { start: place.start + region.start, ..place };
            read::check(&place, len, expect).map_err(|e| format!("{}: {e}", standing.peer.name))?;
        }
    }
    Ok(())
}
