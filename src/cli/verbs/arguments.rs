//! The verbs and their options as clap types. A verb is one only as the first word, so that what the other command line
//! takes stays as it was.

use super::diff::DiffArguments;
use super::history::HistoryArguments;
use super::values;
use crate::cli::which::WhichDisk;
use crate::open;
use crate::verbs::SizeTest;
use crate::view::Kind;
use clap::error::ErrorKind;
use clap::{ArgAction, Args, Command, CommandFactory, Parser, Subcommand, ValueHint};
use globset::GlobMatcher;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::SystemTime;

const PATHS: &str = "PATH is what a mount with -g shows: vhdd, vol0, fs0/etc/hostname. Without any, the top is meant.";

const MAPPED: &str =
    "PATH is what a mount with -g shows: vhdd, vol0, fs0/etc/hostname. RANGE counts bytes; K, M, G, T are powers
of 1024: 0+64K, 1M-2M. What a range holds: data or compressed data in a file, zeros, unused (no image has it, which
reads as zeros), and in a guest's file a hole, or what its file system decodes.";

/// The command line that begins with a verb
#[derive(Debug, Parser)]
#[command(name = "vboximg-mount", disable_version_flag = true, disable_help_subcommand = true, max_term_width = 100)]
pub(in crate::cli) struct VerbLine {
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
#[command(args_override_self = true)]
pub(super) enum Verb {
    /// List the files of a disk without mounting it
    #[command(after_help = PATHS)]
    Ls {
        #[command(flatten)]
        common: Common,
        /// With modes, links, owners, sizes, times (UTC) and link targets
        #[arg(short)]
        long: bool,
        /// Directories within directories, too
        #[arg(short = 'R', long)]
        recursive: bool,
        /// Names that begin with a dot, too
        #[arg(short, long)]
        all: bool,
        /// As JSON, with all attributes
        #[arg(long)]
        json: bool,
        /// What to list
        #[arg(value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Write the bytes of files to standard output
    #[command(after_help = PATHS)]
    Cat {
        #[command(flatten)]
        common: Common,
        /// Begin at this byte of each file; K, M, G, T are powers of 1024
        #[arg(long, value_name = "BYTES", value_parser = values::bytes, default_value = "0", hide_default_value = true)]
        offset: u64,
        /// So many bytes of each file at most
        #[arg(long, value_name = "BYTES", value_parser = values::bytes)]
        length: Option<u64>,
        /// The files
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
    },
    /// Copy files to a directory of this host, with times, modes, links and holes
    #[command(after_help = PATHS, override_usage = "vboximg-mount cp [OPTIONS] --image <DISK> <PATH>... <DIRECTORY>")]
    Cp {
        #[command(flatten)]
        common: Common,
        /// Directories with all in them; links are copied as links
        #[arg(short, short_alias = 'R', long)]
        recursive: bool,
        /// Keep owners and extended attributes too, and as root copy devices, pipes and sockets
        #[arg(short, long)]
        preserve: bool,
        /// The files, and the directory of this host that they are copied to; for one file it may be a new name
        #[arg(value_name = "PATH", required = true, num_args = 2.., value_hint = ValueHint::AnyPath)]
        words: Vec<PathBuf>,
    },
    /// Print the paths of files that meet all conditions
    #[command(after_help = PATHS)]
    Find {
        #[command(flatten)]
        common: Common,
        /// Its name matches: * any text, ? any character, [a-z] one of these, {a,b} either. Also as -name
        #[arg(long, value_name = "GLOB", value_parser = values::glob)]
        name: Option<GlobMatcher>,
        /// It is a file (f), directory (d), link (l), device (b, c), pipe (p) or socket (s); several with commas. Also
        /// as -type
        #[arg(long = "type", value_name = "KIND", value_delimiter = ',', value_parser = values::kind)]
        kinds: Vec<Kind>,
        /// It was modified after TIME: 2024-01-31, "2024-01-31 12:00:00" (UTC), or 2days ago. Also as -newer
        #[arg(long, value_name = "TIME", value_parser = values::time)]
        newer: Option<SystemTime>,
        /// Its size: 4k rounded up is 4 KiB, +4k more, -4k less; c is bytes, k, M, G; none is 512 bytes. Also as -size
        #[arg(long, value_name = "N", value_parser = values::size, allow_hyphen_values = true)]
        size: Option<SizeTest>,
        /// Where to look
        #[arg(value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Show what changed between two states of a disk: which files, or which ranges of bytes
    #[command(after_help = super::diff::STATES,
              override_usage = "vboximg-mount diff [OPTIONS] [--vm <MACHINE>] <OLD> [NEW] [PATH]")]
    Diff(DiffArguments),
    /// Show what became of a file from snapshot to snapshot of a machine
    #[command(after_help = PATHS, override_usage = "vboximg-mount history [OPTIONS] --vm <MACHINE> <PATH>")]
    History(HistoryArguments),
    /// Show which image of the chain supplies which bytes of the disk, or of a file on it, and where they are in its
    /// file
    #[command(after_help = MAPPED, override_usage = "vboximg-mount map [OPTIONS] --image <DISK> [PATH] [RANGE]")]
    Map {
        #[command(flatten)]
        common: Common,
        /// As JSON, with the fields of qemu-img map and disk_offset
        #[arg(long)]
        json: bool,
        /// What to map (vhdd, the whole disk, without), and which bytes of it: OFFSET+LENGTH or OFFSET-END
        #[arg(value_name = "PATH|RANGE", num_args = 0..=2)]
        words: Vec<PathBuf>,
    },
    /// Show the attributes of files
    #[command(after_help = PATHS)]
    Stat {
        #[command(flatten)]
        common: Common,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// The files
        #[arg(value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Check the images of a disk, its partition table and file systems, and say what reading gives where they are
    /// corrupt
    Check {
        #[command(flatten)]
        common: Common,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Browse machines, snapshots, disks and files on the full screen; ? there shows the keys
    Browse {
        #[command(flatten)]
        common: Common,
    },
    /// Print the SHA-256 of files, as sha256sum does
    #[command(after_help = PATHS)]
    Hash {
        #[command(flatten)]
        common: Common,
        /// The files
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
    },
}

/// What all verbs have.
#[derive(Debug, Args)]
pub(super) struct Common {
    #[command(flatten)]
    pub(super) which: WhichDisk,

    /// Read what is left of a corrupt image
    #[arg(long)]
    pub(super) force: bool,

    /// Say on standard error what is found, locked and opened; twice still more
    #[arg(short, long, action = ArgAction::Count)]
    pub(super) verbose: u8,
}

impl Verb {
    pub(super) fn common(&self) -> &Common {
        match self {
            Self::Diff(arguments) => &arguments.common,
            Self::History(arguments) => &arguments.common,
            Self::Check { common, .. }
            | Self::Ls { common, .. }
            | Self::Map { common, .. }
            | Self::Cat { common, .. }
            | Self::Cp { common, .. }
            | Self::Find { common, .. }
            | Self::Stat { common, .. }
            | Self::Browse { common }
            | Self::Hash { common, .. } => common,
        }
    }

    /// What is wrong with the words together.
    fn mistake(&self) -> Option<(ErrorKind, &'static str)> {
        let which = &self.common().which;
        if let Self::Diff(arguments) = self {
            let of_states = which
                .is_of_state()
                .then_some((ErrorKind::ArgumentConflict, "OLD and NEW name the states; leave --snapshot and --at out"));
            return of_states.or_else(|| Some((ErrorKind::MissingRequiredArgument, arguments.mistake()?)));
        }
        if let (Self::History(_), None) = (self, &which.vm) {
            return Some((ErrorKind::MissingRequiredArgument, "which machine? Give it with --vm"));
        }
        let is_spec = which.image.as_deref().is_some_and(open::is_chain_spec);
        if let (Self::Map { .. }, true) = (self, is_spec) {
            return Some((ErrorKind::ArgumentConflict, "map does not follow chain specs; name the image itself"));
        }
        let is_named = which.is_named() || matches!(self, Self::Browse { .. });
        (!is_named).then_some((ErrorKind::MissingRequiredArgument, "which disk? Give it with --image or --vm"))
    }

    /// The paths of the view; the top where none are given.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let mapped;
        let paths: &[PathBuf] = match self {
            Self::Map { words, .. } => {
                mapped = [values::path_and_range(words).0];
                &mapped
            }
            Self::Ls { paths, .. }
            | Self::Cat { paths, .. }
            | Self::Find { paths, .. }
            | Self::Stat { paths, .. }
            | Self::Hash { paths, .. } => paths,
            // They open what they need by themselves.
            Self::Browse { .. } | Self::Check { .. } | Self::Diff(_) | Self::History(_) => &[],
            Self::Cp { words, .. } => words.split_last().map_or(&[], |(_, paths)| paths),
        };
        if paths.is_empty() { vec![PathBuf::new()] } else { paths.iter().map(|path| from_top(path)).collect() }
    }
}

/// A path without what stands for the top: `/`, `.` and `./`.
pub(super) fn from_top(path: &std::path::Path) -> PathBuf {
    use std::path::Component;
    let mut parts = path.components();
    while matches!(parts.clone().next(), Some(Component::RootDir | Component::CurDir)) {
        parts.next();
    }
    let rest = parts.as_path();
    // Whoever ends a path so means what a link leads to.
    let ends_open = path.as_os_str().as_encoded_bytes().ends_with(b"/") && !rest.as_os_str().is_empty();
    if ends_open { rest.join("") } else { rest.to_owned() }
}

/// Whether the first word of a command line is a verb.
pub(in crate::cli) fn begins_with_verb(words: &[OsString]) -> bool {
    let first = words.get(1).and_then(|word| word.to_str());
    first.is_some_and(|first| VerbLine::command().get_subcommands().any(|verb| verb.get_name() == first))
}

/// The words as clap takes them: the conditions of find(1) with two dashes.
pub(in crate::cli) fn modern(words: &[OsString]) -> Vec<OsString> {
    let is_find = words.get(1).is_some_and(|verb| verb == "find");
    let modern = |word: &OsString| match word.to_str() {
        Some("-name" | "-type" | "-newer" | "-size") if is_find => [OsStr::new("-"), word].into_iter().collect(),
        _ => word.clone(),
    };
    words.iter().map(modern).collect()
}

/// Parses a command line that begins with a verb.
pub(super) fn parse(words: &[OsString]) -> Result<VerbLine, clap::Error> {
    let line = VerbLine::try_parse_from(modern(words))?;
    if let Verb::Map { words: mapped, .. } = &line.verb
        && let Err(message) = values::check_path_and_range(mapped)
    {
        return Err(command_of(words).error(ErrorKind::ValueValidation, message));
    }
    if let Some((kind, message)) = line.verb.mistake() {
        return Err(command_of(words).error(kind, message));
    }
    Ok(line)
}

/// The verb of a command line, for messages with its usage.
fn command_of(words: &[OsString]) -> Command {
    let mut command = VerbLine::command();
    command.build();
    let own = words.get(1).and_then(|verb| verb.to_str()).and_then(|verb| command.find_subcommand_mut(verb));
    own.map_or_else(VerbLine::command, |own| own.clone())
}
