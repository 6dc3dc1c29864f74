//! The disk with guest file systems: made by the kernel and each file system's own tools on a raw file, and copied into
//! a VDI image.

use super::super::host::{self, tool};
use super::super::scale::{MIB, Scale};
use super::super::{Result, noise};
use super::vdi::{self, Identity};
use super::{cached, media};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name of a file system's large file, and of its directory with many files.
pub(crate) const BIG: &str = "big.bin";
pub(crate) const MANY: &str = "many";

/// A disk in a VDI image, and the same bytes as a raw file.
pub(crate) struct SourceDisk {
    pub(crate) raw: PathBuf,
    pub(crate) medium: media::Medium,
    pub(crate) volumes: Vec<Volume>,
}

/// A volume of it.
pub(crate) struct Volume {
    /// The number in `vol<N>`.
    pub(crate) index: usize,
    pub(crate) kind: &'static str,
    /// Bytes from the start of the disk.
    pub(crate) start: u64,
    pub(crate) size: u64,
    /// Bytes of its large file.
    pub(crate) big: u64,
}

impl Volume {
    /// Whether its file system has the directory of many files.
    pub(crate) fn has_many(&self) -> bool {
        self.big > 0 && matches!(self.kind, "ext4" | "ntfs")
    }
}

/// The volumes that a disk of this scale has.
pub(crate) fn volumes(scale: &Scale) -> Vec<Volume> {
    let mut start = MIB;
    let place = |(index, part): (usize, &super::super::scale::Part)| {
        let volume = Volume { index, kind: part.kind, start, size: part.size * MIB, big: part.big * MIB };
        start += volume.size;
        volume
    };
    scale.parts.iter().enumerate().map(place).collect()
}

/// The disk of this scale.
pub(crate) fn source_disk(out: &Path, scale: &Scale) -> Result<SourceDisk> {
    let volumes = volumes(scale);
    let identity = Identity::numbered(scale.disk);
    let directory = cached(out.join(format!("guests-{}", scale.name)), |directory| {
        let raw = directory.join("disk.raw");
        File::create_new(&raw)?.set_len(scale.disk * MIB)?;
        partition(&raw, &volumes)?;
        for volume in &volumes {
            fill(&raw, volume, scale, &directory.join("mnt"))?;
        }
        Ok(vdi::from_raw(&raw, &directory.join("disk.vdi"), identity)?)
    })?;
    let medium = media::Medium::new(directory.join("disk.vdi"), identity, None);
    Ok(SourceDisk { raw: directory.join("disk.raw"), medium, volumes })
}

fn partition(raw: &Path, volumes: &[Volume]) -> Result<()> {
    let mut lines = String::from("label: gpt\n");
    for volume in volumes {
        lines += &format!("start={}, size={}\n", volume.start / 512, volume.size / 512);
    }
    let mut child = Command::new("sfdisk").arg("-q").arg(raw).stdin(std::process::Stdio::piped()).spawn()?;
    child.stdin.take().ok_or("sfdisk has no input")?.write_all(lines.as_bytes())?;
    if child.wait()?.success() { Ok(()) } else { Err("sfdisk failed".into()) }
}

/// Makes the file system of a volume and fills it.
fn fill(raw: &Path, volume: &Volume, scale: &Scale, point: &Path) -> Result<()> {
    if volume.kind == "noise" {
        return write_noise(&File::options().write(true).open(raw)?, volume.start, volume.size, 99);
    }
    let device = Loop::new(raw, volume)?;
    let make: &[&str] = match volume.kind {
        "vfat" => &["mkfs.vfat"],
        "ext4" => &["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
        "xfs" => &["mkfs.xfs", "-q", "-f"],
        "ntfs" => &["mkfs.ntfs", "-q", "-F", "-Q"],
        other => return Err(format!("{other} is not a file system that is known here").into()),
    };
    tool(make[0], make[1..].iter().map(OsStr::new).chain([device.path.as_ref()]))?;
    if volume.big == 0 {
        return Ok(());
    }
    fs::create_dir_all(point)?;
    let mount = if volume.kind == "ntfs" { "ntfs-3g" } else { "mount" };
    tool(mount, [device.path.as_ref(), point])?;
    let filled = fill_mounted(volume, scale, point);
    tool("umount", [point])?;
    filled
}

fn fill_mounted(volume: &Volume, scale: &Scale, point: &Path) -> Result<()> {
    // The large file first, so that it lies in one piece and early on the disk.
    write_noise(&File::create_new(point.join(BIG))?, 0, volume.big, volume.index as u64)?;
    if !volume.has_many() {
        return Ok(());
    }
    fs::create_dir(point.join(MANY))?;
    for number in 0..scale.files {
        let mut text = vec![0; 200 + usize::try_from(noise::mix(number.into()) % 4000)?];
        noise::fill(1000 + u64::from(number), 0, &mut text);
        fs::write(point.join(MANY).join(format!("file-{number:05}")), text)?;
    }
    Ok(())
}

/// Writes `len` bytes of the noise `seed` at `offset`; those of a file begin with its first.
pub(crate) fn write_noise(file: &File, offset: u64, len: u64, seed: u64) -> Result<()> {
    let mut chunk = vec![0; usize::try_from(MIB)?];
    for at in (0..len).step_by(chunk.len()) {
        noise::fill(seed, at, &mut chunk);
        file.write_all_at(&chunk, offset + at)?;
    }
    Ok(())
}

/// A loop device over a volume, given back when dropped.
pub(crate) struct Loop {
    pub(crate) path: PathBuf,
}

impl Loop {
    fn new(raw: &Path, volume: &Volume) -> Result<Self> {
        let (start, size) = (volume.start.to_string(), volume.size.to_string());
        let words = ["--show", "-f", "-o", &start, "--sizelimit", &size].map(OsStr::new);
        let path = tool("losetup", words.into_iter().chain([raw.as_os_str()]))?;
        Ok(Self { path: path.trim().into() })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = host::tool("losetup", [OsStr::new("-d"), self.path.as_ref()]);
    }
}
