use super::*;
use crate::crypt::Passwords;
use crate::error_kind::{ErrorKind, message};
use crate::registry::tests::resolve;
use sha2::Digest as _;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// A directory with a descriptor and its files.
struct Made(TempDir);

impl Made {
    /// `disks` and `files` are elements, `systems` too.
    fn new(files: &str, disks: &str, systems: &str) -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        let text = format!(
            "<Envelope xmlns:ovf='http://schemas.dmtf.org/ovf/envelope/1'><References>{files}</References>\
             <DiskSection>{disks}</DiskSection>{systems}</Envelope>"
        );
        made.write("box.ovf", text.as_bytes());
        made
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, name: &str) -> Result<Registry> {
        Registry::load_from(&self.path(name), &Passwords::default())
    }

    /// The file names of the media and why they cannot be opened.
    fn problems(&self) -> Vec<(String, String)> {
        let registry = self.load("box.ovf").unwrap();
        let media = registry.media.iter().map(|(_, medium)| medium);
        media.map(|medium| (medium.file_name(), medium.problem.clone().unwrap_or_default())).collect()
    }
}

fn file(id: &str, href: &str) -> String {
    format!("<File ovf:id='{id}' ovf:href='{href}'/>")
}

fn disk(id: &str, file: &str) -> String {
    format!("<Disk ovf:diskId='{id}' ovf:fileRef='{file}' ovf:format='raw'/>")
}

fn item(fields: &[(&str, &str)]) -> String {
    let fields: String = fields.iter().map(|(name, text)| format!("<{name}>{text}</{name}>")).collect();
    format!("<Item>{fields}</Item>")
}

#[test]
fn disks_get_the_slots_that_virtualbox_gives_them_at_import() {
    let controller = |instance, kind, subtype, address| {
        item(&[("InstanceID", instance), ("ResourceType", kind), ("ResourceSubType", subtype), ("Address", address)])
    };
    let device = |kind, parent, on_parent, host| {
        item(&[("ResourceType", kind), ("Parent", parent), ("AddressOnParent", on_parent), ("HostResource", host)])
    };
    let items = [
        controller("3", "5", "PIIX4", "0"),
        controller("4", "5", "PIIX4", "1"),
        controller("5", "6", "lsilogic", "0"),
        controller("6", "20", "AHCI", "0"),
        controller("7", "6", "VirtualSCSI", "1"),
        controller("8", "20", "vmware.nvme.controller", "0"),
        device("17", "5", "2", "ovf:/disk/a"),
        device("17", "4", "1", "disk/b"),
        device("17", "3", "2", "/disk/a"),
        device("15", "3", "1", "ovf:/file/f3"),
        device("17", "6", "1", "ovf://disk/b"),
        device("17", "6", "1", "ovf:/disk/a"),
        device("17", "7", "0", "ovf:/disk/none"),
        device("17", "8", "", ""),
        device("14", "", "", ""),
    ];
    let system = format!(
        "<VirtualSystem ovf:id='vm'><VirtualHardwareSection>{}</VirtualHardwareSection></VirtualSystem>",
        items.concat()
    );
    let files = [file("f1", "a.img"), file("f2", "b.img"), file("f3", "c.iso")].concat();
    let made = Made::new(&files, &[disk("a", "f1"), disk("b", "f2")].concat(), &system);
    let registry = made.load("box.ovf").unwrap();
    let machine = registry.machines[0].machine.as_ref().unwrap();
    let name = |uuid| registry.media.get(registry.media.find(uuid).unwrap()).file_name();
    let slots: Vec<(String, String)> =
        machine.attachments.iter().map(|slot| (slot.slot(), slot.medium.map_or_else(String::new, name))).collect();
    let expected = [
        ("SCSI-2-0", "a.img"),
        ("IDE-1-1", "b.img"),
        ("IDE-1-0", "a.img"),
        ("IDE-0-1", "c.iso"),
        ("SATA-1-0", "b.img"),
        ("SATA-2-0", "a.img"),
        ("SCSI 2-0-0", ""),
        ("NVMe-0-0", ""),
        ("Floppy-0-0", ""),
    ];
    assert_eq!(slots, expected.map(|(slot, name)| (slot.to_owned(), name.to_owned())));
    assert_eq!(machine.name, "vm");
    // The same each time, so that they can be given with -i.
    assert_eq!(machine.uuid, made.load("box.ovf").unwrap().machines[0].uuid);
}

#[test]
fn a_disk_that_cannot_be_opened_says_why() {
    let files = [
        file("url", "http://example.com/a.vmdk"),
        "<File ovf:id='zip' ovf:href='z.vmdk.gz' ovf:compression='gzip'/>".to_owned(),
        "<File ovf:id='parts' ovf:href='p.vmdk' ovf:chunkSize='4096'/>".to_owned(),
        file("good", "good.img"),
        file("blank", "with%20blank.img"),
    ];
    let disks = [
        disk("d1", "url"),
        disk("d2", "zip"),
        disk("d3", "parts"),
        disk("d4", "nowhere"),
        "<Disk ovf:diskId='d5' ovf:capacity='3' ovf:capacityAllocationUnits='byte * 2^20'/>".to_owned(),
        "<Disk ovf:diskId='d6' ovf:fileRef='good' ovf:parentRef='d9'/>".to_owned(),
        "<Disk ovf:diskId='d7' ovf:fileRef='good' ovf:parentRef='d8'/>".to_owned(),
        "<Disk ovf:diskId='d8' ovf:fileRef='good' ovf:parentRef='d7'/>".to_owned(),
        disk("d10", "good"),
        disk("d11", "blank"),
    ];
    let made = Made::new(&files.concat(), &disks.concat(), "");
    made.write("good.img", &[1; 512]);
    made.write("with blank.img", &[1; 512]);
    let expected = [
        ("a.vmdk", "only local files are opened"),
        ("z.vmdk.gz", "compressed by gzip"),
        ("p.vmdk", "join them with cat"),
        ("nowhere", "no file with the id \"nowhere\""),
        ("d5", "an empty disk of 3145728 bytes"),
        ("good.img", "changes to the disk \"d9\", which is not described"),
        ("good.img", ""),
        ("with blank.img", ""),
        ("good.img", "changes to the disk \"d8\", whose parents lead in a circle"),
        ("good.img", "changes to the disk \"d7\", whose parents lead in a circle"),
    ];
    for ((name, problem), (expected_name, expected)) in made.problems().iter().zip(expected) {
        assert!(name == expected_name && problem.contains(expected), "{name}: {problem}, expected {expected}");
        assert_eq!(problem.is_empty(), expected.is_empty(), "{name}: {problem}");
    }
    assert_eq!(made.problems().len(), expected.len());
}

#[test]
fn the_only_disk_is_meant_and_several_are_refused_with_how_to_choose() {
    let made = Made::new(&file("f", "a.img"), &disk("a", "f"), "");
    made.write("a.img", &[1; 512]);
    let chain = |name: &str| resolve(None, made.path(name), Path::new("/"));
    let only = chain("box.ovf").unwrap();
    assert_eq!((only.links.len(), &only.links[0].path), (1, &made.path("a.img")));
    let error = crate::registry::check_writable(&only).unwrap_err();
    assert!(error.to_string().contains("it is a disk of an appliance; import that"), "{error}");
    let several =
        Made::new(&[file("f", "a.img"), file("g", "b.img")].concat(), &[disk("a", "f"), disk("b", "g")].concat(), "");
    let error = resolve(None, several.path("box.ovf"), Path::new("/")).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(text.contains("a.img") && text.contains("b.img") && text.contains("--settings"), "{text}");
    let none = Made::new("", "", "");
    assert_eq!(resolve(None, none.path("box.ovf"), Path::new("/")).unwrap_err().kind(), ErrorKind::NotFound);
}

/// Packs files of the directory with tar(1).
fn tar(made: &Made, archive: &str, names: &[&str]) {
    let mut tar = std::process::Command::new("tar");
    tar.arg("-C").arg(made.0.path()).arg("-cf").arg(made.path(archive)).args(names);
    assert!(tar.status().unwrap().success());
}

#[test]
fn an_archive_is_what_its_members_are() {
    let made = Made::new(&file("f", "a.img"), &disk("a", "f"), "");
    made.write("a.img", &[1; 512]);
    tar(&made, "x.box", &["./box.ovf", "./a.img"]);
    let registry = made.load("x.box").unwrap();
    assert_eq!(registry.media.get(MediumId(0)).location, made.path("x.box/a.img"));
    assert!(made.load("x.box/box.ovf").is_ok());
    let chain = resolve(None, made.path("x.box"), Path::new("/")).unwrap();
    assert_eq!(chain.links[0].path, made.path("x.box/a.img").canonicalize().unwrap_or(made.path("x.box/a.img")));
    made.write("b.ovf", b"<Envelope/>");
    tar(&made, "two.ova", &["box.ovf", "b.ovf"]);
    assert!(made.load("two.ova").unwrap_err().to_string().contains("several OVF descriptions; give one, such as"));
    tar(&made, "bare.tar", &["a.img"]);
    let text = made.load("bare.tar").unwrap_err().to_string();
    assert!(text.contains("without the OVF description") && text.contains("bare.tar/a.img"), "{text}");
    made.write("a.txt", b"text");
    tar(&made, "none.tar", &["a.txt"]);
    assert!(made.load("none.tar").unwrap_err().to_string().contains("no disk image is seen in it"));
    let text = made.load("x.box/a.img").unwrap_err().to_string();
    assert!(text.contains("it has no settings; give a disk image with --image"), "{text}");
    made.write("a.vmx", b"config.version = \"8\"\nvirtualHW.version = \"8\"\n");
    assert!(message(&made.load("a.vmx").unwrap_err()).contains("VMware"));
}

#[test]
fn the_manifest_is_read_and_held_against_the_files() {
    let made = Made::new(&file("f", "a (1).img"), &disk("a", "f"), "");
    made.write("a (1).img", &[3; 2_000_000]);
    assert!(Manifest::of(&made.path("box.ovf")).unwrap().is_none());
    let digest =
        |bytes: &[u8]| sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let good = digest(&[3; 2_000_000]);
    let lines = format!(
        "SHA256(a (1).img)= {good}\r\nSHA1 (box.ovf) = {}\n\nSHA-512(gone)= {}\n",
        "0".repeat(40),
        "A".repeat(128)
    );
    made.write("box.mf", lines.as_bytes());
    tar(&made, "x.ova", &["box.ovf", "box.mf", "a (1).img"]);
    for name in ["box.ovf", "x.ova"] {
        let manifest = Manifest::of(&made.path(name)).unwrap().unwrap();
        let mut read = 0;
        let mut verify = |at: usize| {
            manifest.verify(&manifest.entries[at], &mut |len| -> Result<()> {
                read += len;
                Ok(())
            })
        };
        assert_eq!(verify(0).unwrap(), None, "{name}");
        let found = verify(1).unwrap().unwrap().to_string();
        assert!(found.starts_with("SHA1 ") && found.len() == 45, "{found}");
        assert_eq!(verify(2).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(read, manifest.total());
    }
    for wrong in ["SHA256(a)= 12", "MD5(a)= 00", "nothing", "SHA1(a)= ääääääääääääääääääää"] {
        made.write("box.mf", wrong.as_bytes());
        let error = Manifest::of(&made.path("box.ovf")).unwrap_err();
        assert!(error.to_string().contains("box.mf is broken in line 1"), "{error}");
    }
}
