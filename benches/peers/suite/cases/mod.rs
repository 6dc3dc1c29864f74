//! The cases, a file for those that share a stage.

mod chains;
mod copies;
mod directories;
mod huge;
mod lists;
mod reads;
mod starts;
mod writes;

use super::book::Book;
use super::disks::source::{SourceDisk, Volume, source_disk};
use super::{Bench, Result};
use std::cell::OnceCell;
use std::time::Duration;

/// Runs all that are asked for.
pub(crate) fn run_all(bench: &Bench<'_>, book: &mut Book) -> Result<()> {
    let source = Source { bench, disk: OnceCell::new() };
    reads::run(&source, book)?;
    copies::run(&source, book)?;
    directories::run(&source, book)?;
    chains::run(bench, book)?;
    huge::run(bench, book)?;
    writes::run(&source, book)?;
    starts::run(bench, book)?;
    lists::run(bench, book)
}

/// The disk with guest file systems, made when it is needed.
struct Source<'a> {
    bench: &'a Bench<'a>,
    disk: OnceCell<SourceDisk>,
}

impl Source<'_> {
    fn disk(&self) -> Result<&SourceDisk> {
        if let Some(disk) = self.disk.get() {
            return Ok(disk);
        }
        let disk = source_disk(&self.bench.out, self.bench.scale)?;
        Ok(self.disk.get_or_init(|| disk))
    }
}

/// The volume that most cases are about.
fn main_volume(disk: &SourceDisk) -> Result<&Volume> {
    let ext4 = disk.volumes.iter().find(|volume| volume.kind == "ext4");
    Ok(ext4.or(disk.volumes.first()).ok_or("the disk has no volume")?)
}

/// What a number of things in a time is in a second.
fn per_second(count: u64, time: Duration) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from) / time.as_secs_f64()
}

/// What bytes in a time are in MB/s.
fn megabytes(bytes: u64, time: Duration) -> f64 {
    per_second(bytes / 1000, time) / 1000.0
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
