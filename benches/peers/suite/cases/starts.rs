//! From the start of the program until the mount answers.

use super::{huge, milliseconds};
use crate::suite::book::{Book, Unit};
use crate::suite::disks::media::Medium;
use crate::suite::disks::vdi::{self, BLOCK, FREE, Identity};
use crate::suite::peers::{Kind, Peer, Request};
use crate::suite::stage::Stage;
use crate::suite::{Bench, Result, host};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Bytes of the small disk.
const SIZE: u64 = 64 << 20;

/// How often each program is started in a round: a start is short, and one that is disturbed takes half as long again.
const STARTS: u32 = 3;
/// How long nothing is done before a start, so that the program before has ended all that it does.
const PAUSE: Duration = Duration::from_millis(200);

/// A case, its title, whether it is about the huge disk, and whether VirtualBox's service must be started for it.
const CASES: [(&str, &str, bool, bool); 4] = [
    ("start/small", "start to mounted, small disk", false, false),
    ("start/small-cold", "start to mounted, small disk, cold start", false, true),
    ("start/huge", "start to mounted, 2 TiB disk", true, false),
    ("start/huge-cold", "start to mounted, 2 TiB disk, cold start", true, true),
];

pub(super) fn run(bench: &Bench<'_>, book: &mut Book) -> Result<()> {
    let cases: Vec<_> = CASES.into_iter().filter(|(name, ..)| bench.wants(name)).collect();
    if cases.is_empty() {
        return Ok(());
    }
    cases.iter().for_each(|(name, title, ..)| book.case(name, title, Unit::Milliseconds));
    let directory = tempfile::tempdir_in(bench.work())?;
    let mut media = vec![small(directory.path())?];
    if cases.iter().any(|(_, _, is_huge, _)| *is_huge) {
        media.push(huge::huge(bench)?);
    }
    let stage = Stage::new(bench, &media)?;
    for _ in 0..u32::from(bench.options.rounds()) * STARTS {
        for (name, _, is_huge, cold) in &cases {
            for peer in bench.peers.iter().filter(|peer| bench.compares(peer, name)) {
                match stage.allow(peer, measure(&stage, peer, &media[usize::from(*is_huge)], *cold))? {
                    Ok((sample, peak)) => book.add(name, &peer.name, sample, peak),
                    Err(reason) => book.absent(name, &peer.name, &reason),
                }
            }
        }
    }
    Ok(())
}

fn measure(stage: &Stage<'_>, peer: &Peer, medium: &Medium, cold: bool) -> Result<(f64, Option<u64>)> {
    match peer.kind {
        Kind::Raw | Kind::Kernel => return Err("has nothing to start".into()),
        Kind::VirtualBox if cold => stage.service()?.end()?,
        Kind::VirtualBox => {
            host::run(stage.service()?.command("vboximg-mount").arg("-l"))?;
        }
        _ => {}
    }
    thread::sleep(PAUSE);
    let mounted = peer.mount(stage, Request { medium, source: None, guests: false, writable: false })?;
    let result = (milliseconds(mounted.took), mounted.pid.and_then(host::peak));
    mounted.unmount()?;
    Ok(result)
}

/// A disk with a partition table and nothing else.
fn small(directory: &Path) -> Result<Medium> {
    let identity = Identity::random();
    let path = directory.join("small.vdi");
    let mut map = vec![FREE; usize::try_from(SIZE / BLOCK)?];
    map[0] = 0;
    let image = vdi::create(&path, SIZE, identity, None, &map)?;
    image.file.write_all_at(&vdi::partition_block(SIZE), image.block_at(0))?;
    Ok(Medium::new(path, identity, None))
}
