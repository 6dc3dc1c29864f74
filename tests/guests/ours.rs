//! Trees as the readers of this program show them, to compare with those of the kernel.

use crate::against::disks::disk;
use crate::against::mounted::Mounted;
use crate::against::tree::{Walk, kernel};
use crate::disk::Disk;
use crate::guestfs::{GuestFs, Node, NodeKind, read};
use crate::support::{sh, sha256};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

impl Mounted {
    /// Returns the tree that the kernel shows, and after unmounting, the tree that this program reads.
    pub(crate) fn both<F: GuestFs>(self, open: impl Fn(Arc<dyn Disk>) -> F) -> (Walk, Walk) {
        // The kernel may cache more than the disk can store, such as times after 2038.
        sh(self.directory.path(), "cd $1; umount m; mount -o loop,ro image m");
        let theirs = kernel(&self.path("m"));
        sh(self.directory.path(), "cd $1; umount m");
        let disk = disk(&self.path("image"));
        (theirs, ours(&(disk.clone(), open(disk))))
    }
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
