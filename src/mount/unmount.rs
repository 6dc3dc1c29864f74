//! `--unmount`: ends a mount from outside and waits until its data is durable and its process has exited.

use super::process::Process;
use super::{Error, FAILURE_ATTRIBUTE, LOSS_ATTRIBUTE, PID_ATTRIBUTE, Result, STARTED_ATTRIBUTE, attach, table};
use crate::error_kind::IoError;
use nix::errno::Errno;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// The first pause between two looks at the process that is to end; it doubles up to [`LONGEST`].
const PAUSE: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(100);
/// When the user is informed of the wait.
const PATIENCE: Duration = Duration::from_secs(3);

/// By whom a mount is served.
enum Served {
    /// A process that runs.
    By(Process),
    /// By nobody: the process was killed.
    Dead,
    /// Only the user who mounted it may ask.
    Private,
}

/// Unmounts a mount of this program. When it returns, what was written is durable and the process has ended.
///
/// # Errors
/// [`Error::NotMounted`]; [`Error::Busy`] when files are open there; [`Error::NotDurable`]; [`Error::Io`].
pub(crate) fn unmount(directory: &Path) -> Result<()> {
    let point = table::canonical(directory)?;
    let entry = table::at(&point)?;
    let Some(entry) = entry.filter(table::Entry::is_ours) else {
        return Err(not_mounted(&point));
    };
    let user = nix::unistd::geteuid();
    if !user.is_root() && entry.number("user_id").is_some_and(|owner| owner != user.as_raw()) {
        let source = io::Error::other("another user mounted it; unmount it as that user or as root");
        return Err(IoError::new(&point, "unmount", source).into());
    }
    let process = match served(&point)? {
        Served::By(process) => process,
        Served::Dead => {
            log::warn!("The process that served {} was killed; what was not flushed before is lost", point.display());
            // Nothing can be read there any more, so open files are no reason to wait.
            return attach::detach(&point, true);
        }
        Served::Private => return as_owner(&point, &entry),
    };
    if let Err(source) = File::open(&point).and_then(|file| file.sync_all()) {
        let get = |name| xattr::get(&point, name).ok().flatten();
        let advice = match get(LOSS_ATTRIBUTE) {
            Some(_) => {
                "flushing again cannot help: copy what you need from it, then give up what was written with umount"
            }
            None => "correct the cause and try again, or give up what was written with umount",
        };
        let reason = get(FAILURE_ATTRIBUTE);
        let reason = reason.map(|reason| io::Error::other(String::from_utf8_lossy(&reason).into_owned()));
        let source = reason.unwrap_or(source);
        return Err(Error::NotDurable { path: point, advice, source });
    }
    attach::detach(&point, false)?;
    wait_for(process, &point);
    Ok(())
}

fn not_mounted(point: &Path) -> Error {
    let other = table::at(point).ok().flatten();
    let found =
        other.map_or("nothing at all is".to_owned(), |entry| format!("but a file system of type {}", entry.kind));
    Error::NotMounted { path: point.to_path_buf(), found }
}

fn served(point: &Path) -> Result<Served> {
    let pid = attribute(point, PID_ATTRIBUTE);
    let started = attribute(point, STARTED_ATTRIBUTE);
    let source = match (pid, started) {
        (Ok(pid), Ok(started)) => {
            let pid = u32::try_from(pid).map_err(io::Error::other).map_err(Error::io(point, "understand"))?;
            return Ok(Served::By(Process { pid, started }));
        }
        (Err(e), _) | (_, Err(e)) => e,
    };
    match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOTCONN | Errno::ECONNABORTED) => Ok(Served::Dead),
        Some(Errno::EACCES) if nix::unistd::geteuid().is_root() => Ok(Served::Private),
        _ => Err(Error::io(point, "ask which process serves")(source)),
    }
}

fn attribute(point: &Path, name: &str) -> io::Result<u64> {
    let value = xattr::get(point, name)?.ok_or_else(|| io::Error::other(format!("it has no attribute {name}")))?;
    String::from_utf8_lossy(&value).parse().map_err(io::Error::other)
}

/// Root may not look into a user's mount; a process of that user may.
fn as_owner(point: &Path, entry: &table::Entry) -> Result<()> {
    let (Some(uid), Some(gid)) = (entry.number("user_id"), entry.number("group_id")) else {
        return Err(Error::io(point, "find who mounted")(io::Error::other("the mount table has no user")));
    };
    let program = std::env::current_exe().map_err(Error::io(point, "start another process to unmount"))?;
    let mut command = Command::new(program);
    command.arg("--unmount").arg(point).uid(uid).gid(gid);
    let status = command.status().map_err(Error::io(point, "start another process to unmount"))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::io(point, "unmount")(io::Error::other(format!("the process that ran as user {uid} failed: {status}"))))
}

/// Waits for the end of a process, which flushes the disk first. However long that takes, ending earlier would be a
/// lie about the data.
fn wait_for(process: Process, point: &Path) {
    let start = Instant::now();
    let mut pause = PAUSE;
    let mut reported = false;
    while process.is_running() {
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST);
        if !reported && start.elapsed() > PATIENCE {
            reported = true;
            log::warn!("{} is unmounted; waiting for process {} to end", point.display(), process.pid);
        }
    }
}
