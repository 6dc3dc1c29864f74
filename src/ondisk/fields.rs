//! Reading the fields of on-disk structures by name and offset, without ever running past the bytes.

use crate::ondisk::ParseError;
use uuid::Uuid;

/// A structure's bytes and where they begin in their file, so that a cause can name the offset.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    base: u64,
    name: &'static str,
}

macro_rules! number {
    ($name:ident, $type:ty, $from:ident, $doc:literal) => {
        #[doc = $doc]
        ///
        /// # Errors
        /// [`ParseError`] when the field lies past the end of the bytes.
        pub(crate) fn $name(&self, at: usize) -> Result<$type, ParseError> {
            let mut raw = [0; size_of::<$type>()];
            raw.copy_from_slice(self.bytes(at, size_of::<$type>())?);
            Ok(<$type>::$from(raw))
        }
    };
}

impl<'a> Fields<'a> {
    /// `bytes` of the structure called `name`, which begin `base` bytes into their file.
    #[must_use]
    pub(crate) fn new(name: &'static str, bytes: &'a [u8], base: u64) -> Self {
        Self { bytes, base, name }
    }

    /// Where in the file the byte `at` of the structure is.
    #[must_use]
    pub(crate) fn offset(&self, at: usize) -> u64 {
        self.base.saturating_add(at as u64)
    }

    /// How many bytes there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The `len` bytes from `at` on.
    ///
    /// # Errors
    /// [`ParseError`] when they run past the end of the structure.
    pub(crate) fn bytes(&self, at: usize, len: usize) -> Result<&'a [u8], ParseError> {
        at.checked_add(len).and_then(|end| self.bytes.get(at..end)).ok_or_else(|| {
            ParseError::corrupt(
                self.base,
                self.name,
                format_args!("at least {} bytes", at.saturating_add(len)),
                format_args!("{} bytes", self.bytes.len()),
            )
        })
    }

    /// The byte at `at`.
    ///
    /// # Errors
    /// [`ParseError`] when it lies past the end of the bytes.
    pub(crate) fn u8(&self, at: usize) -> Result<u8, ParseError> {
        Ok(self.bytes(at, 1)?[0])
    }

    number!(u16_le, u16, from_le_bytes, "The little-endian 16-bit number at `at`.");
    number!(u32_le, u32, from_le_bytes, "The little-endian 32-bit number at `at`.");
    number!(u64_le, u64, from_le_bytes, "The little-endian 64-bit number at `at`.");
    number!(u16_be, u16, from_be_bytes, "The big-endian 16-bit number at `at`.");
    number!(u32_be, u32, from_be_bytes, "The big-endian 32-bit number at `at`.");
    number!(u64_be, u64, from_be_bytes, "The big-endian 64-bit number at `at`.");

    /// The UUID at `at` in the memory layout of VirtualBox's `RTUUID` (and of Microsoft's GUID): the first three
    /// fields little-endian.
    ///
    /// # Errors
    /// [`ParseError`] when it lies past the end of the bytes.
    pub(crate) fn uuid_le(&self, at: usize) -> Result<Uuid, ParseError> {
        let mut raw = [0; 16];
        raw.copy_from_slice(self.bytes(at, 16)?);
        Ok(Uuid::from_bytes_le(raw))
    }

    /// The text at `at`, up to its first zero byte or `len` bytes; what is not UTF-8 is replaced.
    ///
    /// # Errors
    /// [`ParseError`] when it lies past the end of the bytes.
    pub(crate) fn text(&self, at: usize, len: usize) -> Result<String, ParseError> {
        let raw = self.bytes(at, len)?;
        let end = raw.iter().position(|b| *b == 0).unwrap_or(raw.len());
        Ok(String::from_utf8_lossy(&raw[..end]).into_owned())
    }
}
