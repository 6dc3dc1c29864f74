//! Lists the machines of the registry with what is attached to them in each state.
//!
//! usage: cargo run --example list [SETTINGS]

use std::process::ExitCode;
use vboximg_mount::{Attachment, Error, Passwords, Registry};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let registry = match std::env::args_os().nth(1) {
        Some(settings) => Registry::load_from(settings, Passwords::default())?,
        None => Registry::load(Passwords::default())?,
    };
    for machine in registry.machines() {
        println!("{} {}", machine.uuid, machine.name);
        for snapshot in &machine.snapshots {
            println!("  snapshot {} of {}", snapshot.name, snapshot.time_stamp);
            snapshot.attachments.iter().for_each(|slot| print_slot(&registry, slot));
        }
        println!("  current state");
        machine.attachments.iter().for_each(|slot| print_slot(&registry, slot));
    }
    for problem in registry.problems() {
        eprintln!("{problem}");
    }
    Ok(())
}

/// Prints what is in a slot: the medium, and those that it is based on.
fn print_slot(registry: &Registry, slot: &Attachment) {
    let Some(medium) = slot.medium.and_then(|uuid| registry.medium(uuid)) else { return };
    print!("    {}: {}", slot.slot(), medium.location.display());
    let mut child = medium;
    while let Some(parent) = registry.parent(child) {
        print!(" on {}", parent.file_name());
        child = parent;
    }
    println!();
}
