//! The mount options: what `-o` accepts.

use super::{Error, Result};

/// Who may use the mount besides the user who mounted it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Access {
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
pub struct Options {
    /// Writes reach the disk; without it the mount is read-only.
    pub writable: bool,
    /// Who may use it.
    pub access: Access,
    /// Mount over a folder that has files in it.
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
}

/// Options that have an effect, for the message on an unknown one.
const KNOWN: &str = "ro, rw, allow_other, allow_root, nonempty, noexec, sync, fsname=NAME, uid=N, gid=N, umask=OCTAL";

/// Words that users of other FUSE programs pass and that need nothing here: what they ask for is always so, or does
/// not matter for a disk.
const IGNORED: [&str; 29] = [
    "async",
    "async_read",
    "atime",
    "auto",
    "auto_cache",
    "big_writes",
    "default_permissions",
    "defaults",
    "diratime",
    "direct_io",
    "exec",
    "hard_remove",
    "intr",
    "kernel_cache",
    "large_read",
    "noatime",
    "noauto",
    "nodev",
    "nodiratime",
    "nofail",
    "noforget",
    "nosuid",
    "nouser",
    "readdir_ino",
    "relatime",
    "sync_read",
    "use_ino",
    "user",
    "_netdev",
];

/// As [`IGNORED`], with a value.
const IGNORED_WITH_VALUE: [&str; 9] = [
    "attr_timeout",
    "congestion_threshold",
    "entry_timeout",
    "max_background",
    "max_read",
    "max_readahead",
    "max_write",
    "negative_timeout",
    "subtype",
];

impl Options {
    /// Takes in the words of one `-o`, separated by commas, after `--rw` and `--root` have been set.
    ///
    /// # Errors
    /// [`Error::Option`] for what is not known, has a bad value, or contradicts another option.
    pub fn add(&mut self, list: &str) -> Result<()> {
        list.split(',').filter(|word| !word.is_empty()).try_for_each(|word| self.add_word(word))
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
            ("uid", Some(value)) => self.uid = Some(number(word, value)?),
            ("gid", Some(value)) => self.gid = Some(number(word, value)?),
            ("umask", Some(value)) => {
                let mask = u16::from_str_radix(value, 8).ok().filter(|mask| *mask <= 0o777);
                self.umask = mask.ok_or_else(|| bad(word, "needs an octal number from 0 to 777"))?;
            }
            (name, None) if IGNORED.contains(&name) || name.starts_with("x-") => {
                log::debug!("The mount option {word} changes nothing here");
            }
            (name, Some(_)) if IGNORED_WITH_VALUE.contains(&name) || name.starts_with("x-") => {
                log::debug!("The mount option {word} changes nothing here");
            }
            _ => return Err(bad(word, &format!("is not known; known are {KNOWN}"))),
        }
        Ok(())
    }
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
    fn takes_what_has_an_effect() {
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
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn passes_over_what_other_programs_take() {
        let words = IGNORED.join(",");
        let values = IGNORED_WITH_VALUE.map(|name| format!("{name}=1")).join(",");
        assert_eq!(parse(&format!("{words},{values},x-systemd.automount,rw,ro")).unwrap(), Options::default());
    }

    #[test]
    fn everyone_includes_root() {
        assert_eq!(parse("allow_root").unwrap().access, Access::Root);
        assert_eq!(parse("allow_other,allow_root").unwrap().access, Access::All);
        assert_eq!(parse("allow_root,allow_other").unwrap().access, Access::All);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for word in ["suid", "dev", "auto_unmount", "uid=me", "uid=4294967295", "gid=-1", "umask=1777", "umask=9"] {
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
