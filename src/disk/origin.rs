//! Where the bytes of a disk come from, in terms that hold beyond the disk: two states of a disk are compared by it
//! without reading what they share.

use super::flat::Source;
use crate::crypt::Fingerprint;
use crate::image::Image;
use crate::storage::{FileIdentity, Storage};

/// Where bytes come from. Ranges of equal origin and length have equal bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
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
}

impl Origin {
    /// That of zeros.
    pub const ZERO: Self = Self { bytes: Bytes::Zero, decrypted: None };

    /// The origin of what is decrypted from bytes of this origin, which begin at `offset` of the disk.
    pub(super) fn decrypted(self, key: Fingerprint, offset: u64) -> Self {
        Self { decrypted: Some((key, offset)), ..self }
    }
}

/// The identities of the files of each link; none for what is no file of this machine.
pub(super) struct Identities(Vec<Vec<Option<FileIdentity>>>);

impl Identities {
    pub(super) fn of(links: &[Box<dyn Image>]) -> Self {
        let of_file = |file: &dyn Storage| file.local()?.metadata().ok().map(|metadata| FileIdentity::of(&metadata));
        let of_link = |link: &Box<dyn Image>| link.files().iter().map(|file| of_file(&**file)).collect();
        Self(links.iter().map(of_link).collect())
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
