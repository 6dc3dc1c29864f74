//! Replies to a read from files, without copying the bytes through this process.
//!
//! The crate `fuser` replies to a read from memory only. This module builds the header of the reply, and splice(2)
//! moves it and the pages of the host's cache through a pipe to the kernel, over a duplicate of the session's
//! descriptor. The duplicate is the same open file, so the kernel accepts the reply as the session's. (Descriptors made
//! by `FUSE_DEV_IOC_CLONE` have queues of their own, so this does not go together with `clone_fd`.)

use crate::disk::FileRange;
use rustix::pipe::{PipeFlags, SpliceFlags};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

/// The size of a pipe that every user may have, in bytes.
const PIPE: usize = 1 << 20;
/// A pipe has a slot for each segment of at most this many bytes within a page.
const PAGE: u64 = 4096;
/// Bytes of `fuse_out_header`: <https://docs.kernel.org/filesystems/fuse/fuse.html>, `include/uapi/linux/fuse.h`.
const HEADER: usize = 16;

/// A pipe that answers pass through, one at a time.
pub(super) struct Pipe {
    read: OwnedFd,
    write: File,
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

    /// Fills the empty pipe with a header and the bytes of the parts; false when that is not possible.
    fn fill(&self, header: &[u8], parts: &[FileRange]) -> io::Result<bool> {
        (&self.write).write_all(header)?;
        for part in parts {
            let Some(file) = part.file.local() else { return Ok(false) };
            let (mut at, mut left) = (part.offset, part.len);
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

/// Answers the read request `unique` with the bytes of `parts`. False when it could not be answered so; then it still
/// waits for an answer. `pipe` keeps a pipe for the next time.
pub(super) fn answer(device: &OwnedFd, pipe: &mut Option<Pipe>, unique: u64, parts: &[FileRange]) -> bool {
    let sent = try_answer(device, pipe, unique, parts);
    if !matches!(sent, Ok(true)) {
        // It may hold a part of the answer.
        *pipe = None;
    }
    sent.unwrap_or_else(|e| {
        log::debug!("An answer is copied: {e}");
        false
    })
}

fn try_answer(device: &OwnedFd, pipe: &mut Option<Pipe>, unique: u64, parts: &[FileRange]) -> io::Result<bool> {
    let pipe = match pipe {
        Some(pipe) => pipe,
        None => pipe.insert(Pipe::new()?),
    };
    // The header takes a slot, too.
    if parts.iter().map(slots).fold(1, u64::saturating_add) > pipe.slots {
        return Ok(false);
    }
    let body = parts.iter().map(|part| part.len).fold(0, u64::saturating_add);
    let len = u32::try_from(body).ok().and_then(|body| body.checked_add(u32::try_from(HEADER).ok()?));
    let len = len.ok_or_else(|| io::Error::other("the answer is too long"))?;
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&len.to_ne_bytes()); // len, with the header; error (4..8) is 0
    header[8..].copy_from_slice(&unique.to_ne_bytes()); // unique
    if !pipe.fill(&header, parts)? {
        return Ok(false);
    }
    let len = len as usize;
    Ok(rustix::pipe::splice(&pipe.read, None, device, None, len, SpliceFlags::empty())? == len)
}

/// How many slots of a pipe a part takes.
fn slots(part: &FileRange) -> u64 {
    (part.offset % PAGE).saturating_add(part.len).div_ceil(PAGE)
}
