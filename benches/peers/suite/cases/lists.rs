//! Listing machines: `-l -w` of registries of many, and of the one that the real VirtualBox wrote.

use super::milliseconds;
use crate::suite::book::{Book, Unit};
use crate::suite::disks::machines;
use crate::suite::peers::{Kind, Peer};
use crate::suite::virtualbox::Service;
use crate::suite::{Bench, Result, host};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The registry of the fixtures.
const ORACLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/registry.tar.zst");
/// How long a peer may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// One that takes longer than this is asked once.
const LONG: Duration = Duration::from_secs(15);

/// A registry, and what is measured with it.
struct Registry {
    warm: String,
    cold: String,
    title: String,
    /// Something that must be listed, as often as it is in the second number at least.
    wanted: (&'static str, usize),
    count: Option<u32>,
}

pub(super) fn run(bench: &Bench<'_>, book: &mut Book) -> Result<()> {
    let registry = |count: Option<u32>| {
        let name = count.map_or("oracle".to_owned(), |count| count.to_string());
        let title = count.map_or("list nine odd machines".to_owned(), |count| format!("list {count} machines"));
        let wanted =
            count.map_or(Ok(("alpine tree", 1)), |count| usize::try_from(count).map(|count| ("machine 0", count)));
        Ok(Registry { warm: format!("list/{name}"), cold: format!("list/{name}-cold"), title, wanted: wanted?, count })
    };
    let counts = [None].into_iter().chain(bench.scale.machines.iter().copied().map(Some));
    for registry in counts.map(registry).collect::<Result<Vec<_>>>()? {
        if bench.wants(&registry.warm) || bench.wants(&registry.cold) {
            measure(bench, &registry, book)?;
        }
    }
    Ok(())
}

fn measure(bench: &Bench<'_>, registry: &Registry, book: &mut Book) -> Result<()> {
    book.case(&registry.warm, &registry.title, Unit::Milliseconds);
    book.case(&registry.cold, &format!("{}, cold start", registry.title), Unit::Milliseconds);
    let home = match registry.count {
        Some(count) => machines::registry(&bench.out, count)?,
        None => decompressed(bench.own_work.path())?,
    };
    let service = bench.virtualbox().ok().map(|virtualbox| -> Result<Service> {
        // It may write there, and must not to what is kept.
        let directory = tempfile::tempdir_in(&virtualbox.work)?.keep();
        let copy = directory.join("home");
        host::tool("cp", ["-a".as_ref(), "--sparse=always".as_ref(), home.as_os_str(), copy.as_os_str()])?;
        Ok(virtualbox.service_of(&copy))
    });
    let service = service.transpose()?;
    let mut tired = Vec::new();
    for _ in 0..bench.options.rounds() {
        for (case, cold) in [(&registry.cold, true), (&registry.warm, false)] {
            for peer in bench.peers.iter().filter(|peer| bench.compares(peer, case)) {
                if tired.contains(&(case.clone(), peer.name.clone())) {
                    continue;
                }
                match list(bench, peer, &home, service.as_ref(), cold, registry.wanted) {
                    Ok((time, peak)) => {
                        book.add(case, &peer.name, milliseconds(time), peak);
                        if time > LONG {
                            tired.push((case.clone(), peer.name.clone()));
                        }
                    }
                    Err(e) if matches!(peer.kind, Kind::Ours(_)) => return Err(e),
                    Err(e) => {
                        book.absent(case, &peer.name, &e.to_string());
                        tired.push((case.clone(), peer.name.clone()));
                    }
                }
            }
        }
    }
    Ok(())
}

fn list(
    bench: &Bench<'_>,
    peer: &Peer,
    home: &Path,
    service: Option<&Service>,
    cold: bool,
    wanted: (&str, usize),
) -> Result<(Duration, Option<u64>)> {
    let out = bench.own_work.path().join("list");
    let mut command = match &peer.kind {
        Kind::Ours(program) => {
            let mut command = Command::new(program);
            command.env("VBOX_USER_HOME", home);
            command
        }
        Kind::VirtualBox => {
            let service = service.ok_or("VirtualBox is absent")?;
            if cold {
                service.end()?;
            } else {
                host::run_within(service.command("vboximg-mount").arg("-lw"), PATIENCE, &out)?;
            }
            service.command("vboximg-mount")
        }
        Kind::Qemu | Kind::Raw | Kind::Kernel => return Err("lists no machines".into()),
    };
    let (text, time) = host::run_within(command.arg("-lw"), PATIENCE, &out)?;
    let found = text.matches(wanted.0).count();
    if found < wanted.1 {
        return Err(format!("{} lines with {:?}, not {}", found, wanted.0, wanted.1).into());
    }
    // Measured apart, since looking takes time.
    let peak = if matches!(peer.kind, Kind::Ours(_)) { peak_of(&mut command)? } else { None };
    Ok((time, peak))
}

/// The peak of the memory of a program that ends by itself, looked at every millisecond.
fn peak_of(command: &mut Command) -> Result<Option<u64>> {
    let mut child = command.stdout(Stdio::null()).spawn()?;
    let pid = i32::try_from(child.id())?;
    let mut peak = None;
    while child.try_wait()?.is_none() {
        peak = peak.max(host::peak(pid));
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(peak)
}

fn decompressed(directory: &Path) -> Result<PathBuf> {
    let home = directory.join("home");
    if !home.exists() {
        host::tool(
            "tar",
            ["--zstd", "-xSf", ORACLE, "-C"].map(AsRef::as_ref).into_iter().chain([directory.as_os_str()]),
        )?;
    }
    Ok(home)
}
