//! Appliances that the real VirtualBox exported, held against the disks that it exported.

use crate::lab::Reference;
use crate::scene::Mount;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn program(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vboximg-mount"));
    command.args(words).env("VBOX_USER_HOME", "/nowhere");
    command
}

fn output(words: &[&str]) -> Output {
    let output = program(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A disk of some random bytes with gaps.
fn source(reference: &Reference, name: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut state = len as u64;
    for at in (0..len).filter(|at| at / 100_000 % 3 != 1) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        bytes[at] = state.to_be_bytes()[0];
    }
    fs::write(reference.outside().join(format!("{name}.raw")), &bytes).unwrap();
    let (raw, vdi) = (reference.inside(&format!("{name}.raw")), reference.inside(&format!("{name}.vdi")));
    reference.run(&format!("VBoxManage convertfromraw {raw} {vdi} --format VDI"));
    bytes
}

#[test]
fn reads_what_virtualbox_exported() {
    let Some(reference) = Reference::new("appliances") else { return };
    let (a, b) = (source(&reference, "a", 12 << 20), source(&reference, "b", 5 << 20));
    let vms = reference.inside("vms");
    for (name, controller, disk) in [("one", "sata --portcount 4", "a"), ("two", "scsi --controller LsiLogic", "b")] {
        reference.run(&format!("VBoxManage createvm --name {name} --ostype Linux_64 --register --basefolder {vms}"));
        reference.run(&format!("VBoxManage storagectl {name} --name Disks --add {controller}"));
        let disk = reference.inside(&format!("{disk}.vdi"));
        reference
            .run(&format!("VBoxManage storageattach {name} --storagectl Disks --port 2 --type hdd --medium {disk}"));
    }
    for version in ["ovf09", "ovf10", "ovf20"] {
        let ova = reference.outside().join(format!("{version}.ova"));
        let both = version != "ovf09";
        let machines = if both { "one two" } else { "one" };
        let inside = reference.inside(&format!("{version}.ova"));
        reference.run(&format!("VBoxManage export {machines} -o {inside} --{version} --manifest"));
        let path = ova.to_str().unwrap();
        let listed = output(&["-l", "--json", "--settings", path]);
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
        assert_eq!(listed["machines"][0]["name"], "one", "{version}");
        assert_eq!(listed["machines"][0]["os_type"], "Linux_64", "{version}");
        let slot = &listed["machines"][0]["attachments"][0];
        assert_eq!((&slot["controller"], &slot["port"]), (&"Disks".into(), &2.into()), "{version}");
        assert!(output(&["cat", "--settings", path, "--vm", "one", "vhdd"]).stdout == a, "{version}");
        if both {
            assert!(output(&["cat", "--settings", path, "--vm", "two", "--disk", "Disks-2-0", "vhdd"]).stdout == b);
            let ambiguous = program(&["cat", "-i", path, "vhdd"]).output().unwrap();
            assert_eq!(ambiguous.status.code(), Some(2), "{ambiguous:?}");
        } else {
            let mount = Mount::new(&mut program(&["-i", path])).unwrap_or_else(|e| panic!("{e:?}"));
            assert!(fs::read(mount.file("vhdd")).unwrap() == a);
            assert_eq!(fs::read_link(mount.file("ovf09.ova")).unwrap(), ova);
            mount.unmount();
        }
        assert_manifest_fits(&ova);
    }
}

fn assert_manifest_fits(ova: &Path) {
    let checked = output(&["check", "--settings", ova.to_str().unwrap(), "--vm", "one"]);
    let text = String::from_utf8(checked.stdout).unwrap();
    let last = text.lines().last().unwrap();
    assert!(last.contains(": manifest of ") && last.ends_with(": no findings"), "{text}");
}
