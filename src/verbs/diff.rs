//! `diff`: what changed between two states, a line each, or as JSON.

use super::json::{Seen, names};
use super::{Error, Links, Report, Result, locate, shown, text};
use crate::diff::{self, Aspect, Change, FileChange, FileSystem, Side, State, VolumeChange, VolumeSide, Watch};
use crate::error_kind::{ErrorKind, message};
use crate::listing::write_json_array;
use crate::view::{self, Attributes, Kind};
use serde::Serialize;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How changes are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DiffForm {
    /// As JSON.
    pub json: bool,
    /// To a terminal: names are harmless then.
    pub on_terminal: bool,
}

/// Writes what changed between two states: of everything, or of one path, which is what the new state calls it. Returns
/// whether anything did.
///
/// # Errors
/// [`Error::Write`]; what is wrong with `path`.
pub(crate) fn diff(
    old: State<'_>,
    new: State<'_>,
    path: &Path,
    form: DiffForm,
    watch: &Watch<'_>,
    out: &mut dyn Write,
    report: Report<'_>,
) -> Result<bool> {
    let is_disk = |state: &State<'_>| state.disks().any(|(directory, _)| directory == path);
    let start = match () {
        () if path.as_os_str().is_empty() => Start::Everything(old, new),
        () if is_disk(&old) || is_disk(&new) => Start::Everything(old.only(path), new.only(path)),
        () => {
            let found = find_both(&old, &new, path)?;
            Start::Path(old, new, found)
        }
    };
    let mut any = false;
    if form.json {
        let done = write_json_array(out, |add| {
            start.run(path, watch, report, &mut |found| {
                any |= found.is_ok();
                add(&Item::new(found)).map_err(Error::from)
            })
        })?;
        done?;
    } else {
        start.run(path, watch, report, &mut |found| {
            if let Ok(change) = found {
                any = true;
                write(out, change, form.on_terminal)?;
            }
            Ok(())
        })?;
    }
    out.flush()?;
    Ok(any)
}

/// What is compared.
enum Start<'a> {
    Everything(State<'a>, State<'a>),
    Path(State<'a>, State<'a>, (Option<Attributes>, Option<Attributes>)),
}

impl Start<'_> {
    /// Passes on all changes and reports what could not be compared, until writing fails.
    fn run(
        &self,
        path: &Path,
        watch: &Watch<'_>,
        report: Report<'_>,
        each: &mut dyn FnMut(std::result::Result<&Change, &diff::Error>) -> Result<()>,
    ) -> Result<()> {
        let mut written = Ok(());
        let mut pass = |found: diff::Result<Change>| {
            written = each(found.as_ref());
            if let Err(e) = found {
                report(e.into());
            }
            if written.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        match self {
            Self::Everything(old, new) => diff::compare(old, new, watch, &mut pass)?,
            Self::Path(old, new, (a, b)) => {
                let inodes = (a.map(|of| of.inode), b.map(|of| of.inode));
                diff::compare_trees(old, new, path, inodes, watch, &mut pass)?;
            }
        }
        written
    }
}

/// The file at a path of the new state, in both states. At least one has it.
///
/// # Errors
/// When none has it, or a state cannot tell.
pub(super) fn find_both(
    old: &State<'_>,
    new: &State<'_>,
    path: &Path,
) -> Result<(Option<Attributes>, Option<Attributes>)> {
    let find = |state: &State<'_>, path: &Path| locate(state.view, path, Links::Keep).map(|found| found.attributes);
    let (a, b) = (find(old, &diff::old_path(old, new, path)), find(new, path));
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((Some(a), Some(b))),
        (Ok(a), Err(e)) if is_absent(&e) => Ok((Some(a), None)),
        (Err(e), Ok(b)) if is_absent(&e) => Ok((None, Some(b))),
        (Err(e), Err(other)) if is_absent(&other) => Err(e),
        (_, Err(e)) | (Err(e), _) => Err(e),
    }
}

/// Whether an error says that there is no such file.
pub(super) fn is_absent(error: &Error) -> bool {
    matches!(error, Error::View { source: view::Error::NotFound | view::Error::NotDirectory, .. })
}

/// Writes a change as a line: a letter, the path, and what changed.
fn write(out: &mut dyn Write, change: &Change, on_terminal: bool) -> Result<()> {
    let (letter, path, details) = match change {
        Change::File(change) => {
            let of = change.new.as_ref().or(change.old.as_ref()).map(|side| side.attributes.kind);
            (letter(&change.old, &change.new), named(&change.path, of == Some(Kind::Directory)), file_details(change))
        }
        Change::Volume(change) => {
            let side = change.new.as_ref().or(change.old.as_ref());
            let path = side.map(|side| named(&side.path, side.file_system.is_some())).unwrap_or_default();
            (letter(&change.old, &change.new), path, volume_details(change))
        }
        Change::Disk { path, old, new } => {
            let details = match (old, new) {
                (Some(old), Some(new)) => format!("size {old} -> {new}"),
                (size, other) => format!("disk of {} bytes", size.or(*other).unwrap_or_default()),
            };
            let is_in_both = old.is_some() && new.is_some();
            (letter(old, new), if is_in_both { path.join("vhdd") } else { path.join("") }, details)
        }
    };
    write!(out, "{letter} ")?;
    out.write_all(&text::name(path.as_os_str().as_bytes(), on_terminal))?;
    if !details.is_empty() {
        write!(out, "  (")?;
        out.write_all(&text::name(details.as_bytes(), on_terminal))?;
        write!(out, ")")?;
    }
    Ok(writeln!(out)?)
}

/// Added, deleted or modified, as version control has them.
fn letter<T>(old: &Option<T>, new: &Option<T>) -> char {
    match (old, new) {
        (None, _) => 'A',
        (_, None) => 'D',
        _ => 'M',
    }
}

/// A path, with a slash after that of a directory.
fn named(path: &Path, is_directory: bool) -> PathBuf {
    if is_directory { path.join("") } else { path.to_owned() }
}

/// What changed in a file, with old and new values where those are short.
fn file_details(change: &FileChange) -> String {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return String::new() };
    let (a, b) = (&old.attributes, &new.attributes);
    let detail = |aspect: &Aspect| {
        let values = match aspect {
            Aspect::Kind => format!(" {} -> {}", kind(a), kind(b)),
            Aspect::Size => format!(" {} -> {}", a.size, b.size),
            Aspect::Mode => format!(" {:04o} -> {:04o}", a.mode, b.mode),
            Aspect::Owner => format!(" {}:{} -> {}:{}", a.uid, a.gid, b.uid, b.gid),
            Aspect::Device => format!(" {},{} -> {},{}", a.device.0, a.device.1, b.device.0, b.device.1),
            Aspect::Target => format!(" {} -> {}", target(old), target(new)),
            _ => String::new(),
        };
        format!("{}{values}", aspect.name())
    };
    change.aspects.iter().map(detail).collect::<Vec<_>>().join(", ")
}

fn kind(attributes: &Attributes) -> &'static str {
    text::kind(attributes).trim_start_matches("regular ").trim_start_matches("empty ")
}

fn target(side: &Side) -> String {
    side.target.as_deref().map(shown).unwrap_or_default()
}

/// Where a volume is and what it holds, or what changed of that.
fn volume_details(change: &VolumeChange) -> String {
    let (old, new) = match (&change.old, &change.new) {
        (Some(old), Some(new)) => (old, new),
        (Some(side), None) | (None, Some(side)) => {
            let fs = side.file_system.as_ref().map(|fs| format!("{} ", described(fs))).unwrap_or_default();
            return format!("{fs}of {} bytes at {}", side.size, side.offset);
        }
        (None, None) => return String::new(),
    };
    let of = |side: &VolumeSide, get: fn(&FileSystem) -> &str| {
        side.file_system.as_ref().map_or_else(|| "unknown".to_owned(), |fs| get(fs).to_owned())
    };
    let detail = |aspect: &Aspect| {
        let values = match aspect {
            Aspect::Kind => format!(" {} -> {}", of(old, |fs| fs.type_name), of(new, |fs| fs.type_name)),
            Aspect::Size => format!(" {} -> {}", old.size, new.size),
            Aspect::Offset => format!(" {} -> {}", old.offset, new.offset),
            Aspect::Number => format!(" {} -> {}", shown(&old.path), shown(&new.path)),
            Aspect::Uuid => format!(" {} -> {}", of(old, |fs| &fs.uuid), of(new, |fs| &fs.uuid)),
            Aspect::Label => format!(" {:?} -> {:?}", of(old, |fs| &fs.label), of(new, |fs| &fs.label)),
            _ => String::new(),
        };
        format!("{}{values}", aspect.name())
    };
    change.aspects.iter().map(detail).collect::<Vec<_>>().join(", ")
}

fn described(fs: &FileSystem) -> String {
    let FileSystem { type_name, uuid, label } = fs;
    let label = if label.is_empty() { String::new() } else { format!(" {label:?}") };
    if uuid.is_empty() { format!("{type_name}{label}") } else { format!("{type_name}{label} {uuid}") }
}

/// A change in JSON.
#[derive(Serialize)]
struct Item {
    /// `added`, `removed`, `changed`; `unknown` for what could not be compared.
    change: &'static str,
    /// What it is a change of: `file`, `volume`, `disk`.
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<&'static str>,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aspects: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<ItemSide>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<ItemSide>,
    /// Why it could not be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The exit code of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u8>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ItemSide {
    File(Box<Seen>),
    Volume(Volume),
    Disk { size: u64 },
}

#[derive(Serialize)]
struct Volume {
    path: String,
    offset: u64,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_system: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
}

impl Volume {
    fn new(side: &VolumeSide) -> Self {
        let fs = side.file_system.as_ref();
        Self {
            path: side.path.to_string_lossy().into_owned(),
            offset: side.offset,
            size: side.size,
            file_system: fs.map(|fs| fs.type_name),
            uuid: fs.map(|fs| fs.uuid.clone()),
            label: fs.map(|fs| fs.label.clone()),
        }
    }
}

impl Item {
    fn new(found: std::result::Result<&Change, &diff::Error>) -> Self {
        match found {
            Ok(Change::File(FileChange { path, old, new, aspects })) => {
                let side = |side: &Side| ItemSide::File(Box::new(Seen::new(&side.attributes, side.target.as_deref())));
                Self::of("file", path, old.as_ref().map(side), new.as_ref().map(side), aspects)
            }
            Ok(Change::Volume(VolumeChange { old, new, aspects })) => {
                let path = new.as_ref().or(old.as_ref()).map(|side| &*side.path).unwrap_or(Path::new(""));
                let side = |side: &VolumeSide| ItemSide::Volume(Volume::new(side));
                Self::of("volume", path, old.as_ref().map(side), new.as_ref().map(side), aspects)
            }
            Ok(Change::Disk { path, old, new }) => {
                let side = |size| ItemSide::Disk { size };
                let aspects = if old.is_some() && new.is_some() { &[Aspect::Size][..] } else { &[] };
                Self::of("disk", &path.join("vhdd"), old.map(side), new.map(side), aspects)
            }
            Err(e) => {
                let empty = PathBuf::new();
                let kind: ErrorKind = e.kind();
                let item = Self::of("file", e.path().unwrap_or(&empty), None, None, &[]);
                Self { change: "unknown", of: None, error: Some(message(e)), exit_code: Some(kind.exit_code()), ..item }
            }
        }
    }

    fn of(of: &'static str, path: &Path, old: Option<ItemSide>, new: Option<ItemSide>, aspects: &[Aspect]) -> Self {
        let (path, path_bytes) = names(path);
        let change = match letter(&old, &new) {
            'A' => "added",
            'D' => "removed",
            _ => "changed",
        };
        let aspects = aspects.iter().map(|aspect| aspect.name()).collect();
        Self { change, of: Some(of), path, path_bytes, aspects, old, new, error: None, exit_code: None }
    }
}
