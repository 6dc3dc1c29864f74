//! Discs that no available program creates, built by hand from the standard.

use super::*;
use crate::disk::memory::MemoryDisk;

const ROOT: u32 = 20;

/// A directory record (ECMA-119, 9.1).
fn record(name: &[u8], location: u32, len: u32, flags: u8, system_use: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 33];
    bytes[2..6].copy_from_slice(&location.to_le_bytes());
    bytes[10..14].copy_from_slice(&len.to_le_bytes());
    bytes[18..25].copy_from_slice(&[124, 1, 2, 3, 4, 5, 0]);
    bytes[25] = flags;
    bytes[32] = u8::try_from(name.len()).unwrap();
    bytes.extend_from_slice(name);
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes.extend_from_slice(system_use);
    bytes[0] = u8::try_from(bytes.len()).unwrap();
    bytes
}

/// A disc of 64 sectors with blocks of `block` bytes and these records in the root directory, which is in sector 20.
/// Every 512 bytes from sector 24 on are filled with their index.
fn disc(block: u16, own: &[u8], records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0; 64 * 2048];
    let location = ROOT * 2048 / u32::from(block);
    let descriptor = &mut bytes[0x8000..0x8800];
    descriptor[..7].copy_from_slice(b"\x01CD001\x01");
    descriptor[40..72].fill(b' ');
    descriptor[80..84].copy_from_slice(&(64 * 2048 / u32::from(block)).to_le_bytes());
    descriptor[128..130].copy_from_slice(&block.to_le_bytes());
    descriptor[158..162].copy_from_slice(&location.to_le_bytes());
    bytes[0x8800..0x8807].copy_from_slice(b"\xFFCD001\x01");
    let mut offset = ROOT as usize * 2048;
    let own = record(&[0], location, 4096, 2, own);
    let parent = record(&[1], location, 4096, 2, &[]);
    for record in [&own, &parent].into_iter().chain(records) {
        if offset / 2048 != (offset + record.len() - 1) / 2048 {
            offset = offset.next_multiple_of(2048);
        }
        bytes[offset..offset + record.len()].copy_from_slice(record);
        offset += record.len();
    }
    for number in 24 * 4..64 * 4 {
        bytes[number * 512..(number + 1) * 512].fill(u8::try_from(number).unwrap());
    }
    bytes
}

fn open(bytes: Vec<u8>) -> (Arc<dyn Disk>, Iso) {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new(bytes));
    (disk.clone(), Iso::open(disk).unwrap())
}

fn content(opened: &(Arc<dyn Disk>, Iso), name: &str) -> Result<Vec<u8>> {
    let (disk, iso) = opened;
    let node = iso.lookup(iso.root(), name.as_bytes())?.expect("the name is there");
    let attributes = iso.attributes(node)?;
    let mut bytes = vec![0; usize::try_from(attributes.size).unwrap()];
    let len = crate::guestfs::read::read(iso, &**disk, node, &attributes, 0, &mut bytes)?;
    assert_eq!(len, bytes.len());
    Ok(bytes)
}

fn names(iso: &Iso) -> Vec<String> {
    let mut names = Vec::new();
    iso.read_directory(iso.root(), 0, &mut |entry| {
        names.push(String::from_utf8(entry.name).unwrap());
        ControlFlow::Continue(())
    })
    .unwrap();
    names
}

#[test]
fn reads_file_with_several_extents() {
    let mut records: Vec<Vec<u8>> =
        (0..30_u32).map(|i| record(format!("F{i:028}").as_bytes(), 24, 10, 0, &[])).collect();
    // Some of these are the last of the first sector.
    records.extend([record(b"BIG", 30, 2048, 0x80, &[]), record(b"BIG", 28, 4096, 0x80, &[])]);
    records.extend([record(b"BIG", 40, 100, 0, &[]), record(b"LAST", 24, 1, 0, &[])]);
    for count in 0..=30 {
        let opened = open(disc(2048, &[], &records[count..]));
        let bytes = content(&opened, "BIG").unwrap();
        let expected = [(120, 2048), (112, 4096), (160, 100)]
            .iter()
            .flat_map(|(first, len)| (0..*len).map(move |at| u8::try_from(first + at / 512).unwrap()));
        assert_eq!(bytes, expected.collect::<Vec<u8>>());
        assert_eq!(names(&opened.1).len(), 32 - count);
    }
    let opened = open(disc(2048, &[], &[record(b"BIG", 30, 2048, 0x80, &[]), record(b"OTHER", 28, 10, 0, &[])]));
    assert_eq!(names(&opened.1), ["BIG", "OTHER"]);
    assert!(content(&opened, "BIG").unwrap_err().to_string().contains("next extent of a file"));
    assert_eq!(content(&opened, "OTHER").unwrap(), vec![112; 10]);
}

#[test]
fn reads_blocks_smaller_than_sectors() {
    let opened = open(disc(512, &[], &[record(b"SMALL.;1", 101, 1000, 0, &[])]));
    assert_eq!(content(&opened, "SMALL").unwrap(), [vec![101; 512], vec![102; 488]].concat());
    assert_eq!(opened.1.facts().block_size, 512);
}

#[test]
fn refuses_unsupported_files_and_extents_past_the_end() {
    let mut interleaved = record(b"INTER", 30, 100, 0, &[]);
    interleaved[26] = 1;
    let sparse = [b"SF\x15\x01".as_slice(), &[0; 17]].concat();
    let own = [b"SP\x07\x01\xBE\xEF\0".as_slice(), b"RR\x05\x01\x81"].concat();
    let records = [
        interleaved,
        record(b"SPARSE", 30, 100, 0, &sparse),
        record(b"OUTSIDE", 63, 4096, 0, &[]),
        record(b"EMPTY", u32::MAX, 0, 0, &[]),
        record(b"XZ", 30, 100, 0, b"ZF\x10\x02xz\x06\x0F\x10\0\0\0\0\0\0\0"),
        record(b"FORK", 30, 7, 4, &[]),
        record(b"FORK", 31, 5, 0, &[]),
    ];
    let opened = open(disc(2048, &own, &records));
    assert_eq!(names(&opened.1), ["INTER", "SPARSE", "OUTSIDE", "EMPTY", "XZ", "FORK"]);
    let message = |name: &str| content(&opened, name).unwrap_err().to_string();
    assert!(message("INTER").contains("interleaved"), "{}", message("INTER"));
    assert!(message("SPARSE").contains("(SF)"), "{}", message("SPARSE"));
    assert!(message("XZ").contains("compressed with xz in version 2"), "{}", message("XZ"));
    assert!(message("OUTSIDE").contains("end of a volume that is cut short"), "{}", message("OUTSIDE"));
    assert_eq!(content(&opened, "EMPTY").unwrap(), b"");
    assert_eq!(content(&opened, "FORK").unwrap(), vec![124; 5]);
}

#[test]
fn refuses_cyclic_continuations() {
    let own = [b"SP\x07\x01\xBE\xEF\0".as_slice(), b"RR\x05\x01\x81"].concat();
    let number = |number: u32| [number.to_le_bytes(), number.to_be_bytes()].concat();
    let field = [b"CE\x1C\x01".to_vec(), number(50), number(0), number(28)].concat();
    let mut bytes = disc(2048, &own, &[record(b"CIRCLE", 30, 10, 0, &field)]);
    bytes[50 * 2048..50 * 2048 + 28].copy_from_slice(&field);
    let opened = open(bytes);
    assert_eq!(names(&opened.1), ["CIRCLE"]);
    assert!(content(&opened, "CIRCLE").unwrap_err().to_string().contains("circle"));
}

#[test]
fn reads_rock_ridge_after_cd_rom_xa() {
    let xa = [0_u8; 14];
    let own = [&xa[..], b"SP\x07\x01\xBE\xEF\x0E", b"RR\x05\x01\x81"].concat();
    let name = [&xa[..], b"NM\x0C\x01\0", b"a-name."].concat();
    let opened = open(disc(2048, &own, &[record(b"ANAME.;1", 30, 10, 0, &name)]));
    assert_eq!(names(&opened.1), ["a-name."]);
}

#[test]
fn reads_files_with_invalid_fields() {
    let own = [b"SP\x07\x01\xBE\xEF\0".as_slice(), b"RR\x05\x01\x81"].concat();
    let named = |before: &[u8], after: &[u8]| [before, b"NM\x08\x01\0abc", after].concat();
    for fields in [
        // Apple's old field with a byte after it, a length past the record, short fields, invalid flags of a link.
        named(b"AA\x0E\x02TEXTunix\0\0\0", b""),
        named(b"", b"\xEE\xEE\xFF\x01"),
        named(b"", b"XX\x02\x01"),
        named(b"PX\x08\x01\0\0\0\0", b"TF\x06\x01\xFF\0"),
        named(b"SL\x08\x01\0\x40\x01x", b""),
        named(b"ER\x05\x01\xFF", b"SL\x05\x01\0"),
    ] {
        let opened = open(disc(2048, &own, &[record(b"ABC.;1", 30, 7, 0, &fields), record(b"X", 31, 7, 0, b"\x01")]));
        assert_eq!(names(&opened.1), ["abc", "X"], "{}", fields.escape_ascii());
        assert_eq!(content(&opened, "abc").unwrap(), vec![120; 7], "{}", fields.escape_ascii());
    }
    // A file with an unreadable compression field is refused, as its bytes would be wrong.
    let opened = open(disc(2048, &own, &[record(b"ABC.;1", 30, 7, 0, &named(b"", b"ZF\x08\x01pz\x04\x0F"))]));
    assert!(content(&opened, "abc").is_err());
}

#[test]
fn truncates_name_that_is_too_long() {
    let own = [b"SP\x07\x01\xBE\xEF\0".as_slice(), b"RR\x05\x01\x81"].concat();
    let chunk = [b"NM\x96\x01\x01".as_slice(), &[b'n'; 145]].concat();
    let number = |number: u32| [number.to_le_bytes(), number.to_be_bytes()].concat();
    let field = [chunk.clone(), b"CE\x1C\x01".to_vec(), number(50), number(0), number(150)].concat();
    let mut bytes = disc(2048, &own, &[record(b"LONG", 30, 10, 0, &field)]);
    bytes[50 * 2048..50 * 2048 + 150].copy_from_slice(&[b"NM\x96\x01\0".as_slice(), &[b'o'; 145]].concat());
    let opened = open(bytes);
    assert_eq!(names(&opened.1), ["n".repeat(145)]);
    assert_eq!(content(&opened, &"n".repeat(145)).unwrap(), vec![120; 10]);
}

#[test]
fn loses_only_the_sector_of_an_invalid_record() {
    let records: Vec<Vec<u8>> = (0..60_u32).map(|i| record(format!("F{i:028}").as_bytes(), 24, 10, 0, &[])).collect();
    let valid = disc(2048, &[], &records);
    let offset = valid.windows(29).position(|bytes| bytes == format!("F{:028}", 4).as_bytes()).unwrap() - 33;
    for (at, value) in [(32, 0), (32, 200), (0, 20)] {
        let mut bytes = valid.clone();
        bytes[offset + at] = value;
        let iso = open(bytes).1;
        let mut names = Vec::new();
        let reported = iso.read_directory(iso.root(), 0, &mut |entry| {
            names.push(String::from_utf8(entry.name).unwrap());
            ControlFlow::Continue(())
        });
        assert!(matches!(reported, Err(Error::Incomplete(_))), "{reported:?}");
        assert!(names.len() > 30 && names[3] == format!("F{:028}", 3), "{names:?}");
        assert_eq!(names.last().unwrap(), &format!("F{:028}", 59));
        assert!(iso.lookup(iso.root(), names[0].as_bytes()).unwrap().is_some());
        assert!(iso.lookup(iso.root(), b"none").is_err());
    }
}

#[test]
fn escapes_unusable_names() {
    let opened = open(disc(2048, &[], &[record(b"A/B", 30, 5, 0, &[]), record(b"..", 31, 5, 0, &[])]));
    assert_eq!(names(&opened.1), ["A\\x2FB", "\\x2E"]);
    assert_eq!(content(&opened, "A\\x2FB").unwrap(), vec![120; 5]);
}
