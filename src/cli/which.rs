//! The options that say which disk, for the options' own command line and for verbs.

use crate::crypt::PasswordFile;
use clap::{Args, ValueHint};
use std::ffi::OsString;
use std::path::PathBuf;

const DISK: &str = "Which disk";

/// Which disk, and what it takes to open it.
#[derive(Debug, Args)]
pub(super) struct WhichDisk {
    /// The disk or snapshot: the UUID of a medium, or the path of an image file
    #[arg(short, long, value_name = "DISK", value_hint = ValueHint::FilePath, help_heading = DISK)]
    pub(super) image: Option<OsString>,

    /// The settings, instead of VirtualBox's own directory: a directory with VirtualBox.xml, a copied home or directory of
    /// machines, or a single .vbox file
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, help_heading = DISK)]
    pub(super) settings: Option<PathBuf>,

    /// The snapshot that the image file itself has, by its name or id (QCOW, Parallels)
    #[arg(long, value_name = "NAME", help_heading = DISK)]
    pub(super) snapshot: Option<String>,

    /// Read this device where an image names it: a VMDK of a whole disk or of partitions
    #[arg(long = "allow-device", value_name = "PATH", value_hint = ValueHint::FilePath, requires = "image",
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
