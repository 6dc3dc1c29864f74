//! The options that say which disk, for the options' own command line and for verbs.

use crate::crypt::PasswordFile;
use crate::open::{Which, parse_time};
use clap::{ArgGroup, Args, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

const DISK: &str = "Which disk";

/// Which disk, and what it takes to open it.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").args(["image", "vm"]))]
#[command(group = ArgGroup::new("machine").args(["vm", "settings"]).multiple(true))]
pub(super) struct WhichDisk {
    /// The disk or snapshot: the UUID of a medium, the path of an image file, or the file name of a medium. A UUID may
    /// be cut to 4 digits or more. Chain specs (:iprtvfs:...) are in the manual
    #[arg(short, long, value_name = "DISK", value_hint = ValueHint::FilePath, help_heading = DISK)]
    pub(super) image: Option<OsString>,

    /// The machine that has the disk: its name or UUID. With --list alone, only this machine. A machine with several
    /// disks is mounted whole
    #[arg(long, value_name = "MACHINE", help_heading = DISK)]
    pub(super) vm: Option<String>,

    /// The snapshot of the machine: its name or UUID, or current. Of an image, the one that the file itself has, by its
    /// name or id (QCOW, Parallels)
    #[arg(long, value_name = "SNAPSHOT", help_heading = DISK)]
    snapshot: Option<String>,

    /// The newest snapshot of the machine at that time: 2026-11-23, 2026-11-23T13:49:19Z, "2 days ago"
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "vm",
          conflicts_with_all = ["snapshot", "image"], help_heading = DISK)]
    at: Option<SystemTime>,

    /// The disk of the machine: a number from 0, a slot as SATA-0-0, or the file name of its image or base. Without
    /// --vm, of the only machine of --settings
    #[arg(long, value_name = "DISK", requires = "machine", conflicts_with = "image", help_heading = DISK)]
    disk: Option<String>,

    /// The settings, instead of VirtualBox's own directory: a directory with VirtualBox.xml, a copied home or directory
    /// of machines, a single .vbox file, an appliance (.ova, .ovf, or a box of Vagrant), or a directory of images alone
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, help_heading = DISK)]
    pub(super) settings: Option<PathBuf>,

    /// Read this device where an image names it: a VMDK of a whole disk or of partitions
    #[arg(long = "allow-device", value_name = "PATH", value_hint = ValueHint::FilePath, requires = "which",
          help_heading = DISK)]
    pub(super) allowed_devices: Vec<PathBuf>,

    /// The password of an encrypted disk or machine is the first line of FILE; - is standard input, ID=FILE is for one
    /// key of several. Without it the terminal is asked
    #[arg(long = "password-file", value_name = "[ID=]FILE", value_hint = ValueHint::FilePath, help_heading = DISK)]
    pub(super) password_files: Vec<PasswordFile>,

    /// A file that images may name although it is neither next to them nor below their directory; may be repeated
    #[arg(long = "allow-file", value_name = "PATH", value_hint = ValueHint::FilePath, help_heading = DISK)]
    pub(super) allow_files: Vec<PathBuf>,
}

impl WhichDisk {
    /// Whether they name a disk or a machine.
    pub(super) fn is_named(&self) -> bool {
        self.image.is_some() || self.vm.is_some() || self.disk.is_some()
    }

    /// The disk that they name.
    pub(super) fn which(&self) -> Which {
        let Self { image, vm, snapshot, at, disk, .. } = self;
        Which { image: image.clone(), machine: vm.clone(), snapshot: snapshot.clone(), at: *at, disk: disk.clone() }
    }

    /// Whether they name a state.
    pub(super) fn is_of_state(&self) -> bool {
        self.snapshot.is_some() || self.at.is_some()
    }

    /// Whether they name a state or a disk of a machine, or of an image with snapshots of its own.
    pub(super) fn is_of_machine(&self) -> bool {
        self.is_of_state() || self.disk.is_some()
    }
}
