//! Files that an image names: opened only beside the image, and only regular ones.

use super::local::{self, Devices};
use super::{Error, File, Result};
use std::path::Path;

/// Opens the file that `image` names as `name`: a regular file in the image's folder or below it. Whoever made the
/// image chose the name, so it must not lead to devices, to the network, or to other files of this machine.
///
/// # Errors
/// [`Error::Io`]; [`Error::Refused`] for a name that leads elsewhere.
pub fn open(image: &Path, name: &str, writable: bool) -> Result<File> {
    let refused = |path: &Path, reason: String| Error::Refused { path: path.to_path_buf(), reason };
    let folder = image.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if name.is_empty() || name.contains('\0') {
        return Err(refused(image, format!("it names the file {name:?}, which is no file name")));
    }
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

/// Whether a name has a protocol in front, as in `nbd://host/disk` and `json:{...}`: a colon before any slash.
#[must_use]
pub fn has_protocol(name: &str) -> bool {
    name.split('/').next().is_some_and(|start| start.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
