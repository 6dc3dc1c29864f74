//! A home and its backup on one host, with equal UUIDs: which images `--settings` and `-i` mean, by their bytes.

use crate::scene::{Mount, ok, program, run, text};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::SystemTime;
use tempfile::TempDir;
use uuid::Uuid;

/// Where each image begins to differ: the live one has `L`s and the backup `B`s.
const LIVE: u8 = b'L';
const BACKUP: u8 = b'B';
/// Where the tests write.
const WRITTEN_AT: u64 = 1 << 20;

/// A format as QEMU calls it, as the registry does, and options to make an image with.
struct Format(&'static str, &'static str, &'static str);

struct Homes {
    dir: TempDir,
    format: Format,
    /// The UUIDs of the machine's own disk, and of one elsewhere in the home.
    disks: [Uuid; 2],
}

impl Drop for Homes {
    fn drop(&mut self) {
        crate::scene::unmount_lazily(&self.point());
    }
}

impl Homes {
    /// Makes a home, copies it, and lets the live one go on.
    fn new(format: Format) -> Self {
        let dir = TempDir::with_prefix("vboximg-copies-").unwrap();
        let mut homes = Self { dir, format, disks: [Uuid::nil(); 2] };
        let live = homes.live();
        for directory in [".config/VirtualBox", "VirtualBox VMs/x", "disks"] {
            fs::create_dir_all(live.join(directory)).unwrap();
        }
        fs::create_dir(homes.point()).unwrap();
        for number in 0..2 {
            let path = homes.disk(&live, number);
            let Format(qemu, _, options) = homes.format;
            let mut arguments = vec!["create", "-q", "-f", qemu];
            if !options.is_empty() {
                arguments.extend(["-o", options]);
            }
            ok("qemu-img", &[&arguments[..], &[text(&path), "4M"]].concat());
            homes.fill(&path, BACKUP);
            let listed = run(program().args(["-l", "--json", "-i"]).arg(&path));
            let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
            let known = listed["uuid"].as_str().map(|uuid| uuid.parse().unwrap());
            homes.disks[number] = known.unwrap_or(Uuid::from_u128(1000 + u128::try_from(number).unwrap()));
        }
        homes.write_settings();
        fs::create_dir_all(homes.dir.path().join("backup/2024")).unwrap();
        ok("cp", &["-a", text(&live), text(&homes.backup())]);
        for number in 0..2 {
            homes.fill(&homes.disk(&live, number), LIVE);
        }
        homes
    }

    fn live(&self) -> PathBuf {
        self.dir.path().join("ann")
    }

    fn backup(&self) -> PathBuf {
        self.dir.path().join("backup/2024/ann")
    }

    fn point(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    fn disk(&self, home: &Path, number: usize) -> PathBuf {
        home.join(["VirtualBox VMs/x/own", "disks/far"][number]).with_extension(self.format.0)
    }

    fn fill(&self, path: &Path, byte: u8) {
        let command = format!("write -q -P {byte} 0 64k");
        ok("qemu-io", &["-f", self.format.0, "-c", &command, text(path)]);
    }

    fn write_settings(&self) {
        let live = self.live();
        let machine = live.join("VirtualBox VMs/x/x.vbox");
        let id = Uuid::from_u128(1);
        let root = "<VirtualBox xmlns=\"http://www.virtualbox.org/\" version=\"1.16-linux\">";
        let global = format!(
            "{root}<Global><MachineRegistry><MachineEntry uuid=\"{{{id}}}\" src=\"{}\"/></MachineRegistry></Global>\
             </VirtualBox>",
            machine.display()
        );
        fs::write(live.join(".config/VirtualBox/VirtualBox.xml"), global).unwrap();
        let mut media = String::new();
        let mut slots = String::new();
        for (number, uuid) in self.disks.iter().enumerate() {
            let (path, format) = (self.disk(&live, number), self.format.1);
            media += &format!("<HardDisk uuid=\"{{{uuid}}}\" location=\"{}\" format=\"{format}\"/>", path.display());
            slots += &format!(
                "<AttachedDevice type=\"HardDisk\" port=\"{number}\" device=\"0\"><Image uuid=\"{{{uuid}}}\"/>\
                 </AttachedDevice>"
            );
        }
        let text = format!(
            "{root}<Machine uuid=\"{{{id}}}\" name=\"x\" snapshotFolder=\"Snapshots\"><MediaRegistry><HardDisks>{media}\
             </HardDisks></MediaRegistry><StorageControllers><StorageController name=\"SATA\" type=\"AHCI\">{slots}\
             </StorageController></StorageControllers></Machine></VirtualBox>"
        );
        fs::write(machine, text).unwrap();
    }

    /// The bytes and times of the live files.
    fn live_files(&self) -> Vec<(PathBuf, Vec<u8>, SystemTime)> {
        let directories = ["VirtualBox VMs/x", "disks", ".config/VirtualBox"].map(|name| self.live().join(name));
        let entries = directories.iter().flat_map(|directory| fs::read_dir(directory).unwrap());
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap()))
            .collect();
        files.sort();
        files
    }

    /// Runs the program as the user whose registry is the live one.
    fn run(&self, image: &str, options: &[&str]) -> Output {
        let mut command = program();
        command.env("VBOX_USER_HOME", self.live().join(".config/VirtualBox"));
        run(command.arg("-i").arg(image).args(options).arg(self.point()))
    }

    /// The first byte of the disk that is mounted, and what the program warned of.
    fn mounted(&self, image: &str, options: &[&str]) -> (u8, String) {
        let output = self.run(image, options);
        assert!(output.status.success(), "{image} {options:?}: {output:?}");
        let mount = Mount::find(&self.point());
        let byte = fs::read(mount.file("vhdd")).unwrap()[0];
        if options.contains(&"--rw") {
            use std::os::unix::fs::FileExt;
            let disk = fs::File::options().write(true).open(mount.file("vhdd")).unwrap();
            disk.write_all_at(b"WRITTEN", WRITTEN_AT).unwrap();
            disk.sync_all().unwrap();
        }
        mount.unmount();
        (byte, String::from_utf8(output.stderr).unwrap())
    }

    /// Whether an image has what [`Homes::mounted`] writes.
    fn is_written(&self, path: &Path) -> bool {
        let flat = self.dir.path().join("flat");
        ok("qemu-img", &["convert", "-f", self.format.0, "-O", "raw", text(path), text(&flat)]);
        fs::read(flat).unwrap()[usize::try_from(WRITTEN_AT).unwrap()..].starts_with(b"WRITTEN")
    }

    /// All ways in which `--settings` can be given, and whether each has the whole home.
    fn ways(&self) -> [(PathBuf, bool); 6] {
        let home = self.backup();
        [
            (home.clone(), true),
            (home.join(".config/VirtualBox"), true),
            (home.join(".config/VirtualBox/VirtualBox.xml"), true),
            (self.dir.path().join("backup"), true),
            (home.join("VirtualBox VMs"), false),
            (home.join("VirtualBox VMs/x/x.vbox"), false),
        ]
    }
}

fn settings_mean_the_backup(format: Format) {
    let homes = Homes::new(format);
    let before = homes.live_files();
    let [own, far] = homes.disks.map(|uuid| uuid.to_string());
    for (settings, has_all) in homes.ways() {
        let settings = ["--settings", text(&settings)];
        let (byte, warnings) = homes.mounted(&own, &settings);
        assert_eq!((byte, &*warnings), (BACKUP, ""), "{settings:?}");
        let (byte, warnings) = homes.mounted(&far, &settings);
        assert_eq!((byte, warnings.contains("lies outside of")), (BACKUP, !has_all), "{settings:?}: {warnings}");
        if !has_all {
            let output = homes.run(&far, &[&settings[..], &["--rw"]].concat());
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(6), "{error}");
            assert!(error.contains("disks/far") && error.contains("give its own path to write to it"), "{error}");
        }
    }
    let home = homes.backup();
    let settings = ["--settings", text(&home), "--rw"];
    for (number, uuid) in [&own, &far].into_iter().enumerate() {
        assert_eq!(homes.mounted(uuid, &settings).0, BACKUP);
        assert!(homes.is_written(&homes.disk(&home, number)));
    }
    // What is only in the live home is read with a warning, and not written to.
    fs::remove_file(homes.disk(&home, 1)).unwrap();
    let (byte, warnings) = homes.mounted(&far, &settings[..2]);
    assert!(byte == LIVE && warnings.contains(&homes.disk(&homes.live(), 1).display().to_string()), "{warnings}");
    assert_eq!(homes.run(&far, &settings).status.code(), Some(6));
    // Without the option it is the live registry, and a path means its file.
    assert_eq!(homes.mounted(&own, &[]).0, LIVE);
    assert_eq!(homes.mounted(text(&homes.disk(&home, 0)), &["--rw"]).0, BACKUP);
    assert!(homes.live_files() == before, "the live files are as they were");
}

#[test]
fn settings_mean_the_backup_vdi() {
    settings_mean_the_backup(Format("vdi", "VDI", ""));
}

#[test]
fn settings_mean_the_backup_vmdk() {
    settings_mean_the_backup(Format("vmdk", "VMDK", ""));
}

#[test]
fn settings_mean_the_backup_vhd() {
    settings_mean_the_backup(Format("vpc", "VHD", "force_size=on"));
}

#[test]
fn settings_mean_the_backup_vhdx() {
    settings_mean_the_backup(Format("vhdx", "VHDX", ""));
}

#[test]
fn settings_mean_the_backup_qcow2() {
    settings_mean_the_backup(Format("qcow2", "QCOW", ""));
}

#[test]
fn settings_mean_the_backup_parallels() {
    settings_mean_the_backup(Format("parallels", "Parallels", ""));
}

/// The child's header names the live base by its absolute path, and there is no id to know the right one by.
#[test]
fn a_copied_qcow2_child_has_its_own_base() {
    let homes = Homes::new(Format("qcow2", "QCOW", ""));
    let live = homes.live();
    let (base, child) = (homes.disk(&live, 0), live.join("VirtualBox VMs/x/child.qcow2"));
    ok("qemu-img", &["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", text(&base), text(&child)]);
    let copy = homes.backup().join("VirtualBox VMs/x/child.qcow2");
    fs::copy(&child, &copy).unwrap();
    let before = homes.live_files();
    let (byte, warnings) = homes.mounted(text(&copy), &[]);
    assert_eq!(byte, BACKUP);
    assert!(warnings.contains(text(&base)) && warnings.contains("could be the parent as well"), "{warnings}");
    let output = homes.run(text(&copy), &["--rw"]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    // The live one is as it ever was.
    assert_eq!(homes.mounted(text(&child), &[]), (LIVE, String::new()));
    assert!(homes.live_files() == before);
}

#[test]
fn a_list_names_the_files_of_the_backup() {
    let homes = Homes::new(Format("vdi", "VDI", ""));
    let output = run(program().args(["-l", "--json", "--settings"]).arg(homes.backup()));
    assert!(output.status.success(), "{output:?}");
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let paths: Vec<&str> = list["media"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    assert_eq!(paths, [0, 1].map(|number| homes.disk(&homes.backup(), number)).map(|path| path.display().to_string()));
    assert!(list["machines"][0]["path"].as_str().unwrap().starts_with(text(&homes.backup())));
}
