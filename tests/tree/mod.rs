//! Whole trees as the kernel shows them, for comparison.

use crate::support::sha256;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Paths within a tree, and all visible attributes of each.
pub(crate) type Walk = BTreeMap<String, String>;

/// Reads the tree that the kernel shows under a directory.
pub(crate) fn kernel(root: &Path) -> Walk {
    let mut walk = Walk::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let kind = meta.file_type();
            let content = if kind.is_file() {
                sha256(&std::fs::read(&path).unwrap())
            } else if kind.is_symlink() {
                String::from_utf8_lossy(std::fs::read_link(&path).unwrap().as_os_str().as_bytes()).into_owned()
            } else if kind.is_char_device() || kind.is_block_device() {
                format!("{}:{}", nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev()))
            } else {
                String::new()
            };
            let size = if kind.is_dir() { 0 } else { meta.size() };
            let links = if kind.is_dir() { 0 } else { meta.nlink() };
            let text = format!(
                "mode={:o} uid={} gid={} links={links} size={size} mtime={}.{:09} ctime={}.{:09} {content} {:?}",
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.mtime(),
                meta.mtime_nsec(),
                meta.ctime(),
                meta.ctime_nsec(),
                attributes(&path),
            );
            walk.insert(path.strip_prefix(root).unwrap().to_string_lossy().into_owned(), text);
            if kind.is_dir() {
                open.push(path);
            }
        }
    }
    walk
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = match xattr::list(path) {
        Ok(names) => names,
        // exfat-fuse has none.
        Err(e) if e.kind() == std::io::ErrorKind::Unsupported => return BTreeMap::new(),
        Err(e) => panic!("{}: {e}", path.display()),
    };
    names
        .map(|name| {
            let value = xattr::get(path, &name).unwrap().unwrap_or_default();
            (name.to_string_lossy().into_owned(), value)
        })
        .collect()
}

/// Panics with the first differences.
pub(crate) fn assert_same(what: &str, theirs: &Walk, ours: &Walk) {
    assert!(theirs.len() > 20, "{what}: the kernel's tree has only {} names", theirs.len());
    let mut differences = Vec::new();
    for name in theirs.keys().chain(ours.keys()) {
        let (a, b) = (theirs.get(name), ours.get(name));
        if a != b && differences.len() < 5 {
            differences.push(format!("{name}\n  kernel: {a:?}\n  ours:   {b:?}"));
        }
    }
    assert!(differences.is_empty(), "{what}:\n{}", differences.join("\n"));
}
