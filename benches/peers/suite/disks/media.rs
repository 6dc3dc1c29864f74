//! Media, and a settings directory that knows them, as VirtualBox writes it.

use super::super::Result;
use super::vdi::Identity;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Medium {
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
    /// The `uuidCreate` of its parent.
    pub(crate) parent: Option<Uuid>,
}

impl Medium {
    pub(crate) fn new(path: PathBuf, identity: Identity, parent: Option<Uuid>) -> Self {
        Self { path, identity, parent }
    }
}

/// Writes a settings directory with these media, whose paths are changed by `place`.
pub(crate) fn write_home(directory: &Path, media: &[Medium], place: impl Fn(&Path) -> String) -> Result<()> {
    fs::create_dir_all(directory)?;
    let mut disks = String::new();
    for base in media.iter().filter(|medium| medium.parent.is_none()) {
        write_medium(&mut disks, base, media, &place)?;
    }
    Ok(fs::write(directory.join("VirtualBox.xml"), global("", &disks))?)
}

fn write_medium(
    out: &mut String,
    medium: &Medium,
    media: &[Medium],
    place: &impl Fn(&Path) -> String,
) -> std::fmt::Result {
    let (uuid, location) = (medium.identity.uuid, place(&medium.path));
    let kind = if medium.parent.is_none() { " type=\"Normal\"" } else { "" };
    writeln!(out, "<HardDisk uuid=\"{{{uuid}}}\" location=\"{location}\" format=\"VDI\"{kind}>")?;
    for child in media.iter().filter(|child| child.parent == Some(uuid)) {
        write_medium(out, child, media, place)?;
    }
    writeln!(out, "</HardDisk>")
}

/// `VirtualBox.xml` with these `MachineEntry` and `HardDisk` elements.
pub(crate) fn global(machines: &str, disks: &str) -> String {
    format!(
        r#"<?xml version="1.0"?>
<VirtualBox xmlns="http://www.virtualbox.org/" version="1.12-linux">
  <Global>
    <ExtraData/>
    <MachineRegistry>
{machines}    </MachineRegistry>
    <MediaRegistry>
      <HardDisks>
{disks}      </HardDisks>
    </MediaRegistry>
    <NetserviceRegistry>
      <DHCPServers/>
    </NetserviceRegistry>
    <USBDeviceFilters/>
    <SystemProperties defaultMachineFolder="Machines" defaultHardDiskFormat="VDI" LogHistoryCount="3" proxyMode="0" exclusiveHwVirt="true"/>
  </Global>
</VirtualBox>
"#
    )
}
