//! Appliances and directories of images: read by verbs, in containers without FUSE too.

use crate::common::Fixture;
use crate::{text, without_fuse};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A directory with the files of an appliance: `box.ovf`, `d1.vmdk` and its bytes `d1.raw`, and so on.
struct Appliance(TempDir);

impl Appliance {
    fn of_disks(count: usize) -> Self {
        let made = Self(tempfile::Builder::new().prefix("vboximg-ova-").tempdir().unwrap());
        let (mut files, mut disks, mut items) = (String::new(), String::new(), String::new());
        for n in 1..=count {
            let bytes: Vec<u8> =
                (0..3_u32 << 20).map(|at| (at / 70_000 * (at % 251)).to_le_bytes()[0] ^ n.to_le_bytes()[0]).collect();
            fs::write(made.path(&format!("d{n}.raw")), bytes).unwrap();
            made.run("qemu-img", &format!("convert -O vmdk -o subformat=streamOptimized d{n}.raw d{n}.vmdk"));
            files += &format!("<File ovf:id='f{n}' ovf:href='d{n}.vmdk'/>");
            disks += &format!("<Disk ovf:diskId='v{n}' ovf:fileRef='f{n}' ovf:capacity='3145728'/>");
            items += &format!(
                "<Item><HostResource>ovf:/disk/v{n}</HostResource><Parent>3</Parent><AddressOnParent>{n}</AddressOnParent>\
                 <ResourceType>17</ResourceType></Item>"
            );
        }
        made.describe(&files, &disks, &items);
        made
    }

    fn describe(&self, files: &str, disks: &str, items: &str) {
        let text = format!(
            "<?xml version='1.0'?><Envelope xmlns:ovf='http://schemas.dmtf.org/ovf/envelope/1'>\
             <References>{files}</References><DiskSection>{disks}</DiskSection><VirtualSystem ovf:id='the vm'>\
             <VirtualHardwareSection><Item><InstanceID>3</InstanceID><ResourceType>20</ResourceType></Item>{items}\
             </VirtualHardwareSection></VirtualSystem></Envelope>"
        );
        fs::write(self.path("box.ovf"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, program: &str, line: &str) {
        let output = Command::new(program).args(line.split(' ')).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{program} {line}: {output:?}");
    }

    /// What the program says, with no settings but those given.
    fn vboximg(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vboximg-mount"));
        command.args(words).current_dir(self.0.path()).env("VBOX_USER_HOME", self.path("none")).output().unwrap()
    }

    fn assert_shows(&self, words: &[&str], raw: &str) {
        let output = self.vboximg(words);
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        assert!(output.stdout == fs::read(self.path(raw)).unwrap(), "{words:?}");
    }

    fn assert_refuses(&self, words: &[&str], code: i32, parts: &[&str]) {
        let output = self.vboximg(words);
        let errors = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(code), String::new()), "{words:?}: {errors}");
        for part in parts {
            assert!(errors.contains(part), "{words:?}: {part:?} is missing in {errors}");
        }
    }
}

#[test]
fn reads_the_disk_in_an_appliance_where_it_lies() {
    let made = Appliance::of_disks(1);
    made.run("tar", "-cf x.ova box.ovf d1.vmdk");
    made.run("tar", "--format=pax -cf x.box ./metadata.json ./box.ovf ./d1.vmdk --ignore-failed-read");
    for image in ["x.ova", "x.box", "box.ovf", "x.ova/d1.vmdk"] {
        made.assert_shows(&["cat", "-i", image, "vhdd"], "d1.raw");
    }
    made.assert_shows(&["cat", "--settings", "x.ova", "--vm", "the vm", "vhdd"], "d1.raw");
    made.assert_shows(&["cat", "--settings", "x.ova", "-i", "d1.vmdk", "vhdd"], "d1.raw");
    let output = without_fuse(&made.path("x.ova"), "cat", &["vhdd"]);
    assert!(output.status.success() && output.stdout == fs::read(made.path("d1.raw")).unwrap());
    let names = text(&made.vboximg(&["ls", "-i", "x.ova"]).stdout);
    assert_eq!(names, "vhdd\nx.ova\n");
    made.assert_refuses(
        &["-i", "x.ova", "--rw", "point"],
        6,
        &["x.ova/d1.vmdk", "it is a disk of an appliance; import"],
    );
    made.assert_refuses(
        &["-i", "x.ova/d2.vmdk", "point"],
        3,
        &["no such file in the archive, which has box.ovf, d1.vmdk"],
    );
    // Nothing is left behind.
    let mut left: Vec<String> =
        fs::read_dir(made.0.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    left.retain(|name| !name.ends_with("-lock"));
    left.sort();
    assert_eq!(left, ["box.ovf", "d1.raw", "d1.vmdk", "x.box", "x.ova"]);
}

#[test]
fn one_of_several_disks_is_chosen() {
    let made = Appliance::of_disks(2);
    made.run("tar", "-cf x.ova box.ovf d1.vmdk d2.vmdk");
    made.assert_refuses(
        &["cat", "-i", "x.ova", "vhdd"],
        2,
        &["x.ova/d1.vmdk (\"the vm\" SATA-1-0)", "x.ova/d2.vmdk (\"the vm\" SATA-2-0)", "--settings", "--disk"],
    );
    for disk in ["1", "SATA-2-0", "d2.vmdk"] {
        made.assert_shows(&["cat", "--settings", "x.ova", "--disk", disk, "vhdd"], "d2.raw");
    }
    made.assert_shows(&["cat", "--settings", "x.ova", "--vm", "the vm", "SATA-1-0/vhdd"], "d1.raw");
    let listed = made.vboximg(&["-l", "--json", "--settings", "x.ova"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed["machines"][0]["name"], "the vm");
    assert_eq!(listed["machines"][0]["attachments"][1]["controller"], "SATA");
    assert_eq!(listed["media"][1]["capacity"], 3 << 20);
    assert!(made.vboximg(&["-l", "--settings", "x.ova", "--disk", "1"]).status.success());
    made.assert_refuses(&["-l", "--disk", "1"], 2, &["--settings"]);
}

#[test]
fn what_holds_no_disk_to_read_is_named() {
    let made = Appliance::of_disks(1);
    fs::write(made.path("a.vmx"), "config.version = \"8\"\n").unwrap();
    made.run("tar", "-czf gz.box box.ovf d1.vmdk");
    made.run("tar", "-cf bare.tar d1.vmdk a.vmx");
    for by in ["-i", "--settings"] {
        made.assert_refuses(&["-l", by, "gz.box"], 5, &["gz.box", "compressed by gzip", "tar -xzf", "-i DIR/box.ovf"]);
        made.assert_refuses(&["-l", by, "bare.tar"], 5, &["without the OVF description", "bare.tar/d1.vmdk"]);
        made.assert_refuses(&["-l", by, "a.vmx"], 5, &["a.vmx", "VMware"]);
    }
    made.assert_shows(&["cat", "-i", "bare.tar/d1.vmdk", "vhdd"], "d1.raw");
    let disk = "<Disk ovf:diskId='v1' ovf:fileRef='f1'/>";
    for (file, parts) in [
        ("ovf:href='d1.vmdk.gz' ovf:compression='gzip'", "compressed by gzip"),
        ("ovf:href='d1.vmdk' ovf:chunkSize='1000'", "several parts"),
        ("ovf:href='https://example.com/d1.vmdk'", "only local files"),
    ] {
        made.describe(&format!("<File ovf:id='f1' {file}/>"), disk, "");
        made.assert_refuses(&["cat", "-i", "box.ovf", "vhdd"], 5, &[parts]);
    }
}

#[test]
fn a_descriptor_names_only_files_below_its_directory() {
    let made = Appliance::of_disks(1);
    let elsewhere = tempfile::tempdir().unwrap();
    let secret = elsewhere.path().join("secret.img");
    fs::write(&secret, [b's'; 4096]).unwrap();
    std::os::unix::fs::symlink(&secret, made.path("link.img")).unwrap();
    let up = format!("../{}/secret.img", elsewhere.path().file_name().unwrap().to_str().unwrap());
    for href in [secret.to_str().unwrap(), &up, "link.img"] {
        made.describe(
            &format!("<File ovf:id='f1' ovf:href='{href}'/>"),
            "<Disk ovf:diskId='v1' ovf:fileRef='f1'/>",
            "",
        );
        made.assert_refuses(&["cat", "-i", "box.ovf", "vhdd"], 6, &["--allow-file"]);
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1, "a lock file of {href}");
        let listed = text(&made.vboximg(&["-l", "--json", "--settings", "box.ovf"]).stdout);
        assert!(listed.contains("no access") && !listed.contains("4096"), "{listed}");
        let allowed = made.vboximg(&["cat", "-i", "box.ovf", "--allow-file", secret.to_str().unwrap(), "vhdd"]);
        assert!(allowed.status.success() && allowed.stdout == [b's'; 4096], "{allowed:?}");
    }
    // In an archive, they are names of members.
    made.describe("<File ovf:id='f1' ovf:href='/etc/hostname'/>", "<Disk ovf:diskId='v1' ovf:fileRef='f1'/>", "");
    made.run("tar", "-cf x.ova box.ovf d1.vmdk");
    made.assert_refuses(&["cat", "-i", "x.ova", "vhdd"], 6, &["/etc/hostname"]);
}

/// Copies a machine's directory of the registry and removes its settings.
fn without_settings(registry: &Fixture, machine: &str, to: &Path) {
    let done = Command::new("cp").arg("-r").arg(registry.machine_file(machine)).arg(to).status().unwrap();
    assert!(done.success());
    let settings = fs::read_dir(to).unwrap().map(|entry| entry.unwrap().path());
    for path in settings.filter(|path| path.extension().is_some_and(|end| end.to_string_lossy().starts_with("vbox"))) {
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn images_without_settings_are_listed_as_the_chains_that_they_form() {
    let registry = Fixture::registry();
    let directory = registry.root().join("found");
    without_settings(&registry, "alpine tree", &directory);
    fs::write(directory.join("notes.txt"), "no image").unwrap();
    fs::write(directory.join("cut.vdi"), &fs::read(directory.join("alpine tree.vdi")).unwrap()[..100]).unwrap();
    let list = || -> serde_json::Value {
        let output = registry.program().args(["-l", "--json", "--settings"]).arg(&directory).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let listed = list();
    let media = listed["media"].as_array().unwrap();
    let medium = |uuid: &str| media.iter().find(|medium| medium["uuid"].as_str().unwrap().starts_with(uuid)).unwrap();
    assert_eq!(media.len(), 6);
    assert_eq!(medium("6ae26a8c")["parent"], "fae6adfc-2b19-46e4-96de-a69c297fcec1");
    assert_eq!(medium("7cbdf0db")["children"].as_array().unwrap().len(), 2);
    let cut = media.iter().find(|medium| medium["name"] == "cut.vdi").unwrap();
    assert!(cut["state"] == "no access" && cut["problem"].as_str().unwrap().contains("corrupt"), "{cut}");
    let expected = registry.expected_media().into_iter().find(|medium| medium.uuid.starts_with("6ae26a8c")).unwrap();
    for which in ["6ae26a8c", "{6ae26a8c-9c16-432b-a7e4-20863223d4e6}.vdi"] {
        let mut hash = registry.program();
        let output = hash.args(["hash", "-i", which, "vhdd", "--settings"]).arg(&directory).output().unwrap();
        assert_eq!(text(&output.stdout), format!("{}  vhdd\n", expected.disk.as_ref().unwrap().sha256), "{output:?}");
    }
    fs::remove_file(directory.join("alpine tree.vdi")).unwrap();
    let listed = list();
    let orphans: Vec<&str> =
        listed["media"].as_array().unwrap().iter().filter_map(|one| one["problem"].as_str()).collect();
    let missing = "its parent 7cbdf0db-13ca-49e9-b300-774c4f7b7bdb is missing";
    assert_eq!(orphans.iter().filter(|problem| problem.contains(missing)).count(), 2, "{orphans:?}");
}

#[test]
fn images_that_are_each_others_parents_end_a_list() {
    let directory = tempfile::tempdir().unwrap();
    let qemu = |line: &str| {
        let done = Command::new("qemu-img").args(line.split(' ')).current_dir(directory.path()).output().unwrap();
        assert!(done.status.success(), "{line}: {done:?}");
    };
    qemu("create -q -f qcow2 a.qcow2 1M");
    qemu("create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2");
    qemu("rebase -u -f qcow2 -b b.qcow2 -F qcow2 a.qcow2");
    let output = Command::new(env!("CARGO_BIN_EXE_vboximg-mount"))
        .args(["-l", "--json", "--settings"])
        .arg(directory.path())
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).contains("it is its own ancestor"), "{output:?}");
}

#[test]
fn images_in_an_archive_name_others_of_it() {
    let made = Appliance::of_disks(1);
    made.run("qemu-img", "convert -O qcow2 d1.raw base.qcow2");
    made.run("qemu-img", "create -q -f qcow2 -b base.qcow2 -F qcow2 child.qcow2");
    made.run("qemu-img", "convert -O vmdk -o subformat=monolithicFlat d1.raw flat.vmdk");
    made.run("tar", "-cf x.tar child.qcow2 base.qcow2 flat.vmdk flat-flat.vmdk");
    for name in ["child.qcow2", "base.qcow2", "flat.vmdk", "flat-flat.vmdk"] {
        fs::remove_file(made.path(name)).unwrap();
    }
    made.assert_shows(&["cat", "-i", "x.tar/child.qcow2", "vhdd"], "d1.raw");
    made.assert_shows(&["cat", "-i", "x.tar/flat.vmdk", "vhdd"], "d1.raw");
    made.assert_refuses(&["-i", "x.tar/base.qcow2", "--rw", "point"], 6, &["it is in an archive, which is only read"]);
}
