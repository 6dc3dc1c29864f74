//! Tracks of each mode, several tracks and files, and corruption.

use super::*;
use crate::disk::{ChainDisk, Disk};
use crate::image::{self, OpenOptions};

const SECTORS: usize = 70;

fn user(sector: usize) -> Vec<u8> {
    (0..USER).map(|i| u8::try_from((sector * 31 + i) % 253).unwrap()).collect()
}

fn flat() -> Vec<u8> {
    (0..SECTORS).flat_map(user).collect()
}

/// A sector as a CD has it; the checksums for error correction are left out.
fn stored(mode: &str, number: usize) -> Vec<u8> {
    let data = user(number);
    let subheader = [1, 2, 8, 3, 1, 2, 8, 3];
    let sum = |bytes: &[u8]| sector::edc(bytes).to_le_bytes();
    let head = |mode: u8| [&[0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 2, 0][..], &[mode]].concat();
    let mut out = match mode {
        "MODE1/2352" => head(1),
        "MODE2/2352" => [head(2), subheader.to_vec()].concat(),
        "MODE2/2336" => subheader.to_vec(),
        _ => Vec::new(),
    };
    out.extend(&data);
    match mode {
        "MODE1/2352" => out.extend(sum(&out)),
        "MODE2/2352" => out.extend(sum(&out[16..])),
        "MODE2/2336" => out.extend(sum(&out)),
        _ => {}
    }
    out.resize(mode.split_once('/').unwrap().1.parse().unwrap(), 0);
    out
}

fn content(mode: &str) -> Vec<u8> {
    (0..SECTORS).flat_map(|sector| stored(mode, sector)).collect()
}

/// A directory with a sheet and the files it names.
fn directory(sheet: &str, files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.cue"), sheet).unwrap();
    for (name, bytes) in files {
        std::fs::write(directory.path().join(name), bytes).unwrap();
    }
    directory
}

fn open_sheet(directory: &tempfile::TempDir) -> Result<Box<dyn Image>> {
    image::open(&directory.path().join("a.cue"), OpenOptions::default())
}

fn read(image: Box<dyn Image>) -> crate::disk::Result<Vec<u8>> {
    let disk = ChainDisk::new(vec![image], Vec::new());
    let mut bytes = vec![0xAA; usize::try_from(disk.size()).unwrap()];
    disk.read_at(0, &mut bytes)?;
    Ok(bytes)
}

fn message(sheet: &str, files: &[(&str, Vec<u8>)]) -> String {
    open_sheet(&directory(sheet, files)).err().expect("the sheet is wrong").to_string()
}

#[test]
fn tracks_of_every_mode_show_their_users_bytes() {
    for mode in ["MODE1/2048", "MODE1/2352", "MODE2/2048", "MODE2/2336", "MODE2/2352"] {
        let sheet = format!("FILE \"the disk.bin\" BINARY\n  TRACK 01 {mode}\n    INDEX 01 00:00:00\n");
        let directory = directory(&sheet, &[("the disk.bin", content(mode))]);
        let image = open_sheet(&directory).unwrap();
        let info = image.info();
        assert_eq!((info.format, info.sector_size, info.size), (Format::Cue, 2048, (SECTORS * USER) as u64));
        assert_eq!(info.details, format!("track 1, {mode}, 70 sectors"));
        let disk = ChainDisk::new(vec![image], Vec::new());
        for (from, len) in [(0, SECTORS * USER), (1000, 3000), (65_000, 5000), (SECTORS * USER - 1, 1)] {
            let mut bytes = vec![0; len];
            disk.read_at(from as u64, &mut bytes).unwrap();
            assert_eq!(bytes, flat()[from..from + len], "{mode} from {from}");
        }
        let known = image::identify(&directory.path().join("a.cue"), crate::storage::local::Devices::Refused).unwrap();
        assert_eq!(known.size, (SECTORS * USER) as u64);
    }
}

#[test]
fn the_first_data_track_is_found_among_others() {
    let sheet = "FILE song.wav WAVE\nTRACK 01 AUDIO\nINDEX 01 00:00:00\nFILE disk.bin BINARY\nTRACK 02 AUDIO\n\
                 INDEX 01 00:00:00\nTRACK 03 MODE1/2352\nINDEX 00 00:00:05\nINDEX 01 00:00:07\nTRACK 04 AUDIO\nINDEX 01 00:01:02\n";
    let bytes = [vec![9; 7 * 2352], content("MODE1/2352"), vec![9; 2352]].concat();
    let directory = directory(sheet, &[("disk.bin", bytes)]);
    let image = open_sheet(&directory).unwrap();
    assert_eq!(image.info().details, "track 3, MODE1/2352, 70 sectors");
    assert_eq!(read(image).unwrap(), flat());
}

#[test]
fn what_is_no_data_track_is_refused_by_name() {
    let sheet =
        |mode: &str, kind: &str, name: &str| format!("FILE \"{name}\" {kind}\nTRACK 1 {mode}\nINDEX 1 00:00:00\n");
    let bin = || [("a.bin", content("MODE1/2352"))];
    let cases = [
        (
            sheet("AUDIO", "BINARY", "a.bin"),
            "tracks of the cue sheet at offset 0 (0x0): expected a data track, found 1 audio tracks",
        ),
        (
            sheet("CDI/2352", "BINARY", "a.bin"),
            "mode of track 1 at offset 0 (0x0): expected MODE1/2048, MODE1/2352, MODE2/2048, MODE2/2336 or MODE2/2352, found CDI/2352",
        ),
        (
            sheet("MODE1/2352", "MOTOROLA", "a.bin"),
            "type of the data track's file at offset 0 (0x0): expected BINARY, found MOTOROLA",
        ),
        (sheet("MODE1/2352", "BINARY", "b.img"), "Cannot find"),
        (sheet("MODE1/2352", "BINARY", "../a.bin"), "Cannot find"),
        (sheet("MODE1/2352", "BINARY", "/dev/zero"), "it is a device"),
        (sheet("MODE1/2352", "BINARY", "/etc/passwd"), "--allow-file /etc/passwd"),
        (sheet("MODE1/2352", "BINARY", "nbd:host:1"), "only local files are opened"),
        (
            sheet("MODE1/2048", "BINARY", "a.bin"),
            "track 1 of the CD at offset 0 (0x0): expected whole sectors of 2048 bytes up to offset 164640, found a file of 164640 bytes",
        ),
    ];
    for (sheet, cause) in cases {
        let text = message(&sheet, &bin());
        assert!(text.contains(cause), "{text}\nis not\n{cause}");
    }
    let late = "FILE a.bin BINARY\nTRACK 1 MODE1/2352\nINDEX 1 00:00:00\nTRACK 2 AUDIO\nINDEX 1 00:01:00\n";
    let text = message(late, &bin());
    assert!(text.contains("up to offset 176400, found a file of 164640 bytes"), "{text}");
}

#[test]
fn corrupt_sectors_are_errors() {
    let cases = [
        ("MODE1/2352", 5 * 2352, "CD sector at offset 11760 (0x2df0): expected the sync pattern, found other bytes"),
        ("MODE1/2352", 5 * 2352 + 15, "mode of a CD sector at offset 11775 (0x2dff): expected 1, found 254"),
        ("MODE1/2352", 5 * 2352 + 100, "error detection code of a CD sector at offset 13824 (0x3600)"),
        (
            "MODE2/2352",
            5 * 2352 + 18,
            "form of a CD sector at offset 11778 (0x2e02): expected form 1, which holds data, found form 2 (sound or video)",
        ),
        ("MODE2/2336", 5 * 2336 + 8, "error detection code of a CD sector at offset 13736 (0x35a8)"),
    ];
    for (mode, at, cause) in cases {
        let mut bytes = content(mode);
        bytes[at] ^= 0xFF;
        let directory =
            directory(&format!("FILE a.bin BINARY\nTRACK 1 {mode}\nINDEX 1 00:00:00\n"), &[("a.bin", bytes)]);
        let disk = ChainDisk::new(vec![open_sheet(&directory).unwrap()], Vec::new());
        let text = disk.read_at(4 * 2048, &mut [0; 4096]).unwrap_err().to_string();
        assert!(text.contains(cause), "{text}\nis not\n{cause}");
        disk.read_at(32 * 2048, &mut [0; 4096]).unwrap();
    }
    // Programs that make images may leave the checksum out.
    let mut bytes = content("MODE1/2352");
    bytes[2064..2068].fill(0);
    let directory = directory("FILE a.bin BINARY\nTRACK 1 MODE1/2352\nINDEX 1 00:00:00\n", &[("a.bin", bytes)]);
    assert_eq!(read(open_sheet(&directory).unwrap()).unwrap(), flat());
}

#[test]
fn the_tracks_file_is_found_in_another_case_or_renamed_with_its_sheet() {
    let sheet = |name: &str| format!("FILE \"{name}\" BINARY\nTRACK 1 MODE1/2352\nINDEX 1 00:00:00\n");
    let open = |name: &str, files: &[(&str, Vec<u8>)]| open_sheet(&directory(&sheet(name), files));
    let bytes = || content("MODE1/2352");
    for (name, file) in [("Disc.bin", "disc.BIN"), ("D\u{fc}.bin", "Du\u{308}.bin"), ("gone.bin", "a.bin")] {
        let image = open(name, &[(file, bytes())]).unwrap();
        assert!(image.info().notes[0].contains(&format!("{file} is used")), "{:?}", image.info().notes);
        assert_eq!(read(image).unwrap(), flat());
    }
    assert!(open("gone.bin", &[("b.bin", bytes())]).is_err(), "the name says nothing");
    assert!(open("gone.bin", &[("a.bin", vec![7; 2352])]).is_err(), "it is no track of data");
}
