//! The kinds of paths that can be given for the settings.

use super::*;
use crate::error_kind::ErrorKind;
use std::path::Path;

fn load_from(path: impl AsRef<Path>) -> Result<Registry> {
    Registry::load_from(path.as_ref(), &Passwords::default())
}

fn machine_names(registry: &Registry) -> Vec<String> {
    registry.machines.iter().map(|entry| entry.name().into_owned()).collect()
}

/// A registry in `directory` that has the machine "vm".
fn put_registry(lab: &Lab, directory: &str) {
    let entry = format!("<MachineEntry uuid=\"{{{}}}\" src=\"vm/vm.vbox\"/>", uuid(10));
    let global = lab.global().replace("<MachineRegistry>", &format!("<MachineRegistry>{entry}"));
    lab.write(&format!("{directory}/VirtualBox.xml"), global);
    lab.write(&format!("{directory}/vm/vm.vbox"), machine(10, "vm", "", ""));
}

#[test]
fn finds_the_settings_directory_of_a_copied_home() {
    for directory in [".", ".VirtualBox", ".config/VirtualBox", "Library/VirtualBox"] {
        let lab = Lab::new();
        put_registry(&lab, directory);
        let registry = load_from(lab.path("")).unwrap();
        assert_eq!((machine_names(&registry), problems(&registry)), (vec!["vm".to_owned()], Vec::new()), "{directory}");
        assert_eq!(registry.directory, location::normalize(&lab.path(directory)));
    }
}

#[test]
fn accepts_the_settings_file_or_its_copy() {
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
fn finds_all_machines_in_a_directory_without_registry() {
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
fn searches_eight_levels_for_machines() {
    let lab = Lab::new();
    // Below the depth of the search.
    lab.write("1/2/3/4/5/6/7/8/9/deep.vbox", machine(10, "deep", "", ""));
    let error = load_from(lab.path("")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    lab.write("1/2/3/4/5/6/7/8/near.vbox", machine(11, "near", "", ""));
    assert_eq!(machine_names(&load_from(lab.path("")).unwrap()), ["near"]);
}

#[test]
fn reports_a_path_without_settings() {
    let lab = Lab::new();
    let error = load_from(lab.path("none")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(lab.bare(&message(&error)).starts_with("Cannot find the settings none: No such file"), "{error}");
    lab.write("empty/note.txt", "");
    let error = load_from(lab.path("empty")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        lab.bare(&message(&error)),
        "empty is not known: it has no VirtualBox.xml, nor .vbox files, nor disk images in it or below; give a \
         directory that has with --settings"
    );
    lab.write("disk.vdi", vdi(1, 0));
    assert_eq!(load_from(lab.path("disk.vdi")).unwrap_err().kind(), ErrorKind::Corrupt);
}

/// A home with a registry that names its machine "vm" at an absolute path of the live host.
fn put_home(lab: &Lab, home: &str, live: &str, n: u128) {
    let entry = format!("<MachineEntry uuid=\"{{{}}}\" src=\"{live}/VMs/vm/vm.vbox\"/>", uuid(n));
    let global = lab.global().replace("<MachineRegistry>", &format!("<MachineRegistry>{entry}"));
    let disk = disk(n + 1, &format!("{live}/VMs/vm/vm.vdi"), "");
    lab.write(
        &format!("{home}/.config/VirtualBox/VirtualBox.xml"),
        global.replace("</Global>", &(media(&disk) + "</Global>")),
    );
    lab.write(&format!("{home}/VMs/vm/vm.vbox"), machine(n, "vm", "", &attached(&[n + 1])));
    lab.write(&format!("{home}/VMs/vm/vm.vdi"), vdi(n + 1, 0));
}

fn machine_paths(lab: &Lab, registry: &Registry) -> Vec<String> {
    registry.machines.iter().map(|entry| lab.bare(&entry.path.display().to_string())).collect()
}

fn medium_paths(lab: &Lab, registry: &Registry) -> Vec<String> {
    registry.media.iter().map(|(_, medium)| lab.bare(&medium.location.display().to_string())).collect()
}

#[test]
fn reads_the_registry_of_each_home_in_a_directory() {
    let lab = Lab::new();
    put_home(&lab, "ann", "/gone/ann", 10);
    put_home(&lab, "deep/bob", "/gone/bob", 20);
    lab.write("stray/stray.vbox", machine(30, "stray", "", ""));
    let registry = load_from(lab.path("")).unwrap();
    // The media are registered by the homes, not by the machines.
    let expected = ["ann/VMs/vm/vm.vdi", "deep/bob/VMs/vm/vm.vdi"];
    assert_eq!(medium_paths(&lab, &registry), expected);
    let expected = ["ann/VMs/vm/vm.vbox", "deep/bob/VMs/vm/vm.vbox", "stray/stray.vbox"];
    assert_eq!(machine_paths(&lab, &registry), expected);
    let found = problems(&registry);
    assert!(found.iter().all(|problem| problem.contains("/gone/")), "{found:?}");
}

#[test]
fn each_home_has_its_own_copy_of_a_machine() {
    let lab = Lab::new();
    let live = lab.path("ann");
    for home in ["ann", "bob"] {
        put_home(&lab, home, live.to_str().unwrap(), 10);
    }
    let registry = load_from(lab.path("")).unwrap();
    assert_eq!(machine_paths(&lab, &registry), ["ann/VMs/vm/vm.vbox", "bob/VMs/vm/vm.vbox"]);
    assert_eq!(medium_paths(&lab, &registry), ["ann/VMs/vm/vm.vdi", "bob/VMs/vm/vm.vdi"]);
    // What a home does not have is that of the other.
    fs::remove_dir_all(lab.path("bob/VMs")).unwrap();
    let registry = load_from(lab.path("")).unwrap();
    assert_eq!(machine_paths(&lab, &registry), ["ann/VMs/vm/vm.vbox"]);
    assert_eq!(medium_paths(&lab, &registry), ["ann/VMs/vm/vm.vdi"]);
}

#[test]
fn lists_a_machine_of_a_home_once_when_only_its_copy_is_left() {
    let lab = Lab::new();
    put_home(&lab, "ann", "/gone/ann", 10);
    fs::rename(lab.path("ann/VMs/vm/vm.vbox"), lab.path("ann/VMs/vm/vm.vbox-prev")).unwrap();
    assert_eq!(machine_paths(&lab, &load_from(lab.path("")).unwrap()), ["ann/VMs/vm/vm.vbox"]);
}

#[test]
fn reports_the_home_whose_registry_cannot_be_read() {
    let lab = Lab::new();
    put_home(&lab, "ann", "/gone/ann", 10);
    let torn = lab.write("bob/.VirtualBox/VirtualBox.xml", "<Virtual");
    let registry = load_from(lab.path("")).unwrap();
    assert_eq!(machine_names(&registry), ["vm"]);
    assert!(problems(&registry).iter().any(|problem| problem.contains(torn.to_str().unwrap())));
    fs::remove_dir_all(lab.path("ann")).unwrap();
    assert_eq!(load_from(lab.path("")).unwrap_err().kind(), ErrorKind::Corrupt);
}
