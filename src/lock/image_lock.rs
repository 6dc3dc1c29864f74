//! The second lock: `flock` on the image file itself. Lock files in different directories (one user can write next to
//! the image, another cannot) do not exclude each other; a lock on the shared image does.

use super::Mode;
use super::target::Target;
use nix::fcntl::OFlag;
use nix::sys::statfs::fstatfs;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::time::Duration;

/// udev locks a block device for a moment when it changes, so one refusal proves little.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// File systems (SMB, CIFS, SMB2) on which a lock of the image would keep other opens of it by this program from
/// reading and writing. Source: Linux `include/uapi/linux/magic.h`.
const MANDATORY: [i128; 3] = [0x517b, 0xff53_4d42, 0xfe53_4d42];

/// What came of trying to lock the image itself.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Locked as long as the file is open.
    Held(File),
    /// Another process has it.
    Conflict,
    /// The file system has no such locks.
    NoLocks,
}

/// Locks the image without waiting (but for a moment). A block device that is to be written is also claimed: the
/// kernel then refuses to mount it, and refuses us with `ResourceBusy` while it is mounted.
pub(super) fn lock(target: &Target, mode: Mode) -> io::Result<Outcome> {
    let file = open(target, mode)?;
    // The kernel's number is 32 bits wide in a field whose size and sign depend on the machine.
    if fstatfs(&file).is_ok_and(|fs| MANDATORY.contains(&(i128::from(fs.filesystem_type().0) & 0xffff_ffff))) {
        return Ok(Outcome::NoLocks);
    }
    for attempt in 1..=ATTEMPTS {
        let tried = match mode {
            Mode::Read => file.try_lock_shared(),
            Mode::Write => file.try_lock(),
        };
        match tried {
            Ok(()) => return Ok(Outcome::Held(file)),
            Err(TryLockError::WouldBlock) if attempt < ATTEMPTS => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(e)) => {
                log::debug!("No lock on {} itself: {e}", target.path.display());
                return Ok(Outcome::NoLocks);
            }
        }
    }
    Ok(Outcome::Conflict)
}

fn open(target: &Target, mode: Mode) -> io::Result<File> {
    let writable = mode == Mode::Write;
    let claim = if writable && target.is_block_device() { OFlag::O_EXCL } else { OFlag::empty() };
    OpenOptions::new().read(true).write(writable).custom_flags((OFlag::O_NONBLOCK | claim).bits()).open(&target.path)
}

/// One `flock` of `/proc/locks`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flock {
    pub(super) mode: Mode,
    pub(super) pid: u32,
    device: u64,
    inode: u64,
}

impl Flock {
    pub(super) fn is_on(&self, target: &Target) -> bool {
        (self.device, self.inode) == (target.attributes.dev(), target.attributes.ino())
    }
}

/// The locks that are held on this machine. Empty where the kernel does not list them. It gives them a page at a time,
/// so of a long table that changes meanwhile a line may be missed: good for messages and listings, not for decisions.
pub(super) fn flocks() -> Vec<Flock> {
    File::open("/proc/locks").and_then(read_table).map(|text| parse(&text)).unwrap_or_default()
}

/// Reads the table. The kernel fills at most a page at once, with whole lines, and waits for all processors each time;
/// so when much of a page is left, nothing more is asked for.
fn read_table(mut table: File) -> io::Result<String> {
    const PAGE: usize = 4096;
    const LINE: usize = 256;
    let mut text = Vec::new();
    loop {
        let mut part = [0; PAGE];
        let len = table.read(&mut part)?;
        text.extend_from_slice(&part[..len]);
        if len < PAGE - LINE {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
    }
}

/// Lines such as `1: FLOCK  ADVISORY  WRITE 123 08:02:9175074 0 EOF`: the number, `->` when it only waits, class, kind,
/// access, pid, device (hexadecimal) and inode, range. Source: Linux `proc_locks(5)`.
fn parse(text: &str) -> Vec<Flock> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(1);
        if words.next()? != "FLOCK" {
            return None;
        }
        let mode = match words.nth(1)? {
            "READ" => Mode::Read,
            "WRITE" => Mode::Write,
            _ => return None,
        };
        let pid = words.next()?.parse().ok()?;
        let mut file = words.next()?.split(':');
        let mut device_part = || u64::from_str_radix(file.next()?, 16).ok();
        let device = nix::sys::stat::makedev(device_part()?, device_part()?);
        Some(Flock { mode, pid, device, inode: file.next()?.parse().ok()? })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_proc_locks() {
        let text = "1: FLOCK  ADVISORY  WRITE 123 08:1f:9175074 0 EOF\n\
                    1: -> FLOCK  ADVISORY  WRITE 124 08:1f:9175074 0 EOF\n\
                    2: OFDLCK ADVISORY  READ -1 00:06:1028 0 EOF\n\
                    3: FLOCK  ADVISORY  READ 7 fe:00:12 0 EOF\n\
                    4: FLOCK  ADVISORY\n\
                    5: FLOCK  ADVISORY  READ x fe:00:12 0 EOF\n\
                    garbage\n";
        let expected = [
            Flock { mode: Mode::Write, pid: 123, device: nix::sys::stat::makedev(8, 0x1f), inode: 9_175_074 },
            Flock { mode: Mode::Read, pid: 7, device: nix::sys::stat::makedev(0xfe, 0), inode: 12 },
        ];
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn a_lock_on_the_image_is_in_the_kernels_table() {
        let image = tempfile::NamedTempFile::new().unwrap();
        let target = Target::find(image.path()).unwrap();
        let found = || flocks().into_iter().filter(|lock| lock.is_on(&target)).collect::<Vec<_>>();
        assert_eq!(found(), []);
        let held = lock(&target, Mode::Read).unwrap();
        assert!(matches!(held, Outcome::Held(_)));
        let expected = |lock: &Flock| (lock.mode, lock.pid) == (Mode::Read, std::process::id());
        crate::lock::tests::eventually(|| matches!(&found()[..], [lock] if expected(lock)));
    }
}
