use crate::image::{Error, OpenOptions, open::open_file};
use crate::storage::testing::MemFile;
use std::io::Write;
use std::process::{Command, Stdio};

fn opened(name: &str, bytes: Vec<u8>) -> Result<u64, String> {
    match open_file(MemFile::new(name, bytes), OpenOptions::default()) {
        Ok(image) => Ok(image.info().size),
        Err(error @ Error::Foreign { .. }) => Err(error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

/// 8 KiB of a disk with some bytes in it.
fn with(at: usize, magic: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8192];
    bytes[at..at + magic.len()].copy_from_slice(magic);
    bytes
}

#[test]
fn images_of_other_programs_are_refused_by_name() {
    let text = opened("/t/disk.img", with(0, b"Bochs Virtual HD Image\0")).unwrap_err();
    assert!(text.contains("/t/disk.img is not a disk image but an image of Bochs; convert it"), "{text}");
    for (magic, what) in [(&b"EVF\x09\x0D\x0A\xFF\0"[..], "EWF"), (b"MSWIM\0\0\0", "WIM"), (b"MComprHD\0\0\0", "CHD")] {
        let text = opened("/t/disk.raw", with(0, magic)).unwrap_err();
        assert!(text.contains(what), "{text}");
    }
}

/// What a program makes of bytes.
fn piped(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; see tests/setup.sh"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}");
    output.stdout
}

#[test]
fn archives_are_refused_by_their_content_whatever_their_name() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("disk.vmdk"), vec![7; 5000]).unwrap();
    let directory = directory.path().to_str().unwrap();
    let tar = |format: &str| piped("tar", &["-c", format, "-C", directory, "disk.vmdk"], b"");
    let plain = tar("--format=ustar");
    for (bytes, what) in [
        (plain.clone(), "a tar archive"),
        (tar("--format=v7"), "a tar archive"),
        (tar("--format=gnu"), "a tar archive"),
        (tar("--format=pax"), "a tar archive"),
        (piped("gzip", &["-c"], &plain), "compressed by gzip"),
        (piped("gzip", &["-c"], b""), "compressed by gzip"),
        (piped("bzip2", &["-c"], &plain), "compressed by bzip2"),
        (piped("xz", &["-c"], &plain), "compressed by xz"),
        (piped("zstd", &["-c"], &plain), "compressed by zstd"),
        (piped("zstd", &["-c"], &[5; 200_000]), "compressed by zstd"),
        (b"PK\x03\x04\x14\0\0\0\x08\0abcdefghijklmnop\x05\0\0\0a.img".to_vec(), "a zip archive"),
        (b"Rar!\x1A\x07\x01\0more".to_vec(), "a RAR archive"),
    ] {
        for name in ["/t/a.box", "/t/a.tgz", "/t/disk.img", "/t/disk", "/t/disk.hdd", "/t/disk.iso"] {
            let mut bytes = bytes.clone();
            // A flat image of Parallels has whole sectors.
            bytes.resize(bytes.len().next_multiple_of(512), 0);
            let text = opened(name, bytes).unwrap_err();
            assert!(text.contains(what) && text.contains(name), "{name}: {text}");
        }
    }
}

#[test]
fn disks_that_begin_like_an_archive_are_disks() {
    let mut tar = with(257, b"ustar\x0000");
    tar[0] = b'a';
    tar[148..154].copy_from_slice(b"001234");
    for bytes in [
        tar,
        with(0, b"\x1F\x8B\x08"),
        with(0, b"\x1F\x8B\x08\xE0"),
        with(0, b"BZh9\x31\x41"),
        with(0, b"\xFD7zXZ\0"),
        with(0, b"7z\xBC\xAF\x27\x1C"),
        with(0, b"PK\x03\x04"),
        with(0, b"MSCF\0\0\0\0\x01"),
        with(0, b"\x28\xB5\x2F\xFD\x08"),
        with(0, b"<?xml version=\"1.0\"?>"),
        with(0, b"config.version = \"8\"\n"),
        with(0, b"\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\x02\0\x01"),
        b"some text\n".repeat(1000),
    ] {
        let len = bytes.len() as u64;
        assert_eq!(opened("/t/disk.img", bytes), Ok(len));
    }
}

#[test]
fn a_name_makes_sure_of_a_short_signature() {
    for (name, magic) in
        [("/t/disk.img.GZ", &b"\x1F\x8B\x08"[..]), ("/t/a.zip", b"PK\x03\x04"), ("/t/a.Z", b"\x1F\x9D")]
    {
        assert!(opened(name, with(0, magic)).unwrap_err().contains("decompress it"), "{name}");
    }
    for (name, what) in [
        ("/t/a.box", "named as an archive, without the signature of one"),
        ("/t/a.ovf", "named as the description of a machine"),
        ("/t/a.vmem", "named as the state of a machine"),
        ("/t/a.nrg", "an image of a CD program"),
        ("/t/a.cue", "named as a cue sheet"),
        ("/t/a.hdd.1.{5fbaabe3-6958-40ff-92a7-860e329aab41}.hds", "a part of a Parallels disk"),
    ] {
        let text = opened(name, with(0, b"")).unwrap_err();
        assert!(text.contains(what), "{name}: {text}");
    }
}

#[test]
fn descriptions_of_machines_are_named() {
    let utf16: Vec<u8> = "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-16\"?><Envelope/>"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for (bytes, what) in [
        (&b"<?xml version=\"1.0\"?>\n<!-- a > b -->\n<ovf:Envelope xmlns:ovf=\"x\">"[..], "OVF description"),
        (b"<Envelope>", "OVF description"),
        (&utf16, "OVF description"),
        (b"\xef\xbb\xbf<?xml version=\"1.0\"?><VirtualBox xmlns=\"x\"/>", "settings file of VirtualBox"),
        (b"<domain type='kvm'>\n", "libvirt"),
        (b"<?xml version='1.0'?><plist/>", "an XML document (plist)"),
        (b"#!/usr/bin/vmware\n.encoding = \"windows-1252\"\nconfig.version = \"8\"\nname = \"B\xFCro\"", "VMX"),
        (b"[CloneCD]\r\nVersion=3\r\n", "CCD"),
        (b"CD_ROM\n\nTRACK MODE1_RAW\n", "TOC"),
    ] {
        let text = opened("/t/a", bytes.to_vec()).unwrap_err();
        assert!(text.contains(what), "{text}");
    }
}

#[test]
fn images_of_cds_are_named() {
    let sync = b"\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\x02\0\x01";
    for (stride, what) in
        [(2352, "write one with the lines FILE \"NAME\" BINARY, TRACK 01 MODE1/2352"), (2448, "convert it to an ISO")]
    {
        let mut sector = sync.to_vec();
        sector.resize(stride, 5);
        let text = opened("/t/a.bin", sector.repeat(40)).unwrap_err();
        assert!(text.contains(&format!("sectors of {stride} bytes")) && text.contains(what), "{text}");
    }
    let mut nero = vec![0; 64 << 10];
    nero[0x8000..0x8006].copy_from_slice(b"\x01CD001");
    nero.extend(b"NER5\0\0\0\0\0\0\xF0\0");
    for name in ["/t/a.nrg", "/t/a.iso"] {
        let text = opened(name, nero.clone()).unwrap_err();
        assert!(text.contains("Nero"), "{text}");
    }
}

#[test]
fn chunks_of_a_split_image_are_named() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["disk.001", "disk.002", "alone.001"] {
        std::fs::write(directory.path().join(name), vec![0; 4096]).unwrap();
    }
    let name = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    for chunk in ["disk.001", "disk.002"] {
        let text = opened(&name(chunk), vec![0; 4096]).unwrap_err();
        assert!(text.contains("a part of a split image; join the parts"), "{text}");
    }
    assert_eq!(opened(&name("alone.001"), vec![0; 4096]), Ok(4096));
}
