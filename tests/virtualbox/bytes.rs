//! The bytes of every medium.

use crate::common::Fixture;
use crate::scene::{Mount, Printed};
use crate::support::sha256_of;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// The medium that the real program refuses because it has no partition table.
const HUGE: &str = "a931f7a4-54f9-4a19-b1c2-43ccdc72add7";
/// The medium whose file is gone.
const LOST: &str = "5adc5b05-5b61-4926-a796-5236d616b679";

#[test]
fn reads_the_bytes_that_the_real_program_showed() {
    let fixture = Fixture::registry();
    let mut compared = 0;
    for medium in fixture.expected_media() {
        let Some(disk) = medium.disk else { continue };
        let mount = Mount::new(fixture.program().args(["-i", &medium.uuid])).unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(std::fs::metadata(mount.file("vhdd")).unwrap().len(), disk.size, "{}", medium.uuid);
        assert_eq!(sha256_of(&mount.file("vhdd")), disk.sha256, "{}", medium.uuid);
        mount.unmount();
        compared += 1;
    }
    assert_eq!(compared, 25);
}

#[test]
fn a_disk_without_partition_table_is_mounted_and_copied_sparsely() {
    let fixture = Fixture::registry();
    let mount = Mount::new(fixture.program().args(["--image", HUGE])).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(std::fs::metadata(mount.file("vhdd")).unwrap().len(), 2 << 40);
    let mut names: Vec<_> = std::fs::read_dir(mount.file("")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["huge.vdi", "vhdd"]);
    let copy = fixture.root().join("copy");
    let done = Command::new("cp").arg("--sparse=always").arg(mount.file("vhdd")).arg(&copy).status().unwrap();
    assert!(done.success());
    let copy = std::fs::metadata(copy).unwrap();
    assert_eq!((copy.len(), copy.blocks()), (2 << 40, 0));
    mount.unmount();
}

#[test]
fn a_lost_image_is_named() {
    let fixture = Fixture::registry();
    let Err(Printed { code, out, err }) = Mount::new(fixture.program().args(["-i", LOST])) else {
        panic!("a lost image was mounted")
    };
    let path = fixture.machine_file("lost disk/gone.vdi");
    let expected =
        format!("vboximg-mount: error: Cannot find {}: No such file or directory (os error 2)\n", path.display());
    assert_eq!((code, out.as_str(), err), (Some(3), "", expected));
}

#[test]
fn a_snapshots_file_is_mounted_by_its_path_too() {
    let fixture = Fixture::registry();
    let expected = fixture.expected_media().into_iter().find(|m| m.uuid.starts_with("84f9a618")).unwrap().disk.unwrap();
    let machine = fixture.machine_file("alpine tree");
    let path = "Snapshots/{84f9a618-d725-458c-abef-1e3187cd1d2a}.vdi";
    // By the registry, and, where there is none, by the headers of the files next to it.
    for home in [fixture.home(), fixture.root().join("expected")] {
        let mut command = fixture.program();
        command.env("VBOX_USER_HOME", home).current_dir(&machine).arg(format!("--image={path}"));
        let mount = Mount::new(&mut command).unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(sha256_of(&mount.file("vhdd")), expected.sha256);
        let link = std::fs::read_link(mount.file("{84f9a618-d725-458c-abef-1e3187cd1d2a}.vdi")).unwrap();
        assert_eq!(link, machine.join(path));
        mount.unmount();
    }
}
