//! Tests of the registry on directories of settings files and VDI images that they build.

mod chains;
mod copies;
mod loading;
mod machine_copies;
mod moved;
mod oracle;
mod parents;
mod resolving;
mod settings_sources;
mod states;

use super::*;
use crate::crypt::Passwords;
use crate::error_kind::message;
use crate::image::vdi::testing::Build;
use crate::storage::Allowed;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use uuid::Uuid;

pub(super) fn resolve(registry: Option<&Registry>, what: impl AsRef<OsStr>, current: &Path) -> Result<Chain> {
    resolve_allowing(registry, what, current, &Allowed::NONE)
}

pub(super) fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// A VDI file; `parent` 0 makes a base.
pub(super) fn vdi(n: u128, parent: u128) -> Vec<u8> {
    let kind = if parent == 0 { 1 } else { 4 };
    Build { kind, uuid: uuid(n), parent: uuid(parent), parent_modify: uuid(2), ..Build::default() }.bytes()
}

/// A `HardDisk` element with other ones inside.
pub(super) fn disk(n: u128, location: &str, inside: &str) -> String {
    format!("<HardDisk uuid=\"{{{}}}\" location=\"{location}\" format=\"VDI\">{inside}</HardDisk>", uuid(n))
}

pub(super) fn media(disks: &str) -> String {
    format!("<MediaRegistry><HardDisks>{disks}</HardDisks></MediaRegistry>")
}

/// A `Hardware` element with disks on the ports from 0.
pub(super) fn attached(disks: &[u128]) -> String {
    let slot = |(port, n): (usize, &u128)| {
        let image = format!("<Image uuid=\"{}\"/>", uuid(*n));
        format!("<AttachedDevice type=\"HardDisk\" port=\"{port}\" device=\"0\">{image}</AttachedDevice>")
    };
    let slots: String = disks.iter().enumerate().map(slot).collect();
    format!(
        "<Hardware><StorageControllers><StorageController name=\"SATA\" type=\"AHCI\">{slots}</StorageController>\
         </StorageControllers></Hardware>"
    )
}

/// A directory with a registry under construction.
pub(super) struct Lab {
    directory: tempfile::TempDir,
    entries: String,
    media: String,
}

impl Lab {
    pub(super) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), entries: String::new(), media: String::new() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Registers a machine without writing its file.
    pub(super) fn entry(&mut self, n: u128, src: &str) {
        self.entries += &format!("<MachineEntry uuid=\"{{{}}}\" src=\"{src}\"/>", uuid(n));
    }

    /// Registers a machine and writes its file as `NAME/NAME.vbox`.
    pub(super) fn machine(&mut self, n: u128, name: &str, attributes: &str, body: &str) -> PathBuf {
        self.entry(n, &format!("{name}/{name}.vbox"));
        self.write(&format!("{name}/{name}.vbox"), machine(n, name, attributes, body))
    }

    /// Registers media in the global file.
    pub(super) fn global_media(&mut self, disks: &str) {
        self.media = media(disks);
    }

    pub(super) fn global(&self) -> String {
        format!(
            "<VirtualBox xmlns=\"http://www.virtualbox.org/\" version=\"1.12-linux\"><Global>\
             <MachineRegistry>{}</MachineRegistry>{}</Global></VirtualBox>",
            self.entries, self.media
        )
    }

    pub(super) fn load(&self) -> Registry {
        self.write("VirtualBox.xml", self.global());
        Registry::load(self.directory.path(), &Passwords::default()).unwrap()
    }

    /// Loads a registry that has no problems.
    pub(super) fn load_clean(&self) -> Registry {
        let registry = self.load();
        assert_eq!(problems(&registry), [""; 0]);
        registry
    }

    /// `text` without the directory's name.
    pub(super) fn bare(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.directory.path().display()), "")
    }
}

pub(super) fn machine(n: u128, name: &str, attributes: &str, body: &str) -> String {
    format!(
        "<VirtualBox xmlns=\"http://www.virtualbox.org/\" version=\"1.19-linux\">\n\
         <Machine uuid=\"{{{}}}\" name=\"{name}\" snapshotFolder=\"Snapshots\" {attributes}>{body}</Machine></VirtualBox>",
        uuid(n)
    )
}

pub(super) fn problems(registry: &Registry) -> Vec<String> {
    registry.problems.iter().map(|problem| message(problem)).collect()
}

pub(super) fn names(chain: &Chain) -> Vec<String> {
    let name = |link: &Link| link.path.file_name().unwrap().to_string_lossy().into_owned();
    chain.links.iter().map(name).collect()
}
