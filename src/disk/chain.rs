//! The chain as one flat disk: reading.

use super::budget::{Budget, Taken};
use super::cluster::Cluster;
use super::flat::{Chunk, Flat, REGION, Source, merge, resolve};
use super::origin::Identities;
use super::slice::check_range;
use super::write::WriteState;
use super::{Allocation, Disk, Error, FileRange, Origin, Result};
use crate::image::{Image, ImageMut, MAX_CLUSTER};
use crate::ondisk::ParseError;
use crate::storage;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use std::sync::{Arc, OnceLock};

/// Bytes of clusters that are decoded at once, by all readers together; a larger one is decoded alone.
const DECODING: u64 = 16 << 20;
/// Bytes of decoded clusters cached in memory.
const DECODED: u64 = 16 << 20;
/// How many clusters that cache is laid out for.
const DECODED_CLUSTERS: usize = 256;

#[derive(Clone)]
struct ByLength;

impl Weighter<(usize, u64), Arc<Cluster>> for ByLength {
    fn weight(&self, _cluster: &(usize, u64), bytes: &Arc<Cluster>) -> u64 {
        64 + bytes.len() as u64
    }
}

/// A chain of images, merged.
pub(crate) struct ChainDisk {
    /// Leaf first.
    pub(super) links: Vec<Box<dyn Image>>,
    pub(super) size: u64,
    pub(super) flat: Flat,
    pub(super) write: WriteState,
    decoding: Budget,
    decoded: Cache<(usize, u64), Arc<Cluster>, ByLength>,
    /// Of the files, once somebody asks where bytes come from.
    identities: OnceLock<Identities>,
    warnings: Vec<String>,
}

impl ChainDisk {
    /// A disk of these images, leaf first, which fit each other. `warnings` are what the user should know of them, a
    /// sentence each. Writable when the leaf has a [`writer`](Image::writer).
    ///
    /// # Panics
    /// Without any image.
    #[must_use]
    pub(crate) fn new(links: Vec<Box<dyn Image>>, warnings: Vec<String>) -> Self {
        let size = links[0].info().size;
        // In one go, so that a large cluster finds space in it.
        let options = OptionsBuilder::new()
            .estimated_items_capacity(DECODED_CLUSTERS)
            .weight_capacity(DECODED)
            .shards(1)
            .build()
            .expect("both capacities are given");
        Self {
            links,
            size,
            flat: Flat::new(),
            write: WriteState::default(),
            decoding: Budget::new(DECODING),
            decoded: Cache::with_options(options, ByLength, DefaultHashBuilder::default(), DefaultLifecycle::default()),
            identities: OnceLock::new(),
            warnings,
        }
    }

    /// The images, leaf first.
    #[must_use]
    pub(crate) fn links(&self) -> &[Box<dyn Image>] {
        &self.links
    }

    /// Warnings about the chain, a sentence each.
    #[must_use]
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn leaf(&self) -> &dyn Image {
        &*self.links[0]
    }

    pub(super) fn writer(&self) -> Result<&dyn ImageMut> {
        self.leaf().writer().ok_or(Error::ReadOnly)
    }

    /// Calls `each` with the chunks of a range in order, joined across regions, and where in the range each begins.
    fn chunks(&self, offset: u64, len: u64, each: &mut dyn FnMut(u64, Chunk) -> Result<()>) -> Result<()> {
        let end = offset + len;
        let mut at = offset;
        let mut open: Option<(u64, Chunk)> = None;
        while at < end {
            let index = at / REGION;
            let mut start = index * REGION;
            let region = match self.flat.region(&self.links, self.size, index) {
                Ok(region) => region,
                // A part of it cannot be read, which need not be in the range.
                Err(_) => {
                    let until = end.min(start + REGION);
                    start = at;
                    merge(&self.links, at, until - at)?
                }
            };
            for chunk in region.iter() {
                let (from, to) = (start.max(at), (start + chunk.len).min(end));
                start += chunk.len;
                if from >= to {
                    continue;
                }
                let skipped = from + chunk.len - start;
                let part = Chunk { source: chunk.source.advance(skipped), len: to - from };
                if open.as_mut().is_some_and(|(_, last)| last.join(part)) {
                    continue;
                }
                if let Some((begin, done)) = open.replace((from - offset, part)) {
                    each(begin, done)?;
                }
            }
            at = start.min(end);
        }
        open.map_or(Ok(()), |(begin, last)| each(begin, last))
    }

    /// Fills `buf` with the bytes of a chunk of the same length.
    pub(super) fn read_chunk(&self, source: Source, buf: &mut [u8]) -> Result<()> {
        match source {
            Source::Zero => buf.fill(0),
            Source::Stored { link, file, offset } => {
                let image = &self.links[link];
                storage::read_exact(&*image.files()[file], buf, offset, "disk data")?;
            }
            Source::Encoded { link, cluster, skip, size } => {
                // Held until the bytes are copied: what does not stay in the cache takes no more memory than this.
                let mut taken = None;
                let bytes = self.decode(link, cluster, size, &mut taken)?;
                let part = usize::try_from(skip).ok().and_then(|skip| bytes.get(skip..)?.get(..buf.len()));
                let part =
                    part.ok_or_else(|| self.malformed_cluster(link, cluster, "a cluster that holds its bytes", size))?;
                buf.copy_from_slice(part);
            }
        }
        Ok(())
    }

    /// The bytes of a cluster. Readers that want the same one at once wait for the first of them; the budget is taken
    /// only by that one, which waits for nobody else while it holds it.
    fn decode<'a>(
        &'a self,
        link: usize,
        cluster: u64,
        size: u64,
        taken: &mut Option<Taken<'a>>,
    ) -> Result<Arc<Cluster>> {
        self.decoded.get_or_insert_with(&(link, cluster), || {
            let len = usize::try_from(size).ok().filter(|_| size <= MAX_CLUSTER).ok_or_else(|| {
                self.malformed_cluster(link, cluster, format_args!("at most {MAX_CLUSTER} bytes"), size)
            })?;
            *taken = Some(self.decoding.take(size));
            let mut bytes = Cluster::zeroed(len);
            self.links[link].decode(cluster, &mut bytes)?;
            Ok(Arc::new(bytes))
        })
    }

    fn malformed_cluster(&self, link: usize, cluster: u64, expected: impl std::fmt::Display, size: u64) -> Error {
        let path = &self.links[link].info().path;
        let cause = ParseError::corrupt(cluster, "compressed cluster", expected, format_args!("{size} bytes"));
        cause.in_file(path).into()
    }
}

impl Disk for ChainDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        self.leaf().info().sector_size
    }

    fn writable(&self) -> bool {
        self.leaf().writer().is_some()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(offset, buf.len() as u64, self.size)?;
        self.flat.stable(|| {
            self.chunks(offset, buf.len() as u64, &mut |begin, chunk| {
                // A chunk lies within the buffer, so its offsets fit.
                let begin = usize::try_from(begin).unwrap_or(usize::MAX);
                let len = usize::try_from(chunk.len).unwrap_or(usize::MAX);
                self.read_chunk(chunk.source, &mut buf[begin..][..len])
            })
        })
    }

    fn file_ranges(&self, offset: u64, len: u64) -> Option<Vec<FileRange>> {
        // Where a write may move bytes, a position is only good until the next one.
        if self.writable() || check_range(offset, len, self.size).is_err() {
            return None;
        }
        let mut parts = Vec::new();
        let mut all = true;
        let reported = self.chunks(offset, len, &mut |_, chunk| {
            let file = match chunk.source {
                Source::Stored { link, file, offset } => Some((&self.links[link].files()[file], offset)),
                Source::Zero | Source::Encoded { .. } => None,
            };
            let file = file.map(|(file, offset)| match file.range_of() {
                Some((whole, start)) => (whole, start + offset),
                None => (file, offset),
            });
            match file.filter(|(file, _)| file.local().is_some()) {
                Some((file, offset)) => parts.push(FileRange { file: file.clone(), offset, len: chunk.len }),
                None => all = false,
            }
            Ok(())
        });
        (reported.is_ok() && all).then_some(parts)
    }

    fn origin(&self, offset: u64, len: u64) -> Result<(Option<Origin>, u64)> {
        check_range(offset, len, self.size)?;
        // A write may change the bytes or move them.
        if self.writable() {
            return Ok((None, len));
        }
        let identities = self.identities.get_or_init(|| Identities::of(&self.links));
        // Not through the regions, as for spans.
        let chunk = resolve(&self.links, offset, len)?;
        Ok((identities.origin(chunk.source), chunk.len))
    }

    fn allocation(&self, offset: u64) -> Result<Allocation> {
        check_range(offset, 1, self.size)?;
        // Not through the regions: an empty disk of many terabytes is then a few long runs.
        let chunk = resolve(&self.links, offset, self.size - offset)?;
        Ok(match chunk.source {
            Source::Zero => Allocation::Zero(chunk.len),
            Source::Stored { .. } | Source::Encoded { .. } => Allocation::Data(chunk.len),
        })
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.write_range(offset, buf)
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.discard_range(offset, len)
    }

    fn flush(&self) -> Result<()> {
        self.flush_leaf()
    }

    fn close(&self) -> Result<()> {
        self.close_leaf()
    }
}
