//! Who is measured, and how each shows a disk.

use super::disks::media::Medium;
use super::disks::source::{SourceDisk, Volume};
use super::read::Place;
use super::stage::Stage;
use super::{Result, host};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One who is measured.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A build of this program.
    Ours(PathBuf),
    /// The real vboximg-mount.
    VirtualBox,
    /// qemu-storage-daemon's FUSE export.
    Qemu,
    /// A plain file with the same bytes, read from the host's cache.
    Raw,
    /// The kernel's own file systems, mounted from the plain file.
    Kernel,
}

/// What should be mounted.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) medium: &'a Medium,
    /// The disk behind it, where the peer needs to know.
    pub(crate) source: Option<&'a SourceDisk>,
    /// The guest's file systems too.
    pub(crate) guests: bool,
    pub(crate) writable: bool,
}

/// A part of what is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Disk,
    Volume(usize),
    /// A file or directory in the file system of a volume.
    Guest(usize, String),
}

/// What a peer has mounted. Unmounted when dropped.
pub(crate) struct Mounted {
    point: PathBuf,
    pub(crate) kind: Kind,
    /// The process that serves it.
    pub(crate) pid: Option<i32>,
    /// From the start of the program until the mount answers.
    pub(crate) took: Duration,
    child: Option<Child>,
    /// The plain file and the starts of its volumes.
    raw: Option<(PathBuf, Vec<u64>)>,
}

impl Peer {
    /// Mounts.
    pub(crate) fn mount(&self, stage: &Stage<'_>, request: Request<'_>) -> Result<Mounted> {
        let point = stage.new_point()?;
        match &self.kind {
            Kind::Ours(program) => {
                let mut command = Command::new(program);
                command.env("VBOX_USER_HOME", stage.home()).arg("-i").arg(&request.medium.path);
                start(&self.kind, command, request, point.clone(), &point)
            }
            Kind::VirtualBox => {
                let virtualbox = stage.virtualbox()?;
                let mut command = stage.service()?.command("vboximg-mount");
                command.arg("-i").arg(virtualbox.inside(&request.medium.path));
                start(&self.kind, command, request, point.clone(), &virtualbox.inside(&point))
            }
            Kind::Qemu => qemu(request, point),
            Kind::Raw => {
                let source = request.source.ok_or("there is no plain file of this disk")?;
                let starts = source.volumes.iter().map(|volume| volume.start).collect();
                let mut mounted = Mounted::new(&self.kind, point);
                mounted.raw = Some((source.raw.clone(), starts));
                Ok(mounted)
            }
            Kind::Kernel => kernel(request, point),
        }
    }
}

/// Starts a program that goes to the background when it has mounted, which is what is waited for.
fn start(kind: &Kind, mut command: Command, request: Request<'_>, point: PathBuf, shown: &Path) -> Result<Mounted> {
    if request.guests {
        command.arg("-g");
    }
    if request.writable {
        command.arg("--rw");
    }
    let complaints = point.with_extension("log");
    command
        .arg(shown)
        .stdin(Stdio::null())
        .stdout(File::create(&complaints)?)
        .stderr(File::options().append(true).open(&complaints)?);
    let file = point.join("vhdd");
    let begin = Instant::now();
    let mut child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
    let mut ended = None;
    let mut given_up = false;
    host::until("the disk is mounted", || {
        if fs::metadata(&file).is_ok() {
            return true;
        }
        if ended.is_none() {
            ended = child.try_wait().ok().flatten().map(|status| (status, Instant::now()));
        }
        // The real one says that all is well also when it is not.
        given_up = ended.is_some_and(|(status, at)| !status.success() || at.elapsed() > Duration::from_secs(10));
        given_up
    })?;
    let took = begin.elapsed();
    if given_up {
        return Err(format!("{command:?} has not mounted: {}", fs::read_to_string(&complaints)?.trim()).into());
    }
    let mut mounted = Mounted::new(kind, point);
    mounted.took = took;
    child.wait()?;
    mounted.pid = match kind {
        Kind::Ours(_) => xattr::get(&mounted.point, "user.vboximg-mount.pid")?
            .and_then(|pid| String::from_utf8(pid).ok()?.parse().ok()),
        _ => host::processes_with("cmdline", &shown.display().to_string()).first().copied(),
    };
    Ok(mounted)
}

fn qemu(request: Request<'_>, point: PathBuf) -> Result<Mounted> {
    if request.writable || request.medium.parent.is_some() {
        return Err("its VDI driver has no differencing images".into());
    }
    let mut command = Command::new("qemu-storage-daemon");
    command
        .arg("--blockdev")
        .arg(format!("file,node-name=file,read-only=on,filename={}", request.medium.path.display()));
    command.args(["--blockdev", "vdi,node-name=disk,read-only=on,file=file"]);
    let volumes = request.source.map_or(&[][..], |source| &source.volumes);
    let mut nodes = vec![("disk".to_owned(), "vhdd".to_owned())];
    for Volume { index, start, size, .. } in volumes {
        let node = format!("raw,node-name=volume{index},read-only=on,file=disk,offset={start},size={size}");
        command.arg("--blockdev").arg(node);
        nodes.push((format!("volume{index}"), format!("vol{index}")));
    }
    for (node, name) in &nodes {
        let file = point.join(name);
        File::create(&file)?;
        command.arg("--export").arg(format!("fuse,id={name},node-name={node},mountpoint={}", file.display()));
    }
    let begin = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let mut mounted = Mounted::new(&Kind::Qemu, point);
    mounted.pid = Some(i32::try_from(child.id())?);
    let child = mounted.child.insert(child);
    let last = mounted.point.join(&nodes[nodes.len() - 1].1);
    let mut ended = false;
    host::until("qemu-storage-daemon has mounted", || {
        ended = child.try_wait().is_ok_and(|status| status.is_some());
        ended || host::is_mounted(&last)
    })?;
    mounted.took = begin.elapsed();
    if ended { Err("qemu-storage-daemon ended".into()) } else { Ok(mounted) }
}

fn kernel(request: Request<'_>, point: PathBuf) -> Result<Mounted> {
    let source = request.source.filter(|_| request.guests).ok_or("it shows file systems only")?;
    if !host::is_root() {
        return Err("needs root to mount".into());
    }
    let mounted = Mounted::new(&Kind::Kernel, point);
    let mut any = false;
    for volume in source.volumes.iter().filter(|volume| volume.big > 0) {
        let directory = mounted.point.join(format!("fs{}", volume.index));
        fs::create_dir(&directory)?;
        let kind = if volume.kind == "ntfs" { "ntfs3" } else { volume.kind };
        let options = format!("ro,loop,offset={},sizelimit={}", volume.start, volume.size);
        let words = [
            "-t".as_ref(),
            kind.as_ref(),
            "-o".as_ref(),
            options.as_ref(),
            source.raw.as_os_str(),
            directory.as_os_str(),
        ];
        any |= host::tool("mount", words).is_ok();
    }
    if any { Ok(mounted) } else { Err("it has mounted none of the file systems".into()) }
}

impl Mounted {
    fn new(kind: &Kind, point: PathBuf) -> Self {
        Self { point, kind: kind.clone(), pid: None, took: Duration::ZERO, child: None, raw: None }
    }

    /// Where a target is; none when this peer does not show it.
    pub(crate) fn place(&self, target: &Target) -> Option<Place> {
        if let Some((path, starts)) = &self.raw {
            let start = match target {
                Target::Disk => 0,
                Target::Volume(index) => starts[*index],
                Target::Guest(..) => return None,
            };
            return Some(Place { path: path.clone(), start, drop: false });
        }
        let path = match target {
            Target::Disk => self.point.join("vhdd"),
            Target::Volume(index) => self.point.join(format!("vol{index}")),
            Target::Guest(index, name) => self.point.join(format!("fs{index}")).join(name),
        };
        path.exists().then_some(Place { path, start: 0, drop: true })
    }

    /// Why a target is not shown.
    pub(crate) fn why_not(&self, target: &Target) -> &'static str {
        match (&self.kind, target) {
            (Kind::Raw | Kind::Qemu, Target::Guest(..)) => "shows no file systems",
            (Kind::Kernel, Target::Guest(..)) => "this kernel has no driver for it",
            (Kind::Kernel, _) => "shows file systems only",
            (_, Target::Guest(..)) => "does not read this file system",
            _ => "not shown",
        }
    }

    /// Unmounts, and returns when all is done but the end of the process.
    pub(crate) fn detach(&mut self) -> Result<()> {
        for point in host::mounts_below(&self.point) {
            host::tool("umount", [point])?;
        }
        Ok(())
    }

    /// Unmounts, and returns when all is done.
    pub(crate) fn unmount(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        match (&self.kind, self.child.take()) {
            (Kind::Raw, _) => return Ok(()),
            (_, Some(mut child)) => {
                host::end(i32::try_from(child.id())?)?;
                child.wait()?;
            }
            (Kind::Ours(program), _) => {
                host::tool(
                    program.to_str().ok_or("a path that is not UTF-8")?,
                    ["-u".as_ref(), self.point.as_os_str()],
                )?;
            }
            _ => self.detach()?,
        }
        match self.pid.take() {
            Some(pid) => host::until("the process ends", || !host::is_running(pid)),
            None => Ok(()),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.child.is_some() || !host::mounts_below(&self.point).is_empty() {
            // Nothing may be left behind, also when it cannot end as it should.
            let _ = self.end();
            host::unmount_all(&self.point);
        }
    }
}
