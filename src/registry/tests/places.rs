//! What a path that is given for the settings may be.

use super::*;
use crate::error_kind::ErrorKind;
use std::path::Path;

fn load_from(path: impl AsRef<Path>) -> Result<Registry> {
    Registry::load_from(path.as_ref(), &Passwords::default())
}

fn machine_names(registry: &Registry) -> Vec<String> {
    registry.machines.iter().map(|entry| entry.name().into_owned()).collect()
}

/// A registry in `place` that has the machine "vm".
fn put_registry(lab: &Lab, place: &str) {
    let entry = format!("<MachineEntry uuid=\"{{{}}}\" src=\"vm/vm.vbox\"/>", uuid(10));
    let global = lab.global().replace("<MachineRegistry>", &format!("<MachineRegistry>{entry}"));
    lab.write(&format!("{place}/VirtualBox.xml"), global);
    lab.write(&format!("{place}/vm/vm.vbox"), machine(10, "vm", "", ""));
}

#[test]
fn a_home_that_was_copied_has_the_directory_where_its_host_cached_it() {
    for place in [".", ".VirtualBox", ".config/VirtualBox", "Library/VirtualBox"] {
        let lab = Lab::new();
        put_registry(&lab, place);
        let registry = load_from(lab.path("")).unwrap();
        assert_eq!((machine_names(&registry), problems(&registry)), (vec!["vm".to_owned()], Vec::new()), "{place}");
        assert_eq!(registry.directory, location::normalize(&lab.path(place)));
    }
}

#[test]
fn the_file_itself_may_be_given_or_its_copy() {
    let lab = Lab::new();
    put_registry(&lab, ".");
    let registry = load_from(lab.path("VirtualBox.xml")).unwrap();
    assert_eq!((machine_names(&registry), &registry.outdated), (vec!["vm".to_owned()], &vec![]));
    let copy = lab.path("VirtualBox.xml-prev");
    fs::rename(lab.path("VirtualBox.xml"), &copy).unwrap();
    let registry = load_from(&copy).unwrap();
    assert_eq!((machine_names(&registry), &registry.outdated), (vec!["vm".to_owned()], &vec![copy.clone()]));
    // As when the directory is given, where it is a problem too.
    let registry = load_from(lab.path("")).unwrap();
    assert_eq!((registry.outdated, registry.problems.len()), (vec![copy], 1));
    let copy = lab.path("vm/vm.vbox-prev");
    fs::rename(lab.path("vm/vm.vbox"), &copy).unwrap();
    assert_eq!(load_from(&copy).unwrap().outdated, [copy]);
}

#[test]
fn of_a_directory_without_a_registry_all_machines_are_found() {
    let lab = Lab::new();
    lab.write("web/front/front.vbox", machine(10, "front", "", &(media(&disk(1, "a.vdi", "")) + &attached(&[1]))));
    lab.write("back/back.vbox", machine(11, "back", "", &attached(&[1])));
    let encrypted = format!(
        "<VirtualBox version=\"1.19-linux\"><MachineEncrypted uuid=\"{}\" keyId=\"k1\" keyStore=\"AAAA\">AA==\
         </MachineEncrypted></VirtualBox>",
        uuid(12)
    );
    lab.write("vault/vault.vbox", encrypted);
    lab.write("torn/torn.vbox", "");
    lab.write("back/Logs/VBox.log", "");
    std::os::unix::fs::symlink(lab.path(""), lab.path("back/loop")).unwrap();
    let registry = load_from(lab.path("")).unwrap();
    assert_eq!(machine_names(&registry), ["back", "torn", "vault", "front"]);
    assert_eq!((registry.machines[2].uuid, registry.machines[2].key_id()), (uuid(12), Some("k1")));
    // The media of all are one registry.
    assert_eq!(registry.uses_of(registry.media.find(uuid(1)).unwrap()).len(), 2);
    assert_eq!(problems(&registry), [""; 0]);
    let error = registry.machines[1].machine.as_ref().unwrap_err();
    assert!(lab.bare(&message(error)).starts_with("torn/torn.vbox is broken in line 1: "), "{error}");
}

#[test]
fn machines_are_looked_for_eight_directories_deep() {
    let lab = Lab::new();
    // Deeper than it is looked.
    lab.write("1/2/3/4/5/6/7/8/9/deep.vbox", machine(10, "deep", "", ""));
    let error = load_from(lab.path("")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    lab.write("1/2/3/4/5/6/7/8/near.vbox", machine(11, "near", "", ""));
    assert_eq!(machine_names(&load_from(lab.path("")).unwrap()), ["near"]);
}

#[test]
fn what_has_no_settings_is_said() {
    let lab = Lab::new();
    let error = load_from(lab.path("none")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(lab.bare(&message(&error)).starts_with("Cannot find the settings none: No such file"), "{error}");
    lab.write("empty/note.txt", "");
    let error = load_from(lab.path("empty")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        lab.bare(&message(&error)),
        "empty is not known: it has no VirtualBox.xml, nor .vbox files in it or below; give a directory that has with \
         --settings"
    );
    lab.write("disk.vdi", vdi(1, 0));
    assert_eq!(load_from(lab.path("disk.vdi")).unwrap_err().kind(), ErrorKind::Corrupt);
}
