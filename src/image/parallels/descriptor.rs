//! `DiskDescriptor.xml`, which lists the files of a Parallels bundle. Element names are those of QEMU's
//! `docs/interop/prl-xml.rst` (<https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/prl-xml.rst>).

use crate::ondisk::ParseError;
use crate::ondisk::xml;
use crate::ondisk::xml::{Place, Step};
use std::collections::HashMap;
use uuid::Uuid;

/// The root element.
pub(super) const ROOT: &str = "Parallels_disk_image";
/// The snapshot that shows the current state where the descriptor does not name one.
const CURRENT: Uuid = Uuid::from_u128(0x5fba_abe3_6958_40ff_92a7_860e_329a_ab41);
const SECTOR: u64 = 512;

/// How a file of a bundle stores its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The bytes as they are.
    Plain,
    /// With a header and a map, as a single `.hdd` file has them. (Nothing is compressed.)
    Compressed,
}

/// `Image`: the file of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImageFile {
    /// `GUID` of the snapshot.
    pub(super) guid: Uuid,
    /// `Type`.
    pub(super) kind: Kind,
    /// `File`, relative to the bundle's directory.
    pub(super) name: String,
}

/// `Storage`: a part of the disk and the files that hold it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Storage {
    /// `Start` in bytes.
    pub(super) start: u64,
    /// `End` in bytes: the first byte after the part.
    pub(super) end: u64,
    /// One for each snapshot.
    pub(super) images: Vec<ImageFile>,
}

/// What the descriptor says, checked: the parts follow each other and make up the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Descriptor {
    /// `Disk_size` in bytes.
    pub(super) disk_size: u64,
    /// The parts of the disk, in order.
    pub(super) storages: Vec<Storage>,
    /// The parent of each snapshot; a base has the nil GUID as its parent.
    parents: HashMap<Uuid, Uuid>,
    /// `TopGUID`.
    top: Option<Uuid>,
}

/// What is read so far.
#[derive(Default)]
struct Parser {
    disk_size: Option<u64>,
    storages: Vec<Storage>,
    parents: HashMap<Uuid, Uuid>,
    top: Option<Uuid>,
    // Of the `Image` or `Shot` that is open.
    guid: Option<Uuid>,
    parent: Option<Uuid>,
    kind: Option<Kind>,
    file: Option<String>,
}

impl Descriptor {
    /// Parses a descriptor.
    ///
    /// # Errors
    /// [`ParseError`] naming the element that is missing, wrong or not supported.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut parser = Parser::default();
        xml::walk(bytes, 0, &mut |place, step| match step {
            Step::Open => parser.open(place),
            Step::Close(text) => parser.close(place, text),
        })?;
        let disk_size = parser.disk_size.ok_or_else(|| missing(0, "Disk_size"))?;
        parser.storages.sort_by_key(|storage| storage.start);
        let mut end = 0;
        for storage in &parser.storages {
            if storage.start != end || storage.end <= storage.start {
                let expected = format_args!("a part of the disk that begins at byte {end}");
                let found = format_args!("one from {} to {}", storage.start, storage.end);
                return Err(ParseError::corrupt(0, "Storage in the descriptor", expected, found));
            }
            end = storage.end;
        }
        if end != disk_size || disk_size == 0 {
            let expected = format_args!("parts up to byte {disk_size}, the disk's size");
            return Err(ParseError::corrupt(
                0,
                "Storage in the descriptor",
                expected,
                format_args!("parts up to {end}"),
            ));
        }
        Ok(Self { disk_size, storages: parser.storages, parents: parser.parents, top: parser.top })
    }

    /// The snapshots that make up a state of the disk, from `snapshot` (or the current state) to the base.
    ///
    /// # Errors
    /// [`ParseError`] when there is no such snapshot, or its ancestors are not all there.
    pub(super) fn chain(&self, snapshot: Option<Uuid>) -> Result<Vec<Uuid>, ParseError> {
        let top = match snapshot.or(self.top) {
            Some(guid) => guid,
            None => self.current()?,
        };
        let mut chain = Vec::new();
        let mut guid = top;
        // A bundle without snapshots need not list the one state that it has.
        while !guid.is_nil() {
            let parent = match self.parents.get(&guid) {
                Some(parent) => *parent,
                None if self.parents.is_empty() && chain.is_empty() => Uuid::nil(),
                None => {
                    let expected = format_args!("a Shot for {guid}");
                    return Err(ParseError::corrupt(0, "Snapshots in the descriptor", expected, "none"));
                }
            };
            if chain.len() > self.parents.len() {
                let found = format_args!("{top}, which is an ancestor of its own");
                return Err(ParseError::corrupt(0, "Snapshots in the descriptor", "a tree", found));
            }
            chain.push(guid);
            guid = parent;
        }
        Ok(chain)
    }

    fn current(&self) -> Result<Uuid, ParseError> {
        let files = || self.storages.iter().flat_map(|storage| &storage.images).map(|image| image.guid);
        if files().any(|guid| guid == CURRENT) {
            return Ok(CURRENT);
        }
        let mut leaves = files().filter(|guid| !self.has_children(*guid)).collect::<Vec<_>>();
        leaves.sort_unstable();
        leaves.dedup();
        match leaves[..] {
            [only] => Ok(only),
            _ => {
                let found = format_args!("{} snapshots without children", leaves.len());
                Err(ParseError::corrupt(
                    0,
                    "Snapshots in the descriptor",
                    "TopGUID or one state without children",
                    found,
                ))
            }
        }
    }

    /// Whether there is a snapshot, or the one state of a bundle without snapshots.
    pub(super) fn has_snapshot(&self, guid: Uuid) -> bool {
        self.parents.contains_key(&guid) || self.storages.iter().flat_map(|s| &s.images).any(|i| i.guid == guid)
    }

    /// Whether a snapshot is the parent of another: its files must not change.
    pub(super) fn has_children(&self, guid: Uuid) -> bool {
        self.parents.values().any(|parent| *parent == guid)
    }
}

impl Storage {
    /// The file of a snapshot.
    ///
    /// # Errors
    /// [`ParseError`] when the descriptor names none.
    pub(super) fn image(&self, guid: Uuid) -> Result<&ImageFile, ParseError> {
        self.images.iter().find(|image| image.guid == guid).ok_or_else(|| {
            let what = format!("Storage from byte {} in the descriptor", self.start);
            ParseError::corrupt(0, what, format_args!("an Image for the snapshot {guid}"), "none")
        })
    }
}

impl Parser {
    fn open(&mut self, place: &Place<'_>) -> Result<(), ParseError> {
        match place.path()[..] {
            [root] if root != ROOT => {
                Err(ParseError::corrupt(place.offset(), "root of the descriptor", format_args!("<{ROOT}>"), root))
            }
            [_, "StorageData", "Storage"] => {
                self.storages.push(Storage::default());
                Ok(())
            }
            [_, "StorageData", "Storage", "Image"] | [_, "Snapshots", "Shot"] => {
                (self.guid, self.parent, self.kind, self.file) = (None, None, None, None);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn close(&mut self, place: &Place<'_>, text: &str) -> Result<(), ParseError> {
        let path = place.path();
        match path[1..] {
            ["Disk_Parameters", "Disk_size"] => self.disk_size = Some(sectors(place, text)?),
            ["Disk_Parameters", "Encryption", "Engine"] => check_engine(place, text)?,
            ["StorageData", "Storage", field @ ("Start" | "End")] => {
                let value = sectors(place, text)?;
                if let Some(storage) = self.storages.last_mut() {
                    *(if field == "Start" { &mut storage.start } else { &mut storage.end }) = value;
                }
            }
            ["StorageData", "Storage", "Image"] => {
                let image = self.image(place)?;
                if let Some(storage) = self.storages.last_mut() {
                    storage.images.push(image);
                }
            }
            ["StorageData", "Storage", "Image", "Type"] => self.kind = Some(kind(place, text)?),
            ["StorageData", "Storage", "Image", "File"] => self.file = Some(text.to_owned()),
            ["StorageData", "Storage", "Image", "GUID"] | ["Snapshots", "Shot", "GUID"] => {
                self.guid = Some(guid(place, text)?);
            }
            ["Snapshots", "Shot", "ParentGUID"] => self.parent = Some(guid(place, text)?),
            ["Snapshots", "Shot"] => {
                let guid = self.guid.take().ok_or_else(|| missing(place.offset(), "GUID"))?;
                let parent = self.parent.take().ok_or_else(|| missing(place.offset(), "ParentGUID"))?;
                if self.parents.insert(guid, parent).is_some() {
                    return Err(ParseError::corrupt(
                        place.offset(),
                        "Shot in the descriptor",
                        "a GUID of its own",
                        guid,
                    ));
                }
            }
            ["Snapshots", "TopGUID"] => self.top = Some(guid(place, text)?),
            _ => {}
        }
        Ok(())
    }

    fn image(&mut self, place: &Place<'_>) -> Result<ImageFile, ParseError> {
        let at = place.offset();
        Ok(ImageFile {
            guid: self.guid.take().ok_or_else(|| missing(at, "GUID"))?,
            kind: self.kind.take().ok_or_else(|| missing(at, "Type"))?,
            name: self.file.take().ok_or_else(|| missing(at, "File"))?,
        })
    }
}

fn missing(at: u64, element: &str) -> ParseError {
    ParseError::corrupt(at, "descriptor of the Parallels bundle", format_args!("a {element} element"), "none")
}

/// A number of sectors of 512 bytes, as bytes.
fn sectors(place: &Place<'_>, text: &str) -> Result<u64, ParseError> {
    let bytes = text.parse::<u64>().ok().and_then(|sectors| sectors.checked_mul(SECTOR));
    bytes.filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or_else(|| {
        let what = format!("{} in the descriptor", place.path().last().unwrap_or(&""));
        ParseError::corrupt(place.offset(), what, "a number of sectors below 2^54", format_args!("{text:?}"))
    })
}

fn guid(place: &Place<'_>, text: &str) -> Result<Uuid, ParseError> {
    Uuid::try_parse(text).map_err(|_| {
        let what = format!("{} in the descriptor", place.path().last().unwrap_or(&""));
        ParseError::corrupt(place.offset(), what, "a GUID", format_args!("{text:?}"))
    })
}

fn kind(place: &Place<'_>, text: &str) -> Result<Kind, ParseError> {
    match text {
        "Plain" => Ok(Kind::Plain),
        "Compressed" => Ok(Kind::Compressed),
        _ => Err(ParseError::unsupported(
            place.offset(),
            "Type of an Image in the descriptor",
            "Plain or Compressed",
            text,
        )),
    }
}

/// An encrypted bundle names the program that encrypts.
fn check_engine(place: &Place<'_>, text: &str) -> Result<(), ParseError> {
    if text.is_empty() || Uuid::try_parse(text).is_ok_and(|engine| engine.is_nil()) {
        return Ok(());
    }
    let found = format_args!("encryption by the engine {text}");
    Err(ParseError::unsupported(place.offset(), "Encryption in the descriptor", "a disk that is not encrypted", found))
}
