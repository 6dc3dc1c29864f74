//! What the tests of the program share: the registry that the real VirtualBox wrote.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The packed registry. See `fixtures/README.md`.
const REGISTRY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/registry.tar.zst");

/// A decompressed registry, and what the real tools said of it. Removed when dropped.
pub(crate) struct Fixture {
    directory: TempDir,
}

/// A line of `expected/media.tsv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpectedMedium {
    pub(crate) uuid: String,
    /// The disk as the real vboximg-mount showed it; none where it refused.
    pub(crate) disk: Option<ExpectedDisk>,
}

/// The flat disk of a medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExpectedDisk {
    /// Bytes.
    pub(crate) size: u64,
    /// In lower-case hexadecimal.
    pub(crate) sha256: String,
}

impl Fixture {
    /// A registry of the test's own, which it may change.
    ///
    /// # Panics
    /// When it cannot be decompressed: nothing can be tested without it.
    pub(crate) fn registry() -> Self {
        let directory = tempfile::Builder::new().prefix("vboximg-test-").tempdir().unwrap();
        // Sparse files stay sparse (S): one image has 8 MiB of map for 2 TiB.
        let output = Command::new("tar").args(["--zstd", "-xSf", REGISTRY, "-C"]).arg(directory.path()).output();
        let output = output.expect("tar is installed");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{REGISTRY} cannot be decompressed (tests/setup.sh installs zstd): {complaint}"
        );
        let fixture = Self { directory };
        // VirtualBox does not read the copy, and called this machine inaccessible; here it would be one like the others.
        fs::remove_file(fixture.machine_file("lost vm/lost vm.vbox-prev")).unwrap();
        fixture
    }

    /// The directory that `home` and `expected` are in.
    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    /// The settings directory, for `VBOX_USER_HOME`.
    pub(crate) fn home(&self) -> PathBuf {
        self.root().join("home")
    }

    /// A file of the machines' directory, such as `win-legacy/win.vhd`.
    pub(crate) fn machine_file(&self, name: &str) -> PathBuf {
        self.home().join("Machines").join(name)
    }

    /// A recorded output, with the paths that it has here.
    pub(crate) fn expected(&self, name: &str) -> String {
        let path = self.root().join("expected").join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        text.replace("@ROOT@", self.root().to_str().unwrap())
    }

    /// All hard disks.
    pub(crate) fn expected_media(&self) -> Vec<ExpectedMedium> {
        let parse = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            let mut word = || words.next().unwrap_or_else(|| panic!("media.tsv: {line}"));
            let (uuid, size, sha256) = (word(), word(), word());
            let disk = (size != "-").then(|| ExpectedDisk { size: size.parse().unwrap(), sha256 });
            ExpectedMedium { uuid, disk }
        };
        self.expected("media.tsv").lines().map(parse).collect()
    }

    /// The program, told to use this registry.
    pub(crate) fn program(&self) -> Command {
        let Some(program) = option_env!("CARGO_BIN_EXE_vboximg-mount") else {
            panic!("Cargo names the program to the tests of it, not to those in the library")
        };
        let mut command = Command::new(program);
        command.env("VBOX_USER_HOME", self.home());
        command
    }
}
