//! Rock Ridge (IEEE P1282): POSIX names and attributes in the fields of directory records
//! (<https://web.archive.org/web/20170404043745/http://www.ymi.com/ymi/sites/default/files/pdf/Rockridge.pdf>).

use super::Iso;
use super::record::{Record, long_date, short_date};
use super::susp::{Field, HEADER, Skip};
use super::zisofs::Compression;
use crate::guestfs::{Error, NodeKind, Result, device_numbers};
use crate::ondisk::ParseError;
use crate::ondisk::Time;
use crate::ondisk::fields::Fields;

/// Names of the extension in `ER`.
const IDENTIFIERS: [&[u8]; 3] = [b"RRIP_1991A", b"IEEE_P1282", b"IEEE_1282"];
/// Flags of `NM`, `SL` and of components: continues in the next one; current directory; parent; root.
const CONTINUE: u8 = 1;
const CURRENT: u8 = 2;
const PARENT: u8 = 4;
const ROOT: u8 = 8;
/// Flag of `TF`: dates have 17 bytes.
const LONG_FORM: u8 = 0x80;
/// The longest name and target in bytes; the kernel has the same limits.
const MAX_NAME: usize = 255;
const MAX_TARGET: usize = 4095;

/// `PX`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Posix {
    pub(super) mode: u32,
    pub(super) links: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Posix {
    /// The kind of file by its mode; `None` when that has no valid one.
    pub(super) fn kind(&self) -> Option<NodeKind> {
        NodeKind::of_mode(self.mode & 0xFFFF)
    }
}

/// `TF`: times of creation, modification, access and change, as far as recorded.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times(pub(super) [Option<Time>; 4]);

/// A name or target that may be split into several chunks.
#[derive(Debug, Clone, Default)]
struct Chunks {
    text: Vec<u8>,
    begun: bool,
    /// Whether another chunk must follow.
    open: bool,
}

/// The information in the fields of one record.
#[derive(Debug, Default)]
pub(super) struct RockRidge {
    name: Chunks,
    target: Chunks,
    /// Whether the next component of the target continues the last one.
    component_open: bool,
    /// Whether a chunk of the target is invalid.
    target_is_bad: bool,
    pub(super) posix: Option<Posix>,
    /// Major and minor number (`PN`).
    pub(super) device: (u32, u32),
    pub(super) times: Times,
    /// The block of a directory that this record stands in for (`CL`).
    pub(super) child: Option<u32>,
    /// Whether the directory is shown elsewhere (`RE`).
    pub(super) relocated: bool,
    /// The compression of the data (`ZF`).
    pub(super) compression: Option<Compression>,
    /// Whether the data is a table of the non-zero extents (`SF`).
    pub(super) sparse: bool,
    /// The reason why further fields cannot be read. Those before it are valid.
    pub(super) error: Option<Error>,
}

impl Iso {
    /// Reads the fields of a record. As in the kernel, invalid fields are skipped, and the file is shown without them.
    pub(super) fn rock_ridge(&self, record: &Record) -> RockRidge {
        let mut found = RockRidge::default();
        let Some(skip) = self.rock_ridge else { return found };
        let skip = if record.at == self.root { skip.root } else { skip.others };
        let reported = self.fields(record, skip, &mut |field| match found.add(field) {
            Err(cause) if !matches!(&field.signature, b"ZF" | b"Z2") => {
                log::debug!("A field of the directory record at byte {} is skipped: {cause}", record.at);
                Ok(())
            }
            reported => reported,
        });
        found.error = reported.err();
        found
    }

    /// Where its fields begin, if the root directory's own record has any.
    pub(super) fn find_rock_ridge(&self, root: &Record) -> Result<Option<Skip>> {
        let Some(skip) = self.find_susp(root)? else { return Ok(None) };
        let mut seen = false;
        let reported = self.fields(root, skip.root, &mut |field| {
            seen |= match &field.signature {
                b"ER" => is_rock_ridge(&field.f)?,
                b"PX" | b"RR" => true,
                _ => false,
            };
            Ok(())
        });
        if seen { Ok(Some(skip)) } else { reported.map(|()| None) }
    }
}

impl RockRidge {
    /// The name, unless it is incomplete.
    pub(super) fn name(&self) -> Option<&[u8]> {
        Some(&*self.name.text).filter(|name| !name.is_empty() && !self.name.open)
    }

    /// Whether the target is complete.
    pub(super) fn is_whole(&self) -> bool {
        !self.target.open && !self.component_open && !self.target_is_bad
    }

    /// The target of a link, if there is one.
    pub(super) fn target(&self) -> Option<&[u8]> {
        Some(&*self.target.text).filter(|target| !target.is_empty())
    }

    fn add(&mut self, field: &Field<'_>) -> Result<(), ParseError> {
        let f = &field.f;
        match &field.signature {
            b"NM" => {
                let flags = f.u8(HEADER)?;
                if flags & (CURRENT | PARENT) == 0 {
                    let chunk = f.bytes(HEADER + 1, f.len() - HEADER - 1)?;
                    self.name.open = flags & CONTINUE != 0;
                    // As in the kernel, a chunk that is too long is dropped.
                    too_long(f, "name", self.name.text.len() + chunk.len(), MAX_NAME)?;
                    self.name.text.extend_from_slice(chunk);
                }
            }
            b"PX" => {
                let (mode, links, uid, gid) = (f.u32_le(4)?, f.u32_le(12)?, f.u32_le(20)?, f.u32_le(28)?);
                self.posix = Some(Posix { mode, links, uid, gid });
            }
            b"PN" => self.device = device(f.u32_le(4)?, f.u32_le(12)?),
            b"SL" => {
                let added = self.add_target(f);
                self.target_is_bad |= added.is_err();
                added?;
            }
            b"TF" => self.add_times(f)?,
            b"CL" => self.child = Some(f.u32_le(4)?),
            b"RE" => self.relocated = true,
            b"SF" => self.sparse = true,
            b"ZF" | b"Z2" => self.compression = Some(Compression::parse(field.version, f)?),
            _ => {}
        }
        Ok(())
    }

    /// Adds a chunk of a target: components, the last of which may continue in the next chunk.
    fn add_target(&mut self, f: &Fields<'_>) -> Result<(), ParseError> {
        self.target.open = f.u8(HEADER)? & CONTINUE != 0;
        let mut at = HEADER + 1;
        while at < f.len() {
            let (flags, len) = (f.u8(at)?, usize::from(f.u8(at + 1)?));
            let content = f.bytes(at + 2, len)?;
            let text: &[u8] = match flags & !CONTINUE {
                0 => content,
                CURRENT => b".",
                PARENT => b"..",
                ROOT => b"",
                _ => {
                    let what = "flags of a component of a symbolic link's target";
                    return Err(ParseError::unsupported(
                        f.offset(at),
                        what,
                        "1, 2, 4 or 8",
                        format_args!("{flags:#x}"),
                    ));
                }
            };
            if self.target.begun && !self.component_open && self.target.text != b"/" {
                self.target.text.push(b'/');
            }
            if flags & ROOT != 0 {
                self.target.text = b"/".to_vec();
            }
            self.target.text.extend_from_slice(text);
            self.target.begun = true;
            self.component_open = flags & CONTINUE != 0;
            too_long(f, "target of a symbolic link", self.target.text.len(), MAX_TARGET)?;
            at += 2 + len;
        }
        Ok(())
    }

    fn add_times(&mut self, f: &Fields<'_>) -> Result<(), ParseError> {
        let flags = f.u8(HEADER)?;
        let len = if flags & LONG_FORM != 0 { 17 } else { 7 };
        let mut at = HEADER + 1;
        for (bit, time) in self.times.0.iter_mut().enumerate() {
            if flags & 1 << bit != 0 {
                let raw = f.bytes(at, len)?;
                *time = if flags & LONG_FORM != 0 { long_date(raw) } else { short_date(raw) }.or(*time);
                at += len;
            }
        }
        Ok(())
    }
}

fn too_long(f: &Fields<'_>, what: &str, len: usize, most: usize) -> Result<(), ParseError> {
    if len <= most {
        return Ok(());
    }
    let what = format!("length of the {what} in a directory record");
    Err(ParseError::corrupt(f.offset(0), what, format_args!("at most {most}"), len))
}

/// Whether an `ER` field names Rock Ridge.
fn is_rock_ridge(f: &Fields<'_>) -> Result<bool, ParseError> {
    let name = f.bytes(HEADER + 4, usize::from(f.u8(HEADER)?))?;
    Ok(IDENTIFIERS.contains(&name))
}

/// Decodes major and minor number, or the two halves of the C library's combined number.
fn device(high: u32, low: u32) -> (u32, u32) {
    match high {
        0 => device_numbers(low),
        major => (major, low),
    }
}
