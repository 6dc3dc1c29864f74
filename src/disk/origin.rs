//! Where the bytes of a disk come from, in terms that hold beyond the disk: two states of a disk are compared by it
//! without reading what they share.

use super::flat::Source;
use crate::crypt::Fingerprint;
use crate::image::Image;
use crate::storage::{FileIdentity, Storage};
use sha2::{Digest, Sha256};

/// Where bytes come from. Ranges of equal origin and length have equal bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    bytes: Bytes,
    /// The key that they are decrypted with, and the offset on the disk, on which the result depends.
    decrypted: Option<(Fingerprint, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bytes {
    /// Nowhere: they are zeros.
    Zero,
    /// A file, from an offset on.
    Stored { file: FileIdentity, offset: u64 },
    /// A compressed cluster of the image with this main file. Its decoded bytes depend on nothing else.
    Encoded { file: FileIdentity, cluster: u64, skip: u64, size: u64 },
    /// Decoded from bytes of other origins: the SHA-256 of all that decides the result.
    Derived([u8; 32]),
}

impl Origin {
    /// That of zeros.
    pub(crate) const ZERO: Self = Self { bytes: Bytes::Zero, decrypted: None };

    /// The origin of what is decrypted from bytes of this origin, which begin at `offset` of the disk.
    pub(super) fn decrypted(self, key: Fingerprint, offset: u64) -> Self {
        Self { decrypted: Some((key, offset)), ..self }
    }
}

impl Origin {
    /// The origin of the bytes that follow `by` bytes later; none where that cannot be told.
    fn advance(self, by: u64) -> Option<Self> {
        let bytes = match self.bytes {
            Bytes::Zero => Bytes::Zero,
            Bytes::Stored { file, offset } => Bytes::Stored { file, offset: offset.checked_add(by)? },
            Bytes::Encoded { .. } | Bytes::Derived(_) => return None,
        };
        Some(Self { bytes, decrypted: self.decrypted.map(|(key, offset)| (key, offset.saturating_add(by))) })
    }

    fn hash(self, hash: &mut Sha256) {
        let numbers: [u64; 5] = match self.bytes {
            Bytes::Zero => [0; 5],
            Bytes::Stored { file, offset } => [1, numbers(file).0, numbers(file).1, offset, 0],
            Bytes::Encoded { file, cluster, skip, size } => {
                hash.update(size.to_le_bytes());
                [2, numbers(file).0, numbers(file).1, cluster, skip]
            }
            Bytes::Derived(digest) => {
                hash.update(digest);
                [3, 0, 0, 0, 0]
            }
        };
        numbers.iter().for_each(|number| hash.update(number.to_le_bytes()));
        if let Some((key, offset)) = self.decrypted {
            hash.update(key.bytes());
            hash.update(offset.to_le_bytes());
        }
    }
}

fn numbers(file: FileIdentity) -> (u64, u64) {
    match file {
        FileIdentity::File { device, inode } => (device, inode),
        // No file system's device.
        FileIdentity::BlockDevice { number } => (u64::MAX, number),
    }
}

/// Puts together the origin of bytes that are decoded from others.
pub(crate) struct Derivation {
    hash: Sha256,
    /// What was added last: how it is cut depends on the chain of images, so ranges that continue each other are
    /// joined.
    last: Option<(Origin, u64)>,
}

impl Derivation {
    /// Of bytes that are decoded as these numbers say.
    #[must_use]
    pub(crate) fn new(how: &[u64]) -> Self {
        let mut hash = Sha256::new();
        how.iter().for_each(|number| hash.update(number.to_le_bytes()));
        Self { hash, last: None }
    }

    /// Adds `len` bytes that they are decoded from.
    pub(crate) fn add(&mut self, origin: Origin, len: u64) {
        match &mut self.last {
            Some((last, whole)) if last.advance(*whole) == Some(origin) => *whole += len,
            _ => {
                self.flush();
                self.last = Some((origin, len));
            }
        }
    }

    fn flush(&mut self) {
        if let Some((origin, len)) = self.last.take() {
            origin.hash(&mut self.hash);
            self.hash.update(len.to_le_bytes());
        }
    }

    /// The origin of the decoded bytes.
    #[must_use]
    pub(crate) fn finish(mut self) -> Origin {
        self.flush();
        Origin { bytes: Bytes::Derived(self.hash.finalize().into()), decrypted: None }
    }
}

/// The identities of the files of each link; none for what is no file of this machine.
pub(super) struct Identities(Vec<Vec<Option<FileIdentity>>>);

impl Identities {
    pub(super) fn of(links: &[Box<dyn Image>]) -> Self {
        let of_file = |file: &dyn Storage| file.local()?.metadata().ok().map(|metadata| FileIdentity::of(&metadata));
        Self(links.iter().map(|link| link.files().iter().map(|file| of_file(&**file)).collect()).collect())
    }

    fn file(&self, link: usize, file: usize) -> Option<FileIdentity> {
        *self.0.get(link)?.get(file)?
    }

    pub(super) fn origin(&self, source: Source) -> Option<Origin> {
        let bytes = match source {
            Source::Zero => Bytes::Zero,
            Source::Stored { link, file, offset } => Bytes::Stored { file: self.file(link, file)?, offset },
            Source::Encoded { link, cluster, skip, size } => {
                Bytes::Encoded { file: self.file(link, 0)?, cluster, skip, size }
            }
        };
        Some(Origin { bytes, decrypted: None })
    }
}
