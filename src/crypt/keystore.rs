//! VirtualBox's key stores: version 1 of disks (property `CRYPT/KeyStore` of the base medium) and version 2 of machines
//! (attribute `keyStore` of `MachineEncrypted`). The field names are our own, as none are published; the layout was
//! derived from files by VirtualBox 7.2.22. All numbers are little-endian.

use super::sectors::unwrap_key;
use super::{Error, Result};
use crate::ondisk::fields::Fields;
use crate::ondisk::{ParseError, ParseErrorKind};
use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine as _};
use hmac::{EagerHash, Hmac};
use pbkdf2::pbkdf2;
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

/// "SCNE".
const MAGIC: u32 = 0x454E_4353;
/// Bytes of a decoded store of version 1, which is packed.
const SIZE_1: usize = 250;
/// Bytes of a decoded store of version 2, whose numbers are aligned.
const SIZE_2: usize = 252;
/// The largest base64 text that is decoded: a store is under 400 characters.
const MAX_TEXT: usize = 4096;
/// Rounds of PBKDF2 that a store may ask for. VirtualBox calibrates to a quarter of a second, about two million on a
/// fast machine; this many take half a minute.
pub(crate) const MAX_ITERATIONS: u32 = 100_000_000;

/// A secret that is wiped from memory when dropped.
pub(crate) type Key = Zeroizing<Vec<u8>>;

/// The hash of the key derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kdf {
    /// `PBKDF2-SHA1`.
    Sha1,
    /// `PBKDF2-SHA256`, what VirtualBox writes.
    Sha256,
    /// `PBKDF2-SHA512`.
    Sha512,
}

/// What the data encryption key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cipher {
    /// `AES-XTS128-PLAIN64` or `AES-XTS256-PLAIN64`: disks.
    Xts,
    /// `AES-GCM128` or `AES-GCM256`: settings.
    Gcm,
    /// `AES-CTR128` or `AES-CTR256`: logs.
    Ctr,
}

impl Cipher {
    /// Which ciphers are of this kind, for messages.
    fn purpose(self) -> &'static str {
        match self {
            Self::Xts => "one for disks (AES-XTS)",
            Self::Gcm => "one for settings (AES-GCM)",
            Self::Ctr => "one for logs (AES-CTR)",
        }
    }
}

/// A parsed key store. It holds nothing secret by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyStore {
    /// What the key is for.
    pub cipher: Cipher,
    /// Bits of AES: 128 or 256.
    pub bits: usize,
    kdf: Kdf,
    /// The digest of the key, by which a wrong password is known.
    digest: Vec<u8>,
    digest_salt: [u8; 32],
    digest_iterations: u32,
    wrap_salt: [u8; 32],
    wrap_iterations: u32,
    /// The key, wrapped by AES-XTS.
    wrapped: Vec<u8>,
    what: String,
}

/// Where the fields are.
struct Layout {
    cipher: usize,
    kdf: usize,
    key_size: usize,
    digest: usize,
    digest_size: usize,
    digest_salt: usize,
    digest_iterations: usize,
    wrap_salt: usize,
    wrap_iterations: usize,
    wrapped_size: usize,
    wrapped: usize,
}

const VERSION_1: Layout = Layout {
    cipher: 6,
    kdf: 38,
    key_size: 70,
    digest: 74,
    digest_size: 106,
    digest_salt: 110,
    digest_iterations: 142,
    wrap_salt: 146,
    wrap_iterations: 178,
    wrapped_size: 182,
    wrapped: 186,
};

const VERSION_2: Layout = Layout {
    cipher: 8,
    kdf: 40,
    key_size: 72,
    digest: 76,
    digest_size: 108,
    digest_salt: 112,
    digest_iterations: 144,
    wrap_salt: 148,
    wrap_iterations: 180,
    wrapped_size: 184,
    wrapped: 188,
};

impl KeyStore {
    /// Parses the text of a key store: base64 with line ends. Its key must be for `wanted`; `what` names the disk or
    /// machine for messages.
    ///
    /// # Errors
    /// [`Error::KeyStore`], [`Error::Unsupported`].
    pub(crate) fn parse(text: &str, wanted: Cipher, what: &str) -> Result<Self> {
        let bytes = decode_base64(text, MAX_TEXT).map_err(|found| Error::KeyStore {
            what: what.to_owned(),
            field: "base64 text".to_owned(),
            offset: 0,
            expected: format!("base64 of {SIZE_1} or {SIZE_2} bytes"),
            found,
        })?;
        Self::from_bytes(&bytes, wanted, what).map_err(|cause| {
            let ParseError { kind, what: field, offset, expected, found } = cause;
            let what = what.to_owned();
            match kind {
                ParseErrorKind::Corrupt => Error::KeyStore { what, field, offset, expected, found },
                ParseErrorKind::Unsupported => Error::Unsupported { what, field, offset, expected, found },
            }
        })
    }

    fn from_bytes(bytes: &[u8], wanted: Cipher, what: &str) -> Result<Self, ParseError> {
        let f = Fields::new("key store", bytes, 0);
        let magic = f.u32_le(0)?;
        if magic != MAGIC {
            return Err(ParseError::corrupt(
                0,
                "magic number",
                format_args!("{MAGIC:#010x}"),
                format_args!("{magic:#010x}"),
            ));
        }
        let (at, size) = match f.u16_le(4)? {
            0x0100 => (&VERSION_1, SIZE_1),
            0x0200 => (&VERSION_2, SIZE_2),
            other => {
                return Err(ParseError::unsupported(4, "version", "0x0100 or 0x0200", format_args!("{other:#06x}")));
            }
        };
        if bytes.len() != size {
            return Err(ParseError::corrupt(
                0,
                "size",
                format_args!("{size} bytes"),
                format_args!("{} bytes", bytes.len()),
            ));
        }
        let name = f.text(at.cipher, 32)?;
        let (cipher, bits) = cipher(&name, at.cipher)?;
        if cipher != wanted {
            return Err(ParseError::corrupt(at.cipher as u64, "cipher", wanted.purpose(), format_args!("{name:?}")));
        }
        let kdf = kdf(&f.text(at.kdf, 32)?, at.kdf)?;
        let key_size = key_size(cipher, bits);
        // XTS has two AES keys; what VirtualBox states of other ciphers is the size of their one key.
        let sized = |name: &str, at: usize, low: usize, high: usize| {
            let found = f.u32_le(at)?;
            let size = usize::try_from(found).ok().filter(|size| [low, high].contains(size));
            let allowed = if low == high { low.to_string() } else { format!("{low} or {high}") };
            size.ok_or_else(|| ParseError::corrupt(at as u64, name, allowed, found))
        };
        sized("key size", at.key_size, key_size, kek_size(bits))?;
        let digest_size = sized("digest size", at.digest_size, 20, 32)?;
        let wrapped_size = sized("size of the wrapped key", at.wrapped_size, key_size, key_size)?;
        let salt = |at: usize| -> Result<[u8; 32], ParseError> {
            let mut salt = [0; 32];
            salt.copy_from_slice(f.bytes(at, 32)?);
            Ok(salt)
        };
        Ok(Self {
            cipher,
            bits,
            kdf,
            digest: f.bytes(at.digest, digest_size)?.to_vec(),
            digest_salt: salt(at.digest_salt)?,
            digest_iterations: iterations(&f, at.digest_iterations)?,
            wrap_salt: salt(at.wrap_salt)?,
            wrap_iterations: iterations(&f, at.wrap_iterations)?,
            wrapped: f.bytes(at.wrapped, wrapped_size)?.to_vec(),
            what: what.to_owned(),
        })
    }

    /// The data encryption key.
    ///
    /// # Errors
    /// [`Error::WrongPassword`], naming `key_id`.
    pub(crate) fn unlock(&self, password: &[u8], key_id: &str) -> Result<Key> {
        let kek = self.kdf.derive(password, &self.wrap_salt, self.wrap_iterations, kek_size(self.bits));
        let mut key = Key::new(self.wrapped.clone());
        unwrap_key(&kek, &mut key);
        let digest = self.kdf.derive(&key, &self.digest_salt, self.digest_iterations, self.digest.len());
        if *digest != self.digest {
            return Err(Error::WrongPassword { what: self.what.clone(), key_id: key_id.to_owned() });
        }
        Ok(key)
    }
}

impl Kdf {
    /// Derives a key of `size` bytes.
    pub(super) fn derive(self, secret: &[u8], salt: &[u8], iterations: u32, size: usize) -> Key {
        match self {
            Self::Sha1 => derive::<Sha1>(secret, salt, iterations, size),
            Self::Sha256 => derive::<Sha256>(secret, salt, iterations, size),
            Self::Sha512 => derive::<Sha512>(secret, salt, iterations, size),
        }
    }
}

/// Decodes base64 that may be broken into lines; the error says what is wrong.
pub(super) fn decode_base64(text: &str, limit: usize) -> Result<Vec<u8>, String> {
    if text.len() > limit {
        return Err(format!("a text of {} characters", text.len()));
    }
    let text: String = text.split_ascii_whitespace().collect();
    STANDARD.decode(&text).map_err(|e| match e {
        DecodeError::InvalidByte(at, byte) => format!("{:?} as character {at}", char::from(byte)),
        DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => {
            format!("{} characters, which do not end a group of four", text.len())
        }
        DecodeError::InvalidLastSymbol { .. } => "bits beyond the last byte".to_owned(),
    })
}

/// Bytes of the data encryption key.
fn key_size(cipher: Cipher, bits: usize) -> usize {
    if cipher == Cipher::Xts { bits / 4 } else { bits / 8 }
}

/// Bytes of the key that wraps it, always for AES-XTS.
fn kek_size(bits: usize) -> usize {
    bits / 4
}

fn cipher(name: &str, at: usize) -> Result<(Cipher, usize), ParseError> {
    Ok(match name {
        "AES-XTS128-PLAIN64" => (Cipher::Xts, 128),
        "AES-XTS256-PLAIN64" => (Cipher::Xts, 256),
        "AES-GCM128" => (Cipher::Gcm, 128),
        "AES-GCM256" => (Cipher::Gcm, 256),
        "AES-CTR128" => (Cipher::Ctr, 128),
        "AES-CTR256" => (Cipher::Ctr, 256),
        other => {
            let known = "AES-XTS128-PLAIN64, AES-XTS256-PLAIN64, AES-GCM128 or 256, AES-CTR128 or 256";
            return Err(ParseError::unsupported(at as u64, "cipher", known, format_args!("{other:?}")));
        }
    })
}

fn kdf(name: &str, at: usize) -> Result<Kdf, ParseError> {
    Ok(match name {
        "PBKDF2-SHA1" => Kdf::Sha1,
        "PBKDF2-SHA256" => Kdf::Sha256,
        "PBKDF2-SHA512" => Kdf::Sha512,
        other => {
            let known = "PBKDF2-SHA1, PBKDF2-SHA256 or PBKDF2-SHA512";
            return Err(ParseError::unsupported(at as u64, "key derivation", known, format_args!("{other:?}")));
        }
    })
}

fn iterations(f: &Fields<'_>, at: usize) -> Result<u32, ParseError> {
    let count = f.u32_le(at)?;
    if (1..=MAX_ITERATIONS).contains(&count) {
        return Ok(count);
    }
    Err(ParseError::unsupported(at as u64, "iterations", format_args!("1 to {MAX_ITERATIONS}"), count))
}

fn derive<D: EagerHash>(secret: &[u8], salt: &[u8], iterations: u32, size: usize) -> Key
where
    Hmac<D>: hmac::KeyInit + hmac::Mac + Clone + Sync,
{
    let mut key = Key::new(vec![0; size]);
    // HMAC takes keys of any length, so this cannot fail.
    let _ = pbkdf2::<Hmac<D>>(secret, salt, iterations, &mut key);
    key
}
