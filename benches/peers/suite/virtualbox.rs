//! The real VirtualBox in a directory of its own, as `fixtures/make/install-virtualbox.sh` puts it there.

use super::disks::media::{self, Medium};
use super::{Result, host};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where it is unless `VBOXIMG_REFERENCE` says otherwise.
const DEFAULT: &str = "/var/tmp/virtualbox-reference";
/// The directory of each measurement in its directory `lab`: this and the process id.
const NAME: &str = "vboximg-bench-";

/// An installed VirtualBox.
#[derive(Debug)]
pub(crate) struct VirtualBox {
    root: PathBuf,
    /// Where the directory with the disks is seen inside, for reading.
    out: PathBuf,
    version: String,
    /// A directory that both sides see, as seen from here.
    pub(crate) work: PathBuf,
}

impl VirtualBox {
    /// The installed one, which is let see `out`; else why there is none.
    pub(crate) fn find(out: &Path) -> std::result::Result<Self, String> {
        let root = std::env::var_os("VBOXIMG_REFERENCE").map_or_else(|| PathBuf::from(DEFAULT), PathBuf::from);
        if !root.join("vb-in").is_file() {
            return Err(format!("not installed in {}; fixtures/make/install-virtualbox.sh does it", root.display()));
        }
        if !host::is_root() {
            return Err("needs root to enter its directory".to_owned());
        }
        host::remove_left(&root.join("lab"), NAME);
        Self::open(&root, out).map_err(|e| e.to_string())
    }

    fn open(root: &Path, out: &Path) -> Result<Self> {
        let version = host::run(Command::new(root.join("vb-in")).args(["VBoxManage", "--version"]))?;
        let work = root.join(format!("lab/{NAME}{}", std::process::id()));
        let bound = work.join("out");
        fs::create_dir_all(&bound)?;
        host::tool("mount", ["--bind".as_ref(), out, &bound])?;
        // Its service is not to write to what is kept.
        host::tool("mount", ["-o".as_ref(), "remount,bind,ro".as_ref(), bound.as_os_str()])?;
        Ok(Self { root: root.into(), out: out.into(), version: version.trim().to_owned(), work })
    }

    /// Its version without the packager's addition.
    pub(crate) fn version(&self) -> &str {
        self.version.split('_').next().unwrap_or_default()
    }

    /// A path as it is inside.
    pub(crate) fn inside(&self, path: &Path) -> PathBuf {
        let path =
            path.strip_prefix(&self.out).map_or_else(|_| path.to_path_buf(), |rest| self.work.join("out").join(rest));
        Path::new("/").join(path.strip_prefix(&self.root).unwrap_or(&path))
    }

    /// A service that knows these media.
    pub(crate) fn service(&self, media: &[Medium]) -> Result<Service> {
        let home = tempfile::tempdir_in(&self.work)?.keep();
        media::write_home(&home, media, |path| self.inside(path).display().to_string())?;
        Ok(self.service_of(&home))
    }

    /// A service for a settings directory of this side, which it may change.
    pub(crate) fn service_of(&self, home: &Path) -> Service {
        let socket = format!("bench-{}", home.display()).replace('/', "-");
        Service { program: self.root.join("vb-in"), home: self.inside(home), socket }
    }
}

impl Drop for VirtualBox {
    fn drop(&mut self) {
        host::remove_directory(&self.work);
    }
}

/// VirtualBox's service for one settings directory. Ended when dropped.
#[derive(Debug)]
pub(crate) struct Service {
    program: PathBuf,
    home: PathBuf,
    socket: String,
}

impl Service {
    /// A command that runs one of its programs.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(program).env("VBOX_USER_HOME", &self.home).env("VBOX_IPC_SOCKETID", &self.socket);
        command
    }

    /// Ends the service, so that the next command starts it.
    pub(crate) fn end(&self) -> Result<()> {
        for pid in host::processes_with("environ", &format!("VBOX_IPC_SOCKETID={}", self.socket)) {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if name.starts_with("VBoxSVC") || name.starts_with("VBoxXPCOM") {
                host::end(pid)?;
            }
        }
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
