//! Wrong and missing passwords and corrupt key stores: the output of the program, and its exit code.

use crate::scene::{Mount, Printed, assert_golden, printed};
use crate::sealed::{Sealed, VAULT_DISK, VDI_BASE, VDI_LEAF, VMDK_LEAF};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

/// The output of a mount that must be refused.
fn refusal(command: &mut Command) -> Printed {
    match Mount::new(command) {
        Err(printed) => printed,
        Ok(_) => panic!("it was mounted"),
    }
}

#[test]
fn a_missing_password_is_asked_for_by_key() {
    let Some(sealed) = Sealed::new() else { return };
    let mut all = String::new();
    for uuid in [VDI_BASE, VDI_LEAF, VMDK_LEAF, VAULT_DISK] {
        let other_key = ["--password-file", "of-another-key=password"];
        for options in [&["-i", uuid][..], &["--rw", "-i", uuid], &[other_key[0], other_key[1], "-i", uuid]] {
            writeln!(all, "=== {}\n{}", options.join(" "), refusal(sealed.program().args(options))).unwrap();
        }
    }
    assert_golden("encrypted-no-password.txt", sealed.root(), &all);
}

#[test]
fn a_wrong_password_is_named_by_key() {
    let Some(sealed) = Sealed::new() else { return };
    let mut all = String::new();
    for (name, text) in
        [("longer", "correct horse \n"), ("shorter", "correct hors"), ("empty", "\n"), ("long", &"x".repeat(5000))]
    {
        sealed.write(name, text);
    }
    for file in ["longer", "shorter", "empty", "long", "missing", "home"] {
        for (key, uuid) in [("seal256", VDI_LEAF), ("vault-id", VAULT_DISK)] {
            let file = format!("{key}={file}");
            let options = ["--password-file", &file, "-i", uuid];
            writeln!(all, "=== {}\n{}", options.join(" "), refusal(sealed.program().args(options))).unwrap();
        }
    }
    for list in ["-lw", "-l --vm vault"] {
        let options: Vec<&str> = list.split(' ').chain(["--password-file", "longer"]).collect();
        writeln!(all, "=== {}\n{}", options.join(" "), printed(sealed.program().args(options))).unwrap();
    }
    assert_golden("encrypted-wrong-password.txt", sealed.root(), &all);
}

/// The range of the value that follows `prefix`.
fn value_after(text: &str, prefix: &str) -> Range<usize> {
    let start = text.find(prefix).unwrap_or_else(|| panic!("no {prefix}")) + prefix.len();
    start..start + text[start..].find('"').unwrap()
}

/// Changes the bytes of a key store in a settings file.
fn doctor(settings: &Path, prefix: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut text = fs::read_to_string(settings).unwrap();
    let range = value_after(&text, prefix);
    let mut bytes = STANDARD.decode(text[range.clone()].replace("&#10;", "")).unwrap();
    change(&mut bytes);
    text.replace_range(range, &STANDARD.encode(bytes));
    fs::write(settings, text).unwrap();
}

fn put(at: usize, new: &[u8]) -> impl Fn(&mut Vec<u8>) {
    move |bytes| bytes[at..at + new.len()].copy_from_slice(new)
}

/// The first key store of `sealed` is that of the VDI, version 1; the one of `vault` has version 2.
#[test]
fn every_corrupt_field_of_a_key_store_is_named() {
    let Some(sealed) = Sealed::new() else { return };
    let (disks, machine) = (sealed.machine_file("sealed/sealed.vbox"), sealed.machine_file("vault/vault.vbox"));
    let (disk_prefix, machine_prefix) = ("\"CRYPT/KeyStore\" value=\"", "keyStore=\"");
    let originals = [&disks, &machine].map(|path| fs::read(path).unwrap());
    let billion = 1_000_000_000_u32.to_le_bytes();
    // Field, offsets in versions 1 and 2, new bytes.
    let fields: [(&str, usize, usize, &[u8]); 13] = [
        ("magic", 0, 0, b"LUKS"),
        ("version", 4, 4, &[0, 3]),
        ("cipher unknown", 6, 8, b"TWOFISH-XTS\0"),
        ("cipher for something else", 6, 8, b"AES-CTR256\0\0\0\0\0\0\0\0\0"),
        ("cipher without an end", 6, 8, &[b'A'; 32]),
        ("kdf unknown", 38, 40, b"SCRYPT\0\0\0\0\0\0\0\0\0"),
        ("cbKey", 70, 72, &[48]),
        ("cbDekDigest", 106, 108, &[0xFF; 4]),
        ("a billion rounds for the digest", 142, 144, &billion),
        ("no round for the digest", 142, 144, &[0; 4]),
        ("a billion rounds for the key", 178, 180, &billion),
        ("cbDekEnc too large", 182, 184, &[0xFF; 4]),
        ("cbDekEnc of another cipher", 182, 184, &[16]),
    ];
    let mut all = String::new();
    let mut record = |what: &str, options: &[&str]| {
        let uuid = options.last().unwrap();
        let printed = refusal(sealed.open_for(uuid).args(options));
        writeln!(all, "=== {what}\n{printed}").unwrap();
        for (path, original) in [&disks, &machine].into_iter().zip(&originals) {
            fs::write(path, original).unwrap();
        }
    };
    let settings = machine.to_str().unwrap();
    let vault = ["--settings", settings, "-i", VAULT_DISK];
    for (what, at_1, at_2, new) in fields {
        doctor(&disks, disk_prefix, put(at_1, new));
        record(&format!("disk: {what}"), &["-i", VDI_LEAF]);
        doctor(&machine, machine_prefix, put(at_2, new));
        record(&format!("machine: {what}"), &vault);
    }
    for (what, size) in [("empty", 0), ("cut in the magic", 3), ("cut in a field", 160), ("a byte short", 249)] {
        doctor(&disks, disk_prefix, |bytes| bytes.truncate(size));
        record(&format!("disk: {what}"), &["-i", VDI_LEAF]);
        doctor(&machine, machine_prefix, |bytes| bytes.truncate(size + 2));
        record(&format!("machine: {what}"), &vault);
    }
    doctor(&disks, disk_prefix, |bytes| bytes.resize(400, 0));
    record("disk: longer", &["-i", VDI_LEAF]);
    doctor(&disks, disk_prefix, |bytes| bytes.resize(1 << 20, 0));
    record("disk: a mebibyte", &["-i", VDI_LEAF]);
    for (path, prefix, options) in [(&disks, disk_prefix, &["-i", VDI_LEAF][..]), (&machine, machine_prefix, &vault)] {
        for (what, new) in [("base64 with another character", "U0N$"), ("base64 that is cut", "U0NOR")] {
            let mut text = fs::read_to_string(path).unwrap();
            let range = value_after(&text, prefix);
            text.replace_range(range, new);
            fs::write(path, text).unwrap();
            record(what, options);
        }
    }
    // What only the password's check can see is a wrong password.
    doctor(&disks, disk_prefix, |bytes| bytes[200] ^= 1);
    record("disk: a bit of the wrapped key", &["-i", VDI_LEAF]);
    // The settings themselves, and the UUID that they are bound to.
    let text = String::from_utf8(originals[1].clone()).unwrap();
    for (what, changed) in [
        ("machine: a bit of the text", text.replacen("KAmIkaRQ", "KAmIkaRR", 1)),
        ("machine: text that is no base64", text.replacen("KAmIkaRQ", "KAm-kaRQ", 1)),
        ("machine: another UUID", text.replacen("8295182f", "8295182e", 1)),
    ] {
        assert_ne!(changed, text);
        fs::write(&machine, changed).unwrap();
        record(what, &vault);
    }
    assert_golden("encrypted-damage.txt", sealed.root(), &all);
}
