//! The face, on the registry that the real VirtualBox wrote.

use super::*;
use crate::ErrorKind;
use crate::against::common::Fixture;
use crate::crypt::Passwords;
use crate::open::Which;
use crate::support::sha256;
use crate::view::Kind;
use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

fn fixture() -> (Fixture, Registry) {
    let fixture = Fixture::registry();
    let registry = Registry::load_from(fixture.home(), Passwords::default()).unwrap();
    (fixture, registry)
}

fn snapshot(machine: &str, snapshot: &str) -> Which {
    Which { machine: Some(machine.into()), snapshot: Some(snapshot.into()), ..Which::default() }
}

#[test]
fn disks_have_the_bytes_that_the_real_one_showed() {
    let (fixture, registry) = fixture();
    let mut compared = 0;
    for expected in fixture.expected_media() {
        let Some(shown) = expected.disk.filter(|disk| disk.size < 64 << 20) else { continue };
        let which = Which { image: Some(OsString::from(&expected.uuid)), ..Which::default() };
        let disk = registry.open(&which).unwrap().remove(0);
        let mut bytes = vec![0; usize::try_from(disk.size()).unwrap()];
        disk.read_at(0, &mut bytes).unwrap();
        assert_eq!((disk.size(), sha256(&bytes)), (shown.size, shown.sha256), "{}", expected.uuid);
        // What no image stores is zeros, and the extents cover the disk.
        let mut end = 0;
        for extent in disk.extents() {
            let extent = extent.unwrap();
            assert_eq!(extent.offset, end);
            end += extent.len;
            let range = usize::try_from(extent.offset).unwrap()..usize::try_from(end).unwrap();
            assert!(extent.stored || bytes[range].iter().all(|byte| *byte == 0), "{extent:?}");
            assert!(extent.image.is_none_or(|image| image < disk.chain().links.len()), "{extent:?}");
        }
        assert_eq!(end, disk.size());
        compared += 1;
    }
    assert!(compared > 10, "{compared} disks");
}

#[test]
fn parents_are_those_of_the_registry() {
    let (fixture, registry) = fixture();
    let child = registry.media().find(|medium| medium.parent.is_some()).unwrap();
    let parent = registry.parent(child).unwrap();
    assert!(registry.media().any(|medium| std::ptr::eq(medium, parent)));
    // Of another registry there are none.
    let again = Registry::load_from(fixture.home(), Passwords::default()).unwrap();
    assert!(again.parent(child).is_none());
    assert!(registry.problems().iter().any(|problem| problem.contains("lost vm")), "{:?}", registry.problems());
}

#[test]
fn files_of_a_guest_are_read_by_its_own_paths() {
    let (_fixture, registry) = fixture();
    let disk = registry.open(&snapshot("alpine tree", "Clean install")).unwrap().remove(0);
    let view = View::new(disk).unwrap();
    let systems = view.file_systems().unwrap();
    let ext = systems.iter().find(|fs| fs.type_name() == "ext4").unwrap();
    let text = |path: &str| {
        let mut text = String::new();
        ext.open(path).unwrap().read_to_string(&mut text).unwrap();
        text
    };
    let name = text("/etc/hostname");
    assert_eq!(text("etc/../../../etc/hostname"), name, "no path leads out of the file system");
    assert_eq!(ext.attributes("/etc").unwrap().kind, Kind::Directory);
    assert!(ext.read_dir("/etc").unwrap().contains(&DirEntry { name: "hostname".into(), kind: Kind::File }));
    let mut file = view.open(ext.directory().join("etc/hostname")).unwrap();
    assert_eq!(file.seek(SeekFrom::End(-1)).unwrap(), name.len() as u64 - 1);
    let mut end = Vec::new();
    file.read_to_end(&mut end).unwrap();
    assert_eq!((&*end, file.attributes().size), (&b"\n"[..], name.len() as u64));
    assert!(file.seek(SeekFrom::Current(-1000)).is_err());
    let error = ext.open("/etc").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    let error = ext.open("/no/such").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().starts_with("Cannot read fs"), "{error}");
}

#[test]
fn an_image_needs_no_registry() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.img");
    std::fs::write(&path, [7; 1024]).unwrap();
    let disk = Disk::open(&path).unwrap();
    assert_eq!((disk.size(), disk.sector_size(), disk.slot()), (1024, 512, None));
    let extents: Vec<Extent> = disk.extents().map(Result::unwrap).collect();
    assert_eq!(extents, [Extent { offset: 0, len: 1024, image: Some(0), stored: true }]);
    assert_eq!(disk.read_at(1000, &mut [0; 100]).unwrap_err().kind(), ErrorKind::Usage);
    let view = View::new(disk).unwrap();
    let names: Vec<OsString> = view.read_dir("").unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["a.img", "vhdd"]);
    assert_eq!(view.read_link("a.img").unwrap(), path.canonicalize().unwrap());
    assert_eq!(Disk::open(Path::new("/no/such/image")).err().unwrap().kind(), ErrorKind::NotFound);
}
