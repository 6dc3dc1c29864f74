//! What can be done with what is selected.

use super::App;
use super::Purpose;
use super::message::{Copying, Job, Mount};
use super::popup::{AtPath, Popup, Question, Then};
use super::tree::{Item, NodeId};
use crate::browse::content::shown_path;
use crate::open::Which;
use crate::view::Kind;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

impl App {
    /// Views the selected file whole.
    pub(super) fn view_selected(&mut self) {
        let Some(listing) = &self.listing else {
            return self.say("Select a file in a directory to view it".to_owned(), false);
        };
        let Some((file, entry)) = self.selected_file().zip(listing.selected()) else { return };
        if !matches!(entry.kind, Kind::File | Kind::Symlink) {
            return self.say("Only files can be viewed".to_owned(), false);
        }
        let path = shown_path(&listing.path.join(&entry.name));
        let size = entry.attributes().map_or(0, |seen| seen.size);
        self.view(file, path, size);
    }

    /// The disk and path in its view of what is selected.
    fn selected_path(&self) -> Option<(std::sync::Arc<super::message::Opened>, PathBuf)> {
        if self.focus == super::Focus::Right
            && let Some(listing) = &self.listing
        {
            let entry = listing.selected()?;
            return Some((listing.opened.clone(), listing.path.join(&entry.name)));
        }
        let id = self.tree.selected()?;
        let opened = self.tree.disk_of(id)?.1.opened.clone()?;
        let path = match &self.tree.node(id).item {
            Item::Directory { path, .. } => path.clone(),
            Item::Volume(at) => {
                let volume = opened.volumes.get(*at)?;
                match (volume.root, opened.has_table) {
                    (Some(_), _) => format!("fs{}", volume.volume.index).into(),
                    (None, true) => format!("vol{}", volume.volume.index).into(),
                    (None, false) => "vhdd".into(),
                }
            }
            _ => "vhdd".into(),
        };
        Some((opened, path))
    }

    /// Asks where what is selected is to be copied.
    pub(super) fn ask_copy(&mut self) {
        let Some((opened, path)) = self.selected_path() else {
            return self.say("Open a disk with Enter, and select what to copy".to_owned(), false);
        };
        let copying = Copying { opened, from: path, to: PathBuf::new(), replace: false };
        self.popup = Some(Popup::Path(Question::new(AtPath::Copy(copying), &self.directory)));
    }

    /// Asks where the disk that is selected is to be mounted.
    pub(super) fn ask_mount(&mut self, with_guests: bool) {
        let found = self.tree.selected().and_then(|id| self.tree.disk_of(id));
        let Some((id, disk)) = found.filter(|(_, disk)| disk.nothing.is_none()) else {
            return self.say("Select a disk to mount it".to_owned(), false);
        };
        let (which, what) = (disk.which.clone(), self.tree.node(id).label.clone());
        let key = self.key_of(id).map(|key_id| (what, key_id));
        let mount = Mount { which, key, point: PathBuf::new(), with_guests };
        self.popup = Some(Popup::Path(Question::new(AtPath::Mount(mount), &self.directory)));
    }

    /// The key that the disk of a node is encrypted with, or its machine.
    fn key_of(&self, id: NodeId) -> Option<String> {
        let (_, disk) = self.tree.disk_of(id)?;
        let opened = disk.opened.as_ref().and_then(|opened| opened.key_id.clone());
        let registry = self.registry.as_ref();
        let registered = || {
            let media = &registry?.media;
            media.get(media.base(disk.medium?)).properties.get("CRYPT/KeyId").cloned()
        };
        let machine = || self.unlocked.get(&registry?.machines.get(self.tree.machine_of(id)?)?.path).cloned();
        opened.or_else(registered).or_else(machine)
    }

    /// Asks whether to unmount the disk that is selected, or else what was mounted last.
    pub(super) fn ask_unmount(&mut self) {
        let which = self.tree.selected().and_then(|id| self.tree.disk_of(id)).map(|(_, disk)| &disk.which);
        let of_selected = self.mounts.iter().rfind(|mount| Some(&mount.which) == which);
        let Some(mount) = of_selected.or(self.mounts.last()) else {
            return self.say("Nothing was mounted here".to_owned(), false);
        };
        let text = format!("Unmount {}?", mount.point.display());
        self.popup = Some(Popup::Confirm { text, then: Then::Unmount(mount.point.clone()) });
    }

    /// Shows the chain of images of the disk that is selected, and who uses them.
    pub(super) fn locks(&mut self) {
        let Some((id, disk)) = self.tree.selected().and_then(|id| self.tree.disk_of(id)) else {
            return self.say("Select a disk to see its images".to_owned(), false);
        };
        let paths: Vec<PathBuf> = match (&disk.opened, disk.medium, &self.registry) {
            (Some(opened), _, _) => opened.links.iter().map(|(path, _)| path.clone()).collect(),
            (None, Some(medium), Some(registry)) => {
                let chain = std::iter::successors(Some(medium), |id| registry.media.get(*id).parent);
                chain.map(|id| registry.media.get(id).location.clone()).collect()
            }
            _ => return self.say("Open the disk with Enter to see its images".to_owned(), false),
        };
        let title = format!("Images of {}", self.tree.node(id).label);
        self.start_job(Job::Locks(title, paths), "Looking for who uses the images".to_owned(), Purpose::Report);
    }

    /// The state that is selected, how it is opened, and what is selected in it.
    fn selected_state(&self) -> Option<(String, Which, PathBuf)> {
        let id = self.tree.selected()?;
        let of_machine = |id: NodeId| {
            let registry = self.registry.as_ref()?;
            let Item::State(at, snapshot) = self.tree.node(id).item else { return None };
            let entry = registry.machines.get(at)?;
            let snapshot =
                snapshot.and_then(|at| Some(entry.machine.as_ref().ok()?.snapshots.get(at)?.uuid.to_string()));
            let machine = Some(entry.path.to_string_lossy().into_owned());
            Some(Which { machine, snapshot, ..Which::default() })
        };
        let state = self.tree.lineage(id).find_map(|id| Some((id, of_machine(id)?)));
        let name = |id: NodeId| self.tree.node(id).label.clone();
        match (self.tree.disk_of(id), state) {
            (Some((disk_id, disk)), state) if disk.nothing.is_none() => {
                let name = state.map_or_else(|| name(disk_id), |(id, _)| name(id));
                let path = self.selected_path().map(|(_, path)| path).filter(|_| id != disk_id);
                Some((name, disk.which.clone(), path.unwrap_or_default()))
            }
            (None, Some((id, which))) => Some((name(id), which, PathBuf::new())),
            _ => None,
        }
    }

    /// Marks the selected state, or compares it with the one that was marked.
    pub(super) fn compare(&mut self) {
        let Some((name, new, path)) = self.selected_state() else {
            return self
                .say("Select a snapshot, the current state, or something in it, to compare it".to_owned(), false);
        };
        let Some((first, old)) = self.marked.take() else {
            self.say(format!("{name} is the first state; select another and press d again"), false);
            self.marked = Some((name, new));
            return;
        };
        if old.machine == new.machine && old.snapshot == new.snapshot && old.image == new.image {
            return self.say("This is the same state; select another".to_owned(), false);
        }
        // Where one names a disk of the machine, the same is meant in the other.
        let disk = new.disk.clone().or_else(|| old.disk.clone());
        let (old, new) = match (&old.machine, &new.machine) {
            (Some(_), Some(_)) => (Which { disk: disk.clone(), ..old }, Which { disk, ..new }),
            _ => (old, new),
        };
        let at = if path.as_os_str().is_empty() { String::new() } else { format!(": {}", shown_path(&path)) };
        let title = format!("{first} -> {name}{at}");
        self.start_job(Job::Diff(title, Box::new((old, new)), path), "Comparing".to_owned(), Purpose::Report);
    }

    /// Shows what became of the selected file from snapshot to snapshot.
    pub(super) fn history(&mut self) {
        let found =
            self.selected_state().filter(|(_, which, path)| which.machine.is_some() && !path.as_os_str().is_empty());
        let Some((_, which, path)) = found else {
            return self.say("Select a file or directory of a machine's disk to see its history".to_owned(), false);
        };
        let title = format!("History of {}", shown_path(&path));
        self.start_job(Job::History(title, which, path), "Looking into the snapshots".to_owned(), Purpose::Report);
    }

    /// Copies the path or UUID of what is selected, or the file of the host that it is in.
    pub(super) fn yank(&mut self, of_host: bool) {
        let Some(id) = self.tree.selected() else { return };
        let registry = self.registry.as_ref();
        let entry = self.tree.machine_of(id).and_then(|at| registry?.machines.get(at));
        let text = |path: PathBuf| String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned();
        let image = || {
            let (_, disk) = self.tree.disk_of(id)?;
            let opened = disk.opened.as_ref().and_then(|opened| opened.links.first()).map(|(path, _)| path.clone());
            opened.or_else(|| Some(registry?.media.get(disk.medium?).location.clone()))
        };
        let copied = if of_host {
            image().or_else(|| entry.map(|entry| entry.path.clone())).map(text)
        } else {
            match &self.tree.node(id).item {
                Item::Machine(_) => entry.map(|entry| entry.uuid.to_string()),
                Item::State(_, None) => entry.map(|entry| entry.uuid.to_string()),
                Item::State(_, Some(at)) => {
                    entry.and_then(|entry| Some(entry.machine.as_ref().ok()?.snapshots.get(*at)?.uuid.to_string()))
                }
                Item::Disk(disk) => match (disk.medium, registry) {
                    (Some(medium), Some(registry)) => Some(registry.media.get(medium).uuid.to_string()),
                    _ => image().map(text),
                },
                _ => self.selected_path().map(|(_, path)| text(path)),
            }
        };
        match copied {
            Some(text) => self.copy_text(text),
            None => self.say("There is nothing to copy here".to_owned(), false),
        }
    }
}
