//! `/dev/fuse`: receiving requests and sending answers.

use super::abi::OUT_HEADER;
use crate::disk::Part;
use crate::storage::waiting;
use nix::errno::Errno;
use rustix::event::{PollFd, PollFlags};
use rustix::pipe::{PipeFlags, SpliceFlags};
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// The size of a pipe that every user may have, in bytes.
const PIPE: usize = 1 << 20;
/// A pipe holds so many stretches of this size, each within a page.
const PAGE: u64 = 4096;

/// How long a request is looked for before the thread goes to sleep. A program that reads one block after another asks
/// for the next one sooner, and being woken takes longer than that.
const LOOK: Duration = Duration::from_micros(10);

/// The kernel's end of a mount.
pub(super) struct Device(File);

/// A pipe that answers go through on their way from a file to the kernel.
pub(super) struct Pipe {
    read: OwnedFd,
    write: File,
    /// How many stretches of pages it holds.
    slots: u64,
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        // An administrator may allow less; then more answers are copied.
        let _ = rustix::pipe::fcntl_setpipe_size(&write, PIPE);
        let size = rustix::pipe::fcntl_getpipe_size(&write)?;
        Ok(Self { read, write: write.into(), slots: size as u64 / PAGE })
    }

    /// Puts a header and the parts' bytes into the empty pipe; false when not all of that could be done.
    fn fill(&self, header: &[u8], parts: &[Part]) -> io::Result<bool> {
        (&self.write).write_all(header)?;
        for part in parts {
            let Some(file) = part.file.local() else { return Ok(false) };
            let (mut at, mut left) = (part.offset, part.len);
            waiting::before_reading(file, at, left);
            while left > 0 {
                let wanted = usize::try_from(left).unwrap_or(usize::MAX);
                let moved =
                    rustix::pipe::splice(file, Some(&mut at), &self.write, None, wanted, SpliceFlags::NONBLOCK)?;
                if moved == 0 {
                    return Ok(false);
                }
                left = left.saturating_sub(moved as u64);
            }
        }
        Ok(true)
    }
}

/// How many slots of a pipe a part takes.
fn slots(part: &Part) -> u64 {
    (part.offset % PAGE).saturating_add(part.len).div_ceil(PAGE)
}

/// `fuse_out_header`. `body` are the bytes after it.
fn header(unique: u64, error: i32, body: usize) -> Option<[u8; OUT_HEADER]> {
    let len = u32::try_from(OUT_HEADER + body).ok()?;
    let mut bytes = [0; OUT_HEADER];
    bytes[..4].copy_from_slice(&len.to_ne_bytes());
    bytes[4..8].copy_from_slice(&error.to_ne_bytes());
    bytes[8..].copy_from_slice(&unique.to_ne_bytes());
    Some(bytes)
}

impl Device {
    /// The device of a mount that was just made.
    pub(super) fn new(device: OwnedFd) -> io::Result<Self> {
        // So that looking for a request does not wait for one.
        rustix::io::ioctl_fionbio(&device, true)?;
        Ok(Self(device.into()))
    }

    /// Waits for a request and puts it into `buf`; how many bytes it has, and whether it had to be waited for. `None`
    /// when there is no mount any more.
    pub(super) fn receive(&self, buf: &mut [u8]) -> io::Result<Option<(usize, bool)>> {
        let start = Instant::now();
        let mut waited = false;
        loop {
            let error = match (&self.0).read(buf) {
                Ok(len) => return Ok(Some((len, waited))),
                Err(error) => error,
            };
            match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EAGAIN) => {
                    waited = true;
                    if start.elapsed() < LOOK {
                        std::hint::spin_loop();
                        continue;
                    }
                    match rustix::event::poll(&mut [PollFd::new(&self.0, PollFlags::IN)], None) {
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(e) => return Err(e.into()),
                    }
                }
                // A request that was taken back, and a signal.
                Some(Errno::ENOENT | Errno::EINTR) => {}
                // The second when it ends just while a request is taken.
                Some(Errno::ENODEV | Errno::ECONNABORTED) => return Ok(None),
                _ => return Err(error),
            }
        }
    }

    /// Answers a request with a body, or with a failure.
    pub(super) fn send(&self, unique: u64, answer: Result<&[u8], Errno>) {
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(errno) => (-(errno as i32), &[][..]),
        };
        let sent = header(unique, error, body.len()).ok_or_else(|| io::Error::from(Errno::EMSGSIZE)).and_then(
            // The kernel takes an answer whole or not at all.
            |header| (&self.0).write_vectored(&[IoSlice::new(&header), IoSlice::new(body)]),
        );
        if let Err(e) = sent {
            // Mostly a request whose process was killed meanwhile.
            log::debug!("The kernel did not take an answer: {e}");
        }
    }

    /// Answers a read with bytes that lie in files, without copying them here. False when that could not be done; then
    /// nothing was answered.
    pub(super) fn send_parts(&self, pipe: &mut Option<Pipe>, unique: u64, parts: &[Part]) -> bool {
        let sent = self.try_send_parts(pipe, unique, parts);
        if !matches!(sent, Ok(true)) {
            // It may hold a part of the answer.
            *pipe = None;
        }
        sent.unwrap_or_else(|e| {
            log::debug!("An answer is copied: {e}");
            false
        })
    }

    fn try_send_parts(&self, pipe: &mut Option<Pipe>, unique: u64, parts: &[Part]) -> io::Result<bool> {
        let pipe = match pipe {
            Some(pipe) => pipe,
            None => pipe.insert(Pipe::new()?),
        };
        let body = parts.iter().map(|part| part.len).sum::<u64>();
        let body = usize::try_from(body).map_err(io::Error::other)?;
        let header = header(unique, 0, body).ok_or(Errno::EMSGSIZE)?;
        // The header takes a slot, too.
        if parts.iter().map(slots).sum::<u64>() >= pipe.slots || !pipe.fill(&header, parts)? {
            return Ok(false);
        }
        let len = OUT_HEADER + body;
        Ok(rustix::pipe::splice(&pipe.read, None, &self.0, None, len, SpliceFlags::empty())? == len)
    }
}
