//! Opening disks and looking at images.

use super::Tools;
use crate::browse::model::message::{OpenVolume, Opened};
use crate::error_kind::{IoError, message};
use crate::image;
use crate::listing::report::MediumReport;
use crate::listing::{self, scaled};
use crate::lock::{self, Prober, State};
use crate::open::{self, OpenDisk, Which};
use crate::registry::{MediumId, Registry};
use crate::storage::local::Devices;
use crate::view::{Appearance, Source, View};
use crate::volume::Volume;
use std::io;
use std::path::{Path, PathBuf};

/// What is known of media.
pub(super) fn media(tools: &Tools, registry: &Registry, ids: &[MediumId]) -> Vec<(MediumId, MediumReport)> {
    let reports = listing::collect_media(registry, ids, &Prober::new(), &tools.lookup.allowed);
    ids.iter().copied().zip(reports).collect()
}

/// Opens a disk with its file systems.
pub(super) fn open(tools: &Tools, which: &Which) -> open::Result<Opened> {
    let found = tools.lookup.find(which, false)?;
    let mut warnings = found.warnings.clone();
    let open = found.open(&tools.lookup, &tools.disk)?;
    warnings.extend(open.warnings);
    let mut disks = open.disks.into_iter();
    let Some((_, disk)) = disks.next() else {
        let what = "A disk of the machine".to_owned();
        let hint = "nothing is attached to it".to_owned();
        return Err(crate::registry::Error::NotFound { what, hint }.into());
    };
    opened(disk, warnings)
}

fn opened(disk: OpenDisk, mut warnings: Vec<String>) -> open::Result<Opened> {
    let whole = Volume::whole(&*disk.disk);
    let has_table = !disk.table.volumes.is_empty();
    let listed = if has_table { disk.table.volumes.clone() } else { vec![whole] };
    let (mut volumes, mut guests) = (Vec::new(), Vec::new());
    for (volume, found) in listed.into_iter().zip(disk.contents()) {
        if !found.content.is_unknown() || found.guest.is_some() {
            warnings.extend(found.warnings());
        }
        let space = found.guest.as_ref().map(|guest| {
            let facts = guest.fs.facts();
            (facts.block_size, facts.blocks, facts.free_blocks)
        });
        guests.extend(found.guest);
        volumes.push(OpenVolume { volume, content: found.content, root: None, space });
    }
    let size = disk.disk.size();
    let table = match has_table {
        true => format!("{}, sectors of {} bytes", disk.table.scheme.name(), disk.table.sector_size),
        false => "none".to_owned(),
    };
    let links = disk.images.links().iter().map(|link| {
        let info = link.info();
        (info.path.clone(), format!("{}, {} on disk", info.format, scaled(info.stored_size).trim()))
    });
    let links = links.collect();
    let key_id = disk.chain.base_properties.get("CRYPT/KeyId").cloned();
    let source = Source { guests, ..Source::of_disk(&disk) };
    let view = View::new(source, Appearance::default()).map_err(|e| unseen(&disk.chain.links[0].path, &e))?;
    for volume in &mut volumes {
        let path = format!("fs{}", volume.volume.index);
        volume.root = volume.space.and_then(|_| view.find(Path::new(&path)).ok()).map(|seen| seen.inode);
    }
    Ok(Opened { view, volumes, has_table, table, size, links, key_id, warnings, _locks: disk.into_locks() })
}

/// The image whose times cannot be read.
fn unseen(path: &Path, error: &crate::view::Error) -> open::Error {
    let source = io::Error::other(message(error));
    crate::registry::Error::from(IoError::new(path, "look at", source)).into()
}

/// The images of a chain, leaf first, with who has them locked or open.
pub(super) fn locks(tools: &Tools, paths: &[PathBuf]) -> Vec<String> {
    let prober = Prober::new();
    let mut lines = Vec::new();
    for (at, path) in paths.iter().enumerate() {
        let role = match at {
            0 => "leaf".to_owned(),
            at if at + 1 == paths.len() => format!("base, {at} above"),
            at => format!("parent, {at} above"),
        };
        lines.push(format!("{} ({role})", crate::browse::content::shown_path(path)));
        match image::identify_allowing(path, Devices::Refused, &tools.lookup.allowed) {
            Ok(info) => {
                let uuid = info.uuid.map_or_else(|| "none".to_owned(), |uuid| uuid.to_string());
                let (stored, size) = (scaled(info.stored_size), scaled(info.size));
                lines.push(format!("  {}, {} on disk of {}", info.format, stored.trim(), size.trim()));
                lines.push(format!("  UUID: {uuid}"));
            }
            Err(e) => lines.push(format!("  {}", message(&e))),
        }
        lines.push(match prober.state(path) {
            Ok(State::Free) => "  Locked by nobody".to_owned(),
            Ok(State::Read(holders)) if holders.is_empty() => "  Locked for reading".to_owned(),
            Ok(State::Read(holders)) => {
                let own = std::process::id();
                let name = |holder: &lock::Holder| match holder.pid == own {
                    true => "this browser".to_owned(),
                    false => format!("process {holder}"),
                };
                format!("  Locked for reading by {}", holders.iter().map(name).collect::<Vec<_>>().join(", "))
            }
            Ok(State::Write(Some(holder))) => format!("  Locked for writing by process {holder}"),
            Ok(State::Write(None)) => "  Locked for writing".to_owned(),
            Err(e) => format!("  {}", message(&e)),
        });
        for user in lock::Search::new(&[path]).users() {
            let how = if user.writes { "for writing" } else { "for reading" };
            lines.push(format!("  Open {how} in process {} ({})", user.pid, user.name));
        }
    }
    lines
}
