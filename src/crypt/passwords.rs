//! The sources of passwords: files, standard input, and a prompt. Never the command line itself, which other users of
//! the machine can read.

use super::{Error, Key, Result};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The longest password that is read, in bytes.
const MAX_PASSWORD: usize = 4096;
/// Stands for standard input instead of a file.
pub(crate) const STDIN: &str = "-";

/// A password file of the command line: `FILE`, `ID=FILE`, or `-` instead of a file for standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PasswordFile {
    /// The key that the password is for; any key when none is named.
    pub key_id: Option<String>,
    /// The file; `-` is standard input.
    pub path: PathBuf,
}

impl FromStr for PasswordFile {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A file that is there with the whole text as its name is meant, whatever it has before a `=`.
        Ok(match text.split_once('=') {
            Some((id, file)) if !id.is_empty() && !Path::new(text).exists() => {
                Self { key_id: Some(id.to_owned()), path: file.into() }
            }
            _ => Self { key_id: None, path: text.into() },
        })
    }
}

/// Asks the user for the password of a key: `(what, key id)`.
pub(crate) type Prompt = Box<dyn Fn(&str, &str) -> io::Result<Key> + Send + Sync>;

/// The passwords that a user gives, each read once and cached until dropped, when they are wiped.
#[derive(Default)]
pub struct Passwords {
    files: Vec<PasswordFile>,
    prompt: Option<Prompt>,
    read: Mutex<HashMap<PathBuf, Key>>,
    /// What the prompt was answered, by the id of the key.
    asked: Mutex<HashMap<String, Key>>,
}

impl Passwords {
    /// Passwords from these files, and for a key that none of them is for, from a prompt.
    #[must_use]
    pub(crate) fn new(files: Vec<PasswordFile>, prompt: Option<Prompt>) -> Self {
        Self { files, prompt, read: Mutex::default(), asked: Mutex::default() }
    }

    /// Adds a file whose first line is the password for a key, or, where none is named, for any key without a file of
    /// its own. It is read when it is needed; `-` is standard input.
    #[must_use]
    pub fn with_file(mut self, key_id: Option<&str>, path: impl Into<PathBuf>) -> Self {
        self.files.push(PasswordFile { key_id: key_id.map(str::to_owned), path: path.into() });
        self
    }

    /// Whether there is a password for a key, right or wrong, so that nobody has to be asked.
    #[must_use]
    pub(crate) fn has(&self, key_id: &str) -> bool {
        self.file(key_id).is_some() || lock(&self.asked).contains_key(key_id)
    }

    /// Whether there is a password for a key or somebody can be asked for it.
    #[must_use]
    pub(crate) fn can_get(&self, key_id: &str) -> bool {
        self.prompt.is_some() || self.has(key_id)
    }

    /// The file for a key: one that names it, or else one that names none.
    fn file(&self, key_id: &str) -> Option<&PasswordFile> {
        self.files
            .iter()
            .find(|file| file.key_id.as_deref() == Some(key_id))
            .or_else(|| self.files.iter().find(|file| file.key_id.is_none()))
    }

    /// The password for the key `key_id` of `what`, a disk or machine. Nobody is asked twice for a key.
    ///
    /// # Errors
    /// [`Error::NoPassword`] when there is none; [`Error::PasswordFile`].
    pub(crate) fn get(&self, what: &str, key_id: &str) -> Result<Key> {
        let Some(file) = self.file(key_id) else { return self.ask(what, key_id) };
        let mut read = lock(&self.read);
        if let Some(password) = read.get(&file.path) {
            return Ok(password.clone());
        }
        let password = read_file(&file.path).map_err(|source| Error::PasswordFile {
            path: file.path.clone(),
            key_id: key_id.to_owned(),
            reason: source.to_string(),
        })?;
        read.insert(file.path.clone(), password.clone());
        Ok(password)
    }

    /// Forgets what the prompt was answered for a key, so that it is asked again. Whether there was an answer.
    pub fn forget(&self, key_id: &str) -> bool {
        lock(&self.asked).remove(key_id).is_some()
    }

    fn ask(&self, what: &str, key_id: &str) -> Result<Key> {
        // Held while somebody is asked, so that two questions never meet on the terminal.
        let mut asked = lock(&self.asked);
        if let Some(password) = asked.get(key_id) {
            return Ok(password.clone());
        }
        let answer = self.prompt.as_ref().and_then(|ask| ask(what, key_id).ok());
        let password = answer.ok_or_else(|| Error::NoPassword { what: what.to_owned(), key_id: key_id.to_owned() })?;
        asked.insert(key_id.to_owned(), password.clone());
        Ok(password)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_file(path: &Path) -> io::Result<Key> {
    if path == Path::new(STDIN) {
        // Not through `io::stdin()`, whose buffer nobody wipes.
        return first_line(File::from(io::stdin().as_fd().try_clone_to_owned()?));
    }
    first_line(File::open(path)?)
}

/// The first line without its end, as VirtualBox's own tools read a password file. Nothing after it is waited for.
fn first_line(mut source: impl Read) -> io::Result<Key> {
    // All at once: growing would leave copies in freed memory.
    let mut bytes = Key::new(vec![0; MAX_PASSWORD + 1]);
    let mut len = 0;
    let end = loop {
        match source.read(&mut bytes[len..]) {
            Ok(0) => break len,
            Ok(more) => {
                let new = len..len + more;
                len = new.end;
                if let Some(end) = bytes[new.clone()].iter().position(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
                    break new.start + end;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    };
    if end > MAX_PASSWORD {
        return Err(io::Error::other(format!("a password has at most {MAX_PASSWORD} bytes")));
    }
    if end == 0 {
        return Err(io::Error::other("the first line is empty"));
    }
    bytes.truncate(end);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &[u8]) -> Result<Vec<u8>, String> {
        first_line(text).map(|key| key.to_vec()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_password_is_the_first_line() {
        assert_eq!(line(b"a b").unwrap(), b"a b");
        assert_eq!(line(b"a b\n").unwrap(), b"a b");
        assert_eq!(line(b"a b\r\nmore").unwrap(), b"a b");
        assert_eq!(line(&[&[b'x'; 4096][..], b"\n"].concat()).unwrap(), [b'x'; 4096]);
        assert_eq!(line(b"").unwrap_err(), "the first line is empty");
        assert_eq!(line(b"\nx").unwrap_err(), "the first line is empty");
        assert_eq!(line(&[b'x'; 5000]).unwrap_err(), "a password has at most 4096 bytes");
    }

    /// A source that would wait for ever after its first line.
    struct Waits(bool);

    impl Read for Waits {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            assert!(!std::mem::replace(&mut self.0, true), "it was read beyond the line's end");
            buf[..4].copy_from_slice(b"a b\n");
            Ok(4)
        }
    }

    #[test]
    fn nothing_is_waited_for_after_the_line() {
        assert_eq!(*first_line(Waits(false)).unwrap(), b"a b");
    }

    #[test]
    fn a_file_for_the_key_goes_before_one_for_any() {
        let directory = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (any, one) = (put("any", "for any\n"), put("one=two", "for one"));
        let parse = |text: String| text.parse::<PasswordFile>().unwrap();
        assert_eq!(parse(one.clone()).key_id, None, "a file that is there with that name");
        let passwords = Passwords::new(vec![parse(any), parse(format!("key 1={one}"))], None);
        assert_eq!(**passwords.get("disk", "key 1").unwrap(), *b"for one");
        assert_eq!(**passwords.get("disk", "key 2").unwrap(), *b"for any");
    }

    #[test]
    fn no_password_and_no_file_say_what_to_do() {
        let none = Passwords::default();
        let text = none.get("sealed.vdi", "key 1").unwrap_err().to_string();
        assert_eq!(text, "sealed.vdi is encrypted with the key \"key 1\"; give its password with --password-file FILE");
        let gone = Passwords::new(vec!["/nowhere/at/all".parse().unwrap()], None);
        let text = gone.get("sealed.vdi", "key 1").unwrap_err().to_string();
        assert!(
            text.starts_with("Cannot read the password file /nowhere/at/all for the key \"key 1\": No such file"),
            "{text}"
        );
    }

    #[test]
    fn without_a_file_the_prompt_is_asked() {
        let prompt: Prompt = Box::new(|what, id| Ok(Key::new(format!("{what}/{id}").into_bytes())));
        let passwords = Passwords::new(Vec::new(), Some(prompt));
        assert!(passwords.can_get("1") && !passwords.has("1"));
        assert_eq!(**passwords.get("machine", "1").unwrap(), *b"machine/1");
        assert!(passwords.has("1"));
        // A machine and its disks have the same key: one question is enough.
        assert_eq!(**passwords.get("disk", "1").unwrap(), *b"machine/1");
        assert_eq!(**passwords.get("disk", "2").unwrap(), *b"disk/2");
    }
}
