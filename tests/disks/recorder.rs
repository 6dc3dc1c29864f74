//! A file that remembers each change, so that it can be seen as it was at any moment.

use crate::storage::{Segment, Storage};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
    Zero(usize, usize),
}

fn apply(change: &Change, bytes: &mut Vec<u8>) {
    match change {
        Change::Write(at, new) => {
            bytes.resize(bytes.len().max(at + new.len()), 0);
            bytes[*at..at + new.len()].copy_from_slice(new);
        }
        Change::Length(len) => bytes.resize(*len, 0),
        Change::Zero(at, len) => bytes[*at..at + len].fill(0),
    }
}

/// A file in memory with its history.
#[derive(Debug)]
pub(crate) struct Recorder {
    path: PathBuf,
    start: Vec<u8>,
    now: Mutex<(Vec<u8>, Vec<Change>)>,
}

impl Recorder {
    /// Begins with the bytes of a file, which itself stays as it is.
    pub(crate) fn new(path: &Path) -> Arc<Self> {
        let start = fs::read(path).unwrap();
        Arc::new(Self { path: path.to_owned(), now: Mutex::new((start.clone(), Vec::new())), start })
    }

    /// How many changes there were.
    pub(crate) fn moments(&self) -> usize {
        self.now.lock().unwrap().1.len()
    }

    /// Writes the file as it was after so many changes.
    pub(crate) fn save(&self, moment: usize, path: &Path) {
        let mut bytes = self.start.clone();
        self.now.lock().unwrap().1[..moment].iter().for_each(|change| apply(change, &mut bytes));
        fs::write(path, bytes).unwrap();
    }

    fn change(&self, change: Change) {
        let mut now = self.now.lock().unwrap();
        apply(&change, &mut now.0);
        now.1.push(change);
    }
}

fn position(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

impl Storage for Recorder {
    fn path(&self) -> &Path {
        &self.path
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.now.lock().unwrap().0.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let now = self.now.lock().unwrap();
        let rest = now.0.get(position(offset)..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.change(Change::Write(position(offset), buf.to_vec()));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::Length(position(len)));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(Change::Zero(position(offset), position(len)));
        Ok(())
    }

    fn segment(&self, offset: u64) -> io::Result<Segment> {
        Ok(Segment::Data(self.length()? - offset))
    }
}
