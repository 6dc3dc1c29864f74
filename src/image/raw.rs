//! Raw images: the disk's bytes as they are.

use super::{Allocated, Error, Extent, Format, Image, ImageInfo, ImageMut, OpenOptions, Result, Run, Sample, foreign};
use crate::storage;
use crate::storage::{Allowed, File, Segment};

/// Every file can be a raw image.
#[must_use]
pub(crate) fn probe(_: &Sample) -> bool {
    true
}

/// Describes a raw image: a disk as long as the file.
///
/// # Errors
/// [`Error::Corrupt`] for an empty file and for one whose name says that it has another format;
/// [`Error::Foreign`] for what is known and no disk.
pub(crate) fn identify(_: &File, sample: &Sample, _: &Allowed) -> Result<ImageInfo> {
    foreign::refuse(sample)?;
    Ok(ImageInfo::plain(&sample.path, Format::Raw, sample.len))
}

/// Opens a raw image.
///
/// # Errors
/// As [`identify`].
pub(crate) fn open(file: &File, sample: &Sample, options: &OpenOptions) -> Result<Box<dyn Image>> {
    // A format stated by the user or by a child overrules the name.
    let info = if options.format == Some(Format::Raw) {
        ImageInfo::plain(&sample.path, Format::Raw, sample.len)
    } else {
        identify(file, sample, &options.allowed)?
    };
    Ok(flat(file.clone(), info, options.writable))
}

/// An image whose file begins with the disk's bytes as they are, whatever follows them.
pub(super) fn flat(file: File, info: ImageInfo, writable: bool) -> Box<dyn Image> {
    Box::new(Raw { info, files: [file], writable })
}

/// What holds the bytes from `offset` on of an image's only file, which is not written to.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn stored_or_hole(file: &File, offset: u64, len: u64) -> Result<Run> {
    let stored = Run { extent: Extent::Stored { file: 0, offset }, len };
    match file.segment(offset).map_err(|e| Error::io(file.path(), format!("find holes from offset {offset} of"), e))? {
        Segment::Data(data) => Ok(Run { len: len.min(data), ..stored }),
        // Past its end a file reads as a hole too; a file that was cut since it was opened must not read as zeros.
        Segment::Hole(hole) if hole > 0 => Ok(Run { extent: Extent::Zero, len: len.min(hole) }),
        Segment::Hole(_) => Ok(stored),
    }
}

/// An open raw image.
struct Raw {
    info: ImageInfo,
    files: [File; 1],
    writable: bool,
}

impl Image for Raw {
    fn info(&self) -> &ImageInfo {
        &self.info
    }

    fn files(&self) -> &[File] {
        &self.files
    }

    fn extent(&self, offset: u64, len: u64) -> Result<Run> {
        // A hole may be written at any time, so only an image that stays as it is reports them.
        if self.writable {
            return Ok(Run { extent: Extent::Stored { file: 0, offset }, len });
        }
        stored_or_hole(&self.files[0], offset, len)
    }

    fn writer(&self) -> Option<&dyn ImageMut> {
        self.writable.then_some(self)
    }
}

impl ImageMut for Raw {
    fn unit(&self) -> u64 {
        512
    }

    fn mark_dirty(&self) -> Result<()> {
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<Allocated> {
        Ok(Allocated::Runs(vec![Run { extent: Extent::Stored { file: 0, offset }, len }]))
    }

    fn commit(&self, offset: u64, runs: &[Run]) -> Result<()> {
        let mut at = offset;
        for run in runs {
            if run.extent == Extent::Zero {
                self.discard(at, run.len)?;
            }
            at += run.len;
        }
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        storage::zero(&*self.files[0], offset, len)
    }

    fn flush(&self) -> Result<()> {
        storage::sync(&*self.files[0])
    }

    fn pending(&self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::open::open_file;
    use crate::storage::local;
    use crate::storage::local::Devices;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    fn file(name: &str, len: u64) -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::File::create(&path).unwrap().set_len(len).unwrap();
        (directory, path)
    }

    fn open_path(path: &Path, writable: bool) -> Result<Box<dyn Image>> {
        let file = local::open(path, writable, Devices::Refused)?;
        open_file(file, OpenOptions { writable, ..OpenOptions::default() })
    }

    #[test]
    fn holes_of_the_file_are_zeros_and_the_rest_is_stored() {
        let (_directory, path) = file("disk.img", 1 << 20);
        let handle = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        handle.write_all_at(&[7; 4096], 512 << 10).unwrap();
        let image = open_path(&path, false).unwrap();
        assert_eq!(image.info().size, 1 << 20);
        let hole = image.extent(0, 1 << 20).unwrap();
        assert_eq!(hole, Run { extent: Extent::Zero, len: 512 << 10 });
        let data = image.extent(512 << 10, 100).unwrap();
        assert_eq!(data, Run { extent: Extent::Stored { file: 0, offset: 512 << 10 }, len: 100 });
        let writable = open_path(&path, true).unwrap();
        assert_eq!(writable.extent(0, 100).unwrap().extent, Extent::Stored { file: 0, offset: 0 });
    }

    #[test]
    fn a_file_named_after_another_format_is_not_shown_as_a_disk() {
        for name in ["a.vdi", "a.VMDK", "a.qcow2"] {
            let (_directory, path) = file(name, 4096);
            let error = open_path(&path, false).err().unwrap().to_string();
            assert!(error.contains("such as one that ends with .img, for a raw disk, found other bytes"), "{error}");
        }
    }

    #[test]
    fn an_empty_file_is_not_a_disk() {
        let (_directory, path) = file("disk.img", 0);
        assert!(open_path(&path, false).err().unwrap().to_string().contains("an empty file"));
    }

    #[test]
    fn directories_and_pipes_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let error = open_path(directory.path(), false).err().unwrap().to_string();
        assert!(error.contains("is refused: it is a directory"), "{error}");
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(open_path(&pipe, false).is_err());
    }
}
