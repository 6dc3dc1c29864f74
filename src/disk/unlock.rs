//! Unlocking encrypted disks with the passwords that the user gives.

use super::{Decrypted, Disk};
use crate::crypt::{self, Cipher, KeyStore, Passwords, SectorCipher};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The properties of a base medium that make its disk an encrypted one.
const KEY_STORE: &str = "CRYPT/KeyStore";
const KEY_ID: &str = "CRYPT/KeyId";

/// The disk as its guest sees it: decrypted when the properties of its base medium have a key store, else as it is.
/// `what` names it for messages.
///
/// # Errors
/// [`crypt::Error`]: no password or a wrong one, a key store that is corrupt or of an unknown kind.
pub(crate) fn unlock_disk(
    disk: Arc<dyn Disk>,
    properties: &BTreeMap<String, String>,
    what: &str,
    passwords: &Passwords,
) -> crypt::Result<Arc<dyn Disk>> {
    let Some(store) = properties.get(KEY_STORE) else { return Ok(disk) };
    let key_id = properties.get(KEY_ID).map_or("", String::as_str);
    let store = KeyStore::parse(store, Cipher::Xts, what)?;
    let key = store.unlock(&passwords.get(what, key_id)?, key_id)?;
    let cipher = SectorCipher::new(&key).ok_or_else(|| crypt::Error::KeyStore {
        what: what.to_owned(),
        field: "cipher".to_owned(),
        offset: 0,
        expected: "a key of 32 or 64 bytes".to_owned(),
        found: format!("{} bytes", key.len()),
    })?;
    Ok(Arc::new(Decrypted::new(disk, cipher)))
}
