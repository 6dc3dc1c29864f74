//! The copies that VirtualBox leaves of settings files, where the files themselves are lost.

use super::*;
use crate::error_kind::ErrorKind;

fn load_from(path: PathBuf) -> Result<Registry> {
    Registry::load_from(&path, &Passwords::default())
}

/// The names of the machines that could be read, and the copies that were.
fn read(registry: &Registry, lab: &Lab) -> (Vec<String>, Vec<String>) {
    let names = registry.machines.iter().filter(|entry| entry.machine.is_ok()).map(|entry| entry.name().into_owned());
    let copies = registry.outdated.iter().map(|copy| lab.bare(&copy.display().to_string()));
    (names.collect(), copies.collect())
}

/// What a crash leaves of a settings file.
fn lost() -> [(&'static str, Option<Vec<u8>>); 4] {
    let whole = machine(10, "whole", "", "");
    let cut = whole.as_bytes()[..whole.len() - 30].to_vec();
    [("missing", None), ("empty", Some(Vec::new())), ("NULs", Some(vec![0; 2000])), ("cut", Some(cut))]
}

#[test]
fn reads_the_newest_valid_copy_of_a_lost_machine_file_however_it_is_found() {
    for (state, main) in lost() {
        for (copies, newest) in [
            (vec![("-prev", "old")], "-prev"),
            (vec![("-tmp", "new")], "-tmp"),
            (vec![("-prev", "old"), ("-tmp", "new")], "-tmp"),
            (vec![("-prev", "old"), ("-tmp", "")], "-prev"),
        ] {
            let mut lab = Lab::new();
            for (suffix, name) in &copies {
                let text = if name.is_empty() { String::new() } else { machine(10, name, "", "") };
                lab.write(&format!("vms/vm/vm.vbox{suffix}"), text);
            }
            if let Some(main) = &main {
                lab.write("vms/vm/vm.vbox", main);
            }
            let name = copies.iter().find(|(suffix, _)| *suffix == newest).unwrap().1;
            let expected = (vec![name.to_owned()], vec![format!("vms/vm/vm.vbox{newest}")]);
            lab.entry(10, "vms/vm/vm.vbox");
            let registered = lab.load();
            lab.entries.clear();
            lab.entry(10, "/vms/vm/vm.vbox");
            let relocated = lab.load();
            let directory = load_from(lab.path("vms")).unwrap();
            let file = load_from(lab.path("vms/vm/vm.vbox")).unwrap();
            for (way, registry) in
                [("registered", registered), ("relocated", relocated), ("directory", directory), ("file", file)]
            {
                assert_eq!(read(&registry, &lab), expected, "{state}, {way}, {copies:?}");
                assert_eq!(lab.bare(&registry.machines[0].path.display().to_string()), "vms/vm/vm.vbox");
                let reported = problems(&registry).iter().filter(|text| text.contains("is used and may lack")).count();
                assert_eq!(reported, 1, "{:?}", problems(&registry));
            }
        }
    }
}

#[test]
fn prefers_a_valid_file_to_its_copies() {
    let mut lab = Lab::new();
    lab.machine(10, "vm", "", "");
    lab.write("vm/vm.vbox-tmp", machine(10, "new", "", ""));
    lab.write("vm/vm.vbox-prev", machine(10, "old", "", ""));
    assert_eq!(read(&lab.load_clean(), &lab), (vec!["vm".to_owned()], vec![]));
}

#[test]
fn reads_the_newest_valid_copy_of_virtualbox_xml() {
    for (state, main) in lost() {
        let mut lab = Lab::new();
        lab.machine(10, "old", "", "");
        lab.write("VirtualBox.xml-prev", lab.global());
        lab.entries.clear();
        lab.machine(11, "new", "", "");
        let new = lab.global();
        if let Some(main) = &main {
            lab.write("VirtualBox.xml", main);
        }
        for given in ["", "VirtualBox.xml"] {
            lab.write("VirtualBox.xml-tmp", &new);
            let expected = (vec!["new".to_owned()], vec!["VirtualBox.xml-tmp".to_owned()]);
            assert_eq!(read(&load_from(lab.path(given)).unwrap(), &lab), expected, "{state}");
            lab.write("VirtualBox.xml-tmp", &new[..new.len() / 2]);
            let expected = (vec!["old".to_owned()], vec!["VirtualBox.xml-prev".to_owned()]);
            assert_eq!(read(&load_from(lab.path(given)).unwrap(), &lab), expected, "{state}");
        }
    }
}

#[test]
fn a_copy_of_another_machine_is_not_used() {
    let mut lab = Lab::new();
    lab.entry(10, "vm/vm.vbox");
    lab.write("vm/vm.vbox-prev", machine(11, "other", "", ""));
    let registry = lab.load();
    let error = registry.machines[0].machine.as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(lab.bare(&message(error)).starts_with("vm/vm.vbox-prev is broken in line 2: expected the UUID"), "{error}");
}

#[test]
fn lists_machines_of_a_directory_that_cannot_be_read() {
    let lab = Lab::new();
    lab.write("torn/torn.vbox", [0; 2000]);
    lab.write("gone/gone.vbox-prev", "");
    let registry = load_from(lab.path("")).unwrap();
    let listed: Vec<_> = registry.machines.iter().map(|entry| (entry.name(), entry.uuid)).collect();
    assert_eq!(listed, [("gone".into(), Uuid::nil()), ("torn".into(), Uuid::nil())]);
    assert_eq!(problems(&registry), [""; 0]);
    assert!(registry.machines.iter().all(|entry| entry.machine.is_err()));
}

#[test]
fn an_outdated_copy_concerns_what_its_machine_may_use() {
    let mut lab = Lab::new();
    lab.global_media(&(disk(1, "shared/base.vdi", &disk(2, "apart/child.vdi", "")) + &disk(3, "apart/other.vdi", "")));
    lab.entry(10, "vm/vm.vbox");
    lab.write("vm/vm.vbox-prev", machine(10, "vm", "", &attached(&[2])));
    lab.machine(11, "good", "", &attached(&[3]));
    let new = lab.write("vm/Snapshots/new.vdi", vdi(9, 0));
    let registry = lab.load();
    let chain = |what: &str| resolve(Some(&registry), what, std::path::Path::new("/")).unwrap();
    let copy = lab.path("vm/vm.vbox-prev");
    for (what, concerned) in
        [(uuid(2).to_string(), true), (new.display().to_string(), true), (uuid(3).to_string(), false)]
    {
        assert_eq!(registry.outdated_for(&chain(&what)), concerned.then_some(&*copy), "{what}");
    }
    fs::rename(lab.path("VirtualBox.xml"), lab.path("VirtualBox.xml-prev")).unwrap();
    let registry = load_from(lab.path("")).unwrap();
    assert!(registry.outdated_for(&chain(&uuid(3).to_string())).is_some());
}

#[test]
fn a_machine_of_windows_that_is_missing_has_the_name_of_its_file() {
    let mut lab = Lab::new();
    lab.entry(10, r"C:\Users\joe\VirtualBox VMs\Alpha\Alpha.vbox");
    lab.entry(11, r"\\server\vms\Beta 2.0\Beta 2.0.vbox");
    let names: Vec<String> = lab.load().machines.iter().map(|entry| entry.name().into_owned()).collect();
    assert_eq!(names, ["Alpha", "Beta 2.0"]);
}
