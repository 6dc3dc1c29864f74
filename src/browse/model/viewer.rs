//! The view of a whole file: as text, or as hexadecimal digits of which only those on the screen are read.

use super::line::Line;
use super::message::{Effect, Event, File, Job};
use super::{App, Purpose};
use crate::browse::content::{Content, hex_columns};
use crossterm::event::{KeyCode, KeyEvent};

/// Bytes that are read at once for hexadecimal digits.
const WINDOW: usize = 64 << 10;

/// A file that is viewed.
pub(crate) struct Viewer {
    /// The file.
    file: File,
    /// Its path, as it is shown.
    pub(crate) path: String,
    /// Its size in bytes.
    pub(crate) size: u64,
    /// As text where it is text: encoding, lines, and whether those are all. None until it is read.
    pub(crate) text: Option<(&'static str, Vec<String>, bool)>,
    /// Whether hexadecimal digits are shown.
    pub(crate) is_hex: bool,
    /// The first line of the text that is shown, and its first column.
    pub(crate) top: usize,
    /// Columns that are left out at the left.
    pub(crate) left: usize,
    /// The first byte that is shown.
    pub(crate) offset: u64,
    /// Bytes from an offset on.
    pub(crate) window: (u64, Vec<u8>),
    /// What went wrong.
    pub(crate) failure: Option<String>,
    /// The line in which a search is typed.
    pub(crate) typing: Option<Line>,
    /// What is searched.
    pub(crate) needle: String,
    /// Where it was found: a line of the text, or an offset.
    pub(crate) found: Option<u64>,
    asked: Option<u64>,
}

impl Viewer {
    fn new(file: File, path: String, size: u64) -> Self {
        Self {
            file,
            path,
            size,
            text: None,
            is_hex: false,
            top: 0,
            left: 0,
            offset: 0,
            window: (0, Vec::new()),
            failure: None,
            typing: None,
            needle: String::new(),
            found: None,
            asked: None,
        }
    }

    /// The bytes that are shown from an offset on; fewer than `len` where they are not read yet.
    pub(crate) fn bytes(&self, offset: u64, len: usize) -> &[u8] {
        let (start, bytes) = &self.window;
        let from = offset.checked_sub(*start).and_then(|from| usize::try_from(from).ok());
        let rest = from.and_then(|from| bytes.get(from..)).unwrap_or_default();
        &rest[..len.min(rest.len())]
    }
}

impl App {
    /// Shows a file whole.
    pub(super) fn view(&mut self, file: File, path: String, size: u64) {
        self.start_job(Job::Text(file.clone()), format!("Reading {path}"), Purpose::View);
        self.viewer = Some(Viewer::new(file, path, size));
    }

    /// Rows and columns of the view.
    fn view_size(&self) -> (usize, usize) {
        (usize::from(self.size.1).saturating_sub(2).max(1), usize::from(self.size.0))
    }

    /// Reads the bytes that are to be seen.
    pub(super) fn want_view(&mut self) {
        let (rows, width) = self.view_size();
        let Some(viewer) = self.viewer.as_mut().filter(|viewer| viewer.is_hex) else { return };
        let columns = hex_columns(width);
        let len = rows * columns;
        let left = usize::try_from(viewer.size.saturating_sub(viewer.offset)).unwrap_or(usize::MAX);
        if viewer.bytes(viewer.offset, len).len() >= len.min(left) || viewer.asked == Some(viewer.offset) {
            return;
        }
        viewer.asked = Some(viewer.offset);
        let job = Job::Bytes(viewer.file.clone(), viewer.offset, WINDOW.max(len));
        self.start_job(job, "Reading".to_owned(), Purpose::View);
    }

    /// What a job for the view says.
    pub(super) fn view_arrived(&mut self, event: Event) {
        let Some(viewer) = &mut self.viewer else { return };
        match event {
            Event::Text(Ok((Content::Text(encoding, lines), is_all))) => viewer.text = Some((encoding, lines, is_all)),
            Event::Text(Ok((Content::Binary(bytes), _))) => {
                viewer.is_hex = true;
                viewer.window = (0, bytes);
            }
            Event::Text(Err(e)) => viewer.failure = Some(e),
            Event::Bytes(offset, Ok(bytes)) => viewer.window = (offset, bytes),
            Event::Bytes(_, Err(e)) => viewer.failure = Some(e),
            Event::Found(Ok(Some(at))) => {
                viewer.found = Some(at);
                viewer.offset = at - at % 16;
            }
            Event::Found(Ok(None)) => {
                let text = format!("{:?} is not found after here", viewer.needle);
                self.say(text, false);
            }
            Event::Found(Err(e)) => viewer.failure = Some(e),
            _ => {}
        }
    }

    /// A key, while a file is viewed.
    pub(super) fn view_key(&mut self, key: KeyEvent) {
        let (rows, width) = self.view_size();
        let Some(viewer) = &mut self.viewer else { return };
        if let Some(line) = &mut viewer.typing {
            match key.code {
                KeyCode::Esc => viewer.typing = None,
                KeyCode::Enter => {
                    viewer.needle = std::mem::take(&mut line.text);
                    viewer.typing = None;
                    viewer.found = None;
                    self.search(true, true);
                }
                _ => {
                    line.key(key);
                }
            }
            return;
        }
        let page = isize::try_from(rows).unwrap_or(isize::MAX);
        match key.code {
            KeyCode::Char('q' | 'v') | KeyCode::Esc | KeyCode::Backspace => {
                // A search that lasts is stopped first.
                if key.code == KeyCode::Esc && self.has_job(Purpose::View) {
                    self.stop_jobs(|job| job.purpose == Purpose::View);
                } else {
                    self.stop_jobs(|job| job.purpose == Purpose::View);
                    self.viewer = None;
                }
            }
            KeyCode::Down | KeyCode::Char('j') | KeyCode::Enter => self.scroll_view(1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll_view(-1),
            KeyCode::PageDown | KeyCode::Char(' ') => self.scroll_view(page),
            KeyCode::PageUp => self.scroll_view(-page),
            KeyCode::Home | KeyCode::Char('g') => self.scroll_view(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.scroll_view(isize::MAX),
            KeyCode::Right | KeyCode::Char('l') => viewer.left += width / 2,
            KeyCode::Left | KeyCode::Char('h') => viewer.left = viewer.left.saturating_sub(width / 2),
            KeyCode::Tab | KeyCode::Char('x') if viewer.text.is_some() => {
                viewer.is_hex = !viewer.is_hex;
                viewer.found = None;
            }
            KeyCode::Char('/') => viewer.typing = Some(Line::default()),
            KeyCode::Char('n') => self.search(true, false),
            KeyCode::Char('N') => self.search(false, false),
            KeyCode::Char('?') => self.help(),
            _ => {}
        }
    }

    /// Scrolls by lines.
    pub(super) fn scroll_view(&mut self, by: isize) {
        let (rows, width) = self.view_size();
        let Some(viewer) = &mut self.viewer else { return };
        if viewer.is_hex {
            let columns = hex_columns(width) as u64;
            let lines = viewer.size.div_ceil(columns);
            let last = lines.saturating_sub(rows as u64);
            let line = i64::try_from(by).unwrap_or(i64::MAX);
            viewer.offset = (viewer.offset / columns).saturating_add_signed(line).min(last) * columns;
        } else if let Some((_, lines, _)) = &viewer.text {
            viewer.top = viewer.top.saturating_add_signed(by).min(lines.len().saturating_sub(rows));
        }
    }

    /// Searches on from what was found last, or from what is shown.
    fn search(&mut self, forwards: bool, first: bool) {
        let Some(viewer) = self.viewer.as_mut().filter(|viewer| !viewer.needle.is_empty()) else { return };
        if viewer.is_hex {
            if !forwards {
                self.say("Bytes are searched forwards only: n".to_owned(), false);
                return;
            }
            let from = viewer.found.filter(|_| !first).map_or(viewer.offset, |found| found + 1);
            let job = Job::Find(viewer.file.clone(), from, viewer.needle.clone().into_bytes());
            let what = format!("Searching {:?}", viewer.needle);
            self.start_job(job, what, Purpose::View);
            return;
        }
        let Some((_, lines, _)) = &viewer.text else { return };
        let needle = viewer.needle.to_lowercase();
        let has = |at: &usize| lines[*at].to_lowercase().contains(&needle);
        let found = viewer.found.and_then(|at| usize::try_from(at).ok());
        let at = if forwards {
            let from = found.map_or(viewer.top, |at| at + usize::from(!first));
            (from..lines.len()).find(has)
        } else {
            (0..found.unwrap_or(viewer.top)).rev().find(has)
        };
        match at {
            Some(at) => {
                viewer.found = Some(at as u64);
                viewer.top = at.min(lines.len().saturating_sub(1));
            }
            None => {
                let text =
                    format!("{:?} is not found {} here", viewer.needle, if forwards { "after" } else { "before" });
                self.say(text, false);
            }
        }
    }

    /// Puts text into the terminal's clipboard.
    pub(super) fn copy_text(&mut self, text: String) {
        self.say(format!("Copied {}", crate::browse::content::shown(text.as_bytes())), false);
        self.effects.push(Effect::Copy(text));
    }
}
