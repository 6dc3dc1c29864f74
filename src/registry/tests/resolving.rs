//! Resolving arguments of the command line.

use super::*;
use crate::error_kind::ErrorKind;
use std::path::Path;

/// A machine with two disks and a snapshot, with its images.
fn lab() -> (Lab, Registry) {
    let mut lab = Lab::new();
    let snapshot = format!("<Snapshot uuid=\"{}\" name=\"fresh\">{}</Snapshot>", uuid(20), attached(&[1]));
    let disks = disk(1, "base.vdi", &disk(2, "Snapshots/2.vdi", "")) + &disk(3, "data.vdi", "");
    let current = format!("currentSnapshot=\"{}\"", uuid(20));
    lab.machine(10, "vm", &current, &(media(&disks) + &attached(&[2, 3]) + &snapshot));
    lab.write("vm/base.vdi", vdi(1, 0));
    lab.write("vm/Snapshots/2.vdi", vdi(2, 1));
    lab.write("vm/data.vdi", vdi(3, 0));
    let registry = lab.load_clean();
    (lab, registry)
}

fn failure(registry: &Registry, what: &str, current: &Path) -> String {
    let error = resolve(Some(registry), what, current).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    message(&error)
}

#[test]
fn a_uuid_means_the_medium_in_any_spelling() {
    let (lab, registry) = lab();
    let bare = uuid(2).to_string();
    for what in [&*bare, &format!("{{{bare}}}"), &bare.to_uppercase()] {
        let chain = resolve(Some(&registry), what, &lab.path("")).unwrap();
        assert_eq!(names(&chain), ["2.vdi", "base.vdi"], "{what}");
    }
}

#[test]
fn a_uuid_wins_over_a_file_of_that_name_and_without_hyphens_it_is_a_file() {
    let (lab, registry) = lab();
    lab.write(&uuid(2).to_string(), vdi(9, 0));
    let chain = resolve(Some(&registry), uuid(2).to_string(), &lab.path("")).unwrap();
    assert_eq!(chain.uuid, Some(uuid(2)));
    let chain = resolve(Some(&registry), uuid(2).simple().to_string(), &lab.path("")).unwrap();
    assert_eq!(chain.uuid, Some(uuid(2)), "while there is no such file");
    lab.write(&uuid(2).simple().to_string(), vdi(9, 0));
    let chain = resolve(Some(&registry), uuid(2).simple().to_string(), &lab.path("")).unwrap();
    assert_eq!(chain.uuid, Some(uuid(9)));
}

#[test]
fn recognizes_a_registered_file_under_all_its_names() {
    let (lab, registry) = lab();
    let real = lab.path("vm/Snapshots/2.vdi");
    std::os::unix::fs::symlink(&real, lab.path("link.vdi")).unwrap();
    fs::hard_link(&real, lab.path("hard.vdi")).unwrap();
    std::os::unix::fs::symlink(lab.path("vm"), lab.path("directory")).unwrap();
    let absolute = real.display().to_string();
    for what in [
        &*absolute,
        "vm/Snapshots/2.vdi",
        "./vm/../vm/Snapshots/2.vdi",
        "link.vdi",
        "hard.vdi",
        "directory/Snapshots/2.vdi",
    ] {
        let chain = resolve(Some(&registry), what, &lab.path("")).unwrap();
        assert_eq!(chain.links[0].path, real, "{what}");
        assert_eq!(chain.links[0].registered_uuid, Some(uuid(2)), "{what}");
        assert_eq!(names(&chain), ["2.vdi", "base.vdi"], "{what}");
    }
}

#[test]
fn a_file_that_is_not_registered_has_no_registered_identity() {
    let (lab, registry) = lab();
    lab.write("loose.vdi", vdi(9, 0));
    let chain = resolve(Some(&registry), "loose.vdi", &lab.path("")).unwrap();
    assert_eq!((chain.uuid, chain.links[0].registered_uuid), (Some(uuid(9)), None));
    assert_eq!((chain.links.len(), &*chain.links[0].found_by), (1, ""));
}

#[test]
fn suggests_the_media_of_a_machine_or_snapshot() {
    let (lab, registry) = lab();
    let current = lab.path("");
    let [one, two, three] = [uuid(1), uuid(2), uuid(3)];
    let disks = format!(
        "the disks {two} (SATA 0:0 2.vdi), {three} (SATA 1:0 data.vdi); give one of the disks, or name it by --vm and --snapshot"
    );
    let machine = format!("the machine \"vm\", which has {disks}");
    let disks =
        format!("the disks {one} (SATA 0:0 base.vdi); give one of the disks, or name it by --vm and --snapshot");
    let snapshot = format!("the snapshot \"fresh\" of the machine \"vm\", which has {disks}");
    for (n, what) in [(10, &machine), (20, &snapshot)] {
        let uuid = uuid(n);
        let expected = format!("The medium {uuid} is not known: it is the UUID of {what}");
        assert_eq!(failure(&registry, &format!("{{{uuid}}}"), &current), expected);
    }
    // In the first directory "vm" is also a directory.
    for current in [&current, &lab.path("vm")] {
        for (name, what) in [("vm", &machine), ("fresh", &snapshot)] {
            let expected = format!("The image {name:?} is not known: it is the name of {what}");
            assert_eq!(failure(&registry, name, current), expected);
        }
    }
}

#[test]
fn finds_a_medium_by_its_file_name_or_the_beginning_of_its_uuid() {
    let (lab, registry) = lab();
    let found = |what: &str| names(&resolve(Some(&registry), what, &lab.path("")).unwrap());
    assert_eq!(found("data.vdi"), ["data.vdi"]);
    assert_eq!(found("Data.VDI"), ["data.vdi"]);
    // A file that is there goes first.
    lab.write("data.vdi", vdi(9, 2));
    assert_eq!(found("data.vdi"), ["data.vdi", "2.vdi", "base.vdi"]);
    let error = resolve(Some(&registry), "0000", &lab.path("")).unwrap_err();
    let text = message(&error);
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(text.starts_with("The image \"0000\" means more than one: ") && text.contains("give the UUID"), "{text}");
    let text = failure(&registry, "dat.vdi", &lab.path(""));
    assert!(text.ends_with(&format!("did you mean {} ({})?", uuid(3), lab.path("vm/data.vdi").display())), "{text}");
}

#[test]
fn reports_where_an_unknown_name_was_searched() {
    let (lab, registry) = lab();
    let current = lab.path("vm");
    assert_eq!(
        failure(&registry, "no.vdi", &current),
        format!(
            "The image \"no.vdi\" is not known: there is no file {}, and it is no UUID",
            current.join("no.vdi").display()
        )
    );
    let text = failure(&registry, &uuid(77).to_string(), &current);
    assert!(text.contains("has no medium of that UUID"), "{text}");
    let error = resolve(None, uuid(1).to_string(), &current).unwrap_err();
    assert_eq!(
        message(&error),
        format!(
            "The medium {} is not known: there is no registry to look it up in; give the path of the image",
            uuid(1)
        )
    );
    let text = failure(&registry, "", &current);
    assert_eq!(text, "The image \"\" is not known: it is empty; give the UUID of a medium, or the path of an image");
}

/// Any text is a raw disk, and nobody means that one.
#[test]
fn refuses_settings_files_as_images() {
    let (lab, registry) = lab();
    for name in ["vm.vbox", "vm.vbox-prev", "vm.vbox-tmp", "VM.VBOX"] {
        lab.write(&format!("vm/{name}"), " ".repeat(1024));
        let text = failure(&registry, name, &lab.path("vm"));
        let hint = "it is the settings file of a machine; give the path or UUID of one of its images";
        assert!(text.ends_with(hint), "{text}");
    }
    for name in ["VirtualBox.xml", "VirtualBox.xml-prev"] {
        lab.write(name, " ".repeat(1024));
        let text = failure(&registry, name, &lab.path(""));
        assert!(text.contains("it is VirtualBox's list of machines; "), "{text}");
    }
}

#[test]
fn what_is_not_found_may_be_of_a_machine_that_cannot_be_read() {
    let mut lab = Lab::new();
    lab.machine(10, "vm", "", "");
    lab.write("vm/vm.vbox", "<VirtualBox");
    let text = failure(&lab.load_clean(), &uuid(1).to_string(), &lab.path(""));
    let expected = "it may be of a machine whose settings cannot be read: ";
    assert!(text.contains(expected) && text.contains("vm.vbox is broken in line 1"), "{text}");
}

#[test]
fn refuses_a_directory() {
    let (lab, registry) = lab();
    let error = resolve(Some(&registry), "vm/Snapshots", &lab.path("")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[test]
fn follows_headers_without_a_registry() {
    let (lab, _) = lab();
    let chain = resolve(None, "vm/Snapshots/2.vdi", &lab.path("")).unwrap();
    assert_eq!(names(&chain), ["2.vdi", "base.vdi"]);
    assert_eq!(chain.links[0].found_by, "its UUID, next to the file");
}

#[test]
fn takes_a_registered_parent_from_the_registry() {
    let (lab, registry) = lab();
    lab.write("loose/child.vdi", vdi(9, 2));
    let chain = resolve(Some(&registry), "loose/child.vdi", &lab.path("")).unwrap();
    assert_eq!(names(&chain), ["child.vdi", "2.vdi", "base.vdi"]);
    assert_eq!(chain.links[0].found_by, "the registry");
    assert_eq!(chain.links[0].registered_uuid, None);
    assert_eq!(chain.links[1].registered_uuid, Some(uuid(2)));
}

#[test]
fn finds_the_image_by_uuid_when_another_has_its_path() {
    let mut lab = Lab::new();
    lab.machine(10, "vm", "", &(media(&disk(1, "base.vdi", &disk(2, "Snapshots/child.vdi", ""))) + &attached(&[2])));
    // The base and another disk were renamed into each other.
    lab.write("vm/base.vdi", vdi(7, 0));
    lab.write("vm/old.vdi", vdi(1, 0));
    let child = lab.write("vm/Snapshots/child.vdi", vdi(2, 1));
    let registry = lab.load_clean();
    for what in [uuid(2).to_string(), child.display().to_string()] {
        let chain = resolve(Some(&registry), &what, Path::new("/")).unwrap();
        assert_eq!(names(&chain), ["child.vdi", "old.vdi"]);
        assert_eq!(chain.notes.len(), 1);
        assert!(chain.notes[0].contains("old.vdi has it and is used instead"), "{:?}", chain.notes);
    }
    let chain = resolve(Some(&registry), uuid(1).to_string(), Path::new("/")).unwrap();
    assert_eq!(names(&chain), ["old.vdi"]);
    // Two have it: neither is taken, and opening reports the other UUID.
    lab.write("vm/older.vdi", vdi(1, 0));
    let chain = resolve(Some(&registry), uuid(1).to_string(), Path::new("/")).unwrap();
    assert_eq!(names(&chain), ["base.vdi"]);
    // The very image that the user points at is never replaced.
    fs::remove_file(lab.path("vm/older.vdi")).unwrap();
    let chain = resolve(Some(&registry), lab.path("vm/base.vdi"), Path::new("/")).unwrap();
    assert_eq!(names(&chain), ["base.vdi"]);
}
