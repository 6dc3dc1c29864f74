//! Disks of several extents.

use super::*;
use crate::disk::{ChainDisk, Disk};
use crate::image::Note;

fn flat(fill: u8, sectors: usize) -> Vec<u8> {
    vec![fill; sectors * 512]
}

/// A sparse extent of 48 sectors without a descriptor.
fn sparse() -> Vec<u8> {
    Build { descriptor: String::new(), ..Build::default() }.bytes()
}

fn all(disk: &dyn Disk) -> Vec<u8> {
    crate::disk::testing::all(disk)
}

#[test]
fn extents_of_all_kinds_make_one_disk() {
    let directory = Directory::default()
        .with("s001.vmdk", sparse())
        .with("flat \"1\".img", flat(5, 20))
        .with("vmfs.img", flat(6, 8));
    let lines = "RW 48 SPARSE \"s001.vmdk\"\nRW 8 ZERO\nRDONLY 6 FLAT \"flat \"1\".img\" 4\nrw 2 vmfs \"vmfs.img\"\n\
                 RW 10 FLAT \"flat \"1\".img\" 10\nNOACCESS 4 FLAT \"gone\" 0";
    let image = directory.open_extents(lines, &READ).unwrap();
    assert_eq!(image.info().size, 78 * 512);
    assert_eq!(image.info().variant, Variant::Fixed);
    assert_eq!(image.info().details, "custom, 6 SPARSE/ZERO/FLAT/VMFS extents");
    assert_eq!(image.files().len(), 4, "two extents are in one file");
    let stored = image.files().iter().map(|file| file.length().unwrap()).sum::<u64>();
    assert_eq!(image.info().stored_size, stored);
    let mut bytes = Vec::new();
    while bytes.len() < 74 * 512 {
        let run = image.extent(bytes.len() as u64, (74 * 512 - bytes.len()) as u64).unwrap();
        let mut part = vec![0; usize::try_from(run.len).unwrap()];
        if let Extent::Stored { file, offset } = run.extent {
            image.files()[file].read_at(&mut part, offset).unwrap();
        }
        bytes.append(&mut part);
    }
    let mut expected = vec![0; 74 * 512];
    for (from, to, fill) in [(0, 8, 11), (8, 16, 22), (32, 40, 33), (56, 62, 5), (62, 64, 6), (64, 74, 5)] {
        expected[from * 512..to * 512].fill(fill);
    }
    assert_eq!(bytes, expected);
    let error = image.extent(74 * 512, 1).unwrap_err().to_string();
    assert!(
        error.contains("bytes 37888 to 39936 of the disk in the extent \"gone\", which the descriptor marks NOACCESS"),
        "{error}"
    );
}

#[test]
fn only_extents_that_may_be_written_are() {
    let lines = "RW 48 SPARSE \"s001.vmdk\"\nRW 16 FLAT \"flat\" 0\nRDONLY 8 FLAT \"flat\" 16\nRW 8 ZERO";
    let directory = Directory::default().with("s001.vmdk", sparse()).with("flat", flat(5, 24));
    let image = directory.open_extents(lines, &WRITE).unwrap();
    assert_eq!(image.writer().unwrap().unit(), 4096);
    let disk = ChainDisk::new(vec![image], Vec::new());
    let mut model = all(&disk);
    // From a grain that is not stored, over grains that are, into the flat extent.
    disk.write_at(21000, &[77; 10_000]).unwrap();
    model[21000..31000].fill(77);
    assert_eq!(all(&disk), model);
    for (at, word) in [(32768, "marked RDONLY"), (36864, "has the type ZERO and stores nothing")] {
        let error = disk.write_at(at, &[1]).unwrap_err();
        assert_eq!(error.kind(), crate::error_kind::ErrorKind::Refused);
        assert!(error.to_string().contains(word), "{error}");
    }
    assert!(disk.discard(32768, 4096).unwrap_err().to_string().contains("marked RDONLY"));
    disk.discard(36864, 4096).unwrap();
    disk.discard(20480, 8192).unwrap();
    model[20480..28672].fill(0);
    assert_eq!(all(&disk), model);
    disk.close().unwrap();
}

#[test]
fn disks_that_cannot_be_written_have_no_writer_or_say_why() {
    let small = Build { grain: 4, table_entries: 12, descriptor: String::new(), ..Build::default() };
    let directory = || {
        Directory::default()
            .with("s001.vmdk", sparse())
            .with("small", Build { map: Vec::new(), data: Vec::new(), ..small.clone() }.bytes())
            .with("flat", flat(5, 64))
    };
    let open = |lines: &str| directory().open_extents(lines, &WRITE);
    for lines in ["RDONLY 48 SPARSE \"s001.vmdk\"", "RW 100 ZERO", "RDONLY 8 FLAT \"flat\" 0"] {
        assert!(open(lines).unwrap().writer().is_none(), "{lines}");
    }
    for (lines, reason) in [
        ("RW 48 SPARSE \"small\"", "its grains of 2048 bytes are too small to be written"),
        (
            "RW 3 FLAT \"flat\" 0\nRW 48 SPARSE \"s001.vmdk\"",
            "its extent from byte 1536 of the disk on does not begin with a whole grain",
        ),
        (
            "RW 44 SPARSE \"s001.vmdk\"\nRW 8 ZERO",
            "only one of two extents that meet within a grain, at byte 22528 of the disk",
        ),
    ] {
        let error = failure(open(lines));
        assert!(error.contains(reason) && error.contains("mount it without --rw"), "{error}");
    }
    assert!(open("RW 44 SPARSE \"s001.vmdk\"\nRW 8 FLAT \"flat\" 0").unwrap().writer().is_some());
    let error = failure(open("RW 8 FLAT \"flat\" 0\n# Change Tracking File\nchangeTrackPath=\"a-ctk.vmdk\""));
    assert!(error.contains("\"a-ctk.vmdk\" records which of its blocks change"), "{error}");
}

#[test]
fn writes_reach_every_extent_of_a_difference() {
    let text = Build { descriptor: descriptor("RW 48 SPARSE \"s\"\nRW 44 SPARSE \"t\""), ..Build::default() };
    let text = text.difference().descriptor.into_bytes();
    let directory = Directory::default().with("a.vmdk", text.clone()).with("s", sparse()).with("t", sparse());
    let base = Directory::default().with("flat", flat(9, 92));
    let chain = |writable: bool| {
        let base = Directory(base.0.clone()).open_extents("RW 92 FLAT \"flat\" 0", &READ).unwrap();
        let leaf = directory.open("a.vmdk", &if writable { WRITE } else { READ }).unwrap();
        ChainDisk::new(vec![leaf, base], Vec::new())
    };
    let mut model = flat(9, 92);
    for at in [0, 48] {
        for (from, to, fill) in [(0, 8, 11), (8, 16, 22), (32, 40, 33)] {
            model[(at + from) * 512..(at + to) * 512].fill(fill);
        }
    }
    let disk = chain(true);
    assert_eq!(all(&disk), model);
    for (at, len, fill) in [(10_000, 30_000, 1), (20_000, 6_000, 0), (46_000, 1104, 4)] {
        disk.write_at(at as u64, &vec![fill; len]).unwrap();
        model[at..at + len].fill(fill);
        assert_eq!(all(&disk), model);
    }
    disk.discard(0, 47104).unwrap();
    disk.write_at(47103, &[5]).unwrap();
    model.fill(0);
    model[47103] = 5;
    disk.close().unwrap();
    assert_eq!(all(&chain(false)), model, "zeros hide the parent");
    let now = directory.0["a.vmdk"].bytes();
    assert_eq!(now.len(), text.len());
    assert_ne!(now, text, "the descriptor says that the disk has changed");
}

#[test]
fn a_file_is_used_by_one_extent_only() {
    for lines in [
        "RW 48 SPARSE \"s001.vmdk\"\nRW 48 SPARSE \"s001.vmdk\"",
        "RW 8 FLAT \"s001.vmdk\" 0\nRW 48 SPARSE \"s001.vmdk\"",
        "RW 48 SPARSE \"s001.vmdk\"\nRW 8 FLAT \"s001.vmdk\" 0",
        "RW 1 FLAT \"a.vmdk\" 0",
        "RW 8 FLAT \"flat\" 0\nRDONLY 8 FLAT \"flat\" 7",
    ] {
        let directory = Directory::default().with("s001.vmdk", sparse()).with("flat", flat(5, 64));
        let error = failure(directory.open_extents(lines, &READ));
        assert!(error.contains("which another part of the disk uses too"), "{lines}: {error}");
    }
}

#[test]
fn a_flat_extent_lies_within_its_file() {
    let directory = || Directory::default().with("flat", flat(5, 64));
    let error = failure(directory().open_extents("RW 60 FLAT \"flat\" 5", &READ));
    assert!(error.contains("VMDK extent of 60 sectors from sector 5 on at offset 2560 (0xa00): expected all its bytes, found the end of the file at 32768"), "{error}");
    let error = failure(directory().open_extents(&format!("RW 60 FLAT \"flat\" {}", u64::MAX), &READ));
    assert!(error.contains("expected all its bytes"), "{error}");
    let forced = OpenOptions { force: true, ..READ };
    let image = directory().open_extents("RW 60 FLAT \"flat\" 5", &forced).unwrap();
    assert_eq!(image.extent(0, 60 * 512).unwrap().len, 59 * 512);
    assert!(matches!(image.extent(59 * 512, 1), Err(Error::Corrupt { .. })));
}

#[test]
fn an_embedded_descriptor_is_about_its_own_file_whatever_its_name() {
    let build = Build { descriptor: descriptor("RW 48 SPARSE \"old name.vmdk\""), ..Build::default() };
    assert_eq!(open_build(&build).files().len(), 1);
    let build = Build { descriptor: descriptor("RW 48 SPARSE \"a.vmdk\"\nRW 8 FLAT \"flat\" 0"), ..Build::default() };
    let directory = Directory::default().with("a.vmdk", build.bytes()).with("flat", flat(5, 8));
    let image = directory.open("a.vmdk", &READ).unwrap();
    assert_eq!((image.files().len(), image.info().size), (2, 56 * 512));
}

#[test]
fn an_extent_given_instead_of_its_descriptor_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("disk.vmdk"), descriptor("RW 48 SPARSE \"disk-s001.vmdk\"")).unwrap();
    for (name, bytes) in [("disk-s001.vmdk", sparse()), ("disk-flat.vmdk", flat(5, 8)), ("disk-f002.vmdk", flat(5, 8))]
    {
        std::fs::write(path(name), bytes).unwrap();
        let advice = format!("give {} instead", path("disk.vmdk").display());
        for error in [
            crate::image::open(&path(name), READ).err().unwrap(),
            crate::image::identify(&path(name), READ.devices).unwrap_err(),
        ] {
            assert!(error.to_string().contains(&advice), "{name}: {error}");
        }
    }
    std::fs::write(path("lost-flat.vmdk"), flat(5, 8)).unwrap();
    let error = crate::image::open(&path("lost-flat.vmdk"), READ).err().unwrap().to_string();
    assert!(error.contains("lost.vmdk; put that file next to it"), "{error}");
    std::fs::write(path("other.vmdk"), sparse()).unwrap();
    let error = crate::image::open(&path("other.vmdk"), READ).err().unwrap().to_string();
    assert!(error.contains("find the descriptor, a small .vmdk file"), "{error}");
    let options = OpenOptions { format: Some(crate::image::Format::Raw), ..READ };
    assert_eq!(crate::image::open(&path("disk-flat.vmdk"), options).unwrap().info().size, 4096);
}

#[test]
fn extents_are_found_by_the_rules_for_names() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("part.img"), flat(5, 8)).unwrap();
    let open = |extent: &str| {
        std::fs::write(path("disk.vmdk"), descriptor(extent)).unwrap();
        let identified = crate::image::identify(&path("disk.vmdk"), READ.devices).map(|info| info.size);
        let opened = crate::image::open(&path("disk.vmdk"), READ).map(|image| image.info().size);
        // Headers are enough to identify a disk on a device.
        assert_eq!(identified.is_ok(), opened.is_ok() || extent.contains("PhysicalDrive"));
        opened.map_err(|error| message(&error))
    };
    assert_eq!(open("RW 8 FLAT \"part.img\" 0"), Ok(4096));
    assert_eq!(open("RW 8 FLAT \"C:\\VMs\\part.img\" 0"), Ok(4096));
    assert!(open("RW 8 FLAT \"/dev/null\" 0").unwrap_err().contains("not a regular file"));
    assert!(open("RW 8 FLAT \"\\\\.\\PhysicalDrive0\" 0").unwrap_err().contains("names the device"));
    assert!(open("RW 8 FLAT \"gone.img\" 0").unwrap_err().contains("gone.img"));
}

/// Opens a VMDK of one extent among other files: its size and notes, or the error.
fn open_among(line: &str, files: &[(&str, Vec<u8>)]) -> Result<(u64, Vec<Note>), String> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("disk.vmdk"), descriptor(line)).unwrap();
    for (name, bytes) in files {
        std::fs::write(directory.path().join(name), bytes).unwrap();
    }
    let opened = crate::image::open(&directory.path().join("disk.vmdk"), READ);
    opened.map(|image| (image.info().size, image.info().notes.clone())).map_err(|error| message(&error))
}

#[test]
fn an_extent_is_found_in_another_case_or_unicode_form() {
    for (line, name, bytes) in [
        ("RW 8 FLAT \"Disk-Flat.vmdk\" 0", "disk-flat.VMDK", flat(5, 8)),
        ("RW 8 FLAT \"B\u{fc}ro-flat.vmdk\" 0", "Bu\u{308}ro-flat.vmdk", flat(5, 8)),
        ("RW 48 SPARSE \"C:\\vm\\Disk-s001.vmdk\"", "disk-S001.vmdk", sparse()),
    ] {
        let (_, notes) = open_among(line, &[(name, bytes.clone()), ("notes.txt", flat(1, 8))]).unwrap();
        assert!(notes[0].contains(&format!("{name} is used, the only file that fits")), "{notes:?}");
        let cut = bytes[..bytes.len() / 20].to_vec();
        let error = open_among(line, &[(name, cut)]).unwrap_err();
        assert!(line.contains("SPARSE") || error.contains("which does not fit by size and header"), "{error}");
    }
    let two = [("disk-flat.vmdk", flat(5, 8)), ("DISK-FLAT.vmdk", flat(6, 8))];
    let error = open_among("RW 8 FLAT \"Disk-Flat.vmdk\" 0", &two).unwrap_err();
    assert!(error.contains("DISK-FLAT.vmdk and disk-flat.vmdk, which is not the only one that fits"), "{error}");
}

#[test]
fn an_extent_under_another_name_is_used_when_no_other_can_be_meant() {
    let line = "RW 8 FLAT \"old-flat.vmdk\" 0";
    let renamed = || ("new-flat.vmdk", flat(5, 8));
    let (_, notes) = open_among(line, &[renamed()]).unwrap();
    assert!(notes[0].contains("new-flat.vmdk is used"), "{notes:?}");
    let other = descriptor("RW 8 FLAT \"new-flat.vmdk\" 0").into_bytes();
    for (why, files) in [
        ("another descriptor names it", vec![renamed(), ("other.vmdk", other)]),
        ("its size is another", vec![("new-flat.vmdk", flat(5, 9))]),
        ("there are two", vec![renamed(), ("newer-flat.vmdk", flat(6, 8))]),
        ("it is no extent by its name", vec![("new-flat.img", flat(5, 8))]),
        ("it is a disk of its own", vec![("whole.vmdk", Build::default().bytes())]),
    ] {
        let error = open_among(line, &files).unwrap_err();
        assert!(error.contains("old-flat.vmdk"), "{why}: {error}");
    }
    let sparse_line = "RW 48 SPARSE \"old-s001.vmdk\"";
    assert!(open_among(sparse_line, &[("new-s001.vmdk", sparse())]).is_ok());
    assert!(open_among(sparse_line, &[("whole.vmdk", Build::default().bytes())]).is_err());
}
