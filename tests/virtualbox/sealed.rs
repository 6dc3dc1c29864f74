//! The registry that the real VirtualBox encrypted, which lies in `../shared` and is not part of the project.
//!
//! Its machine `sealed` has an AES-XTS256 VDI and an AES-XTS128 VMDK, each with a snapshot; `vault` is encrypted whole.

use crate::qemu::shared;
use crate::scene::Mount;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What opens all of it.
pub(crate) const PASSWORD: &str = "correct horse";
/// The current state of `sealed`: a VDI and a VMDK, each a difference.
pub(crate) const VDI_LEAF: &str = "81fe4031-a34a-428b-bd8f-343ac4508ff4";
pub(crate) const VMDK_LEAF: &str = "e6ba3bb3-0ed1-4412-a221-d8624f2512df";
/// The VDI base of `sealed`.
pub(crate) const VDI_BASE: &str = "f344203c-b344-47c0-9ed9-88547e27b4b2";
/// The disk of `vault`.
pub(crate) const VAULT_DISK: &str = "99c777de-c0af-4fe6-9ef4-be484d34a67e";

/// The decompressed registry, a test's own. The file `password` in it has the right password.
pub(crate) struct Sealed {
    directory: tempfile::TempDir,
}

impl Sealed {
    /// `None`, which is reported, where `../shared` is missing.
    pub(crate) fn new() -> Option<Self> {
        Self::in_directory(&std::env::temp_dir())
    }

    /// As [`Sealed::new`], within a directory.
    pub(crate) fn in_directory(parent: &Path) -> Option<Self> {
        let compressed = shared("oracle/encrypted.tar.zst")?;
        let directory = tempfile::Builder::new().prefix("vboximg-sealed-").tempdir_in(parent).unwrap();
        let done =
            Command::new("tar").arg("--zstd").arg("-xSf").arg(compressed).arg("-C").arg(directory.path()).status();
        assert!(done.unwrap().success(), "the registry cannot be decompressed (tests/setup.sh installs zstd)");
        Some(Self { directory })
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.root().join("home")
    }

    /// A file of the machines' directory.
    pub(crate) fn machine_file(&self, name: &str) -> PathBuf {
        self.home().join("Machines").join(name)
    }

    /// A new file in the root directory.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.root().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The UUID, size and SHA-256 of each disk.
    pub(crate) fn media(&self) -> Vec<(String, u64, String)> {
        let text = fs::read_to_string(self.root().join("expected/media.tsv")).unwrap();
        let parse = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
            [uuid, size, sha256, _path] => (uuid.to_owned(), size.parse().unwrap(), sha256.to_owned()),
            _ => panic!("media.tsv: {line}"),
        };
        text.lines().map(parse).collect()
    }

    /// The program with this registry, without standard input and without a terminal, on which it would ask the person
    /// who runs the tests.
    pub(crate) fn program(&self) -> Command {
        let mut command = Command::new("setsid");
        command.args(["--wait", env!("CARGO_BIN_EXE_vboximg-mount")]);
        command.env("VBOX_USER_HOME", self.home()).current_dir(self.root()).stdin(Stdio::null());
        command
    }

    /// The program with the right password for all.
    pub(crate) fn open(&self) -> Command {
        let mut command = self.program();
        command.args(["--password-file", "password"]);
        command
    }

    /// The program with the right password for one medium only. Each key takes it some tenths of a second.
    pub(crate) fn open_for(&self, uuid: &str) -> Command {
        let key = match uuid {
            VDI_BASE | VDI_LEAF => "seal256",
            VAULT_DISK => "vault-id",
            _ => "seal128",
        };
        let mut command = self.program();
        command.args(["--password-file", &format!("{key}=password")]);
        command
    }

    /// A medium mounted with the right password.
    pub(crate) fn mount(&self, options: &[&str], uuid: &str) -> Mount {
        Mount::new(self.open_for(uuid).args(options).args(["-i", uuid])).unwrap_or_else(|e| panic!("{uuid}: {e:?}"))
    }
}
