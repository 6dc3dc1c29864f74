//! NTFS, read-only; the journal is not replayed.

mod boot;
mod file;
mod index;
mod journal;
mod lznt1;
mod record;
mod reparse;
mod runs;
mod special;
mod wof;

use super::gaps::Gaps;
use super::names::Names;
use super::{Attributes, Entry, Error, Facts, FileExtent, FileRun, GuestFs, Node, NodeKind, Result, shortage};
use crate::disk::Disk;
use crate::error_kind::message;
use crate::ondisk::ParseError;
use boot::Boot;
use file::{File, HAS_REPARSE_POINT, Information, NOT_HERE, READ_ONLY, SYSTEM, Stream};
use quick_cache::sync::Cache;
use record::{Record, kind};
use reparse::Reparse;
use runs::Runs;
use special::Special;
use std::ops::ControlFlow;
use std::sync::Arc;

const TYPE: &str = "NTFS";
/// Records of the file system's own files.
const MFT: u64 = 0;
const VOLUME: u64 = 3;
const ROOT: u64 = 5;
/// Bit of the volume's flags: not cleanly unmounted.
const DIRTY: u16 = 1;
const FILES_CACHED: usize = 16 << 10;
/// Decompressed compression units, usually 64 KiB each.
const UNITS_CACHED: usize = 64;
/// The largest extended attribute that the kernel allows.
const MAX_ATTRIBUTE: u64 = 65536;
/// The longest target of an Interix link in bytes, including its signature.
const MAX_TARGET: u64 = 8 + 2 * 4096;
/// Prefix of the extended attributes that show alternate data streams.
const STREAM_PREFIX: &str = "user.stream.";
/// Directories between a link and the root; more than Windows supports are corruption.
const MAX_DEPTH: usize = 1024;

/// An opened file system.
pub(crate) struct Ntfs {
    volume: Arc<dyn Disk>,
    boot: Boot,
    /// The runs of the master file table.
    mft: Runs,
    facts: Facts,
    files: Cache<u64, Arc<Opened>>,
    directories: Names,
    gaps: Gaps,
    units: Cache<(u64, u64), Arc<[u8]>>,
}

/// A file with its frequently used attributes.
pub(super) struct Opened {
    file: File,
    kind: NodeKind,
    information: Information,
    data: Option<Stream>,
    /// The compressed bytes of a system file.
    compressed: Option<Stream>,
    reparse: Reparse,
    device: (u32, u32),
}

impl Ntfs {
    /// Opens the file system of a volume.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; any error of the disk.
    pub(crate) fn open(volume: Arc<dyn Disk>) -> Result<Self> {
        let mut bytes = [0; boot::SIZE];
        volume.read_at(0, &mut bytes)?;
        let boot = Boot::parse(&bytes)?;
        let first =
            runs::ClusterRun { first: 0, lcn: Some(boot.mft), count: (boot.record as u64).div_ceil(boot.cluster) };
        let mut ntfs = Self {
            volume,
            boot,
            mft: Runs(vec![first]),
            facts: Facts::default(),
            files: Cache::new(FILES_CACHED),
            directories: Names::new(),
            gaps: Gaps::new(TYPE),
            units: Cache::new(UNITS_CACHED),
        };
        ntfs.find_table()?;
        ntfs.facts = ntfs.read_facts();
        Ok(ntfs)
    }

    /// Finds the runs of the file table. It is a file itself, whose first record holds its runs or lists further
    /// records with them; those lie within the runs in the first record.
    fn find_table(&mut self) -> Result<()> {
        let first = self.record(MFT)?;
        for attribute in &first.attributes {
            if let (kind::DATA, record::Value::Runs { runs, .. }) = (attribute.kind, &attribute.value) {
                self.mft = runs.clone();
            }
        }
        match self.read_file(MFT, 0)?.stream(kind::DATA, &[])? {
            Some(Stream::Clusters { runs, .. }) => {
                self.mft = runs;
                Ok(())
            }
            _ => Err(ParseError::corrupt(self.record_offset(MFT), "file table", "a stream in clusters", "none").into()),
        }
    }

    /// Reads the volume's own files. The guest's files are accessible even when these are not.
    fn read_facts(&self) -> Facts {
        let mut notes = Vec::new();
        let (mut label, mut is_dirty) = (String::new(), false);
        match self.read_file(VOLUME, 0) {
            Ok(volume) => {
                let flags = volume.resident(kind::VOLUME_INFORMATION).and_then(|bytes| bytes.get(10..12));
                is_dirty = flags.is_some_and(|raw| u16::from_le_bytes([raw[0], raw[1]]) & DIRTY != 0);
                label = volume.text(kind::VOLUME_NAME);
            }
            Err(error) => notes.push(format!("Its label and state are not known. {}", message(&error))),
        }
        if is_dirty || self.has_open_journal().unwrap_or(true) {
            notes.push("It was not cleanly unmounted: the newest changes may be missing".to_owned());
        }
        let short = shortage(self.boot.clusters * self.boot.cluster, self.volume.size());
        let hibernated = self
            .lookup(self.root(), b"hiberfil.sys")
            .and_then(|node| node.map(|node| self.is_hibernated(node)).transpose());
        let is_short = short.is_some();
        notes.extend(short);
        match hibernated {
            // Listing the directory reports that.
            Err(Error::Corrupt(_)) if is_short => {}
            Ok(Some(true)) => notes.push(
                "Windows was hibernated or shut down for a fast start: the newest changes may be missing".to_owned(),
            ),
            Ok(_) => {}
            Err(error) => {
                notes.push(format!("Whether Windows was hibernated is not known. {}", message(&error)));
            }
        }
        Facts {
            type_name: TYPE,
            label,
            uuid: format!("{:016X}", self.boot.serial),
            block_size: u32::try_from(self.boot.cluster).unwrap_or(u32::MAX),
            blocks: self.boot.clusters,
            name_max: 255,
            notes,
            ..Facts::default()
        }
    }

    fn is_hibernated(&self, node: Node) -> Result<bool> {
        let mut start = [0; 4];
        match &self.file(node)?.data {
            Some(stream) if stream.size() >= 4 => {
                self.read_stream(stream, 0, &mut start)?;
                Ok(start.eq_ignore_ascii_case(b"hibr"))
            }
            _ => Ok(false),
        }
    }

    /// The offset of a file record on the volume, for messages.
    fn record_offset(&self, number: u64) -> u64 {
        let byte = number.saturating_mul(self.boot.record as u64);
        let run = self.mft.find(byte / self.boot.cluster);
        run.and_then(|run| Some((run.lcn?, run.first))).map_or(0, |(lcn, first)| {
            lcn.saturating_mul(self.boot.cluster).saturating_add(byte - first.saturating_mul(self.boot.cluster))
        })
    }

    fn record(&self, number: u64) -> Result<Record> {
        let mut bytes = vec![0; self.boot.record];
        let byte = number
            .checked_mul(self.boot.record as u64)
            .ok_or_else(|| ParseError::corrupt(0, "number of a file record", "one within the file table", number))?;
        self.read_runs(&self.mft, byte, &mut bytes)?;
        Record::parse(bytes, self.record_offset(number)).map_err(Error::from)
    }

    /// Fills `buf` with the bytes of runs from `offset` on. Returns the offset of the first byte on the volume.
    fn read_runs(&self, runs: &Runs, offset: u64, buf: &mut [u8]) -> Result<u64> {
        let (mut done, mut start) = (0, None);
        while done < buf.len() {
            let at = offset.saturating_add(done as u64);
            let (volume_at, len) = self.locate(runs, at)?;
            let now = usize::try_from(len).unwrap_or(usize::MAX).min(buf.len() - done);
            let chunk = &mut buf[done..done + now];
            match volume_at {
                Some(volume_at) => self.volume.read_at(volume_at, chunk)?,
                None => chunk.fill(0),
            }
            start = start.or(Some(volume_at.unwrap_or(0)));
            done += now;
        }
        Ok(start.unwrap_or(0))
    }

    /// Maps byte `at` of runs to its offset on the volume (`None` in a hole), with the number of contiguous bytes.
    fn locate(&self, runs: &Runs, at: u64) -> Result<(Option<u64>, u64)> {
        let cluster = self.boot.cluster;
        let Some(run) = runs.find(at / cluster) else {
            let expected = format!("a run of clusters for byte {at}");
            return Err(ParseError::corrupt(
                0,
                "run list",
                expected,
                format_args!("the end at cluster {}", runs.end()),
            )
            .into());
        };
        let skip = at - run.first * cluster;
        let len = run.count.saturating_mul(cluster) - skip;
        let Some(lcn) = run.lcn else { return Ok((None, len)) };
        if lcn.checked_add(run.count).is_none_or(|end| end > self.boot.clusters) {
            let expected = format!("clusters below {}", self.boot.clusters);
            return Err(ParseError::corrupt(
                0,
                "run of clusters",
                expected,
                format_args!("{} from {lcn} on", run.count),
            )
            .into());
        }
        Ok((Some(lcn * cluster + skip), len))
    }

    /// Fills `buf` with a stream's bytes from `offset` on, which must lie within it. Returns the offset of the first
    /// byte on the volume.
    fn read_stream(&self, stream: &Stream, offset: u64, buf: &mut [u8]) -> Result<u64> {
        let end = offset.saturating_add(buf.len() as u64);
        if end > stream.size() {
            let expected = format!("{end} bytes");
            return Err(ParseError::corrupt(0, "size of a stream", expected, stream.size()).into());
        }
        match stream {
            Stream::Resident(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                buf.copy_from_slice(&bytes[start..start + buf.len()]);
                Ok(0)
            }
            Stream::Clusters { runs, .. } => self.read_runs(runs, offset, buf),
        }
    }

    /// Opens a file by its reference: the record number in the lower 48 bits, the sequence number above.
    fn file(&self, node: Node) -> Result<Arc<Opened>> {
        if let Some(opened) = self.files.get(&node.0) {
            return Ok(opened);
        }
        let file = self.read_file(node.0 & 0xFFFF_FFFF_FFFF, u16::try_from(node.0 >> 48).unwrap_or(0))?;
        let information = file.information()?;
        let mut reparse = Reparse::Other;
        if information.flags & HAS_REPARSE_POINT != 0
            && let Some(stream) = file.stream(kind::REPARSE_POINT, &[])?
        {
            reparse = reparse::parse(&self.small_stream(&stream, file.number)?)?;
        }
        let mut kind = match reparse {
            Reparse::FromRoot(_) | Reparse::AsIs(_) => NodeKind::Symlink,
            Reparse::Special(kind) => kind,
            _ if file.record.directory => NodeKind::Directory,
            _ => NodeKind::File,
        };
        let mut device = special::device_of_linux(&file);
        // A file encrypted by Windows still has readable attributes.
        let mut data = if kind == NodeKind::File { file.stream(kind::DATA, &[]).ok().flatten() } else { None };
        if information.flags & SYSTEM != 0
            && let Some(special) = data.as_ref().map(|data| self.interix(data)).transpose()?.flatten()
        {
            data = None;
            Special { kind, reparse, device } = special;
        }
        let compressed = if matches!(reparse, Reparse::SystemCompressed(_)) { wof::stream(&file)? } else { None };
        let opened = Arc::new(Opened { file, kind, information, data, compressed, reparse, device });
        self.files.insert(node.0, opened.clone());
        Ok(opened)
    }

    /// The unnamed stream of a file, if its bytes are on the volume.
    fn data<'a>(&self, opened: &'a Opened) -> Result<&'a Stream> {
        let elsewhere = match opened.reparse {
            Reparse::Elsewhere(whereabouts) => Some(whereabouts),
            Reparse::Cloud if opened.information.flags & NOT_HERE != 0 => Some("in the cloud, not on this disk"),
            _ => None,
        };
        if let Some(whereabouts) = elsewhere {
            return Err(Error::Unsupported(format!("the file with record {} is {whereabouts}", opened.file.number)));
        }
        match &opened.data {
            Some(stream) => Ok(stream),
            None => {
                // Returns the reason why there is none.
                opened.file.stream(kind::DATA, &[])?;
                Err(Error::NotFile)
            }
        }
    }

    /// Returns a decompressed compression unit.
    fn unit(&self, node: Node, runs: &Runs, unit: u64, index: u64) -> Result<Arc<[u8]>> {
        if let Some(bytes) = self.units.get(&(node.0, index)) {
            return Ok(bytes);
        }
        let cluster = self.boot.cluster;
        let size = usize::try_from(unit * cluster).unwrap_or(0);
        let start = index * unit;
        // A compressed unit uses fewer clusters than its size, followed by a hole.
        let stored = (start..start + unit).take_while(|at| runs.find(*at).is_some_and(|run| run.lcn.is_some())).count();
        let mut compressed = vec![0; stored * usize::try_from(cluster).unwrap_or(0)];
        self.read_runs(runs, start * cluster, &mut compressed)?;
        let bytes: Arc<[u8]> = if stored as u64 == unit {
            compressed.into()
        } else {
            let mut out = vec![0; size];
            let decompressed = lznt1::decompress(&compressed, &mut out);
            decompressed.ok_or_else(|| {
                let at = self.locate(runs, start * cluster).map_or(0, |(at, _)| at.unwrap_or(0));
                Error::from(ParseError::corrupt(
                    at,
                    "compressed unit of a file",
                    "LZNT1",
                    "bytes that do not decompress",
                ))
            })?;
            out.into()
        };
        self.units.insert((node.0, index), bytes.clone());
        Ok(bytes)
    }

    /// The number of directories between a file and the root.
    fn depth(&self, file: &File) -> Result<usize> {
        let mut depth = 0;
        let mut at = file.parent();
        while let Some(number) = at.filter(|number| *number != ROOT) {
            depth += 1;
            if depth > MAX_DEPTH {
                let what = format!("directories above file record {}", file.number);
                return Err(
                    ParseError::corrupt(0, what, format_args!("at most {MAX_DEPTH}"), "more, or a circle").into()
                );
            }
            at = self.read_file(number, 0)?.parent();
        }
        Ok(depth)
    }
}

impl GuestFs for Ntfs {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn root(&self) -> Node {
        Node(ROOT)
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        self.directories.lookup(directory, name, |each| self.read_directory(directory, 0, each))
    }

    fn attributes(&self, node: Node) -> Result<Attributes> {
        let opened = self.file(node)?;
        let target = if opened.kind == NodeKind::Symlink { self.read_link(node)?.len() as u64 } else { 0 };
        let directory = opened.kind == NodeKind::Directory;
        let mode = if directory { 0o755 } else { 0o644 };
        let information = &opened.information;
        Ok(Attributes {
            kind: opened.kind,
            mode: match opened.kind {
                NodeKind::Symlink => 0o777,
                // The flag has no meaning for directories.
                NodeKind::File if information.flags & READ_ONLY != 0 => mode & !0o222,
                _ => mode,
            },
            uid: 0,
            gid: 0,
            links: if directory { 1 } else { opened.file.visible_names().max(1) },
            size: opened.data.as_ref().map_or(target, Stream::size),
            allocated: opened.compressed.as_ref().or(opened.data.as_ref()).map_or(0, Stream::allocated),
            accessed: information.accessed,
            modified: information.modified,
            changed: information.changed,
            created: Some(information.created),
            device: opened.device,
        })
    }

    fn read_directory(&self, directory: Node, from: u64, each: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<()> {
        let opened = self.file(directory)?;
        self.gaps.list(directory, from, each, |each, skip| self.entries(&opened.file, from, each, skip))
    }

    fn extent(&self, file: Node, offset: u64, len: u64) -> Result<FileRun> {
        let opened = self.file(file)?;
        let stream = self.data(&opened)?;
        let (Stream::Clusters { runs, sizes, unit }, None) = (stream, &opened.compressed) else {
            return Ok(FileRun { extent: FileExtent::Decoded, len });
        };
        // Bytes that were never written read as zeros, whatever the clusters hold.
        let Some(valid) = sizes.valid.checked_sub(offset).filter(|left| *left > 0) else {
            return Ok(FileRun { extent: FileExtent::Zero, len });
        };
        let len = len.min(valid);
        if *unit > 0 {
            return Ok(FileRun { extent: FileExtent::Decoded, len });
        }
        let (at, segment) = self.locate(runs, offset)?;
        let extent = at.map_or(FileExtent::Zero, FileExtent::Stored);
        Ok(FileRun { extent, len: len.min(segment) })
    }

    fn decode(&self, file: Node, offset: u64, buf: &mut [u8]) -> Result<()> {
        let opened = self.file(file)?;
        let stream = self.data(&opened)?;
        if let Reparse::SystemCompressed(algorithm) = opened.reparse {
            return self.read_wof(file, &opened, algorithm, offset, buf);
        }
        let Stream::Clusters { runs, unit, .. } = stream else {
            self.read_stream(stream, offset, buf)?;
            return Ok(());
        };
        let size = unit.max(&1) * self.boot.cluster;
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let bytes = self.unit(file, runs, *unit, at / size)?;
            let skip = usize::try_from(at % size).unwrap_or(0);
            let now = (bytes.len() - skip).min(buf.len() - done);
            buf[done..done + now].copy_from_slice(&bytes[skip..skip + now]);
            done += now;
        }
        Ok(())
    }

    fn read_link(&self, link: Node) -> Result<Vec<u8>> {
        let opened = self.file(link)?;
        match &opened.reparse {
            Reparse::AsIs(target) => Ok(target.clone()),
            Reparse::FromRoot(path) => {
                let mut target = b"../".repeat(self.depth(&opened.file)?);
                target.extend(path);
                Ok(if target.is_empty() { b".".to_vec() } else { target })
            }
            _ => Err(Error::NotSymlink),
        }
    }

    fn xattr_names(&self, node: Node) -> Result<Vec<Vec<u8>>> {
        let opened = self.file(node)?;
        let mut names = opened.file.stream_names();
        // Hides the compressed form of the file's own bytes.
        names.retain(|name| opened.compressed.is_none() || name != wof::STREAM);
        Ok(names.into_iter().map(|name| format!("{STREAM_PREFIX}{name}").into_bytes()).collect())
    }

    fn xattr(&self, node: Node, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(name) = name.strip_prefix(STREAM_PREFIX.as_bytes()).and_then(|name| str::from_utf8(name).ok()) else {
            return Ok(None);
        };
        let opened = self.file(node)?;
        let Some(stream) = opened.file.stream(kind::DATA, &name.encode_utf16().collect::<Vec<_>>())? else {
            return Ok(None);
        };
        if stream.size() > MAX_ATTRIBUTE {
            let what = format!("the stream {name} of {} bytes is too large for an extended attribute", stream.size());
            return Err(Error::Unsupported(what));
        }
        Ok(Some(self.small_stream(&stream, opened.file.number)?))
    }
}
