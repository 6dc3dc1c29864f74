//! FAT12, FAT16 and FAT32, with the long names of Windows 95.
//!
//! Times are local, in a zone that is not recorded; they are shown as if it were UTC. Short names are decoded as code
//! page 437. As on Windows, lookup ignores case and accepts the short form of a name too; only the long form is listed.

mod boot;
mod code_page;
mod directory;
mod entry;
mod facts;

use super::content::Content;
use super::dos::{Heap, Location, Names, SLOT, Table, Width, date_and_time, has_date, serial, upper_case};
use super::foreign::Blocks;
use super::gaps::Gaps;
use super::{Attributes, Entry, Error, Facts, FileExtent, FileRun, GuestFs, Node, NodeKind, Result};
use crate::disk::Disk;
use crate::ondisk::ParseError;
use crate::ondisk::Time;
use boot::{Boot, Root};
use entry::{Short, SlotKind, attr};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The name for all versions.
const TYPE: &str = "FAT";
/// The root directory has no slot. All other nodes are the offset of their slot on the volume in units of slots; the
/// first ones are taken by the boot sector.
const ROOT: Node = Node(1);
/// The largest directory in bytes. The specification allows 2 MiB, but some programs create larger ones.
const MAX_DIRECTORY: u64 = 32 << 20;

/// An opened file system.
pub(crate) struct Fat {
    boot: Boot,
    heap: Heap,
    facts: Facts,
    names: Names,
    gaps: Gaps,
}

/// Whether a volume starts like this file system; `head` is its first 4 KiB, or all of it.
#[must_use]
pub(crate) fn probe(head: &[u8]) -> bool {
    boot::is_plausible(head)
}

/// Identifies a volume that starts like this file system by its boot sector; `head` as for [`probe`].
pub(super) fn content(head: &[u8]) -> Option<Content> {
    if !probe(head) {
        return None;
    }
    // Whether the volume is large enough is checked on opening.
    Some(match Boot::parse(head, u64::MAX) {
        Ok(boot) => Content {
            type_name: type_name(boot.width).to_owned(),
            uuid: boot.serial.map(serial).unwrap_or_default(),
            label: boot.label,
            ..Content::default()
        },
        Err(_) => Content { type_name: TYPE.to_owned(), ..Content::default() },
    })
}

impl Fat {
    /// Opens the file system of a volume.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Unsupported`]; any error of the disk.
    pub(crate) fn open(volume: Arc<dyn Disk>) -> Result<Self> {
        let mut bytes = [0; boot::SIZE];
        volume.read_at(0, &mut bytes)?;
        let boot = Boot::parse(&bytes, volume.size())?;
        let table = Table {
            blocks: Arc::new(Blocks::new(volume)),
            at: boot.table.0,
            len: boot.table.1,
            width: boot.width,
            clusters: boot.clusters,
        };
        let heap = Heap::new(table, boot.data, boot.cluster);
        let mut fat =
            Self { boot, heap, facts: Facts::default(), names: Names::new(upper_case), gaps: Gaps::new(TYPE) };
        fat.facts = fat.read_facts();
        Ok(fat)
    }

    /// The slot of a node other than the root, and its offset on the volume.
    fn short(&self, node: Node) -> Result<(Short, u64)> {
        let at = node.0.saturating_mul(SLOT as u64);
        let mut raw = [0; SLOT];
        self.heap.blocks.read_at(at, &mut raw)?;
        match SlotKind::of(&raw) {
            SlotKind::Short(short) => Ok((short, at)),
            _ => Err(ParseError::corrupt(at, "slot of a directory", "a file or a directory", "something else").into()),
        }
    }

    /// The location of a directory's slots.
    fn directory(&self, node: Node) -> Result<Location> {
        let most = (MAX_DIRECTORY / self.heap.cluster).max(1);
        if node == ROOT {
            return Ok(match self.boot.root {
                Root::Fixed { at, len } => Location::Range { at, len },
                Root::Chain(first) => Location::WholeChain { first, most },
            });
        }
        let (short, at) = self.short(node)?;
        if !short.is_directory() {
            return Err(Error::NotDirectory);
        }
        Ok(Location::WholeChain { first: self.first(&short, at)?, most })
    }

    /// The location of a file's bytes, and its size.
    fn file(&self, node: Node) -> Result<(Location, u64)> {
        if node == ROOT {
            return Err(Error::NotFile);
        }
        let (short, at) = self.short(node)?;
        if short.is_directory() {
            return Err(Error::NotFile);
        }
        let size = u64::from(short.size);
        if size == 0 {
            return Ok((Location::Range { at: 0, len: 0 }, 0));
        }
        Ok((Location::Chain { first: self.first(&short, at)?, clusters: size.div_ceil(self.heap.cluster) }, size))
    }

    /// The first cluster of the file or directory whose slot is at byte `at` of the volume.
    fn first(&self, short: &Short, at: u64) -> Result<u32> {
        let first = short.first(self.boot.width == Width::Fat32);
        if self.heap.chains.table.has(first) {
            return Ok(first);
        }
        let what = format!("first cluster of {}", short.name());
        let expected = format!("from 2 to {:#x}", self.heap.chains.table.end() - 1);
        Err(ParseError::corrupt(at + 20, what, expected, format_args!("{first:#x}")).into())
    }
}

fn type_name(width: Width) -> &'static str {
    match width {
        Width::Fat12 => "FAT12",
        Width::Fat16 => "FAT16",
        Width::Fat32 | Width::Exfat => "FAT32",
    }
}

impl GuestFs for Fat {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn root(&self) -> Node {
        ROOT
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        let location = self.directory(directory)?;
        self.names.find(directory, name, &|from, each| self.list_names(directory, location, from, each))
    }

    fn attributes(&self, node: Node) -> Result<Attributes> {
        if node == ROOT {
            return Ok(Attributes::BARE_DIRECTORY);
        }
        let (short, _) = self.short(node)?;
        let modified = date_and_time(short.written.0, short.written.1, 0);
        let accessed = if has_date(short.accessed) { date_and_time(short.accessed, 0, 0) } else { Time::default() };
        let (date, time, hundredths) = short.created;
        let created = has_date(date).then(|| date_and_time(date, time, hundredths));
        let attributes = Attributes { accessed, modified, changed: modified, created, ..Attributes::BARE_DIRECTORY };
        if short.is_directory() {
            return Ok(attributes);
        }
        let size = u64::from(short.size);
        Ok(Attributes {
            kind: NodeKind::File,
            // The flag has another meaning for directories.
            mode: if short.attributes & attr::READ_ONLY == 0 { 0o755 } else { 0o555 },
            size,
            allocated: size.next_multiple_of(self.heap.cluster),
            ..attributes
        })
    }

    fn read_directory(&self, directory: Node, from: u64, each: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<()> {
        self.list_names(directory, self.directory(directory)?, from, &mut |named| each(named.entry))
    }

    fn extent(&self, file: Node, offset: u64, len: u64) -> Result<FileRun> {
        let (location, size) = self.file(file)?;
        match self.heap.locate(location, offset)? {
            Some((at, run)) => Ok(FileRun { extent: FileExtent::Stored(at), len: run.min(len.max(1)) }),
            None => Err(ParseError::corrupt(0, "offset in a file", format!("below {size}"), offset).into()),
        }
    }
}
