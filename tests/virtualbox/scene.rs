//! Running the program, and mounts that never outlive their test.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What the program printed, and its exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Printed {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn printed(command: &mut Command) -> Printed {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program prints UTF-8");
    Printed { code: status.code(), out: text(stdout), err: text(stderr) }
}

/// Golden files are written anew where this variable is set. Look at the difference before committing it.
const UPDATE: &str = "UPDATE_GOLDEN";

impl std::fmt::Display for Printed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {:?}\n--- stdout\n{}--- stderr\n{}", self.code, self.out, self.err)
    }
}

/// Asserts that the program printed the golden file `name`, with `@ROOT@` for the directory of the registry.
pub(crate) fn assert_golden(name: &str, root: &Path, printed: &impl std::fmt::Display) {
    let text = printed.to_string().replace(root.to_str().unwrap(), "@ROOT@");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/virtualbox").join(name);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(text, golden, "{name} ({UPDATE}=1 writes it anew)");
}

/// All that a process may write to in its memory.
pub(crate) fn memory_of(pid: u32) -> Vec<u8> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut all = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, end) = line.split(' ').next().and_then(|range| range.split_once('-')).unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let mut part = vec![0; usize::try_from(number(end) - number(start)).unwrap()];
        // Some of it, such as the kernel's own pages, cannot be read.
        if memory.read_exact_at(&mut part, number(start)).is_ok() {
            all.extend(part);
        }
    }
    all
}

/// A mounted medium, unmounted by the program itself when dropped.
pub(crate) struct Mount {
    program: fn() -> Command,
    point: tempfile::TempDir,
}

impl Mount {
    /// Mounts with `command`, which has all arguments but the mount point.
    pub(crate) fn new(command: &mut Command) -> Result<Self, Printed> {
        Self::with_options(command, &[])
    }

    /// The same, with options after the mount point, as mount(8) has them.
    pub(crate) fn with_options(command: &mut Command, options: &[&str]) -> Result<Self, Printed> {
        let point = tempfile::Builder::new().prefix("vboximg-point-").tempdir().unwrap();
        let answer = printed(command.arg(point.path()).args(options));
        if answer.code != Some(0) {
            return Err(answer);
        }
        assert_eq!(answer.out, "");
        Ok(Self { program: || Command::new(env!("CARGO_BIN_EXE_vboximg-mount")), point })
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.point.path().join(name)
    }

    /// Unmounts, and checks that it succeeds.
    pub(crate) fn unmount(self) {
        let answer = printed((self.program)().arg("-u").arg(self.point.path()));
        assert_eq!(answer, Printed { code: Some(0), out: String::new(), err: String::new() });
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
