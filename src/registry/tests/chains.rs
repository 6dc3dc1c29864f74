//! Machines and chains of registered media.

use super::*;
use crate::error_kind::ErrorKind;

#[test]
fn a_chain_lists_leaf_to_base_with_facts_from_the_registry() {
    let mut lab = Lab::new();
    let key = "<Property name=\"CRYPT/KeyId\" value=\"k1\"/>";
    let tree = disk(2, "2.vdi", &(disk(3, "3.vdi", "") + &disk(4, "4.vdi", "")));
    lab.machine(10, "vm", "", &media(&disk(1, "base.vdi", &(key.to_owned() + &tree))));
    let registry = lab.load_clean();
    let chain = registry.chain_of_medium(registry.media.find(uuid(2)).unwrap()).unwrap();
    assert_eq!(names(&chain), ["2.vdi", "base.vdi"]);
    assert_eq!((chain.uuid, chain.kind), (Some(uuid(2)), MediumKind::Normal));
    assert_eq!(chain.children, [lab.path("vm/3.vdi"), lab.path("vm/4.vdi")]);
    assert_eq!(chain.base_properties["CRYPT/KeyId"], "k1");
    let leaf = &chain.links[0];
    assert_eq!((leaf.registered_uuid, leaf.registered_format.as_deref()), (Some(uuid(2)), Some("VDI")));
    assert_eq!((&*leaf.found_by, &*chain.links[1].found_by), ("the registry", ""));
}

#[test]
fn a_base_keeps_its_kind_and_a_reset_difference_is_normal_with_a_note() {
    let mut lab = Lab::new();
    let child = disk(2, "2.vdi", "").replace("<HardDisk ", "<HardDisk autoReset=\"true\" ");
    let base = disk(1, "base.vdi", &child).replacen("<HardDisk ", "<HardDisk type=\"Immutable\" ", 1);
    lab.machine(10, "vm", "", &media(&base));
    let registry = lab.load_clean();
    let base = registry.chain_of_medium(MediumId(0)).unwrap();
    assert_eq!((base.kind, base.notes.len()), (MediumKind::Immutable, 0));
    let child = registry.chain_of_medium(MediumId(1)).unwrap();
    assert_eq!(child.kind, MediumKind::Normal);
    assert_eq!(
        child.notes.iter().map(|note| lab.bare(note)).collect::<Vec<_>>(),
        ["VirtualBox empties vm/2.vdi whenever its machine starts, because its base is immutable"]
    );
}

#[test]
fn names_saved_states_that_have_a_medium() {
    let mut lab = Lab::new();
    let snapshot = |n: u128, name: &str, state: &str, inside: &str| {
        format!("<Snapshot uuid=\"{}\" name=\"{name}\" {state}>{}{inside}</Snapshot>", uuid(n), attached(&[1]))
    };
    let offline = snapshot(21, "cold", "", "");
    let tree = snapshot(20, "hot", "stateFile=\"a.sav\"", &format!("<Snapshots>{offline}</Snapshots>"));
    let current = format!("currentSnapshot=\"{}\"", uuid(21));
    let saved = format!("{current} stateFile=\"b.sav\"");
    lab.machine(10, "owner", &current, &(media(&disk(1, "base.vdi", &disk(2, "2.vdi", ""))) + &attached(&[2]) + &tree));
    lab.machine(11, "saved", &saved, &(attached(&[2, 2]) + &offline));
    let registry = lab.load_clean();
    let saved_in = |n| registry.chain_of_medium(registry.media.find(uuid(n)).unwrap()).unwrap().saved_in;
    assert_eq!(saved_in(1), ["owner (snapshot hot)"]);
    assert_eq!(saved_in(2), ["saved"]);
    let used = |machine, snapshot| Use { machine, snapshot };
    assert_eq!(registry.uses_of(MediumId(0)), [used(0, Some(0)), used(0, Some(1)), used(1, Some(0))]);
    assert_eq!(registry.uses_of(MediumId(1)), [used(0, None), used(1, None)]);
}

#[test]
fn lists_but_does_not_open_an_iscsi_disk() {
    let mut lab = Lab::new();
    let target = disk(1, "iscsi://10.0.0.7/iqn/1", "").replace("VDI", "iSCSI");
    lab.machine(10, "vm", "", &(media(&target) + &attached(&[1])));
    let registry = lab.load_clean();
    let medium = registry.media.get(MediumId(0));
    assert_eq!((medium.location.to_str(), medium.is_file()), (Some("iscsi://10.0.0.7/iqn/1"), false));
    let error = registry.chain_of_medium(MediumId(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(
        message(&error),
        "iscsi://10.0.0.7/iqn/1 cannot be read: iSCSI targets are not opened; log in with the system's iSCSI \
         initiator and give the device"
    );
}

fn four_machines() -> (Lab, Registry) {
    let mut lab = Lab::new();
    lab.machine(10, "Alpine", "", "");
    lab.machine(11, "Debian 12", "", "");
    lab.machine(12, "twin", "", "");
    lab.entry(13, "other/twin.vbox");
    lab.entry(14, "gone/lost vm.vbox");
    lab.write("other/twin.vbox", machine(13, "twin", "", ""));
    let registry = lab.load_clean();
    (lab, registry)
}

#[test]
fn finds_a_machine_by_uuid_and_name() {
    let (_lab, registry) = four_machines();
    let bare = uuid(11).to_string();
    let simple = uuid(11).simple().to_string();
    for what in [&*bare, &format!("{{{bare}}}"), &bare.to_uppercase(), &simple, "Debian 12", "debian 12"] {
        assert_eq!(registry.find_machine(what).unwrap(), 1, "{what}");
    }
    // The settings cannot be read, but the error can be shown.
    assert_eq!(registry.find_machine("lost vm").unwrap(), 4);
}

#[test]
fn a_name_that_several_have_is_ambiguous() {
    let (_lab, registry) = four_machines();
    let error = registry.find_machine("twin").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(
        message(&error),
        format!(
            "The machine \"twin\" means more than one: \"twin\" ({}), \"twin\" ({}); give the UUID, or the .vbox \
             file with --settings",
            uuid(12),
            uuid(13)
        )
    );
}

#[test]
fn distinguishes_copies_of_a_machine_by_their_files() {
    let mut lab = Lab::new();
    lab.machine(10, "vm", "", "");
    lab.entry(10, "copy/vm.vbox");
    lab.write("copy/vm.vbox", machine(10, "vm", "", ""));
    // The same line twice is one machine.
    lab.entry(10, "copy/vm.vbox");
    let registry = lab.load();
    assert_eq!(registry.machines.len(), 2);
    let error = registry.find_machine("vm").unwrap_err();
    let [first, copy] = ["vm", "copy"].map(|directory| format!("\"vm\" ({}) in {directory}/vm.vbox", uuid(10)));
    let text = lab.bare(&message(&error));
    assert!(text.contains(&format!("{first}, {copy}; ")), "{text}");
}

#[test]
fn a_name_may_look_like_a_uuid() {
    let mut lab = Lab::new();
    let names = [uuid(11).to_string(), uuid(12).simple().to_string(), uuid(10).to_string()];
    for (n, name) in (10..).zip(&names) {
        lab.machine(n, name, "", "");
    }
    let registry = lab.load_clean();
    // The UUID of another machine, which goes first.
    assert_eq!(registry.find_machine(&names[0]).unwrap(), 1);
    assert_eq!(registry.find_machine(&names[1]).unwrap(), 1, "without hyphens it is a name first");
    assert_eq!(registry.find_machine(&names[2]).unwrap(), 0);
    let mut lab = Lab::new();
    lab.machine(10, &names[0], "", "");
    assert_eq!(lab.load_clean().find_machine(&names[0]).unwrap(), 0);
}

#[test]
fn suggests_similar_names() {
    let (_lab, registry) = four_machines();
    let hint = |what| {
        let error = registry.find_machine(what).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        message(&error)
    };
    let alpine = format!("did you mean \"Alpine\" ({})?", uuid(10));
    assert_eq!(hint("alpin"), format!("The machine \"alpin\" is not known: {alpine}"));
    assert_eq!(hint("Aplnie"), format!("The machine \"Aplnie\" is not known: {alpine}"));
    assert!(hint("xyz").contains("is not known: the machines are \"Alpine\""), "{}", hint("xyz"));
    let empty = Lab::new();
    let error = empty.load_clean().find_machine("vm").unwrap_err();
    assert!(message(&error).contains("has no machines"), "{error}");
}
