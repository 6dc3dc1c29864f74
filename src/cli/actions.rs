//! What the program does for each kind of command line: the one place that joins the library's rooms.

use super::arguments::{Action, Arguments};
use crate::disk::{self, ChainDisk, OpenMode};
use crate::error::Error;
use crate::mount::{self, Access, OnSignal, Options, Source, background};
use crate::registry::{Chain, Link, MediumKind};
use crate::{lock, volume};
use clap::CommandFactory;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Does what the arguments ask for and returns the exit code.
pub(super) fn run(action: Action, arguments: &Arguments, words: &[OsString]) -> Result<u8, Error> {
    match action {
        Action::ListMachines | Action::ListVolumes => list(),
        Action::Mount => mount_disk(arguments, words),
        Action::Unmount => unmount(arguments),
        Action::Completions => {
            print_completions(arguments);
            Ok(0)
        }
    }
}

fn list() -> Result<u8, Error> {
    Ok(0)
}

fn print_completions(arguments: &Arguments) {
    let mut script = Vec::new();
    if let Some(shell) = arguments.completions {
        clap_complete::generate(shell, &mut Arguments::command(), "vboximg-mount", &mut script);
    }
    let _ = io::Write::write_all(&mut io::stdout(), &script);
}

fn unmount(arguments: &Arguments) -> Result<u8, Error> {
    if let Some(point) = &arguments.unmount {
        mount::unmount(point)?;
    }
    Ok(0)
}

/// Mounts in this process with `--foreground`, and otherwise in one that stays in the background.
fn mount_disk(arguments: &Arguments, words: &[OsString]) -> Result<u8, Error> {
    let options = mount_options(arguments)?;
    if arguments.guest_filesystem {
        let what = "Showing the file systems of the guest (-g)";
        return Err(mount::Error::Unsupported { what, instead: "mount a vol<N> with the kernel's driver" }.into());
    }
    if !(arguments.foreground || arguments.debug || arguments.in_background) {
        return Ok(background::start(words)?);
    }
    let (Some(image), Some(point)) = (&arguments.image, &arguments.mount_point) else { return Ok(0) };
    let chain = find(image);
    if options.writable {
        mount::check_writable(&chain)?;
    }
    let _locks = lock_chain(&chain, options.writable, point)?;
    let disk = open(&chain, OpenMode { writable: options.writable, force: arguments.force })?;
    let table = volume::read_table(&*disk)?;
    table.notes.iter().for_each(|note| log::warn!("{note}"));
    let source = Source::of_chain(disk, table.volumes);
    let mounted = mount::mount(source, point, &options, OnSignal::Stop)?;
    let detached = if arguments.in_background { background::detach() } else { Ok(()) };
    if detached.is_err() {
        mounted.stopper().stop();
    }
    mounted.serve()?;
    detached?;
    Ok(0)
}

fn mount_options(arguments: &Arguments) -> Result<Options, Error> {
    let access = if arguments.root { Access::Root } else { Access::Owner };
    let mut options = Options { writable: arguments.rw, access, ..Options::default() };
    arguments.options.iter().try_for_each(|list| options.add(list))?;
    Ok(options)
}

/// The images behind a name on the command line.
fn find(image: &OsStr) -> Chain {
    let path = Path::new(image);
    let link = Link {
        path: path.canonicalize().unwrap_or_else(|_| path.to_path_buf()),
        registered_uuid: None,
        registered_format: None,
        stated_format: None,
        found_by: "the command line".to_owned(),
    };
    Chain {
        links: vec![link],
        uuid: None,
        kind: MediumKind::Normal,
        children: Vec::new(),
        saved_in: Vec::new(),
        base_properties: BTreeMap::new(),
    }
}

/// Locks the leaf for what will be done with it, and its parents for reading.
fn lock_chain(chain: &Chain, writable: bool, point: &Path) -> Result<Vec<lock::Guard>, Error> {
    log::info!("Attempting to lock medium chain from leaf image to base image");
    let point: PathBuf = std::path::absolute(point).unwrap_or_else(|_| point.to_path_buf());
    let mut guards = Vec::with_capacity(chain.links.len());
    for (index, link) in chain.links.iter().enumerate() {
        let write = writable && index == 0;
        log::info!("  {} ... Locking for {}", link.path.display(), if write { "write" } else { "read" });
        let mode = if write { lock::Mode::Write } else { lock::Mode::Read };
        guards.push(lock::acquire(&link.path, mode, Some(&point))?);
    }
    Ok(guards)
}

fn open(chain: &Chain, mode: OpenMode) -> Result<Arc<ChainDisk>, Error> {
    log::info!("Opening medium chain");
    let disk = disk::open_chain(chain, mode)?;
    disk.warnings().iter().for_each(|warning| log::warn!("{warning}"));
    Ok(Arc::new(disk))
}
