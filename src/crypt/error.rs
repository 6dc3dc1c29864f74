//! Errors of encrypted disks and machines. No message ever contains a password or a key.

use crate::error_kind::ErrorKind;

/// A failure to open something encrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No password was given for a key.
    #[error("{what} is encrypted with the key {key_id:?}; give its password with --password-file FILE")]
    NoPassword {
        /// The disk or machine.
        what: String,
        /// The id of the key, which VirtualBox shows to the user.
        key_id: String,
    },
    /// A password file cannot be read.
    #[error("Cannot read the password file {} for the key {key_id:?}: {reason}", path.display())]
    PasswordFile {
        /// The file; `-` is standard input.
        path: std::path::PathBuf,
        /// The id of the key.
        key_id: String,
        /// Why.
        reason: String,
    },
    /// The password does not open the key store.
    #[error(
        "The password for the key {key_id:?} of {what} is wrong; the whole first line of a password file counts, blanks included"
    )]
    WrongPassword {
        /// The disk or machine.
        what: String,
        /// The id of the key.
        key_id: String,
    },
    /// The key store breaks the rules of its format.
    #[error(
        "The key store of {what} is corrupt: {field} at byte {offset}: expected {expected}, found {found}; restore \
             the settings file from a backup"
    )]
    KeyStore {
        /// The disk or machine.
        what: String,
        /// The field.
        field: String,
        /// Bytes from the start of the decoded key store.
        offset: u64,
        /// What would have been right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The key store asks for a cipher or amount of work that is not supported.
    #[error("The key store of {what} cannot be used: {field} at byte {offset}: expected {expected}, found {found}")]
    Unsupported {
        /// The disk or machine.
        what: String,
        /// The field.
        field: String,
        /// Bytes from the start of the decoded key store.
        offset: u64,
        /// What is supported.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The encrypted settings of a machine were changed or cut: the cipher's check failed.
    #[error("The encrypted settings of {what} are corrupt: {reason}; restore the settings file from a backup")]
    Tampered {
        /// The machine.
        what: String,
        /// How that is seen.
        reason: String,
    },
}

impl Error {
    /// The id of the key whose right password is missing.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        match self {
            Self::NoPassword { key_id, .. }
            | Self::PasswordFile { key_id, .. }
            | Self::WrongPassword { key_id, .. } => Some(key_id),
            Self::KeyStore { .. } | Self::Unsupported { .. } | Self::Tampered { .. } => None,
        }
    }

    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoPassword { .. } | Self::PasswordFile { .. } | Self::WrongPassword { .. } => ErrorKind::Password,
            Self::KeyStore { .. } | Self::Tampered { .. } => ErrorKind::Corrupt,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
        }
    }
}

/// The result of an operation here.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
