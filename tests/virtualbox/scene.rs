//! Running the program, and mounts that never outlive their test.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What the program printed, and its exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn said(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program prints UTF-8");
    Said { code: status.code(), out: text(stdout), err: text(stderr) }
}

/// A mounted medium, unmounted by the program itself when dropped.
pub(crate) struct Mount {
    program: fn() -> Command,
    point: tempfile::TempDir,
}

impl Mount {
    /// Mounts with `command`, which has all arguments but the mount point.
    pub(crate) fn new(command: &mut Command) -> Result<Self, Said> {
        let point = tempfile::Builder::new().prefix("vboximg-point-").tempdir().unwrap();
        let answer = said(command.arg(point.path()));
        if answer.code != Some(0) {
            return Err(answer);
        }
        assert_eq!(answer.out, "");
        Ok(Self { program: || Command::new(env!("CARGO_BIN_EXE_vboximg-mount")), point })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.point.path().join(name)
    }

    /// Unmounts, and checks that it is said to have worked.
    pub(crate) fn unmount(self) {
        let answer = said((self.program)().arg("-u").arg(self.point.path()));
        assert_eq!(answer, Said { code: Some(0), out: String::new(), err: String::new() });
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        if mounts.contains(self.point.path().to_str().unwrap_or_default()) {
            let _ = (self.program)().arg("-u").arg(self.point.path()).output();
        }
    }
}

/// The SHA-256 of a file, in lower-case hexadecimal.
pub(crate) fn sha256(path: &Path) -> String {
    let mut file = File::open(path).unwrap();
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        let len = file.read(&mut piece).unwrap();
        if len == 0 {
            return hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        }
        hash.update(&piece[..len]);
    }
}
