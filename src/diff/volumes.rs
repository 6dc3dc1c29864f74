//! Comparing all of two states: their disks, the volumes and file systems on those, and all files.

use super::bytes::{Buffers, WholeDisk, differ};
use super::state::{Pair, State, StateDisk};
use super::tree::walk;
use super::{Aspect, Change, Each, End, Error, FileSystem, Result, VolumeChange, VolumeSide, Watch, emit, finish};
use crate::disk::{self, Disk, Slice};
use crate::volume::Volume;
use std::path::{Path, PathBuf};

/// Compares everything: the disks of two states, their volumes, and the files of those that both have.
///
/// What is outside of all volumes, such as the partition table itself, shows in [`ranges`](super::ranges()) only.
///
/// # Errors
/// [`Error::Interrupted`]. What else goes wrong is passed to `each`.
pub(crate) fn compare(old: &State<'_>, new: &State<'_>, watch: &Watch<'_>, each: Each<'_>) -> Result<()> {
    finish(disks(old, new, watch, each))
}

/// What the old state calls a path of the new one: a file system that both have may have another number there.
#[must_use]
pub(crate) fn old_path(old: &State<'_>, new: &State<'_>, path: &Path) -> PathBuf {
    for b in &new.disks {
        let Some(a) = old.disks.iter().find(|a| a.directory == b.directory) else { continue };
        let (before, now) = (state_volumes(old, a), state_volumes(new, b));
        let pairs = paired(&before, &now);
        let within =
            now.iter().zip(&pairs).find_map(|(one, pair)| Some((path.strip_prefix(&one.side.path).ok()?, *pair)));
        if let Some((rest, Some(pair))) = within {
            let other = &before[pair].side.path;
            return if rest.as_os_str().is_empty() { other.clone() } else { other.join(rest) };
        }
    }
    path.to_owned()
}

fn disks(old: &State<'_>, new: &State<'_>, watch: &Watch<'_>, each: Each<'_>) -> Result<(), End> {
    let find = |state: &'_ State<'_>, directory: &Path| state.disks.iter().position(|one| one.directory == directory);
    for b in &new.disks {
        match find(old, &b.directory) {
            Some(a) => volumes(old, new, &old.disks[a], b, watch, each)?,
            None => {
                let path = b.directory.clone();
                emit(each, Ok(Change::Disk { path, old: None, new: Some(b.disk.size()) }))?;
            }
        }
    }
    for a in old.disks.iter().filter(|a| find(new, &a.directory).is_none()) {
        let path = a.directory.clone();
        emit(each, Ok(Change::Disk { path, old: Some(a.disk.size()), new: None }))?;
    }
    Ok(())
}

/// A volume, or a whole disk without any.
struct StateVolume {
    side: VolumeSide,
    number: usize,
    /// The root directory of its file system.
    root: Option<u64>,
}

impl StateVolume {
    fn type_name(&self) -> Option<&'static str> {
        self.side.file_system.as_ref().map(|fs| fs.type_name)
    }

    fn is_same_file_system(&self, other: &Self) -> bool {
        match (&self.side.file_system, &other.side.file_system) {
            (Some(a), Some(b)) => !a.uuid.is_empty() && (a.type_name, &a.uuid) == (b.type_name, &b.uuid),
            _ => false,
        }
    }

    /// What its bytes are: those of its file system, which may be of the whole disk for an optical one.
    fn disk<'a>(&self, state: &'a State<'_>, of: &StateDisk) -> DiskOf<'a> {
        match self.root.and_then(|root| state.view.file_system(root)) {
            Some((_, disk)) => DiskOf::FileSystem(disk),
            None => DiskOf::Volume(Slice::new(of.disk.clone(), self.side.offset, self.side.size)),
        }
    }
}

enum DiskOf<'a> {
    FileSystem(&'a dyn Disk),
    Volume(Slice),
}

impl DiskOf<'_> {
    fn get(&self) -> &dyn Disk {
        match self {
            Self::FileSystem(disk) => *disk,
            Self::Volume(disk) => disk,
        }
    }
}

/// The volumes of a disk.
fn state_volumes(state: &State<'_>, of: &StateDisk) -> Vec<StateVolume> {
    let whole = [Volume::whole(&*of.disk)];
    let volumes = if of.volumes.is_empty() { &whole[..] } else { &of.volumes };
    let one = |volume: &Volume| {
        let path = of.directory.join(format!("fs{}", volume.index));
        let found = state.view.find(&path).ok();
        let root = found.map(|root| root.inode).filter(|root| state.view.is_guests(*root));
        let file_system = root.and_then(|root| state.view.file_system(root)).map(|(facts, _)| FileSystem {
            type_name: facts.type_name,
            uuid: facts.uuid.clone(),
            label: facts.label.clone(),
        });
        let path = match root {
            Some(_) => path,
            None if of.volumes.is_empty() => of.directory.join("vhdd"),
            None => of.directory.join(format!("vol{}", volume.index)),
        };
        let side = VolumeSide { path, offset: volume.offset, size: volume.size, file_system };
        StateVolume { side, number: volume.index, root }
    };
    volumes.iter().map(one).collect()
}

/// Whether a volume of the old state is one of the new state.
type Rule = fn(&StateVolume, &StateVolume) -> bool;

/// Which volume of the old state is which one of the new state: first those with the same file system, which may have
/// moved, then those at the same offset, then those of the same number.
fn paired(old: &[StateVolume], new: &[StateVolume]) -> Vec<Option<usize>> {
    let rules: [Rule; 4] = [
        |a, b| a.is_same_file_system(b) && a.side.offset == b.side.offset,
        |a, b| a.is_same_file_system(b),
        |a, b| a.side.offset == b.side.offset,
        |a, b| a.number == b.number && a.type_name() == b.type_name(),
    ];
    let mut pairs: Vec<Option<usize>> = vec![None; new.len()];
    for is_pair in rules {
        for at in 0..new.len() {
            if pairs[at].is_none() {
                let mut left = (0..old.len()).filter(|index| !pairs.contains(&Some(*index)));
                pairs[at] = left.find(|index| is_pair(&old[*index], &new[at]));
            }
        }
    }
    pairs
}

fn volumes(
    old: &State<'_>,
    new: &State<'_>,
    of_old: &StateDisk,
    of_new: &StateDisk,
    watch: &Watch<'_>,
    each: Each<'_>,
) -> Result<(), End> {
    let sizes = (of_old.disk.size(), of_new.disk.size());
    if sizes.0 != sizes.1 {
        let path = of_new.directory.clone();
        emit(each, Ok(Change::Disk { path, old: Some(sizes.0), new: Some(sizes.1) }))?;
    } else if is_all_shared(&*of_old.disk, &*of_new.disk, watch)? {
        return Ok(());
    }
    let (a, b) = (state_volumes(old, of_old), state_volumes(new, of_new));
    let pairs = paired(&a, &b);
    for (one, pair) in b.iter().zip(&pairs) {
        let Some(before) = pair.map(|at| &a[at]) else {
            let change = VolumeChange { old: None, new: Some(one.side.clone()), aspects: Vec::new() };
            emit(each, Ok(Change::Volume(change)))?;
            continue;
        };
        let disks = (before.disk(old, of_old), one.disk(new, of_new));
        volume(Pair { old, new }, before, one, (disks.0.get(), disks.1.get()), watch, each)?;
    }
    for (_, one) in a.iter().enumerate().filter(|(at, _)| !pairs.contains(&Some(*at))) {
        let change = VolumeChange { old: Some(one.side.clone()), new: None, aspects: Vec::new() };
        emit(each, Ok(Change::Volume(change)))?;
    }
    Ok(())
}

/// Compares a volume that both states have.
fn volume(
    pair: Pair<'_>,
    old: &StateVolume,
    new: &StateVolume,
    disks: (&dyn Disk, &dyn Disk),
    watch: &Watch<'_>,
    each: Each<'_>,
) -> Result<(), End> {
    let (a, b) = (&old.side, &new.side);
    let of_fs = |one: &'_ VolumeSide| one.file_system.clone().map(|fs| (fs.uuid, fs.label)).unwrap_or_default();
    let is_same_type = old.type_name() == new.type_name();
    let ((a_uuid, a_label), (b_uuid, b_label)) = (of_fs(a), of_fs(b));
    let mut aspects = Vec::new();
    for (differs, aspect) in [
        (!is_same_type, Aspect::Kind),
        (a.offset != b.offset, Aspect::Offset),
        (a.size != b.size, Aspect::Size),
        (old.number != new.number, Aspect::Number),
        (is_same_type && a_uuid != b_uuid, Aspect::Uuid),
        (is_same_type && a_label != b_label, Aspect::Label),
    ] {
        if differs {
            aspects.push(aspect);
        }
    }
    let wrong = |name: &str, path: &Path| {
        let (path, state) = (path.to_owned(), name.to_owned());
        move |e: disk::Error| Error::Disk { path: path.clone(), state: state.clone(), source: Box::new(e) }
    };
    let old_bytes = WholeDisk { disk: disks.0, wrong: wrong(pair.old.name, &a.path) };
    let new_bytes = WholeDisk { disk: disks.1, wrong: wrong(pair.new.name, &b.path) };
    let roots = old.root.zip(new.root).filter(|_| is_same_type);
    if roots.is_none() && is_same_type {
        // Nobody knows what is in it, but whether it is the same.
        match differ(&old_bytes, &new_bytes, disks.0.size().min(disks.1.size()), &mut Buffers::default(), watch) {
            Ok(false) => {}
            Ok(true) => aspects.push(Aspect::Content),
            Err(e @ Error::Interrupted) => return Err(e.into()),
            Err(e) => emit(each, Err(e))?,
        }
    }
    if !aspects.is_empty() {
        let change = VolumeChange { old: Some(a.clone()), new: Some(b.clone()), aspects };
        emit(each, Ok(Change::Volume(change)))?;
    }
    match roots {
        Some((old, new)) if !is_all_shared(disks.0, disks.1, watch)? => {
            walk(pair, &b.path, (Some(old), Some(new)), watch, each)
        }
        _ => Ok(()),
    }
}

/// Whether two disks of the same size are known to be the same. What cannot be told here is seen when it is read.
fn is_all_shared(old: &dyn Disk, new: &dyn Disk, watch: &Watch<'_>) -> Result<bool> {
    if old.size() != new.size() {
        return Ok(false);
    }
    let mut at = 0;
    while at < old.size() {
        watch.check()?;
        let left = old.size() - at;
        let (Ok((a, len)), Ok((b, other))) = (old.origin(at, left), new.origin(at, left)) else { return Ok(false) };
        if a.is_none() || a != b {
            return Ok(false);
        }
        at += len.min(other);
    }
    Ok(true)
}
