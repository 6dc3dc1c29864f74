//! Tests of the parsers: each era's files, each broken attribute, and what a hostile file may hold.

mod broken;
mod eras;
mod hostile;

use super::*;

#[test]
fn uuids_are_read_with_and_without_braces_in_any_case() {
    let uuid = Uuid::from_u128(0x7cbdf0db_13ca_49e9_b300_774c4f7b7bdb);
    for text in [
        "7cbdf0db-13ca-49e9-b300-774c4f7b7bdb",
        "{7cbdf0db-13ca-49e9-b300-774c4f7b7bdb}",
        "{7CBDF0DB-13CA-49E9-B300-774C4F7B7BDB}",
    ] {
        assert_eq!(parse_uuid(text), Some(uuid), "{text}");
    }
    for text in [
        "",
        "{}",
        "7cbdf0db13ca49e9b300774c4f7b7bdb",
        "{7cbdf0db-13ca-49e9-b300-774c4f7b7bdb",
        "7cbdf0db-13ca-49e9-b300-774c4f7b7bdb}",
        "7cbdf0db-13ca-49e9-b300-774c4f7b7bdg",
        "urn:uuid:7cbdf0db-13ca-49e9-b300-774c4f7b7bdb",
    ] {
        assert_eq!(parse_uuid(text), None, "{text}");
    }
}

#[test]
fn versions_are_read_up_to_the_platform() {
    assert_eq!(Version::parse("1.19-linux"), Some(Version { major: 1, minor: 19 }));
    assert_eq!(Version::parse("1.3.pre-windows"), Some(Version { major: 1, minor: 3 }));
    assert_eq!(Version::parse("1.2"), Some(Version { major: 1, minor: 2 }));
    for text in ["", "1", "1.", "1.x", "x.1", "99999999999.1"] {
        assert_eq!(Version::parse(text), None, "{text}");
    }
    assert!(Version { major: 1, minor: 9 } < Version::MACHINE_DIRECTORIES);
}
