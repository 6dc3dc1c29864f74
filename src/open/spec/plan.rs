//! What a chain spec means: which files it begins with, and what each element makes of the one before it. Whether the
//! elements fit each other is known before any file is opened.

use super::error::{Error, Location, Result};
use super::syntax::{Element, Syntax, TYPES, Type, Word};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// The providers of file systems, and how the type begins that the file system then has, in lower case: any without it.
pub(super) const FILE_SYSTEMS: [(&str, &[&str]); 12] = [
    ("mount", &[""]),
    ("fat", &["fat"]),
    ("ext", &["ext"]),
    ("ntfs", &["ntfs"]),
    ("isofs", &["iso 9660", "udf"]),
    ("xfs", &["xfs"]),
    ("exfat", &["exfat"]),
    ("btrfs", &["btrfs"]),
    ("hfs", &["hfs"]),
    ("apfs", &["apfs"]),
    ("udf", &["udf"]),
    ("squashfs", &["squashfs"]),
];
/// The providers of anything else.
const OTHERS: [&str; 7] = ["stdfile", "stddir", "open", "vd", "dvm", "gunzip", "pull"];
/// Those of upstream that only write.
const WRITERS: [&str; 2] = ["gzip", "push"];

/// The file or images that a spec begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::open) struct Start {
    pub(super) location: Location,
    /// The base first; one for a plain file.
    pub(super) files: Vec<PathBuf>,
    /// Whether the bytes of the file are the disk's, whatever they look like.
    pub(super) plain: bool,
}

/// Something with the shape of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Disk {
    /// What the spec begins with.
    Start,
    /// A disk that has a partition table.
    Partitioned(Box<Disk>, Location),
    /// A volume of a disk with a partition table, by its name.
    Volume(Box<Disk>, Name),
    /// A file of a file system.
    File(Box<Files>, Name),
    /// The content of a gzip file.
    Gunzip(Box<Disk>, Location),
}

/// Something with names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Files {
    /// A file system, as a provider has it.
    Mount(Box<Disk>, Location, usize),
    /// A directory of one.
    Directory(Box<Files>, Name),
}

/// A name to look up, and where in the spec it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) bytes: Vec<u8>,
    pub(super) location: Location,
}

/// What a spec ends in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Disk(Disk),
    Files(Files),
    /// Whatever the last name means, a file or a directory.
    Either(Files, Name),
}

/// A chain spec whose elements fit each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::open) struct Plan {
    pub(super) start: Start,
    pub(super) end: End,
}

/// What the elements so far give.
enum Given {
    Nothing,
    HostDirectory(PathBuf),
    Disk(Disk),
    Volumes(Disk),
    Files(Files),
}

impl Given {
    fn what(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::HostDirectory(_) => "a directory of this host",
            Self::Disk(_) => "a disk or file",
            Self::Volumes(_) => "the volumes of a disk",
            Self::Files(_) => "a file system",
        }
    }
}

impl Plan {
    /// Whether the text is a chain spec.
    pub(in crate::open) fn is_spec(text: &OsStr) -> bool {
        text.as_bytes().starts_with(super::syntax::PREFIX)
    }

    /// Reads a spec.
    ///
    /// # Errors
    /// [`Error::Syntax`]; [`Error::Refused`] for writing where it ends in what is only read.
    pub(in crate::open) fn parse(text: &OsStr, writable: bool) -> Result<Self> {
        let spec = Syntax::parse(text.as_bytes())?;
        let mut planner = Planner { spec: &spec, writable, start: None };
        let mut given = Given::Nothing;
        for element in &spec.elements {
            given = planner.next(given, element)?;
        }
        let last = spec.elements.last().map_or((0, 0), |element| element.at);
        let end = planner.end(given, &spec, last)?;
        match planner.start {
            Some(start) => Ok(Self { start, end }),
            None => Err(Error::syntax(spec.location(last), "nothing is opened; begin with file(vd,IMAGE)")),
        }
    }
}

struct Planner<'a> {
    spec: &'a Syntax,
    writable: bool,
    start: Option<Start>,
}

impl Planner<'_> {
    fn next(&mut self, given: Given, element: &Element) -> Result<Given> {
        let provider = String::from_utf8_lossy(&element.provider.bytes).into_owned();
        let file_system = FILE_SYSTEMS.iter().position(|(name, _)| *name == provider);
        let (types, most): (&[Type], usize) = match provider.as_str() {
            _ if file_system.is_some() => (&[Type::Vfs, Type::Dir], 2),
            "stdfile" => (&[Type::File, Type::Ios], 4),
            "stddir" => (&[Type::Dir, Type::Vfs], 2),
            "open" => (&[Type::File, Type::Ios, Type::Dir, Type::Vfs], 4),
            "vd" => (&[Type::File, Type::Ios], usize::MAX),
            "dvm" => (&[Type::Vfs, Type::Dir], 1),
            "gunzip" => (&[Type::Ios, Type::File], 0),
            "pull" => (&[Type::Ios, Type::File], 2),
            name => return Err(self.unknown(element, name)),
        };
        if !types.contains(&element.kind) && element.kind != Type::Base {
            let right = types.first().and_then(|right| TYPES.iter().find(|(kind, _)| kind == right));
            let right = right.map_or("", |(_, name)| name);
            return Err(self.wrong(element, &format!("{provider} gives no such type; write {right}({provider}...)")));
        }
        if let Some(extra) = element.arguments.get(most) {
            let what = match most {
                0 => format!("{provider} takes no arguments; leave them out"),
                1 => format!("{provider} takes one argument; leave the others out"),
                _ => format!("{provider} takes no more than {most} arguments; leave the others out"),
            };
            return Err(Error::syntax(self.spec.location(extra.at), &what));
        }
        let misplaced = |this: &Self, given: &Given, needs: &str| {
            Err(this.wrong(element, &format!("{provider} needs {needs} before it, and {} is there", given.what())))
        };
        match (provider.as_str(), given) {
            ("stdfile" | "stddir" | "vd", given) if !matches!(given, Given::Nothing) => {
                Err(self.wrong(element, &format!("{provider} can only come first; leave out what is before it")))
            }
            ("vd", _) => self.images(element),
            ("stdfile" | "open", Given::Nothing) if !is_directory(element.kind) => {
                let path = path(&self.argument(element, 0, "the path of a file")?.bytes);
                self.file(element, path)
            }
            ("stddir" | "open", Given::Nothing) => {
                self.mode(element, 1)?;
                Ok(Given::HostDirectory(path(&self.argument(element, 0, "the path of a directory")?.bytes)))
            }
            ("open", Given::HostDirectory(directory)) => {
                let inner = directory.join(path(&self.argument(element, 0, "a path in the directory")?.bytes));
                if !is_directory(element.kind) {
                    return self.file(element, inner);
                }
                self.mode(element, 1)?;
                Ok(Given::HostDirectory(inner))
            }
            ("open", Given::Volumes(disk)) => {
                let name = self.name(element)?;
                if is_directory(element.kind) {
                    return Err(self.wrong(element, "a volume is no directory; write file(open,vol0)"));
                }
                Ok(Given::Disk(Disk::Volume(Box::new(disk), name)))
            }
            ("open", Given::Files(files)) => {
                let name = self.name(element)?;
                Ok(match is_directory(element.kind) {
                    true => Given::Files(Files::Directory(Box::new(files), name)),
                    false => Given::Disk(Disk::File(Box::new(files), name)),
                })
            }
            ("open", given) => misplaced(self, &given, "dvm, stddir or a file system"),
            ("dvm", Given::Disk(disk)) => {
                self.mode(element, 0)?;
                Ok(Given::Volumes(Disk::Partitioned(Box::new(disk), self.spec.location(element.at))))
            }
            ("gunzip", Given::Disk(disk)) => {
                Ok(Given::Disk(Disk::Gunzip(Box::new(disk), self.spec.location(element.at))))
            }
            // It reads ahead, which the kernel does.
            ("pull", Given::Disk(disk)) => Ok(Given::Disk(disk)),
            (_, Given::Disk(disk)) => {
                self.mode(element, 0)?;
                let index = file_system.unwrap_or(0);
                Ok(Given::Files(Files::Mount(Box::new(disk), self.spec.location(element.at), index)))
            }
            (_, Given::Volumes(_)) if file_system.is_some() => {
                let what = format!("{provider} needs one of the volumes; write file(open,vol0) between them");
                Err(self.wrong(element, &what))
            }
            (_, given) => misplaced(self, &given, "a disk or file, such as file(vd,IMAGE),"),
        }
    }

    fn end(&mut self, given: Given, spec: &Syntax, last: (usize, usize)) -> Result<End> {
        let location = spec.location(last);
        let end = match (given, spec.path.as_ref().map(|word| self.named(word))) {
            (Given::Disk(disk) | Given::Volumes(disk), None) => End::Disk(disk),
            (Given::Files(files), None) => End::Files(files),
            (Given::Volumes(disk), Some(name)) => End::Disk(Disk::Volume(Box::new(disk), name)),
            (Given::Files(files), Some(name)) => End::Either(files, name),
            (Given::HostDirectory(directory), Some(name)) => {
                self.start = Some(Start {
                    location: name.location,
                    files: vec![directory.join(path(&name.bytes))],
                    plain: true,
                });
                End::Disk(Disk::Start)
            }
            (Given::Disk(_), Some(name)) => {
                let what = "what is before it has no names; put dir(mount) between them, or leave it out";
                return Err(Error::syntax(name.location, what));
            }
            (Given::HostDirectory(_) | Given::Nothing, None) => {
                let what = "a directory of this host is no disk; name a file in it with file(open,FILE)";
                return Err(Error::syntax(location, what));
            }
            (Given::Nothing, Some(name)) => {
                return Err(Error::syntax(name.location, "nothing is before it; begin with file(vd,IMAGE)"));
            }
        };
        let is_written_to = |end: &End| {
            let End::Disk(disk) = end else { return false };
            let mut disk = disk;
            while let Disk::Volume(inner, _) | Disk::Partitioned(inner, _) = disk {
                disk = inner;
            }
            *disk == Disk::Start
        };
        if self.writable && !is_written_to(&end) {
            let what = "only disks and their volumes are written to, not the files in them or what is decompressed; \
                        mount it without --rw, or end the spec before that"
                .to_owned();
            return Err(Error::Refused { location, what });
        }
        Ok(end)
    }

    /// `vd(BASE,DIFF,...,MODE)`.
    fn images(&mut self, element: &Element) -> Result<Given> {
        self.argument(element, 0, "the path of an image")?;
        let mut files = &element.arguments[..];
        // A last word that is one of these is never a file upstream.
        if let Some((last, rest)) = files.split_last().filter(|(last, rest)| !rest.is_empty() && mode(last).is_some()) {
            self.check(last)?;
            files = rest;
        }
        let files = files.iter().map(|word| match word.bytes.is_empty() {
            true => Err(Error::syntax(self.spec.location(word.at), "a path is empty; leave it out")),
            false => Ok(path(&word.bytes)),
        });
        let files = files.collect::<Result<_>>()?;
        self.start = Some(Start { location: self.spec.location(element.at), files, plain: false });
        Ok(Given::Disk(Disk::Start))
    }

    /// `stdfile(PATH,MODE,DISPOSITION,SHARING)`, of which the last says nothing here.
    fn file(&mut self, element: &Element, path: PathBuf) -> Result<Given> {
        self.mode(element, 1)?;
        let disposition = element.arguments.get(2).filter(|word| !word.bytes.is_empty() && word.bytes != b"open");
        if let Some(word) = disposition {
            let what = "files are neither created nor emptied here; leave it out, or write open";
            return Err(Error::syntax(self.spec.location(word.at), what));
        }
        self.start = Some(Start { location: self.spec.location(element.at), files: vec![path], plain: true });
        Ok(Given::Disk(Disk::Start))
    }

    /// Checks the argument for what an element is opened, if it has one.
    fn mode(&self, element: &Element, index: usize) -> Result<()> {
        match element.arguments.get(index).filter(|word| !word.bytes.is_empty()) {
            None => Ok(()),
            Some(word) => self.check(word),
        }
    }

    fn check(&self, word: &Word) -> Result<()> {
        let location = self.spec.location(word.at);
        match mode(word) {
            None => Err(Error::syntax(location, "expected r, ro or rw; leave it out, or write one of them")),
            Some(false) if self.writable => {
                let what =
                    "it says that it is only read; leave that out of the spec, or mount it without --rw".to_owned();
                Err(Error::Refused { location, what })
            }
            Some(_) => Ok(()),
        }
    }

    fn name(&self, element: &Element) -> Result<Name> {
        self.mode(element, 1)?;
        Ok(self.named(self.argument(element, 0, "the name of a file or volume")?))
    }

    fn named(&self, word: &Word) -> Name {
        Name { bytes: word.bytes.clone(), location: self.spec.location(word.at) }
    }

    fn argument<'e>(&self, element: &'e Element, index: usize, what: &str) -> Result<&'e Word> {
        let word = element.arguments.get(index).filter(|word| !word.bytes.is_empty());
        word.ok_or_else(|| self.wrong(element, &format!("it needs {what}; add it after the provider and a comma")))
    }

    fn wrong(&self, element: &Element, what: &str) -> Error {
        Error::syntax(self.spec.location(element.at), what)
    }

    fn unknown(&self, element: &Element, name: &str) -> Error {
        let all = OTHERS.into_iter().chain(FILE_SYSTEMS.iter().map(|(name, _)| *name)).collect::<Vec<_>>();
        let what = match WRITERS.contains(&name) {
            true => format!("{name} is for writing, and files are only read here; leave it out"),
            false => format!("no provider has that name; there are {}", all.join(", ")),
        };
        Error::syntax(self.spec.location(element.provider.at), &what)
    }
}

fn is_directory(kind: Type) -> bool {
    matches!(kind, Type::Dir | Type::Vfs)
}

/// Whether a mode allows writing; `None` for what is no mode.
fn mode(word: &Word) -> Option<bool> {
    match word.bytes.trim_ascii_end() {
        b"r" | b"ro" => Some(false),
        b"rw" => Some(true),
        _ => None,
    }
}

fn path(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}
