//! What happens to the browser, and what it wants done. Nothing here does anything.

use super::entries::{Entry, Seen};
use crate::browse::content::Content;
use crate::crypt::Key;
use crate::guestfs::Content as Found;
use crate::listing::report::MediumReport;
use crate::open::Which;
use crate::registry::{MediumId, Registry};
use crate::view::{Kind, View};
use crate::volume::Volume;
use crossterm::event::{KeyEvent, MouseEvent};
use std::path::PathBuf;
use std::sync::Arc;

/// The number of a job, never used twice.
pub(crate) type JobId = u64;

/// Something that happened.
pub(crate) enum Message {
    /// A key was pressed.
    Key(KeyEvent),
    /// The mouse was used.
    Mouse(MouseEvent),
    /// Text was pasted.
    Paste(String),
    /// The terminal has another size: columns, rows.
    Resize(u16, u16),
    /// A job has something to say.
    Job(JobId, Event),
    /// A job has ended, however that was.
    Ended(JobId),
    /// A job waits for the password of a key.
    Ask {
        /// The disk or machine.
        what: String,
        /// The id of the key.
        key_id: String,
    },
    /// The library warns.
    Warning(String),
    /// The program came back from being suspended.
    Continued,
    /// A signal asks the program to end.
    Signal(i32),
}

/// What a job says.
pub(crate) enum Event {
    /// The registry.
    Registry(Result<Arc<Registry>, Failure>),
    /// Facts about media.
    Media(Vec<(MediumId, MediumReport)>),
    /// An open disk.
    Opened(Result<Arc<Opened>, Failure>),
    /// More names of a directory.
    Names(Vec<Entry>),
    /// The attributes of entries, of the index on.
    Attributes(usize, Vec<Seen>),
    /// All of a directory was said, or why not.
    Listed(Result<(), String>),
    /// The beginning of a file.
    Preview(Result<Content, String>),
    /// All of a text file, or as much as is shown, and whether that is all.
    Text(Result<(Content, bool), String>),
    /// Bytes of a file from an offset on.
    Bytes(u64, Result<Vec<u8>, String>),
    /// Where bytes were found in a file.
    Found(Result<Option<u64>, String>),
    /// Text for a box, under its title.
    Report(String, Vec<String>),
    /// So many of all bytes are copied.
    Progress(u64, u64),
    /// Nothing is copied, because this is there already.
    Exists(PathBuf, Copying),
    /// Copying has ended: what is wrong with single files, and the error that ended it.
    Copied(Vec<String>, Option<String>),
    /// A disk was mounted, or why not.
    Mounted(Result<(), String>),
    /// A disk was unmounted, or why not.
    Unmounted(Result<(), String>),
}

/// Why something could not be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The whole message.
    pub(crate) text: String,
    /// The key whose password was wrong.
    pub(crate) wrong_password: Option<String>,
}

/// What the browser wants done.
pub(crate) enum Effect {
    /// A job is to be started.
    Start(JobId, Job),
    /// A job is to be stopped.
    Stop(JobId),
    /// The password that a job waits for; none when the user has none.
    Answer(Option<Key>),
    /// Text is to be put into the terminal's clipboard.
    Copy(String),
    /// The program is to be suspended.
    Suspend,
    /// The program is to end.
    Quit,
}

/// Work that takes time.
pub(crate) enum Job {
    /// Reads the registry; the encrypted machine with this settings file is opened.
    Registry(Option<PathBuf>),
    /// Looks at images.
    Media(Arc<Registry>, Vec<MediumId>),
    /// Opens a disk.
    Open(Which),
    /// Lists a directory.
    List(Arc<Opened>, u64),
    /// Reads the beginning of a file.
    Preview(File),
    /// Reads a file as text.
    Text(File),
    /// Reads bytes of a file: at most so many from the offset on.
    Bytes(File, u64, usize),
    /// Searches bytes in a file, from the offset on.
    Find(File, u64, Vec<u8>),
    /// Finds out who uses the images, leaf first.
    Locks(String, Vec<PathBuf>),
    /// Compares two states of a disk or machine, under a title: the old one, the new one, and a path of that.
    Diff(String, Box<(Which, Which)>, PathBuf),
    /// Finds out what became of a file of a machine's disk, under a title.
    History(String, Which, PathBuf),
    /// Copies a file or directory of a disk to the host.
    Copy(Copying),
    /// Mounts a disk.
    Mount(Box<Mount>),
    /// Unmounts what is mounted there.
    Unmount(PathBuf),
}

/// A file of an open disk.
#[derive(Clone)]
pub(crate) struct File {
    /// The disk.
    pub(crate) opened: Arc<Opened>,
    /// Its inode number in the view.
    pub(crate) inode: u64,
    /// What it is.
    pub(crate) kind: Kind,
}

/// A copy that is wanted.
#[derive(Clone)]
pub(crate) struct Copying {
    /// The disk.
    pub(crate) opened: Arc<Opened>,
    /// The path in its view.
    pub(crate) from: PathBuf,
    /// The directory of the host, or the new name there.
    pub(crate) to: PathBuf,
    /// What is there already is replaced.
    pub(crate) replace: bool,
}

/// A mount that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The disk.
    pub(crate) which: Which,
    /// The key of an encrypted disk or machine, and what it is of.
    pub(crate) key: Option<(String, String)>,
    /// Where.
    pub(crate) point: PathBuf,
    /// With the guest's file systems.
    pub(crate) with_guests: bool,
}

/// An open disk. It stays locked for reading as long as anything of it is shown.
pub(crate) struct Opened {
    /// The tree of its files.
    pub(crate) view: View,
    /// Its volumes, or the whole disk where it has none, and what they hold.
    pub(crate) volumes: Vec<OpenVolume>,
    /// Its partition table, in words.
    /// Whether it has a partition table, and is not only a whole.
    pub(crate) has_table: bool,
    /// Its partition table, in words.
    pub(crate) table: String,
    /// Bytes of the disk.
    pub(crate) size: u64,
    /// Its images, leaf first: the path and what is known of it.
    pub(crate) links: Vec<(PathBuf, String)>,
    /// The key that it is encrypted with.
    pub(crate) key_id: Option<String>,
    /// What a user should know, a sentence each.
    pub(crate) warnings: Vec<String>,
    /// The locks of the images.
    pub(crate) _locks: Vec<crate::lock::Guard>,
}

/// A volume of an open disk.
pub(crate) struct OpenVolume {
    /// The volume.
    pub(crate) volume: Volume,
    /// What it holds.
    pub(crate) content: Found,
    /// Where its file system begins in the view.
    pub(crate) root: Option<u64>,
    /// Blocks of the file system: bytes of one, all of them, the free ones.
    pub(crate) space: Option<(u32, u64, u64)>,
}
