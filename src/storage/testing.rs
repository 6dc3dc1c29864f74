//! A file in memory for tests, which records what was done to it so that a crash can be replayed at any moment.

use crate::storage::{Segment, Storage};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// One change of a file, or a wait for the disk.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
    Zero { offset: u64, len: u64 },
    Sync,
}

impl Op {
    /// Does it again to plain bytes.
    pub(crate) fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes: new } => {
                let at = usize::try_from(*offset).unwrap();
                if bytes.len() < at + new.len() {
                    bytes.resize(at + new.len(), 0);
                }
                bytes[at..at + new.len()].copy_from_slice(new);
            }
            Self::SetLen(len) => bytes.resize(usize::try_from(*len).unwrap(), 0),
            Self::Zero { offset, len } => {
                let end = usize::try_from(offset + len).unwrap().min(bytes.len());
                bytes[usize::try_from(*offset).unwrap().min(end)..end].fill(0);
            }
            Self::Sync => {}
        }
    }
}

#[derive(Debug)]
struct Content {
    bytes: Vec<u8>,
    ops: Vec<Op>,
}

/// What does not work for a while.
#[derive(Debug, Default)]
struct Faults {
    syncs: bool,
    /// So many writes work yet; later ones write half of their bytes and find no space.
    writes: Option<usize>,
}

/// A file in memory.
#[derive(Debug)]
pub(crate) struct MemFile {
    path: PathBuf,
    content: Mutex<Content>,
    faults: Mutex<Faults>,
}

impl MemFile {
    pub(crate) fn new(path: &str, bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self {
            path: path.into(),
            content: Mutex::new(Content { bytes, ops: Vec::new() }),
            faults: Mutex::default(),
        })
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }

    /// From now on waits for the disk fail, or work again.
    pub(crate) fn fail_syncs(&self, fail: bool) {
        self.faults.lock().unwrap().syncs = fail;
    }

    /// After so many more writes the disk is full; none: it has space again.
    pub(crate) fn fill_after(&self, writes: Option<usize>) {
        self.faults.lock().unwrap().writes = writes;
    }

    /// The bytes now.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.content().bytes.clone()
    }

    /// All that was done to the file so far.
    pub(crate) fn ops(&self) -> Vec<Op> {
        self.content().ops.clone()
    }

    /// How many changes and waits there were so far.
    pub(crate) fn op_count(&self) -> usize {
        self.content().ops.len()
    }

    fn change(&self, op: Op) {
        let mut content = self.content();
        op.apply(&mut content.bytes);
        content.ops.push(op);
    }
}

/// What may be on the disk when power is lost after `ops`, done to a file of the bytes `start`: all up to the last
/// sync, and of what came later those that `keep` says. (A killed process keeps them all.)
pub(crate) fn after_power_loss(start: &[u8], ops: &[Op], mut keep: impl FnMut(usize) -> bool) -> Vec<u8> {
    let synced = ops.iter().rposition(|op| matches!(op, Op::Sync)).unwrap_or(0);
    let mut bytes = start.to_vec();
    for (i, op) in ops.iter().enumerate() {
        if i < synced || keep(i) {
            op.apply(&mut bytes);
        }
    }
    bytes
}

impl Storage for MemFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.content().bytes.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.content();
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(content.bytes.len());
        let len = buf.len().min(content.bytes.len() - from);
        buf[..len].copy_from_slice(&content.bytes[from..from + len]);
        Ok(len)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut faults = self.faults.lock().unwrap();
        if faults.writes == Some(0) {
            self.change(Op::Write { offset, bytes: buf[..buf.len() / 2].to_vec() });
            return Err(nix::errno::Errno::ENOSPC.into());
        }
        faults.writes = faults.writes.map(|left| left - 1);
        self.change(Op::Write { offset, bytes: buf.to_vec() });
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Op::SetLen(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.faults.lock().unwrap().syncs {
            return Err(nix::errno::Errno::EIO.into());
        }
        self.change(Op::Sync);
        Ok(())
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(Op::Zero { offset, len });
        Ok(())
    }

    fn segment(&self, offset: u64) -> io::Result<Segment> {
        Ok(Segment::Data(self.content().bytes.len() as u64 - offset))
    }
}
