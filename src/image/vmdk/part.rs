//! One extent of an open VMDK: a part of the disk and what stores it.

use super::descriptor::{Access, ExtentLine};
use super::directory::{Corrupt, MAX_TABLES};
use super::geometry::Geometry;
use super::geometry::SECTOR;
use super::grains::{Grain, GrainRun, Grains};
use super::opened::{Head, Opened};
use super::sesparse::SeSparse;
use super::space::SparseWriter;
use crate::image::alloc::Space;
use crate::image::{Error, Extent, Note, OpenOptions, Result, Run, raw};
use crate::ondisk::ParseError;
use crate::storage;
use crate::storage::File;
use nix::errno::Errno;

/// Bytes of maps cached in memory, for all extents together: the grain tables of 64 GiB of a disk.
const CACHE: usize = 8 << 20;
/// The least of it that an extent gets.
const LEAST_CACHE: usize = 16 << 10;
/// More grain tables than this, in bytes, are not read when an image is opened only for reading.
const MAX_CHECK: u64 = 256 << 20;

/// What stores an extent. Files are indices into the image's.
pub(super) enum Store {
    /// Not to be read.
    Nothing,
    Zero,
    /// `present` of the bytes lie within the file.
    Flat {
        file: usize,
        offset: u64,
        present: u64,
    },
    Sparse(Box<Sparse>),
    SeSparse {
        file: usize,
        map: SeSparse,
    },
}

/// A hosted sparse extent or copy-on-write disk.
pub(super) struct Sparse {
    pub(super) file: usize,
    pub(super) grains: Grains,
    /// Where it can be written.
    pub(super) writer: Option<SparseWriter>,
}

/// A part of the disk.
pub(super) struct VmdkExtent {
    /// Where it begins on the disk, in bytes.
    pub(super) start: u64,
    /// Bytes of it; at least 512.
    pub(super) len: u64,
    pub(super) line: ExtentLine,
    pub(super) store: Store,
    /// The descriptor's path, for messages.
    path: std::path::PathBuf,
}

/// All parts, and what a user should know of them.
pub(super) struct VmdkExtents {
    pub(super) list: Vec<VmdkExtent>,
    pub(super) notes: Vec<Note>,
}

/// What the parts of one image are opened with.
struct Loader<'a> {
    options: &'a OpenOptions,
    files: &'a [File],
    cache: usize,
    notes: Vec<Note>,
}

impl VmdkExtents {
    /// Reads the maps of all extents.
    ///
    /// # Errors
    /// `Corrupt` for maps that contradict themselves or their files, unless `force` is given.
    pub(super) fn load(opened: &Opened, heads: Vec<Head>, options: &OpenOptions) -> Result<Self> {
        let path = opened.files[0].path();
        let tables = heads.iter().fold(0_u64, |sum, head| match head {
            Head::Sparse { geometry, .. } => sum.saturating_add(geometry.tables()),
            Head::Cowd { header, .. } => sum.saturating_add(header.geometry().tables()),
            _ => sum,
        });
        if tables > MAX_TABLES {
            let expected = format!("at most {MAX_TABLES} in all extents");
            return Err(ParseError::unsupported(opened.base, "VMDK grain tables", expected, tables).in_file(path));
        }
        let mut loader = Loader {
            options,
            files: &opened.files,
            cache: (CACHE / heads.len().max(1)).max(LEAST_CACHE),
            notes: Vec::new(),
        };
        let mut list = Vec::with_capacity(heads.len());
        let mut start = 0;
        for (line, head) in opened.descriptor.extents.iter().zip(heads) {
            let len = line.sectors * SECTOR;
            let store = loader.store(line, head, len)?;
            list.push(VmdkExtent { start, len, line: line.clone(), store, path: path.to_path_buf() });
            start += len;
        }
        Ok(Self { list, notes: loader.notes })
    }
}

impl Loader<'_> {
    fn store(&mut self, line: &ExtentLine, head: Head, len: u64) -> Result<Store> {
        Ok(match head {
            Head::Nothing if line.access == Access::None => Store::Nothing,
            Head::Nothing => Store::Zero,
            Head::Flat { file } => self.flat(line, file, len)?,
            Head::Sparse { file, header, geometry } => {
                let (grains, space) = self.grains(line, file, geometry)?;
                let writer = self.writable(line) && !header.compressed();
                let writer = writer.then(|| SparseWriter::new(&grains, space, header.flags));
                Store::Sparse(Box::new(Sparse { file, grains, writer }))
            }
            Head::Cowd { file, header } => {
                let (grains, _) = self.grains(line, file, header.geometry())?;
                Store::Sparse(Box::new(Sparse { file, grains, writer: None }))
            }
            Head::SeSparse { file, header } => {
                let map = SeSparse::new(self.files[file].clone(), header, self.cache)?;
                Store::SeSparse { file, map }
            }
        })
    }

    fn writable(&self, line: &ExtentLine) -> bool {
        self.options.writable && line.access == Access::ReadWrite
    }

    fn tolerate(&mut self, error: Error) -> Result<()> {
        self.options.tolerate(error, &mut self.notes)
    }

    fn flat(&mut self, line: &ExtentLine, file: usize, len: u64) -> Result<Store> {
        let storage = &self.files[file];
        let file_len = storage::length(&**storage)?;
        let offset = line.offset.checked_mul(SECTOR);
        let end = offset.and_then(|offset| offset.checked_add(len));
        if end.is_none_or(|end| end > file_len) {
            let what = format!("VMDK extent of {} sectors from sector {} on", line.sectors, line.offset);
            let found = format!("the end of the file at {file_len}");
            let cause = ParseError::corrupt(offset.unwrap_or(u64::MAX), what, "all its bytes", found);
            self.tolerate(cause.in_file(storage.path()))?;
        }
        let offset = offset.unwrap_or(file_len);
        Ok(Store::Flat { file, offset, present: file_len.saturating_sub(offset).min(len) })
    }

    fn grains(&mut self, line: &ExtentLine, file: usize, geometry: Geometry) -> Result<(Grains, Option<Space>)> {
        let mut grains = Grains::new(self.files[file].clone(), geometry, self.cache)?;
        let mut corrupt = grains.load(self.options.force && !self.options.writable)?;
        let mut space = None;
        if self.writable(line) || grains.table_bytes() <= MAX_CHECK {
            match grains.check(&mut corrupt) {
                Ok(found) => space = found,
                Err(error) => self.tolerate(error)?,
            }
        } else {
            log::info!("  {}: its grain tables are checked only as they are read", grains.file().path().display());
        }
        self.report(line, &grains, corrupt)?;
        Ok((grains, space))
    }

    fn report(&mut self, line: &ExtentLine, grains: &Grains, corrupt: Corrupt) -> Result<()> {
        let Some(first) = corrupt.first else { return Ok(()) };
        if self.writable(line) {
            let reason = format!("its two sets of grain tables differ, so it can only be read ({first})");
            return Err(Error::Refused { path: grains.file().path().to_path_buf(), reason });
        }
        let name = line.name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
        let what = match corrupt.replaced {
            0 => "its redundant grain tables are corrupt; the first ones are used".to_owned(),
            1 => "1 grain table is corrupt; its redundant copy is used".to_owned(),
            count => format!("{count} grain tables are corrupt; their redundant copies are used"),
        };
        self.notes.push(Note::corrupt(format!("In the extent{name}, {what} (first: {first})")));
        Ok(())
    }
}

impl VmdkExtent {
    /// Where it ends on the disk, in bytes.
    pub(super) fn end(&self) -> u64 {
        self.start + self.len
    }

    /// The error for what cannot be done with the extent.
    pub(super) fn refused(&self, reason: &str) -> Error {
        let name = self.line.name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
        let reason = format!("bytes {} to {} of the disk are in the extent{name}, {reason}", self.start, self.end());
        Error::Refused { path: self.path.clone(), reason }
    }

    /// The extent and its writer, where it is a sparse one that can be written.
    pub(super) fn sparse_writer(&self) -> Option<(&Sparse, &SparseWriter)> {
        match &self.store {
            Store::Sparse(sparse) => Some((&**sparse, sparse.writer.as_ref()?)),
            _ => None,
        }
    }

    /// Whether bytes of it may change, in an image that is open for writing.
    pub(super) fn writable(&self) -> bool {
        self.line.access == Access::ReadWrite
            && match &self.store {
                Store::Flat { .. } => true,
                Store::Sparse(sparse) => sparse.writer.is_some(),
                Store::Nothing | Store::Zero | Store::SeSparse { .. } => false,
            }
    }

    /// What holds the bytes from `skip` bytes after its start on, for at most `len` bytes, which lie within it.
    pub(super) fn extent(&self, files: &[File], skip: u64, len: u64, writing: bool) -> Result<Run> {
        match &self.store {
            Store::Nothing => {
                let name = self.line.name.as_ref().map(|name| format!(" {name:?}")).unwrap_or_default();
                let action = format!(
                    "read bytes {} to {} of the disk in the extent{name}, which the descriptor marks NOACCESS, from",
                    self.start,
                    self.end()
                );
                Err(Error::io(&self.path, action, Errno::EIO.into()))
            }
            Store::Zero => Ok(Run { extent: Extent::Zero, len }),
            Store::Flat { file, offset, present } => {
                let Some(left) = present.checked_sub(skip).filter(|left| *left > 0) else {
                    let what = "bytes of a flat VMDK extent";
                    let found = format!("the end of the file at {}", offset + present);
                    return Err(ParseError::corrupt(offset + skip, what, "data", found).in_file(files[*file].path()));
                };
                let (at, len) = (offset + skip, len.min(left));
                if writing {
                    return Ok(Run { extent: Extent::Stored { file: *file, offset: at }, len });
                }
                let run = raw::stored_or_hole(&files[*file], at, len)?;
                let extent = match run.extent {
                    Extent::Stored { offset, .. } => Extent::Stored { file: *file, offset },
                    other => other,
                };
                Ok(Run { extent, ..run })
            }
            Store::Sparse(sparse) => {
                let grains = &sparse.grains;
                let run = grains.run(skip, len)?;
                if grains.geometry.compressed && matches!(run.grain, Grain::At(_)) {
                    let grain = skip - skip % grains.geometry.grain;
                    let size = grains.geometry.grain.min(self.len - grain);
                    let extent = Extent::Encoded { cluster: self.start + grain, skip: skip - grain, size };
                    return Ok(Run { extent, len: run.len });
                }
                Ok(stored(sparse.file, run))
            }
            Store::SeSparse { file, map } => Ok(stored(*file, map.run(skip, len)?)),
        }
    }
}

fn stored(file: usize, run: GrainRun) -> Run {
    let extent = match run.grain {
        Grain::Absent => Extent::Absent,
        Grain::Zero => Extent::Zero,
        Grain::At(offset) => Extent::Stored { file, offset },
    };
    Run { extent, len: run.len }
}
