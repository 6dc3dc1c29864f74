//! exFAT, including the second table of TexFAT.
//!
//! Times without a recorded zone are shown as if it were UTC. Lookup ignores case as defined by the volume's own
//! up-case table.

mod boot;
mod directory;
mod entry;
mod facts;
mod upper;

use super::dos::{Heap, Location, Names, SLOT, Table, Width};
use super::foreign::Blocks;
use super::gaps::Gaps;
use super::{Attributes, Entry, Error, Facts, FileExtent, FileRun, GuestFs, Node, NodeKind, Result};
use crate::disk::Disk;
use crate::ondisk::ParseError;
use boot::Boot;
use entry::File;
use std::ops::ControlFlow;
use std::sync::Arc;

const TYPE: &str = "exFAT";
/// The root directory has no slots. All other nodes are the offset of their first slot on the volume in units of slots,
/// times two, plus 1 if their directory is contiguous and has no chain in the table. The first ones are taken by the
/// boot region.
const ROOT: Node = Node(1);
/// The largest directory in bytes, by the specification.
const MAX_DIRECTORY: u64 = 256 << 20;

/// An opened file system.
pub(crate) struct Exfat {
    boot: Boot,
    heap: Heap,
    facts: Facts,
    names: Names,
    gaps: Gaps,
}

impl Exfat {
    /// Opens the file system of a volume.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Unsupported`]; any error of the disk.
    pub(crate) fn open(volume: Arc<dyn Disk>) -> Result<Self> {
        let boot = boot::read(&*volume)?;
        let table = Table {
            blocks: Arc::new(Blocks::new(volume)),
            at: boot.table.0,
            len: boot.table.1,
            width: Width::Exfat,
            clusters: boot.clusters,
        };
        let heap = Heap::new(table, boot.heap, boot.cluster);
        let system = facts::System::read(&heap, &boot);
        let mut facts = facts::facts(&heap, &boot, &system);
        let names = upper::names(&heap, system.upper, &mut facts.notes);
        Ok(Self { boot, heap, facts, names, gaps: Gaps::new(TYPE) })
    }

    /// A file or directory other than the root, and the offset of its first slot on the volume.
    fn file(&self, node: Node) -> Result<(File, u64)> {
        let (at, in_run) = ((node.0 >> 1).saturating_mul(SLOT as u64), node.0 & 1 == 1);
        let outside = || Error::from(ParseError::corrupt(at, "slot of a directory", "one in a cluster", "none"));
        let mut set = vec![0; SLOT];
        let (mut slot_at, mut len) = (at, 1);
        let mut index = 0;
        while index < len {
            let raw = &mut set[index * SLOT..];
            let (raw, _) = raw.split_first_chunk_mut::<SLOT>().ok_or_else(outside)?;
            let cluster = self.heap.cluster_at(slot_at).ok_or_else(outside)?;
            self.heap.blocks.read_at(slot_at, raw)?;
            if index == 0 {
                let entry::SlotKind::File(more) = entry::SlotKind::of(raw) else {
                    return Err(ParseError::corrupt(
                        at,
                        "slot of a directory",
                        "a file or a directory",
                        "something else",
                    )
                    .into());
                };
                len = more + 1;
                set.resize(len * SLOT, 0);
            }
            index += 1;
            slot_at += SLOT as u64;
            // A set may continue in the directory's next cluster.
            if index < len && !in_run && slot_at == self.heap.offset_of(cluster) + self.heap.cluster {
                let next = self.heap.chains.find(cluster, 1, 2)?;
                slot_at = self.heap.offset_of(next.ok_or_else(outside)?.cluster);
            }
        }
        Ok((File::parse(&set, at)?, at))
    }

    /// The location of the bytes of a file or directory whose first slot is at byte `at` of the volume.
    fn location(&self, file: &File, at: u64) -> Result<Location> {
        if file.size == 0 {
            return Ok(Location::Range { at: 0, len: 0 });
        }
        let table = &self.heap.chains.table;
        let clusters = file.size.div_ceil(self.heap.cluster);
        if clusters > u64::from(table.clusters) {
            let most = u64::from(table.clusters).saturating_mul(self.heap.cluster);
            return Err(ParseError::corrupt(at, "size of a file", format_args!("at most {most}"), file.size).into());
        }
        let end = u64::from(file.first).saturating_add(if file.is_run { clusters } else { 1 });
        if !table.has(file.first) || end > u64::from(table.end()) {
            let expected = format!("from 2 to {:#x}", table.end() - 1);
            let what = format!("clusters of {}", String::from_utf8_lossy(&file.name));
            let found = format!("{:#x} to {:#x}", file.first, end - 1);
            return Err(ParseError::corrupt(at, what, expected, found).into());
        }
        if file.is_run {
            return Ok(Location::Range { at: self.heap.offset_of(file.first), len: file.size });
        }
        Ok(Location::Chain { first: file.first, clusters })
    }

    /// The location of a directory's slots, and whether they are contiguous.
    fn directory(&self, node: Node) -> Result<(Location, bool)> {
        if node == ROOT {
            return Ok((root(&self.boot), false));
        }
        let (file, at) = self.file(node)?;
        if !file.is_directory {
            return Err(Error::NotDirectory);
        }
        if file.size > MAX_DIRECTORY {
            let cause =
                ParseError::corrupt(at, "size of a directory", format_args!("at most {MAX_DIRECTORY}"), file.size);
            return Err(cause.into());
        }
        Ok((self.location(&file, at)?, file.is_run))
    }
}

/// The location of the root directory's slots.
fn root(boot: &Boot) -> Location {
    Location::WholeChain { first: boot.root, most: (MAX_DIRECTORY / boot.cluster).max(1) }
}

impl GuestFs for Exfat {
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
        let (file, _) = self.file(node)?;
        Ok(Attributes {
            kind: if file.is_directory { NodeKind::Directory } else { NodeKind::File },
            // The flag has another meaning for directories.
            mode: if file.is_read_only && !file.is_directory { 0o555 } else { 0o755 },
            size: file.size,
            allocated: file.size.checked_next_multiple_of(self.heap.cluster).unwrap_or(file.size),
            accessed: file.accessed,
            modified: file.modified,
            changed: file.modified,
            created: Some(file.created),
            ..Attributes::BARE_DIRECTORY
        })
    }

    fn read_directory(&self, directory: Node, from: u64, each: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<()> {
        self.list_names(directory, self.directory(directory)?, from, &mut |named| each(named.entry))
    }

    fn extent(&self, file: Node, offset: u64, len: u64) -> Result<FileRun> {
        if file == ROOT {
            return Err(Error::NotFile);
        }
        let (file, at) = self.file(file)?;
        if file.is_directory {
            return Err(Error::NotFile);
        }
        let len = len.max(1);
        // Bytes that were never written read as zeros, whatever the clusters hold.
        let Some(valid) = file.valid.checked_sub(offset).filter(|left| *left > 0) else {
            return Ok(FileRun { extent: FileExtent::Zero, len });
        };
        match self.heap.locate(self.location(&file, at)?, offset)? {
            Some((at, run)) => Ok(FileRun { extent: FileExtent::Stored(at), len: run.min(valid).min(len) }),
            None => {
                Err(ParseError::corrupt(at, "offset in a file", format_args!("below {}", file.size), offset).into())
            }
        }
    }
}
