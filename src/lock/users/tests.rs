//! Processes and loop devices that use images.

use super::*;
use crate::error_kind::ErrorKind;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

fn users(images: &[&Path]) -> Vec<User> {
    Search::new(images).users()
}

/// A process called `name` that has an image open.
struct Opener(Child);

impl Opener {
    fn start(name: &str, image: &Path, writes: bool) -> Self {
        let file = File::options().read(true).write(writes).open(image).unwrap();
        let child = Command::new("sleep").arg0(name).arg("60").stdin(Stdio::from(file)).spawn().unwrap();
        // The kernel lets us go on a moment before it shows the new program's name.
        while !name.ends_with(&program_name(child.id())) {
            std::thread::yield_now();
        }
        Self(child)
    }

    fn user(&self, name: &str, writes: bool, image: &Path) -> User {
        User { pid: self.0.id(), name: name.to_owned(), writes, path: image.canonicalize().unwrap() }
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn two_images() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let images = ["leaf.vdi", "base.vdi"].map(|name| directory.path().join(name));
    images.iter().for_each(|image| fs::write(image, "image").unwrap());
    let [leaf, base] = images;
    (directory, leaf, base)
}

#[test]
fn processes_with_an_image_open_are_found() {
    let (_directory, leaf, base) = two_images();
    assert_eq!(users(&[&leaf, &base]), []);
    let reader = Opener::start("/usr/bin/backup", &leaf, false);
    let writer = Opener::start("editor", &base, true);
    let mut found = users(&[&leaf, &base]);
    found.sort_by_key(|user| user.pid != reader.0.id());
    assert_eq!(found, [reader.user("backup", false, &leaf), writer.user("editor", true, &base)]);
    assert_eq!(users(&[&leaf]).len(), 1);
    assert_eq!(users(&[Path::new("/no/such/image")]), []);
}

#[test]
fn this_process_is_not_among_them() {
    let (_directory, leaf, _) = two_images();
    let _open = File::open(&leaf).unwrap();
    // Not that there are none: a process that another test is about to start may have inherited the file.
    assert!(users(&[&leaf]).iter().all(|user| user.pid != std::process::id()));
}

#[test]
fn a_process_is_found_by_any_name_of_the_image() {
    let (directory, leaf, _) = two_images();
    let hard = directory.path().join("hard.vdi");
    fs::hard_link(&leaf, &hard).unwrap();
    let writer = Opener::start("editor", &hard, true);
    assert_eq!(users(&[&leaf]), [writer.user("editor", true, &leaf)]);
}

#[test]
fn writing_is_refused_where_it_would_meet_another_writer() {
    let (_directory, leaf, base) = two_images();
    let check = || check_writable(&leaf, &[&base]);
    check().unwrap();
    for (name, image, writes, refused) in [
        ("cp", &leaf, false, false),
        ("cp", &leaf, true, true),
        ("cp", &base, true, true),
        ("/usr/lib/virtualbox/VirtualBoxVM", &leaf, false, true),
        ("VBoxHeadless", &leaf, true, true),
        ("qemu-system-x86_64", &leaf, false, true),
        ("VBoxHeadless", &base, true, true),
        // A linked clone of the same base runs.
        ("VBoxHeadless", &base, false, false),
    ] {
        let _opener = Opener::start(name, image, writes);
        assert_eq!(check().is_err(), refused, "{name} {} {writes}", image.display());
    }
    check().unwrap();
}

#[test]
fn messages_name_the_process() {
    let (_directory, leaf, base) = two_images();
    let warning = || Search::new(&[&leaf, &base]).warning_for_reading();
    assert_eq!(warning(), None);
    let reader = Opener::start("VBoxHeadless", &leaf, false);
    assert_eq!(warning(), None);
    let refused = check_writable(&leaf, &[]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Locked);
    let (pid, path) = (reader.0.id(), leaf.canonicalize().unwrap());
    let expected = format!(
        "Medium '{}' is in use by process {pid} (VBoxHeadless), which has it open for reading; end it first",
        path.display()
    );
    assert_eq!(refused.to_string(), expected);
    let writer = Opener::start("dd", &base, true);
    let expected = format!(
        "Process {} (dd) has {} open for writing: the disk may change while it is read",
        writer.0.id(),
        base.canonicalize().unwrap().display()
    );
    assert_eq!(warning(), Some(expected));
}

#[test]
fn a_loop_device_is_found() {
    let (block_devices, images) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let image = |name: &str| images.path().join(name);
    for name in ["other.img", "a disk.img", "a disk"] {
        fs::write(image(name), "").unwrap();
    }
    fs::hard_link(image("a disk.img"), image("hard.img")).unwrap();
    for (device, name, read_only) in [("loop0", "other.img", "1\n"), ("loop7", "a disk.img", "0\n")] {
        let directory = block_devices.path().join(device).join("loop");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("backing_file"), format!("{}\n", image(name).display())).unwrap();
        fs::write(block_devices.path().join(device).join("ro"), read_only).unwrap();
    }
    fs::create_dir(block_devices.path().join("vda")).unwrap();
    let mut found = LoopDevice::all(block_devices.path());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    let device = |path: &str, name, writes| {
        let file = file_identity(&image(name)).unwrap();
        LoopDevice { path: path.to_owned(), file, writes }
    };
    assert_eq!(found, [device("/dev/loop0", "other.img", false), device("/dev/loop7", "hard.img", true)]);
}

/// A machine's program is known by the file that it runs, whatever it calls itself.
#[test]
fn a_machine_program_under_another_name_is_known() {
    let (directory, leaf, _) = two_images();
    let program = directory.path().join("VBoxHeadless");
    fs::copy("/bin/sleep", &program).unwrap();
    let mut child = Command::new(&program).arg0("backup").arg("60").stdin(File::open(&leaf).unwrap()).spawn().unwrap();
    let pid = child.id();
    while program_name(pid) != "VBoxHeadless" {
        std::thread::yield_now();
    }
    let refused = check_writable(&leaf, &[]).map_err(|error| error.to_string());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(refused.unwrap_err().contains(&format!("process {pid} (VBoxHeadless)")));
}

#[test]
fn a_process_that_only_maps_an_image_is_found() {
    let (_directory, leaf, _) = two_images();
    let script = "import mmap,sys,time\n\
                  f = open(sys.argv[1], 'r+b')\n\
                  m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ if sys.argv[2] == 'r' else mmap.ACCESS_WRITE)\n\
                  f.close()\n\
                  print('mapped', flush=True); sys.stdin.read()";
    for (access, writes) in [("r", false), ("w", true)] {
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(&leaf).arg(access).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3");
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line).unwrap();
        let found = users(&[&leaf]);
        let mut mapped = Vec::new();
        Search::new(&[&leaf]).mapped_in(child.id(), &mut mapped);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(line, "mapped\n");
        assert!(found.iter().any(|user| user.pid == child.id() && user.path == leaf.canonicalize().unwrap()));
        assert_eq!(mapped.iter().map(|user| user.writes).collect::<Vec<_>>(), [writes]);
    }
}

#[test]
fn a_line_of_the_mappings_is_understood() {
    let file = |device, inode| FileIdentity::File { device, inode };
    let cases: [(&str, Option<Mapping<'_>>); 5] = [
        (
            "7f00-7f10 rw-s 00001000 08:1f 173521                     /vms/a disk.vdi",
            Some(Mapping {
                file: file(nix::sys::stat::makedev(8, 0x1f), 173_521),
                writes: true,
                path: b"/vms/a disk.vdi",
            }),
        ),
        (
            "7f00-7f10 rw-p 00000000 fe:00 5 /vms/x (deleted)",
            Some(Mapping { file: file(nix::sys::stat::makedev(0xfe, 0), 5), writes: false, path: b"/vms/x (deleted)" }),
        ),
        ("7f00-7f10 rw-p 00000000 00:00 0 ", None),
        ("7f00-7f10 rw-p 00000000 00:00 0                          [stack]", None),
        ("", None),
    ];
    for (line, expected) in cases {
        assert_eq!(Mapping::parse(line.as_bytes()), expected, "{line}");
    }
}
