//! What the program does for each kind of command line.

use super::arguments::{Action, Arguments};
use super::error::Error;
use super::verbs::VerbLine;
use super::which::WhichDisk;
use super::{password, problems, terminal};
use crate::guestfs::Content;
use crate::image;
use crate::listing::{self, DiskReport, Form};
use crate::lock;
use crate::mount::background;
use crate::mount::{self, Access, OnSignal, Options};
use crate::open::{self, DiskOptions, Lookup, OpenDisk};
use crate::storage::Allowed;
use crate::view::Source;
use clap::CommandFactory;
use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};
use std::mem;
use std::path::Path;

/// Does what the arguments ask for and returns the exit code. For the background, `run_in_background` starts the process
/// that stays, and returns its exit code if it fails to mount.
pub(super) fn run(
    action: Action,
    arguments: &Arguments,
    run_in_background: impl FnOnce() -> mount::Result<u8>,
) -> Result<u8, Error> {
    match action {
        Action::ListMachines => list_machines(arguments)?,
        Action::ListVolumes { disk } => list_volumes(arguments, disk)?,
        Action::Unmount { point } => mount::unmount(point)?,
        Action::Complete { shell } => print(|out| {
            let verbs = VerbLine::command();
            let mut command = Arguments::command().subcommands(verbs.get_subcommands().cloned());
            // To memory first: it panics when it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, terminal::NAME, &mut script);
            Ok(out.write_all(&script)?)
        })?,
        Action::Mount { .. } if arguments.goes_to_background() && !arguments.in_background => {
            return Ok(run_in_background()?);
        }
        Action::Mount { disk, point } => mount_disk(arguments, disk, point)?,
    }
    Ok(0)
}

fn list_machines(arguments: &Arguments) -> Result<(), Error> {
    // The kernel takes longer to give its table of locks than a small registry takes to be read.
    let prober = if mount::table::has_ours() { lock::Prober::new() } else { lock::Prober::of_lock_files() };
    let lookup = lookup(&arguments.which)?;
    let mut registry = lookup.registry(arguments.vm.as_deref())?;
    let report = listing::collect(&registry, arguments.vm.as_deref(), &prober, &lookup.allowed)?;
    if !arguments.json {
        problems::warn_of(&registry);
    }
    let form = Form { wide: arguments.wide, long: arguments.verbose };
    print(|out| match arguments.json {
        true => listing::write_json(out, &report),
        false => listing::write_machines(out, &report, form, terminal::style()),
    })?;
    if let Some(error) = open::failure(&mut registry, arguments.vm.as_deref()) {
        return Err(error.into());
    }
    // The process ends, which gives the memory back at once; piece by piece takes a tenth of the time of a long list.
    mem::forget((report, registry));
    Ok(())
}

fn list_volumes(arguments: &Arguments, disk: &OsStr) -> Result<(), Error> {
    let disk = open_disk(
        &arguments.which,
        &lookup(&arguments.which)?,
        disk,
        DiskOptions { force: arguments.force, ..DiskOptions::default() },
    )?;
    warn(&disk.warnings);
    let mut contents: Vec<Content> = disk.contents().into_iter().map(|volume| volume.content).collect();
    contents.extend(disk.whole_content());
    let report = DiskReport::new(&disk.chain, disk.disk.size(), &disk.table, &contents);
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

/// Where the arguments say that machines and disks are to be found.
pub(super) fn lookup(which: &WhichDisk) -> Result<Lookup, Error> {
    let allowed = Allowed::new(&which.allow_files).map_err(image::Error::from).map_err(open::Error::from)?;
    Ok(Lookup { settings: which.settings.clone(), allowed, passwords: password::sources(which) })
}

/// Finds and opens the disk that the arguments name, and says what was found on the way.
pub(super) fn open_disk(
    which: &WhichDisk,
    lookup: &Lookup,
    disk: &OsStr,
    options: DiskOptions,
) -> Result<OpenDisk, Error> {
    let found = lookup.chain(disk, options.writable)?;
    warn(&found.warnings);
    let options = DiskOptions {
        internal_snapshot: which.snapshot.clone(),
        allowed_devices: which.allowed_devices.clone(),
        ..options
    };
    Ok(OpenDisk::open(lookup, found.chain, &options)?)
}

pub(super) fn warn(warnings: &[String]) {
    warnings.iter().for_each(|warning| log::warn!("{warning}"));
}

/// Mounts a disk and serves it until it is unmounted.
fn mount_disk(arguments: &Arguments, disk: &OsStr, point: &Path) -> Result<(), Error> {
    let mut options = mount_options(arguments)?;
    if arguments.which.image.is_none() && options.source.is_none() {
        // So that mount(8) finds its line of fstab in the mount table again.
        options.source = Some(disk.to_string_lossy().into_owned());
    }
    let point = std::path::absolute(point).unwrap_or_else(|_| point.to_path_buf());
    let lookup = lookup(&arguments.which)?;
    let disk_options = DiskOptions {
        writable: options.writable,
        force: arguments.force,
        mount_point: Some(point.clone()),
        ..DiskOptions::default()
    };
    let mut disk = open_disk(&arguments.which, &lookup, disk, disk_options)?;
    // The mount may last for months, and needs the keys only.
    drop(lookup);
    warn(&disk.warnings);
    warn(&disk.table.notes);
    let (guests, warnings) = if arguments.guest_filesystem { disk.guests() } else { Default::default() };
    warn(&warnings);
    let source = Source { guests, ..Source::of_disk(&disk) };
    let mounted = mount::mount(source, &point, &options, OnSignal::Stop)?;
    // Only now: it takes longer than mounting does.
    disk.warning_of_writers().iter().for_each(|warning| log::warn!("{warning}"));
    let _locks = disk.into_locks();
    let detached = if arguments.in_background { background::detach() } else { Ok(()) };
    if detached.is_err() {
        mounted.stopper().stop();
    }
    mounted.serve()?;
    Ok(detached?)
}

fn mount_options(arguments: &Arguments) -> Result<Options, Error> {
    let access = if arguments.root { Access::Root } else { Access::Owner };
    let mut options = Options { writable: arguments.rw, access, ..Options::default() };
    arguments.options.iter().try_for_each(|list| options.add(list))?;
    Ok(options)
}
