//! The measurement: makes the disks, mounts them with our program and each peer present, runs every case with all of
//! them in turn, and writes what was found.

mod book;
mod cases;
mod disks;
mod host;
mod load;
mod noise;
mod options;
mod peers;
mod picture;
mod read;
mod scale;
mod stage;
mod table;
mod virtualbox;

pub(crate) use options::Options;

use book::Book;
use load::Load;
use peers::{Kind, Peer};
use scale::Scale;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use virtualbox::VirtualBox;

/// What can go wrong is told and ends the measurement.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The names that the peers have in all results.
const OURS: &str = "this program";
/// The real one's also has its version.
const REAL: &str = "vboximg-mount";
const QEMU: &str = "qemu-storage-daemon";
const RAW: &str = "raw file";
const KERNEL: &str = "kernel (loop)";

/// Whether a case is one of a quick run: those with a goal that the real one or cp(1) can do. It does not read XFS.
fn is_quick(case: &str) -> bool {
    case == "start/small"
        || ["seq-", "rand-", "cp/"].iter().any(|part| case.starts_with(part)) && !case.ends_with("xfs")
}

/// What all cases share.
pub(crate) struct Bench<'a> {
    pub(crate) options: &'a Options,
    pub(crate) scale: &'static Scale,
    /// Our program is the first.
    pub(crate) peers: Vec<Peer>,
    /// Where disks are kept.
    pub(crate) out: PathBuf,
    virtualbox: std::result::Result<VirtualBox, String>,
    /// For what is thrown away; that of VirtualBox where it is.
    own_work: Work,
}

/// A directory for what is thrown away, removed when dropped.
struct Work(PathBuf);

impl Work {
    /// Where directories of killed runs are removed first.
    fn new(out: &Path) -> Result<Self> {
        host::remove_left(out, "work-");
        let directory = out.join(format!("work-{}", std::process::id()));
        fs::create_dir(&directory)?;
        Ok(Self(directory))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        host::remove_directory(&self.0);
    }
}

impl Bench<'_> {
    /// A directory for what is thrown away at the end, which VirtualBox sees too.
    pub(crate) fn work(&self) -> &Path {
        self.virtualbox.as_ref().map_or_else(|_| self.own_work.path(), |virtualbox| &virtualbox.work)
    }

    pub(crate) fn virtualbox(&self) -> Result<&VirtualBox> {
        self.virtualbox.as_ref().map_err(|reason| reason.clone().into())
    }

    /// Whether a case is asked for: by its name, else in a quick run those that have a goal.
    pub(crate) fn wants(&self, case: &str) -> bool {
        self.options.wants(case) && (!self.options.is_about_goals() || is_quick(case))
    }

    /// Whether a peer is measured in a case: in a quick run, those that a goal is about.
    pub(crate) fn compares(&self, peer: &Peer, case: &str) -> bool {
        let is_other = matches!(peer.kind, Kind::VirtualBox | Kind::Qemu | Kind::Raw | Kind::Kernel);
        !(is_other && self.options.is_about_goals()) || book::goal(case).is_some_and(|g| peer.name.contains(g.against))
    }

    /// The peer that is compared with in the first place.
    fn oracle(&self) -> Option<&str> {
        self.peers.iter().find(|peer| peer.kind == Kind::VirtualBox).map(|peer| peer.name.as_str())
    }
}

/// Measures what the options ask for. `built` is the build that Cargo has just made.
pub(crate) fn run(options: &Options, built: &Path) -> Result<()> {
    let scale = match (options.quick, options.tiny) {
        (_, true) => &scale::TINY,
        (true, false) => &scale::QUICK,
        (false, false) => &scale::FULL,
    };
    let results = options.results()?;
    fs::create_dir_all(&options.out)?;
    let out = options.out.canonicalize()?;
    let virtualbox = if options.tiny { Err("not asked for".to_owned()) } else { VirtualBox::find(&out) };
    let own_work = Work::new(&out)?;
    let mut absent = BTreeMap::new();
    let peers = find_peers(options, built, &virtualbox, &mut absent);
    let bench = Bench { options, scale, peers, out, virtualbox, own_work };
    let idle = measure(&bench, &absent, "peers", &results)?;
    if options.busy {
        let load = Load::start()?;
        let busy = measure(&bench, &absent, "peers-busy", &results)?;
        drop(load);
        println!("Without other work on the machine:\n{idle}\nBeside two processes that compute:\n{busy}");
    }
    println!("Written to {}", results.display());
    Ok(())
}

/// Runs all cases, writes what was found to files of this name, and returns the table, which is also printed.
fn measure(bench: &Bench<'_>, absent: &BTreeMap<String, String>, name: &str, results: &Path) -> Result<String> {
    let mut book = Book {
        machine: host::machine(),
        scale: bench.scale.name,
        rounds: bench.options.rounds(),
        peers: bench.peers.iter().map(|peer| peer.name.clone()).collect(),
        absent: absent.clone(),
        cases: Vec::new(),
        checks: Vec::new(),
    };
    let measured = cases::run_all(bench, &mut book);
    // What was measured before a failure is worth seeing.
    book.finish();
    let table = table::table(&book);
    println!("\n{}\n{table}", book.machine);
    measured?;
    fs::write(results.join(format!("{name}.json")), serde_json::to_string_pretty(&book)? + "\n")?;
    if let Some(oracle) = bench.oracle() {
        fs::write(results.join(format!("{name}.svg")), picture::picture(&book, oracle))?;
    }
    Ok(table)
}

/// Our program, and who else is there.
fn find_peers(
    options: &Options,
    built: &Path,
    virtualbox: &std::result::Result<VirtualBox, String>,
    absent: &mut BTreeMap<String, String>,
) -> Vec<Peer> {
    let program = options.program.clone().unwrap_or_else(|| built.to_path_buf());
    let mut peers = vec![Peer { name: OURS.to_owned(), kind: Kind::Ours(program) }];
    for (name, path) in &options.also {
        peers.push(Peer { name: name.clone(), kind: Kind::Ours(path.clone()) });
    }
    let qemu =
        host::find_program("qemu-storage-daemon").map(|_| ()).ok_or("not installed; it is in the package qemu-utils");
    let root = if host::is_root() { Ok(()) } else { Err("needs root to mount") };
    let name = virtualbox.as_ref().map_or(REAL.to_owned(), |found| format!("{REAL} {}", found.version()));
    let others = [
        (name.as_str(), Kind::VirtualBox, virtualbox.as_ref().map(|_| ()).map_err(String::as_str)),
        (QEMU, Kind::Qemu, qemu),
        (RAW, Kind::Raw, Ok(())),
        (KERNEL, Kind::Kernel, root),
    ];
    for (name, kind, present) in others {
        let reason = match present {
            Err(reason) => reason,
            Ok(()) if options.wants_peer(name) && !(options.tiny && kind != Kind::Raw) => {
                peers.push(Peer { name: name.to_owned(), kind });
                continue;
            }
            Ok(()) => "not asked for",
        };
        absent.insert(name.to_owned(), reason.to_owned());
    }
    peers
}
