//! AES-XTS over the 512-byte sectors of a disk, each by its number on the disk ("plain64"), and over wrapped keys.

use aes::cipher::KeyInit;
use aes::{Aes128, Aes256};
use xts_mode::{Xts128, get_tweak_default};

/// Bytes of a sector for the cipher, whatever the disk's own sector size is.
pub const SECTOR: usize = 512;

/// The cipher of one disk.
pub struct SectorCipher(Xts);

enum Xts {
    Aes128(Box<Xts128<Aes128>>),
    Aes256(Box<Xts128<Aes256>>),
}

impl Xts {
    /// Two AES keys: of 16 bytes each, or of 32. `None` for another length.
    fn new(key: &[u8]) -> Option<Self> {
        let (first, second) = key.split_at(key.len() / 2);
        match key.len() {
            32 => Some(Self::Aes128(Box::new(Xts128::new(
                Aes128::new_from_slice(first).ok()?,
                Aes128::new_from_slice(second).ok()?,
            )))),
            64 => Some(Self::Aes256(Box::new(Xts128::new(
                Aes256::new_from_slice(first).ok()?,
                Aes256::new_from_slice(second).ok()?,
            )))),
            _ => None,
        }
    }
}

impl SectorCipher {
    /// The cipher with a data encryption key of 32 bytes (AES-128) or 64 (AES-256); `None` for another length.
    #[must_use]
    pub fn new(key: &[u8]) -> Option<Self> {
        Xts::new(key).map(Self)
    }

    /// Decrypts whole sectors in place; `first` is the number of the first one on the disk.
    pub fn decrypt(&self, sectors: &mut [u8], first: u64) {
        let first = u128::from(first);
        match &self.0 {
            Xts::Aes128(xts) => xts.decrypt_area(sectors, SECTOR, first, get_tweak_default),
            Xts::Aes256(xts) => xts.decrypt_area(sectors, SECTOR, first, get_tweak_default),
        }
    }

    /// Encrypts whole sectors in place; `first` is the number of the first one on the disk.
    pub fn encrypt(&self, sectors: &mut [u8], first: u64) {
        let first = u128::from(first);
        match &self.0 {
            Xts::Aes128(xts) => xts.encrypt_area(sectors, SECTOR, first, get_tweak_default),
            Xts::Aes256(xts) => xts.encrypt_area(sectors, SECTOR, first, get_tweak_default),
        }
    }
}

/// Unwraps a key in place: AES-XTS with a zero tweak. Both keys have lengths that the key store's parser checked.
pub(super) fn unwrap_key(kek: &[u8], wrapped: &mut [u8]) {
    match Xts::new(kek) {
        Some(Xts::Aes128(xts)) => xts.decrypt_sector(wrapped, [0; 16].into()),
        Some(Xts::Aes256(xts)) => xts.decrypt_sector(wrapped, [0; 16].into()),
        None => {}
    }
}
