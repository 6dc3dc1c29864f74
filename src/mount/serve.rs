//! Serves a mount from start to end: readiness, signals, periodic flushes, the last flush.

use super::flush::Flusher;
use super::process::{self, Process};
use super::server::Server;
use super::{Error, Options, PID_ATTRIBUTE, Result, attach, point, table};
use crate::error_kind::message;
use crate::view::View;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// How often a writable mount is flushed when something was written.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// How long a new mount may take for its first answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What the serving thread waits for.
enum Event {
    /// Somebody wants the mount to end.
    Stop,
    /// The kernel has ended the session: nothing is mounted any more.
    Ended(io::Result<()>),
}

/// Ends a mount from another thread.
#[derive(Clone)]
pub(crate) struct Stopper(Sender<Event>);

impl Stopper {
    /// Unmounts; open files stay usable, and the mount ends with the last one. Called again, it flushes and ends the
    /// mount at once.
    pub(crate) fn stop(&self) {
        // An error means that it has ended already.
        let _ = self.0.send(Event::Stop);
    }
}

/// What SIGINT, SIGTERM and SIGHUP do while a disk is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnSignal {
    /// End the mount, as [`Stopper::stop`] does.
    Stop,
    /// What they did before: a test's process has other things to do.
    #[cfg(test)]
    Unchanged,
}

/// A disk that is mounted and answers.
pub(crate) struct Mounted {
    point: PathBuf,
    /// None when it was unmounted before it had answered.
    device: Option<(u64, u64)>,
    writable: bool,
    flusher: Arc<Flusher>,
    events: Receiver<Event>,
    stopper: Stopper,
}

/// Mounts a view on a directory. When this returns, the mount answers, and threads serve it;
/// [`serve`](Mounted::serve) must follow. The disks are closed when it could not be mounted.
///
/// # Errors
/// [`Error::Point`], [`Error::Io`], [`Error::OthersNotAllowed`], [`Error::Silent`].
pub(crate) fn mount(view: View, directory: &Path, options: &Options, on_signal: OnSignal) -> Result<Mounted> {
    let flusher = Arc::new(Flusher::new(view.disks().cloned().collect()));
    let (sender, events) = mpsc::channel();
    let stopper = Stopper(sender);
    let mounted = start(view, directory, options, &flusher, &stopper, on_signal).inspect_err(|_| {
        if let Err(e) = flusher.close() {
            log::error!("{}", message(&e));
        }
    });
    let (point, device) = mounted?;
    log::info!("Mounted on {}", point.display());
    Ok(Mounted { point, device, writable: options.writable, flusher, events, stopper })
}

/// Mounts and waits for the first answer. Returns the mount point and what [`first_answer`] does.
fn start(
    view: View,
    directory: &Path,
    options: &Options,
    flusher: &Arc<Flusher>,
    stopper: &Stopper,
    on_signal: OnSignal,
) -> Result<(PathBuf, Option<(u64, u64)>)> {
    let point = point::check(directory, options.nonempty)?;
    let process = Process::current()?;
    // Before there is a mount that a signal could leave dead.
    // Who starts a program with nohup(1) wants it to outlive the terminal.
    let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
    let ending = || Signals::new([SIGINT, SIGTERM].into_iter().chain(hangup));
    let signals = (on_signal == OnSignal::Stop).then(ending).transpose();
    let signals = signals.map_err(Error::io(&point, "wait for signals to unmount"))?;
    let server = |device| Server::new(view, flusher.clone(), process, options.sync, device);
    let session = attach::attach(&point, options, server)?;
    let sender = stopper.0.clone();
    let session = thread::Builder::new().name("session".to_owned()).spawn(move || {
        // An error means that nobody waits for the end any more.
        let _ = sender.send(Event::Ended(attach::run(session)));
    });
    let stop = || signals.map_or(Ok(()), |signals| stop_on_signals(signals, stopper.clone()));
    let started = session.and_then(|_| stop()).map_err(Error::io(&point, "serve"));
    let device = started.and_then(|()| first_answer(&point)).inspect_err(|_| {
        if table::at(&point).is_ok_and(|entry| entry.is_some_and(|entry| entry.is_ours())) {
            let _ = attach::detach(&point, true);
        }
    })?;
    device.into_iter().for_each(attach::read_far_ahead);
    Ok((point, device))
}

/// Also for the signals that have come already.
fn stop_on_signals(mut signals: Signals, stopper: Stopper) -> io::Result<()> {
    thread::Builder::new().name("signals".to_owned()).spawn(move || signals.forever().for_each(|_| stopper.stop()))?;
    Ok(())
}

/// Whether this process was started with a signal ignored (`SigIgn` of proc(5)).
fn is_ignored(signal: i32) -> bool {
    let status = process::read("/proc/self/status".as_ref()).unwrap_or_default();
    let lines = status.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let mask = lines
        .filter_map(|line| line.strip_prefix("SigIgn:"))
        .find_map(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Asks a new mount for its root, and returns the number of its device; none when somebody has unmounted it already.
fn first_answer(point: &Path) -> Result<Option<(u64, u64)>> {
    let (sender, answer) = mpsc::channel();
    let path = point.to_path_buf();
    // On a thread of its own: without an answer it would block forever.
    thread::spawn(move || {
        let seen = std::fs::metadata(path.join("vhdd")).map(|_| ());
        let _ = sender.send(seen);
    });
    let silent = |_| Error::Silent { path: point.to_path_buf(), seconds: ANSWER_WITHIN.as_secs() };
    let seen = answer.recv_timeout(ANSWER_WITHIN).map_err(silent)?;
    let Some(entry) = table::at(point)?.filter(table::Entry::is_ours) else { return Ok(None) };
    match seen {
        // A umask may forbid it, and the disks of a machine are one level down: answers, too.
        Err(e) if !matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound) => {
            Err(Error::io(point, "read the mount on")(e))
        }
        _ => Ok(Some(entry.device)),
    }
}

impl Mounted {
    /// Something to end it with.
    #[must_use]
    pub(crate) fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Serves until the mount is unmounted by anyone, and closes the disk. What is written is made durable every few
    /// seconds besides.
    ///
    /// # Errors
    /// [`Error::Flush`] when the last flush failed; [`Error::Aborted`] when the kernel's connection was aborted;
    /// [`Error::Io`] when the session broke.
    pub(crate) fn serve(self) -> Result<()> {
        let ended = self.wait();
        self.flusher.close().map_err(|e| Error::Flush(Box::new(e)))?;
        ended
    }

    fn wait(&self) -> Result<()> {
        let mut stopping = false;
        loop {
            match self.next() {
                Some(Event::Ended(result)) => {
                    let ended = match result {
                        Ok(()) if !self.is_dead() => return Ok(()),
                        Ok(()) => Err(Error::Aborted { path: self.point.clone() }),
                        Err(e) => Err(Error::io(&self.point, "serve")(e)),
                    };
                    // Nobody answers there any more, so open files are no reason to wait.
                    if self.is_ours()
                        && let Err(e) = attach::detach(&self.point, true)
                    {
                        log::error!("{}", message(&e));
                    }
                    return ended;
                }
                Some(Event::Stop) if stopping => return Ok(()),
                Some(Event::Stop) => {
                    stopping = true;
                    self.flush();
                    self.unmount();
                }
                None => self.flush(),
            }
        }
    }

    /// The next event; none when it is time to flush.
    fn next(&self) -> Option<Event> {
        if !self.writable {
            return self.events.recv().ok();
        }
        match self.events.recv_timeout(FLUSH_EVERY) {
            Err(RecvTimeoutError::Timeout) => None,
            other => other.ok(),
        }
    }

    fn flush(&self) {
        // The flusher or the disk has logged a failure.
        let _ = self.flusher.flush_written();
    }

    /// Whether the mount table has our mount, or one that got its number after it.
    fn is_ours(&self) -> bool {
        table::at(&self.point).is_ok_and(|entry| entry.is_some_and(|entry| Some(entry.device) == self.device))
    }

    /// Whether our mount is there without anybody to answer: its connection was aborted (`/sys/fs/fuse/connections`).
    fn is_dead(&self) -> bool {
        // Another mount with its number would answer this, which the kernel never does by itself.
        self.is_ours() && xattr::get(&self.point, PID_ATTRIBUTE).is_err()
    }

    fn unmount(&self) {
        if !self.is_ours() {
            // Unmounted by somebody else, and maybe something else is mounted there.
            return;
        }
        match attach::detach(&self.point, false) {
            Err(Error::Busy { .. }) => {
                log::warn!("{} is in use: it ends when the last file there is closed", self.point.display());
                if let Err(e) = attach::detach(&self.point, true) {
                    log::error!("{}", message(&e));
                }
            }
            Err(e) => log::error!("{}", message(&e)),
            Ok(()) => {}
        }
    }
}
