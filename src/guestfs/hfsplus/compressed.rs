//! Files compressed by macOS. The attribute `com.apple.decmpfs` names the method and holds the bytes of small files;
//! those of others are in the resource fork, in blocks of 64 KiB. The layout is documented in Apple's `decmpfs.h`
//! (<https://github.com/apple-oss-distributions/xnu/blob/main/bsd/sys/decmpfs.h>) and the documentation of libfsapfs
//! (<https://github.com/libyal/libfsapfs/blob/main/documentation/>); its numbers are little-endian.

use super::HfsPlus;
use super::catalog::Item;
use super::source::Owned;
use crate::guestfs::foreign::guarded;
use crate::guestfs::{Error, Result};
use crate::ondisk::ParseError;
use crate::ondisk::fields::Fields;
use std::io::{self, Read};
use std::sync::Arc;

/// The attribute, and `compression_magic` in it.
pub(super) const ATTRIBUTE: &str = "com.apple.decmpfs";
const MAGIC: &[u8; 4] = b"fpmc";
const HEADER: usize = 16;
/// Bytes in a decompressed block.
pub(super) const BLOCK: u64 = 64 << 10;
/// The most bytes in a compressed block: the block itself and a marker.
const MAX_COMPRESSED: u32 = (64 << 10) + 4096;
/// The largest file that is decompressed from the attribute, all at once.
const MAX_INLINE: u64 = 4 << 20;
/// The most blocks in a file: its resource fork is limited to 4 GiB.
const MAX_BLOCKS: u64 = 1 << 18;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Plain,
    Zlib,
    Lzvn,
    Lzfse,
}

/// The compression of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compressed {
    /// `compression_type`; unknown ones are refused when bytes are read.
    kind: u32,
    /// `uncompressed_size`.
    pub(super) size: u64,
}

impl Compressed {
    /// Parses the attribute; `None` when it is something else, which macOS ignores.
    fn parse(raw: &[u8]) -> Option<Self> {
        let f = Fields::new(ATTRIBUTE, raw, 0);
        if !raw.starts_with(MAGIC) {
            return None;
        }
        Some(Self { kind: f.u32_le(4).ok()?, size: f.u64_le(8).ok()? })
    }

    /// The method, and whether the bytes are in the resource fork.
    fn method(self) -> Option<(Method, bool)> {
        Some(match self.kind {
            1 => (Method::Plain, false),
            3 => (Method::Zlib, false),
            4 => (Method::Zlib, true),
            7 => (Method::Lzvn, false),
            8 => (Method::Lzvn, true),
            9 => (Method::Plain, false),
            10 => (Method::Plain, true),
            11 => (Method::Lzfse, false),
            12 => (Method::Lzfse, true),
            _ => return None,
        })
    }

    /// Whether the resource fork belongs to the compression rather than to the user.
    pub(super) fn in_resource_fork(self) -> bool {
        self.method().is_none_or(|(_, resource)| resource)
    }
}

/// Offset and length of each block in the resource fork.
pub(super) type Table = Vec<(u64, u32)>;

impl HfsPlus {
    /// The compression of a file that the catalog marks as compressed.
    pub(super) fn compressed(&self, item: &Item) -> Result<Option<Compressed>> {
        if !item.compressed {
            return Ok(None);
        }
        Ok(self.attribute(item.id, ATTRIBUTE)?.and_then(|raw| Compressed::parse(&raw)))
    }

    /// Fills `buf` with the bytes of a compressed file from `offset` on.
    pub(super) fn decompress(&self, item: &Item, encoded: Compressed, offset: u64, buf: &mut [u8]) -> Result<()> {
        let (method, resource) = encoded.method().ok_or_else(|| {
            Error::Unsupported(format!("file {} is compressed with the unknown method {}", item.id, encoded.kind))
        })?;
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > encoded.size) {
            let what = format!("size of the compressed file {}", item.id);
            return Err(ParseError::corrupt(item.at, what, format_args!("above {offset}"), encoded.size).into());
        }
        let unit = if resource { BLOCK } else { encoded.size.max(1) };
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let block = at / unit;
            let key = (item.id, block);
            let bytes = self.decompressed.get_or_insert_with(&key, || {
                let len = unit.min(encoded.size - block * unit);
                let raw = if resource { self.compressed_block(item, method, block)? } else { self.inline(item, len)? };
                let mut out = vec![0; usize::try_from(len).unwrap_or(0)];
                guarded(|| {
                    method.decompress(&raw, &mut out).map_err(|e| {
                        let what = format!("block {block} of the compressed file {}", item.id);
                        Error::from(ParseError::corrupt(
                            item.at,
                            what,
                            format_args!("{len} bytes packed by {method:?}"),
                            e,
                        ))
                    })
                })?;
                Ok::<Arc<[u8]>, crate::guestfs::Error>(out.into())
            })?;
            let skip = usize::try_from(at % unit).unwrap_or(0);
            let now = (bytes.len() - skip).min(buf.len() - done);
            buf[done..done + now].copy_from_slice(&bytes[skip..skip + now]);
            done += now;
        }
        Ok(())
    }

    /// The compressed bytes in the attribute.
    fn inline(&self, item: &Item, len: u64) -> Result<Vec<u8>> {
        if len > MAX_INLINE {
            let what = format!("size of the compressed file {}", item.id);
            return Err(ParseError::corrupt(item.at, what, format_args!("at most {MAX_INLINE}"), len).into());
        }
        let raw = self.attribute(item.id, ATTRIBUTE)?.unwrap_or_default();
        Ok(raw.get(HEADER..).unwrap_or_default().to_vec())
    }

    /// The compressed bytes of a block in the resource fork.
    fn compressed_block(&self, item: &Item, method: Method, block: u64) -> Result<Vec<u8>> {
        let table = self.tables.get_or_insert_with(&item.id, || self.table(item, method).map(Arc::new))?;
        let entry = usize::try_from(block).ok().and_then(|block| table.get(block).copied());
        let (start, len) = entry.filter(|(_, len)| *len <= MAX_COMPRESSED).ok_or_else(|| {
            let what = format!("table of the compressed file {}", item.id);
            Error::from(ParseError::corrupt(
                item.at,
                what,
                format_args!("block {block} of at most {MAX_COMPRESSED} bytes"),
                "none",
            ))
        })?;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.read_fork(resource_fork(item), start, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads the table of blocks. That of zlib is in the first resource; the others are at the start of the fork.
    fn table(&self, item: &Item, method: Method) -> Result<Table> {
        let fork = resource_fork(item);
        let bad = |found: String| {
            let what = format!("table of the compressed file {}", item.id);
            let expected = format!("one within the resource fork of {} bytes", item.resource.size);
            Error::from(ParseError::corrupt(item.at, what, expected, found))
        };
        let number = |at: u64, big: bool| -> Result<u32> {
            let mut raw = [0; 4];
            self.read_fork(fork, at, &mut raw)?;
            Ok(if big { u32::from_be_bytes(raw) } else { u32::from_le_bytes(raw) })
        };
        let read = |at: u64, len: u64| -> Result<Vec<u32>> {
            if len > MAX_BLOCKS * 8 || at.saturating_add(len) > item.resource.size {
                return Err(bad(format!("{len} bytes from {at} on")));
            }
            let mut raw = vec![0; usize::try_from(len).unwrap_or(0)];
            self.read_fork(fork, at, &mut raw)?;
            Ok(raw.as_chunks::<4>().0.iter().map(|raw| u32::from_le_bytes(*raw)).collect())
        };
        if method == Method::Zlib {
            // The offset of the resources, where the length of the first one is; block offsets count from after the
            // length.
            let base = u64::from(number(0, true)?) + 4;
            let count = number(base, false)?;
            let pairs = read(base + 4, u64::from(count) * 8)?;
            return Ok(pairs.as_chunks::<2>().0.iter().map(|[start, len]| (base + u64::from(*start), *len)).collect());
        }
        // The first offset is also the end of the table.
        let end = number(0, false)?;
        let offsets = read(0, end.into())?;
        let ranges = offsets.windows(2).map(|pair| {
            let len =
                pair[1].checked_sub(pair[0]).ok_or_else(|| bad(format!("a block from {} to {}", pair[0], pair[1])))?;
            Ok((u64::from(pair[0]), len))
        });
        ranges.collect()
    }
}

pub(super) fn resource_fork(item: &Item) -> Owned<'_> {
    Owned { fork: &item.resource, resource: true, file: item.id }
}

impl Method {
    /// Decompresses a block into all of `out`. Each method has a marker for bytes that did not get smaller and are
    /// stored as they are.
    fn decompress(self, raw: &[u8], out: &mut [u8]) -> io::Result<()> {
        let plain = match (self, raw.first()) {
            (Self::Zlib, Some(marker)) if marker & 0x0F == 0x0F => raw.get(1..),
            (Self::Lzvn, Some(0x06)) | (Self::Lzfse, Some(0xFF)) | (Self::Plain, Some(0xCC)) => raw.get(1..),
            (Self::Plain, _) => Some(raw),
            _ => None,
        };
        if let Some(plain) = plain {
            let bytes = plain.get(..out.len()).ok_or_else(|| io::Error::other(format!("{} bytes", plain.len())))?;
            out.copy_from_slice(bytes);
            return Ok(());
        }
        match self {
            Self::Zlib => flate2::bufread::ZlibDecoder::new(raw).read_exact(out),
            Self::Lzvn => {
                // The decoder expects the block header and end that LZVN has within LZFSE.
                let len = |len: usize| u32::try_from(len).map_err(io::Error::other);
                let mut whole = b"bvxn".to_vec();
                whole.extend(len(out.len())?.to_le_bytes());
                whole.extend(len(raw.len())?.to_le_bytes());
                whole.extend(raw);
                whole.extend(b"bvx$");
                lzfse_rust::LzfseRingDecoder::default().reader_bytes(&whole).read_exact(out)
            }
            Self::Lzfse | Self::Plain => lzfse_rust::LzfseRingDecoder::default().reader_bytes(raw).read_exact(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decompresses_every_method() {
        let text: Vec<u8> = (0..9000).map(|i| format!("line {}\n", i / 7)).collect::<String>().into_bytes();
        let mut out = vec![0; text.len()];
        let mut marked = vec![0xFF];
        marked.extend(&text);
        Method::Zlib.decompress(&marked, &mut out).unwrap();
        assert_eq!(out, text);
        marked[0] = 6;
        out.fill(0);
        Method::Lzvn.decompress(&marked, &mut out).unwrap();
        assert_eq!(out, text);
        assert!(Method::Lzvn.decompress(&marked[..100], &mut out).is_err());
        let mut encoded = Vec::new();
        lzfse_rust::LzfseEncoder::default().encode_bytes(&text, &mut encoded).unwrap();
        out.fill(0);
        Method::Lzfse.decompress(&encoded, &mut out).unwrap();
        assert_eq!(out, text);
        assert!(Method::Lzfse.decompress(&encoded, &mut vec![0; text.len() + 1]).is_err());
        // A small text is compressed with LZVN, and its block has no header on the volume.
        let small = &text[..300];
        let mut encoded = Vec::new();
        lzfse_rust::LzfseEncoder::default().encode_bytes(small, &mut encoded).unwrap();
        assert!(encoded.starts_with(b"bvxn"));
        let mut out = vec![0; small.len()];
        Method::Lzvn.decompress(&encoded[12..encoded.len() - 4], &mut out).unwrap();
        assert_eq!(out, small);
    }
}
