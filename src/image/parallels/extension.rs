//! The format extension: features that were added to the format later, among them dirty bitmaps. They do not affect the
//! disk's bytes unless flagged as necessary. From QEMU's `docs/interop/parallels.txt`.

use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;

/// `magic` of the extension's cluster.
const MAGIC: u64 = 0xAB23_4CEF_23DC_EA87;
/// Bytes before the first feature: the magic and an MD5 checksum.
const HEADER: usize = 24;
/// Bytes of a feature's header: magic, flags, data size, unused.
const FEATURE: usize = 24;
/// The feature of dirty bitmaps, which backup programs use.
const DIRTY_BITMAP: u64 = 0x2038_5FAE_252C_B34A;
/// `flags` of a feature without which the image must not be opened.
const NECESSARY: u64 = 1;

/// Bytes of the cluster that are examined: it begins with the features.
pub(super) const LOOKED_AT: usize = 64 << 10;

/// Checks that no necessary feature is unknown. `bytes` begin `at` bytes into the file.
///
/// # Errors
/// [`ParseError`].
pub(super) fn check(bytes: &[u8], at: u64) -> Result<(), ParseError> {
    let f = Fields::new("Parallels format extension", bytes, at);
    let magic = f.u64_le(0)?;
    if magic != MAGIC {
        let (expected, found) = (format!("{MAGIC:#018x}"), format!("{magic:#018x}"));
        return Err(ParseError::corrupt(at, "signature of the Parallels format extension", expected, found));
    }
    let mut position = HEADER;
    loop {
        let feature = f.u64_le(position)?;
        if feature == 0 {
            return Ok(());
        }
        let flags = f.u64_le(position + 8)?;
        if feature != DIRTY_BITMAP && flags & NECESSARY != 0 {
            return Err(ParseError::unsupported(
                f.offset(position),
                "necessary feature of the Parallels image",
                "dirty bitmaps",
                format_args!("{feature:#018x}"),
            ));
        }
        // Features begin at multiples of 8.
        let size = usize::try_from(f.u32_le(position + 16)?).unwrap_or(usize::MAX);
        position = position.saturating_add(FEATURE).saturating_add(size).saturating_add(7) & !7;
    }
}
