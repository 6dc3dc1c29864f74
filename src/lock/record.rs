//! The record of itself that a holder writes into the lock file. For messages only: the kernel's lock is the truth, and
//! this text may be stale, cut or forged.

use super::{Holder, Mode};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Bytes of a record in the lock file; unused ones are NUL.
pub(super) const SIZE: usize = 1024;
/// The most bytes of a host name that are recorded.
const MAX_HOST: usize = 255;
/// The most bytes of a mount point that are recorded. With the other lines it stays below [`SIZE`].
const MAX_MOUNT_POINT: usize = 600;

/// The record of a holder: lines of a word, a space and a value.
pub(super) fn encode(holder: &Holder) -> Vec<u8> {
    let mode = match holder.mode {
        Mode::Read => "read",
        Mode::Write => "write",
    };
    let mut text = format!(
        "pid {}\nhost {}\nsince {}\nmode {mode}\n",
        holder.pid,
        printable(&holder.host, MAX_HOST),
        humantime::format_rfc3339_seconds(holder.since),
    );
    if let Some(mount_point) = &holder.mount_point {
        text.push_str("mount ");
        text.push_str(&printable(&mount_point.to_string_lossy(), MAX_MOUNT_POINT));
        text.push('\n');
    }
    let mut bytes = text.into_bytes();
    bytes.resize(SIZE, 0);
    bytes
}

/// The holder in a record; `None` when it is empty or not a record.
pub(super) fn decode(bytes: &[u8]) -> Option<Holder> {
    let used = bytes.split(|b| *b == 0).next()?;
    let text = std::str::from_utf8(used).ok()?;
    let value = |word: &str| text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
    Some(Holder {
        mode: match value("mode")? {
            "read" => Mode::Read,
            "write" => Mode::Write,
            _ => return None,
        },
        pid: value("pid")?.parse().ok()?,
        host: printable(value("host")?, MAX_HOST),
        since: humantime::parse_rfc3339(value("since")?).ok()?,
        mount_point: value("mount").map(|text| PathBuf::from(printable(text, MAX_MOUNT_POINT))),
    })
}

/// This process as a holder.
pub(super) fn of_this_process(mode: Mode, mount_point: Option<&Path>) -> Holder {
    Holder {
        mode,
        pid: std::process::id(),
        host: nix::unistd::gethostname()
            .map_or_else(|_| "unknown".to_owned(), |name| name.to_string_lossy().into_owned()),
        since: SystemTime::now().max(SystemTime::UNIX_EPOCH),
        mount_point: mount_point.map(Path::to_path_buf),
    }
}

/// `text` without control characters (a terminal would obey them) and at most `max` bytes long.
fn printable(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        let c = if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
        if out.len() + c.len_utf8() > max {
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn holder(mount_point: &str) -> Holder {
        Holder {
            mode: Mode::Write,
            pid: 123,
            host: "laptop".to_owned(),
            since: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000),
            mount_point: Some(PathBuf::from(mount_point)),
        }
    }

    #[test]
    fn parses_what_it_wrote() {
        for mount_point in [Some("/mnt/with space"), None] {
            let holder = Holder { mount_point: mount_point.map(PathBuf::from), ..holder("") };
            let bytes = encode(&holder);
            assert_eq!(bytes.len(), SIZE);
            assert_eq!(decode(&bytes), Some(holder));
        }
    }

    #[test]
    fn escapes_control_characters_and_line_ends() {
        let read = decode(&encode(&holder("/mnt\nmode read\u{1b}[31m"))).unwrap();
        assert_eq!(read.mode, Mode::Write);
        assert_eq!(read.mount_point, Some(PathBuf::from("/mnt\u{fffd}mode read\u{fffd}[31m")));
        // Also when somebody else wrote the record.
        let forged = b"pid 1\nhost a\x07b\nsince 2026-11-23T10:00:00Z\nmode read\nmount /\x1b[2J\0";
        let read = decode(forged).unwrap();
        assert_eq!(read.host, "a\u{fffd}b");
        assert_eq!(read.mount_point, Some(PathBuf::from("/\u{fffd}[2J")));
    }

    #[test]
    fn truncates_long_values() {
        let mut long = holder(&"/ü".repeat(2000));
        long.host = "h".repeat(9000);
        let read = decode(&encode(&long)).unwrap();
        assert_eq!(read.host.len(), MAX_HOST);
        assert_eq!(read.mount_point.unwrap().as_os_str().len(), MAX_MOUNT_POINT);
    }

    #[test]
    fn ignores_garbage() {
        let good = encode(&holder("/mnt"));
        assert!(decode(&good).is_some());
        for bad in [
            b"".to_vec(),
            vec![0; SIZE],
            vec![0xff; SIZE],
            b"pid -1\nhost a\nsince 2026-11-23T10:00:00Z\nmode read\n".to_vec(),
            b"pid 99999999999\nhost a\nsince 2026-11-23T10:00:00Z\nmode read\n".to_vec(),
            b"pid 1\nhost a\nsince yesterday\nmode read\n".to_vec(),
            b"pid 1\nhost a\nsince 2026-11-23T10:00:00Z\nmode append\n".to_vec(),
            b"host a\nsince 2026-11-23T10:00:00Z\nmode read\n".to_vec(),
        ] {
            assert_eq!(decode(&bad), None, "{:?}", String::from_utf8_lossy(&bad));
        }
    }
}
