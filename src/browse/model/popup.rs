//! The boxes over the screen.

use super::line::Line;
use super::message::{Copying, Mount};
use crate::crypt::Key;
use std::path::{Path, PathBuf};

/// The longest password that is taken, in bytes.
const MAX_PASSWORD: usize = 4096;

/// A box.
pub(crate) enum Popup {
    /// Text to read.
    Text {
        /// Its title.
        title: String,
        /// The text, as lines that are wrapped when they are drawn.
        lines: Vec<String>,
        /// The first line that is shown.
        top: usize,
    },
    /// A question for a path of the host.
    Path(Question),
    /// A question to be answered with Enter or Esc.
    Confirm {
        /// The question.
        text: String,
        /// What Enter does.
        then: Then,
    },
}

/// A question for a path of the host.
pub(crate) struct Question {
    /// What happens at the path.
    pub(crate) then: AtPath,
    /// The path.
    pub(crate) line: Line,
    /// Whether keys go to the switch below the line.
    pub(crate) is_on_switch: bool,
}

impl Question {
    /// A question that is answered with a directory as it is.
    pub(crate) fn new(then: AtPath, directory: &Path) -> Self {
        let line = match then {
            AtPath::Copy(..) => Line::new(directory.to_string_lossy()),
            AtPath::Mount(_) => Line::default(),
        };
        Self { then, line, is_on_switch: false }
    }

    /// Whether a disk is mounted with its file systems; none where nothing is mounted.
    pub(crate) fn guests(&self) -> Option<bool> {
        match &self.then {
            AtPath::Mount(mount) => Some(mount.with_guests),
            AtPath::Copy(..) => None,
        }
    }

    /// Mounts with the file systems, or without.
    pub(crate) fn switch_guests(&mut self) {
        if let AtPath::Mount(mount) = &mut self.then {
            mount.with_guests = !mount.with_guests;
        }
    }
}

/// What happens at a path of the host.
#[derive(Clone)]
pub(crate) enum AtPath {
    /// A file or directory is copied there.
    Copy(Copying),
    /// The disk is mounted there.
    Mount(Mount),
}

/// What a confirmation is for.
#[derive(Clone)]
pub(crate) enum Then {
    /// To end although something is being copied.
    Quit,
    /// To copy over what is there.
    Copy(Copying),
    /// To unmount what is mounted there.
    Unmount(PathBuf),
}

/// The question for a password.
pub(crate) struct Asking {
    /// The disk or machine.
    pub(crate) what: String,
    /// The id of the key.
    pub(crate) key_id: String,
    /// Whether the last answer was wrong.
    pub(crate) is_again: bool,
    /// What was typed, which is never shown.
    typed: Key,
}

impl Asking {
    /// A question that nothing was answered to yet.
    pub(crate) fn new(what: String, key_id: String, is_again: bool) -> Self {
        // All at once: growing would leave copies in freed memory.
        Self { what, key_id, is_again, typed: Key::new(Vec::with_capacity(MAX_PASSWORD)) }
    }

    /// Adds a character.
    pub(crate) fn push(&mut self, c: char) {
        if self.typed.len() + c.len_utf8() <= MAX_PASSWORD && !c.is_control() {
            self.typed.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    /// Takes the last character back.
    pub(crate) fn pop(&mut self) {
        while self.typed.pop().is_some_and(|byte| byte & 0xC0 == 0x80) {}
    }

    /// Takes everything back.
    pub(crate) fn clear(&mut self) {
        self.typed.fill(0);
        self.typed.clear();
    }

    /// How many characters were typed.
    pub(crate) fn len(&self) -> usize {
        self.typed.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
    }

    /// The answer.
    pub(crate) fn into_key(self) -> Key {
        self.typed
    }
}
