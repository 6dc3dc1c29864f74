//! Writing into a fresh differencing image until it is durable: to the end of `fsync`. The real vboximg-mount has no
//! `fsync`: there, to the end of `umount` and of an `fsync` of its image file. Its process goes on for seconds, which
//! counts only when what was written is not in the file before.

use super::{Source, main_volume, megabytes, per_second};
use crate::suite::book::{Book, Unit};
use crate::suite::disks::media::Medium;
use crate::suite::disks::source::{SourceDisk, Volume};
use crate::suite::disks::vdi::{self, BLOCK, FREE, Identity};
use crate::suite::peers::{Kind, Peer, Request, Target};
use crate::suite::scale::MIB;
use crate::suite::stage::Stage;
use crate::suite::{Result, host, noise};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The noise that is written.
const SEED: u64 = 31;

/// A case: its name, its title, where it writes, and whether at random.
struct Case {
    name: &'static str,
    title: &'static str,
    whole: bool,
    random: bool,
}

const CASES: [Case; 4] = [
    Case { name: "write/seq", title: "vol: write 1 MiB in order, fsync", whole: false, random: false },
    Case { name: "write/rand", title: "vol: write 4 KiB random, fsync", whole: false, random: true },
    Case { name: "write/seq-vhdd", title: "vhdd: write 1 MiB in order, fsync", whole: true, random: false },
    Case { name: "write/rand-vhdd", title: "vhdd: write 4 KiB random, fsync", whole: true, random: true },
];

pub(super) fn run(source: &Source<'_>, book: &mut Book) -> Result<()> {
    let bench = source.bench;
    let cases: Vec<&Case> = CASES.iter().filter(|case| bench.wants(case.name)).collect();
    if cases.is_empty() {
        return Ok(());
    }
    let disk = source.disk()?;
    let volume = main_volume(disk)?;
    let directory = tempfile::tempdir_in(bench.work())?;
    for case in cases {
        book.case(case.name, case.title, if case.random { Unit::Operations } else { Unit::Speed });
        let size = bench.scale.disk * MIB;
        let mut media = vec![disk.medium.clone()];
        for number in 0..usize::from(bench.options.rounds()) * bench.peers.len() {
            let path = directory.path().join(format!("{}-{number}.vdi", case.name.replace('/', "-")));
            media.push(difference(&path, size, &disk.medium)?);
        }
        let stage = Stage::new(bench, &media)?;
        let mut fresh = media.iter().skip(1);
        for _ in 0..bench.options.rounds() {
            for peer in &bench.peers {
                let Some(medium) = fresh.next() else { continue };
                let scene = Scene { stage: &stage, disk, volume, medium, case };
                match stage.allow(peer, scene.measure(peer))? {
                    Ok((sample, peak)) => book.add(case.name, &peer.name, sample, peak),
                    Err(reason) => book.absent(case.name, &peer.name, &reason),
                }
            }
        }
    }
    Ok(())
}

fn difference(path: &Path, size: u64, parent: &Medium) -> Result<Medium> {
    let identity = Identity::random();
    vdi::create(path, size, identity, Some(parent.identity), &vec![FREE; usize::try_from(size.div_ceil(BLOCK))?])?;
    Ok(Medium::new(path.to_path_buf(), identity, Some(parent.identity.uuid)))
}

struct Scene<'a> {
    stage: &'a Stage<'a>,
    disk: &'a SourceDisk,
    volume: &'a Volume,
    medium: &'a Medium,
    case: &'a Case,
}

impl Scene<'_> {
    /// Where writes go, in the order in which they are made, and the bytes of each.
    fn writes(&self) -> (Vec<u64>, usize) {
        let scale = self.stage.bench.scale;
        let start = if self.case.whole { self.volume.start } else { 0 };
        let (offsets, len): (Vec<u64>, usize) = if self.case.random {
            let (count, spread) = scale.written_random;
            let places = noise::shuffled(spread * MIB / 4096, 5);
            (places.into_iter().take(usize::try_from(count).unwrap_or(0)).map(|page| page * 4096).collect(), 4096)
        } else {
            ((0..scale.written).map(|number| number * MIB).collect(), 1 << 20)
        };
        (offsets.into_iter().map(|offset| start + offset).collect(), len)
    }

    fn target(&self) -> Target {
        if self.case.whole { Target::Disk } else { Target::Volume(self.volume.index) }
    }

    fn measure(&self, peer: &Peer) -> Result<(f64, Option<u64>)> {
        let (offsets, len) = self.writes();
        let (time, peak) = match peer.kind {
            Kind::Kernel => return Err("has no differencing images".into()),
            Kind::Raw => (self.write_plain(&offsets, len)?, None),
            _ => self.write(peer, &offsets, len)?,
        };
        let count = offsets.len() as u64;
        Ok((if self.case.random { per_second(count, time) } else { megabytes(count * len as u64, time) }, peak))
    }

    /// The limit: a plain file.
    fn write_plain(&self, offsets: &[u64], len: usize) -> Result<Duration> {
        let path = self.stage.home().join("plain");
        let file = File::create(&path)?;
        file.set_len(self.stage.bench.scale.disk * MIB)?;
        let begin = Instant::now();
        write_all(&file, offsets, len)?;
        file.sync_all()?;
        let time = begin.elapsed();
        std::fs::remove_file(path)?;
        Ok(time)
    }

    fn write(&self, peer: &Peer, offsets: &[u64], len: usize) -> Result<(Duration, Option<u64>)> {
        let request = Request { medium: self.medium, source: Some(self.disk), guests: false, writable: true };
        let mut mounted = peer.mount(self.stage, request)?;
        let place = mounted.place(&self.target()).ok_or("not shown")?;
        let file = File::options().write(true).open(&place.path)?;
        let begin = Instant::now();
        write_all(&file, offsets, len)?;
        file.sync_all()?;
        let mut time = begin.elapsed();
        let peak = mounted.pid.and_then(host::peak);
        drop(file);
        if peer.kind == Kind::VirtualBox {
            mounted.detach()?;
            File::open(&self.medium.path)?.sync_all()?;
            time = begin.elapsed();
            let checking = Instant::now();
            if self.check(offsets, len).is_err() {
                // Then its process was not done yet.
                let checked = checking.elapsed();
                mounted.unmount()?;
                File::open(&self.medium.path)?.sync_all()?;
                let time = begin.elapsed().saturating_sub(checked);
                self.check(offsets, len)?;
                return Ok((time, peak));
            }
        }
        mounted.unmount()?;
        self.check(offsets, len)?;
        Ok((time, peak))
    }

    /// Whether what was written is there, as our own program reads it.
    fn check(&self, offsets: &[u64], len: usize) -> Result<()> {
        let request = Request { medium: self.medium, source: Some(self.disk), guests: false, writable: false };
        let mounted = self.stage.bench.peers[0].mount(self.stage, request)?;
        let place = mounted.place(&self.target()).ok_or("not shown")?;
        let file = File::open(&place.path)?;
        let (mut found, mut expected) = (vec![0; len], vec![0; len]);
        for offset in offsets {
            file.read_exact_at(&mut found, *offset)?;
            noise::fill(SEED, *offset, &mut expected);
            if found != expected {
                return Err(format!("what was written at {offset} is not in {}", self.medium.path.display()).into());
            }
        }
        drop(file);
        mounted.unmount()
    }
}

fn write_all(file: &File, offsets: &[u64], len: usize) -> Result<()> {
    let mut bytes = vec![0; len];
    for offset in offsets {
        noise::fill(SEED, *offset, &mut bytes);
        file.write_all_at(&bytes, *offset)?;
    }
    Ok(())
}
