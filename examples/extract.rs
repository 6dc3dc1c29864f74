//! Copies a file out of a snapshot of a machine, to standard output.
//!
//! usage: cargo run --example extract MACHINE SNAPSHOT PATH [SETTINGS]
//!
//! The snapshot may be `current`. The path begins with the file system: `fs0/etc/hostname`.

use std::error::Error;
use std::io;
use std::process::ExitCode;
use vboximg_mount::{Passwords, Registry, View, Which};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (machine, snapshot, path, settings) = match &words[..] {
        [machine, snapshot, path] => (machine, snapshot, path, None),
        [machine, snapshot, path, settings] => (machine, snapshot, path, Some(settings)),
        _ => return Err("usage: extract MACHINE SNAPSHOT PATH [SETTINGS]".into()),
    };
    let registry = match settings {
        Some(settings) => Registry::load_from(settings, Passwords::default())?,
        None => Registry::load(Passwords::default())?,
    };
    let which = Which { machine: Some(machine.clone()), snapshot: Some(snapshot.clone()), ..Which::default() };
    let mut disks = registry.open(&which)?;
    let disk =
        disks.pop().filter(|_| disks.is_empty()).ok_or("The machine has several disks; this example takes one")?;
    let view = View::new(disk)?;
    view.warnings().iter().for_each(|warning| eprintln!("{warning}"));
    io::copy(&mut view.open(path)?, &mut io::stdout().lock())?;
    Ok(())
}
