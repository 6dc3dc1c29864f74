//! Files that an image names. Whoever made the image chose the names, so they lead to regular files only, never to
//! devices or the network.

use super::{Error, Result};
use crate::storage::File;
use crate::storage::local;
use crate::storage::local::Devices;
use nix::errno::Errno;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Opens the file that `image` names as `name`: a regular file in the image's folder or below it. Whoever made the
/// image chose the name, so it must not lead to devices, to the network, or to other files of this machine.
///
/// # Errors
/// [`Error::Io`]; [`Error::Refused`] for a name that leads elsewhere.
pub fn open(image: &Path, name: &str, writable: bool) -> Result<File> {
    let folder = image.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    check(image, name)?;
    if has_protocol(name) {
        return Err(refused(image, format!("it names {name:?}; only local files beside the image are opened")));
    }
    let path = folder.join(name);
    let resolve = |path: &Path| path.canonicalize().map_err(|e| Error::io(path, "open", e));
    let (real, home) = (resolve(&path)?, resolve(folder)?);
    if !real.starts_with(&home) {
        let reason = format!(
            "{} names it, and an image may only name files in its own folder; copy it beside the image and correct \
             the name in the image",
            image.display()
        );
        return Err(refused(&path, reason));
    }
    local::open(&real, writable, Devices::Refused)
}

fn refused(path: &Path, reason: String) -> Error {
    Error::Refused { path: path.to_path_buf(), reason }
}

/// Refuses what is no name of a file.
fn check(image: &Path, name: &str) -> Result<()> {
    if name.is_empty() || name.contains('\0') {
        return Err(refused(image, format!("it names the file {name:?}, which is no file name")));
    }
    Ok(())
}

/// Whether a name has a protocol in front, as in `nbd://host/disk` and `json:{...}`: a colon before any slash.
#[must_use]
pub fn has_protocol(name: &str) -> bool {
    name.split('/').next().is_some_and(|start| start.contains(':'))
}

/// Opens the file that `image` names as `name`. A relative name begins at the image's folder, an absolute one is taken
/// as it is; when an absolute one leads nowhere (the image was moved), the file is looked for beside the image. Names
/// that Windows wrote are understood.
///
/// # Errors
/// [`Error::Io`]; [`Error::Refused`] for a name that leads to a device, is none of a file, or is an address.
pub fn open_as_written(image: &Path, name: &OsStr, writable: bool) -> Result<File> {
    let text = &*name.to_string_lossy();
    check(image, text)?;
    let places = places(image, name.as_bytes());
    for (path, how) in &places {
        match fs::metadata(path) {
            Ok(attributes) if attributes.is_file() => {
                log::info!("  {} names {text:?}: {how}, {}", image.display(), path.display());
                return local::open(path, writable, Devices::Refused);
            }
            // Opening a device may already do something to it, so it is refused by what its attributes say.
            Ok(_) => {
                let by = image.display();
                return Err(refused(path, format!("{by} names it, and it is not a regular file")));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io(path, "find the file", e)),
        }
    }
    if has_protocol(text) && places.len() == 1 {
        return Err(refused(image, format!("it names {text:?}; only local files are opened")));
    }
    let (path, _) = &places[0];
    let action = format!("find the file that {} names:", image.display());
    Err(Error::io(path, action, Errno::ENOENT.into()))
}

/// What tells whether two paths are one file: its number on its device, or the path of what is not there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Device and inode.
    Inode(u64, u64),
    /// The path, where there are no attributes to read.
    Path(PathBuf),
}

/// The identity of the file at a path.
#[must_use]
pub fn identity(path: &Path) -> Identity {
    fs::metadata(path).map_or_else(|_| Identity::Path(path.to_path_buf()), |m| Identity::Inode(m.dev(), m.ino()))
}

/// Where the file may be, best first (at least one place), and the words for it.
fn places(image: &Path, name: &[u8]) -> Vec<(PathBuf, &'static str)> {
    let folder = image.parent().unwrap_or(Path::new(""));
    let join = |name: &[u8]| folder.join(OsStr::from_bytes(name));
    let absolute = name.starts_with(b"/");
    let mut places = vec![(join(name), if absolute { "as written" } else { "beside it" })];
    let windows_absolute = name.starts_with(br"\\") || matches!(name.get(1..3), Some(br":\" | b":/"));
    if absolute || windows_absolute {
        let last = name.rsplit(|byte| matches!(byte, b'/' | b'\\')).next().unwrap_or_default();
        if !last.is_empty() {
            places.push((join(last), "not there, so the file of that name beside it"));
        }
    } else if name.contains(&b'\\') {
        let name: Vec<u8> = name.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect();
        places.push((join(&name), "with the separators of Windows, beside it"));
    }
    places
}

#[cfg(test)]
mod tests {
    use crate::storage::sibling::*;

    #[test]
    fn only_files_in_the_folder_of_the_image_are_opened() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("vm");
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        for file in ["out", "vm/in", "vm/sub/deep"] {
            std::fs::write(root.path().join(file), "x").unwrap();
        }
        std::os::unix::fs::symlink("../out", folder.join("link")).unwrap();
        let image = folder.join("a.qcow2");
        for good in ["in", "./in", "sub/deep", folder.join("in").to_str().unwrap()] {
            open(&image, good, false).unwrap();
        }
        let message = |name: &str| open(&image, name, false).unwrap_err().to_string();
        for bad in ["../out", "link", "/dev/null"] {
            assert!(message(bad).contains("may only name files in its own folder"), "{}", message(bad));
        }
        for bad in ["nbd://host/disk", "json:{}", "file:in"] {
            assert!(message(bad).contains("only local files beside the image"), "{}", message(bad));
        }
        assert!(message("").contains("no file name"));
        assert!(message("sub").contains("it is a folder"));
        assert!(message("gone").starts_with("Cannot open "));
    }

    struct Scene(tempfile::TempDir);

    impl Scene {
        fn new() -> Self {
            let scene = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(scene.path("vm/sub")).unwrap();
            for name in ["out", "vm/in", "vm/sub/deep", "vm/a:b.vmdk"] {
                fs::write(scene.path(name), "x").unwrap();
            }
            scene
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// Which file a name leads to, or why not.
        fn open(&self, name: &str) -> std::result::Result<PathBuf, String> {
            match open_as_written(&self.path("vm/a.vmdk"), name.as_ref(), false) {
                Ok(file) => Ok(file.path().canonicalize().unwrap()),
                Err(error) => Err(crate::error_kind::message(&error)),
            }
        }
    }

    #[test]
    fn names_lead_from_the_folder_of_the_image() {
        let scene = Scene::new();
        let absolute = scene.path("out");
        for (name, file) in [
            ("in", "vm/in"),
            ("./in", "vm/in"),
            ("sub/deep", "vm/sub/deep"),
            (r"sub\deep", "vm/sub/deep"),
            ("../out", "out"),
            ("a:b.vmdk", "vm/a:b.vmdk"),
            (absolute.to_str().unwrap(), "out"),
        ] {
            assert_eq!(scene.open(name), Ok(scene.path(file).canonicalize().unwrap()), "{name}");
        }
    }

    #[test]
    fn files_of_a_moved_image_are_found_beside_it() {
        let scene = Scene::new();
        for name in ["/old/home/in", r"C:\VMs\in", "D:/VMs/in", r"\\server\share\in"] {
            assert_eq!(scene.open(name), Ok(scene.path("vm/in").canonicalize().unwrap()), "{name}");
        }
        let error = scene.open("/old/home/gone").unwrap_err();
        assert!(error.starts_with("Cannot find the file that ") && error.contains("/old/home/gone"), "{error}");
        // A relative name is where it says, or nowhere.
        let error = scene.open("gone/in").unwrap_err();
        assert!(error.contains("vm/gone/in: No such file"), "{error}");
    }

    #[test]
    fn devices_and_addresses_are_refused() {
        let scene = Scene::new();
        let pipe = scene.path("vm/pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink("/dev/null", scene.path("vm/link")).unwrap();
        for (name, part) in [
            ("", "no file name"),
            ("a\0b", "no file name"),
            ("link", "is not a regular file"),
            ("../../../../../../../../../dev/null", "is not a regular file"),
            ("pipe", "is not a regular file"),
            ("sub", "is not a regular file"),
            ("nbd://host/disk", "only local files are opened"),
            ("json:{\"driver\":\"host_device\"}", "only local files are opened"),
        ] {
            let error = scene.open(name).unwrap_err();
            assert!(error.contains(part), "{name}: {error}");
        }
    }

    #[test]
    fn two_names_of_one_file_are_known() {
        let scene = Scene::new();
        fs::hard_link(scene.path("out"), scene.path("vm/hard")).unwrap();
        assert_eq!(identity(&scene.path("out")), identity(&scene.path("vm/hard")));
        assert_eq!(identity(&scene.path("out")), identity(&scene.path("vm/../out")));
        assert_ne!(identity(&scene.path("out")), identity(&scene.path("vm/in")));
    }
}
