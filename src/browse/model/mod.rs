//! The state of the browser, and how what happens changes it. It knows no terminal, reads nothing and writes nothing:
//! what is to be done is returned as [`Effect`]s.

mod actions;
mod arrive;
pub(crate) mod build;
pub(crate) mod cursor;
pub(crate) mod entries;
mod keys;
pub(crate) mod line;
pub(crate) mod message;
mod mouse;
pub(crate) mod popup;
#[cfg(test)]
mod tests;
pub(crate) mod tree;
pub(crate) mod viewer;

use super::content::Content;
use super::draw;
use super::layout::{self, Areas};
use crate::listing::report::MediumReport;
use crate::open::Which;
use crate::registry::{MediumId, Registry};
use crate::view::Kind;
use entries::{Listing, Sort};
use message::{Effect, File, Job, JobId, Message};
use popup::{Asking, Popup};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use tree::{Item, NodeId, Tree};
use viewer::Viewer;

/// Where keys go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Focus {
    /// To the tree.
    #[default]
    Tree,
    /// To the directory's entries, or the text, on the right.
    Right,
}

/// What a job is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The registry.
    Registry,
    /// Facts about media.
    Media,
    /// The disk of a node.
    Open(NodeId),
    /// The directory on the right.
    List,
    /// The selected file.
    Preview,
    /// The file that is viewed.
    View,
    /// A text for a box.
    Report,
    /// Copying to the host.
    Copy,
    /// Mounting.
    Mount,
    /// Unmounting.
    Unmount,
}

/// A job that runs.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its number.
    pub(crate) id: JobId,
    /// What it does, for the status line.
    pub(crate) what: String,
    /// What it is for.
    pub(crate) purpose: Purpose,
    /// How much of all is done, in bytes.
    pub(crate) progress: Option<(u64, u64)>,
}

/// The beginning of a file.
pub(crate) struct Preview {
    /// Its inode number.
    pub(crate) inode: u64,
    /// What it is; none until it is read.
    pub(crate) content: Option<Result<Content, String>>,
}

/// What was said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// The text.
    pub(crate) text: String,
    /// Whether something is wrong.
    pub(crate) is_problem: bool,
}

/// A disk that this program mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounted {
    /// Where.
    pub(crate) point: PathBuf,
    /// The disk.
    pub(crate) which: Which,
}

/// The state of the browser.
pub(crate) struct App {
    /// The disk or machine that the browser begins with.
    start: Which,
    /// The registry, once it is read.
    pub(crate) registry: Option<Arc<Registry>>,
    /// What is wrong with it, a sentence each.
    pub(crate) problems: Vec<String>,
    /// Why it cannot be read.
    pub(crate) failure: Option<String>,
    /// What is known of media.
    pub(crate) media: HashMap<MediumId, MediumReport>,
    asked: HashSet<MediumId>,
    /// The tree on the left.
    pub(crate) tree: Tree,
    /// Where keys go.
    pub(crate) focus: Focus,
    /// The directory on the right.
    pub(crate) listing: Option<Listing>,
    /// The selected file of it.
    pub(crate) preview: Option<Preview>,
    /// The first line of the text on the right that is shown.
    pub(crate) scroll: usize,
    /// The file that is viewed whole.
    pub(crate) viewer: Option<Viewer>,
    /// The box over everything.
    pub(crate) popup: Option<Popup>,
    /// The question for a password, over that.
    pub(crate) asking: Option<Asking>,
    wrong_key: Option<String>,
    /// The encrypted machine that is being opened: its settings file and key.
    unlocking: Option<(PathBuf, String)>,
    /// The keys of the encrypted machines that are open, by their settings files.
    unlocked: HashMap<PathBuf, String>,
    /// The state that the next one is compared with: what it is called, and how it is opened.
    pub(crate) marked: Option<(String, Which)>,
    /// What is being mounted and unmounted.
    mounting: Vec<(JobId, Mounted)>,
    /// The line in which a filter is typed.
    pub(crate) filter: Option<line::Line>,
    /// The jobs that run, the latest last.
    pub(crate) jobs: Vec<Running>,
    last_job: JobId,
    /// What was said last.
    pub(crate) notice: Option<Notice>,
    /// What this program mounted.
    pub(crate) mounts: Vec<Mounted>,
    /// How entries are sorted.
    pub(crate) sort: Sort,
    /// Whether names that begin with a dot are shown.
    pub(crate) hidden: bool,
    /// Columns and rows of the terminal.
    pub(crate) size: (u16, u16),
    /// The directory that paths of the host begin at.
    directory: PathBuf,
    effects: Vec<Effect>,
}

impl App {
    /// A browser that begins with a disk, a machine or the whole registry, and what is to be done first. Paths of the
    /// host that a user types begin at `directory`.
    pub(crate) fn new(start: Which, directory: PathBuf, size: (u16, u16)) -> (Self, Vec<Effect>) {
        let mut app = Self {
            start,
            registry: None,
            problems: Vec::new(),
            failure: None,
            media: HashMap::new(),
            asked: HashSet::new(),
            tree: Tree::new(),
            focus: Focus::Tree,
            listing: None,
            preview: None,
            scroll: 0,
            viewer: None,
            popup: None,
            asking: None,
            wrong_key: None,
            unlocking: None,
            unlocked: HashMap::new(),
            marked: None,
            mounting: Vec::new(),
            filter: None,
            jobs: Vec::new(),
            last_job: 0,
            notice: None,
            mounts: Vec::new(),
            sort: Sort::Name,
            hidden: false,
            size,
            directory,
            effects: Vec::new(),
        };
        if app.start.image.is_some() {
            let node = build::named(&mut app.tree, app.start.clone());
            app.tree.arrange();
            app.open_disk(node);
        } else {
            app.start_job(Job::Registry(None), "Reading the settings".to_owned(), Purpose::Registry);
        }
        let effects = std::mem::take(&mut app.effects);
        (app, effects)
    }

    /// Changes the state by what happened.
    pub(crate) fn update(&mut self, message: Message) {
        match message {
            Message::Key(key) => self.key(key),
            Message::Mouse(mouse) => self.mouse(mouse),
            Message::Paste(text) => self.paste(&text),
            Message::Resize(columns, rows) => self.size = (columns, rows),
            Message::Job(id, event) => self.arrive(id, event),
            Message::Ended(id) => self.jobs.retain(|job| job.id != id),
            Message::Ask { what, key_id } => {
                let is_again = self.wrong_key.take().is_some_and(|wrong| wrong == key_id);
                self.asking = Some(Asking::new(what, key_id, is_again));
            }
            Message::Warning(text) => self.say(text, true),
            Message::Continued => {}
            Message::Signal(_) => self.effects.push(Effect::Quit),
        }
    }

    /// After all that happened at once: starts to load what is now to be seen, and scrolls to what is selected.
    pub(crate) fn settle(&mut self) -> Vec<Effect> {
        self.want_media();
        self.want_listing();
        self.want_preview();
        let areas = self.areas();
        let rows = self.tree.rows.len();
        self.tree.cursor.show(layout::lines(areas.tree), rows);
        if let Some(listing) = &mut self.listing {
            if listing.is_unsorted {
                listing.sort(self.sort);
            }
            listing.cursor.show(layout::lines(areas.entries), listing.order.len());
        }
        self.want_view();
        self.scroll = self.scroll.min(draw::last_scroll(self, areas.details));
        std::mem::take(&mut self.effects)
    }

    /// Where everything is on the screen.
    pub(crate) fn areas(&self) -> Areas {
        let has_entries = self.tree.selected().is_some_and(|id| self.directory_of(id).is_some());
        let is_volume = self.tree.selected().is_some_and(|id| matches!(self.tree.node(id).item, Item::Volume(_)));
        layout::areas(self.size, has_entries, is_volume)
    }

    /// Starts a job; what it says comes as messages with its number.
    pub(crate) fn start_job(&mut self, job: Job, what: String, purpose: Purpose) -> JobId {
        self.last_job += 1;
        let id = self.last_job;
        self.jobs.push(Running { id, what, purpose, progress: None });
        self.effects.push(Effect::Start(id, job));
        id
    }

    /// Stops the jobs for a purpose. What they say from now on is not heard.
    fn stop_jobs(&mut self, is: impl Fn(&Running) -> bool) {
        for job in self.jobs.extract_if(.., |job| is(job)) {
            self.effects.push(Effect::Stop(job.id));
        }
    }

    fn has_job(&self, purpose: Purpose) -> bool {
        self.jobs.iter().any(|job| job.purpose == purpose)
    }

    /// Says something in the status line.
    fn say(&mut self, text: String, is_problem: bool) {
        self.notice = Some(Notice { text, is_problem });
    }

    /// The directory that is shown on the right for a node: its inode number and path.
    fn directory_of(&self, id: NodeId) -> Option<(u64, PathBuf)> {
        match &self.tree.node(id).item {
            Item::Directory { inode, path } => Some((*inode, path.clone())),
            Item::Volume(at) => {
                let (_, disk) = self.tree.disk_of(id)?;
                let volume = disk.opened.as_ref()?.volumes.get(*at)?;
                Some((volume.root?, PathBuf::from(format!("fs{}", volume.volume.index))))
            }
            _ => None,
        }
    }

    /// Opens the disk of a node.
    fn open_disk(&mut self, id: NodeId) {
        let Some(disk) = self.tree.disk_mut(id) else { return };
        if let Some(nothing) = disk.nothing.clone() {
            self.say(nothing, false);
            return;
        }
        disk.failure = None;
        let which = disk.which.clone();
        if !self.has_job(Purpose::Open(id)) {
            let what = format!("Opening {}", self.tree.node(id).label);
            self.start_job(Job::Open(which), what, Purpose::Open(id));
        }
    }

    /// Looks at the images of the machine that is selected, and at the chain of a disk.
    fn want_media(&mut self) {
        let (Some(registry), Some(id)) = (self.registry.clone(), self.tree.selected()) else { return };
        let mut wanted: Vec<MediumId> = Vec::new();
        if let Some(at) = self.tree.machine_of(id)
            && let Some(entry) = registry.machines.get(at)
            && let Ok(machine) = &entry.machine
        {
            let frozen = machine.snapshots.iter().flat_map(|snapshot| &snapshot.attachments);
            let uuids = machine.attachments.iter().chain(frozen).filter_map(|slot| slot.medium);
            wanted.extend(uuids.filter_map(|uuid| registry.media.find_near(uuid, &entry.path)));
        }
        if let Item::Disk(disk) = &self.tree.node(id).item {
            wanted.extend(disk.medium);
        }
        let mut new = Vec::new();
        for id in wanted {
            let parents = std::iter::successors(Some(id), |id| registry.media.get(*id).parent);
            new.extend(parents.take_while(|id| self.asked.insert(*id)));
        }
        if !new.is_empty() {
            self.start_job(Job::Media(registry, new), "Looking at images".to_owned(), Purpose::Media);
        }
    }

    /// Lists the directory that is selected.
    fn want_listing(&mut self) {
        let selected = self.tree.selected();
        if self.listing.as_ref().map(|listing| listing.node) == selected && selected.is_some() {
            return;
        }
        self.stop_jobs(|job| matches!(job.purpose, Purpose::List | Purpose::Preview));
        self.preview = None;
        self.scroll = 0;
        self.listing = None;
        let Some((id, (inode, path))) = selected.and_then(|id| Some((id, self.directory_of(id)?))) else { return };
        let Some(opened) = self.tree.disk_of(id).and_then(|(_, disk)| disk.opened.clone()) else { return };
        let what = format!("Listing {}", super::content::shown_path(&path));
        let job = self.start_job(Job::List(opened.clone(), inode), what, Purpose::List);
        self.listing = Some(Listing::new(id, opened, path, job));
    }

    /// Reads the beginning of the file that is selected.
    fn want_preview(&mut self) {
        let file = self.selected_file().filter(|file| matches!(file.kind, Kind::File | Kind::Symlink));
        if file.as_ref().map(|file| file.inode) == self.preview.as_ref().map(|preview| preview.inode) {
            return;
        }
        self.stop_jobs(|job| job.purpose == Purpose::Preview);
        self.preview = file.as_ref().map(|file| Preview { inode: file.inode, content: None });
        if let Some(file) = file {
            self.start_job(Job::Preview(file), "Reading".to_owned(), Purpose::Preview);
        }
    }

    /// The entry that is selected on the right.
    fn selected_file(&self) -> Option<File> {
        let listing = self.listing.as_ref()?;
        let entry = listing.selected()?;
        Some(File { opened: listing.opened.clone(), inode: entry.inode, kind: entry.kind })
    }
}
