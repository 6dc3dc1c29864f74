//! Whole trees as seen by the kernel and by this program, for comparison.

use crate::support::sha256;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use vboximg_mount::disk::Disk;
use vboximg_mount::guestfs::{GuestFs, Node, NodeKind, read};

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

/// Reads the same tree through a reader of this program.
pub(crate) fn ours<F: GuestFs>(opened: &(Arc<dyn Disk>, F)) -> Walk {
    let (disk, fs) = opened;
    let mut walk = Walk::new();
    let mut open = vec![(fs.root(), String::new())];
    while let Some((directory, prefix)) = open.pop() {
        let mut entries = Vec::new();
        fs.read_directory(directory, 0, &mut |entry| {
            entries.push(entry);
            ControlFlow::Continue(())
        })
        .unwrap_or_else(|e| panic!("{prefix}: {e}"));
        for (i, entry) in entries.iter().enumerate() {
            let path = format!("{prefix}{}", String::from_utf8_lossy(&entry.name));
            assert_eq!(fs.lookup(directory, &entry.name).unwrap(), Some(entry.node), "{path}");
            if i % 97 == 0 {
                let mut next = None;
                fs.read_directory(directory, entry.next, &mut |entry| {
                    next = Some(entry.name);
                    ControlFlow::Break(())
                })
                .unwrap();
                assert_eq!(next.as_ref(), entries.get(i + 1).map(|e| &e.name), "the entry after {path}");
            }
            let text = describe(&**disk, fs, entry.node, &path);
            walk.insert(path.clone(), text);
            if entry.kind == NodeKind::Directory {
                open.push((entry.node, format!("{path}/")));
            }
        }
    }
    walk
}

fn describe(disk: &dyn Disk, fs: &dyn GuestFs, node: Node, path: &str) -> String {
    let attributes = fs.attributes(node).unwrap_or_else(|e| panic!("{path}: {e}"));
    let (kind_bits, content) = match attributes.kind {
        NodeKind::File => {
            let mut bytes = vec![0; usize::try_from(attributes.size).unwrap() + 1];
            let got = read::read(fs, disk, node, &attributes, 0, &mut bytes).unwrap_or_else(|e| panic!("{path}: {e}"));
            bytes.truncate(got);
            (0o100_000, sha256(&bytes))
        }
        NodeKind::Symlink => (0o120_000, String::from_utf8_lossy(&fs.read_link(node).unwrap()).into_owned()),
        NodeKind::Directory => (0o040_000, String::new()),
        NodeKind::CharDevice => (0o020_000, format!("{}:{}", attributes.device.0, attributes.device.1)),
        NodeKind::BlockDevice => (0o060_000, format!("{}:{}", attributes.device.0, attributes.device.1)),
        NodeKind::Fifo => (0o010_000, String::new()),
        NodeKind::Socket => (0o140_000, String::new()),
    };
    let directory = attributes.kind == NodeKind::Directory;
    let names: BTreeMap<String, Vec<u8>> = fs
        .xattr_names(node)
        .unwrap()
        .into_iter()
        .map(|name| (String::from_utf8_lossy(&name).into_owned(), fs.xattr(node, &name).unwrap().unwrap_or_default()))
        .collect();
    format!(
        "mode={:o} uid={} gid={} links={} size={} mtime={}.{:09} ctime={}.{:09} {content} {names:?}",
        kind_bits | attributes.mode,
        attributes.uid,
        attributes.gid,
        if directory { 0 } else { attributes.links },
        if directory { 0 } else { attributes.size },
        attributes.modified.seconds,
        attributes.modified.nanoseconds,
        attributes.changed.seconds,
        attributes.changed.nanoseconds,
    )
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
