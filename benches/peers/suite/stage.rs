//! The media of some cases, known to all peers, and the peers with something mounted.

use super::book::Book;
use super::disks::media::{self, Medium};
use super::peers::{Kind, Mounted, Peer, Request, Target};
use super::read::Place;
use super::virtualbox::{Service, VirtualBox};
use super::{Bench, Result};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

/// Media, with a settings directory for each side.
pub(crate) struct Stage<'a> {
    pub(crate) bench: &'a Bench<'a>,
    home: PathBuf,
    service: Option<Service>,
    points: Cell<u32>,
}

impl<'a> Stage<'a> {
    /// A stage for these media.
    pub(crate) fn new(bench: &'a Bench<'a>, media: &[Medium]) -> Result<Self> {
        let home = tempfile::tempdir_in(bench.work())?.keep();
        media::write_home(&home, media, |path| path.display().to_string())?;
        let service = bench.virtualbox().ok().map(|virtualbox| virtualbox.service(media)).transpose()?;
        Ok(Self { bench, home, service, points: Cell::new(0) })
    }

    /// The settings directory for our own program.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// A new directory to mount on.
    pub(crate) fn new_point(&self) -> Result<PathBuf> {
        self.points.set(self.points.get() + 1);
        let point = self.home.join(format!("mnt{}", self.points.get()));
        fs::create_dir(&point)?;
        Ok(point)
    }

    pub(crate) fn virtualbox(&self) -> Result<&VirtualBox> {
        self.bench.virtualbox()
    }

    /// The real one's service.
    pub(crate) fn service(&self) -> Result<&Service> {
        self.service.as_ref().ok_or_else(|| "VirtualBox is absent".into())
    }

    /// Mounts with a peer. A peer that cannot is absent, for a reason; our own program must.
    pub(crate) fn mount(&self, peer: &Peer, request: Request<'_>) -> Result<std::result::Result<Mounted, String>> {
        self.allow(peer, peer.mount(self, request))
    }

    /// Turns a failure of a peer, but not of our own program, into a reason.
    pub(crate) fn allow<T>(&self, peer: &Peer, result: Result<T>) -> Result<std::result::Result<T, String>> {
        match result {
            Ok(value) => Ok(Ok(value)),
            Err(e) if matches!(peer.kind, Kind::Ours(_)) => Err(format!("{}: {e}", peer.name).into()),
            Err(e) => Ok(Err(e.to_string())),
        }
    }

    /// Mounts with all peers, side by side.
    pub(crate) fn mount_all(&self, request: Request<'_>) -> Result<Vec<Standing<'a>>> {
        let mount = |peer| Ok(Standing { peer, mounted: self.mount(peer, request)? });
        self.bench.peers.iter().map(mount).collect()
    }
}

/// A peer and what it has mounted, or why it has not.
pub(crate) struct Standing<'a> {
    pub(crate) peer: &'a Peer,
    pub(crate) mounted: std::result::Result<Mounted, String>,
}

impl Standing<'_> {
    /// Where a target is. Where it is not, the book is told why.
    pub(crate) fn place(&self, target: &Target, case: &str, book: &mut Book) -> Option<(&Mounted, Place)> {
        let reason = match &self.mounted {
            Ok(mounted) => match mounted.place(target) {
                Some(place) => return Some((mounted, place)),
                None => mounted.why_not(target),
            },
            Err(reason) => reason,
        };
        book.absent(case, &self.peer.name, reason);
        None
    }
}
