//! The files of a VMDK with their headers, before any map is read.

use super::cowd::{self, CowdHeader};
use super::descriptor::{Access, Descriptor, ExtentKind, ExtentLine, VmdkName};
use super::geometry::{Geometry, SECTOR};
use super::header::SparseHeader;
use super::outline::{Outline, sparse_header};
use super::sesparse::ConstHeader;
use crate::error_kind::ErrorKind;
use crate::image::fitting::{self, Fits};
use crate::image::{Error, Format, ImageInfo, Note, ParentLink, Result, Variant};
use crate::ondisk::ParseError;
use crate::storage;
use crate::storage::FileIdentity;
use crate::storage::InFile;
use crate::storage::{File, Storage};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Opens a file that another one, at the path, names; for writing or not; under another name where it fits. None for a
/// device that stays closed.
pub(super) type Opener<'a> = &'a dyn Fn(&Path, &OsStr, bool, Fits<'_>) -> Result<Option<File>>;

/// What stores an extent. Files are indices into [`Opened::files`].
#[derive(Debug)]
pub(super) enum Head {
    /// Nothing, or nothing that may be opened.
    Nothing,
    Flat {
        file: usize,
    },
    Sparse {
        file: usize,
        header: SparseHeader,
        geometry: Geometry,
    },
    Cowd {
        file: usize,
        header: CowdHeader,
    },
    SeSparse {
        file: usize,
        header: ConstHeader,
    },
}

/// All files of a VMDK.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) descriptor: Descriptor,
    /// Where the descriptor's text begins in the main file, in bytes.
    pub(super) base: u64,
    /// The main file first.
    pub(super) files: Vec<File>,
    /// One for each line of the descriptor's extents.
    pub(super) heads: Vec<Head>,
    /// The bytes of all files together.
    stored_size: u64,
    /// Files that were found under other names.
    notes: Vec<Note>,
}

/// What decides whether two names lead to one file; its path, for a file in memory.
type Identity = Result<FileIdentity, PathBuf>;

fn identity(file: &dyn Storage) -> Identity {
    let attributes = file.local().and_then(|local| local.metadata().ok());
    attributes.map(|attributes| FileIdentity::of(&attributes)).ok_or_else(|| file.path().to_path_buf())
}

/// A file that is open already, and what for.
struct Known {
    file: usize,
    writable: bool,
    /// Sectors that flat extents use; none for a sparse extent or a descriptor, which share their file with nothing.
    flat: Option<Vec<Range<u64>>>,
}

/// The files while they are opened.
struct Opening<'a> {
    outline: &'a Outline,
    writable: bool,
    opener: Opener<'a>,
    files: Vec<File>,
    known: HashMap<Identity, Known>,
    /// An extent is in the main file.
    main_used: bool,
    stored_size: u64,
    notes: Vec<Note>,
}

impl Opened {
    /// Opens the files that the descriptor names, for writing where it allows that and `writable` asks for it.
    ///
    /// # Errors
    /// What the opener says; `Corrupt`, `Unsupported` for their headers.
    pub(super) fn new(outline: Outline, writable: bool, opener: Opener<'_>) -> Result<Self> {
        let stored_size = storage::length(&*outline.main)?;
        let main = Known { file: 0, writable, flat: None };
        let mut opening = Opening {
            writable,
            opener,
            files: vec![outline.main.clone()],
            known: HashMap::from([(identity(&*outline.main), main)]),
            main_used: false,
            stored_size,
            notes: Vec::new(),
            outline: &outline,
        };
        let lines = &outline.descriptor.extents;
        let heads = lines.iter().map(|line| opening.head(line)).collect::<Result<Vec<_>>>()?;
        let Opening { files, stored_size, notes, .. } = opening;
        Ok(Self { descriptor: outline.descriptor, base: outline.base, files, heads, stored_size, notes })
    }

    /// What the headers say.
    pub(super) fn info(&self) -> Result<ImageInfo> {
        let path = self.files[0].path();
        let descriptor = &self.descriptor;
        let grain = self.heads.iter().find_map(|head| match head {
            Head::Sparse { geometry, .. } => Some(geometry.grain),
            Head::Cowd { header, .. } => Some(header.geometry().grain),
            Head::SeSparse { .. } => Some(8 * SECTOR),
            Head::Nothing | Head::Flat { .. } => None,
        });
        let unclean = self.heads.iter().any(|head| match head {
            Head::Sparse { header, .. } => header.unclean_shutdown,
            Head::Cowd { header, .. } => header.unclean_shutdown,
            _ => false,
        });
        let note =
            "It was not closed cleanly by the program that last wrote it, so what was written last may be missing";
        Ok(ImageInfo {
            path: path.to_path_buf(),
            format: Format::Vmdk,
            variant: self.variant(),
            details: self.details(),
            size: descriptor.size(self.base).in_file(path)?,
            sector_size: 512,
            block_size: grain.unwrap_or(0),
            uuid: descriptor.uuid,
            modification: descriptor.modification.as_ref().map(|uuid| uuid.value).filter(|uuid| !uuid.is_nil()),
            content_id: descriptor.cid.as_ref().map(|cid| cid.value),
            parent: descriptor.has_parent().then(|| ParentLink {
                uuid: descriptor.parent,
                modification: descriptor.parent_modification,
                content_id: descriptor.parent_cid,
                hints: descriptor.parent_hint.iter().flat_map(hints).collect(),
                ..ParentLink::default()
            }),
            comment: descriptor.comment.clone(),
            notes: self.notes.iter().cloned().chain(unclean.then(|| note.into())).collect(),
            stored_size: self.stored_size,
        })
    }

    fn variant(&self) -> Variant {
        let compressed = |head: &Head| matches!(head, Head::Sparse { geometry, .. } if geometry.compressed);
        let fixed = |line: &ExtentLine| matches!(line.kind, ExtentKind::Flat | ExtentKind::Vmfs | ExtentKind::Zero);
        if self.descriptor.has_parent() {
            Variant::Differencing
        } else if self.heads.iter().any(compressed) {
            Variant::Stream
        } else if self.descriptor.extents.iter().any(fixed) {
            Variant::Fixed
        } else {
            Variant::Dynamic
        }
    }

    fn details(&self) -> String {
        let kinds = self.descriptor.extents.iter().map(|line| line.kind.name());
        let mut distinct: Vec<&str> = Vec::new();
        for kind in kinds {
            if !distinct.contains(&kind) {
                distinct.push(kind);
            }
        }
        let count = self.descriptor.extents.len();
        let extents = if count == 1 { "extent" } else { "extents" };
        let create_type = Some(self.descriptor.create_type.as_str()).filter(|word| !word.is_empty());
        format!("{}, {count} {} {extents}", create_type.unwrap_or("no create type"), distinct.join("/"))
    }
}

impl Opening<'_> {
    fn head(&mut self, line: &ExtentLine) -> Result<Head> {
        let (Some(name), false) = (&line.name, line.access == Access::None) else { return Ok(Head::Nothing) };
        if matches!(line.kind, ExtentKind::Flat | ExtentKind::Vmfs) {
            return Ok(self.flat(line, name)?.map_or(Head::Nothing, |file| Head::Flat { file }));
        }
        let Some(file) = self.sparse(line, name)? else { return Ok(Head::Nothing) };
        let storage = &self.files[file];
        let head = storage::read_up_to(&**storage, 0, cowd::HEADER)?;
        let cause = |cause: ParseError| cause.in_file(storage.path());
        let (head, capacity) = if line.kind == ExtentKind::SeSparse {
            let header = ConstHeader::parse(&head).in_file(storage.path())?;
            let capacity = header.capacity;
            (Head::SeSparse { file, header }, capacity)
        } else if head.starts_with(cowd::MAGIC) {
            let header = CowdHeader::parse(&head).in_file(storage.path())?;
            let capacity = header.capacity;
            (Head::Cowd { file, header }, capacity)
        } else {
            let (header, base) = sparse_header(storage, &head)?;
            let geometry = header.geometry(base).in_file(storage.path())?;
            let capacity = header.capacity;
            (Head::Sparse { file, header, geometry }, capacity)
        };
        if capacity < line.sectors {
            let at = if line.kind == ExtentKind::SeSparse { 16 } else { 12 };
            let expected = format!("at least {}, the sectors that the descriptor says", line.sectors);
            return Err(cause(ParseError::corrupt(at, "capacity of the VMDK extent", expected, capacity)));
        }
        Ok(head)
    }

    fn wants_writing(&self, line: &ExtentLine) -> bool {
        let can = matches!(line.kind, ExtentKind::Sparse | ExtentKind::Flat | ExtentKind::Vmfs);
        self.writable && line.access == Access::ReadWrite && can
    }

    /// Opens the file that a name leads to, in the descriptor's encoding or as its bytes are.
    fn open(&mut self, line: &ExtentLine, name: &VmdkName, writable: bool) -> Result<Option<(File, Identity)>> {
        let Outline { main, descriptor, .. } = self.outline;
        let fits = |file: &File, nearness| super::fitting::fits(main, descriptor, line, file, nearness);
        let main = main.path();
        let mut missing = None;
        for candidate in name.candidates() {
            match (self.opener)(main, &candidate, writable, &fits) {
                Ok(None) => return Ok(None),
                Ok(Some(file)) => {
                    let note = fitting::note(&candidate, &file);
                    let note = note.map(Note::from);
                    self.notes.extend(note.filter(|note| !self.notes.contains(note)));
                    let identity = identity(&*file);
                    return Ok(Some((file, identity)));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => missing = missing.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        Err(match missing {
            Some(error) if name.is_text() => error,
            _ => {
                let expected = format_args!(
                    "a name in {}, or a file of these very bytes; rename the file and write its new name into the \
                     descriptor, or correct its line \"encoding\"",
                    self.outline.descriptor.encoding
                );
                let what = "file name in a VMDK descriptor";
                ParseError::unsupported(line.at, what, expected, format_args!("{name:?}")).in_file(main)
            }
        })
    }

    fn shared(&self, line: &ExtentLine, name: &VmdkName) -> Error {
        let found = format!("{name:?}, which another part of the disk uses too");
        ParseError::corrupt(line.at, "VMDK extent", "bytes of a file that nothing else uses", found)
            .in_file(self.outline.main.path())
    }

    /// The file of an extent that has it for itself.
    fn sparse(&mut self, line: &ExtentLine, name: &VmdkName) -> Result<Option<usize>> {
        // An embedded descriptor is about the file that it is in, which may have been renamed.
        if self.outline.embedded && self.outline.descriptor.extents.len() == 1 {
            return Ok(Some(0));
        }
        let writable = self.wants_writing(line);
        let Some((file, identity)) = self.open(line, name, writable)? else { return Ok(None) };
        let is_main = self.outline.embedded && identity == self::identity(&*self.outline.main);
        if is_main && !self.main_used {
            self.main_used = true;
            return Ok(Some(0));
        }
        if self.known.contains_key(&identity) {
            return Err(self.shared(line, name));
        }
        self.add(file, identity, Known { file: self.files.len(), writable, flat: None })
    }

    /// The file of a flat extent: others may use other parts of it.
    fn flat(&mut self, line: &ExtentLine, name: &VmdkName) -> Result<Option<usize>> {
        let writable = self.wants_writing(line);
        let range = line.offset..line.offset.saturating_add(line.sectors);
        let Some((file, identity)) = self.open(line, name, writable)? else { return Ok(None) };
        let Some(known) = self.known.get_mut(&identity) else {
            return self.add(file, identity, Known { file: self.files.len(), writable, flat: Some(vec![range]) });
        };
        let meets = |used: &Range<u64>| range.start < used.end && used.start < range.end;
        match &mut known.flat {
            Some(used) if !used.iter().any(meets) => used.push(range),
            _ => return Err(self.shared(line, name)),
        }
        if writable && !known.writable {
            (known.file, known.writable) = (self.files.len(), true);
            self.files.push(file);
        }
        Ok(Some(known.file))
    }

    fn add(&mut self, file: File, identity: Identity, known: Known) -> Result<Option<usize>> {
        self.stored_size = self.stored_size.saturating_add(storage::length(&*file)?);
        let index = known.file;
        self.files.push(file);
        self.known.insert(identity, known);
        Ok(Some(index))
    }
}

/// The names of a parent, as text.
fn hints(name: &VmdkName) -> impl Iterator<Item = String> {
    name.candidates().into_iter().map(|name| name.to_string_lossy().into_owned())
}
