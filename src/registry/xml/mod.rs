//! VirtualBox's settings files: bytes in, plain data out. Nothing here opens a file.
//!
//! The elements and attributes are those that VirtualBox's own reader knows (`src/VBox/Main/xml/Settings.cpp`), for
//! the settings versions 1.2 to 1.21 (VirtualBox 1.5 to 7.2). Where an element moved between versions it is accepted
//! at its old and its new position, whatever the version is.

mod attachments;
mod encoding;
mod global;
mod machine;
mod media;
mod ovf;
mod reader;

pub(super) use global::{Global, parse_global};
pub(super) use machine::{ParsedMachine, parse_decrypted, parse_machine};
pub(super) use media::ParsedMedium;
pub(super) use ovf::{OvfDisk, OvfFile, OvfItem, OvfSystem, ParsedAppliance, parse_appliance};

use super::Error;
use crate::crypt;
use std::path::Path;
use uuid::Uuid;

/// What is wrong with a settings file, before it is known which file: parsers take bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ParseError {
    /// The XML is not well-formed, or an attribute has a value that is not allowed.
    Broken {
        /// The line, from 1.
        line: usize,
        expected: String,
        found: String,
    },
    /// Right, but of a kind that cannot be read.
    Unsupported(String),
    /// The machine is encrypted as a whole.
    Encrypted(Box<Encrypted>),
}

/// `MachineEncrypted`, which replaces `Machine`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Encrypted {
    pub(super) uuid: Uuid,
    pub(super) key_id: String,
    /// The key store in base64.
    pub(super) key_store: String,
    /// The `Machine` element as a document of its own, encrypted, in base64.
    pub(super) text: String,
    /// The settings version of the file, as written.
    pub(super) version: String,
}

impl ParseError {
    /// The error that names the file too.
    pub(super) fn in_file(self, path: &Path) -> Error {
        let path = path.to_path_buf();
        match self {
            Self::Broken { line, expected, found } => Error::Settings { path, line, expected, found },
            Self::Unsupported(reason) => Error::Unsupported { path, reason },
            Self::Encrypted(encrypted) => {
                let what = path.display().to_string();
                crypt::Error::NoPassword { what, key_id: encrypted.key_id }.into()
            }
        }
    }
}

type Result<T> = std::result::Result<T, ParseError>;

/// A settings version such as 1.19: the release that wrote the file, or the oldest that can read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) major: u32,
    pub(super) minor: u32,
}

impl Version {
    /// VirtualBox 1.5, the first whose files are read.
    const OLDEST: Self = Self { major: 1, minor: 2 };
    /// VirtualBox 3.1: all that is attached is in `StorageControllers`.
    const ONE_STORAGE_SECTION: Self = Self { major: 1, minor: 9 };
    /// VirtualBox 4.0: each machine has a directory of its own.
    pub(super) const MACHINE_DIRECTORIES: Self = Self { major: 1, minor: 11 };

    /// Reads `1.19-linux`; what follows the numbers does not matter.
    fn parse(text: &str) -> Option<Self> {
        let (major, rest) = text.split_once('.')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        Some(Self { major: major.parse().ok()?, minor: rest[..digits].parse().ok()? })
    }
}

/// Reads a UUID as VirtualBox writes and accepts it: with hyphens, in any case, with or without braces.
pub(super) fn parse_uuid(text: &str) -> Option<Uuid> {
    let bare = text.strip_prefix('{').map_or(Some(text), |rest| rest.strip_suffix('}'))?;
    // Without hyphens it is as likely the name of a file.
    if bare.len() == 36 { Uuid::try_parse(bare).ok() } else { None }
}

/// As [`parse_uuid`], for what is no name of anything: without hyphens too.
pub(super) fn parse_bare_uuid(text: &str) -> Option<Uuid> {
    parse_uuid(text).or_else(|| if text.len() == 32 { Uuid::try_parse(text).ok() } else { None })
}

#[cfg(test)]
mod tests;
