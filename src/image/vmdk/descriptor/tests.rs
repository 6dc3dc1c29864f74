//! Descriptors as they are found in the wild.

use super::*;

fn parse(text: &str) -> Descriptor {
    Descriptor::parse(text.as_bytes(), 0).unwrap_or_else(|cause| panic!("{cause}"))
}

const VMWARE: &str = "# Disk DescriptorFile\r\nversion=1\r\nencoding=\"windows-1252\"\r\nCID=d9c73e0a\r\n\
parentCID=5ad259c6\r\nisNativeSnapshot=\"no\"\r\ncreateType=\"twoGbMaxExtentSparse\"\r\n\
parentFileNameHint=\"C:\\VMs\\disk one.vmdk\"\r\n# Extent description\r\nRW 4192256 SPARSE \"disk one-s001.vmdk\"\r\n\
RW 4096 SPARSE \"disk one-s002.vmdk\"\r\n\r\n# The Disk Data Base \r\n#DDB\r\n\r\n\
ddb.longContentID = \"29441754bee7ae3d9cc80a26d9c73e0a\"\r\n\
ddb.uuid = \"60 00 C2 99 9a f1 b9 ac-7c d0 d8 7b 97 aa 4c ab\"\r\n";

#[test]
fn vmwares_own() {
    let descriptor = parse(VMWARE);
    assert_eq!(descriptor.cid.as_ref().map(|cid| cid.value), Some(0xD9C7_3E0A));
    assert_eq!(descriptor.parent_cid, Some(0x5AD2_59C6));
    assert_eq!(descriptor.parent_hint.as_ref().unwrap().candidates(), ["C:\\VMs\\disk one.vmdk"]);
    assert_eq!(descriptor.create_type, "twoGbMaxExtentSparse");
    let names: Vec<_> =
        descriptor.extents.iter().flat_map(|extent| extent.name.as_ref().unwrap().candidates()).collect();
    assert_eq!(names, ["disk one-s001.vmdk", "disk one-s002.vmdk"]);
    assert_eq!(descriptor.size(0), Ok((4_192_256 + 4096) * 512));
    assert_eq!(descriptor.uuid, None, "ddb.uuid is another kind of identity");
}

#[test]
fn any_order_case_and_space() {
    let text = "\n  #disk descriptor FILE\n\n ddb.Comment = \"one\\ntwo\\\\three\" \n\tRW  8\tflat  \"a b.img\"   7 \n\
                DDB.UUID.IMAGE={00000000-0000-0000-0000-000000000009}\rcid = aB\nVERSION = 3\ncreatetype=custom\n\
                noaccess 4 Zero\nParentCid=ffffffff\nparentfilenamehint=\"\"\nCID=1\n\0garbage";
    let descriptor = parse(text);
    assert_eq!(descriptor.version, 3);
    assert_eq!(descriptor.comment, "one\ntwo\\three");
    assert_eq!(descriptor.uuid, Some(Uuid::from_u128(9)));
    assert_eq!(descriptor.cid.as_ref().map(|cid| cid.value), Some(0xAB), "the first one counts");
    assert!(!descriptor.has_parent() && descriptor.parent_hint.is_none());
    assert_eq!(descriptor.create_type, "custom");
    let flat = &descriptor.extents[0];
    assert_eq!((flat.access, flat.sectors, flat.kind, flat.offset), (Access::ReadWrite, 8, ExtentKind::Flat, 7));
    let zero = &descriptor.extents[1];
    assert_eq!((zero.access, zero.sectors, zero.kind, &zero.name), (Access::None, 4, ExtentKind::Zero, &None));
}

#[test]
fn malformed_names_are_cached() {
    for (written, name, offset) in [
        ("\"q\"x é-flat.vmdk\" 0", "q\"x é-flat.vmdk", 0),
        ("\"a\" 5", "a", 5),
        ("\"a\"", "a", 0),
        ("\"a\" 0.vmdk\" 9", "a\" 0.vmdk", 9),
        ("\"with \\\"marks\\\".vmdk\" 0", "with \"marks\".vmdk", 0),
        ("\"\\\\.\\PhysicalDrive0\" 63 partitionUUID \"x y\"", "\\\\.\\PhysicalDrive0", 63),
    ] {
        let extent = parse(&format!("version=1\nRW 8 FLAT {written}\n")).extents.remove(0);
        assert_eq!((&*extent.name.unwrap().candidates(), extent.offset), (&[name.into()][..], offset), "{written}");
    }
}

#[test]
fn names_and_comment_are_in_the_declared_encoding() {
    let bytes = |encoding: &str| {
        let mut text =
            b"version=1\nparentFileNameHint=\"p\xFCr\"\nRW 8 FLAT \"f\xFCr\" 0\nddb.comment = \"k\xFCr\"\n".to_vec();
        // It may come last as well.
        text.extend(encoding.as_bytes());
        text
    };
    let parse = |encoding: &str| Descriptor::parse(&bytes(encoding), 0).unwrap();
    let declared = parse("encoding=\"windows-1252\"");
    assert_eq!(format!("{:?} {:?}", declared.extents[0].name, declared.parent_hint), "Some(\"für\") Some(\"pür\")");
    assert_eq!(declared.comment, "kür");
    let unknown = parse("");
    assert_eq!(format!("{:?}", unknown.extents[0].name), "Some(\"f\\xfcr\")");
    assert_eq!(unknown.comment, "k\u{FFFD}r");
}

#[test]
fn empty_extents_are_no_part_of_the_disk() {
    let descriptor = parse("version=1\nRW 0 ZERO\nRW 8 ZERO\nRW 0 FLAT \"/dev/gone\" 0\n");
    assert_eq!((descriptor.extents.len(), descriptor.size(0)), (1, Ok(4096)));
    assert!(parse("version=1\nRW 0 ZERO\n").size(0).is_err());
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let text = "\u{feff}# Disk DescriptorFile\nversion=1\nCID=1234abcd\nRW 8 ZERO\n";
    assert!(is_descriptor(text.as_bytes()));
    let at = parse(text).cid.unwrap().at;
    assert_eq!(&text.as_bytes()[usize::try_from(at.start).unwrap()..][..8], b"1234abcd");
}

#[test]
fn more_lines_than_any_disk_has_are_refused() {
    let lines = "RW 1 ZERO\n".repeat(MAX_EXTENTS + 1);
    let cause = Descriptor::parse(lines.as_bytes(), 0).unwrap_err();
    assert!(cause.to_string().contains("expected at most 4096 extents and values, found more"), "{cause}");
    let lines: String = (0..=MAX_EXTENTS).map(|i| format!("k{i}=1\n")).collect();
    assert!(Descriptor::parse(lines.as_bytes(), 0).is_err());
}

#[test]
fn descriptors_are_known_by_their_first_lines() {
    for text in [
        "# Disk DescriptorFile\n",
        "# Disk Descriptor File\r\nversion=1",
        "#Disk Descriptor File",
        "#DISK DESCRIPTORFILE\n",
        "# made by hand\n\n  \r\n version = 1\nRW",
        VMWARE,
    ] {
        assert!(is_descriptor(text.as_bytes()), "{text}");
    }
    for text in ["", "# Disk\n", "# a script\necho version=1", "version=x", "versions=1", "\0\0version=1", "KDMV"] {
        assert!(!is_descriptor(text.as_bytes()), "{text}");
    }
}

/// Applies what [`Descriptor::changes`] says.
fn changed(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for (at, new) in Descriptor::parse(text.as_bytes(), 0).unwrap().changes() {
        let at = usize::try_from(at).unwrap();
        bytes[at..at + new.len()].copy_from_slice(&new);
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn changes_are_new_ids_of_the_same_length() {
    let text = VMWARE.replace("#DDB", "ddb.uuid.modification = \"00000000-0000-0000-0000-000000000000\"");
    let (old, new) = (parse(&text), parse(&changed(&text)));
    let (old_cid, new_cid) = (old.cid.unwrap(), new.cid.unwrap());
    assert!(old_cid.value != new_cid.value && old_cid.at == new_cid.at);
    let long = new.long_content_id.unwrap().value;
    assert!(long.ends_with(&format!("{:08x}", new_cid.value)) && !long.starts_with("29441754"));
    assert!(!new.modification.unwrap().value.is_nil());
    assert_eq!((new.parent_cid, new.parent_hint, new.extents), (old.parent_cid, old.parent_hint, old.extents));
    // QEMU writes ids without leading zeros.
    for cid in ["1", "abc", "0000000000000ab"] {
        let text = format!("version=1\nCID={cid}\nparentCID=ffffffff\nRW 1 ZERO\n");
        let new = changed(&text);
        assert!(new.len() == text.len() && new != text, "{new}");
        assert_eq!(parse(&new).extents, parse(&text).extents);
    }
    let text = "version=1\nRW 1 ZERO\nddb.longContentID = \"\"\nddb.uuid.modification=\"\"\n";
    assert_eq!(changed(text), text, "nothing to change");
}
