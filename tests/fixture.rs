//! The fixture is whole, so that tests that go through its lists test all of it.

mod common;

use common::Fixture;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

#[test]
fn every_hard_disk_has_its_expectation() {
    let fixture = Fixture::registry();
    let media = fixture.expected_media();
    let hdds = fixture.expected("hdds.txt");
    let listed: BTreeSet<&str> = hdds.lines().filter_map(|line| line.strip_prefix("UUID:")).map(str::trim).collect();
    assert_eq!(media.iter().map(|medium| medium.uuid.as_str()).collect::<BTreeSet<_>>(), listed);
    assert_eq!(media.len(), 27);
    for medium in media {
        let (other, hash) = match &medium.disk {
            Some(disk) => (format!("volumes.{}.txt", medium.uuid), disk.sha256.len()),
            None => (format!("err.{}", medium.uuid), 64),
        };
        assert_ne!(fixture.expected(&other), "", "{other}");
        assert_eq!(hash, 64, "{}", medium.uuid);
    }
}

#[test]
fn expected_paths_are_those_of_this_copy() {
    let fixture = Fixture::registry();
    let hdds = fixture.expected("hdds.txt");
    let locations = hdds.lines().filter_map(|line| line.strip_prefix("Location:"));
    let missing: Vec<&str> = locations.map(str::trim).filter(|path| fs::metadata(path).is_err()).collect();
    assert_eq!(missing, [fixture.machine_file("lost disk/gone.vdi").to_str().unwrap()]);
}

#[test]
fn sparse_files_stay_sparse() {
    let fixture = Fixture::registry();
    let flat = fs::metadata(fixture.machine_file("esx import/flat-flat.vmdk")).unwrap();
    assert_eq!(flat.len(), 12 << 20);
    assert!(flat.blocks() * 512 < flat.len() / 2, "{} blocks", flat.blocks());
}
