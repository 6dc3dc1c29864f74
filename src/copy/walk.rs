//! Going through the trees that are copied: one thread makes the directories, several copy what is in them.

use super::content::CHUNK;
use super::directory::Directory;
use super::{Context, Error, file, reading};
use crate::verbs::{self, names};
use crate::view::Kind;
use std::collections::HashSet;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Files that a thread takes at a time, and how many such lots wait.
const LOT: usize = 32;
const WAITING: usize = 16;
/// The most threads that copy.
const THREADS: usize = 8;

/// Something that is to be copied.
pub(super) struct Start {
    /// Its path in the view.
    pub(super) path: PathBuf,
    pub(super) inode: u64,
    pub(super) kind: Kind,
    /// Its name in the destination; none for a directory whose files are copied into the destination itself.
    pub(super) to: Option<OsString>,
}

/// Files of one directory.
struct Lot<'a> {
    directory: Arc<Directory<'a>>,
    /// With their paths in the view and inode numbers.
    files: Vec<(OsString, PathBuf, u64)>,
}

/// A directory that is still to be copied into `parent`, or to the parent itself.
struct Open<'a> {
    parent: Arc<Directory<'a>>,
    name: Option<OsString>,
    path: PathBuf,
    inode: u64,
}

/// Copies everything; what goes wrong is reported.
pub(super) fn copy<'a>(context: &'a Context<'a>, directory: OwnedFd, path: &Path, starts: Vec<Start>) {
    let root = Arc::new(Directory::root(context, directory, path));
    let (sender, receiver) = sync_channel(WAITING);
    let receiver = Mutex::new(receiver);
    let threads = thread::available_parallelism().map_or(2, usize::from).clamp(2, THREADS);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(context, &root, &receiver));
        }
        // Moved, so that the threads end when everything is said.
        let sender = sender;
        for start in starts {
            walk(context, &root, start, &sender);
        }
    });
}

/// Copies files until there are no more.
fn work<'a>(context: &Context<'_>, root: &Directory<'_>, receiver: &Mutex<Receiver<Lot<'a>>>) {
    let mut buf = vec![0; CHUNK];
    let next = || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(lot) = next() {
        for (name, path, inode) in &lot.files {
            match file::copy(root, &lot.directory, name, path, *inode, &mut buf) {
                // It is told once, by who ends.
                Ok(()) | Err(Error::Interrupted) => {}
                Err(e) => context.report(e),
            }
        }
    }
}

/// Sends all files of a tree, whose directories it makes.
fn walk<'a>(context: &'a Context<'a>, root: &Arc<Directory<'a>>, start: Start, sender: &SyncSender<Lot<'a>>) {
    let Start { path, inode, kind, to } = start;
    if kind != Kind::Directory {
        let name = to.unwrap_or_default();
        send(sender, root, &mut vec![(name, path, inode)]);
        return;
    }
    let mut met = HashSet::new();
    let mut open = vec![Open { parent: root.clone(), name: to, path, inode }];
    while let Some(next) = open.pop().filter(|_| !context.is_stopped()) {
        if !met.insert(next.inode) {
            context.report(verbs::Error::MetBefore { path: next.path });
            continue;
        }
        if let Err(e) = directory(context, next, &mut open, sender) {
            context.report(e);
        }
    }
}

/// Makes a directory, sends the files in it, and adds the directories in it to the open ones.
fn directory<'a>(
    context: &'a Context<'a>,
    next: Open<'a>,
    open: &mut Vec<Open<'a>>,
    sender: &SyncSender<Lot<'a>>,
) -> super::Result<()> {
    let Open { parent, name, path, inode } = next;
    let directory = match name {
        Some(name) => {
            let of = context.view.attributes(inode).map_err(reading(&path))?;
            Arc::new(parent.enter(&name, &path, of)?)
        }
        None => parent,
    };
    let mut files = Vec::new();
    for entry in names(context.view, inode).map_err(reading(&path))? {
        let path = path.join(&entry.name);
        if entry.kind == Kind::Directory {
            let parent = directory.clone();
            open.push(Open { parent, name: Some(entry.name), path, inode: entry.inode });
            continue;
        }
        files.push((entry.name, path, entry.inode));
        if files.len() == LOT {
            send(sender, &directory, &mut files);
        }
    }
    send(sender, &directory, &mut files);
    Ok(())
}

fn send<'a>(sender: &SyncSender<Lot<'a>>, directory: &Arc<Directory<'a>>, files: &mut Vec<(OsString, PathBuf, u64)>) {
    if !files.is_empty() {
        let lot = Lot { directory: directory.clone(), files: std::mem::take(files) };
        // The threads take until this side ends.
        let _ = sender.send(lot);
    }
}
