//! A directory with many small files in a guest's file system: looking at all of them, and reading all of them. Each
//! time with a new mount, so that nothing is cached.

use super::{Source, main_volume, milliseconds};
use crate::suite::Result;
use crate::suite::book::{Book, Unit};
use crate::suite::disks::source::MANY;
use crate::suite::host;
use crate::suite::peers::{Peer, Request, Target};
use crate::suite::stage::Stage;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const WALK: &str = "directory/walk";
const FILES: &str = "directory/read";

pub(super) fn run(source: &Source<'_>, book: &mut Book) -> Result<()> {
    let bench = source.bench;
    let count = bench.scale.files;
    if count == 0 || !(bench.wants(WALK) || bench.wants(FILES)) {
        return Ok(());
    }
    book.case(WALK, &format!("fs-ext4: attributes of {count} files"), Unit::Milliseconds);
    book.case(FILES, &format!("fs-ext4: content of {count} small files"), Unit::Milliseconds);
    let disk = source.disk()?;
    let target = Target::Guest(main_volume(disk)?.index, MANY.to_owned());
    let stage = Stage::new(bench, std::slice::from_ref(&disk.medium))?;
    let request = Request { medium: &disk.medium, source: Some(disk), guests: true, writable: false };
    for _ in 0..bench.options.rounds() {
        for (case, way) in [(WALK, walk as Way), (FILES, read_all)] {
            for peer in &bench.peers {
                match stage.allow(peer, measure(&stage, peer, request, &target, way))? {
                    Ok((time, peak)) => book.add(case, &peer.name, milliseconds(time), peak),
                    Err(reason) => book.absent(case, &peer.name, &reason),
                }
            }
        }
    }
    Ok(())
}

/// Goes through a directory, and returns how many files it has.
type Way = fn(&Path) -> Result<u32>;

fn measure(
    stage: &Stage<'_>,
    peer: &Peer,
    request: Request<'_>,
    target: &Target,
    way: Way,
) -> Result<(Duration, Option<u64>)> {
    let mounted = peer.mount(stage, request)?;
    let place = mounted.place(target).ok_or("not shown")?;
    let begin = Instant::now();
    let found = way(&place.path)?;
    let result = (begin.elapsed(), mounted.pid.and_then(host::peak));
    mounted.unmount()?;
    match stage.bench.scale.files {
        count if count == found => Ok(result),
        count => Err(format!("it lists {found} of {count} files").into()),
    }
}

fn walk(directory: &Path) -> Result<u32> {
    let mut count = 0;
    for entry in fs::read_dir(directory)? {
        count += u32::from(entry?.metadata()?.is_file());
    }
    Ok(count)
}

fn read_all(directory: &Path) -> Result<u32> {
    let mut count = 0;
    for entry in fs::read_dir(directory)? {
        count += u32::from(fs::read(entry?.path())?.len() >= 200);
    }
    Ok(count)
}
