//! What the program does for each kind of command line.

use super::arguments::{Action, Arguments};
use super::error::Error;
use super::which::WhichDisk;
use super::{complete, password, problems, terminal};
use crate::guestfs::Content;
use crate::image;
use crate::listing::{self, DiskReport, Form};
use crate::lock;
use crate::mount::background;
use crate::mount::{self, Access, OnSignal, Options};
use crate::open::{self, DiskOptions, Lookup, OpenDisk, OpenDisks, Which};
use crate::storage::Allowed;
use crate::view::View;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Does what the arguments ask for and returns the exit code. For the background, `run_in_background` starts the
/// process that stays, and returns its exit code if it fails to mount.
pub(super) fn run(
    action: Action,
    arguments: &Arguments,
    run_in_background: impl FnOnce() -> mount::Result<u8>,
) -> Result<u8, Error> {
    match action {
        Action::ListMachines => list_machines(arguments)?,
        Action::ListVolumes => list_volumes(arguments)?,
        Action::Unmount { point } => mount::unmount(point)?,
        Action::Complete { shell } => print(|out| Ok(out.write_all(&complete::script(shell))?))?,
        Action::Mount { .. } if arguments.goes_to_background() && !arguments.in_background => {
            return Ok(run_in_background()?);
        }
        Action::Mount { point } => mount_disks(arguments, point)?,
    }
    Ok(0)
}

fn list_machines(arguments: &Arguments) -> Result<(), Error> {
    // The kernel takes longer to give its table of locks than a small registry takes to be read.
    let prober = if mount::table::has_ours() { lock::Prober::new() } else { lock::Prober::of_lock_files() };
    let lookup = lookup(&arguments.which)?;
    let mut registry = lookup.registry(arguments.which.vm.as_deref())?;
    let report = listing::collect(&registry, arguments.which.vm.as_deref(), &prober, &lookup.allowed)?;
    if !arguments.json {
        problems::warn_of(&registry);
    }
    let form = Form { wide: arguments.wide, long: arguments.verbose > 0, tree: arguments.tree };
    print(|out| match arguments.json {
        true => listing::write_json(out, &report),
        false => listing::write_machines(out, &report, form, terminal::style()),
    })?;
    if let Some(error) = open::failure(&mut registry, arguments.which.vm.as_deref()) {
        return Err(error.into());
    }
    Ok(())
}

fn list_volumes(arguments: &Arguments) -> Result<(), Error> {
    let open = open_disks(
        &arguments.which,
        &lookup(&arguments.which)?,
        &arguments.which(),
        DiskOptions { force: arguments.force, ..DiskOptions::default() },
    )?;
    let reports: Vec<DiskReport> = open.disks.iter().map(|(slot, disk)| report_on(slot.clone(), disk)).collect();
    print(|out| match (arguments.json, &reports[..]) {
        (true, [report]) => listing::write_json(out, report),
        (true, reports) => listing::write_json(out, &reports),
        (false, reports) => {
            reports.iter().try_for_each(|report| listing::write_partitions(out, report, terminal::style()))
        }
    })
}

fn report_on(slot: Option<String>, disk: &OpenDisk) -> DiskReport {
    let mut contents: Vec<Content> = disk.contents().into_iter().map(|volume| volume.content).collect();
    contents.extend(disk.whole_content());
    DiskReport { slot, ..DiskReport::new(&disk.chain, disk.disk.size(), &disk.table, &contents) }
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

/// Finds and opens the disks that are meant, and says what a user should know of them.
pub(super) fn open_disks(
    arguments: &WhichDisk,
    lookup: &Lookup,
    which: &Which,
    options: DiskOptions,
) -> Result<OpenDisks, Error> {
    let found = lookup.find(which, options.writable)?;
    warn(&found.warnings);
    let options = DiskOptions { allowed_devices: arguments.allowed_devices.clone(), ..options };
    let open = found.open(lookup, &options)?;
    warn(&open.warnings);
    Ok(open)
}

pub(super) fn warn(warnings: &[String]) {
    warnings.iter().for_each(|warning| log::warn!("{warning}"));
}

/// Mounts disks and serves them until they are unmounted.
fn mount_disks(arguments: &Arguments, point: &Path) -> Result<(), Error> {
    let mut options = mount_options(arguments)?;
    // So that mount(8) finds its line of fstab in the mount table again.
    let source = arguments.source_word().map(|word| word.to_string_lossy().into_owned());
    options.source = options.source.or(source);
    let point = std::path::absolute(point).unwrap_or_else(|_| point.to_path_buf());
    let mut lookup = lookup(&arguments.which)?;
    let which = which_to_mount(arguments, &options, &mut lookup)?;
    let disk_options = DiskOptions {
        writable: options.writable,
        force: arguments.force,
        mount_point: Some(point.clone()),
        ..DiskOptions::default()
    };
    let mut open = open_disks(&arguments.which, &lookup, &which, disk_options)?;
    // The mount may last for months, and needs the keys only.
    drop(lookup);
    let shown = View::of_open(&open, arguments.guest_filesystem, options.appearance());
    let (view, warnings) = shown.map_err(mount::Error::from)?;
    warn(&warnings);
    let mounted = mount::mount(view, &point, &options, OnSignal::Stop)?;
    // Only now: it takes longer than mounting does.
    warn(&open.warnings_of_writers());
    let _locks = open.into_locks();
    let detached = if arguments.in_background { background::detach() } else { Ok(()) };
    if detached.is_err() {
        mounted.stopper().stop();
    }
    mounted.serve()?;
    Ok(detached?)
}

/// The disk to mount, which fstab names in the options: the source is then where the settings are, or `none`.
fn which_to_mount(arguments: &Arguments, options: &Options, lookup: &mut Lookup) -> Result<Which, Error> {
    let (which, named) = (arguments.which(), options.which.clone());
    let refuse = |option: &str, reason: &str| {
        Err(mount::Error::Option { option: option.to_owned(), reason: reason.to_owned() }.into())
    };
    match (&named.machine, arguments.source_word()) {
        (None, _) if named.disk.is_some() || named.at.is_some() => {
            refuse("disk or at", "needs the machine; give it with vm=MACHINE")
        }
        (None, _) => Ok(Which { snapshot: named.snapshot.or(which.snapshot.clone()), ..which }),
        (Some(_), None) => {
            refuse("vm", "comes with an image or a machine before the mount point; leave one of them out")
        }
        (Some(_), Some(source)) => {
            if source != "none" {
                lookup.settings.get_or_insert_with(|| source.into());
            }
            Ok(named)
        }
    }
}

fn mount_options(arguments: &Arguments) -> Result<Options, Error> {
    let access = if arguments.root { Access::Root } else { Access::Owner };
    let mut options = Options { writable: arguments.rw, access, ..Options::default() };
    arguments.options.iter().try_for_each(|list| options.add(list))?;
    Ok(options)
}
