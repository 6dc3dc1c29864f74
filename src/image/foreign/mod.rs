//! Known files that are not disk images: archives, descriptions of machines, images of other programs. Taken for raw
//! images they would show garbage.
//!
//! A disk may begin with any bytes, so only a long signature decides alone; a short one must be followed by what its
//! format requires (a checksum, a frame that decodes). The signatures are those that `file(1)` knows. A crate such as
//! infer compares the short ones only.

mod archive;
mod optical;
mod text;

use super::{Error, Result, Sample};
use crate::ondisk::ParseError;
use std::borrow::Cow;

/// What a file is, to follow "is not a disk image but", and what to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kind {
    what: String,
    advice: Cow<'static, str>,
}

impl Kind {
    fn new(what: impl Into<String>, advice: impl Into<Cow<'static, str>>) -> Self {
        Self { what: what.into(), advice: advice.into() }
    }
}

const CONVERT: &str = "convert it with the program that wrote it";

/// Signatures that are long enough to decide: where they are, the bytes, and what they begin.
const IMAGES: [(usize, &[u8], &str); 19] = [
    (0, b"Bochs Virtual HD Image\0", "an image of Bochs"),
    (0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop", "a compressed loop image (cloop)"),
    (0, b"EVF\x09\x0D\x0A\xFF\0", "an Expert Witness image (EWF)"),
    (0, b"EVF2\x0D\x0A\x81\0", "an Expert Witness image (EWF2)"),
    (0, b"LVF\x09\x0D\x0A\xFF\0", "a logical Expert Witness image (EWF)"),
    (0, b"LEF2\x0D\x0A\x81\0", "a logical Expert Witness image (EWF2)"),
    (0, b"AFF10\x0D\x0A\0", "an image of the Advanced Forensic Format"),
    (0, b"sprs\0\0\0\x03", "a sparse image of macOS"),
    (0, b"MSWIM\0\0\0", "a Windows image (WIM)"),
    (0, b"WLPWM\0\0\0", "a Windows image (pipable WIM)"),
    (4, b"SignedImage ", "a full flash image of Windows (FFU)"),
    (0, b"\x7FVirtualBox SavedState V", "the saved state of a machine"),
    (0, b"VMA\0\0\0\0\x01", "a backup of Proxmox (VMA)"),
    (0, b"partclone-image", "an image of Partclone"),
    (0, b"PaRtImAgE-VoLuMe", "an image of Partimage"),
    (0, b"\x3A\xFF\x26\xED\x01\0\0\0\x1C\0\x0C\0", "a sparse image of Android"),
    (0, b"MComprHD\0\0\0", "a compressed hunks image (CHD)"),
    (0, b"QEVM\0\0\0\x03", "the saved state of a QEMU machine"),
    (0, b"LibvirtQemudSave", "the saved state of a libvirt machine"),
];

/// File name extensions of formats that are read here and have a signature. A file so named without it is corrupt or
/// cut, and showing its bytes as a disk would be a lie.
const WITH_SIGNATURE: [&str; 9] = ["vdi", "vmdk", "vhd", "vhdx", "avhd", "avhdx", "qcow", "qcow2", "qed"];

/// Extensions of files that are no disks whatever they contain.
const NAMED: [(&[&str], &str, &str); 7] = [
    (
        &[
            "box", "ova", "tar", "tgz", "tbz", "tbz2", "txz", "tzst", "gz", "bz2", "xz", "zst", "lz4", "lzma", "z",
            "zip", "7z", "rar",
        ],
        "a file named as an archive, without the signature of one",
        "find the whole archive; if it is a raw disk, give it another name, such as one that ends with .img",
    ),
    (
        &[
            "ovf",
            "vmx",
            "vmxf",
            "vmtx",
            "vmsd",
            "vbox",
            "vbox-prev",
            "vbox-tmp",
            "xml",
            "pvs",
            "vmcx",
            "vmc",
            "mf",
            "cert",
        ],
        "a file named as the description of a machine",
        "give the disk image that belongs to it",
    ),
    (
        &["vmem", "vmss", "vmsn", "nvram", "vmrs", "vsv", "sav", "log"],
        "a file named as the state of a machine",
        "give the disk image that belongs to it",
    ),
    (
        &["nrg", "mds", "mdf", "ccd", "cdi", "toc", "isz", "daa", "uif", "chd", "ecm"],
        "an image of a CD program",
        optical::ADVICE,
    ),
    (&["cue"], "a file named as a cue sheet, without its FILE and TRACK commands", "correct it, or give another sheet"),
    (
        &["hds"],
        "a part of a Parallels disk, without the header of a whole one",
        "give the directory of the disk, or DiskDescriptor.xml in it; if it is the whole disk, give it another name, such \
         as one that ends with .img",
    ),
    (
        &["sparseimage", "dmgpart", "e01", "ex01", "aff", "aff4", "wim", "esd", "swm", "ffu", "gho", "tib", "vma"],
        "a file named as an image of another program",
        CONVERT,
    ),
];

/// Refuses what is no raw disk.
///
/// # Errors
/// [`Error::Foreign`] saying what it is; [`Error::Corrupt`] for a file whose name says that it has another format, and
/// for an empty one.
pub(super) fn refuse(sample: &Sample) -> Result<()> {
    refuse_content(sample)?;
    let extension = sample.path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let corrupt = |what: String, expected: &str| {
        let found = if sample.len == 0 { "an empty file" } else { "other bytes" };
        Err(ParseError::corrupt(0, what, expected, found).in_file(&sample.path))
    };
    if WITH_SIGNATURE.contains(&&*extension) {
        let expected = "the format's magic number, or another name, such as one that ends with .img, for a raw disk";
        return corrupt(format!("signature of a .{extension} file"), expected);
    }
    if sample.len == 0 {
        return corrupt("raw disk image".to_owned(), "at least 1 byte");
    }
    let named = NAMED.iter().find(|(extensions, ..)| extensions.contains(&&*extension));
    match named.map(|(_, what, advice)| Kind::new(*what, *advice)).or_else(|| chunk(sample, &extension)) {
        Some(kind) => Err(error(sample, kind)),
        None => Ok(()),
    }
}

/// The name of the root element of an XML document, without its namespace; none of other files.
pub(crate) use text::root as xml_root;

/// Refuses what is known by its content to be no disk.
///
/// # Errors
/// [`Error::Foreign`] saying what it is.
pub(super) fn refuse_content(sample: &Sample) -> Result<()> {
    let image = IMAGES.iter().find(|(at, magic, _)| sample.starts_with(*at, magic));
    let kind = image
        .map(|(.., what)| Kind::new(*what, CONVERT))
        .or_else(|| archive::identify(sample))
        .or_else(|| optical::identify(sample))
        .or_else(|| text::identify(sample));
    kind.map_or(Ok(()), |kind| Err(error(sample, kind)))
}

/// A part of an image that was split into numbered files, of which another one lies next to it.
fn chunk(sample: &Sample, extension: &str) -> Option<Kind> {
    let number: u32 = extension.parse().ok().filter(|_| extension.len() == 3)?;
    let named = |number: Option<u32>| number.map(|number| sample.path.with_extension(format!("{number:03}")));
    [number.checked_sub(1), number.checked_add(1)].into_iter().flat_map(named).find(|other| other.is_file())?;
    Some(Kind::new("a part of a split image", "join the parts with cat, in the order of their numbers"))
}

fn error(sample: &Sample, Kind { what, advice }: Kind) -> Error {
    Error::Foreign { path: sample.path.clone(), what, advice: advice.into_owned() }
}

#[cfg(test)]
mod tests;
