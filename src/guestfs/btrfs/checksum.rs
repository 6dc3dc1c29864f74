//! The checksums of metadata and data (`csum_type` of the superblock,
//! <https://btrfs.readthedocs.io/en/latest/Checksumming.html>).

use blake2::Blake2b256;
use sha2::{Digest, Sha256};
use std::fmt;
use twox_hash::XxHash64;

/// Room for the longest checksum.
const FIELD: usize = 32;

/// One of the algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    /// CRC-32C, the default.
    Crc32c,
    /// xxHash of 64 bits.
    Xxhash,
    /// SHA-256.
    Sha256,
    /// BLAKE2b of 256 bits.
    Blake2b,
}

/// A checksum's bytes, as they are stored; those that the algorithm does not use are zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Sum([u8; FIELD]);

impl Sum {
    /// One that is stored.
    pub(super) fn stored(bytes: &[u8]) -> Self {
        let mut sum = [0; FIELD];
        let len = bytes.len().min(FIELD);
        sum[..len].copy_from_slice(&bytes[..len]);
        Self(sum)
    }

    /// Its first `size` bytes.
    pub(super) fn bytes(&self, size: usize) -> &[u8] {
        &self.0[..size.min(FIELD)]
    }

    /// Whether it is the one that is stored in these bytes.
    pub(super) fn is(&self, stored: &[u8]) -> bool {
        self.0.starts_with(stored)
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Checksum {
    /// The algorithm of a `csum_type`.
    pub(super) fn of_type(number: u16) -> Option<Self> {
        Some(match number {
            0 => Self::Crc32c,
            1 => Self::Xxhash,
            2 => Self::Sha256,
            3 => Self::Blake2b,
            _ => return None,
        })
    }

    /// Bytes that a checksum takes.
    pub(super) fn size(self) -> usize {
        match self {
            Self::Crc32c => 4,
            Self::Xxhash => 8,
            Self::Sha256 | Self::Blake2b => 32,
        }
    }

    /// The checksum of bytes.
    pub(super) fn of(self, bytes: &[u8]) -> Sum {
        match self {
            Self::Crc32c => Sum::stored(&crc32c::crc32c(bytes).to_le_bytes()),
            Self::Xxhash => Sum::stored(&XxHash64::oneshot(0, bytes).to_le_bytes()),
            Self::Sha256 => Sum::stored(&Sha256::digest(bytes)),
            Self::Blake2b => Sum::stored(&Blake2b256::digest(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_those_that_other_programs_compute() {
        // CRC-32C and xxHash as published for this text, the others as sha256sum and b2sum -l 256 print them.
        for (algorithm, sum) in [
            (Checksum::Crc32c, "839206e300000000"),
            (Checksum::Xxhash, "83aee640db41b88c"),
            (Checksum::Sha256, "15e2b0d3c33891eb"),
            (Checksum::Blake2b, "16e0bf1f85594a11"),
        ] {
            assert_eq!(algorithm.of(b"123456789").to_string(), sum, "{algorithm:?}");
        }
    }
}
