//! What each argument takes, by its definition.

use super::line::Line;
use super::{names, paths};
use crate::mount::KNOWN_OPTIONS;
use clap::{Arg, Command, ValueHint};
use clap_complete::engine::ValueCompleter;
use clap_complete::{ArgValueCompleter, CompletionCandidate, PathCompleter};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

/// The id of the candidate that stands for the host's files.
const FILES: &str = "files";
/// The id of the one for the host's directories.
const DIRECTORIES: &str = "directories";

/// Which files of the host the shell is to offer, where nothing else is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    None,
    Any,
    Directories,
}

impl Files {
    /// The exit code that says so to the completion scripts.
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Any => 3,
            Self::Directories => 4,
        }
    }

    /// Takes the candidates that stand for files out of the others.
    pub(super) fn take(candidates: &mut Vec<CompletionCandidate>) -> Self {
        let has = |id: &str| candidates.iter().any(|one| one.get_id().is_some_and(|of| of == id));
        let files = match (has(FILES), has(DIRECTORIES)) {
            (true, _) => Self::Any,
            (false, true) => Self::Directories,
            (false, false) => Self::None,
        };
        candidates.retain(|one| !one.get_id().is_some_and(|of| of == FILES || of == DIRECTORIES));
        files
    }
}

/// What an argument takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Machine,
    Snapshot,
    DiskOfMachine,
    Image,
    MountOptions,
    GuestPath,
    /// Guest paths, and at last a file or directory of the host.
    GuestPathsAndTarget,
    /// A disk and a mount point, or the latter only.
    SourceAndPoint,
    File,
    Directory,
}

impl Kind {
    fn of(arg: &Arg) -> Option<Self> {
        let value = arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
        let hint = arg.get_value_hint();
        Some(match value {
            Some("MACHINE") => Self::Machine,
            Some("SNAPSHOT") => Self::Snapshot,
            Some("DISK") if hint == ValueHint::FilePath => Self::Image,
            Some("DISK") => Self::DiskOfMachine,
            Some("OPTION,...") => Self::MountOptions,
            Some("MOUNT_POINT") if arg.is_positional() => Self::SourceAndPoint,
            Some("PATH") if arg.is_positional() && hint == ValueHint::AnyPath => Self::GuestPathsAndTarget,
            Some("PATH") if arg.is_positional() => Self::GuestPath,
            _ if hint == ValueHint::DirPath => Self::Directory,
            _ if matches!(hint, ValueHint::FilePath | ValueHint::AnyPath) => Self::File,
            _ => return None,
        })
    }
}

/// Adds to the arguments of a command what they take on this line.
pub(super) fn add(command: Command, words: &[OsString]) -> Command {
    let line = Arc::new(Line::new(words));
    let with = |arg: Arg| match Kind::of(&arg) {
        Some(kind) => {
            let is_word = arg.is_positional();
            arg.add(ArgValueCompleter::new(Offer { kind, is_word, line: line.clone() }))
        }
        None => arg,
    };
    command.mut_args(&with).mut_subcommands(|verb| verb.mut_args(&with))
}

/// What an argument takes on a line.
struct Offer {
    kind: Kind,
    /// Whether the argument stands without an option.
    is_word: bool,
    line: Arc<Line>,
}

impl ValueCompleter for Offer {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let line = &*self.line;
        if self.is_word && current.as_encoded_bytes().starts_with(b"-") {
            // The engine asks for what options can stand there, too.
            return Vec::new();
        }
        match self.kind {
            Kind::Machine => names::machines(line, current),
            Kind::Snapshot => names::snapshots(line, current),
            Kind::DiskOfMachine => names::disks(line, current),
            Kind::Image => images(line, current),
            Kind::MountOptions => mount_options(line, current),
            Kind::GuestPath => paths::guest(line, current),
            Kind::GuestPathsAndTarget if line.words == 0 => paths::guest(line, current),
            Kind::GuestPathsAndTarget => and_files(current, paths::guest(line, current)),
            Kind::SourceAndPoint if line.is_named || line.words > 0 => vec![stand_in(DIRECTORIES)],
            // Of many media the user has to give the beginning of one here, where verbs are offered too.
            Kind::SourceAndPoint if current.is_empty() => Vec::new(),
            Kind::SourceAndPoint => images(line, current),
            Kind::File => vec![stand_in(FILES)],
            Kind::Directory => vec![stand_in(DIRECTORIES)],
        }
    }
}

fn images(line: &Line, current: &OsStr) -> Vec<CompletionCandidate> {
    and_files(current, if is_path(current) { Vec::new() } else { names::media(line, current) })
}

/// These and the files of the current directory; any other directory is left to the shell.
fn and_files(current: &OsStr, mut found: Vec<CompletionCandidate>) -> Vec<CompletionCandidate> {
    if !is_path(current) {
        let files = PathCompleter::any().complete(current);
        found.extend(files.into_iter().filter(|file| file.get_value() != "."));
    }
    found.push(stand_in(FILES));
    found
}

/// Whether a word is not only a name.
fn is_path(word: &OsStr) -> bool {
    word.as_encoded_bytes().contains(&b'/')
        || word.as_encoded_bytes().starts_with(b".")
        || Path::new(word).is_absolute()
}

fn stand_in(id: &str) -> CompletionCandidate {
    CompletionCandidate::new("").id(Some(id.to_owned()))
}

/// Completes the last word of a list.
fn mount_options(line: &Line, current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(text) = current.to_str() else { return Vec::new() };
    let (before, word) = text.rfind(',').map_or(("", text), |at| text.split_at(at + 1));
    let found = match word.split_once('=') {
        Some(("vm", name)) => prefixed(names::machines(line, name.as_ref()), "vm="),
        Some(_) => Vec::new(),
        None => {
            let known = KNOWN_OPTIONS.split(", ").map(|option| option.split_inclusive('=').next().unwrap_or(option));
            known.filter(|option| option.starts_with(word)).map(CompletionCandidate::new).collect()
        }
    };
    prefixed(found, before)
}

fn prefixed(found: Vec<CompletionCandidate>, prefix: &str) -> Vec<CompletionCandidate> {
    found.into_iter().map(|one| one.add_prefix(prefix)).collect()
}
