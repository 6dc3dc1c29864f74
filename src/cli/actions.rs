//! What the program does for each kind of command line: the one place that joins the library's rooms.

use super::arguments::{Action, Arguments};
use super::{find, password, problems, terminal};
use crate::crypt::Passwords;
use crate::disk::{self, ChainDisk, Disk, OpenMode, Slice, unlock_disk};
use crate::error::Error;
use crate::guestfs::{self, Content, GuestFs};
use crate::listing::{self, DiskReport, Form};
use crate::lock;
use crate::mount::background::{self, Second};
use crate::mount::{self, Access, Guest, OnSignal, Options, Source};
use crate::registry::{self, Chain};
use crate::storage::Allowed;
use crate::volume::{self, Volume};
use clap::CommandFactory;
use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};
use std::mem;
use std::path::Path;
use std::sync::Arc;

/// Does what the arguments ask for and returns the exit code. For the background, `start_second` starts the process that
/// stays.
pub(super) fn run(
    action: Action,
    arguments: &Arguments,
    start_second: impl FnOnce() -> mount::Result<Second>,
) -> Result<u8, Error> {
    match action {
        Action::ListMachines => list_machines(arguments)?,
        Action::ListVolumes { disk } => list_volumes(arguments, disk)?,
        Action::Unmount { point } => mount::unmount(point)?,
        Action::Complete { shell } => print(|mut out| {
            clap_complete::generate(shell, &mut Arguments::command(), terminal::NAME, &mut out);
            Ok(())
        })?,
        Action::Mount { .. } if arguments.goes_to_background() && !arguments.in_background => {
            return Ok(start_second()?.wait()?);
        }
        Action::Mount { disk, point } => mount_disk(arguments, disk, point)?,
    }
    Ok(0)
}

fn list_machines(arguments: &Arguments) -> Result<(), Error> {
    // The kernel takes longer to give its table of locks than a small registry takes to be read.
    let prober = if mount::table::has_ours() { lock::Prober::new() } else { lock::Prober::of_lock_files() };
    let registry = find::registry(arguments, &password::sources(arguments))?;
    let allowed = find::allowed(arguments)?;
    let report = listing::collect(&registry, arguments.vm.as_deref(), &prober, &allowed)?;
    if !arguments.json {
        problems::warn_of(&registry);
    }
    let form = Form { wide: arguments.wide, long: arguments.verbose };
    print(|out| match arguments.json {
        true => listing::write_json(out, &report),
        false => listing::write_machines(out, &report, form, terminal::style()),
    })?;
    if let Some(error) = find::wrong_password(arguments, &registry) {
        return Err(error.clone().into());
    }
    // The process ends, which gives the memory back at once; piece by piece takes a tenth of the time of a long list.
    mem::forget((report, registry));
    Ok(())
}

fn list_volumes(arguments: &Arguments, disk: &OsStr) -> Result<(), Error> {
    let passwords = password::sources(arguments);
    let allowed = find::allowed(arguments)?;
    let chain = find::chain(arguments, disk, &passwords, &allowed)?;
    let images: Vec<&Path> = chain.links.iter().map(|link| link.path.as_path()).collect();
    let _locks = lock::acquire_chain(&images, lock::Mode::Read, None)?;
    let disk = open_disk(&chain, open_mode(arguments, false, allowed), &passwords)?;
    let table = volume::read_table(&*disk.seen)?;
    let slices = slices(&disk.seen, &table.volumes);
    let contents: Vec<Content> = slices.iter().map(|(_, slice)| guestfs::identify(slice)).collect();
    let report = DiskReport::new(&chain, disk.seen.size(), &table, &contents);
    print(|out| match arguments.json {
        true => listing::write_json(out, &report),
        false => listing::write_partitions(out, &report, terminal::style()),
    })
}

/// Writes to standard output through a buffer.
fn print(write: impl FnOnce(&mut dyn Write) -> listing::Result<()>) -> Result<(), Error> {
    let mut out = BufWriter::new(io::stdout().lock());
    write(&mut out)?;
    Ok(out.flush().map_err(listing::Error::from)?)
}

/// A disk as its images have it, and as the guest sees it: the same unless it is encrypted.
struct OpenDisk {
    chain: Arc<ChainDisk>,
    seen: Arc<dyn Disk>,
}

fn open_mode(arguments: &Arguments, writable: bool, allowed: Allowed) -> OpenMode {
    OpenMode { writable, force: arguments.force, allowed, snapshot: arguments.snapshot.clone() }
}

fn open_disk(chain: &Chain, mode: OpenMode, passwords: &Passwords) -> Result<OpenDisk, Error> {
    log::info!("Opening medium chain");
    let disk = Arc::new(disk::open_chain(chain, &mode)?);
    disk.warnings().iter().for_each(|warning| log::warn!("{warning}"));
    let seen = unlock_disk(disk.clone(), &chain.base_properties, &leaf_name(chain), passwords)?;
    Ok(OpenDisk { chain: disk, seen })
}

fn leaf_name(chain: &Chain) -> String {
    chain.links.first().map_or_else(String::new, |link| link.path.display().to_string())
}

/// Mounts a disk and serves it until it is unmounted.
fn mount_disk(arguments: &Arguments, disk: &OsStr, point: &Path) -> Result<(), Error> {
    let options = mount_options(arguments)?;
    let passwords = password::sources(arguments);
    let allowed = find::allowed(arguments)?;
    let mut chain = find::chain(arguments, disk, &passwords, &allowed)?;
    if options.writable {
        registry::find_children(&mut chain, &allowed);
        mount::check_writable(&chain)?;
    }
    let point = std::path::absolute(point).unwrap_or_else(|_| point.to_path_buf());
    let images: Vec<&Path> = chain.links.iter().map(|link| link.path.as_path()).collect();
    let _locks = lock_chain(&images, options.writable, &point)?;
    let writers = (!options.writable).then(|| lock::Search::new(&images));
    let disk = open_disk(&chain, open_mode(arguments, options.writable, allowed), &passwords)?;
    // The mount may last for months, and needs the keys only.
    drop(passwords);
    let table = volume::read_table(&*disk.seen)?;
    table.notes.iter().for_each(|note| log::warn!("{note}"));
    let guests = if arguments.guest_filesystem { open_guests(&disk.seen, &table.volumes) } else { Vec::new() };
    let source = Source { guests, ..Source::of_chain(&disk.chain, disk.seen, table.volumes) };
    let mounted = mount::mount(source, &point, &options, OnSignal::Stop)?;
    // Only now: it takes longer than mounting does.
    if let Some(warning) = writers.and_then(|writers| writers.warning_for_reading()) {
        log::warn!("{warning}");
    }
    let detached = if arguments.in_background { background::detach() } else { Ok(()) };
    if detached.is_err() {
        mounted.stopper().stop();
    }
    mounted.serve()?;
    Ok(detached?)
}

/// The volumes of a disk, each with its number, or the whole disk where there are none.
fn slices(disk: &Arc<dyn Disk>, volumes: &[Volume]) -> Vec<(usize, Arc<dyn Disk>)> {
    let whole = Volume::whole(&**disk);
    let volumes = if volumes.is_empty() { std::slice::from_ref(&whole) } else { volumes };
    let slice = |volume: &Volume| -> Arc<dyn Disk> { Arc::new(Slice::new(disk.clone(), volume.offset, volume.size)) };
    volumes.iter().map(|volume| (volume.index, slice(volume))).collect()
}

/// The file systems of the volumes, or of a whole disk without any, that can be read here. The others are named.
fn open_guests(disk: &Arc<dyn Disk>, volumes: &[Volume]) -> Vec<Guest> {
    let mut guests = Vec::new();
    for (index, volume) in slices(disk, volumes) {
        match open_guest(disk, volumes, index, &volume) {
            Ok(Some((fs, volume))) => {
                let name = format!("fs{index}");
                let content = guestfs::detect::of_reader(&*fs);
                log::info!("Volume {index}: {content}, shown as {name}");
                content.notes.iter().for_each(|note| log::warn!("{name}: {note}"));
                guests.push(Guest { name, fs, volume });
            }
            Ok(None) | Err(_) => {
                let content = guestfs::identify(&volume);
                if content.is_unknown() && content.notes.is_empty() {
                    log::info!("Volume {index}: {content}");
                } else {
                    log::warn!("Volume {index}: {content}, which is not read here");
                }
                content.notes.iter().for_each(|note| log::warn!("Volume {index}: {note}"));
            }
        }
    }
    guests
}

/// The file system that a volume shows, and what it lies on: the volume, but for the first partition of a hybrid
/// optical disk, whose file system is that of the whole disk.
fn open_guest(
    disk: &Arc<dyn Disk>,
    volumes: &[Volume],
    index: usize,
    volume: &Arc<dyn Disk>,
) -> guestfs::Result<Option<Opened>> {
    let hybrid = volumes.iter().any(|volume| volume.index == index && is_of_hybrid(volume));
    Ok(match guestfs::detect::open(volume.clone())? {
        None if hybrid => guestfs::detect::open_optical(disk)?.map(|fs| (fs, disk.clone())),
        found => found.map(|fs| (fs, volume.clone())),
    })
}

/// A file system and the disk that it lies on.
type Opened = (Box<dyn GuestFs>, Arc<dyn Disk>);

/// Where an optical disk has its volume descriptors.
const DESCRIPTORS: u64 = 32 << 10;

/// Whether a volume may be the first partition of an optical disk that also boots as a hard disk: the disk's file system
/// begins before it.
fn is_of_hybrid(volume: &Volume) -> bool {
    volume.index == 0 && (1..=DESCRIPTORS).contains(&volume.offset)
}

fn mount_options(arguments: &Arguments) -> Result<Options, Error> {
    let access = if arguments.root { Access::Root } else { Access::Owner };
    let mut options = Options { writable: arguments.rw, access, ..Options::default() };
    arguments.options.iter().try_for_each(|list| options.add(list))?;
    Ok(options)
}

/// Locks the leaf for what will be done with it, and its parents for reading. For writing, no other program may use
/// the leaf.
fn lock_chain(images: &[&Path], writable: bool, point: &Path) -> Result<Vec<lock::Guard>, Error> {
    let mode = if writable { lock::Mode::Write } else { lock::Mode::Read };
    let guards = lock::acquire_chain(images, mode, Some(point))?;
    if let Some((leaf, parents)) = images.split_first().filter(|_| writable) {
        lock::check_writable(leaf, parents)?;
    }
    Ok(guards)
}
