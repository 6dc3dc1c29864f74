//! Locks among real processes: this test program starts itself again, with [`holder_process`] as the only test to run.

use super::*;
use nix::fcntl::OFlag;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The line that a holder process prints begins so.
const REPORT: &str = "holder: ";
/// Debian's user `nobody`.
const NOBODY: &str = "65534";

/// A directory with an image `disk.vdi` that everybody may reach.
fn directory_with_image() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let image = directory.path().canonicalize().unwrap().join("disk.vdi");
    fs::write(&image, "image").unwrap();
    (directory, image)
}

fn state(image: &Path) -> Result<State> {
    Prober::new().state(image)
}

fn lock_file_of(image: &Path) -> PathBuf {
    Target::find(image).unwrap().next_to().unwrap()
}

/// Retries until the kernel's table of locks is complete, which it may not be while other tests change it.
pub(super) fn eventually(holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "it does not become true");
        std::thread::yield_now();
    }
}

/// A process that holds a lock until it is dropped, or failed to get it.
struct HolderProcess {
    child: Child,
    /// `held`, or why not.
    report: String,
    /// Open as long as the process, which writes more at its end.
    _output: BufReader<ChildStdout>,
}

impl HolderProcess {
    fn start(image: &Path, mode: Mode) -> Self {
        Self::start_with(Command::new(std::env::current_exe().unwrap()), image, mode)
    }

    /// As an ordinary user with a runtime directory, both `nobody`'s own if we are root.
    fn start_unprivileged(image: &Path, mode: Mode, own_directory: &Path) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut command = if nix::unistd::geteuid().is_root() {
            // The program may be in a directory of root's.
            let copy = own_directory.join("program");
            if !copy.exists() {
                fs::copy(program, &copy).unwrap();
                std::os::unix::fs::chown(own_directory, Some(65534), Some(65534)).unwrap();
            }
            let mut command = Command::new("setpriv");
            command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(copy);
            command
        } else {
            Command::new(program)
        };
        command.env("XDG_RUNTIME_DIR", own_directory);
        Self::start_with(command, image, mode)
    }

    fn start_with(mut command: Command, image: &Path, mode: Mode) -> Self {
        let mut child = command
            .args(["--exact", "lock::tests::holder_process", "--ignored", "--nocapture"])
            .env("LOCK_TEST_IMAGE", image)
            .env("LOCK_TEST_MODE", if mode == Mode::Read { "read" } else { "write" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut lines = output.by_ref().lines().map(|line| line.unwrap());
        let report = lines.find_map(|line| line.split_once(REPORT).map(|(_, text)| text.to_owned()));
        let report = report.expect("the holder process reports its result");
        Self { child, report, _output: output }
    }

    fn kill(mut self) {
        self.child.kill().unwrap(); // SIGKILL
        self.child.wait().unwrap();
    }
}

impl Drop for HolderProcess {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "the other tests run it in a process of its own"]
fn holder_process() {
    let image = std::env::var_os("LOCK_TEST_IMAGE").expect("started by another test");
    let mode = if std::env::var("LOCK_TEST_MODE").unwrap() == "read" { Mode::Read } else { Mode::Write };
    let guard = acquire(Path::new(&image), mode, Some(Path::new("/mnt/there")));
    match &guard {
        Ok(_) => println!("{REPORT}held"),
        Err(e) => println!("{REPORT}{}", crate::error_kind::message(e)),
    }
    // Until the other test closes it or is gone.
    std::io::stdin().lines().for_each(drop);
}

#[test]
fn many_read_or_one_writes() {
    let (_directory, image) = directory_with_image();
    let readers: Vec<_> = (0..5).map(|_| HolderProcess::start(&image, Mode::Read)).collect();
    let pids: Vec<u32> = readers.iter().map(|reader| reader.child.id()).collect();
    assert!(readers.iter().all(|reader| reader.report == "held"));
    let Ok(State::Read(holders)) = state(&image) else { panic!("locked for reading") };
    assert_eq!(holders.iter().map(|holder| holder.pid).collect::<Vec<_>>(), pids);
    assert_eq!(holders[0].mount_point, Some(PathBuf::from("/mnt/there")));

    drop(acquire(&image, Mode::Read, None).unwrap());
    let refused = acquire(&image, Mode::Write, None).unwrap_err();
    assert_eq!(refused.kind(), crate::error_kind::ErrorKind::Locked);
    let [one, two, three] = &holders[..3] else { panic!("five holders") };
    let expected = format!(
        "Medium '{}' is locked for reading by 5 processes: {one}, {two}, {three} and 2 more; unmount them first",
        image.display()
    );
    assert_eq!(refused.to_string(), expected);

    drop(readers);
    assert_eq!(state(&image).unwrap(), State::Free);
    let _writer = acquire(&image, Mode::Write, None).unwrap();
    let reader = HolderProcess::start(&image, Mode::Read);
    assert!(reader.report.contains(&format!("is locked for writing by process {} on host ", std::process::id())));
}

#[test]
fn reports_the_holder_of_a_lock() {
    let (_directory, image) = directory_with_image();
    let writer = HolderProcess::start(&image, Mode::Write);
    for mode in [Mode::Read, Mode::Write] {
        let Err(Error::Locked { holders, .. }) = acquire(&image, mode, None) else { panic!("it is locked") };
        let [holder] = &holders[..] else { panic!("one holder: {holders:?}") };
        let since = humantime::format_rfc3339_seconds(holder.since);
        let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
        let expected = format!(
            "Medium '{}' is locked for writing by process {} on host {host} since {since} (mounted at /mnt/there); \
             unmount it first",
            image.display(),
            writer.child.id(),
        );
        assert_eq!(acquire(&image, mode, None).unwrap_err().to_string(), expected);
        assert!(holder.since.elapsed().unwrap().as_secs() < 60);
    }
    assert_eq!(state(&image).unwrap(), State::Write(Some(state_holder(&image))));
}

fn state_holder(image: &Path) -> Holder {
    match state(image).unwrap() {
        State::Write(Some(holder)) => holder,
        other => panic!("a writer with a record, not {other:?}"),
    }
}

#[test]
fn a_killed_process_leaves_no_lock() {
    let (_directory, image) = directory_with_image();
    for mode in [Mode::Read, Mode::Write] {
        let holder = HolderProcess::start(&image, mode);
        assert_ne!(state(&image).unwrap(), State::Free);
        holder.kill();
        assert!(lock_file_of(&image).exists(), "the killed process could not remove it");
        assert_eq!(state(&image).unwrap(), State::Free);
        drop(acquire(&image, Mode::Write, None).unwrap());
        assert!(!lock_file_of(&image).exists());
    }
}

#[test]
fn two_opens_of_one_process_conflict() {
    let (_directory, image) = directory_with_image();
    let reader = acquire(&image, Mode::Read, None).unwrap();
    let second = acquire(&image, Mode::Read, None).unwrap();
    assert!(matches!(acquire(&image, Mode::Write, None), Err(Error::Locked { mode: Mode::Read, .. })));
    drop((reader, second));
    let writer = acquire(&image, Mode::Write, None).unwrap();
    assert!(matches!(acquire(&image, Mode::Read, None), Err(Error::Locked { mode: Mode::Write, .. })));
    drop(writer);
    acquire(&image, Mode::Read, None).unwrap();
}

#[test]
fn a_chain_is_locked_whole_or_not_at_all() {
    let (directory, base) = directory_with_image();
    let [leaf, other_leaf] = ["leaf.vdi", "other.vdi"].map(|name| directory.path().join(name));
    fs::write(&leaf, "").unwrap();
    fs::write(&other_leaf, "").unwrap();
    let held = acquire_chain(&[&leaf, &base], Mode::Write, None).unwrap();
    assert!(matches!(state(&leaf), Ok(State::Write(Some(_)))));
    assert!(matches!(state(&base), Ok(State::Read(_))));
    // A base is shared by those who write other leaves.
    drop(acquire_chain(&[&other_leaf, &base], Mode::Write, None).unwrap());
    let refused = acquire_chain(&[&other_leaf, &leaf], Mode::Write, None).unwrap_err();
    assert_eq!(refused.kind(), crate::error_kind::ErrorKind::Locked);
    assert_eq!(state(&other_leaf).unwrap(), State::Free);
    drop(held);
}

#[test]
fn other_names_of_an_image_conflict() {
    let (directory, image) = directory_with_image();
    let (symbolic, hard) = (directory.path().join("symbolic.vdi"), directory.path().join("hard.vdi"));
    symlink(&image, &symbolic).unwrap();
    fs::hard_link(&image, &hard).unwrap();
    let writer = HolderProcess::start(&image, Mode::Write);
    let Err(Error::Locked { holders, .. }) = acquire(&symbolic, Mode::Read, None) else { panic!("it is locked") };
    assert_eq!(holders[0].pid, writer.child.id());
    // The lock file is another one, so the lock of the image itself conflicts, whose process the kernel reports.
    let named = format!("is locked for writing by process {} (", writer.child.id());
    eventually(|| acquire(&hard, Mode::Read, None).unwrap_err().to_string().contains(&named));
    eventually(|| state(&hard).unwrap() == State::Write(None));
}

#[test]
fn a_directory_that_cannot_be_written_needs_no_lock_file_in_it() {
    let (directory, image) = directory_with_image();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o555)).unwrap();
    let own = tempfile::tempdir().unwrap();
    let reader = HolderProcess::start_unprivileged(&image, Mode::Read, own.path());
    assert_eq!(reader.report, "held");
    assert!(!lock_file_of(&image).exists());
    let in_runtime = own.path().join("vboximg-mount").join(Target::find(&image).unwrap().name_in_runtime());
    assert!(in_runtime.exists());
    fs::set_permissions(&image, Permissions::from_mode(0o666)).unwrap();
    let writer = HolderProcess::start_unprivileged(&image, Mode::Write, own.path());
    assert!(writer.report.contains("is locked for reading by process "), "{}", writer.report);
    assert!(writer.report.contains("(mounted at /mnt/there)"), "{}", writer.report);
    // Another user has another runtime directory, and meets the lock on the image itself.
    let refused = acquire(&image, Mode::Write, None).unwrap_err();
    assert_eq!(refused.kind(), crate::error_kind::ErrorKind::Locked);
    drop((reader, writer));
    assert!(!in_runtime.exists());
}

#[test]
fn the_lock_file_of_another_user_does_for_reading() {
    let (_directory, image) = directory_with_image();
    let own = tempfile::tempdir().unwrap();
    let held = acquire(&image, Mode::Read, None).unwrap();
    fs::set_permissions(lock_file_of(&image), Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(&image, Permissions::from_mode(0o666)).unwrap();
    let reader = HolderProcess::start_unprivileged(&image, Mode::Read, own.path());
    assert_eq!(reader.report, "held");
    assert!(!own.path().join("vboximg-mount").exists());
    let writer = HolderProcess::start_unprivileged(&image, Mode::Write, own.path());
    let expected = "which another user made; remove it when that user has nothing mounted";
    assert!(writer.report.ends_with(expected), "{}", writer.report);
    drop(held);
    // The reader left no record, and still counts.
    assert_eq!(state(&image).unwrap(), State::Read(Vec::new()));
    assert!(matches!(acquire(&image, Mode::Write, None), Err(Error::Locked { mode: Mode::Read, .. })));
}

#[test]
fn sanitizes_garbage_in_the_lock_file() {
    let (_directory, image) = directory_with_image();
    let holder = HolderProcess::start(&image, Mode::Write);
    let lock_file = lock_file_of(&image);
    let mut content = fs::read(&lock_file).unwrap();
    let record = content.len() - record::SIZE;
    content[record..].fill(0xfe);
    fs::write(&lock_file, &content).unwrap();
    assert_eq!(state(&image).unwrap(), State::Write(None));
    let named = format!("is locked for writing by process {} (", holder.child.id());
    eventually(|| acquire(&image, Mode::Read, None).unwrap_err().to_string().contains(&named));
    holder.kill();
    let reader = acquire(&image, Mode::Read, None).unwrap();
    let Ok(State::Read(holders)) = state(&image) else { panic!("locked for reading") };
    assert_eq!(holders.iter().map(|holder| holder.pid).collect::<Vec<_>>(), [std::process::id()]);
    drop(reader);
}

#[test]
fn leaves_a_foreign_file_alone() {
    let (directory, image) = directory_with_image();
    let own = tempfile::tempdir().unwrap();
    let victim = directory.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let lock_file = lock_file_of(&image);
    let put_in_the_way: [(&str, &dyn Fn()); 3] = [
        ("a file", &|| fs::write(&lock_file, "my notes").unwrap()),
        ("a symbolic link", &|| symlink(&victim, &lock_file).unwrap()),
        ("a hard link", &|| fs::hard_link(&victim, &lock_file).unwrap()),
    ];
    for (what, put) in put_in_the_way {
        put();
        let before = (fs::read(&lock_file).unwrap(), fs::symlink_metadata(&lock_file).unwrap().mode());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env("XDG_RUNTIME_DIR", own.path());
        let holder = HolderProcess::start_with(command, &image, Mode::Write);
        assert_eq!(holder.report, "held", "{what}");
        assert!(acquire(&image, Mode::Read, None).is_err(), "{what}");
        drop(holder);
        let after = (fs::read(&lock_file).unwrap(), fs::symlink_metadata(&lock_file).unwrap().mode());
        assert_eq!(before, after, "{what}");
        assert_eq!(fs::read(&victim).unwrap(), b"precious", "{what}");
        fs::remove_file(&lock_file).unwrap();
    }
}

#[test]
fn without_a_free_slot_there_is_a_lock_and_no_record() {
    let (_directory, image) = directory_with_image();
    let first = acquire(&image, Mode::Read, None).unwrap();
    let other = File::options().read(true).write(true).open(lock_file_of(&image)).unwrap();
    let taken = file::SLOTS.filter(|slot| ofd::try_lock(&other, Mode::Write, &(*slot..slot + 1)).unwrap()).count();
    assert_eq!(taken, file::SLOTS.count() - 1);
    let second = acquire(&image, Mode::Read, None).unwrap();
    drop(first);
    assert_eq!(state(&image).unwrap(), State::Read(Vec::new()));
    assert!(acquire(&image, Mode::Write, None).is_err());
    drop((second, other));
}

#[test]
fn hundreds_of_readers_are_listed() {
    let (_directory, image) = directory_with_image();
    // Each needs two open files, of 1024.
    let guards: Vec<Guard> = (0..300).map(|_| acquire(&image, Mode::Read, None).unwrap()).collect();
    let Ok(State::Read(holders)) = state(&image) else { panic!("locked for reading") };
    assert_eq!(holders.len(), guards.len());
    drop(guards);
    assert!(!lock_file_of(&image).exists());
}

/// On the lock file alone: the lock on the image itself would hide that two processes locked different files.
#[test]
fn writers_that_come_and_go_never_overlap() {
    let (_directory, image) = directory_with_image();
    let (path, attributes) = (lock_file_of(&image), image.metadata().unwrap());
    let (inside, times) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let lock_file = LockFile::open(&path, 0o600, &attributes).unwrap();
                    if lock_file.lock(Mode::Write).unwrap() {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two writers at once");
                        times.fetch_add(1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert!(times.load(Ordering::SeqCst) > 0);
    assert!(!path.exists());
}

#[test]
fn removes_the_lock_file_even_when_something_is_mounted_over_it() {
    let (directory, image) = directory_with_image();
    let path = lock_file_of(&image);
    let guard = acquire(&image, Mode::Read, None).unwrap();
    assert!(path.exists());
    // Another directory at its path, as after a mount.
    let hidden = tempfile::tempdir_in(directory.path().parent().unwrap()).unwrap();
    let moved = hidden.path().join("moved");
    fs::rename(directory.path(), &moved).unwrap();
    fs::create_dir(directory.path()).unwrap();
    fs::write(&path, "somebody else's").unwrap();
    drop(guard);
    assert!(path.exists() && moved.join("disk.vdi").exists());
    assert!(!moved.join(path.file_name().unwrap()).exists());
}

#[test]
fn reports_a_missing_image() {
    let (directory, _) = directory_with_image();
    let missing = directory.path().join("missing.vdi");
    let refused = acquire(&missing, Mode::Read, None).unwrap_err();
    assert_eq!(refused.kind(), crate::error_kind::ErrorKind::NotFound);
    assert_eq!(refused.to_string(), format!("Cannot find {}", missing.display()));
    assert!(state(&missing).is_err());
}

/// A loop device on a file, detached when dropped.
struct LoopDevice(PathBuf);

impl LoopDevice {
    fn attach(file: &Path) -> Self {
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output().unwrap();
        assert!(output.status.success(), "loop devices are made by root: {}", String::from_utf8_lossy(&output.stderr));
        Self(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end()))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        Command::new("losetup").arg("-d").arg(&self.0).status().unwrap();
    }
}

#[test]
fn devices_are_locked_and_claimed() {
    let (directory, image) = directory_with_image();
    File::options().write(true).open(&image).unwrap().set_len(1 << 20).unwrap();
    let device = LoopDevice::attach(&image);
    let link = directory.path().join("device");
    symlink(&device.0, &link).unwrap();

    let writer = HolderProcess::start(&link, Mode::Write);
    assert_eq!(writer.report, "held");
    let Err(Error::Locked { holders, .. }) = acquire(&device.0, Mode::Read, None) else { panic!("it is locked") };
    assert_eq!(holders[0].pid, writer.child.id());
    drop(writer);

    // As a mount does.
    let claimed = File::options().read(true).custom_flags(OFlag::O_EXCL.bits()).open(&device.0).unwrap();
    let refused = acquire(&device.0, Mode::Write, None).unwrap_err();
    assert!(matches!(refused, Error::DeviceInUse { .. }), "{refused}");
    assert_eq!(refused.kind(), crate::error_kind::ErrorKind::Locked);
    acquire(&device.0, Mode::Read, None).unwrap();
    drop(claimed);
    acquire(&device.0, Mode::Write, None).unwrap();

    let refused = check_writable(&image, &[]).unwrap_err().to_string();
    assert!(refused.contains(&format!("loop device {}; detach it first", device.0.display())), "{refused}");
}

#[test]
fn ignores_what_another_user_put_into_a_shared_directory() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let (directory, image) = directory_with_image();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o1777)).unwrap();
    let (squatter, victim) = (lock_file_of(&image), directory.path().join("victim"));
    fs::write(&victim, "").unwrap();
    let nobody = |path: &Path| std::os::unix::fs::lchown(path, Some(65534), Some(65534)).unwrap();
    for kind in ["file", "directory", "link", "fifo"] {
        let mut held = None;
        match kind {
            "file" => held = Some(fs::File::create_new(&squatter).unwrap()),
            "directory" => fs::create_dir(&squatter).unwrap(),
            "link" => symlink(&victim, &squatter).unwrap(),
            _ => nix::unistd::mkfifo(&squatter, nix::sys::stat::Mode::S_IRWXU).unwrap(),
        }
        nobody(&squatter);
        if let Some(file) = &held {
            // All that this program would lock, as far as it goes.
            assert!(ofd::try_lock(file, Mode::Write, &(0..0x7fff_ffff)).unwrap());
        }
        assert_eq!(state(&image).unwrap(), State::Free, "{kind}");
        for mode in [Mode::Read, Mode::Write] {
            drop(acquire(&image, mode, None).unwrap_or_else(|e| panic!("{kind}: {e}")));
        }
        assert_eq!(victim.metadata().unwrap().len(), 0, "{kind}");
        assert!(held.is_none_or(|file| file.metadata().unwrap().len() == 0), "{kind}");
        if kind == "directory" { fs::remove_dir(&squatter) } else { fs::remove_file(&squatter) }.unwrap();
    }
}
