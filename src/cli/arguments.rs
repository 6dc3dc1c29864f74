//! The options as clap types.

use super::spelling;
use super::which::WhichDisk;
use crate::open::Which;
use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser, ValueHint};
use clap_complete::Shell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const WHAT: &str = "What to do";
const LISTS: &str = "Lists";
const MOUNTS: &str = "Mounts";

const USAGE: &str = "vboximg-mount --list [--vm MACHINE] [--settings PATH] [--wide] [--verbose] [--json] [--tree]
       vboximg-mount --list --image DISK
       vboximg-mount --image DISK [--rw] [OPTIONS] MOUNT_POINT
       vboximg-mount --vm MACHINE [--snapshot SNAPSHOT] [--disk DISK] [OPTIONS] MOUNT_POINT
       vboximg-mount DISK MOUNT_POINT [-o OPTION,...]
       vboximg-mount --unmount MOUNT_POINT
       vboximg-mount VERB --image DISK [OPTIONS] [PATH...]";

const EXAMPLES: &str =
    "Verbs, for which nothing is mounted (VERB --help has their options; PATH is what a mount with -g shows):
  ls [-lRa] [PATH...]         list files
  cat PATH...                 write their bytes to standard output
  cp [-rp] PATH... DIRECTORY  copy them to this host
  find [PATH...]              print the paths of those that meet conditions
  stat [PATH...]              show their attributes
  hash PATH...                print their SHA-256
  diff OLD [NEW] [PATH]       show what changed between two snapshots, media or image files
  history PATH                show what became of a file from snapshot to snapshot
  map [PATH] [RANGE]          show which image supplies which bytes
  check                       check the images, the partition table and the file systems
  browse                      look at all of it on the full screen; needs no --image

Examples:
  vboximg-mount -lw                          the machines with their disks and snapshots
  vboximg-mount -l -i disk.vdi               the volumes of a disk
  vboximg-mount -i 7b5a90ca-7739-47f6-9268-3dcc5d4d6fd1 /mnt/disk
                                             mount the disk or snapshot with this UUID
  vboximg-mount --vm alpine --snapshot clean /mnt/disk
                                             the same by names
  vboximg-mount cp -r -i disk.vdi fs0/etc .  copy a directory out of its first volume
  vboximg-mount -l --settings box.ova        the machines and disks of an appliance
  cp --sparse=always /mnt/disk/vhdd copy     copy the whole disk
  mount -o ro,loop /mnt/disk/vol0 /mnt/vol0  mount its first volume (as root)
  vboximg-mount -u /mnt/disk                 unmount it

MOUNT_POINT then holds the whole disk as vhdd, its volumes as vol0, vol1, ..., and a symbolic link to the image.
Nothing can be written without --rw.";

/// Reads and mounts VirtualBox disks and snapshots without VirtualBox
#[derive(Debug, Parser)]
#[command(
    name = "vboximg-mount",
    version,
    override_usage = USAGE,
    after_help = EXAMPLES,
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true,
    max_term_width = 100
)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub(super) struct Arguments {
    /// List machines with their disks and snapshots; with --image, the volumes of that disk
    #[arg(short, long, help_heading = WHAT)]
    pub(super) list: bool,

    /// Unmount, and return when what was written is durable
    #[arg(short, long, value_name = "MOUNT_POINT", value_hint = ValueHint::DirPath, help_heading = WHAT,
          conflicts_with_all = ["list", "which", "words"])]
    pub(super) unmount: Option<PathBuf>,

    /// Where to mount the disk: an empty directory. Without --image the disk is before it, as mount(8) and fstab have
    /// them
    #[arg(value_name = "MOUNT_POINT", num_args = 0..=2, value_hint = ValueHint::AnyPath, help_heading = WHAT,
          conflicts_with = "list")]
    words: Vec<OsString>,

    /// Print this help
    #[arg(short = 'h', short_alias = '?', long, action = ArgAction::Help, help_heading = WHAT)]
    help: Option<bool>,

    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = WHAT)]
    version: Option<bool>,

    #[command(flatten)]
    pub(super) which: WhichDisk,

    /// One line for each disk and snapshot
    #[arg(short, long, requires = "list", conflicts_with = "words", help_heading = LISTS)]
    pub(super) wide: bool,

    /// The snapshots of each machine as a tree, with the images that they have
    #[arg(long, requires = "list", conflicts_with_all = ["wide", "image", "words"], help_heading = LISTS)]
    pub(super) tree: bool,

    /// As JSON
    #[arg(long, requires = "list", conflicts_with_all = ["wide", "words"], help_heading = LISTS)]
    pub(super) json: bool,

    /// List more; or say on standard error what is found, locked and opened, and twice still more
    #[arg(short, long, action = ArgAction::Count, help_heading = LISTS)]
    pub(super) verbose: u8,

    /// Let writes through to the disk
    #[arg(long, help_heading = MOUNTS)]
    pub(super) rw: bool,

    /// Write although a parent was changed after its snapshot; read what is left of a corrupt image
    #[arg(long, help_heading = MOUNTS)]
    pub(super) force: bool,

    /// Show the file systems of the volumes too, as fs0, fs1, ...
    #[arg(short, long, help_heading = MOUNTS)]
    pub(super) guest_filesystem: bool,

    /// Let root use the mount too (-o allow_root)
    #[arg(long, help_heading = MOUNTS)]
    pub(super) root: bool,

    /// Mount options: allow_other, allow_root, nonempty, noexec, sync, ro, fsname=NAME, uid=N, gid=N, umask=OCTAL, and
    /// vm=, snapshot=, at=, disk= as the options of these names; those of fstab that concern others are taken, too
    #[arg(short, value_name = "OPTION,...", help_heading = MOUNTS)]
    pub(super) options: Vec<String>,

    /// Stay in the foreground until it is unmounted
    #[arg(short, long, help_heading = MOUNTS)]
    pub(super) foreground: bool,

    /// As -vv, with every request of the kernel, in the foreground
    #[arg(short, long, help_heading = MOUNTS)]
    pub(super) debug: bool,

    /// Print a completion script for a shell
    #[arg(long, value_name = "SHELL", hide = true, exclusive = true)]
    pub(super) completions: Option<Shell>,

    /// Whether this is the process that another one started for the background.
    #[arg(skip)]
    pub(super) in_background: bool,
}

/// What the options ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action<'a> {
    /// List the machines.
    ListMachines,
    /// List the volumes of a disk.
    ListVolumes,
    /// Mount disks.
    Mount { point: &'a Path },
    /// Unmount.
    Unmount { point: &'a Path },
    /// Print a completion script.
    Complete { shell: Shell },
}

impl Arguments {
    /// Parses the arguments of a run, of which the first is the program's name. Without any others, it is a call for
    /// help, as upstream has it.
    pub(super) fn parse_words(words: &[OsString]) -> Result<Self, clap::Error> {
        if words.len() < 2 {
            return Self::try_parse_from(["vboximg-mount", "-h"]);
        }
        Self::try_parse_from(spelling::modern(words))
    }

    /// Whether a disk is mounted by a process that stays in the background.
    pub(super) fn goes_to_background(&self) -> bool {
        matches!(self.action(), Ok(Action::Mount { .. })) && !self.foreground && !self.debug
    }

    /// The disk that they name.
    pub(super) fn which(&self) -> Which {
        let which = self.which.which();
        Which { image: which.image.or_else(|| self.source_word().cloned()), ..which }
    }

    /// What stands before the mount point, as mount(8) has it.
    pub(super) fn source_word(&self) -> Option<&OsString> {
        self.words.first().filter(|_| self.words.len() == 2)
    }

    /// What they ask for.
    pub(super) fn action(&self) -> Result<Action<'_>, clap::Error> {
        let missing = |what| Err(Self::command().error(ErrorKind::MissingRequiredArgument, what));
        if let Some(shell) = self.completions {
            return Ok(Action::Complete { shell });
        }
        if let Some(point) = &self.unmount {
            return Ok(Action::Unmount { point });
        }
        let word = |at: usize| self.words.get(at).map(OsString::as_os_str);
        let is_named = self.which.is_named();
        let of_machine = self.which.is_of_machine();
        match (is_named, word(0), word(1)) {
            (false, ..) if self.list && of_machine => {
                missing("whose snapshot? Give the disk with --image, or the machine with --vm")
            }
            _ if self.list && (self.which.image.is_some() || of_machine) => Ok(Action::ListVolumes),
            _ if self.list => Ok(Action::ListMachines),
            (true, Some(_), Some(_)) => {
                let message = "a disk is given twice: with --image or --vm, and before the mount point";
                Err(Self::command().error(ErrorKind::ArgumentConflict, message))
            }
            (true, Some(point), None) | (false, Some(_), Some(point)) => Ok(Action::Mount { point: Path::new(point) }),
            (true, None, _) => missing("where should the disk be mounted? Give a directory, or --list"),
            (false, Some(_), None) => {
                missing("which disk should be mounted? Give it with --image or --vm, or before the mount point")
            }
            (false, None, _) => missing("what should be done? Give --list, --image, --vm or --unmount"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let arguments = Arguments::parse_words(&words)?;
        arguments.action()?;
        Ok(arguments)
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn list_modifiers_combine_in_any_way() {
        for line in ["-lwv", "-l -w -v", "-vlw", "--wide --list -v", "-lvvw -l", "-lw -v -v"] {
            let arguments = parse(&format!("x {line}")).unwrap();
            let verbose = line.matches('v').count();
            assert_eq!(
                (arguments.list, arguments.wide, usize::from(arguments.verbose)),
                (true, true, verbose),
                "{line}"
            );
            assert_eq!(arguments.action().unwrap(), Action::ListMachines);
        }
    }

    #[test]
    fn image_in_all_spellings() {
        for line in ["-i a.vdi", "-ia.vdi", "-i=a.vdi", "--image a.vdi", "--image=a.vdi", "--imagea.vdi"] {
            let arguments = parse(&format!("x {line} /mnt")).unwrap();
            assert_eq!(arguments.action().unwrap(), Action::Mount { point: "/mnt".as_ref() }, "{line}");
            assert_eq!(arguments.which().image.as_deref(), Some("a.vdi".as_ref()), "{line}");
        }
    }

    #[test]
    fn takes_the_words_of_mount() {
        for line in ["a.vdi /mnt", "a.vdi /mnt -o ro,dev,suid", "-o rw a.vdi /mnt"] {
            let arguments = parse(&format!("x {line}")).unwrap();
            assert_eq!(arguments.action().unwrap(), Action::Mount { point: "/mnt".as_ref() }, "{line}");
            assert_eq!(arguments.which().image.as_deref(), Some("a.vdi".as_ref()), "{line}");
        }
    }

    #[test]
    fn old_spellings() {
        assert_eq!(parse("x -l -vm Alpha").unwrap().which.vm.as_deref(), Some("Alpha"));
        let arguments = parse("x -rw -root -i a /mnt -o ro,uid=1 -o gid=2").unwrap();
        assert!(arguments.rw && arguments.root);
        assert_eq!(arguments.options, ["ro,uid=1", "gid=2"]);
    }

    #[test]
    fn what_is_asked_for() {
        let asked = |line: &str, expected: Action<'_>| assert_eq!(parse(line).unwrap().action().unwrap(), expected);
        asked("x -l -i a", Action::ListVolumes);
        asked("x -u /mnt", Action::Unmount { point: "/mnt".as_ref() });
        asked("x --unmount=/mnt -v", Action::Unmount { point: "/mnt".as_ref() });
        asked("x --completions bash", Action::Complete { shell: Shell::Bash });
        asked("x -g -f -d --force -i a /mnt", Action::Mount { point: "/mnt".as_ref() });
    }

    #[test]
    fn help_and_version() {
        for (line, kind) in [
            ("x", ErrorKind::DisplayHelp),
            ("x -?", ErrorKind::DisplayHelp),
            ("x -h", ErrorKind::DisplayHelp),
            ("x -l --help", ErrorKind::DisplayHelp),
            ("x -V", ErrorKind::DisplayVersion),
            ("x --version", ErrorKind::DisplayVersion),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!((error.kind(), error.exit_code()), (kind, 0), "{line}");
        }
        let help = parse("x").unwrap_err().to_string();
        for part in ["Usage: vboximg-mount --list", "What to do:", "Mounts:", "--settings <PATH>", "Examples:"] {
            assert!(help.contains(part), "{part} is missing in {help}");
        }
        assert!(!help.contains("in-background") && !help.contains("completions"), "{help}");
    }

    #[test]
    fn senseless_lines_are_refused() {
        for line in [
            "-x",
            "-v",
            "-i a",
            "/mnt",
            "-w",
            "--json",
            "--vm a -i b /mnt",
            "-l /mnt",
            "-u /mnt -i a",
            "-u",
            "-l --json -w",
            "-i a /mnt /other",
            "a /mnt /other",
            "-l a /mnt",
            "-l --snapshot x",
            "--completions bash -l",
        ] {
            assert_eq!(parse(&format!("x {line}")).unwrap_err().exit_code(), 2, "{line}");
        }
        assert!(parse("x /mnt").unwrap_err().to_string().contains("Give it with --image"));
    }
}
