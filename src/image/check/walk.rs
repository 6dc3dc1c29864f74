//! The walk over an image's whole map.

use super::claims::{Claimed, Claims};
use super::{Finding, Findings, Reading, Watch};
use crate::image::{Error, Extent, Image, MAX_CLUSTER};
use crate::ondisk::ParseError;
use crate::storage;

/// How far apart a format without blocks is looked at after an error, in bytes.
const STEP: u64 = 64 << 10;

/// Asks for what holds each byte of the disk. False when the walk was stopped.
pub(crate) fn walk(image: &dyn Image, findings: &mut Findings, watch: Watch<'_>) -> bool {
    let size = image.info().size;
    (watch.expect)(size);
    let mut walk = Walk {
        image,
        files: image.files().iter().map(|file| (storage::length(&**file).unwrap_or(0), Claims::new())).collect(),
        decoded: None,
        untracked: false,
    };
    let mut at = 0;
    while at < size {
        if watch.is_stopped() {
            return false;
        }
        let end = match image.extent(at, size - at) {
            Ok(run) => {
                let len = run.len.clamp(1, size - at);
                walk.extent(run.extent, at, len, findings);
                at + len
            }
            Err(error) => {
                let end = walk.end_of_failure(at, &error.to_string());
                let found = Finding::of_error(&error, &image.info().path, Reading::Error);
                findings.add(found.at(at, end - at));
                end
            }
        };
        (watch.progress)(end - at);
        at = end;
    }
    true
}

struct Walk<'a> {
    image: &'a dyn Image,
    /// The lengths of the image's files, and which of their bytes are in use.
    files: Vec<(u64, Claims)>,
    /// The last compressed cluster that was decoded: a run may be a part of it.
    decoded: Option<u64>,
    /// It was said that shared bytes are no longer looked for.
    untracked: bool,
}

impl Walk<'_> {
    fn extent(&mut self, extent: Extent, at: u64, len: u64, findings: &mut Findings) {
        match extent {
            Extent::Zero | Extent::Absent => {}
            Extent::Stored { file, offset } => self.stored(file, offset, at, len, findings),
            Extent::Encoded { cluster, skip, size } => {
                if self.decoded.replace(cluster) != Some(cluster)
                    && let Err(error) = self.decode(cluster, size)
                {
                    let found = Finding::of_error(&error, &self.image.info().path, Reading::Error);
                    let start = at - skip.min(at);
                    findings.add(found.at(start, size.min(self.image.info().size - start)));
                }
            }
        }
    }

    fn decode(&self, cluster: u64, size: u64) -> Result<(), Error> {
        let len = usize::try_from(size.min(MAX_CLUSTER)).unwrap_or(usize::MAX);
        self.image.decode(cluster, &mut vec![0; len])
    }

    fn stored(&mut self, file: usize, offset: u64, at: u64, len: u64, findings: &mut Findings) {
        let info = self.image.info();
        let Some((file_len, claims)) = self.files.get_mut(file) else { return };
        let path = self.image.files()[file].path();
        let name = if path == info.path { "the file".to_owned() } else { path.display().to_string() };
        let end = offset.saturating_add(len);
        if end > *file_len {
            let expected = format_args!("its bytes up to offset {end}");
            let found = format_args!("the end of {name} at {file_len}");
            let cause = ParseError::corrupt(offset, format!("{} data", info.format), expected, found);
            // What comes before the end can be read.
            let good = file_len.saturating_sub(offset);
            let found = Finding::of_error(&cause.in_file(path), &info.path, Reading::Error);
            findings.add(found.at(at + good, len - good));
        }
        match claims.claim(offset, len, at + len >= info.size) {
            Claimed::New => {}
            Claimed::Again => {
                let what = format!(
                    "{} data at offset {offset} ({offset:#x}) of {name}: expected bytes of its own, found bytes that \
                     another range of the disk has too",
                    info.format
                );
                let found = Finding::new(what, Reading::Stale).at(at, len);
                findings.add(found.advise("restore the file from a backup: only one of the ranges has its own bytes"));
            }
            Claimed::Unknown if self.untracked => {}
            Claimed::Unknown => {
                self.untracked = true;
                let what = format!(
                    "Blocks that share bytes are not looked for from byte {at} of the disk on: {name} has too many"
                );
                findings.add(Finding::note(what));
            }
        }
    }

    /// Where the bytes end that cannot be found for the same reason as those at `at`. The same reason means the same
    /// entry of the map, so a long range is not asked for block by block.
    fn end_of_failure(&self, at: u64, reason: &str) -> u64 {
        let size = self.image.info().size;
        let block = match self.image.info().block_size {
            0 => STEP,
            block => block,
        };
        let fails = |at: u64| self.image.extent(at, size - at).is_err_and(|error| error.to_string() == reason);
        // Blocks after the one of `at`, from its end on: `known` fail, `end` does not.
        let start = at - at % block;
        let block_end = |blocks: u64| start.saturating_add(block.saturating_mul(blocks + 1)).min(size);
        let (mut known, mut end) = (0, 1);
        while block_end(end - 1) < size && fails(block_end(end - 1)) {
            known = end;
            end = end.saturating_mul(2);
        }
        while known + 1 < end {
            let middle = known + (end - known) / 2;
            if block_end(middle - 1) < size && fails(block_end(middle - 1)) {
                known = middle;
            } else {
                end = middle;
            }
        }
        block_end(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Format, ImageInfo, Result, Run};
    use crate::storage::File;
    use crate::storage::testing::MemFile;
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    const BLOCK: u64 = 4096;
    /// More blocks than could be asked for one by one.
    const BLOCKS: u64 = 1 << 50;

    /// A disk of which the blocks from 3 on to before `good` fail for one reason.
    struct Failing {
        info: ImageInfo,
        files: [File; 1],
        good: u64,
    }

    impl Image for Failing {
        fn info(&self) -> &ImageInfo {
            &self.info
        }
        fn files(&self) -> &[File] {
            &self.files
        }
        fn extent(&self, offset: u64, len: u64) -> Result<Run> {
            let block = offset / BLOCK;
            if (3..self.good).contains(&block) {
                return Err(ParseError::corrupt(7, "table", "one", "none").in_file(&self.info.path));
            }
            let left = if block < 3 { 3 * BLOCK - offset } else { len };
            Ok(Run { extent: Extent::Absent, len: left.min(len) })
        }
    }

    #[test]
    fn a_long_failure_is_one_finding_and_ends_where_it_ends() {
        for good in [4, 5, 6, 7, 8, 100, 1 << 40, BLOCKS] {
            let info =
                ImageInfo { block_size: BLOCK, ..ImageInfo::plain(Path::new("/x"), Format::Raw, BLOCKS * BLOCK) };
            let image = Failing { info, files: [MemFile::new("/x", Vec::new())], good };
            let mut findings = Findings::default();
            let stop = AtomicBool::new(false);
            assert!(walk(&image, &mut findings, Watch { expect: &|_| {}, progress: &|_| {}, stop: &stop }));
            let ranges: Vec<_> = findings.list.iter().map(|found| (found.offset, found.length, found.more)).collect();
            assert_eq!(ranges, [(Some(3 * BLOCK), Some((good - 3) * BLOCK), 0)], "{good}");
        }
    }
}
