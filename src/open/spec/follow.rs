//! From the disk that a chain spec begins with to what it ends in.

use super::error::{Error, Location};
use super::plan::{self, End, FILE_SYSTEMS, Files, Name, Plan};
use crate::disk::{Disk, Gunzip, Slice};
use crate::guestfs::{self, FileDisk, GuestFs, Node, NodeKind};
use crate::image::{self, Format};
use crate::open::{self, Guest, OpenDisk};
use crate::storage::local::Devices;
use crate::volume::{self, Scheme, Table};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The first bytes of a gzip file.
const GZIP: [u8; 2] = [0x1F, 0x8B];

impl Plan {
    /// Makes what the spec ends in of the disk that it begins with.
    ///
    /// # Errors
    /// What the elements do not find, and what goes wrong with what they find, with the position in the spec.
    pub(in crate::open) fn follow(&self, opened: open::Result<OpenDisk>) -> open::Result<OpenDisk> {
        let open = opened.map_err(|e| self.start.failed(e))?;
        let mut follower = Follower { plan: self, open };
        let disk = match &self.end {
            End::Disk(disk) => follower.disk(disk)?,
            End::Files(files) => {
                let guest = follower.files(files)?;
                return Ok(follower.show(guest));
            }
            End::Either(files, name) => {
                let guest = follower.files(files)?;
                let node = find(&guest, name)?;
                if is_directory(&guest, node, name)? {
                    return Ok(follower.show(Guest { root: node, ..guest }));
                }
                follower.file(&guest, node, name)?
            }
        };
        follower.open.table = volume::read_table(&*disk).map_err(|e| self.start.failed(e.into()))?;
        follower.open.disk = disk;
        Ok(follower.open)
    }
}

struct Follower<'a> {
    plan: &'a Plan,
    open: OpenDisk,
}

impl Follower<'_> {
    /// What a file system shows is all that is shown.
    fn show(mut self, guest: Guest) -> OpenDisk {
        let sector_size = guest.volume.sector_size();
        self.open.table = Table { scheme: Scheme::None, sector_size, volumes: Vec::new(), notes: Vec::new() };
        self.open.disk = guest.volume.clone();
        self.open.file_system = Some(guest);
        self.open
    }

    fn disk(&mut self, disk: &plan::Disk) -> open::Result<Arc<dyn Disk>> {
        Ok(match disk {
            plan::Disk::Start => self.open.disk.clone(),
            plan::Disk::Partitioned(disk, location) => {
                let disk = self.disk(disk)?;
                if table(&disk, location)?.scheme == Scheme::None {
                    let what = "there is no partition table; leave out dvm and what opens a volume".to_owned();
                    return Err(Error::Unsupported { location: location.clone(), what }.into());
                }
                disk
            }
            plan::Disk::Volume(disk, name) => {
                let disk = self.disk(disk)?;
                let table = table(&disk, &name.location)?;
                let text = name.text();
                let number = text.trim_start_matches('/').strip_prefix("vol").and_then(|number| number.parse().ok());
                match number.and_then(|number: usize| table.volumes.get(number)) {
                    Some(volume) => Arc::new(Slice::new(disk, volume.offset, volume.size)),
                    None => {
                        let there = match table.volumes.len() {
                            0 => "there are no volumes; open the disk without dvm".to_owned(),
                            1 => "there is only vol0".to_owned(),
                            count => format!("there are vol0 to vol{}", count - 1),
                        };
                        let what = format!("there is no volume of that name; {there}");
                        return Err(Error::NotFound { location: name.location.clone(), what }.into());
                    }
                }
            }
            plan::Disk::File(files, name) => {
                let guest = self.files(files)?;
                let node = find(&guest, name)?;
                self.file(&guest, node, name)?
            }
            plan::Disk::Gunzip(disk, location) => {
                let disk = self.disk(disk)?;
                log::info!("Decompressing all of it once, to find its size and positions to start from");
                let name = self.plan.start.files.last().cloned().unwrap_or_default();
                let content = Gunzip::open(disk, name).map_err(|e| failed(location, e.into()))?;
                self.open.warnings.extend(content.notes().iter().cloned());
                Arc::new(content)
            }
        })
    }

    fn file(&self, guest: &Guest, node: Node, name: &Name) -> open::Result<Arc<dyn Disk>> {
        let mut path = self.plan.start.files.last().map_or_else(PathBuf::new, PathBuf::from);
        path.push(name.text().trim_start_matches('/'));
        match FileDisk::new(guest.fs.clone(), guest.volume.clone(), node, path) {
            Ok(disk) => Ok(Arc::new(disk)),
            Err(guestfs::Error::NotFile) => Err(kind_error(guest, node, name, "file")),
            Err(e) => Err(failed(&name.location, e.into())),
        }
    }

    fn files(&mut self, files: &Files) -> open::Result<Guest> {
        match files {
            Files::Mount(disk, location, provider) => {
                let volume = self.disk(disk)?;
                let opened = guestfs::detect::open(volume.clone()).map_err(|e| failed(location, e.into()))?;
                let (name, types) = FILE_SYSTEMS[*provider];
                match opened {
                    Some(fs) if is_one_of(types, &*fs) => Ok(Guest::new(0, fs, volume, 0)),
                    Some(fs) => {
                        let what = format!(
                            "{name} expected another file system, {} is there; write dir(mount)",
                            fs.facts().type_name
                        );
                        Err(Error::Unsupported { location: location.clone(), what }.into())
                    }
                    None => {
                        let is_start = **disk == plan::Disk::Start && self.plan.start.plain;
                        let file = self.plan.start.files.first().filter(|_| is_start);
                        let what = what_else(&volume, file.map(PathBuf::as_path));
                        Err(Error::Unsupported { location: location.clone(), what }.into())
                    }
                }
            }
            Files::Directory(files, name) => {
                let guest = self.files(files)?;
                let node = find(&guest, name)?;
                match is_directory(&guest, node, name)? {
                    true => Ok(Guest { root: node, ..guest }),
                    false => Err(kind_error(&guest, node, name, "directory")),
                }
            }
        }
    }
}

impl Name {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

fn failed(location: &Location, source: open::Error) -> open::Error {
    Error::Failed { location: location.clone(), source: Box::new(source) }.into()
}

fn table(disk: &Arc<dyn Disk>, location: &Location) -> open::Result<Table> {
    volume::read_table(&**disk).map_err(|e| failed(location, e.into()))
}

fn is_one_of(types: &[&str], fs: &dyn GuestFs) -> bool {
    let name = fs.facts().type_name.to_lowercase();
    types.iter().any(|kind| name.starts_with(kind))
}

/// The error for what has no file system that is read: what is there instead, and how to go on.
fn what_else(volume: &Arc<dyn Disk>, file: Option<&Path>) -> String {
    let content = guestfs::identify(volume);
    if !content.is_unknown() {
        let note = content.notes.first().map_or_else(String::new, |note| format!(" ({note})"));
        return format!("{content} is there, which is not read here{note}; end the spec before that to have the disk");
    }
    let mut magic = [0; 2];
    if volume.read_at(0, &mut magic).is_ok() && magic == GZIP {
        return "gzip data is there; write ios(gunzip) before it".to_owned();
    }
    let format = file.and_then(|file| image::identify(file, Devices::Allowed).ok()).map(|info| info.format);
    if let Some(format) = format.filter(|format| *format != Format::Raw) {
        return format!("the bytes of a {format} image are there; begin with file(vd,IMAGE) for its disk");
    }
    match volume::read_table(&**volume) {
        Ok(table) if !table.volumes.is_empty() => {
            format!("a partition table ({}) is there; write vfs(dvm)|file(open,vol0) before it", table.scheme.name())
        }
        _ => "no file system is there that is known; end the spec before that to have the disk".to_owned(),
    }
}

/// The file or directory of a name in the directory that is shown.
fn find(guest: &Guest, name: &Name) -> open::Result<Node> {
    let mut nodes = vec![guest.root];
    for part in name.bytes.split(|byte| *byte == b'/') {
        let directory = nodes.last().copied().unwrap_or(guest.root);
        match part {
            b"" | b"." => continue,
            b".." if nodes.len() > 1 => {
                nodes.pop();
                continue;
            }
            b".." => continue,
            _ => {}
        }
        match guest.fs.lookup(directory, part) {
            Ok(Some(node)) => nodes.push(node),
            Ok(None) => {
                let what = format!(
                    "there is no {:?} in the file system; list it with ls and the spec up to there",
                    String::from_utf8_lossy(part)
                );
                return Err(Error::NotFound { location: name.location.clone(), what }.into());
            }
            Err(guestfs::Error::NotDirectory) => return Err(kind_error(guest, directory, name, "directory")),
            Err(e) => return Err(failed(&name.location, e.into())),
        }
    }
    Ok(nodes.last().copied().unwrap_or(guest.root))
}

fn is_directory(guest: &Guest, node: Node, name: &Name) -> open::Result<bool> {
    let attributes = guest.fs.attributes(node).map_err(|e| failed(&name.location, e.into()))?;
    Ok(attributes.kind == NodeKind::Directory)
}

/// The error for a file that is of another kind than it should be.
fn kind_error(guest: &Guest, node: Node, name: &Name, expected: &str) -> open::Error {
    let found = match guest.fs.attributes(node).map(|attributes| attributes.kind) {
        Ok(NodeKind::File) => "a file is there; write file(open,PATH)".to_owned(),
        Ok(NodeKind::Directory) => "a directory is there; write dir(open,PATH)".to_owned(),
        Ok(NodeKind::Symlink) => {
            let target = guest.fs.read_link(node).unwrap_or_default();
            format!(
                "a symbolic link to {:?} is there; write the path that it leads to",
                String::from_utf8_lossy(&target)
            )
        }
        _ => "a device, pipe or socket is there; name another one".to_owned(),
    };
    let what = format!("a {expected} is expected, and {found}");
    Error::Unsupported { location: name.location.clone(), what }.into()
}
