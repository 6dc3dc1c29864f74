//! One thing broken at a time, and the exact error.

use super::*;

fn broken(line: usize, expected: &str, found: &str) -> ParseError {
    ParseError::Broken { line, expected: expected.to_owned(), found: found.to_owned() }
}

/// What is replaced by what, and the line, the expected and the found of the error.
type Case = (&'static str, &'static str, usize, &'static str, &'static str);

fn assert_each(good: &str, cases: &[Case], parse: impl Fn(&[u8]) -> Option<ParseError>) {
    assert_eq!(parse(good.as_bytes()), None);
    for (from, to, line, expected, found) in cases {
        let error = parse(change(good, from, to).as_bytes());
        assert_eq!(error, Some(broken(*line, expected, found)), "{to}");
    }
}

/// Replaces the first `from`, which must be there.
fn change(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

#[test]
fn each_broken_attribute_of_a_machine_is_named() {
    const GOOD: &str = include_str!("samples/1.19-machine.vbox");
    const SNAPSHOT: &str = r#"<Snapshot uuid="{0ae2d2a6-0e6c-4d2e-9c1b-000000000226}""#;
    const IMAGE: &str = r#"<Image uuid="{0ae2d2a6-0e6c-4d2e-9c1b-000000000223}"/>"#;
    #[rustfmt::skip] // One case a line.
    const CASES: &[Case] = &[
        (r#"uuid="{0ae2d2a6-0e6c-4d2e-9c1b-000000000221}" "#, "", 3, "the attribute Machine/@uuid", "none"),
        (r#"<Machine uuid="{0ae2"#, r#"<Machine uuid="{xae2"#, 3, "a UUID in Machine/@uuid", r#""{xae2d2a6-0e6c-4d2e-9c1b-000000000221}""#),
        (r#" name="bookworm""#, "", 3, "the attribute Machine/@name", "none"),
        (r#"currentSnapshot="{0ae2d2a6-0e6c-4d2e-9c1b-000000000226}""#, r#"currentSnapshot="two""#, 3, "a UUID in Machine/@currentSnapshot", r#""two""#),
        (r#"currentStateModified="false""#, r#"currentStateModified="maybe""#, 3, "true or false in Machine/@currentStateModified", r#""maybe""#),
        ("<Machine ", r#"<Machine aborted="2" "#, 3, "true or false in Machine/@aborted", r#""2""#),
        (r#"<HardDisk uuid="{0ae2d2a6-0e6c-4d2e-9c1b-000000000223}""#, r#"<HardDisk uuid="{00000000-0000-0000-0000-000000000000}""#, 7, "a UUID in HardDisk/@uuid", r#""{00000000-0000-0000-0000-000000000000}""#),
        (r#"<HardDisk uuid="{0ae2d2a6-0e6c-4d2e-9c1b-000000000224}""#, "<HardDisk", 8, "the attribute HardDisk/@uuid", "none"),
        (r#" location="bookworm.vdi""#, "", 6, "the attribute HardDisk/@location", "none"),
        (r#" format="VDI""#, "", 6, "the attribute HardDisk/@format", "none"),
        (r#"type="Normal""#, r#"type="Odd""#, 6, "Normal, Immutable, Writethrough, Shareable, Readonly or MultiAttach in HardDisk/@type", r#""Odd""#),
        (r#"type="Normal""#, r#"autoReset="on""#, 6, "true or false in HardDisk/@autoReset", r#""on""#),
        (r#"type="Normal">"#, r#"type="Normal"><Property name="a"/>"#, 6, "the attribute Property/@value", "none"),
        (SNAPSHOT, "<Snapshot", 25, "the attribute Snapshot/@uuid", "none"),
        (SNAPSHOT, r#"<Snapshot uuid="{0ae2d2a6}""#, 25, "a UUID in Snapshot/@uuid", r#""{0ae2d2a6}""#),
        (r#" name="left""#, "", 25, "the attribute Snapshot/@name", "none"),
        (r#"<StorageController name="VirtIO" "#, "<StorageController ", 17, "the attribute StorageController/@name", "none"),
        (r#" type="VirtioSCSI""#, "", 17, "the attribute StorageController/@type", "none"),
        (r#"port="0""#, r#"port="-1""#, 18, "a number in AttachedDevice/@port", r#""-1""#),
        (r#"port="0""#, r#"port="4294967296""#, 18, "a number in AttachedDevice/@port", r#""4294967296""#),
        (r#" device="0""#, "", 18, "the attribute AttachedDevice/@device", "none"),
        (IMAGE, "<Image/>", 31, "the attribute Image/@uuid", "none"),
        (IMAGE, r#"<Image uuid="&#x41;"/>"#, 31, "a UUID in Image/@uuid", r#""A""#),
        (r#"device="0"/>"#, r#"device="0"><HostDrive/></AttachedDevice>"#, 53, "the attribute HostDrive/@src", "none"),
        ("</Hardware>\n  </Machine>", "</Hardware><Groups><Group/></Groups>\n  </Machine>", 56, "the attribute Group/@name", "none"),
        (r#" version="1.19-linux""#, "", 2, "the attribute VirtualBox/@version", "none"),
        ("1.19-linux", "new", 2, "a settings version such as 1.19-linux in VirtualBox/@version", r#""new""#),
    ];
    assert_each(GOOD, CASES, |bytes| parse_machine(bytes).err());
}

#[test]
fn each_broken_attribute_of_old_files_is_named() {
    const GOOD: &str = include_str!("samples/1.3-machine.xml");
    #[rustfmt::skip] // One case a line.
    const CASES: &[Case] = &[
        (r#"bus="SATA""#, r#"bus="PATA""#, 38, "IDE, SATA or SCSI in HardDiskAttachment/@bus", r#""PATA""#),
        (r#"bus="SATA""#, "", 38, "the attribute HardDiskAttachment/@bus", "none"),
        (r#"channel="1""#, r#"channel="one""#, 38, "a number in HardDiskAttachment/@channel", r#""one""#),
        (r#"<FloppyDrive enabled="false"/>"#, r#"<FloppyDrive enabled="sure"/>"#, 14, "true or false in FloppyDrive/@enabled", r#""sure""#),
    ];
    assert_each(GOOD, CASES, |bytes| parse_machine(bytes).err());
    const OLDEST: &str = include_str!("samples/1.2-machine.xml");
    #[rustfmt::skip] // One case a line.
    const OLDEST_CASES: &[Case] = &[
        (r#"device="slave""#, r#"device="2""#, 29, "master or slave in HardDiskAttachment/@device", r#""2""#),
        ("hardDisk=", "harddisk=", 12, "the attribute HardDiskAttachment/@hardDisk", "none"),
    ];
    assert_each(OLDEST, OLDEST_CASES, |bytes| parse_machine(bytes).err());
}

#[test]
fn each_broken_attribute_of_the_global_file_is_named() {
    const GOOD: &str = include_str!("samples/1.3-global.xml");
    #[rustfmt::skip] // One case a line.
    const CASES: &[Case] = &[
        (r#" src="Machines/etch.xml""#, "", 6, "the attribute MachineEntry/@src", "none"),
        (r#"MachineEntry uuid="{"#, r#"MachineEntry uuid="["#, 6, "a UUID in MachineEntry/@uuid", r#""[0ae2d2a6-0e6c-4d2e-9c1b-000000000131}""#),
        (r#"<VMDKImage filePath="/disks/old.vmdk"/>"#, "<VMDKImage/>", 17, "the attribute VMDKImage/@filePath", "none"),
        (r#"<VMDKImage filePath="/disks/old.vmdk"/>"#, "", 16, "the attribute HardDisk/@location", "none"),
        (r#" src="/iso/netinst.iso""#, "", 30, "the attribute Image/@location", "none"),
    ];
    assert_each(GOOD, CASES, |bytes| parse_global(bytes).err());
}

#[test]
fn what_is_not_well_formed_is_named() {
    const GOOD: &str = include_str!("samples/1.21-machine.vbox");
    #[rustfmt::skip] // One case a line.
    const CASES: &[Case] = &[
        ("</HardDisks>", "</HardDisk>", 7, "well-formed XML", "ill-formed document: expected `</HardDisks>`, but `</HardDisk>` was found"),
        ("</VirtualBox>", "", 24, "the end of the element that begins in line 2", "the end of the file"),
        ("</VirtualBox>", "</VirtualBox><VirtualBox>", 23, "the end of the file", "<VirtualBox>"),
        ("<VirtualBox ", "<Other ", 2, "the root element VirtualBox", "<Other>"),
        (r#"name="trixie""#, "name=trixie", 3, "well-formed attributes of Machine", "position 59: attribute value must be enclosed in `\"` or `'`"),
        (r#"name="trixie""#, r#"name="a" name="b""#, 3, "one Machine/@name", "two"),
        (r#"name="trixie""#, r#"name="&euro;""#, 3, "well-formed attributes of Machine", "at 1..5: unrecognized entity `euro`"),
        ("<MediaRegistry>", "<Description>&euro;</Description><MediaRegistry>", 4, "one of the five entities of XML", "&euro;"),
        ("<MediaRegistry>", "<Description>&#0;</Description><MediaRegistry>", 4, "a character reference", "invalid character reference: 0x0 character is not permitted in XML"),
        ("<Machine ", "<Machine/><Machine ", 3, "the attribute Machine/@uuid", "none"),
    ];
    assert_each(GOOD, CASES, |bytes| parse_machine(bytes).err());
}

#[test]
fn files_of_another_kind_are_named() {
    let machine = include_bytes!("samples/1.21-machine.vbox");
    let global = include_bytes!("samples/1.6-global.xml");
    assert_eq!(parse_global(machine).unwrap_err(), broken(1, "a Global element, as VirtualBox.xml has", "none"));
    assert_eq!(parse_machine(global).unwrap_err(), broken(1, "a Machine element", "none"));
    assert_eq!(
        parse_machine(b"<?xml version=\"1.0\"?>\n<html></html>").unwrap_err(),
        broken(2, "the root element VirtualBox", "<html>")
    );
    assert_eq!(
        parse_machine(b"<VirtualBox xmlns=\"urn:other\" version=\"1.19-linux\"/>").unwrap_err(),
        broken(1, "the namespace http://www.virtualbox.org/ of the root element", "<VirtualBox>")
    );
    for empty in [&b""[..], b"\n\n"] {
        let error = parse_machine(empty).unwrap_err();
        assert_eq!(error, broken(1 + empty.len(), "the root element VirtualBox", "the end of the file"));
    }
    let two = include_str!("samples/1.21-machine.vbox")
        .replace("</VirtualBox>", r#"<Machine uuid="{0ae2d2a6-0e6c-4d2e-9c1b-000000000242}" name="b"/></VirtualBox>"#);
    assert_eq!(parse_machine(two.as_bytes()).unwrap_err(), broken(23, "one Machine element", "two"));
}

#[test]
fn reads_a_machine_in_other_encodings() {
    let text = include_str!("samples/1.21-machine.vbox").replace("trixie", "Jürgen");
    let latin = change(&text, r#"version="1.0""#, r#"version="1.0" encoding="ISO-8859-1""#);
    let latin: Vec<u8> = latin.chars().map(|c| u8::try_from(c).unwrap()).collect();
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [latin, utf16] {
        assert_eq!(parse_machine(&bytes).unwrap().machine.name, "Jürgen");
    }
}

#[test]
fn other_versions_are_unsupported() {
    let ancient = change(include_str!("samples/1.21-machine.vbox"), "1.21-macosx", "1.1-linux");
    let reason =
        "its settings version 1.1-linux is older than 1.2; open it once with VirtualBox 1.5 to 3.0, which converts it";
    assert_eq!(parse_machine(ancient.as_bytes()).unwrap_err(), ParseError::Unsupported(reason.to_owned()));
}

#[test]
fn an_encrypted_machine_says_its_key() {
    let text = "<VirtualBox xmlns=\"http://www.virtualbox.org/\" version=\"1.19-linux\">\n\
                <MachineEncrypted uuid=\"{0ae2d2a6-0e6c-4d2e-9c1b-000000000241}\" keyId=\"vault\" keyStore=\"U0NO\">AAAA\
                </MachineEncrypted></VirtualBox>";
    assert!(
        matches!(parse_machine(text.as_bytes()), Err(ParseError::Encrypted(encrypted)) if encrypted.key_id == "vault")
    );
    assert_eq!(
        parse_machine(change(text, " keyId=\"vault\"", "").as_bytes()).unwrap_err(),
        broken(2, "the attribute MachineEncrypted/@keyId", "none")
    );
}

#[test]
fn a_current_snapshot_that_is_none_of_the_snapshots_is_a_problem_but_no_error() {
    let text = include_str!("samples/1.19-machine.vbox");
    let expected = "the UUID of one of the machine's snapshots in Machine/@currentSnapshot";
    let other = change(text, "currentSnapshot=\"{0ae2d2a6-0e6c-4d2e-9c1b-000000000226}\"", "");
    let parsed = parse_machine(other.as_bytes()).unwrap();
    assert_eq!(parsed.machine.current_snapshot, None);
    assert_eq!(parsed.problems, [broken(3, expected, "none")]);
    let other = change(text, "000000000226}\" snapshotFolder", "000000000299}\" snapshotFolder");
    let parsed = parse_machine(other.as_bytes()).unwrap();
    assert_eq!(parsed.machine.snapshots.len(), 3);
    assert_eq!(parsed.problems, [broken(3, expected, "0ae2d2a6-0e6c-4d2e-9c1b-000000000299")]);
}

#[test]
fn a_long_wrong_value_is_cut() {
    let text = include_str!("samples/1.21-machine.vbox");
    let long = "ü".repeat(100_000);
    let error = parse_machine(change(text, "{0ae2d2a6-0e6c-4d2e-9c1b-000000000241}", &long).as_bytes()).unwrap_err();
    let ParseError::Broken { found, .. } = error else { panic!("{error:?}") };
    assert_eq!(found, format!("\"{}...\"", "ü".repeat(80)));
}
