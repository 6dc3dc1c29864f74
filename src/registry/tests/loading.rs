//! Loading whole registries, in which a broken file does not prevent the rest.

use super::*;
use crate::crypt::Passwords;
use crate::error_kind::ErrorKind;

fn machine_error(registry: &Registry, index: usize) -> (ErrorKind, String) {
    let error = registry.machines[index].machine.as_ref().expect_err("the machine is broken");
    (error.kind(), message(error))
}

#[test]
fn a_medium_may_be_registered_by_a_machine_that_comes_later() {
    let mut lab = Lab::new();
    lab.machine(10, "user", "", &attached(&[2]));
    let child = disk(2, "../user/Snapshots/2.vdi", "");
    lab.machine(11, "owner", "", &media(&disk(1, "base.vdi", &child)));
    let registry = lab.load_clean();
    let id = registry.media.find(uuid(2)).unwrap();
    let medium = registry.media.get(id);
    assert_eq!(medium.location, lab.path("user/Snapshots/2.vdi"));
    assert_eq!(*medium.registered_in, *lab.path("owner/owner.vbox"));
    assert_eq!(registry.media.get(medium.parent.unwrap()).uuid, uuid(1));
    assert_eq!(registry.uses_of(id), [Use { machine: 0, snapshot: None }]);
    assert_eq!(registry.uses_of(registry.media.base(id)), []);
}

#[test]
fn many_machines_keep_their_order() {
    let mut lab = Lab::new();
    for n in 1..=500 {
        lab.machine(1000 + n, &format!("vm{n}"), "", &(media(&disk(n, "a.vdi", "")) + &attached(&[n])));
    }
    fs::remove_file(lab.path("vm400/vm400.vbox")).unwrap();
    let registry = lab.load_clean();
    for (index, (entry, n)) in registry.machines.iter().zip(1..=500).enumerate() {
        assert_eq!((entry.uuid, &*entry.name()), (uuid(1000 + n), &*format!("vm{n}")));
        assert_eq!(entry.machine.is_err(), n == 400);
        let medium = registry.media.find(uuid(n));
        assert_eq!(medium.is_none(), n == 400);
        assert!(medium.is_none_or(|id| registry.uses_of(id) == [Use { machine: index, snapshot: None }]));
    }
}

#[test]
fn locations_are_relative_to_the_file_that_holds_them() {
    let mut lab = Lab::new();
    lab.global_media(&disk(1, "HardDisks/a.vdi", ""));
    lab.machine(10, "vm", "", &media(&disk(2, "b.vdi", &disk(3, "Snapshots/../c.vdi", ""))));
    let registry = lab.load_clean();
    let locations: Vec<_> = registry.media.iter().map(|(_, medium)| medium.location.clone()).collect();
    assert_eq!(locations, [lab.path("HardDisks/a.vdi"), lab.path("vm/b.vdi"), lab.path("vm/c.vdi")]);
}

#[test]
fn lists_missing_and_broken_machines_with_their_errors() {
    let mut lab = Lab::new();
    lab.entry(10, "gone/gone.vbox");
    lab.entry(11, "broken/broken.vbox");
    lab.write("broken/broken.vbox-prev", "");
    lab.machine(12, "cut", "", "");
    lab.write("cut/cut.vbox", &machine(12, "cut", "", "")[..80]);
    lab.machine(13, "flag", "aborted=\"perhaps\"", "");
    lab.write("flag/flag.vbox-prev", "");
    lab.machine(14, "other", "", "");
    lab.write("other/other.vbox", machine(99, "other", "", ""));
    lab.machine(15, "good", "", "");
    let registry = lab.load_clean();
    let expected = [
        "gone/gone.vbox is not there: restore it from a backup, or give the paths of the machine's images".to_owned(),
        "broken/broken.vbox is not there: restore it from a backup, or give the paths of the machine's images".to_owned(),
        "cut/cut.vbox is broken in line 2: expected well-formed XML, found syntax error: tag not closed: `>` not found \
         before end of input; correct it, or restore it from a backup"
            .to_owned(),
        "flag/flag.vbox is broken in line 2: expected true or false in Machine/@aborted, found \"perhaps\"; correct \
         it, or restore it from a backup"
            .to_owned(),
        format!(
            "other/other.vbox is broken in line 2: expected the UUID {} that VirtualBox.xml registers the machine \
             with, found {}; correct it, or restore it from a backup",
            uuid(14),
            uuid(99)
        ),
    ];
    for (index, expected) in expected.iter().enumerate() {
        let (kind, text) = machine_error(&registry, index);
        assert_eq!(&lab.bare(&text), expected);
        assert_eq!(kind, if index < 2 { ErrorKind::NotFound } else { ErrorKind::Corrupt });
    }
    assert_eq!(registry.machines[1].name(), "broken");
    assert_eq!(registry.machines[5].machine.as_ref().unwrap().name, "good");
}

#[test]
fn an_encrypted_machine_is_listed_with_its_key() {
    let mut lab = Lab::new();
    lab.entry(10, "vault/vault.vbox");
    let encrypted = format!(
        "<VirtualBox version=\"1.19-linux\"><MachineEncrypted uuid=\"{}\" keyId=\"k1\" keyStore=\"AAAA\">AA==\
         </MachineEncrypted></VirtualBox>",
        uuid(10)
    );
    lab.write("vault/vault.vbox", encrypted);
    let registry = lab.load_clean();
    let (kind, text) = machine_error(&registry, 0);
    assert_eq!(kind, ErrorKind::Password);
    assert!(lab.bare(&text).starts_with("vault/vault.vbox is encrypted with the key \"k1\"; "), "{text}");
}

#[test]
fn reads_the_previous_copy_when_virtualbox_xml_is_unusable() {
    let mut lab = Lab::new();
    lab.machine(10, "vm", "", "");
    let good = lab.global();
    lab.write("VirtualBox.xml-prev", &good);
    let load = || Registry::load(lab.directory.path(), &Passwords::default()).unwrap();
    let registry = load();
    assert_eq!(registry.machines.len(), 1);
    assert_eq!(
        problems(&registry).iter().map(|text| lab.bare(text)).collect::<Vec<_>>(),
        ["VirtualBox.xml-prev is used and may lack the last changes: Cannot read VirtualBox.xml: No such file or \
          directory (os error 2)"]
    );
    lab.write("VirtualBox.xml", &good[..good.len() / 2]);
    let registry = load();
    assert_eq!(registry.machines.len(), 1);
    assert_eq!(registry.problems[0].kind(), ErrorKind::Corrupt);
    assert!(problems(&registry)[0].contains("VirtualBox.xml is broken in line 1"), "{:?}", problems(&registry));
    lab.write("VirtualBox.xml", &good);
    assert_eq!(problems(&load()), [""; 0]);
}

#[test]
fn reports_the_error_of_the_file_itself_without_a_usable_copy() {
    let lab = Lab::new();
    let load = || Registry::load(lab.directory.path(), &Passwords::default()).unwrap_err();
    let error = load();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        lab.bare(&message(&error)),
        "VirtualBox.xml is not known: the directory holds no settings of VirtualBox; give the one that does with \
         --settings or VBOX_USER_HOME"
    );
    lab.write("VirtualBox.xml", "<VirtualBox version=\"1.12-linux\"><Global>");
    lab.write("VirtualBox.xml-prev", "");
    let error = load();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(lab.bare(&message(&error)).starts_with("VirtualBox.xml is broken in line 1: "), "{error}");
}

#[test]
fn reads_only_regular_files_of_sensible_size() {
    let lab = Lab::new();
    let path = lab.path("VirtualBox.xml");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = Registry::load(lab.directory.path(), &Passwords::default()).unwrap_err();
    assert_eq!(lab.bare(&message(&error)), "VirtualBox.xml cannot be read: it is not a regular file");
    fs::remove_file(&path).unwrap();
    fs::File::create(&path).unwrap().set_len((256 << 20) + 1).unwrap();
    let error = Registry::load(lab.directory.path(), &Passwords::default()).unwrap_err();
    assert_eq!(
        lab.bare(&message(&error)),
        "VirtualBox.xml cannot be read: it has 268435457 bytes, and no settings file has more than 268435456"
    );
}

#[test]
fn accepts_a_medium_in_two_files_that_agree() {
    let mut lab = Lab::new();
    lab.global_media(&disk(1, "vm/base.vdi", &disk(2, "vm/2.vdi", "")));
    lab.machine(10, "vm", "", &media(&disk(1, "base.vdi", &disk(3, "3.vdi", ""))));
    let registry = lab.load_clean();
    let base = registry.media.get(registry.media.find(uuid(1)).unwrap());
    let children: Vec<_> = base.children.iter().map(|id| registry.media.get(*id).uuid).collect();
    assert_eq!(children, [uuid(2), uuid(3)]);
    assert_eq!(registry.media.iter().count(), 3);
}

#[test]
fn reports_two_media_with_the_same_uuid_and_uses_the_first() {
    let mut lab = Lab::new();
    lab.machine(10, "vm", "", &media(&disk(1, "a.vdi", &disk(2, "b.vdi", ""))));
    // A copy of the directory, and an entry that turns child and parent round.
    lab.machine(11, "copy", "", &media(&disk(1, "a.vdi", "")));
    lab.machine(12, "turned", "", &media(&disk(2, "../vm/b.vdi", &disk(1, "../vm/a.vdi", ""))));
    let registry = lab.load();
    let [one, two] = [uuid(1), uuid(2)];
    assert_eq!(
        problems(&registry).iter().map(|text| lab.bare(text)).collect::<Vec<_>>(),
        [
            format!(
                "The medium {one} is registered twice: as vm/a.vdi (base, in vm/vm.vbox), which is used, and as \
                 copy/a.vdi (base, in copy/copy.vbox), which is not"
            ),
            format!(
                "The medium {two} is registered twice: as vm/b.vdi (child of {one}, in vm/vm.vbox), which is used, \
                 and as vm/b.vdi (base, in turned/turned.vbox), which is not"
            ),
            format!(
                "The medium {one} is registered twice: as vm/a.vdi (base, in vm/vm.vbox), which is used, and as \
                 vm/a.vdi (child of {two}, in turned/turned.vbox), which is not"
            ),
        ]
    );
    let chain = registry.chain_of_medium(registry.media.find(two).unwrap()).unwrap();
    assert_eq!(names(&chain), ["b.vdi", "a.vdi"]);
}

#[test]
fn prefers_the_existing_one_of_two_media_with_the_same_uuid() {
    let mut lab = Lab::new();
    lab.machine(10, "gone", "", &media(&disk(1, "a.vdi", "")));
    lab.machine(11, "copy", "", &media(&disk(1, "a.vdi", "")));
    lab.write("copy/a.vdi", vdi(1, 0));
    let registry = lab.load();
    assert_eq!(registry.media.get(MediumId(0)).location, lab.path("copy/a.vdi"));
    let text = lab.bare(&problems(&registry).join("\n"));
    assert!(text.contains("as copy/a.vdi (base, in copy/copy.vbox), which is used, and as gone/a.vdi"), "{text}");
}

#[test]
fn reports_two_machines_with_the_same_uuid() {
    let mut lab = Lab::new();
    lab.machine(10, "vm", "", "");
    lab.entry(10, "copy/copy.vbox");
    lab.write("copy/copy.vbox", machine(10, "copy", "", ""));
    let registry = lab.load();
    assert_eq!(
        problems(&registry).iter().map(|text| lab.bare(text)).collect::<Vec<_>>(),
        [format!(
            "The machine {} is there more than once: vm/vm.vbox and copy/copy.vbox; use these paths to distinguish them",
            uuid(10)
        )]
    );
    assert_eq!(registry.find_machine(&uuid(10).to_string()).unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(registry.find_machine(&lab.path("copy/copy.vbox").display().to_string()).unwrap(), 1);
    assert_eq!(registry.machines.len(), 2);
}

#[test]
fn reports_an_unregistered_medium_once() {
    let mut lab = Lab::new();
    let snapshot = format!("<Snapshot uuid=\"{}\" name=\"s\">{}</Snapshot>", uuid(20), attached(&[1]));
    let current = format!("currentSnapshot=\"{}\"", uuid(20));
    lab.machine(10, "vm", &current, &(attached(&[1, 1]) + &snapshot));
    let registry = lab.load();
    assert_eq!(
        problems(&registry),
        [format!(
            "The medium {}, which the machine \"vm\" has attached, is not known: none of the settings files that could \
             be read registers it; look for its image and give the path",
            uuid(1)
        )]
    );
}

#[test]
fn reports_a_wrong_current_snapshot() {
    let mut lab = Lab::new();
    lab.machine(10, "vm", &format!("currentSnapshot=\"{}\"", uuid(20)), "");
    let text = problems(&lab.load()).join("\n");
    assert!(lab.bare(&text).starts_with("vm/vm.vbox is broken in line 2: expected the UUID of one of"), "{text}");
}

#[test]
fn loads_a_single_machine_file_without_a_registry() {
    let lab = Lab::new();
    let body = media(&disk(1, "base.vdi", &disk(2, "Snapshots/2.vdi", ""))) + &attached(&[2]);
    let path = lab.write("vm/vm.vbox", machine(10, "vm", "stateFile=\"Snapshots/now.sav\"", &body));
    let registry = Registry::load_machine_file(&path, &Passwords::default()).unwrap();
    assert_eq!(registry.directory, lab.path("vm"));
    let entry = &registry.machines[0];
    assert_eq!((entry.uuid, &*entry.path), (uuid(10), &*path));
    let machine = entry.machine.as_ref().unwrap();
    assert_eq!(machine.state_file, Some(lab.path("vm/Snapshots/now.sav")));
    assert_eq!(machine.snapshot_directory, lab.path("vm/Snapshots"));
    assert_eq!(registry.media.get(MediumId(1)).location, lab.path("vm/Snapshots/2.vdi"));
    assert_eq!(registry.uses_of(MediumId(1)).len(), 1);
    let error = Registry::load_machine_file(&lab.path("no.vbox"), &Passwords::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn the_default_snapshot_directory_depends_on_version_and_path() {
    let lab = Lab::new();
    let directory = |name: &str, version: &str| {
        let text = machine(10, "vm", "", "").replace("snapshotFolder=\"Snapshots\"", "").replace("1.19-linux", version);
        let registry = Registry::load_machine_file(&lab.write(name, text), &Passwords::default()).unwrap();
        let directory = registry.machines[0].machine.as_ref().unwrap().snapshot_directory.clone();
        lab.bare(&directory.display().to_string())
    };
    assert_eq!(directory("vm/vm.vbox", "1.19-linux"), "vm/Snapshots");
    assert_eq!(directory("Machines/vm.vbox", "1.11-linux"), "Machines/Snapshots");
    assert_eq!(directory("vm/vm.xml", "1.6-linux"), "vm/Snapshots");
    assert_eq!(directory("Machines/vm.xml", "1.6-linux"), format!("Machines/{{{}}}", uuid(10)));
}

#[test]
fn resolves_windows_separators() {
    let mut lab = Lab::new();
    lab.entry(10, "Machines\\vm\\vm.vbox");
    let body = media(&disk(1, "base.vdi", &disk(2, "Snapshots\\2.vdi", "")));
    lab.write("Machines/vm/vm.vbox", machine(10, "vm", "stateFile=\"Snapshots\\a.sav\"", &body));
    let registry = lab.load_clean();
    let machine = registry.machines[0].machine.as_ref().unwrap();
    assert_eq!(machine.state_file, Some(lab.path("Machines/vm/Snapshots/a.sav")));
    assert_eq!(registry.media.get(MediumId(1)).location, lab.path("Machines/vm/Snapshots/2.vdi"));
}

#[test]
fn ten_thousand_nested_media_load_and_drop_without_stack() {
    let mut lab = Lab::new();
    let mut nested = String::new();
    for n in 1..=10_000 {
        nested += &disk(n, &format!("{n}.vdi"), "").replace("</HardDisk>", "");
    }
    lab.global_media(&(nested + &"</HardDisk>".repeat(10_000)));
    let test = move || {
        let registry = lab.load_clean();
        let leaf = registry.media.find(uuid(10_000)).unwrap();
        assert_eq!(registry.media.base(leaf), MediumId(0));
        let error = registry.chain_of_medium(leaf).unwrap_err();
        assert_eq!(
            lab.bare(&message(&error)),
            "The chain of 10000.vdi is broken: it has more than 1024 links, which no program makes; clone the disk \
             into one image"
        );
        let chain = registry.chain_of_medium(registry.media.find(uuid(1024)).unwrap()).unwrap();
        assert_eq!(chain.links.len(), MAX_LINKS);
        assert!(registry.chain_of_medium(registry.media.find(uuid(1025)).unwrap()).is_err());
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(test).unwrap().join().unwrap();
}
