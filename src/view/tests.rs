//! The tree of a disk in memory.

use super::{Appearance, Error, Kind, ROOT, Source, View};
use crate::disk::memory::MemoryDisk;
use crate::volume::Volume;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

fn volume(index: usize, offset: u64, size: u64) -> Volume {
    Volume { index, linux_number: 1, offset, size, type_name: "Linux".into(), name: String::new(), bootable: false }
}

fn source(image: &Path) -> Source {
    let disk = Arc::new(MemoryDisk::new(vec![0; 5000]));
    let volumes = vec![volume(0, 512, 1024), volume(1, 4096, 9999)];
    Source { disk, volumes, image: image.into(), guests: Vec::new(), only_guests: false, stored: 2048 }
}

fn view(image: &Path, appearance: Appearance) -> View {
    View::new(source(image), appearance).unwrap()
}

/// Names, inode numbers and the offsets after them.
fn entries(view: &View, directory: u64, from: u64) -> Vec<(String, u64, u64)> {
    let mut all = Vec::new();
    let listed = view.entries(directory, from, &mut |entry| {
        all.push((entry.name.to_str().unwrap().to_owned(), entry.inode, entry.next));
        ControlFlow::Continue(())
    });
    listed.unwrap();
    all
}

fn names(view: &View, from: u64) -> Vec<String> {
    entries(view, ROOT, from).into_iter().map(|(name, ..)| name).collect()
}

#[test]
fn shows_the_image_the_disk_and_the_volumes() {
    let image = tempfile::NamedTempFile::with_suffix(".vdi").unwrap();
    let view = view(image.path(), Appearance { uid: Some(7), gid: Some(8), ..Appearance::default() });
    let name = image.path().file_name().unwrap().to_str().unwrap();
    assert_eq!(names(&view, 0), [name, "vhdd", "vol0", "vol1"]);
    assert_eq!(names(&view, 2), ["vol0", "vol1"]);
    assert_eq!(entries(&view, ROOT, 0).into_iter().map(|(.., next)| next).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(names(&view, 4), [""; 0]);

    let whole = view.lookup(ROOT, "vhdd".as_ref()).unwrap();
    assert_eq!((whole.kind, whole.size, whole.blocks, whole.mode), (Kind::File, 5000, 4, 0o444));
    assert_eq!((whole.uid, whole.gid, whole.links), (7, 8, 1));
    let second = view.lookup(ROOT, "vol1".as_ref()).unwrap();
    // Cut at the disk's end.
    assert_eq!((second.size, second.blocks), (904, 2));
    assert_eq!(view.disk(second.inode).unwrap().size(), 904);
    let link = view.lookup(ROOT, name.as_ref()).unwrap();
    assert_eq!(
        (link.kind, link.mode, view.read_link(link.inode).unwrap()),
        (Kind::Symlink, 0o777, image.path().to_path_buf())
    );
    let root = view.attributes(ROOT).unwrap();
    assert_eq!((root.kind, root.mode, root.links), (Kind::Directory, 0o555, 2));
}

#[test]
fn the_image_gives_the_times() {
    let image = tempfile::NamedTempFile::new().unwrap();
    let before = UNIX_EPOCH - Duration::from_millis(1500);
    image.as_file().set_modified(before).unwrap();
    let read_only = view(image.path(), Appearance::default());
    let writable = view(image.path(), Appearance { writable: true, ..Appearance::default() });
    assert_eq!(read_only.attributes(ROOT).unwrap().times.modified, before);
    let after = UNIX_EPOCH + Duration::from_nanos(1_000_000_007);
    image.as_file().set_modified(after).unwrap();
    assert_eq!(writable.attributes(ROOT).unwrap().times.modified, after);
    image.close().unwrap();
    assert_eq!(writable.attributes(ROOT).unwrap().times.modified, after);
}

#[test]
fn modes_follow_writing_and_umask() {
    let image = tempfile::NamedTempFile::new().unwrap();
    let view = view(image.path(), Appearance { writable: true, umask: 0o027, ..Appearance::default() });
    let modes: Vec<u16> =
        entries(&view, ROOT, 0).into_iter().map(|(_, inode, _)| view.attributes(inode).unwrap().mode).collect();
    assert_eq!(modes, [0o777, 0o640, 0o640, 0o640]);
    assert_eq!(view.attributes(ROOT).unwrap().mode, 0o750);
}

#[test]
fn an_image_named_as_one_of_ours_gets_another_name() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("vol1");
    std::fs::write(&image, "").unwrap();
    assert_eq!(names(&view(&image, Appearance::default()), 0), ["vol1.image", "vhdd", "vol0", "vol1"]);
}

#[test]
fn refuses_what_a_node_is_not() {
    let image = tempfile::NamedTempFile::new().unwrap();
    let view = view(image.path(), Appearance::default());
    let vhdd = view.lookup(ROOT, "vhdd".as_ref()).unwrap().inode;
    assert!(matches!(view.lookup(ROOT, "vol2".as_ref()), Err(Error::NotFound)));
    assert!(matches!(view.lookup(vhdd, "x".as_ref()), Err(Error::NotDirectory)));
    let listed = view.entries(vhdd, 0, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(listed, Err(Error::NotDirectory)));
    assert!(matches!(view.read_link(vhdd), Err(Error::NotLink)));
    assert!(matches!(view.read(ROOT, 0, &mut [0]), Err(Error::IsDirectory)));
    assert!(matches!(view.xattr(vhdd, "security.capability".as_ref()), Err(Error::NoAttribute)));
    assert!(view.xattr_names(vhdd).unwrap().is_empty());
    for inode in [0, 6, u64::MAX] {
        assert!(matches!(view.attributes(inode), Err(Error::NotFound)), "{inode}");
    }
}

#[test]
fn finds_paths() {
    let image = tempfile::NamedTempFile::new().unwrap();
    let view = view(image.path(), Appearance::default());
    for (path, inode) in [("", ROOT), ("/", ROOT), ("..", ROOT), ("vhdd", 3), ("./vol1", 5), ("vhdd/../vol0", 4)] {
        assert_eq!(view.find(path.as_ref()).unwrap().inode, inode, "{path}");
    }
    assert!(matches!(view.find("vhdd/x".as_ref()), Err(Error::NotDirectory)));
    assert!(matches!(view.find("x/vhdd".as_ref()), Err(Error::NotFound)));
}

#[test]
fn gives_each_of_several_disks_a_directory() {
    let image = tempfile::NamedTempFile::new().unwrap();
    let disks = vec![("sda".into(), source(image.path())), ("sdb".into(), source(image.path()))];
    let view = View::of_disks(disks, Appearance::default()).unwrap();
    assert_eq!(names(&view, 0), ["sda", "sdb"]);
    let [first, second] = ["sda/vol1", "sdb/vol1"].map(|path| view.find(path.as_ref()).unwrap());
    assert_eq!((first.size, second.size, first.blocks), (904, 904, 2));
    assert_ne!(first.inode, second.inode);
    let directory = view.find("sdb".as_ref()).unwrap();
    assert_eq!((directory.kind, directory.mode), (Kind::Directory, 0o555));
    assert_eq!(entries(&view, directory.inode, 2).len(), 2);
    assert_eq!(view.statfs(second.inode).unwrap().files, 5);
}
