//! The part of a command line that is before the cursor: which command it is, and the values that it has already.

use super::{Arguments, VerbLine, begins_with_verb};
use crate::cli::spelling;
use crate::cli::verbs;
use crate::crypt::Passwords;
use crate::open::{Lookup, Which};
use crate::registry::Registry;
use crate::storage::Allowed;
use clap::{Arg, ArgMatches, Command, CommandFactory};
use std::any::Any;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

/// The words with today's spelling, in which the definitions have them.
pub(super) fn modern(words: &[OsString]) -> Vec<OsString> {
    if begins_with_verb(words) { verbs::modern(words) } else { spelling::modern(words) }
}

/// The definition of the command that the words begin.
pub(super) fn command(words: &[OsString]) -> Command {
    if begins_with_verb(words) { VerbLine::command() } else { Arguments::command() }
}

/// The id of the words of which the last one is something else.
const WORDS: &str = "words";

/// What a line says of the disk that is meant.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// The disk.
    pub(super) which: Which,
    /// Whether a disk is named by an option, so that the words are none.
    pub(super) is_named: bool,
    /// How many words there are already, where the last one is something else than those before it.
    pub(super) words: usize,
    settings: Option<PathBuf>,
    allow_files: Vec<PathBuf>,
    /// Devices that images may name.
    pub(super) allow_devices: Vec<PathBuf>,
    /// Read what is left of a corrupt image.
    pub(super) force: bool,
}

impl Line {
    /// Reads what the words say, as far as they can be understood.
    pub(super) fn new(words: &[OsString]) -> Self {
        // Of words that are too few yet, the parser would keep none.
        let begun = |arg: Arg| if arg.get_id() == WORDS { arg.num_args(0..) } else { arg };
        let command = command(words).mut_args(begun).mut_subcommands(|verb| verb.mut_args(begun));
        let matches = command.ignore_errors(true).try_get_matches_from(words).unwrap_or_default();
        let matches = matches.subcommand().map_or(&matches, |(_, of_verb)| of_verb);
        let which = Which {
            image: one(matches, "image"),
            machine: one(matches, "vm"),
            snapshot: one(matches, "snapshot"),
            at: one::<SystemTime>(matches, "at"),
            disk: one(matches, "disk"),
        };
        Self {
            is_named: which.image.is_some() || which.machine.is_some(),
            which,
            words: matches.try_get_raw(WORDS).ok().flatten().map_or(0, Iterator::count),
            settings: one(matches, "settings"),
            allow_files: all(matches, "allow_files"),
            allow_devices: all(matches, "allowed_devices"),
            force: one(matches, "force").unwrap_or_default(),
        }
    }

    /// Where the line says that disks are looked for. No password is used: to try one takes long, and nobody can be
    /// asked.
    pub(super) fn lookup(&self) -> Option<Lookup> {
        let allowed = Allowed::new(&self.allow_files).ok()?;
        Some(Lookup { settings: self.settings.clone(), allowed, passwords: Passwords::default() })
    }

    /// The registry that the line means.
    pub(super) fn registry(&self) -> Option<Registry> {
        self.lookup()?.registry(None).ok()
    }
}

/// The value of an argument, if the command has one of that id and the line gives it.
fn one<T: Any + Clone + Send + Sync>(matches: &ArgMatches, id: &str) -> Option<T> {
    matches.try_get_one::<T>(id).ok().flatten().cloned()
}

fn all<T: Any + Clone + Send + Sync>(matches: &ArgMatches, id: &str) -> Vec<T> {
    let values = matches.try_get_many::<T>(id).ok().flatten();
    values.map(|values| values.cloned().collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line::new(&modern(&text.split(' ').map(OsString::from).collect::<Vec<_>>()))
    }

    #[test]
    fn understands_what_is_there_of_an_unfinished_line() {
        for text in
            ["x --vm A --snapshot", "x cat --vm A", "x cat --vm A fs0/x --snapshot", "x -vm A -o", "x ls --vm=A -R"]
        {
            assert_eq!(line(text).which.machine.as_deref(), Some("A"), "{text}");
        }
        let long = line("x find --settings /s --vm A --snapshot B --disk 0 --force --allow-file /f --name");
        assert_eq!(long.settings, Some("/s".into()));
        assert_eq!((long.which.snapshot.as_deref(), long.which.disk.as_deref()), (Some("B"), Some("0")));
        assert!(long.force && long.is_named && long.allow_files == [PathBuf::from("/f")]);
        assert!(!line("x --settings /s --vm").is_named);
        let words = |text: &str| line(text).words;
        assert_eq!(
            [words("x"), words("x a.vdi"), words("x cp -i a"), words("x cp fs0/a -i a"), words("x cp a b")],
            [0, 1, 0, 1, 2]
        );
    }
}
