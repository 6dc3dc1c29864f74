//! Where passwords come from: files, standard input, and a prompt. Never the command line itself, which other users
//! of the machine can read.

use super::{Error, Key, Result};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// The longest password that is read, in bytes.
const MAX_PASSWORD: u64 = 4096;

/// A password file of the command line: `FILE`, `ID=FILE`, or `-` in the place of a file for standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordFile {
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
pub type Prompt = Box<dyn Fn(&str, &str) -> io::Result<Key> + Send + Sync>;

/// The passwords that a user gives, each read once and kept until dropped, when they are wiped.
#[derive(Default)]
pub struct Passwords {
    files: Vec<PasswordFile>,
    prompt: Option<Prompt>,
    read: Mutex<HashMap<PathBuf, Key>>,
}

impl Passwords {
    /// Passwords from these files, and for a key that none of them is for, from a prompt.
    #[must_use]
    pub fn new(files: Vec<PasswordFile>, prompt: Option<Prompt>) -> Self {
        Self { files, prompt, read: Mutex::default() }
    }

    /// Whether a file is for a key, so that nobody has to be asked.
    #[must_use]
    pub fn has_file(&self, key_id: &str) -> bool {
        self.file(key_id).is_some()
    }

    /// The file for a key: one that names it, or else one that names none.
    fn file(&self, key_id: &str) -> Option<&PasswordFile> {
        self.files
            .iter()
            .find(|file| file.key_id.as_deref() == Some(key_id))
            .or_else(|| self.files.iter().find(|file| file.key_id.is_none()))
    }

    /// The password for the key `key_id` of `what`, a disk or machine.
    ///
    /// # Errors
    /// [`Error::NoPassword`] when there is none; [`Error::PasswordFile`].
    pub fn get(&self, what: &str, key_id: &str) -> Result<Key> {
        let Some(file) = self.file(key_id) else {
            let prompt = self.prompt.as_ref();
            let answer = prompt.and_then(|ask| ask(what, key_id).ok());
            return answer.ok_or_else(|| Error::NoPassword { what: what.to_owned(), key_id: key_id.to_owned() });
        };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(password) = read.get(&file.path) {
            return Ok(password.clone());
        }
        let password = read_file(&file.path)
            .map_err(|source| Error::PasswordFile { path: file.path.clone(), reason: source.to_string() })?;
        read.insert(file.path.clone(), password.clone());
        Ok(password)
    }
}

fn read_file(path: &Path) -> io::Result<Key> {
    if path == Path::new("-") { first_line(io::stdin().lock()) } else { first_line(File::open(path)?) }
}

/// The first line without its end, as VirtualBox's own tools read a password file.
fn first_line(source: impl Read) -> io::Result<Key> {
    let mut bytes = Key::new(Vec::new());
    // Reserved at once: growing would leave copies in freed memory.
    bytes.reserve_exact(usize::try_from(MAX_PASSWORD).unwrap_or_default() + 1);
    source.take(MAX_PASSWORD + 1).read_to_end(&mut bytes)?;
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r' | 0)).unwrap_or(bytes.len());
    if end as u64 > MAX_PASSWORD {
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
        assert_eq!(line(b"").unwrap_err(), "the first line is empty");
        assert_eq!(line(b"\nx").unwrap_err(), "the first line is empty");
        assert_eq!(line(&[b'x'; 5000]).unwrap_err(), "a password has at most 4096 bytes");
    }

    #[test]
    fn a_file_for_the_key_goes_before_one_for_any() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
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
        assert!(text.starts_with("Cannot read the password file /nowhere/at/all: No such file"), "{text}");
    }

    #[test]
    fn without_a_file_the_prompt_is_asked() {
        let prompt: Prompt = Box::new(|what, id| Ok(Key::new(format!("{what}/{id}").into_bytes())));
        let passwords = Passwords::new(Vec::new(), Some(prompt));
        assert_eq!(**passwords.get("disk", "1").unwrap(), *b"disk/1");
    }
}
