//! What jobs say.

use super::entries::Entry;
use super::message::{Event, Failure, Job, JobId, Opened};
use super::popup::{Popup, Then};
use super::tree::{Disk, Item, NodeId, Tree};
use super::{App, Mounted, Purpose, build};
use crate::browse::content::shown_path;
use crate::error_kind::message;
use crate::registry::Registry;
use crate::view::Kind;
use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::Arc;

/// Problems that a box shows at most.
const SHOWN: usize = 200;

impl App {
    /// What a job says. Nobody hears what was stopped.
    pub(super) fn arrive(&mut self, id: JobId, event: Event) {
        let Some(job) = self.jobs.iter_mut().find(|job| job.id == id) else { return };
        let purpose = job.purpose;
        match event {
            Event::Registry(read) => self.registry_arrived(read),
            Event::Media(reports) => self.media.extend(reports),
            Event::Opened(opened) => {
                if let Purpose::Open(node) = purpose {
                    self.opened(node, opened);
                }
            }
            Event::Names(entries) => self.names(id, entries),
            Event::Attributes(from, seen) => {
                if let Some(listing) = self.listing.as_mut().filter(|listing| listing.job == id) {
                    let known = listing.entries.iter_mut().skip(from);
                    known.zip(seen).for_each(|(entry, seen)| entry.seen = seen);
                    listing.is_unsorted = true;
                }
            }
            Event::Listed(complete) => {
                if let Some(listing) = self.listing.as_mut().filter(|listing| listing.job == id) {
                    listing.complete = Some(complete);
                    self.fill_directory();
                }
            }
            Event::Preview(content) => {
                if let Some(preview) = &mut self.preview {
                    preview.content = Some(content);
                }
            }
            Event::Text(_) | Event::Bytes(..) | Event::Found(_) => self.view_arrived(event),
            Event::Report(title, lines) => self.popup = Some(Popup::Text { title, lines, top: 0 }),
            Event::Progress(done, all) => job.progress = Some((done, all)),
            Event::Exists(path, copying) => {
                let text = format!("{} is there already. Replace it?", shown_path(&path));
                self.popup = Some(Popup::Confirm { text, then: Then::Copy(copying) });
            }
            Event::Copied(problems, error) => {
                let what = job.what.clone();
                self.copied(&what, problems, error);
            }
            Event::Mounted(mounted) => self.mounted(id, mounted),
            Event::Unmounted(unmounted) => self.unmounted(id, unmounted),
        }
    }

    fn registry_arrived(&mut self, read: Result<Arc<Registry>, Failure>) {
        let unlocking = self.unlocking.take();
        match read {
            Ok(registry) => {
                if let Some((path, key_id)) = unlocking.clone() {
                    self.unlocked.insert(path, key_id);
                }
                self.failure = None;
                self.rebuild(registry);
                if let Some((path, _)) = unlocking {
                    self.show_machine(|registry| registry.machines.iter().position(|entry| entry.path == path));
                }
            }
            Err(Failure { wrong_password: Some(key_id), .. }) if unlocking.is_some() => {
                self.wrong_key = Some(key_id);
                if let Some((path, key_id)) = unlocking {
                    self.unlock(path, key_id);
                }
            }
            Err(failure) => {
                if self.registry.is_none() {
                    self.failure = Some(failure.text.clone());
                }
                self.say(failure.text, true);
            }
        }
    }

    /// Shows another registry: what was open and selected stays so, where it is still there.
    fn rebuild(&mut self, registry: Arc<Registry>) {
        let is_first = self.registry.is_none();
        let mut open: Vec<Vec<String>> = self.tree.open_paths().into_iter().collect();
        // What is above comes first.
        open.sort_by_key(Vec::len);
        let selected = self.tree.selected().map(|id| self.tree.path_of(id));
        let mut disks: HashMap<Vec<String>, Disk> = HashMap::new();
        for path in &open {
            if let Some(id) = self.tree.find(path)
                && let Item::Disk(disk) = &self.tree.node(id).item
            {
                disks.insert(path.clone(), disk.clone());
            }
        }
        let filter = std::mem::take(&mut self.tree.filter);
        self.stop_jobs(|job| matches!(job.purpose, Purpose::Open(_) | Purpose::Media | Purpose::List));
        self.media.clear();
        self.asked.clear();
        self.listing = None;
        self.tree = Tree::new();
        self.tree.filter = filter;
        build::registry(&mut self.tree, &registry);
        self.problems = registry.problems.iter().map(|problem| message(problem)).collect();
        self.registry = Some(registry);
        for path in open {
            let Some(id) = self.tree.find(&path) else { continue };
            self.load(id);
            if let (Some(new), Some(old)) = (self.tree.disk_mut(id), disks.remove(&path)) {
                new.opened = old.opened;
                if let Some(opened) = new.opened.clone() {
                    build::volumes(&mut self.tree, id, &opened);
                }
            } else if !matches!(self.tree.node(id).item, Item::Directory { .. } | Item::Volume(_)) {
                self.tree.node_mut(id).is_open = true;
            }
        }
        self.tree.arrange();
        if let Some(path) = selected {
            let nearest = (1..=path.len()).rev().find_map(|len| self.tree.find(&path[..len]));
            if let Some(id) = nearest {
                self.tree.select(id);
            }
        }
        if is_first {
            self.show_start();
        }
    }

    /// Selects what the browser is to begin with.
    fn show_start(&mut self) {
        let start = self.start.clone();
        let Some(name) = &start.machine else { return };
        let Some(registry) = self.registry.clone() else { return };
        let shown = match registry.find_machine(name) {
            Ok(at) => self.show_machine(|_| Some(at)).map(|id| (at, id)),
            Err(e) => {
                self.say(message(&e), true);
                None
            }
        };
        let Some((at, id)) = shown else { return };
        let Ok(machine) = &registry.machines[at].machine else {
            self.open(id);
            return;
        };
        let state = match (&start.snapshot, start.at) {
            (Some(name), _) => machine.find_snapshot(name),
            (None, Some(time)) => machine.snapshot_at(time).map(Some),
            (None, None) => Ok(None),
        };
        let state = match state {
            Ok(state) => state,
            Err(e) => {
                self.say(message(&e), true);
                return;
            }
        };
        if start.snapshot.is_none() && start.at.is_none() && start.disk.is_none() {
            return;
        }
        let is_state =
            |tree: &Tree, node: NodeId| matches!(tree.node(node).item, Item::State(_, other) if other == state);
        let mut below = self.tree.node(id).children.clone();
        while let Some(node) = below.pop() {
            if !is_state(&self.tree, node) {
                below.extend(&self.tree.node(node).children);
                continue;
            }
            self.tree.node_mut(node).is_open = true;
            self.tree.select(node);
            let Some(disk) = &start.disk else { return };
            match registry.find_disk(&registry.machines[at], machine.attachments_of(state), disk) {
                Ok(slot) => {
                    if let Some(disk) = self.tree.child(node, &format!("slot {}", slot.slot())) {
                        self.tree.select(disk);
                        self.open_disk(disk);
                    }
                }
                Err(e) => self.say(message(&e), true),
            }
            return;
        }
    }

    /// Opens and selects the node of a machine.
    fn show_machine(&mut self, find: impl Fn(&Registry) -> Option<usize>) -> Option<NodeId> {
        let at = find(self.registry.as_ref()?)?;
        let id = self.tree.all().find(|id| matches!(self.tree.node(*id).item, Item::Machine(other) if other == at))?;
        self.load(id);
        self.tree.node_mut(id).is_open = true;
        self.tree.select(id);
        Some(id)
    }

    fn opened(&mut self, id: NodeId, opened: Result<Arc<Opened>, Failure>) {
        match opened {
            Ok(opened) => {
                build::volumes(&mut self.tree, id, &opened);
                if let Some(warning) = opened.warnings.first() {
                    self.say(warning.clone(), true);
                }
                if let Some(disk) = self.tree.disk_mut(id) {
                    disk.opened = Some(opened);
                }
                self.tree.arrange();
            }
            Err(Failure { wrong_password: Some(key_id), .. }) => {
                self.wrong_key = Some(key_id);
                self.stop_jobs(|job| job.purpose == Purpose::Open(id));
                self.open_disk(id);
            }
            Err(failure) => {
                if let Some(disk) = self.tree.disk_mut(id) {
                    disk.failure = Some(failure.text.clone());
                }
                self.say(failure.text, true);
            }
        }
    }

    fn names(&mut self, id: JobId, entries: Vec<Entry>) {
        let (sort, hidden) = (self.sort, self.hidden);
        if let Some(listing) = self.listing.as_mut().filter(|listing| listing.job == id) {
            listing.add(entries, sort, hidden);
        }
    }

    /// Puts the directories of the listed directory into the tree, when it is open there.
    pub(super) fn fill_directory(&mut self) {
        let Some(listing) = self.listing.as_ref().filter(|listing| listing.complete.is_some()) else { return };
        let node = self.tree.node(listing.node);
        if !node.is_open || node.is_loaded {
            return;
        }
        let hidden = self.hidden;
        let is_shown = |entry: &&Entry| {
            entry.kind == Kind::Directory && (hidden || !entry.name.as_encoded_bytes().starts_with(b"."))
        };
        let mut names: Vec<(&OsString, u64)> =
            listing.entries.iter().filter(is_shown).map(|entry| (&entry.name, entry.inode)).collect();
        names.sort_unstable();
        build::directories(&mut self.tree, listing.node, &listing.path, &names);
        self.tree.arrange();
    }

    fn copied(&mut self, what: &str, problems: Vec<String>, error: Option<String>) {
        let all = problems.len() + usize::from(error.is_some());
        if all == 0 {
            self.say(format!("{what}: done"), false);
            return;
        }
        let more = all.saturating_sub(SHOWN);
        let mut lines: Vec<String> = error.into_iter().chain(problems).take(SHOWN).collect();
        if more > 0 {
            lines.push(format!("... and {more} more"));
        }
        self.say(format!("{what}: not everything is copied"), true);
        self.popup = Some(Popup::Text { title: "Not copied".to_owned(), lines, top: 0 });
    }

    fn mounted(&mut self, id: JobId, mounted: Result<(), String>) {
        let Some(at) = self.mounting.iter().position(|(job, _)| *job == id) else { return };
        let (_, Mounted { point, which }) = self.mounting.swap_remove(at);
        match mounted {
            Ok(()) => {
                self.say(format!("Mounted at {}; u unmounts it", point.display()), false);
                self.mounts.push(Mounted { point, which });
            }
            Err(e) => self.popup = Some(Popup::Text { title: "Not mounted".to_owned(), lines: vec![e], top: 0 }),
        }
    }

    fn unmounted(&mut self, id: JobId, unmounted: Result<(), String>) {
        let Some(at) = self.mounting.iter().position(|(job, _)| *job == id) else { return };
        let (_, mount) = self.mounting.swap_remove(at);
        match unmounted {
            Ok(()) => {
                self.say(format!("Unmounted {}", mount.point.display()), false);
                self.mounts.retain(|other| *other != mount);
            }
            Err(e) => self.popup = Some(Popup::Text { title: "Not unmounted".to_owned(), lines: vec![e], top: 0 }),
        }
    }

    /// Opens an encrypted machine, whose settings file this is.
    pub(super) fn unlock(&mut self, path: std::path::PathBuf, key_id: String) {
        if self.unlocking.is_none() {
            self.stop_jobs(|job| job.purpose == Purpose::Registry);
            self.unlocking = Some((path.clone(), key_id));
            let what = "Opening the encrypted machine".to_owned();
            self.start_job(Job::Registry(Some(path)), what, Purpose::Registry);
        }
    }

    /// Adds what is below a node, where no job is needed for that.
    pub(super) fn load(&mut self, id: NodeId) {
        let node = self.tree.node(id);
        if let (Item::Machine(at), false, Some(registry)) = (node.item.clone(), node.is_loaded, self.registry.clone()) {
            build::machine(&mut self.tree, id, &registry, at);
        }
    }
}
