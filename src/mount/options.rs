//! The mount options: what `-o` accepts.

use super::{Error, Result};
use crate::open::{Which, parse_time};
use crate::view::Appearance;

/// Who may use the mount besides the user who mounted it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nobody.
    #[default]
    Owner,
    /// Root.
    Root,
    /// Everyone, within the modes of the files.
    All,
}

/// How to mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Writes reach the disk; without it the mount is read-only.
    pub writable: bool,
    /// Who may use it.
    pub access: Access,
    /// Mount over a directory that has files in it.
    pub nonempty: bool,
    /// Run no programs from it.
    pub noexec: bool,
    /// Make each write durable before it returns.
    pub sync: bool,
    /// What the mount table shows as the source.
    pub source: Option<String>,
    /// The owner that is shown instead of the mounting user.
    pub uid: Option<u32>,
    /// The group that is shown instead of the mounting user's.
    pub gid: Option<u32>,
    /// Permission bits that are taken from all modes.
    pub umask: u16,
    /// The machine, snapshot and disk that stand in fstab's options in place of an image.
    pub which: Which,
}

/// Options that have an effect, for the message on an unknown one and for completion.
pub(crate) const KNOWN_OPTIONS: &str = "ro, rw, allow_other, allow_root, nonempty, noexec, sync, fsname=NAME, uid=N, gid=N, umask=OCTAL, \
                     vm=MACHINE, snapshot=NAME, at=TIME, disk=DISK";

/// Words that need nothing here: what they ask for is always so, is done by who calls this program, or does not matter
/// for a disk. They are those of mount(8), fstab(5) and systemd.mount(5), and of other FUSE programs. No device and no
/// set-id bit of the mount counts, whatever `dev` and `suid` are, which libfuse's mount.fuse(8) always passes.
const IGNORED: &[&str] = &[
    "async",
    "async_read",
    "atime",
    "auto",
    "auto_cache",
    "big_writes",
    "clone_fd",
    "default_permissions",
    "defaults",
    "dev",
    "diratime",
    "direct_io",
    "dirsync",
    "exec",
    "group",
    "hard_remove",
    "intr",
    "iversion",
    "kernel_cache",
    "large_read",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "nofail",
    "noforget",
    "nogroup",
    "noiversion",
    "nolazytime",
    "nomand",
    "noowner",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "nouser",
    "nousers",
    "owner",
    "readdir_ino",
    "relatime",
    "silent",
    "strictatime",
    "suid",
    "symfollow",
    "sync_read",
    "use_ino",
    "user",
    "users",
    "_netdev",
    "_rnetdev",
];

/// As [`IGNORED`], with a value.
const IGNORED_WITH_VALUE: &[&str] = &[
    "ac_attr_timeout",
    "attr_timeout",
    "comment",
    "congestion_threshold",
    "context",
    "defcontext",
    "entry_timeout",
    "fscontext",
    "helper",
    "max_background",
    "max_idle_threads",
    "max_read",
    "max_readahead",
    "max_threads",
    "max_write",
    "negative_timeout",
    "rootcontext",
    "subtype",
    "uhelper",
    "user",
];

/// The words of a list, separated by commas that are not within quotes: labels of SELinux have commas.
fn words(list: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let is_end = move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    };
    list.split(is_end).filter(|word| !word.is_empty())
}

impl Options {
    /// How the files of the mount look.
    #[must_use]
    pub(crate) fn appearance(&self) -> Appearance {
        let Self { writable, uid, gid, umask, .. } = *self;
        Appearance { writable, uid, gid, umask }
    }

    /// Takes in the words of one `-o`, separated by commas, after `--rw` and `--root` have been set.
    ///
    /// # Errors
    /// [`Error::Option`] for what is not known, has a bad value, or contradicts another option.
    pub(crate) fn add(&mut self, list: &str) -> Result<()> {
        words(list).try_for_each(|word| self.add_word(word))
    }

    fn add_word(&mut self, word: &str) -> Result<()> {
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        match (name, value) {
            ("ro", None) if self.writable => return Err(bad(word, "contradicts --rw; leave one of them out")),
            ("ro", None) => {}
            // mount(8) adds this word by itself, so it must not open a disk for writing.
            ("rw", None) if !self.writable => log::warn!("-o rw alone does not make the disk writable; --rw does"),
            ("rw", None) => {}
            ("allow_other", None) => self.access = Access::All,
            ("allow_root", None) if self.access == Access::Owner => self.access = Access::Root,
            ("allow_root", None) => {}
            ("nonempty", None) => self.nonempty = true,
            ("noexec", None) => self.noexec = true,
            ("sync", None) => self.sync = true,
            ("fsname", Some(value)) if !value.is_empty() => self.source = Some(value.to_owned()),
            ("vm", Some(value)) => self.which.machine = Some(unquoted(value)),
            ("snapshot", Some(value)) if self.which.at.is_none() => self.which.snapshot = Some(unquoted(value)),
            ("at", Some(value)) if self.which.snapshot.is_none() => {
                let time = parse_time(&unquoted(value));
                self.which.at = Some(time.map_err(|hint| bad(word, &format!("needs a time: {hint}")))?);
            }
            ("snapshot" | "at", Some(_)) => {
                return Err(bad(word, "contradicts the other one of snapshot and at; leave one of them out"));
            }
            ("disk", Some(value)) => self.which.disk = Some(unquoted(value)),
            ("uid", Some(value)) => self.uid = Some(number(word, value)?),
            ("gid", Some(value)) => self.gid = Some(number(word, value)?),
            ("umask", Some(value)) => {
                let mask = u16::from_str_radix(value, 8).ok().filter(|mask| *mask <= 0o777);
                self.umask = mask.ok_or_else(|| bad(word, "needs an octal number from 0 to 777"))?;
            }
            (name, None) if IGNORED.contains(&name) || is_for_others(name) => {
                log::debug!("The mount option {word} changes nothing here");
            }
            (name, Some(_)) if IGNORED_WITH_VALUE.contains(&name) || is_for_others(name) => {
                log::debug!("The mount option {word} changes nothing here");
            }
            _ => return Err(bad(word, &format!("is not known; known are {KNOWN_OPTIONS}"))),
        }
        Ok(())
    }
}

/// A value without the quotes around it, which let it have commas.
fn unquoted(value: &str) -> String {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    inner.unwrap_or(value).to_owned()
}

/// Whether an option is for the programs that read fstab, by its name: mount(8) of today and later ones.
fn is_for_others(name: &str) -> bool {
    name.starts_with("x-") || name.starts_with("X-")
}

fn number(word: &str, value: &str) -> Result<u32> {
    // The highest id stands for "no change" in the kernel and cannot own a file.
    value.parse().ok().filter(|id| *id != u32::MAX).ok_or_else(|| bad(word, "needs a user or group number"))
}

fn bad(word: &str, reason: &str) -> Error {
    Error::Option { option: word.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Result<Options> {
        let mut options = Options::default();
        options.add(list)?;
        Ok(options)
    }

    #[test]
    fn accepts_options_that_have_an_effect() {
        let options = parse("allow_other,,noexec,sync,nonempty,fsname=my disk,uid=7,gid=8,umask=027").unwrap();
        let expected = Options {
            writable: false,
            access: Access::All,
            nonempty: true,
            noexec: true,
            sync: true,
            source: Some("my disk".to_owned()),
            uid: Some(7),
            gid: Some(8),
            umask: 0o27,
            which: Which::default(),
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn takes_the_disk_of_a_machine() {
        let which = parse("ro,vm=\"a, b\",snapshot=With tools,disk=SATA-0-0").unwrap().which;
        let text = |text: &str| Some(text.to_owned());
        assert_eq!((which.machine, which.snapshot), (text("a, b"), text("With tools")));
        assert_eq!((which.disk, which.at), (text("SATA-0-0"), None));
        assert!(parse("vm=a,at=2026-11-23").unwrap().which.at.is_some());
        for refused in ["at=never", "at=2026-11-23,snapshot=b", "snapshot=b,at=2026-11-23"] {
            assert!(matches!(parse(refused), Err(Error::Option { .. })), "{refused}");
        }
    }

    #[test]
    fn ignores_options_of_other_programs() {
        let words = IGNORED.join(",");
        let values = IGNORED_WITH_VALUE.iter().map(|name| format!("{name}=1")).collect::<Vec<_>>().join(",");
        let others = "x-systemd.automount,x-systemd.requires=a.service,X-mount.mkdir,rw,ro";
        assert_eq!(parse(&format!("{words},{values},{others}")).unwrap(), Options::default());
    }

    #[test]
    fn a_comma_in_quotes_ends_no_option() {
        let options = parse("context=\"system_u:object_r:virt_image_t:s0:c1,c2\",noexec").unwrap();
        assert!(options.noexec);
    }

    #[test]
    fn everyone_includes_root() {
        assert_eq!(parse("allow_root").unwrap().access, Access::Root);
        assert_eq!(parse("allow_other,allow_root").unwrap().access, Access::All);
        assert_eq!(parse("allow_root,allow_other").unwrap().access, Access::All);
    }

    #[test]
    fn refuses_unknown_options() {
        for word in [
            "remount",
            "auto_unmount",
            "suidx",
            "context",
            "uid=me",
            "uid=4294967295",
            "gid=-1",
            "umask=1777",
            "umask=9",
        ] {
            assert!(matches!(parse(word), Err(Error::Option { option, .. }) if option == word), "{word}");
        }
        let message = parse("ro,allow_al").unwrap_err().to_string();
        assert!(
            message.starts_with("The mount option allow_al is not known; known are ro, rw, allow_other,"),
            "{message}"
        );
    }

    #[test]
    fn read_only_contradicts_writable() {
        let mut options = Options { writable: true, ..Options::default() };
        options.add("rw").unwrap();
        assert!(matches!(options.add("ro"), Err(Error::Option { .. })));
    }
}
