//! The keys.

use super::entries::Sort;
use super::line::Line;
use super::message::{Copying, Effect, Job, Mount};
use super::popup::{AtPath, Popup, Question, Then};
use super::tree::{Item, NodeId};
use super::{App, Focus, Purpose, build};
use crate::browse::content::shown_path;
use crate::browse::draw;
use crate::view::Kind;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::path::PathBuf;

/// The keys, as the help shows them.
pub(crate) const HELP: [(&str, &str); 27] = [
    ("Up Down, k j", "line up or down; PgUp PgDn Home End"),
    ("Right l", "open, or go into what is open"),
    ("Left h, Backspace", "close, or go to what is above"),
    ("Enter", "open or close; view a file"),
    ("Tab", "between the tree and the right side"),
    ("/", "show only names with a text; Esc shows all again"),
    ("n N", "next or previous name with that text"),
    ("s", "sort by name, size, time"),
    (".", "show names that begin with a dot, or not"),
    ("v", "view a file whole: / searches, Tab text or hex"),
    ("c", "copy out to a directory of this host"),
    ("m", "mount the disk (read-only)"),
    ("g", "mount it with its file systems"),
    ("u", "unmount what was mounted here"),
    ("i", "the chain of images, and who uses them"),
    ("d", "compare: press it at one state, then at another"),
    ("H", "the history of a file through the snapshots"),
    ("y", "copy the path, of machines and states the UUID"),
    ("Y", "copy the path of the image or settings file"),
    ("r", "read the settings again"),
    ("Esc", "stop what is loading or being copied"),
    ("Ctrl-Z", "suspend"),
    ("?", "this help"),
    ("q", "quit"),
    ("", ""),
    ("Mouse", "click selects, a second click opens, the wheel scrolls"),
    ("", "A disk is locked for reading while it is open here"),
];

impl App {
    pub(super) fn key(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return self.effects.push(Effect::Quit),
                KeyCode::Char('z') => return self.effects.push(Effect::Suspend),
                _ => {}
            }
        }
        self.notice = None;
        if self.asking.is_some() {
            self.password_key(key);
        } else if self.popup.is_some() {
            self.popup_key(key);
        } else if self.viewer.is_some() {
            self.view_key(key);
        } else if self.filter.is_some() {
            self.filter_key(key);
        } else {
            self.browse_key(key);
        }
    }

    /// Text that was pasted.
    pub(super) fn paste(&mut self, text: &str) {
        if let Some(asking) = &mut self.asking {
            text.chars().for_each(|c| asking.push(c));
        } else if let Some(Popup::Path(question)) = &mut self.popup {
            question.line.insert(text);
        } else if let Some(line) = self.viewer.as_mut().and_then(|viewer| viewer.typing.as_mut()) {
            line.insert(text);
        } else if let Some(line) = &mut self.filter {
            line.insert(text);
            self.use_filter();
        }
    }

    fn password_key(&mut self, key: KeyEvent) {
        let Some(asking) = &mut self.asking else { return };
        match key.code {
            KeyCode::Enter if asking.len() > 0 => {
                let answer = self.asking.take().map(super::Asking::into_key);
                self.effects.push(Effect::Answer(answer));
            }
            KeyCode::Esc => {
                self.asking = None;
                self.effects.push(Effect::Answer(None));
            }
            KeyCode::Backspace => asking.pop(),
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => asking.clear(),
            KeyCode::Char(c) if !key.modifiers.contains(KeyModifiers::CONTROL) => asking.push(c),
            _ => {}
        }
    }

    fn popup_key(&mut self, key: KeyEvent) {
        let page = isize::try_from(self.size.1 / 2).unwrap_or(1);
        match &mut self.popup {
            Some(Popup::Text { .. }) => match key.code {
                KeyCode::Down | KeyCode::Char('j') => self.scroll_text(1),
                KeyCode::Up | KeyCode::Char('k') => self.scroll_text(-1),
                KeyCode::PageDown | KeyCode::Char(' ') => self.scroll_text(page),
                KeyCode::PageUp => self.scroll_text(-page),
                KeyCode::Home => self.scroll_text(isize::MIN),
                KeyCode::End => self.scroll_text(isize::MAX),
                _ => self.popup = None,
            },
            Some(Popup::Confirm { .. }) => match key.code {
                KeyCode::Enter | KeyCode::Char('y') => {
                    if let Some(Popup::Confirm { then, .. }) = self.popup.take() {
                        self.confirmed(then);
                    }
                }
                _ => self.popup = None,
            },
            Some(Popup::Path(question)) => match key.code {
                KeyCode::Esc => self.popup = None,
                KeyCode::Enter => {
                    if let Some(Popup::Path(question)) = self.popup.take() {
                        self.answered(question);
                    }
                }
                KeyCode::Tab => question.is_on_switch = !question.is_on_switch && question.guests().is_some(),
                KeyCode::Char('g' | ' ') if question.is_on_switch => question.switch_guests(),
                KeyCode::Char('g') if key.modifiers.contains(KeyModifiers::CONTROL) => question.switch_guests(),
                _ => {
                    question.line.key(key);
                }
            },
            None => {}
        }
    }

    /// Scrolls the text of a box.
    pub(super) fn scroll_text(&mut self, by: isize) {
        let size = self.size;
        if let Some(Popup::Text { lines, top, .. }) = &mut self.popup {
            *top = top.saturating_add_signed(by).min(draw::last_top(lines, size));
        }
    }

    fn confirmed(&mut self, then: Then) {
        match then {
            Then::Quit => self.effects.push(Effect::Quit),
            Then::Copy(copying) => self.copy_out(Copying { replace: true, ..copying }),
            Then::Unmount(point) => {
                let Some(mount) = self.mounts.iter().find(|mount| mount.point == point).cloned() else { return };
                let what = format!("Unmounting {}", point.display());
                let id = self.start_job(Job::Unmount(point), what, Purpose::Unmount);
                self.mounting.push((id, mount));
            }
        }
    }

    /// The path that a user typed, from the directory that the browser was started in.
    fn host_path(&self, text: &str) -> PathBuf {
        let home = text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
        match (home, std::env::home_dir()) {
            (Some(rest), Some(home)) => home.join(rest.trim_start_matches('/')),
            _ => self.directory.join(text),
        }
    }

    fn answered(&mut self, question: Question) {
        if question.line.text.is_empty() {
            return;
        }
        let path = self.host_path(&question.line.text);
        match question.then {
            AtPath::Copy(copying) => self.copy_out(Copying { to: path, ..copying }),
            AtPath::Mount(mount) => {
                let mount = Mount { point: path.clone(), ..mount };
                let mounted = super::Mounted { point: path.clone(), which: mount.which.clone() };
                let what = format!("Mounting at {}", path.display());
                let id = self.start_job(Job::Mount(Box::new(mount)), what, Purpose::Mount);
                self.mounting.push((id, mounted));
            }
        }
    }

    fn copy_out(&mut self, copying: Copying) {
        let what = format!("Copying {} to {}", shown_path(&copying.from), shown_path(&copying.to));
        self.start_job(Job::Copy(copying), what, Purpose::Copy);
    }

    fn filter_key(&mut self, key: KeyEvent) {
        let Some(line) = &mut self.filter else { return };
        match key.code {
            KeyCode::Enter => self.filter = None,
            KeyCode::Esc => {
                line.text.clear();
                self.use_filter();
                self.filter = None;
            }
            KeyCode::Up | KeyCode::Down => self.browse_key(key),
            _ => {
                line.key(key);
                self.use_filter();
            }
        }
    }

    /// Shows what the filter that is typed lets through.
    fn use_filter(&mut self) {
        let Some(line) = &self.filter else { return };
        let text = line.text.to_lowercase();
        let (sort, hidden) = (self.sort, self.hidden);
        match (self.focus, &mut self.listing) {
            (Focus::Right, Some(listing)) => {
                listing.filter = text;
                listing.choose(sort, hidden);
            }
            _ => {
                self.tree.filter = text;
                self.tree.arrange();
                if !self.tree.filter.is_empty() && self.tree.selected().is_some_and(|id| !self.tree.matches(id)) {
                    self.next_match(true);
                }
            }
        }
    }

    /// Whether the entries of a directory have the keys.
    fn is_in_entries(&self) -> bool {
        self.focus == Focus::Right && self.listing.is_some()
    }

    fn browse_key(&mut self, key: KeyEvent) {
        let page = isize::try_from(self.size.1 / 2).unwrap_or(1);
        match key.code {
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::PageDown => self.step(page),
            KeyCode::PageUp => self.step(-page),
            KeyCode::Home => self.step(isize::MIN),
            KeyCode::End => self.step(isize::MAX),
            KeyCode::Enter => self.enter(),
            KeyCode::Right | KeyCode::Char('l') => self.go_in(),
            KeyCode::Left | KeyCode::Char('h') | KeyCode::Backspace => self.go_out(),
            KeyCode::Tab | KeyCode::BackTab => {
                self.focus = if self.focus == Focus::Tree { Focus::Right } else { Focus::Tree };
            }
            KeyCode::Esc => self.stop(),
            KeyCode::Char('/') => {
                let filter = match (self.focus, &self.listing) {
                    (Focus::Right, Some(listing)) => &listing.filter,
                    _ => &self.tree.filter,
                };
                self.filter = Some(Line::new(filter.clone()));
            }
            KeyCode::Char('n') => self.next_match(true),
            KeyCode::Char('N') => self.next_match(false),
            KeyCode::Char('s') => self.change_sort(self.sort.next()),
            KeyCode::Char('.') => self.switch_hidden(),
            KeyCode::Char('v') => self.view_selected(),
            KeyCode::Char('c') => self.ask_copy(),
            KeyCode::Char('m') => self.ask_mount(false),
            KeyCode::Char('g') => self.ask_mount(true),
            KeyCode::Char('u') => self.ask_unmount(),
            KeyCode::Char('i') => self.locks(),
            KeyCode::Char('d') => self.compare(),
            KeyCode::Char('H') => self.history(),
            KeyCode::Char('y') => self.yank(false),
            KeyCode::Char('Y') => self.yank(true),
            KeyCode::Char('r') if self.start.image.is_none() && !self.has_job(Purpose::Registry) => {
                self.start_job(Job::Registry(None), "Reading the settings".to_owned(), Purpose::Registry);
            }
            KeyCode::Char('?') => self.help(),
            KeyCode::Char('q') if self.has_job(Purpose::Copy) => {
                let text = "Something is being copied. Stop it and quit?".to_owned();
                self.popup = Some(Popup::Confirm { text, then: Then::Quit });
            }
            KeyCode::Char('q') => self.effects.push(Effect::Quit),
            _ => {}
        }
    }

    pub(super) fn help(&mut self) {
        let lines = HELP.iter().map(|(keys, what)| format!("{keys:<18} {what}").trim_end().to_owned()).collect();
        self.popup = Some(Popup::Text { title: "Keys".to_owned(), lines, top: 0 });
    }

    fn step(&mut self, by: isize) {
        match (self.focus, &mut self.listing) {
            (Focus::Right, Some(listing)) => listing.cursor.step(by, listing.order.len()),
            (Focus::Right, None) => self.scroll = self.scroll.saturating_add_signed(by),
            (Focus::Tree, _) => {
                let rows = self.tree.rows.len();
                self.tree.cursor.step(by, rows);
            }
        }
    }

    /// Stops the latest job; without any, shows all names again.
    fn stop(&mut self) {
        if let Some(latest) = self.jobs.last() {
            let (id, what, purpose) = (latest.id, latest.what.clone(), latest.purpose);
            self.stop_jobs(|job| job.id == id);
            if purpose == Purpose::Registry {
                self.unlocking = None;
            }
            if let Some(listing) = self.listing.as_mut().filter(|listing| listing.job == id) {
                listing.complete.get_or_insert(Err("Stopped; leave the directory and come back to list it".to_owned()));
            }
            if purpose == Purpose::Preview
                && let Some(preview) = &mut self.preview
            {
                preview.content.get_or_insert(Err("Stopped".to_owned()));
            }
            self.say(format!("{what}: stopped"), false);
            return;
        }
        match (self.focus, &mut self.listing) {
            (Focus::Right, Some(listing)) => {
                listing.filter.clear();
                listing.choose(self.sort, self.hidden);
            }
            _ => {
                self.tree.filter.clear();
                self.tree.arrange();
            }
        }
    }

    fn next_match(&mut self, forwards: bool) {
        if self.is_in_entries() {
            return self.step(if forwards { 1 } else { -1 });
        }
        if self.tree.filter.is_empty() {
            return;
        }
        let (at, len) = (self.tree.cursor.at, self.tree.rows.len());
        let is_match = |at: &usize| self.tree.matches(self.tree.rows[*at].node);
        let next = match forwards {
            true => (at + 1..len).chain(0..at).find(is_match),
            false => (0..at).rev().chain((at + 1..len).rev()).find(is_match),
        };
        self.tree.cursor.at = next.unwrap_or(at);
    }

    fn change_sort(&mut self, sort: Sort) {
        self.sort = sort;
        if let Some(listing) = &mut self.listing {
            listing.sort(sort);
        }
        self.say(format!("Sorted by {}", sort.name()), false);
    }

    fn switch_hidden(&mut self) {
        self.hidden = !self.hidden;
        if let Some(listing) = &mut self.listing {
            listing.choose(self.sort, self.hidden);
            let id = listing.node;
            self.tree.node_mut(id).is_loaded = false;
            self.fill_directory();
        }
    }

    /// Enter: opens or closes a node, goes into a directory, views a file.
    pub(super) fn enter(&mut self) {
        if self.is_in_entries() {
            return self.enter_entry();
        }
        let Some(id) = self.tree.selected() else { return };
        if self.tree.node(id).is_open { self.close(id) } else { self.open(id) }
    }

    fn go_in(&mut self) {
        if self.is_in_entries() {
            return self.enter_entry();
        }
        let Some(id) = self.tree.selected() else { return };
        if !self.tree.node(id).is_open && self.tree.can_open(id) {
            return self.open(id);
        }
        let at = self.tree.cursor.at;
        let depth = |at: usize| self.tree.rows.get(at).map_or(0, |row| row.depth);
        if depth(at + 1) > depth(at) {
            self.step(1);
        } else if self.listing.is_some() {
            self.focus = Focus::Right;
        }
    }

    fn go_out(&mut self) {
        let Some(id) = self.tree.selected() else { return };
        if self.is_in_entries() {
            return self.leave_directory(id);
        }
        if self.focus == Focus::Right {
            self.focus = Focus::Tree;
        } else if self.tree.node(id).is_open && self.tree.can_open(id) {
            self.close(id);
        } else {
            let parent = self.tree.node(id).parent;
            self.tree.select(parent);
        }
    }

    /// Opens a node; what is below a disk or directory comes when it is read.
    pub(super) fn open(&mut self, id: NodeId) {
        match &self.tree.node(id).item {
            Item::Machine(at) => {
                let entry = self.registry.as_ref().and_then(|registry| registry.machines.get(*at));
                if let Some((path, key_id)) = entry.and_then(|entry| Some((entry.path.clone(), entry.key_id()?))) {
                    let key_id = key_id.to_owned();
                    return self.unlock(path, key_id);
                }
                self.load(id);
            }
            Item::Disk(disk) if disk.opened.is_none() => return self.open_disk(id),
            _ => {}
        }
        if self.tree.can_open(id) {
            self.tree.node_mut(id).is_open = true;
            self.fill_directory();
            self.tree.arrange();
        }
    }

    /// Closes a node. A disk is closed with its images and locks.
    fn close(&mut self, id: NodeId) {
        if let Some(disk) = self.tree.disk_mut(id) {
            disk.opened = None;
            self.tree.clear(id);
        }
        self.tree.node_mut(id).is_open = false;
        self.tree.arrange();
    }

    fn enter_entry(&mut self) {
        let Some(listing) = &self.listing else { return };
        let Some(entry) = listing.selected() else { return };
        match entry.kind {
            Kind::Directory => {
                let (parent, path) = (listing.node, listing.path.join(&entry.name));
                let id = build::directory(&mut self.tree, parent, path, &entry.name, entry.inode);
                self.tree.node_mut(parent).is_open = true;
                self.fill_directory();
                self.tree.select(id);
            }
            _ => self.view_selected(),
        }
    }

    /// Goes to the directory above, where the one that is left is selected.
    fn leave_directory(&mut self, id: NodeId) {
        let Item::Directory { path, .. } = &self.tree.node(id).item else {
            self.focus = Focus::Tree;
            return;
        };
        let name = path.file_name().map(std::ffi::OsStr::to_owned);
        let parent = self.tree.node(id).parent;
        self.tree.select(parent);
        self.want_listing();
        if let Some(listing) = &mut self.listing {
            listing.wanted = name;
        }
    }
}
