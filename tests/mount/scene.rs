//! What the tests share: an image with two volumes, the program, and mounts that never outlive their test.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

pub(crate) use crate::support::{ended, is_root, until};

/// Bytes of the image.
pub(crate) const SIZE: u64 = 32 << 20;
/// Start and size of its two volumes, in bytes. The second one is logical.
pub(crate) const VOLUMES: [(u64, u64); 2] = [(1 << 20, 16 << 20), (20 << 20, 8 << 20)];

/// A directory with an image and a mount point. What is still mounted there when it is dropped is removed.
pub(crate) struct Scene {
    directory: TempDir,
}

impl Drop for Scene {
    fn drop(&mut self) {
        unmount_lazily(&self.point());
    }
}

impl Scene {
    /// Makes the image: a partition table, data at the start and in the middle of each volume, and holes between.
    pub(crate) fn new() -> Self {
        let scene = Self { directory: TempDir::with_prefix("vboximg-mount-").unwrap() };
        let image = fs::File::create(scene.image()).unwrap();
        image.set_len(SIZE).unwrap();
        for (start, table) in partition_tables() {
            image.write_all_at(&table, start).unwrap();
        }
        for (start, size) in VOLUMES {
            image.write_all_at(&noise(256 << 10, start), start).unwrap();
            image.write_all_at(&noise(100_000, start + 1), start + size / 2 + 4096).unwrap();
        }
        fs::create_dir(scene.point()).unwrap();
        scene
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.directory.path().join("disk.img")
    }

    pub(crate) fn point(&self) -> PathBuf {
        self.directory.path().join("mnt")
    }

    /// The image's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(self.image()).unwrap()
    }

    /// Mounts the image with more options and returns when the program has gone to the background.
    pub(crate) fn mount(&self, options: &[&str]) -> Mount {
        let output = self.try_mount(options);
        assert!(output.status.success(), "{output:?}");
        Mount::find(&self.point())
    }

    /// Runs the program to mount the image.
    pub(crate) fn try_mount(&self, options: &[&str]) -> Output {
        run(program().arg("-i").arg(self.image()).args(options).arg(self.point()))
    }

    /// Mounts in the foreground and returns when the mount is in the mount table.
    pub(crate) fn mount_in_foreground(&self, options: &[&str]) -> (Child, Mount) {
        self.mount_by_words("-f", options)
    }

    /// The same, with another word for the foreground.
    pub(crate) fn mount_by_words(&self, foreground: &str, options: &[&str]) -> (Child, Mount) {
        // Whoever runs the tests may ignore signals, as nohup does, and what is started would ignore them, too.
        let mut command = Command::new("env");
        let program = program();
        command.args(["--default-signal=HUP,INT,TERM", "--"]).arg(program.get_program());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.arg(foreground).arg("-i").arg(self.image()).args(options).arg(self.point()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        until("it is mounted", || is_mounted(&self.point()));
        let mount = Mount { point: self.point(), pid: child.id() };
        (child, mount)
    }
}

/// A primary partition and an extended one with a logical one (MBR types 0x83, 0x05, 0x83): two sectors and where they
/// belong.
fn partition_tables() -> [(u64, Vec<u8>); 2] {
    let sectors = |bytes: u64| u32::try_from(bytes / 512).unwrap().to_le_bytes();
    let entry =
        |kind: u8, start, size| [vec![0, 0, 0, 0, kind, 0, 0, 0], [sectors(start), sectors(size)].concat()].concat();
    let table = |entries: &[Vec<u8>]| {
        let mut sector = [vec![0; 446], entries.concat()].concat();
        sector.resize(510, 0);
        [sector, vec![0x55, 0xAA]].concat()
    };
    const GAP: u64 = 1 << 20;
    let [(first, first_size), (second, second_size)] = VOLUMES;
    let extended = second - GAP;
    [
        (0, table(&[entry(0x83, first, first_size), entry(0x05, extended, second_size + GAP)])),
        (extended, table(&[entry(0x83, GAP, second_size)])),
    ]
}

/// Bytes without a pattern, the same for the same seed (xorshift).
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut next).take(len.div_ceil(8)).flatten().collect();
    bytes.truncate(len);
    bytes
}

/// A mount that is removed with its process when the test ends, however it ends.
pub(crate) struct Mount {
    pub(crate) point: PathBuf,
    pub(crate) pid: u32,
}

impl Mount {
    /// A mount of this program that is there.
    pub(crate) fn find(point: &Path) -> Self {
        let pid = xattr::get(point, "user.vboximg-mount.pid").unwrap().expect("the mount names its process");
        Self { point: point.to_path_buf(), pid: String::from_utf8(pid).unwrap().parse().unwrap() }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.point.join(name)
    }

    pub(crate) fn signal(&self, signal: &str) {
        assert!(run(Command::new("kill").args(["-s", signal]).arg(self.pid.to_string())).status.success());
    }

    pub(crate) fn is_running(&self) -> bool {
        is_running(self.pid)
    }

    /// Waits until nothing is mounted and the process is gone.
    pub(crate) fn wait_for_end(&self) {
        until("it is unmounted", || !is_mounted(&self.point));
        until("the process is gone", || !self.is_running());
    }

    /// Unmounts with the program.
    pub(crate) fn unmount(&self) {
        let output = run(program().arg("--unmount").arg(&self.point));
        assert!(output.status.success(), "{output:?}");
        assert!(!self.is_running() && !is_mounted(&self.point));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        unmount_lazily(&self.point);
        if self.is_running() {
            let _ = Command::new("kill").args(["-s", "KILL"]).arg(self.pid.to_string()).status();
        }
    }
}

pub(crate) fn unmount_lazily(point: &Path) {
    if is_mounted(point) {
        let (program, option) = if is_root() { ("umount", "-l") } else { ("fusermount3", "-uz") };
        let _ = Command::new(program).arg(option).arg(point).status();
    }
}

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vboximg-mount"));
    // Whoever runs the tests may have a registry.
    command.env("VBOX_USER_HOME", "/nonexistent");
    command
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// Runs a command that must work and returns its standard output.
pub(crate) fn ok(name: &str, arguments: &[&str]) -> String {
    let output = run(Command::new(name).args(arguments));
    assert!(output.status.success(), "{name} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A path as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The line of the mount table for a mount point.
pub(crate) fn mount_line(point: &Path) -> Option<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let found = table.lines().rfind(|line| line.split(' ').nth(4) == point.to_str());
    found.map(str::to_owned)
}

pub(crate) fn is_mounted(point: &Path) -> bool {
    mount_line(point).is_some()
}

pub(crate) fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}
