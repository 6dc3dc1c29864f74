//! Reading encrypted disks and machines: their bytes, their lists, and where passwords come from.

use crate::common::Fixture;
use crate::scene::{Mount, Printed, assert_golden, memory_of, printed};
use crate::sealed::{PASSWORD, Sealed, VAULT_DISK, VDI_BASE, VDI_LEAF, VMDK_LEAF};
use crate::support::{ended, is_root, needs, sha256_of, until};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

/// What was written over a part of the VMDK's second volume after the snapshot.
const MARK: &[u8] = b"vmdk, 128 bits";

#[test]
fn every_encrypted_medium_has_its_bytes_volumes_and_files() {
    let Some(sealed) = Sealed::new() else { return };
    let numbers: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    let mut compared = 0;
    for (uuid, size, sum) in sealed.media() {
        let mount = sealed.mount(&["-g"], &uuid);
        let disk = fs::read(mount.file("vhdd")).unwrap();
        assert_eq!(disk.len() as u64, size, "{uuid}");
        assert_eq!(sha256_of(&mount.file("vhdd")), sum, "{uuid}");
        let list = printed(sealed.open_for(&uuid).args(["-l", "--json", "-i", &uuid])).out;
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        for volume in list["partitions"].as_array().unwrap() {
            let number = |name: &str| usize::try_from(volume[name].as_u64().unwrap()).unwrap();
            let (start, size) = (number("offset"), number("size"));
            let bytes = fs::read(mount.file(&format!("vol{}", volume["index"]))).unwrap();
            assert!(bytes == disk[start..start + size], "{uuid}: {volume}");
        }
        assert_eq!(list["partitions"].as_array().unwrap().len(), 2, "{uuid}");
        let etc = mount.file("fs1/etc");
        assert_eq!(fs::read_to_string(etc.join("hostname")).unwrap(), "sealed\n", "{uuid}");
        let mut file = fs::read(etc.join("numbers")).unwrap();
        if uuid == VMDK_LEAF {
            // Overwritten in the volume after the snapshot.
            let at = file.windows(MARK.len()).position(|window| window == MARK).unwrap();
            file[at..at + MARK.len()].copy_from_slice(&numbers.as_bytes()[at..at + MARK.len()]);
        }
        assert!(file == numbers.as_bytes(), "{uuid}");
        assert_eq!(fs::read_link(etc.join("link")).unwrap().to_str(), Some("hostname"), "{uuid}");
        mount.unmount();
        compared += 1;
    }
    assert_eq!(compared, 5);
}

#[test]
fn without_a_password_everything_is_listed_with_its_key() {
    let Some(sealed) = Sealed::new() else { return };
    for (name, arguments) in [
        ("encrypted-short.txt", "-l"),
        ("encrypted-wide.txt", "-lw"),
        ("encrypted-long.txt", "-lv"),
        ("encrypted-json.txt", "-l --json"),
        ("encrypted-machine.txt", "-l --vm vault"),
    ] {
        assert_golden(name, sealed.root(), &printed(sealed.program().args(arguments.split(' '))));
    }
}

#[test]
fn with_its_password_a_machine_is_listed_like_any_other() {
    let Some(sealed) = Sealed::new() else { return };
    assert_golden("encrypted-open.txt", sealed.root(), &printed(sealed.open().args(["-l", "-w"])));
    let settings = sealed.machine_file("vault/vault.vbox");
    let one = printed(sealed.open().args(["-lw", "--settings"]).arg(settings));
    assert_eq!(one.code, Some(0), "{one:?}");
    assert!(one.out.contains(VAULT_DISK) && !one.out.contains(VDI_LEAF), "{one:?}");
}

#[test]
fn passwords_come_from_files_per_key_the_environment_and_standard_input() {
    let Some(sealed) = Sealed::new() else { return };
    let wrong = sealed.write("wrong", "incorrect horse\n");
    let right = sealed.write("with-line-end", &format!("{PASSWORD}\r\nnot this\n"));
    let (wrong, right) = (wrong.to_str().unwrap(), right.to_str().unwrap());
    // The file for the key goes before one for any key, in any order.
    for (uuid, key) in [(VDI_LEAF, "seal256"), (VAULT_DISK, "vault-id")] {
        let one = format!("{key}={right}");
        let other = format!("of-another-key={wrong}");
        for files in [[wrong, &one, &other], [&one, &other, wrong]] {
            let mut command = sealed.program();
            for file in files {
                command.args(["--password-file", file]);
            }
            Mount::new(command.args(["-i", uuid])).unwrap_or_else(|e| panic!("{uuid} {files:?}: {e:?}")).unmount();
        }
    }
    let environment = || {
        let mut command = sealed.program();
        command.env("VBOXIMG_PASSWORD_FILE", format!("seal256={right}")).args(["-i", VDI_LEAF]);
        command
    };
    Mount::new(&mut environment()).unwrap_or_else(|e| panic!("{e:?}")).unmount();
    // The option goes before the environment.
    let wrong = format!("seal256={wrong}");
    let Err(Printed { code, .. }) = Mount::new(environment().args(["--password-file", &wrong])) else {
        panic!("mounted")
    };
    assert_eq!(code, Some(8));
}

/// A mount in the background takes a password from standard input too, and waits for no more than its line.
#[test]
fn a_pipe_gives_the_password_and_need_not_end() {
    let Some(sealed) = Sealed::new() else { return };
    let point = tempfile::tempdir().unwrap();
    let mut command = sealed.program();
    command.args(["--password-file", "-", "-i", VAULT_DISK]).arg(point.path());
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(PASSWORD.as_bytes()).unwrap();
    pipe.write_all(b"\n").unwrap();
    assert!(ended(&mut child).success());
    drop(pipe);
    assert!(fs::metadata(point.path().join("vol1")).is_ok());
    let ended = printed(sealed.program().arg("-u").arg(point.path()));
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// An image file has no sign of its encryption: the disk of a machine that cannot be opened must not be shown
/// as it lies there.
#[test]
fn refuses_the_disk_of_a_locked_machine() {
    let Some(sealed) = Sealed::new() else { return };
    let disk = sealed.machine_file("vault/vault.vdi");
    for (name, what) in [
        ("encrypted-disk-by-path.txt", disk.to_str().unwrap()),
        ("encrypted-disk-by-uuid.txt", VAULT_DISK),
        ("encrypted-machine-as-image.txt", "vault"),
    ] {
        assert_golden(name, sealed.root(), &printed(sealed.program().args(["-l", "-i", what])));
    }
    let open = printed(sealed.open().args(["-l", "-i"]).arg(&disk));
    assert!(open.code == Some(0) && open.out.contains("vault.vdi(1)"), "{open:?}");
}

/// The list is complete, and the exit status reports the error.
#[test]
fn a_wrong_password_of_a_listed_machine_is_an_error() {
    let Some(sealed) = Sealed::new() else { return };
    let wrong = sealed.write("wrong", "incorrect horse\n").display().to_string();
    for file in [&*wrong, "/nowhere"] {
        for form in ["-l", "-lw", "-lv", "--list"] {
            let all = printed(sealed.program().args([form, "--password-file", file]));
            assert_eq!(all.code, Some(8), "{all:?}");
            assert!(all.out.contains(VDI_LEAF) && all.err.contains("\"vault-id\""), "{all:?}");
        }
        // Nobody asks for the machine that it does not open, or it is for another key.
        for arguments in
            [["--vm", "sealed", "--password-file", file], ["--vm", "vault", "--password-file", "other=wrong"]]
        {
            let one = printed(sealed.program().arg("-l").args(arguments));
            assert_eq!((one.code, one.err.as_str()), (Some(0), ""), "{arguments:?}: {one:?}");
        }
    }
}

#[test]
fn does_not_ask_for_passwords_without_encryption() {
    let fixture = Fixture::registry();
    let answer = printed(fixture.program().args(["-l", "--password-file", "/nowhere"]));
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""));
}

/// Secrets are never printed, however verbose the output.
#[test]
fn no_log_and_no_lock_file_has_the_password_or_key() {
    let Some(sealed) = Sealed::new() else { return };
    let point = tempfile::tempdir().unwrap();
    let mut command = sealed.open_for(VDI_LEAF);
    command.args(["-v", "-d", "--rw", "-i", VDI_LEAF]).arg(point.path());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("it is mounted", || fs::metadata(point.path().join("vol1")).is_ok());
    fs::read(point.path().join("vhdd")).unwrap();
    let directory = sealed.machine_file("sealed/Snapshots");
    let mut lock_files = 0;
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.to_str().unwrap().ends_with(".vboximg-lock") {
            assert!(!String::from_utf8_lossy(&fs::read(&entry).unwrap()).contains(PASSWORD), "{}", entry.display());
            lock_files += 1;
        }
    }
    assert_eq!(lock_files, 1);
    assert_eq!(printed(sealed.program().arg("-u").arg(point.path())).code, Some(0));
    let output = child.wait_with_output().unwrap();
    let all = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(all.contains("Opening medium chain") && all.len() > 1000, "{all}");
    assert!(!all.contains(PASSWORD), "{all}");
}

/// The password is needed for a moment, and the mount may last for months.
#[test]
fn the_memory_of_a_mount_does_not_hold_the_password() {
    let Some(sealed) = Sealed::new() else { return };
    needs!(is_root(), "root, to read the memory of the program");
    for uuid in [VDI_BASE, VAULT_DISK] {
        let point = tempfile::tempdir().unwrap();
        // Not through `setsid`: the number of the child is to be the program's.
        let mut command = Command::new(env!("CARGO_BIN_EXE_vboximg-mount"));
        command.env("VBOX_USER_HOME", sealed.home()).args(["-f", "--password-file", "-", "-i", uuid]).arg(point.path());
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
        until("it is mounted", || fs::metadata(point.path().join("vol1")).is_ok());
        let memory = memory_of(child.id());
        assert!(memory.len() > 100_000);
        // What is known to be there is found, and so would be the password.
        let has = |text: &[u8]| memory.windows(text.len()).any(|window| window == text);
        let found = (has(point.path().to_str().unwrap().as_bytes()), has(PASSWORD.as_bytes()));
        assert_eq!(printed(sealed.program().arg("-u").arg(point.path())).code, Some(0));
        assert!(ended(&mut child).success());
        assert_eq!(found, (true, false), "{uuid}");
    }
}

/// The kernel keeps the files of a process that it may not dump from its own user. Seen before the password is there.
#[test]
fn a_process_that_gets_a_password_leaves_no_core() {
    let Some(sealed) = Sealed::new() else { return };
    needs!(is_root(), "root, to become another user");
    let program = sealed.root().join("program");
    fs::copy(env!("CARGO_BIN_EXE_vboximg-mount"), &program).unwrap();
    assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(sealed.root()).status().unwrap().success());
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command.args(["-lw", "--vm", "vault", "--password-file", "-"]).env("VBOX_USER_HOME", sealed.home());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let of_process = |name: &str| format!("/proc/{}/{name}", child.id());
    until("it is so", || {
        let name = fs::read_to_string(of_process("comm")).unwrap();
        name == "program\n" && fs::metadata(of_process("maps")).unwrap().uid() == 0
    });
    child.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains(VAULT_DISK), "{output:?}");
}
