//! AES-XTS over the 512-byte sectors of a disk, each by its index on the disk ("plain64"), and over wrapped keys.
//!
//! The mode is that of IEEE 1619-2007: a block is xored with its tweak before and after AES; a sector's first tweak is
//! its index, encrypted with the second key, and each following one is its predecessor doubled in GF(2^128). Blocks are
//! independent, so many are passed to the `aes` crate at once, which keeps the processor's AES units busy.

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};
use aes::{Aes128, Aes256, Block};
use sha2::{Digest, Sha256};

/// Bytes of a sector for the cipher, whatever the disk's own sector size is.
pub(crate) const SECTOR: usize = 512;
/// Bytes of a block of AES.
const BLOCK: usize = 16;
/// Units (sectors, or one wrapped key) that are done at once: with sectors, 256 blocks. AES with 512-bit registers
/// takes 64 at a time.
const BATCH: usize = 8;

/// The cipher of one disk.
pub(crate) struct SectorCipher {
    cipher: Cipher,
    fingerprint: Fingerprint,
}

/// The SHA-256 of a data encryption key: equal for ciphers that decrypt alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The digest.
    #[must_use]
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

enum Cipher {
    Aes128(Box<Xts<Aes128>>),
    Aes256(Box<Xts<Aes256>>),
}

impl Cipher {
    /// Two AES keys: of 16 bytes each, or of 32. `None` for another length.
    fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            32 => Xts::new(key).map(|xts| Self::Aes128(Box::new(xts))),
            64 => Xts::new(key).map(|xts| Self::Aes256(Box::new(xts))),
            _ => None,
        }
    }

    /// Decrypts units of `unit` bytes in place, the first one with the index `first`.
    fn decrypt(&self, bytes: &mut [u8], unit: usize, first: u64) {
        match self {
            Self::Aes128(xts) => xts.apply(bytes, unit, first, |aes, blocks| aes.decrypt_blocks(blocks)),
            Self::Aes256(xts) => xts.apply(bytes, unit, first, |aes, blocks| aes.decrypt_blocks(blocks)),
        }
    }

    /// Encrypts units of `unit` bytes in place, the first one with the index `first`.
    fn encrypt(&self, bytes: &mut [u8], unit: usize, first: u64) {
        match self {
            Self::Aes128(xts) => xts.apply(bytes, unit, first, |aes, blocks| aes.encrypt_blocks(blocks)),
            Self::Aes256(xts) => xts.apply(bytes, unit, first, |aes, blocks| aes.encrypt_blocks(blocks)),
        }
    }
}

/// The mode over one kind of AES. Both wipe their keys when dropped.
struct Xts<C> {
    data: C,
    tweak: C,
}

impl<C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit> Xts<C> {
    fn new(key: &[u8]) -> Option<Self> {
        let (data, tweak) = key.split_at(key.len() / 2);
        Some(Self { data: C::new_from_slice(data).ok()?, tweak: C::new_from_slice(tweak).ok()? })
    }

    /// Applies `aes` to units of `unit` bytes, which are whole blocks and at most a sector.
    fn apply(&self, bytes: &mut [u8], unit: usize, first: u64, aes: impl Fn(&C, &mut [Block])) {
        let unit = unit / BLOCK;
        let (blocks, _) = Block::slice_as_chunks_mut(bytes);
        let mut tweaks = [0; BATCH * SECTOR / BLOCK];
        for (batch, index) in blocks.chunks_mut(BATCH * unit).zip((first..).step_by(BATCH)) {
            self.fill(&mut tweaks, unit, index);
            xor(batch, &tweaks);
            aes(&self.data, batch);
            xor(batch, &tweaks);
        }
    }

    /// Computes the tweaks of a batch of units of `unit` blocks.
    fn fill(&self, tweaks: &mut [u128], unit: usize, first: u64) {
        let mut starts = [Block::default(); BATCH];
        for (start, index) in starts.iter_mut().zip(first..) {
            *start = u128::from(index).to_le_bytes().into();
        }
        self.tweak.encrypt_blocks(&mut starts);
        for (unit, start) in tweaks.chunks_exact_mut(unit).zip(starts) {
            let mut next = u128::from_le_bytes(start.into());
            for tweak in unit {
                *tweak = next;
                next = double(next);
            }
        }
    }
}

/// Multiplies by x modulo x^128 + x^7 + x^2 + x + 1, without a branch that would leak the key through its timing.
fn double(tweak: u128) -> u128 {
    (tweak << 1) ^ ((tweak >> 127).wrapping_neg() & 0x87)
}

fn xor(blocks: &mut [Block], tweaks: &[u128]) {
    for (block, tweak) in blocks.iter_mut().zip(tweaks) {
        *block = (u128::from_le_bytes((*block).into()) ^ tweak).to_le_bytes().into();
    }
}

impl SectorCipher {
    /// The cipher with a data encryption key of 32 bytes (AES-128) or 64 (AES-256); `None` for another length.
    #[must_use]
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        let fingerprint = Fingerprint(Sha256::digest(key).into());
        Cipher::new(key).map(|cipher| Self { cipher, fingerprint })
    }

    /// Tells whether another cipher has the same key.
    #[must_use]
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Decrypts whole sectors in place; `first` is the index of the first one on the disk.
    pub(crate) fn decrypt(&self, sectors: &mut [u8], first: u64) {
        self.cipher.decrypt(sectors, SECTOR, first);
    }

    /// Encrypts whole sectors in place; `first` is the index of the first one on the disk.
    pub(crate) fn encrypt(&self, sectors: &mut [u8], first: u64) {
        self.cipher.encrypt(sectors, SECTOR, first);
    }
}

/// Unwraps a key in place: AES-XTS with a zero tweak. Both keys have lengths that the key store's parser checked.
pub(super) fn unwrap_key(kek: &[u8], wrapped: &mut [u8]) {
    if let Some(cipher) = Cipher::new(kek) {
        let unit = wrapped.len();
        cipher.decrypt(wrapped, unit, 0);
    }
}
