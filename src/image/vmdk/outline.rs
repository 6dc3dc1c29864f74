//! What the main file of a VMDK is: a descriptor, or a sparse extent with the descriptor in it.

use super::cowd::{self, CowdHeader, Parent};
use super::descriptor::{Access, Descriptor, ExtentKind, ExtentLine, MAX_TEXT, VmdkName};
use super::header::{self, FOOTER_FROM_END, SparseHeader};
use super::sesparse;
use crate::image::{Error, Result};
use crate::ondisk::ParseError;
use crate::storage;
use crate::storage::File;
use crate::storage::InFile;
use std::path::Path;

/// The main file and what it says of the others.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) main: File,
    pub(super) descriptor: Descriptor,
    /// Where the descriptor's text begins in the main file, in bytes.
    pub(super) base: u64,
    /// The main file is an extent too.
    pub(super) embedded: bool,
}

impl Outline {
    /// Reads headers and descriptor of the main file.
    ///
    /// # Errors
    /// `Corrupt`, `Unsupported`; `Refused` for an extent without a descriptor.
    pub(super) fn read(main: &File) -> Result<Self> {
        let head = storage::read_up_to(&**main, 0, cowd::HEADER)?;
        if head.starts_with(cowd::MAGIC) {
            let header = CowdHeader::parse(&head).in_file(main.path())?;
            let descriptor = bare(&header, main.path())?;
            return Ok(Self { main: main.clone(), descriptor, base: 0, embedded: true });
        }
        if head.starts_with(&sesparse::MAGIC.to_le_bytes()) {
            return Err(without_descriptor(main.path()));
        }
        let (text, base, embedded) = if head.starts_with(header::MAGIC) {
            let header = SparseHeader::parse(&head, 0).in_file(main.path())?;
            if header.descriptor.is_empty() {
                return Err(without_descriptor(main.path()));
            }
            let len = header.descriptor.end - header.descriptor.start;
            (read_text(main, header.descriptor.start, len)?, header.descriptor.start, true)
        } else {
            (read_text(main, 0, storage::length(&**main)?)?, 0, false)
        };
        let descriptor = Descriptor::parse(&text, base).in_file(main.path())?;
        descriptor.size(base).in_file(main.path())?;
        Ok(Self { main: main.clone(), descriptor, base, embedded })
    }
}

/// Text of at most `len` bytes that ends at the end of the file or before.
fn read_text(file: &File, at: u64, len: u64) -> Result<Vec<u8>> {
    let want = usize::try_from(len).unwrap_or(usize::MAX).min(MAX_TEXT);
    let text = storage::read_up_to(&**file, at, want)?;
    if len > MAX_TEXT as u64 && !text.contains(&0) {
        let expected = format!("at most {MAX_TEXT} bytes");
        return Err(ParseError::unsupported(at, "size of the VMDK descriptor", expected, len).in_file(file.path()));
    }
    Ok(text)
}

/// A descriptor for a copy-on-write disk that has none, as early ones of ESX and GSX.
fn bare(header: &CowdHeader, path: &Path) -> Result<Descriptor> {
    // Reading a difference without its parent would show zeros where the parent has data.
    if header.parent == Parent::Unknown || descriptor_name(path).is_some() {
        return Err(without_descriptor(path));
    }
    let line = ExtentLine {
        access: Access::ReadWrite,
        sectors: header.capacity,
        kind: ExtentKind::VmfsSparse,
        name: path.file_name().map(VmdkName::of_file),
        offset: 0,
        at: 0,
    };
    let parent_hint =
        if let Parent::Named(name) = &header.parent { Some(VmdkName::of_file(name.as_ref())) } else { None };
    let descriptor = Descriptor {
        version: 1,
        hint_decides: parent_hint.is_some(),
        parent_hint,
        extents: vec![line],
        comment: header.description.clone(),
        ..Descriptor::default()
    };
    descriptor.size(0).in_file(path)?;
    Ok(descriptor)
}

/// The name of the descriptor that an extent's file belongs to, by the names that VMware, VirtualBox and QEMU give:
/// `disk-flat.vmdk`, `disk-s001.vmdk`, `disk-000001-delta.vmdk` and so on. None for other names.
pub(super) fn descriptor_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(".vmdk").or_else(|| name.strip_suffix(".VMDK"))?;
    let (disk, part) = stem.rsplit_once('-')?;
    let word = part.to_ascii_lowercase();
    let numbered = |letter: char| {
        let digits = word.strip_prefix(letter).unwrap_or_default();
        digits.len() >= 3 && digits.bytes().all(|b| b.is_ascii_digit())
    };
    let words = ["flat", "delta", "sesparse", "pt", "rdm", "rdmp"];
    let is_extent = words.contains(&word.as_str()) || ['s', 'f', 'p'].into_iter().any(numbered);
    (is_extent && !disk.is_empty()).then(|| format!("{disk}.vmdk"))
}

/// The error for an extent given instead of its descriptor.
pub(super) fn without_descriptor(path: &Path) -> Error {
    let advice = match descriptor_name(path).map(|name| path.with_file_name(name)) {
        Some(descriptor) if descriptor.exists() => format!("give {} instead", descriptor.display()),
        Some(descriptor) => format!("its name should be {}; put that file next to it", descriptor.display()),
        None => "find the descriptor, a small .vmdk file with text in it".to_owned(),
    };
    let reason = format!("it is an extent of a VMDK, and only the VMDK's descriptor says how to use it: {advice}");
    Error::Refused { path: path.to_path_buf(), reason }
}

/// The header of a hosted sparse extent that is to be used, and where it begins: for a stream that was written in one
/// go that is the copy after its data.
///
/// # Errors
/// `Corrupt`, `Unsupported`.
pub(super) fn sparse_header(file: &File, head: &[u8]) -> Result<(SparseHeader, u64)> {
    let cause = |cause: ParseError| cause.in_file(file.path());
    let header = SparseHeader::parse(head, 0).map_err(cause)?;
    if !header.directory_at_end() {
        return Ok((header, 0));
    }
    let len = storage::length(&**file)?;
    let base = len.saturating_sub(FOOTER_FROM_END);
    let footer = storage::read_up_to(&**file, base, 512)?;
    if !footer.starts_with(header::MAGIC) {
        let expected = "the second header of a stream; the file is cut or not complete";
        let found = format!("other bytes before the end of the file at {len}");
        return Err(cause(ParseError::corrupt(base, "VMDK footer", expected, found)));
    }
    let footer = SparseHeader::parse(&footer, base).map_err(cause)?;
    header.check_footer(&footer, base).map_err(cause)?;
    Ok((SparseHeader { descriptor: header.descriptor, ..footer }, base))
}
