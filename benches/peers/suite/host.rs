//! Programs, processes and mounts of this machine.

use super::Result;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take that is not measured.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command that must work, and returns what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}: {} {}", output.status, text.trim(), complaint.trim()).into());
    }
    Ok(text)
}

/// As [`run`], but ends the command when it takes longer than `limit`. `out` takes its output.
pub(crate) fn run_within(command: &mut Command, limit: Duration, out: &Path) -> Result<(String, Duration)> {
    command.stdin(Stdio::null()).stdout(fs::File::create(out)?);
    let begin = Instant::now();
    let mut child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    // Waiting itself takes no processor time that is measured.
    let guard = std::thread::spawn(move || {
        let late = receiver.recv_timeout(limit).is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Timeout);
        late && kill(pid, Signal::SIGKILL).is_ok()
    });
    let status = child.wait()?;
    let time = begin.elapsed();
    drop(sender);
    match (guard.join(), status.success()) {
        (Ok(true), _) => Err(format!("not done after {} s", limit.as_secs()).into()),
        (_, false) => Err(format!("{command:?}: {status}").into()),
        _ => Ok((fs::read_to_string(out)?, time)),
    }
}

/// Runs a program with arguments that must work.
pub(crate) fn tool<A: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = A>) -> Result<String> {
    run(Command::new(name).args(arguments))
}

/// Where a program is, if it is there.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
    directories.map(|directory| directory.join(name)).find(|file| file.is_file())
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Waits for something that must come true, looking every twentieth of a millisecond.
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !is() {
        if start.elapsed() > PATIENCE {
            return Err(format!("waited in vain until {what}").into());
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    Ok(())
}

/// The mount points at or below a directory, the innermost first.
pub(crate) fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(|text| PathBuf::from(unescape(text)));
    let mut points: Vec<PathBuf> = points.filter(|point| point.starts_with(directory)).collect();
    points.reverse();
    points
}

/// The mount table writes spaces and the like as octal numbers.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

pub(crate) fn is_mounted(point: &Path) -> bool {
    mounts_below(point).iter().any(|found| found == point)
}

/// Unmounts whatever is left below a directory, also when it is in use.
pub(crate) fn unmount_all(directory: &Path) {
    for point in mounts_below(directory) {
        let (name, option) = if is_root() { ("umount", "-l") } else { ("fusermount3", "-uz") };
        // What cannot be unmounted is still in the table for whoever looks.
        let _ = Command::new(name).arg(option).arg(point).stderr(Stdio::null()).status();
    }
}

/// Removes a directory after unmounting what is in it.
pub(crate) fn remove_directory(directory: &Path) {
    unmount_all(directory);
    // What is mounted there must be gone before anything is removed.
    if mounts_below(directory).is_empty() {
        let _ = fs::remove_dir_all(directory);
    }
}

/// Removes what measurements that were killed have left: directories with this name and the id of a process that is
/// gone.
pub(crate) fn remove_left(directory: &Path, name: &str) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let pid = file_name.to_str().and_then(|text| text.strip_prefix(name)?.parse().ok());
        if pid.is_some_and(|pid| !is_running(pid)) {
            remove_directory(&entry.path());
        }
    }
}

/// The processes whose command line or environment has this text.
pub(crate) fn processes_with(file: &str, text: &str) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let has = |pid: &i32| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        bytes.split(|byte| *byte == 0).any(|word| OsStr::from_bytes(word) == text)
    };
    numbers.filter(has).collect()
}

pub(crate) fn is_running(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// Ends a process of ours and waits until it is gone.
pub(crate) fn end(pid: i32) -> Result<()> {
    // It may have gone by itself.
    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    let start = Instant::now();
    until(&format!("process {pid} ends"), || {
        if start.elapsed() > PATIENCE / 6 {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        !is_running(pid)
    })
}

/// Forgets the peak of a process's memory.
pub(crate) fn reset_peak(pid: i32) {
    // Not allowed on processes of others: their peak is then that of all of their life.
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// The most memory of a process since the last reset, in KiB.
pub(crate) fn peak(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

/// The processor, its cores and the kernel.
pub(crate) fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name =
        info.lines().find_map(|line| Some(line.strip_prefix("model name")?.trim_start_matches([' ', '\t', ':'])));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{}, {cores} cores, Linux {}", name.unwrap_or("unknown processor"), kernel.trim())
}
