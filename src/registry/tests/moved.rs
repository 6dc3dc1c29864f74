//! Registries of another host, whose absolute paths do not fit this one.

use super::*;
use crate::crypt::Passwords;

#[test]
fn finds_the_images_of_a_home_in_a_backup_by_uuid() {
    let mut lab = Lab::new();
    lab.entry(10, "/home/joe/VirtualBox VMs/vm/vm.vbox");
    let disks = disk(1, "/home/joe/VirtualBox VMs/vm/base.vdi", &disk(2, "Snapshots/2.vdi", ""));
    lab.write("backup/joe/VirtualBox VMs/vm/vm.vbox", machine(10, "vm", "", &media(&disks)));
    let base = lab.write("backup/joe/VirtualBox VMs/vm/base.vdi", vdi(1, 0));
    lab.write("backup/joe/.config/VirtualBox/VirtualBox.xml", lab.global());
    let registry = Registry::load(&lab.path("backup/joe/.config/VirtualBox"), &Passwords::default()).unwrap();
    let found = lab.path("backup/joe/VirtualBox VMs/vm");
    assert_eq!(registry.machines[0].path, found.join("vm.vbox"));
    assert!(registry.machines[0].machine.is_ok());
    assert_eq!(registry.media.get(MediumId(0)).location, base);
    assert_eq!(registry.media.get(MediumId(1)).location, found.join("Snapshots/2.vdi"));
    assert_eq!(
        problems(&registry).iter().map(|text| lab.bare(text)).collect::<Vec<_>>(),
        [
            "The machine \"vm\" is registered at /home/joe/VirtualBox VMs/vm/vm.vbox, where it is not; \
             backup/joe/VirtualBox VMs/vm/vm.vbox has its UUID and is used"
                .to_owned(),
            format!(
                "The medium {} is registered at /home/joe/VirtualBox VMs/vm/base.vdi, where it is not; \
                 backup/joe/VirtualBox VMs/vm/base.vdi has its UUID and is used",
                uuid(1)
            ),
        ]
    );
}

#[test]
fn finds_the_images_of_a_windows_disk_by_uuid() {
    let mut lab = Lab::new();
    lab.entry(10, r"C:\Users\joe\VMs\vm\vm.vbox");
    lab.write(
        "win/Users/joe/VMs/vm/vm.vbox",
        machine(10, "vm", "", &media(&disk(1, r"C:\Users\joe\VMs\vm\a.vdi", ""))),
    );
    let image = lab.write("win/Users/joe/VMs/vm/a.vdi", vdi(1, 0));
    lab.write("win/Users/joe/.VirtualBox/VirtualBox.xml", lab.global());
    let registry = Registry::load(&lab.path("win/Users/joe/.VirtualBox"), &Passwords::default()).unwrap();
    assert!(registry.machines[0].machine.is_ok());
    assert_eq!(registry.media.get(MediumId(0)).location, image);
    assert_eq!(registry.problems.len(), 2);
}

#[test]
fn a_machine_directory_of_another_name_is_found_only_with_the_right_uuid() {
    let lab = Lab::new();
    let path = lab.write("copy/vm.vbox", machine(10, "vm", "", &media(&disk(1, "/old/vm/a.vdi", ""))));
    let image = lab.write("copy/a.vdi", vdi(7, 0));
    let registry = Registry::load_machine_file(&path, &Passwords::default()).unwrap();
    assert_eq!(registry.media.get(MediumId(0)).location, PathBuf::from("/old/vm/a.vdi"));
    assert_eq!(
        problems(&registry).iter().map(|text| lab.bare(text)).collect::<Vec<_>>(),
        [format!(
            "/old/vm/a.vdi is not there: copy/a.vdi has the same name, but not the UUID {} in its header; give its \
             path if it is the right one",
            uuid(1)
        )]
    );
    fs::write(&image, vdi(1, 0)).unwrap();
    assert_eq!(
        Registry::load_machine_file(&path, &Passwords::default()).unwrap().media.get(MediumId(0)).location,
        image
    );
}

#[test]
fn a_machine_with_another_uuid_is_not_taken_for_the_moved_one() {
    let mut lab = Lab::new();
    lab.entry(10, "/old/vm/vm.vbox");
    lab.write("vm/vm.vbox", machine(11, "vm", "", ""));
    let registry = lab.load_clean();
    assert!(matches!(registry.machines[0].machine, Err(Error::Missing { .. })));
    assert_eq!(registry.machines[0].path, PathBuf::from("/old/vm/vm.vbox"));
}

#[test]
fn a_moved_medium_in_two_files_that_agree_is_one_medium() {
    let mut lab = Lab::new();
    let same = disk(1, "/old/vm/a.vdi", "");
    lab.global_media(&same);
    lab.machine(10, "vm", "", &media(&same));
    lab.write("vm/a.vdi", vdi(1, 0));
    lab.write("a.vdi", vdi(1, 0));
    assert_eq!(lab.load().problems.len(), 1);
}

#[test]
fn uses_existing_paths_unchanged() {
    let mut lab = Lab::new();
    let there = lab.write("far/a.vdi", vdi(1, 0));
    lab.write("vm/a.vdi", vdi(1, 0));
    lab.machine(10, "vm", "", &media(&disk(1, &there.display().to_string(), "")));
    assert_eq!(lab.load_clean().media.get(MediumId(0)).location, there);
}

#[test]
fn refuses_a_windows_path_that_is_not_found() {
    let mut lab = Lab::new();
    lab.machine(10, "vm", "", &media(&disk(1, r"D:\disks\a.vdi", "")));
    let registry = lab.load_clean();
    assert_eq!(registry.media.get(MediumId(0)).location, PathBuf::from(r"D:\disks\a.vdi"));
    let error = registry.chain_of_medium(MediumId(0)).unwrap_err();
    assert_eq!(
        message(&error),
        r"D:\disks\a.vdi is not there: it is a path of the Windows host that registered it; give the path of the image here"
    );
    assert_eq!(error.kind(), crate::error_kind::ErrorKind::NotFound);
}
