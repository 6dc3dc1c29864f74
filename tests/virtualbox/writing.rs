//! Writing to media of the registry.

use crate::common::Fixture;
use crate::lab::reference;
use crate::scene::{Mount, Printed, printed};
use crate::support::sha256_of;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// The current state of "alpine tree": a difference on a difference on a base.
const LEAF: &str = "6ae26a8c-9c16-432b-a7e4-20863223d4e6";

/// `mount -o loop` that takes a device atomically.
const LOOP: &str = include_str!("../support/loop.sh");

fn sh(script: &str, arguments: &[&Path]) {
    let done = Command::new("bash")
        .args(["-euc", &format!("{LOOP}{script}"), "sh"])
        .args(arguments)
        .output()
        .expect("bash runs");
    assert!(done.status.success(), "{script}\n{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn the_kernel_writes_to_a_volume_and_finds_it_whole() {
    let fixture = Fixture::registry();
    let mount = Mount::new(fixture.program().args(["--rw", "-i", LEAF])).unwrap_or_else(|e| panic!("{e:?}"));
    let directory = tempfile::tempdir().unwrap();
    let script = "cd \"$2\"; mkdir m; loop=$(losetup --find --show \"$1\"); trap '{ umount m || true; } 2>/dev/null; losetup -d $loop' EXIT; \
                  mount $loop m; test \"$(cat m/home/user/hello.txt)\" = 'hello from the guest'; \
                  head -c 2000000 /dev/urandom > m/new; rm -r m/var/many; sha256sum < m/new > sum; umount m; e2fsck -fn $loop";
    sh(script, &[&mount.file("vol1"), directory.path()]);
    mount.unmount();
    let mount = Mount::new(fixture.program().args(["-i", LEAF])).unwrap_or_else(|e| panic!("{e:?}"));
    let script = "cd \"$2\"; mkdir -p m; mount -o loop,ro,noload \"$1\" m; trap 'umount m' EXIT; \
                  sha256sum < m/new | cmp - sum; test ! -e m/var/many";
    sh(script, &[&mount.file("vol1"), directory.path()]);
    mount.unmount();
}

#[test]
fn without_rw_nothing_is_written() {
    let fixture = Fixture::registry();
    let mount = Mount::new(fixture.program().args(["-i", LEAF])).unwrap_or_else(|e| panic!("{e:?}"));
    for name in ["vhdd", "vol0"] {
        let error = OpenOptions::new().write(true).open(mount.file(name)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::libc::EROFS), "{name}");
    }
    mount.unmount();
}

#[test]
fn media_that_others_depend_on_are_not_written_to() {
    let fixture = Fixture::registry();
    for (uuid, why) in [
        ("7cbdf0db-13ca-49e9-b300-774c4f7b7bdb", "would no longer fit it"),
        ("fbfdf717-2fe9-42ef-9935-d6a3d75bf091", "would no longer fit it"),
        ("47ba473e-4a94-4b5d-9bfe-61a542bb7192", "would no longer fit it"),
        ("17e58de6-ab7d-4a1f-8baf-b6339ba9d9ec", "would no longer fit it"),
    ] {
        let Err(Printed { code, err, .. }) = Mount::new(fixture.program().args(["--rw", "-i", uuid])) else {
            panic!("{uuid} was mounted for writing")
        };
        assert_eq!(code, Some(6), "{err}");
        assert!(err.contains(why), "{err}");
    }
}

#[test]
fn one_writer_or_many_readers() {
    let fixture = Fixture::registry();
    let writer = Mount::new(fixture.program().args(["--rw", "-i", LEAF])).unwrap_or_else(|e| panic!("{e:?}"));
    let Err(loser) = Mount::new(fixture.program().args(["-i", LEAF])) else { panic!("read while it is written") };
    assert_eq!(loser.code, Some(7), "{}", loser.err);
    assert!(loser.err.contains("is locked for writing by process "), "{}", loser.err);
    assert!(loser.err.contains(writer.file("").to_str().unwrap().trim_end_matches('/')), "{}", loser.err);
    let listing = printed(fixture.program().arg("-lw")).out;
    let row = |uuid: &str| listing.lines().find(|line| line.contains(uuid)).unwrap_or_default().to_owned();
    assert!(row(LEAF).contains("wlock"), "{listing}");
    assert!(row("7cbdf0db").contains("rlock"), "{listing}");
    writer.unmount();
    let first = Mount::new(fixture.program().args(["-i", LEAF])).unwrap_or_else(|e| panic!("{e:?}"));
    let second = Mount::new(fixture.program().args(["-i", LEAF])).unwrap_or_else(|e| panic!("{e:?}"));
    let Err(loser) = Mount::new(fixture.program().args(["--rw", "-i", LEAF])) else {
        panic!("written while it is read")
    };
    assert_eq!(loser.code, Some(7), "{}", loser.err);
    first.unmount();
    second.unmount();
    assert!(!printed(fixture.program().arg("-lw")).out.contains("lock  "));
}

/// What the real VirtualBox reads of a medium of a registry that lies in its own directory.
fn read_by_virtualbox(reference: &Path, home: &Path, uuid: &str) -> Vec<u8> {
    let inside = Path::new("/").join(home.strip_prefix(reference).unwrap());
    let mut command = Command::new(reference.join("vb-in"));
    command.env("VBOX_USER_HOME", inside).env("VBOX_IPC_SOCKETID", format!("test{}", std::process::id()));
    let output = command.args(["VBoxManage", "-q", "mediumio", &format!("--disk={uuid}"), "cat"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Every format that can be written, in chains with snapshots where the registry has them.
#[test]
fn the_real_virtualbox_reads_what_was_written() {
    let Some(reference) = reference() else { return };
    let fixture = Fixture::registry();
    let lab = tempfile::Builder::new().prefix("oracle-").tempdir_in(reference.join("lab")).unwrap();
    sh("cp -a --sparse=always \"$1\" \"$2\"", &[&fixture.home(), lab.path()]);
    let home = lab.path().join("home");
    let media = [
        LEAF,
        "6fd366f3-38e9-4573-b3b6-e930556c829c",
        "a7a730ca-65fe-4c83-bf6e-50c248c0256e",
        "6c9a682b-8401-4d67-a8dc-17c84da6587f",
        "12daa797-aa17-4d00-b94d-e136d4cec007",
        "f0f015fa-3190-4066-a003-e89d09254051",
        "0f50c64f-f1ec-4398-975f-bd910de08534",
        "8694b3ae-6d2a-4495-8d41-a4b75ed31f9a",
        "769b552e-a28e-4862-98bf-a033cb3046bb",
        "06dd565a-17b5-4efd-ab10-f8f9476fb7b2",
        "63f9318a-a43a-403b-b00e-f74ef9471e7b",
    ];
    for uuid in media {
        let mut command = fixture.program();
        command.env("VBOX_USER_HOME", &home).args(["--rw", "-i", uuid]);
        let mount = Mount::new(&mut command).unwrap_or_else(|e| panic!("{uuid}: {e:?}"));
        let disk = OpenOptions::new().write(true).open(mount.file("vhdd")).unwrap();
        for (i, at) in [0_u64, 4_000_001, 7 << 20, (11 << 20) - 70_000].into_iter().enumerate() {
            disk.write_all_at(&vec![u8::try_from(i).unwrap() * 50; 150_000], at).unwrap();
            disk.sync_all().unwrap();
        }
        drop(disk);
        mount.unmount();
        let mut command = fixture.program();
        command.env("VBOX_USER_HOME", &home).args(["-i", uuid]);
        let mount = Mount::new(&mut command).unwrap_or_else(|e| panic!("{uuid}: {e:?}"));
        let theirs = lab.path().join("theirs");
        File::create(&theirs).unwrap().write_all_at(&read_by_virtualbox(&reference, &home, uuid), 0).unwrap();
        assert_eq!(sha256_of(&mount.file("vhdd")), sha256_of(&theirs), "{uuid}");
        mount.unmount();
    }
}
