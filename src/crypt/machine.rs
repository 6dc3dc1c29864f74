//! The settings of a machine that VirtualBox encrypted whole: the text of `MachineEncrypted`.

use super::keystore::decode_base64;
use super::{Error, Result};
use aes_gcm::aead::{AeadInOut, KeyInit, Nonce, Tag};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use uuid::Uuid;
use zeroize::Zeroizing;

/// Bytes of the initialization vector, at the start.
const IV: usize = 12;
/// Bytes of the authentication tag, which stands before the text.
const TAG: usize = 16;

/// Decrypts the base64 text of `MachineEncrypted` with the key of its key store: an XML document whose root is
/// `Machine`. `what` names the machine for messages.
///
/// # Errors
/// [`Error::Tampered`] when the text was changed or cut, or is of another machine.
pub(crate) fn decrypt_machine(text: &str, key: &[u8], uuid: Uuid, what: &str) -> Result<Zeroizing<Vec<u8>>> {
    let tampered = |reason: String| Error::Tampered { what: what.to_owned(), reason };
    let bytes = decode_base64(text, usize::MAX)
        .map_err(|found| tampered(format!("expected base64 in MachineEncrypted, found {found}")))?;
    let cut = || tampered(format!("expected at least {} bytes in MachineEncrypted, found {}", IV + TAG, bytes.len()));
    let (iv, rest) = bytes.split_at_checked(IV).ok_or_else(cut)?;
    let (tag, data) = rest.split_at_checked(TAG).ok_or_else(cut)?;
    let mut plain = Zeroizing::new(data.to_vec());
    // The machine's UUID is authenticated with the text, so that one machine's settings do not pass for another's.
    let about = uuid.to_bytes_le();
    let opened = match key.len() {
        16 => open::<Aes128Gcm>(key, iv, tag, &about, &mut plain),
        32 => open::<Aes256Gcm>(key, iv, tag, &about, &mut plain),
        _ => None,
    };
    opened.ok_or_else(|| tampered("the authentication tag does not fit the text and the machine's UUID".to_owned()))?;
    Ok(plain)
}

fn open<C: AeadInOut + KeyInit>(key: &[u8], iv: &[u8], tag: &[u8], about: &[u8], data: &mut [u8]) -> Option<()> {
    let iv: &Nonce<C> = iv.try_into().ok()?;
    let tag: &Tag<C> = tag.try_into().ok()?;
    C::new_from_slice(key).ok()?.decrypt_inout_detached(iv, about, data.into(), tag).ok()
}
