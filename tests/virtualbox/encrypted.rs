//! The registry that the real VirtualBox encrypted, which lies in `../shared` and is not part of the project.

use crate::common::Fixture;
use crate::qemu::shared;
use crate::scene::{Mount, Said, said, sha256};
use std::path::Path;
use std::process::Command;

/// The unpacked registry; none where it is missing.
fn unpacked() -> Option<tempfile::TempDir> {
    let packed = shared("oracle/encrypted.tar.zst")?;
    let folder = tempfile::tempdir().unwrap();
    let done = Command::new("tar").arg("--zstd").arg("-xSf").arg(packed).arg("-C").arg(folder.path()).status().unwrap();
    assert!(done.success());
    Some(folder)
}

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vboximg-mount"));
    command.env("VBOX_USER_HOME", folder.join("home")).stdin(std::process::Stdio::null());
    command
}

#[test]
fn every_encrypted_medium_has_its_bytes() {
    let Some(folder) = unpacked() else { return };
    let password = folder.path().join("password");
    let media = std::fs::read_to_string(folder.path().join("expected/media.tsv")).unwrap();
    let mut compared = 0;
    for line in media.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let mut command = program(folder.path());
        command.args(["-i", words[0], "--password-file"]).arg(&password);
        let mount = Mount::new(&mut command).unwrap_or_else(|e| panic!("{line}: {e:?}"));
        assert_eq!(std::fs::metadata(mount.file("vhdd")).unwrap().len().to_string(), words[1]);
        assert_eq!(sha256(&mount.file("vhdd")), words[2], "{line}");
        mount.unmount();
        compared += 1;
    }
    assert_eq!(compared, 5);
}

#[test]
fn an_encrypted_machine_is_listed_with_its_password_and_named_without() {
    let Some(folder) = unpacked() else { return };
    let closed = said(program(folder.path()).arg("-l"));
    assert_eq!(closed.code, Some(0), "{}", closed.err);
    assert!(
        closed.out.contains("vault.vbox is encrypted with the key \"vault-id\"; give its password"),
        "{}",
        closed.out
    );
    let open = said(program(folder.path()).args(["-l", "--password-file"]).arg(folder.path().join("password")));
    assert!(open.out.contains("99c777de-c0af-4fe6-9ef4-be484d34a67e"), "{}", open.out);
}

#[test]
fn a_missing_and_a_wrong_password_have_an_exit_code_of_their_own() {
    let Some(folder) = unpacked() else { return };
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "correct horse battery\n").unwrap();
    let disk = folder.path().join("home/Machines/sealed/xts256.vdi");
    let failure = |password: Option<&Path>| {
        let mut command = program(folder.path());
        command.args(["-i", "f344203c-b344-47c0-9ed9-88547e27b4b2"]);
        if let Some(password) = password {
            command.arg("--password-file").arg(password);
        }
        let Err(Said { code, err, .. }) = Mount::new(&mut command) else { panic!("mounted without the password") };
        assert_eq!(code, Some(8), "{err}");
        err
    };
    let disk = disk.display();
    assert_eq!(
        failure(None),
        format!(
            "vboximg-mount: error: {disk} is encrypted with the key \"seal256\"; give its password with --password-file FILE\n"
        )
    );
    assert_eq!(
        failure(Some(&wrong)),
        format!(
            "vboximg-mount: error: The password for the key \"seal256\" of {disk} is wrong; check the password file for a line end or blanks too many\n"
        )
    );
}

#[test]
fn a_registry_without_encryption_asks_for_nothing() {
    let fixture = Fixture::registry();
    let answer = said(fixture.program().args(["-l", "--password-file", "/nowhere"]));
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""));
}
