//! Attaching a session to a directory and detaching it: the kernel's own calls for root, `fusermount3` for other users.

use super::server::{MAX_READ, Server};
use super::{Access, Error, Options, Result, helper, table};
use crate::error_kind::IoError;
use fuser::{Session, SessionACL};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// What the mount table shows as the source unless `-o fsname` sets another.
const SOURCE: &str = "vboximg-mount";
/// The file system subtype, which makes the type `fuse.vboximg-mount`.
const SUBTYPE: &str = "vboximg-mount";
/// The kernel's interface to FUSE servers.
const DEVICE: &str = "/dev/fuse";
/// How often a busy mount is tried. Whoever looks through the open files of all processes, as we do ourselves before
/// mounting, keeps a mount busy for a moment.
const BUSY_TRIES: usize = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// How many threads answer requests: one for each processor, within these bounds. More than there are processors only
/// wake each other; fewer than the least would let slow reads of the host's disk hold up all others. The figures are in
/// `benches/README.md`.
const LEAST_THREADS: usize = 4;
const MOST_THREADS: usize = 8;

/// Mounts on `point` and shakes hands with the kernel for the server that `server` makes of a duplicate of the
/// session's descriptor.
///
/// # Errors
/// [`Error::Io`], [`Error::OthersNotAllowed`].
pub(super) fn attach(
    point: &Path,
    options: &Options,
    server: impl FnOnce(OwnedFd) -> Server,
) -> Result<Session<Server>> {
    check_device(Path::new(DEVICE))?;
    let device = if nix::unistd::geteuid().is_root() {
        mount_as_root(point, options)?
    } else {
        helper::mount(point, &helper_options(options)).map_err(|e| explain(point, name_helper(e)))?
    };
    // What the kernel cannot do by itself: it lets in only the user who mounted, or everybody.
    let others = if options.access == Access::Root { SessionACL::RootAndOwner } else { SessionACL::All };
    let mut config = fuser::Config::default();
    let processors = thread::available_parallelism().map_or(LEAST_THREADS, usize::from);
    config.n_threads = Some(processors.clamp(LEAST_THREADS, MOST_THREADS));
    let session = device.try_clone().and_then(|own| Session::from_fd(server(own), device, others, config));
    session.map_err(|source| {
        // Without a session nobody would answer there.
        let _ = try_detach(point, true);
        IoError::new(point, "talk to the kernel about", source).into()
    })
}

/// Serves until nothing is mounted any more.
///
/// # Errors
/// The error of the operating system.
pub(super) fn run(session: Session<Server>) -> io::Result<()> {
    session.run().or_else(|e| match e.raw_os_error().map(Errno::from_raw) {
        // It ended just while a request was received.
        Some(Errno::ECONNABORTED) => Ok(()),
        _ => Err(e),
    })
}

/// Checks that the kernel's interface is there: containers mostly lack it.
fn check_device(path: &Path) -> Result<()> {
    /// Linux `Documentation/admin-guide/devices.txt`.
    const NUMBER: (u64, u64) = (10, 229);
    let attributes = std::fs::metadata(path).map_err(Error::NoFuse)?;
    if attributes.rdev() == nix::sys::stat::makedev(NUMBER.0, NUMBER.1) {
        return Ok(());
    }
    Err(Error::NoFuse(io::Error::other(format!("{} is not the kernel's device of that name", path.display()))))
}

/// Mounts by mount(2).
fn mount_as_root(point: &Path, options: &Options) -> Result<OwnedFd> {
    let root_mode = std::fs::metadata(point).map_err(Error::io(point, "look at"))?.mode();
    let file = OpenOptions::new().read(true).write(true).open(DEVICE).map_err(Error::NoFuse)?;
    let user = (nix::unistd::getuid(), nix::unistd::getgid());
    let mut data = format!(
        "fd={},rootmode={root_mode:o},user_id={},group_id={},default_permissions,max_read={MAX_READ}",
        file.as_raw_fd(),
        user.0,
        user.1
    );
    if options.access != Access::Owner {
        data.push_str(",allow_other");
    }
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    flags.set(MsFlags::MS_RDONLY, !options.writable);
    flags.set(MsFlags::MS_NOEXEC, options.noexec);
    flags.set(MsFlags::MS_SYNCHRONOUS, options.sync);
    let source = options.source.as_deref().unwrap_or(SOURCE);
    nix::mount::mount(Some(source), point, Some(table::TYPE), flags, Some(data.as_str()))
        .map_err(|e| explain(point, e.into()))?;
    Ok(file.into())
}

/// The options as `fusermount3` takes them; it adds `nosuid` and `nodev` by itself.
fn helper_options(options: &Options) -> String {
    // A comma would begin another option.
    let source = options.source.as_deref().unwrap_or(SOURCE).replace('\\', r"\\").replace(',', r"\,");
    let mut list = format!("fsname={source},subtype={SUBTYPE},default_permissions,max_read={MAX_READ}");
    list.push_str(if options.writable { ",rw" } else { ",ro" });
    for (wanted, option) in
        [(options.access != Access::Owner, ",allow_other"), (options.noexec, ",noexec"), (options.sync, ",sync")]
    {
        list.push_str(if wanted { option } else { "" });
    }
    list
}

/// Says that it is the helper that is not there, not the mount point.
fn name_helper(source: io::Error) -> io::Error {
    match source.kind() {
        io::ErrorKind::NotFound => io::Error::other("fusermount3 is not there; install the package fuse3"),
        _ => source,
    }
}

fn explain(point: &Path, source: io::Error) -> Error {
    let text = source.to_string();
    if text.contains("user_allow_other") {
        return Error::OthersNotAllowed;
    }
    let hint = match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EACCES | Errno::ENOENT | Errno::ENODEV) => {
            format!("{}; {DEVICE} must be there and open to you", text.trim())
        }
        Some(Errno::EPERM) => format!("{}; in a container, give it {DEVICE} and the right to mount", text.trim()),
        _ => text.trim().to_owned(),
    };
    IoError::new(point, "mount on", io::Error::new(source.kind(), hint)).into()
}

/// Unmounts what is mounted on `point`. With `lazily`, open files stay usable and the session ends with the last one.
///
/// # Errors
/// [`Error::Busy`] when files are open and not `lazily`; [`Error::Io`].
pub(super) fn detach(point: &Path, lazily: bool) -> Result<()> {
    let mut tries = 1;
    loop {
        let Err(source) = try_detach(point, lazily) else { return Ok(()) };
        if source.kind() != io::ErrorKind::ResourceBusy {
            return Err(IoError::new(point, "unmount", source).into());
        }
        if tries == BUSY_TRIES {
            return Err(Error::Busy { path: point.to_path_buf() });
        }
        tries += 1;
        thread::sleep(BUSY_PAUSE);
    }
}

fn try_detach(point: &Path, lazily: bool) -> io::Result<()> {
    if nix::unistd::geteuid().is_root() {
        let lazy = if lazily { MntFlags::MNT_DETACH } else { MntFlags::empty() };
        Ok(nix::mount::umount2(point, MntFlags::UMOUNT_NOFOLLOW | lazy)?)
    } else {
        helper::unmount(point, lazily).map_err(name_helper)
    }
}

/// Lets the kernel read ahead 512 KiB instead of 128 KiB on a device, where we are allowed to. Only speed depends on
/// it: more does not stay in the processor's caches until it is read.
pub(super) fn read_far_ahead((major, minor): (u64, u64)) {
    let path = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    if let Err(e) = std::fs::write(&path, "512") {
        log::debug!("The kernel reads ahead less: {path}: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_kind::message;

    #[test]
    fn errors_advise_what_to_do() {
        let explained = |source| message(&explain(Path::new("/mnt"), source));
        assert!(explained(io::Error::from(Errno::EACCES)).ends_with("/dev/fuse must be there and open to you"));
        // As the start of a program that is not there fails.
        let none = std::process::Command::new("/nonexistent").spawn().unwrap_err();
        assert!(explained(name_helper(none)).ends_with("install the package fuse3"));
        let text = "fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf\n";
        assert!(matches!(explain(Path::new("/mnt"), io::Error::other(text)), Error::OthersNotAllowed));
        let text = "fusermount3: user has no write access to mountpoint /mnt\n";
        assert_eq!(explained(io::Error::other(text)), format!("Cannot mount on /mnt: {}", text.trim()));
    }

    #[test]
    fn advises_when_there_is_no_device() {
        let nowhere = check_device(Path::new("/nonexistent")).unwrap_err();
        assert_eq!(nowhere.kind(), crate::error_kind::ErrorKind::Io);
        for error in [nowhere, check_device(Path::new("/dev/null")).unwrap_err()] {
            let text = message(&error);
            assert!(text.contains("'modprobe fuse'") && text.contains("--device /dev/fuse"), "{text}");
        }
    }

    #[test]
    fn options_for_the_helper() {
        let options = Options { noexec: true, source: Some(r"a,b\c".to_owned()), ..Options::default() };
        let expected = r"fsname=a\,b\\c,subtype=vboximg-mount,default_permissions,max_read=524288,ro,noexec";
        assert_eq!(helper_options(&options), expected);
        let list = helper_options(&Options { writable: true, sync: true, access: Access::All, ..Options::default() });
        assert!(list.ends_with(",rw,allow_other,sync"), "{list}");
    }
}
