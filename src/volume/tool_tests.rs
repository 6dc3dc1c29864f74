//! Partition tables made by real tools, and what sfdisk reads from them; `tests/fixtures/partitions/make.sh`.

use super::test_disk::TestDisk;
use super::{Scheme, gpt_types, read_table, type_names};
use std::path::Path;
use uuid::Uuid;

/// A fixture: a disk and the output of sfdisk for it.
#[derive(Clone)]
struct Fixture {
    name: String,
    disk: TestDisk,
    sector_size: u64,
    /// Number, first sector, sectors, type, bootable, label.
    volumes: Vec<(u32, u64, u64, String, bool, String)>,
}

impl Fixture {
    fn parse(name: String, text: &str) -> Self {
        let mut disk = TestDisk::new(0, 512);
        let (mut sector_size, mut volumes) = (0, Vec::new());
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap();
            let fields: Vec<&str> = rest.splitn(6, ' ').collect();
            match word {
                "made" => {}
                "disk" => {
                    sector_size = fields[1].parse().unwrap();
                    disk = TestDisk::new(fields[0].parse().unwrap(), u32::try_from(sector_size).unwrap());
                }
                "volume" => volumes.push((
                    fields[0].parse().unwrap(),
                    fields[1].parse().unwrap(),
                    fields[2].parse().unwrap(),
                    fields[3].to_owned(),
                    fields[4] == "*",
                    fields.get(5).unwrap_or(&"").to_string(),
                )),
                offset => {
                    let offset = u64::from_str_radix(offset.trim_end_matches(':'), 16).unwrap();
                    let bytes = u128::from_str_radix(rest, 16).unwrap().to_be_bytes();
                    disk.put(offset, &bytes);
                }
            }
        }
        Self { name, disk, sector_size, volumes }
    }

    /// The output of sfdisk converted to volumes, without containers.
    fn expected(&self) -> Vec<(u32, u64, u64, String, String, bool)> {
        let volumes = self.volumes.iter().filter(|v| !matches!(v.3.as_str(), "5" | "f" | "85"));
        volumes
            .map(|(number, first, count, kind, bootable, name)| {
                let type_name = match kind.parse::<Uuid>() {
                    Ok(uuid) => gpt_types::name(uuid),
                    Err(_) => type_names::mbr(u8::from_str_radix(kind, 16).unwrap()),
                };
                (
                    *number,
                    first * self.sector_size,
                    count * self.sector_size,
                    type_name.to_owned(),
                    name.clone(),
                    *bootable,
                )
            })
            .collect()
    }
}

fn fixtures() -> Vec<Fixture> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/partitions");
    let mut fixtures = Vec::new();
    for entry in directory.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "txt") {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            fixtures.push(Fixture::parse(name, &std::fs::read_to_string(path).unwrap()));
        }
    }
    assert_eq!(fixtures.len(), 16, "fixtures in {}", directory.display());
    fixtures
}

#[test]
fn volumes_are_those_that_sfdisk_finds() {
    for fixture in fixtures() {
        let name = &fixture.name;
        let table = read_table(&fixture.disk).unwrap();
        let scheme = match name.split('-').next().unwrap() {
            "gpt" => Scheme::Gpt,
            "mbr" => Scheme::Mbr,
            _ => Scheme::None,
        };
        assert_eq!(table.scheme, scheme, "{name}");
        assert_eq!(table.notes, Vec::<String>::new(), "{name}");
        let found: Vec<_> = table
            .volumes
            .into_iter()
            .map(|v| (v.linux_number, v.offset, v.size, v.type_name.into_owned(), v.name, v.bootable))
            .collect();
        assert_eq!(found, fixture.expected(), "{name}");
    }
}

#[test]
fn disks_of_a_wrong_sector_size_still_have_their_gpt() {
    for fixture in fixtures().into_iter().filter(|f| f.name.starts_with("gpt")) {
        for sector_size in [512, 2048, 4096] {
            let table = read_table(&fixture.disk.clone().with_sector_size(sector_size)).unwrap();
            assert_eq!(u64::from(table.sector_size), fixture.sector_size, "{}", fixture.name);
            assert_eq!(table.volumes.len(), fixture.volumes.len(), "{}", fixture.name);
        }
    }
}

#[test]
fn a_backup_gpt_is_used_when_the_primary_is_corrupt() {
    for mut fixture in fixtures().into_iter().filter(|f| f.name.starts_with("gpt")) {
        let name = &fixture.name;
        // The first byte of the disk's GUID, which the header's checksum covers.
        fixture.disk.corrupt(fixture.sector_size + 56);
        let table = read_table(&fixture.disk).unwrap();
        assert_eq!(table.volumes.len(), fixture.volumes.len(), "{name}");
        assert!(table.notes[0].starts_with("The primary GPT is corrupt (GPT HeaderCRC32 at offset "), "{name}");
        assert_eq!(table.notes.len(), 1, "{name}");
    }
}

#[test]
fn a_wiped_start_leaves_the_backup_which_the_protective_entry_leads_to() {
    for mut fixture in fixtures().into_iter().filter(|f| f.name.starts_with("gpt")) {
        let name = &fixture.name;
        let wiped = vec![0; usize::try_from(fixture.sector_size * 4).unwrap()];
        fixture.disk.put(fixture.sector_size, &wiped);
        let table = read_table(&fixture.disk).unwrap();
        if name == "gpt-hybrid" {
            // Its protective entry covers only the start of the disk, but the backup is at the disk's end.
            assert!(table.notes[0].contains("its backup at sector 65535 was used"), "{:?}", table.notes);
        }
        assert_eq!(table.volumes.len(), fixture.volumes.len(), "{name}: {:?}", table.notes);
    }
}

proptest::proptest! {
    #[test]
    fn no_corrupt_leads_out_of_the_disk(
        which in 0_usize..16,
        corrupt in proptest::collection::vec((0_u64..8192, proptest::num::u8::ANY), 1..20),
    ) {
        let mut fixture = fixtures().swap_remove(which);
        for (offset, byte) in corrupt {
            fixture.disk.put(offset, &[byte]);
        }
        let size = crate::disk::Disk::size(&fixture.disk);
        for volume in read_table(&fixture.disk).unwrap().volumes {
            let end = volume.offset.checked_add(volume.size);
            assert!(volume.size == 0 || end.is_some_and(|end| end <= size), "{volume:?}");
        }
    }
}
