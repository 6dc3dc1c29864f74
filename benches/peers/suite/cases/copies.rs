//! Copying out of the guest by the verb `cp`, beside cp(1) of the same bytes: from the kernel's mount, or of a plain
//! file.

use super::{Source, main_volume, megabytes, milliseconds};
use crate::suite::book::{Book, Unit};
use crate::suite::disks::source::{BIG, MANY, Volume, write_noise};
use crate::suite::peers::{Kind, Mounted, Peer, Request, Target};
use crate::suite::read::{self, Place};
use crate::suite::stage::Stage;
use crate::suite::{Result, host, noise};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a copy may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is copied.
enum What<'a> {
    /// The whole disk.
    Disk,
    /// The large file of a file system.
    File(&'a Volume),
    /// A directory of many small files.
    Tree(&'a Volume),
}

impl What<'_> {
    /// What a mount shows it as.
    fn target(&self) -> Target {
        match self {
            Self::Disk => Target::Disk,
            Self::File(volume) => Target::Guest(volume.index, BIG.to_owned()),
            Self::Tree(volume) => Target::Guest(volume.index, MANY.to_owned()),
        }
    }
}

/// The directory of one measurement.
struct Scene<'a> {
    stage: &'a Stage<'a>,
    /// The images and the disk's plain file.
    medium: &'a Path,
    raw: &'a Path,
    /// The large file as a plain file.
    plain: PathBuf,
    kernel: Option<&'a Mounted>,
    /// The file system that has the same files where the kernel has no driver.
    main: &'a Volume,
    to: PathBuf,
}

pub(super) fn run(source: &Source<'_>, book: &mut Book) -> Result<()> {
    let bench = source.bench;
    if bench.scale.files == 0 || !["cp/vhdd", "cp/file", "cp/tree-ext4", "cp/tree-ntfs"].iter().any(|c| bench.wants(c))
    {
        return Ok(());
    }
    let disk = source.disk()?;
    let main = main_volume(disk)?;
    let mib = |bytes: u64| bytes >> 20;
    let mut cases = vec![
        ("cp/vhdd".to_owned(), format!("cp of vhdd, {} MiB", mib(fs::metadata(&disk.raw)?.len())), What::Disk),
        ("cp/file".to_owned(), format!("cp of a file in ext4, {} MiB", mib(main.big)), What::File(main)),
    ];
    for volume in disk.volumes.iter().filter(|volume| volume.has_many()) {
        let title = format!("cp -r of {} files in {}", bench.scale.files, volume.kind);
        cases.push((format!("cp/tree-{}", volume.kind), title, What::Tree(volume)));
    }
    cases.retain(|(name, ..)| bench.wants(name));
    for (name, title, what) in &cases {
        book.case(name, title, if matches!(what, What::Tree(_)) { Unit::Milliseconds } else { Unit::Speed });
    }

    let stage = Stage::new(bench, std::slice::from_ref(&disk.medium))?;
    let work = tempfile::tempdir_in(bench.own_work.path())?;
    let plain = work.path().join(BIG);
    write_noise(&File::create_new(&plain)?, 0, main.big, main.index as u64)?;
    let request = Request { medium: &disk.medium, source: Some(disk), guests: true, writable: false };
    let kernel = bench.peers.iter().find(|peer| peer.kind == Kind::Kernel);
    let kernel = kernel.map(|peer| stage.mount(peer, request)).transpose()?.and_then(std::result::Result::ok);
    let scene = Scene {
        stage: &stage,
        medium: &disk.medium.path,
        raw: &disk.raw,
        plain,
        kernel: kernel.as_ref(),
        main,
        to: work.path().join("to"),
    };
    let said = work.path().join("said");
    let copy = |command: &mut Command, what: &What<'_>| -> Result<(Duration, u64)> {
        fs::create_dir(&scene.to)?;
        let (_, time) = host::run_within(command, PATIENCE, &said)?;
        let bytes = scene.check(what)?;
        fs::remove_dir_all(&scene.to)?;
        Ok((time, bytes))
    };
    for _ in 0..bench.options.rounds() {
        for (name, _, what) in &cases {
            // The first copy of a case, which brings what is copied into the host's cache and clears memory there for
            // the copies, does not count.
            let mut counts = false;
            for peer in bench.peers.iter().filter(|peer| bench.compares(peer, name)) {
                let mut command = match scene.command(peer, what) {
                    Ok(command) => command,
                    Err(reason) => {
                        book.absent(name, &peer.name, reason);
                        continue;
                    }
                };
                let failed = |e| format!("{} in {name}: {e}", peer.name);
                if !std::mem::replace(&mut counts, true) {
                    copy(&mut command, what).map_err(failed)?;
                }
                let (time, bytes) = copy(&mut command, what).map_err(failed)?;
                let is_tree = matches!(what, What::Tree(_));
                book.add(name, &peer.name, if is_tree { milliseconds(time) } else { megabytes(bytes, time) }, None);
            }
        }
    }
    kernel.map_or(Ok(()), Mounted::unmount)
}

impl Scene<'_> {
    /// The command of a peer, or why it has none.
    fn command(&self, peer: &Peer, what: &What<'_>) -> std::result::Result<Command, &'static str> {
        let from: OsString = match (&peer.kind, what) {
            (Kind::Ours(program), what) => {
                let mut command = Command::new(program);
                command.env("VBOX_USER_HOME", self.stage.home()).args(["cp", "-r", "-i"]).arg(self.medium);
                let path = match what.target() {
                    Target::Guest(index, name) => format!("fs{index}/{name}"),
                    _ => "vhdd".to_owned(),
                };
                command.arg(path).arg(&self.to);
                return Ok(command);
            }
            (Kind::Raw, What::Disk) => self.raw.into(),
            (Kind::Raw, What::File(_)) => self.plain.clone().into(),
            (Kind::Raw, What::Tree(_)) => return Err("shows no file systems"),
            (Kind::Kernel, What::Disk) => return Err("shows file systems only"),
            (Kind::Kernel, what) => {
                let kernel = self.kernel.ok_or("it has mounted none of the file systems")?;
                // The same names and bytes, where the kernel has no driver for the file system.
                let same = Target::Guest(self.main.index, MANY.to_owned());
                let place = kernel.place(&what.target()).or_else(|| kernel.place(&same));
                place.ok_or("this kernel has no driver for it")?.path.into()
            }
            (Kind::VirtualBox | Kind::Qemu, _) => return Err("copies nothing itself"),
        };
        let mut command = Command::new("cp");
        command.arg("-r").arg(from).arg(&self.to);
        Ok(command)
    }

    /// Checks the copy and returns the bytes of a file.
    fn check(&self, what: &What<'_>) -> Result<u64> {
        if let What::Tree(_) = what {
            let found = fs::read_dir(self.to.join(MANY))?.count();
            let wanted = usize::try_from(self.stage.bench.scale.files)?;
            return if found == wanted { Ok(0) } else { Err(format!("{found} of {wanted} files").into()) };
        }
        let copy = fs::read_dir(&self.to)?.next().ok_or("there is no copy")??.path();
        let len = fs::metadata(&copy)?.len();
        let raw = File::open(self.raw)?;
        let expect = |at: u64, buf: &mut [u8]| -> Result<()> {
            match what {
                What::File(volume) => noise::fill(volume.index as u64, at, buf),
                _ => raw.read_exact_at(buf, at)?,
            }
            Ok(())
        };
        read::check(&Place { path: copy, start: 0, drop: false }, len, &expect)?;
        Ok(len)
    }
}
