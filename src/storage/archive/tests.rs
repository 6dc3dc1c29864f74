use super::*;
use crate::storage::local::{self, Devices};
use crate::storage::testing::MemFile;
use crate::storage::{Allowed, Error};
use tar::{Builder, Header};

/// A header for a file of a name and size, with a right checksum.
fn header(name: &str, size: u64, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    // The crate's own method refuses names that lead out.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(size);
    header.set_mode(0o644);
    header.set_entry_type(kind);
    if kind == EntryType::GNUSparse {
        header.as_gnu_mut().unwrap().set_real_size(0);
    }
    header.set_cksum();
    header
}

/// An archive of members with their bytes.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, bytes) in members {
        builder.append(&header(name, bytes.len() as u64, EntryType::Regular), *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn list(bytes: Vec<u8>) -> Result<Vec<Member>> {
    members(&(MemFile::new("/t/a.ova", bytes) as File))
}

fn written(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.ova");
    fs::write(&path, bytes).unwrap();
    (directory, path)
}

fn open_at(path: &Path) -> Result<File> {
    local::open(path, false, Devices::Refused)
}

#[test]
fn reads_a_member_where_it_lies() {
    let (directory, path) = written(&archive(&[("./box.ovf", b"text"), ("d/disk.img", &[7; 1000]), ("e", b"")]));
    let file = open_at(&path.join("d/disk.img")).unwrap();
    assert_eq!(file.path(), path.join("d/disk.img"));
    assert_eq!(file.length().unwrap(), 1000);
    let mut buf = [0; 1000];
    assert_eq!(file.read_at(&mut buf, 990).unwrap(), 10);
    assert_eq!((file.read_at(&mut buf, 0).unwrap(), buf), (1000, [7; 1000]));
    assert_eq!(file.read_at(&mut buf, 1000).unwrap(), 0);
    let (whole, offset) = file.range_of().unwrap();
    assert_eq!((whole.path(), offset), (&*path, 3 * 512));
    assert_eq!(file.segment(0).unwrap(), Segment::Data(1000));
    assert!(file.write_at(b"x", 0).is_err());
    assert_eq!(storage_text(&path.join("box.ovf")), "text");
    assert_eq!(open_at(&path.join("e")).unwrap().length().unwrap(), 0);
    // From a file next to the archive, and from a member.
    let near = |name: &str, from: &Path| local::open_near(Path::new(name), false, from, &Allowed::NONE);
    assert!(near("a.ova/e", directory.path()).is_ok());
    assert!(near("box.ovf", &path).is_ok());
    assert!(local::open_named(&path.join("d/disk.img"), "../e", false, &Allowed::NONE).is_err());
}

fn storage_text(path: &Path) -> String {
    let bytes = crate::storage::read_up_to(&*open_at(path).unwrap(), 0, 100).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn names_lead_to_members_and_nowhere_else() {
    let (directory, path) = written(&archive(&[("../up", b"x"), ("/abs", b"x"), ("twice", b"1"), ("twice", b"2")]));
    fs::write(directory.path().join("up"), "outside").unwrap();
    for name in ["../up", "/abs", "missing", "twice/below", ""] {
        let error = open_at(&path.join(name)).unwrap_err();
        assert!(!matches!(error, Error::Corrupt { .. }), "{name}: {error}");
    }
    let error = open_at(&path.join("twice")).unwrap_err().to_string();
    assert!(
        error.ends_with("twice is refused: the archive has two files of this path; extract the right one"),
        "{error}"
    );
    let error = open_at(&path.join("missing")).unwrap_err();
    let text = crate::error_kind::message(&error);
    assert!(text.contains("there is no such file in the archive, which has ../up, /abs, twice, twice"), "{text}");
    assert!(local::open(&path.join("twice"), true, Devices::Refused).is_err());
    // A file that is no archive is no directory.
    fs::write(&path, "no archive").unwrap();
    let text = crate::error_kind::message(&open_at(&path.join("up")).unwrap_err());
    assert!(text.contains("Not a directory") || text.contains("not a directory"), "{text}");
}

#[test]
fn what_is_not_stored_in_one_go_is_refused() {
    let mut bytes = Vec::new();
    for (name, kind) in [("sparse", EntryType::GNUSparse), ("link", EntryType::Symlink), ("pipe", EntryType::Fifo)] {
        bytes.extend(header(name, 0, kind).as_bytes());
    }
    bytes.extend(header("cut", 5000, EntryType::Regular).as_bytes());
    bytes.extend([0; 700]);
    let (_directory, path) = written(&bytes);
    for (name, why) in [("sparse", "stored sparsely"), ("link", "a link"), ("pipe", "a device")] {
        let error = open_at(&path.join(name)).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }) && error.to_string().contains(why), "{name}: {error}");
    }
    let error = open_at(&path.join("cut")).unwrap_err().to_string();
    let expected = "file \"cut\" in the tar archive at offset 2048 (0x800): expected 5000 bytes, found the end of the archive at 2748";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn long_names_and_sizes_of_all_kinds_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let name = "n".repeat(150);
    fs::write(directory.path().join(&name), "long").unwrap();
    for format in ["gnu", "pax", "ustar", "v7"] {
        let path = directory.path().join("a.tar");
        let name = if format == "v7" || format == "ustar" { "short" } else { &name };
        fs::write(directory.path().join(name), "long").unwrap();
        let mut tar = std::process::Command::new("tar");
        tar.arg(format!("--format={format}")).arg("-cf").arg(&path).arg("-C").arg(directory.path()).arg(name);
        assert!(tar.status().unwrap().success());
        assert_eq!(storage_text(&path.join(name)), "long", "{format}");
    }
}

#[test]
fn a_sparse_member_of_a_pax_archive_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = fs::File::create(directory.path().join("disk.img")).unwrap();
    file.set_len(8 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"data", 4 << 20).unwrap();
    let path = directory.path().join("a.tar");
    let mut tar = std::process::Command::new("tar");
    tar.args(["-S", "--format=pax", "-cf"]).arg(&path).arg("-C").arg(directory.path()).arg("disk.img");
    assert!(tar.status().unwrap().success());
    let members = members(&open_at(&path).unwrap()).unwrap();
    assert_eq!(members[0].unreadable, Some("it is stored sparsely"), "{members:?}");
}

#[test]
fn hostile_archives_are_refused_at_once() {
    let many: Vec<u8> =
        (0..=MAX_MEMBERS).flat_map(|at| *header(&at.to_string(), 0, EntryType::Regular).as_bytes()).collect();
    let error = list(many).unwrap_err().to_string();
    assert!(error.contains("at most 4096 files"), "{error}");
    // A name of 16 MiB, and one of 8 EiB.
    let mut long = header("x", 16 << 20, EntryType::GNULongName).as_bytes().to_vec();
    long.extend(vec![b'n'; 16 << 20]);
    assert!(list(long).unwrap_err().to_string().contains("bytes of names"));
    let huge = header("x", 1 << 63, EntryType::GNULongName).as_bytes().to_vec();
    assert!(list(huge).is_err());
    // A size beyond the end, twice: the next header would be past all files.
    let mut beyond = header("x", u64::MAX - 600, EntryType::Regular).as_bytes().to_vec();
    beyond.extend(*header("y", 0, EntryType::Regular).as_bytes());
    match list(beyond.clone()) {
        Ok(members) => assert_eq!(members.len(), 1),
        Err(error) => assert!(matches!(error, Error::Corrupt { .. }), "{error}"),
    }
    assert!(open(MemFile::new("/t/a.ova", beyond), Path::new("x"), false).is_err());
    // A second header with a wrong checksum.
    let mut broken = archive(&[("a", b"1"), ("b", b"2")]);
    broken[1024] ^= 1;
    let error = list(broken).unwrap_err();
    assert!(error.to_string().contains("tar header at offset 1024"), "{error}");
}
