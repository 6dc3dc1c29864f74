//! Paths in settings files and image headers, which may be for another host.

use std::path::{Component, Path, PathBuf};

/// Whether a path is absolute on Windows: with a drive letter, or on a share.
pub(super) fn is_windows_absolute(written: &str) -> bool {
    let bytes = written.as_bytes();
    let drive =
        bytes.len() > 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':' && matches!(bytes[2], b'\\' | b'/');
    drive || written.starts_with("\\\\")
}

/// Whether a path is absolute on any host, so that it fits only the host that wrote it.
pub(super) fn is_absolute(written: &str) -> bool {
    written.starts_with('/') || is_windows_absolute(written)
}

/// The path that a file in `directory` means by `written`. Absolute paths of Windows stay as they are; they are no
/// paths here. The separators of Windows are taken for ours unless a file of exactly that name is there.
pub(super) fn absolute(directory: &Path, written: &str) -> PathBuf {
    if is_windows_absolute(written) {
        return PathBuf::from(written);
    }
    let path = normalize(&directory.join(written));
    if written.contains('\\') && !path.exists() { normalize(&directory.join(written.replace('\\', "/"))) } else { path }
}

/// The last component of a path of this host or of Windows; the whole path when it has none.
pub(super) fn file_name(path: &Path) -> String {
    let text = path.to_string_lossy();
    if is_windows_absolute(&text) {
        return text.rsplit(['\\', '/']).next().unwrap_or_default().to_owned();
    }
    path.file_name().map_or_else(|| text.to_string(), |name| name.to_string_lossy().into_owned())
}

/// Removes `.` and `..` lexically, as VirtualBox does.
pub(super) fn normalize(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

/// The names that make up an absolute path of any host, without its drive.
pub(super) fn parts(written: &str) -> Vec<&str> {
    let windows = is_windows_absolute(written);
    let drive = if windows && written.as_bytes()[1] == b':' { 2 } else { 0 };
    let names = written[drive..].split(move |c| c == '/' || windows && c == '\\');
    names.filter(|name| !matches!(*name, "" | "." | "..")).collect()
}

/// Where a file may be now that was at the absolute path `written` when its host still ran, seen from a file in
/// `directory` that came along: a whole disk or home directory may have been copied, or a machine's directory. Best
/// first. Such a file need not be the right one, so its identity must be checked.
pub(super) fn relocations(directory: &Path, written: &str) -> Vec<PathBuf> {
    let parts = parts(written);
    let tail = |from: usize| parts.get(from..).unwrap_or_default().iter().collect::<PathBuf>();
    let mut found: Vec<PathBuf> = Vec::new();
    for ancestor in directory.ancestors() {
        // The ancestor is one of the directories on the way, or stands for the old root.
        let name = ancestor.file_name().and_then(|name| name.to_str());
        if let Some(at) = name.and_then(|name| parts.iter().rposition(|part| *part == name)) {
            found.push(ancestor.join(tail(at + 1)));
        }
        found.push(ancestor.join(tail(0)));
    }
    // The directory itself was renamed.
    for keep in [2, 1] {
        found.push(directory.join(tail(parts.len().saturating_sub(keep))));
    }
    found.dedup();
    found.retain(|path| path.as_os_str() != written && path != directory);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_are_relative_to_the_directory() {
        let directory = Path::new("/home/joe/VMs/X");
        for (written, meant) in [
            ("X.vdi", "/home/joe/VMs/X/X.vdi"),
            ("Snapshots/{a}.vdi", "/home/joe/VMs/X/Snapshots/{a}.vdi"),
            ("../Y/./y.vdi", "/home/joe/VMs/Y/y.vdi"),
            ("Snapshots\\{a}.vdi", "/home/joe/VMs/X/Snapshots/{a}.vdi"),
            ("/disks/../d.vdi", "/d.vdi"),
            ("C:\\Users\\joe\\x.vdi", "C:\\Users\\joe\\x.vdi"),
            ("\\\\server\\share\\x.vdi", "\\\\server\\share\\x.vdi"),
        ] {
            assert_eq!(absolute(directory, written), Path::new(meant), "{written}");
        }
    }

    #[test]
    fn a_file_with_backslashes_in_its_name_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let malformed = directory.path().join("a\\b.vdi");
        std::fs::write(&malformed, b"").unwrap();
        assert_eq!(absolute(directory.path(), "a\\b.vdi"), malformed);
    }

    #[test]
    fn paths_of_other_hosts_are_reported_apart() {
        for windows in ["C:\\x", "d:/x", "\\\\server\\share"] {
            assert!(is_windows_absolute(windows) && is_absolute(windows), "{windows}");
        }
        for other in ["C:", "x", "/x", "Snapshots\\x", "1:\\x", ""] {
            assert!(!is_windows_absolute(other), "{other}");
        }
        assert!(is_absolute("/x") && !is_absolute("x/y"));
    }

    fn assert_relocates(directory: &str, written: &str, to: &str) {
        let all = relocations(Path::new(directory), written);
        assert!(all.iter().any(|path| path == Path::new(to)), "{all:?}");
        assert!(all.len() <= 2 * Path::new(directory).components().count() + 2, "{all:?}");
    }

    #[test]
    fn a_copied_disk_home_or_machine_is_searched() {
        let machine = "/home/joe/VirtualBox VMs/X/X.vdi";
        assert_relocates("/backup/home/joe/VirtualBox VMs/X", machine, "/backup/home/joe/VirtualBox VMs/X/X.vdi");
        assert_relocates("/backup/home/joe/.config/VirtualBox", machine, "/backup/home/joe/VirtualBox VMs/X/X.vdi");
        assert_relocates("/backup/joe/.config/VirtualBox", machine, "/backup/joe/VirtualBox VMs/X/X.vdi");
        assert_relocates("/backup/VirtualBox VMs/X", machine, "/backup/VirtualBox VMs/X/X.vdi");
        assert_relocates("/backup/renamed", machine, "/backup/renamed/X.vdi");
        assert_relocates("/b/renamed", "/home/joe/VMs/X/Snapshots/s.vdi", "/b/renamed/Snapshots/s.vdi");
        assert_relocates(
            "/mnt/win/Users/joe/.VirtualBox",
            "C:\\Users\\joe\\VMs\\X\\X.vbox",
            "/mnt/win/Users/joe/VMs/X/X.vbox",
        );
        assert_relocates("/backup/X", "D:/VMs/X/X.vdi", "/backup/X/X.vdi");
    }

    #[test]
    fn does_not_search_the_written_path_again() {
        let all = relocations(Path::new("/home/joe/X"), "/home/joe/X/X.vdi");
        assert!(!all.contains(&PathBuf::from("/home/joe/X/X.vdi")), "{all:?}");
        assert!(relocations(Path::new("/a"), "/").is_empty());
    }
}
