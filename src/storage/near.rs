//! Candidates for a file that is missing under its name: names in another case or Unicode form, or other names.

use super::gate::directory_of;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use unicode_normalization::UnicodeNormalization;

/// The number of files of a directory that are considered as candidates for another name.
const MAX_OTHERS: usize = 1024;

/// Candidates for a missing file, as paths from the directory of the file that names it. Nothing proves yet that one of
/// them is meant.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Near {
    /// Those whose name differs only in case or in the Unicode normalization form.
    pub alike: Vec<PathBuf>,
    /// Others with the same extension.
    pub others: Vec<PathBuf>,
}

/// Looks for files near the one that `name` means for a file in `directory`: where a relative name leads, or for an
/// absolute one next to that file.
#[must_use]
pub(crate) fn find(directory: &Path, name: &OsStr) -> Near {
    let name = name.to_string_lossy().replace('\\', "/");
    let is_windows = name.get(1..3) == Some(":/");
    let wanted = Path::new(&*name);
    let (Some(last), false) = (wanted.file_name(), name.is_empty()) else { return Near::default() };
    let relative = wanted.is_relative() && !is_windows;
    let inner = if relative { wanted.parent().unwrap_or(Path::new("")) } else { Path::new("") };
    let folded = fold(last);
    let extension = wanted.extension().map(fold);
    let mut near = Near::default();
    let entries = fs::read_dir(directory_of(&directory.join(inner).join(last))).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| !entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let found = entry.file_name();
        let path = inner.join(&found);
        if fold(&found) == folded {
            near.alike.push(path);
        } else if extension.is_some() && path.extension().map(fold) == extension && near.others.len() < MAX_OTHERS {
            near.others.push(path);
        }
    }
    near.alike.sort();
    near.others.sort();
    near
}

/// The name without its case and in one Unicode form.
fn fold(name: &OsStr) -> String {
    let text = String::from_utf8_lossy(name.as_bytes());
    text.nfc().flat_map(char::to_lowercase).nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_and_unicode_form() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("sub")).unwrap();
        for name in ["disk-flat.VMDK", "Bu\u{308}ro.vmdk", "other.vmdk", "notes.txt", "sub/S001.vmdk"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let find = |name: &str| find(directory.path(), OsStr::new(name));
        for (name, alike) in [
            ("Disk-Flat.vmdk", "disk-flat.VMDK"),
            ("b\u{fc}ro.vmdk", "Bu\u{308}ro.vmdk"),
            ("/old/vm/OTHER.vmdk", "other.vmdk"),
            (r"C:\vm\OTHER.vmdk", "other.vmdk"),
            ("sub/s001.vmdk", "sub/S001.vmdk"),
            (r"sub\s001.vmdk", "sub/S001.vmdk"),
        ] {
            assert_eq!(find(name).alike, [PathBuf::from(alike)], "{name}");
        }
        let renamed = find("gone.vmdk");
        assert!(renamed.alike.is_empty());
        assert_eq!(renamed.others, ["Bu\u{308}ro.vmdk", "disk-flat.VMDK", "other.vmdk"].map(PathBuf::from));
        assert_eq!(find(""), Near::default());
        assert_eq!(find("gone/x.vmdk"), Near::default());
    }
}
