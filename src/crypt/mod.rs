//! The key stores and ciphers of disks and machines that VirtualBox encrypted.
//!
//! A key store holds the data encryption key (DEK), wrapped by a key that is derived from a password. Disks are
//! AES-XTS, sector by sector; a machine's settings are AES-GCM as a whole.

pub mod error;
pub mod keystore;
pub mod machine;
pub mod passwords;
pub mod sectors;
#[cfg(test)]
mod tests;

pub use error::{Error, Result};
pub use keystore::{Cipher, Key, KeyStore};
pub use machine::decrypt_machine;
pub use passwords::Passwords;
pub use sectors::{Fingerprint, SectorCipher};

pub(crate) use passwords::PasswordFile;
