//! The real VirtualBox, and other programs, for tests.
//!
//! A VirtualBox is used where `VBOXIMG_REFERENCE` names the directory that it was put in, with a script `vb-in` that
//! runs its programs there and a directory `lab` that they see.
#![allow(dead_code, reason = "each test program uses a part of it")]

use crate::support::provided;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The directory of the real VirtualBox; none where there is none.
pub(crate) fn reference() -> Option<PathBuf> {
    let root = std::env::var_os("VBOXIMG_REFERENCE").map(PathBuf::from);
    provided(root.is_some(), "the real VirtualBox, in a directory that VBOXIMG_REFERENCE names");
    root
}

/// The directory of the real VirtualBox.
pub(crate) struct Reference {
    root: PathBuf,
    directory: String,
}

impl Reference {
    /// With a directory of its own, `name`, that the real VirtualBox sees too; none where there is no VirtualBox.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let reference = Self { root: reference()?, directory: format!("/lab/test-{name}") };
        let _ = fs::remove_dir_all(reference.outside());
        fs::create_dir_all(reference.outside()).unwrap();
        Some(reference)
    }

    /// The directory as this program sees it.
    pub(crate) fn outside(&self) -> PathBuf {
        self.root.join(&self.directory[1..])
    }

    /// A file in the directory as VirtualBox sees it.
    pub(crate) fn inside(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }

    /// Runs one of its programs with a registry in the directory: the words of `line`. What it printed.
    pub(crate) fn run(&self, line: &str) -> String {
        let output = Command::new(self.root.join("vb-in"))
            .args(line.split(' '))
            .env("VBOX_USER_HOME", self.inside("home"))
            .env("VBOX_IPC_SOCKETID", self.directory.replace('/', "-"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{line}: {text}");
        text
    }

    /// The bytes that VirtualBox reads from an image in the directory.
    pub(crate) fn bytes(&self, name: &str, format: &str) -> Vec<u8> {
        let raw = self.outside().join("out.raw");
        let _ = fs::remove_file(&raw);
        let (source, target) = (self.inside(name), self.inside("out.raw"));
        self.run(&format!(
            "vbox-img convert --srcfilename {source} --srcformat {format} --dstfilename {target} --dstformat RAW"
        ));
        fs::read(raw).unwrap()
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.outside());
    }
}

/// Runs a program that must succeed; what it wrote to its standard output.
pub(crate) fn run<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Vec<u8> {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program} is needed: {e}"));
    let args: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
