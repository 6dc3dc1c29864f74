//! The key stores and ciphers of disks and machines that VirtualBox encrypted.
//!
//! A key store holds the data encryption key (DEK), wrapped by a key that is derived from a password. Disks are
//! AES-XTS, sector by sector; a machine's settings are AES-GCM as a whole.

pub(crate) mod error;
pub(crate) mod keystore;
pub(crate) mod machine;
pub(crate) mod passwords;
pub(crate) mod sectors;
#[cfg(test)]
mod tests;

pub(crate) use error::{Error, Result};
pub(crate) use keystore::{Cipher, Key, KeyStore};
pub(crate) use machine::decrypt_machine;
pub use passwords::Passwords;
pub(crate) use sectors::{Fingerprint, SectorCipher};

pub(crate) use passwords::PasswordFile;
