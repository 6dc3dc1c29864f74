//! Writing to encrypted disks, and what the real VirtualBox reads of it.

use crate::lab::reference;
use crate::sealed::{Sealed, VAULT_DISK, VDI_LEAF, VMDK_LEAF};
use crate::support::{sha256_of, until};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// The machine that is encrypted whole.
const VAULT: &str = "8295182f-b71e-4a2b-ae16-72f8aa510384";

/// The disks that can be written: differences of a VDI and a VMDK, and the base of `vault`.
const WRITABLE: [&str; 3] = [VDI_LEAF, VMDK_LEAF, VAULT_DISK];

/// Offsets and lengths: within a sector, over the edges of sectors, of VMDK's grains (64 KiB), of VDI's blocks (1 MiB),
/// whole blocks, the disk's last byte. The disks' last mebibytes are not allocated.
const WRITES: [(u64, usize); 10] = [
    (3, 5),
    (1000, 100),
    (65_530, 12),
    (300_000, 70_001),
    ((1 << 20) - 1, 2),
    (2 << 20, 1 << 20),
    ((3 << 20) + 511, 514),
    ((4 << 20) - 70_000, 140_000),
    ((4 << 20) + 500_000, 1),
    ((5 << 20) - 1, 1),
];

/// The bytes of a disk, seen through a mount.
fn disk(sealed: &Sealed, uuid: &str) -> Vec<u8> {
    let mount = sealed.mount(&[], uuid);
    let bytes = fs::read(mount.file("vhdd")).unwrap();
    mount.unmount();
    bytes
}

/// Writes to a disk through a mount of `vhdd` and its volumes; what the disk must have then.
fn write(sealed: &Sealed, uuid: &str) -> Vec<u8> {
    let mut expected = disk(sealed, uuid);
    let mount = sealed.mount(&["--rw"], uuid);
    let vhdd = OpenOptions::new().write(true).open(mount.file("vhdd")).unwrap();
    for (i, (at, len)) in WRITES.into_iter().enumerate() {
        let bytes: Vec<u8> = (0..len).map(|n| u8::try_from((n * 7 + i * 31) % 251).unwrap()).collect();
        vhdd.write_all_at(&bytes, at).unwrap();
        let at = usize::try_from(at).unwrap();
        expected[at..at + len].copy_from_slice(&bytes);
    }
    vhdd.sync_all().unwrap();
    // A volume is a range of the disk: the first one begins at 1 MiB.
    let volume = OpenOptions::new().write(true).open(mount.file("vol0")).unwrap();
    volume.write_all_at(b"within the first volume", 777_777).unwrap();
    let at = (1 << 20) + 777_777;
    expected[at..at + 23].copy_from_slice(b"within the first volume");
    drop((vhdd, volume));
    mount.unmount();
    expected
}

#[test]
fn what_was_written_is_read_and_all_else_is_as_it_was() {
    let Some(sealed) = Sealed::new() else { return };
    for uuid in WRITABLE {
        let expected = write(&sealed, uuid);
        assert!(disk(&sealed, uuid) == expected, "{uuid}");
    }
    // Their parents are as they were.
    let children = [VDI_LEAF, VMDK_LEAF, VAULT_DISK];
    for (uuid, _, sum) in sealed.media().into_iter().filter(|(uuid, ..)| !children.contains(&uuid.as_str())) {
        let mount = sealed.mount(&[], &uuid);
        assert_eq!(sha256_of(&mount.file("vhdd")), sum, "{uuid}");
        mount.unmount();
    }
}

/// Nothing that was written lies in the image in clear.
#[test]
fn what_was_written_is_encrypted_in_the_image() {
    let Some(sealed) = Sealed::new() else { return };
    let image = sealed.machine_file(&format!("sealed/Snapshots/{{{VDI_LEAF}}}.vdi"));
    let marker = b"a text that no ciphertext has";
    let mount = sealed.mount(&["--rw"], VDI_LEAF);
    let vhdd = OpenOptions::new().write(true).open(mount.file("vhdd")).unwrap();
    [1000, 300_000, 4_700_000].into_iter().for_each(|at| vhdd.write_all_at(marker, at).unwrap());
    drop(vhdd);
    mount.unmount();
    let bytes = fs::read(image).unwrap();
    assert!(!bytes.windows(marker.len()).any(|window| window == marker));
}

/// The real VirtualBox's service, which keeps the password of a machine while it lives.
struct Service<'a> {
    child: Child,
    reference: &'a Path,
    home: PathBuf,
}

impl<'a> Service<'a> {
    fn new(reference: &'a Path, home: &Path) -> Self {
        let home = Path::new("/").join(home.strip_prefix(reference).unwrap());
        let mut command = Self::command(reference, &home);
        // Without the option to end by itself it stays until it is stopped.
        let child = command.arg("VBoxSVC").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let socket = reference.join(format!("tmp/.vbox-{}-ipc/ipcd", Self::socket_id()));
        until("its socket is there", || socket.exists());
        // It takes its name a moment later. Who asks for it before starts another one, which would forget the password.
        thread::sleep(Duration::from_secs(1));
        Self { child, reference, home }
    }

    fn socket_id() -> String {
        format!("sealed{}", std::process::id())
    }

    fn command(reference: &Path, home: &Path) -> Command {
        let mut command = Command::new(reference.join("vb-in"));
        command.env("VBOX_USER_HOME", home).env("VBOX_IPC_SOCKETID", Self::socket_id());
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let mut command = Self::command(self.reference, &self.home);
        let output = command.args(["VBoxManage", "-q"]).args(arguments).output().unwrap();
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// The bytes of a medium.
    fn read(&self, uuid: &str) -> Result<Vec<u8>, String> {
        let password = self.home.with_file_name("password");
        let (disk, password) = (format!("--disk={uuid}"), format!("--password-file={}", password.display()));
        self.run(&["mediumio", &disk, &password, "cat"])
    }

    /// Opens `vault`, and reads a medium of each kind.
    fn read_all(&self) -> Result<Vec<Vec<u8>>, String> {
        let password = self.home.with_file_name("password");
        let options = ["--password", password.to_str().unwrap(), "--password-id", "vault-id"];
        self.run(&[&["encryptvm", VAULT, "addpassword"], &options[..]].concat())?;
        WRITABLE.iter().map(|uuid| self.read(uuid)).collect()
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(self.reference.join(format!("tmp/.vbox-{}-ipc", Self::socket_id())));
    }
}

#[test]
fn the_real_virtualbox_reads_what_was_written_encrypted() {
    let Some(reference) = reference() else { return };
    let Some(sealed) = Sealed::in_directory(&reference.join("lab")) else { return };
    let written = WRITABLE.map(|uuid| write(&sealed, uuid));
    // A machine under load may meet the moment that the service is not there for; wrong bytes get no second try.
    let read = || Service::new(&reference, &sealed.home()).read_all();
    let theirs = read().or_else(|_| read()).or_else(|_| read()).unwrap_or_else(|e| panic!("{e}"));
    for ((uuid, expected), theirs) in WRITABLE.into_iter().zip(written).zip(theirs) {
        assert!(theirs == expected, "{uuid}");
    }
}
