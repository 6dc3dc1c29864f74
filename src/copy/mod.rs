//! Copying files and trees of a [`View`] to the host.
//!
//! Everything is written relative to descriptors of directories, and no symbolic link within the destination is
//! followed. A file gets its name when it is complete. Directories are walked by one thread; the files in them are
//! copied by several, which hides the time that small ones wait for the disk.

mod attributes;
mod content;
mod destination;
mod directory;
mod error;
mod file;
mod walk;

pub(crate) use error::{Error, Result};

use crate::verbs::{self, Links, locate, names};
use crate::view::{Kind, View};
use destination::Target;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is kept and copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Directories with all in them.
    pub recursive: bool,
    /// Owners, extended attributes and special files too, beside times, modes, links and holes.
    pub preserve: bool,
}

/// Who is told what happens; by several threads at once.
pub(crate) struct Watch<'a> {
    /// Of what is wrong with single files.
    pub report: &'a (dyn Fn(Error) + Sync),
    /// Of bytes that were copied, or are holes.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Becomes true when copying is to stop.
    pub stop: &'a AtomicBool,
}

/// What all threads share.
struct Context<'a> {
    view: &'a View,
    options: Options,
    watch: &'a Watch<'a>,
    is_root: bool,
    /// What the names of unfinished files begin with: known to nobody before, so no guest has such names.
    token: String,
    unfinished: AtomicU64,
    /// Where files with several names were copied to, by their inode: the names from the destination on.
    links: Mutex<HashMap<u64, Vec<OsString>>>,
    /// Held over giving a name where no system call does it at once.
    naming: Mutex<()>,
}

impl Context<'_> {
    fn is_stopped(&self) -> bool {
        self.watch.stop.load(Ordering::Relaxed)
    }

    fn report(&self, error: impl Into<Error>) {
        (self.watch.report)(error.into());
    }

    /// A name for an unfinished file.
    fn unfinished_name(&self) -> String {
        format!(".{}-{}.part", self.token, self.unfinished.fetch_add(1, Ordering::Relaxed))
    }
}

/// Copies files to a directory, or one file to a name, as cp(1) does.
///
/// # Errors
/// [`Error::Host`] when the destination is not there; [`Error::Interrupted`].
pub(crate) fn copy(
    view: &View,
    sources: &[PathBuf],
    destination: &Path,
    options: Options,
    watch: &Watch<'_>,
) -> Result<()> {
    let context = Context {
        view,
        options,
        watch,
        is_root: nix::unistd::geteuid().is_root(),
        token: format!("vboximg-mount-{}", uuid::Uuid::new_v4().simple()),
        unfinished: AtomicU64::new(0),
        links: Mutex::default(),
        naming: Mutex::default(),
    };
    let Target { directory, name } = destination::open(destination, sources.len() == 1)?;
    let links = if options.recursive { Links::Keep } else { Links::Follow };
    let mut taken = HashSet::new();
    let mut starts = Vec::new();
    for path in sources {
        let found = match locate(view, path, links) {
            Ok(found) => found.attributes,
            Err(e) => {
                context.report(e);
                continue;
            }
        };
        if found.kind == Kind::Directory && !options.recursive {
            context.report(Error::IsDirectory { path: path.clone() });
            continue;
        }
        let to = name.clone().or_else(|| path.file_name().map(OsString::from));
        if let Some(to) = to.as_ref().filter(|to| !taken.insert((*to).clone())) {
            context.report(Error::Taken { path: path.clone(), to: destination.join(to) });
            continue;
        }
        starts.push(walk::Start { path: path.clone(), inode: found.inode, kind: found.kind, to });
    }
    walk::copy(&context, directory, destination, starts);
    if context.is_stopped() { Err(Error::Interrupted) } else { Ok(()) }
}

/// The bytes that copying has to go through, holes included; what cannot be read counts for nothing. It stops counting
/// when `stop` becomes true.
#[must_use]
pub(crate) fn count(view: &View, sources: &[PathBuf], options: Options, stop: &AtomicBool) -> u64 {
    let links = if options.recursive { Links::Keep } else { Links::Follow };
    let found = sources.iter().filter_map(|path| locate(view, path, links).ok());
    let mut open: Vec<(u64, Kind)> = found.map(|found| (found.attributes.inode, found.attributes.kind)).collect();
    let mut met = HashSet::new();
    let mut bytes = 0_u64;
    while let Some((inode, kind)) = open.pop().filter(|_| !stop.load(Ordering::Relaxed)) {
        match kind {
            Kind::File => bytes = bytes.saturating_add(view.attributes(inode).map_or(0, |seen| seen.size)),
            Kind::Directory if options.recursive && met.insert(inode) => {
                open.extend(names(view, inode).unwrap_or_default().into_iter().map(|name| (name.inode, name.kind)));
            }
            _ => {}
        }
    }
    bytes
}

/// For `map_err`: what went wrong with a file of the view.
fn reading(path: &Path) -> impl Fn(crate::view::Error) -> Error {
    let wrong = verbs::Error::at(path);
    move |e| wrong(e).into()
}
