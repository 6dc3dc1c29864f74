//! The words of a line as the shells have them, with their quotes, and offers as the shells take them.

use clap_complete::CompletionCandidate;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::str::FromStr;

/// A shell whose script calls this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl FromStr for Shell {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "bash" => Ok(Self::Bash),
            "zsh" => Ok(Self::Zsh),
            "fish" => Ok(Self::Fish),
            _ => Err(()),
        }
    }
}

/// The word that the cursor is in, up to the cursor.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Current {
    /// What it means, without quotes.
    pub(super) value: OsString,
    /// Whether the shell would put something else in its place: `~`, variables, patterns, commands. Only the shell can
    /// complete it then.
    pub(super) is_expanded: bool,
    /// The quote that is not closed.
    quote: Option<u8>,
    /// The bytes of `value` before the part of the word that the shell replaces. bash breaks words at `=` and `:`.
    before: usize,
}

impl Shell {
    /// The words before the cursor and the one that it is in, from the arguments of the script: for bash the line up to
    /// the cursor and the part of it that is replaced, for the others the words, the last of which is replaced.
    pub(super) fn line(self, arguments: &[OsString]) -> Option<(Vec<OsString>, Current)> {
        if self == Self::Bash {
            let [line, replaced] = arguments else { return None };
            let mut words = split(line.as_bytes());
            let last = words.pop()?;
            let before = match last.raw.strip_suffix(replaced.as_bytes()) {
                Some(kept) => split(kept).pop().map_or(0, |kept| kept.value.len()),
                None => 0,
            };
            return Some((
                words.into_iter().map(Word::into_value).collect(),
                Current { before, ..last.into_current() },
            ));
        }
        let (last, words) = arguments.split_last()?;
        // fish has taken the quotes away, but for the word that is being typed.
        let value = |word: &OsString| match self {
            Self::Zsh => whole(word.as_bytes()).into_value(),
            _ => home(word),
        };
        Some((words.iter().map(value).collect(), whole(last.as_bytes()).into_current()))
    }

    /// A candidate as the shell's script takes it, in a line.
    pub(super) fn offer(self, candidate: &CompletionCandidate, current: &Current) -> Vec<u8> {
        let value = candidate.get_value().as_bytes();
        if self == Self::Bash {
            return quoted(value.get(current.before..).unwrap_or_default(), current.quote);
        }
        let about = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        let about: String = about.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
        [value, b"\t", about.as_bytes()].concat()
    }
}

/// A word without its leading `~`, which fish would replace.
fn home(word: &OsStr) -> OsString {
    match word.as_bytes().strip_prefix(b"~") {
        Some(rest) => OsString::from_vec(expand_home(rest)),
        None => word.to_owned(),
    }
}

/// A word of a line.
#[derive(Debug, Default)]
struct Word<'a> {
    raw: &'a [u8],
    value: Vec<u8>,
    is_expanded: bool,
    quote: Option<u8>,
}

impl Word<'_> {
    fn into_value(self) -> OsString {
        OsString::from_vec(self.value)
    }

    fn into_current(self) -> Current {
        let (is_expanded, quote) = (self.is_expanded, self.quote);
        Current { value: self.into_value(), is_expanded, quote, before: 0 }
    }
}

/// A word that the shell has split already.
fn whole(raw: &[u8]) -> Word<'_> {
    next(raw, false).0
}

/// The words of a line; the last is the one that the cursor is in, and empty after a space.
fn split(line: &[u8]) -> Vec<Word<'_>> {
    let mut rest = line.trim_ascii_start();
    let mut words = Vec::new();
    loop {
        let (word, end) = next(rest, true);
        words.push(word);
        match rest.get(end..) {
            Some(after) if !after.is_empty() => rest = after.trim_ascii_start(),
            _ => return words,
        }
    }
}

/// The word at the beginning of a line and the bytes that it takes. Variables of the environment and home directories
/// are replaced; commands are not run.
fn next(line: &[u8], is_split: bool) -> (Word<'_>, usize) {
    let mut word = Word::default();
    let mut at = 0;
    if line.first() == Some(&b'~') {
        at = line.iter().position(|byte| *byte == b'/' || byte.is_ascii_whitespace()).unwrap_or(line.len());
        word.value = expand_home(&line[1..at]);
        word.is_expanded = true;
    }
    while let Some(&byte) = line.get(at) {
        at += 1;
        match (byte, word.quote) {
            (byte, Some(quote)) if byte == quote => word.quote = None,
            (b'\'' | b'"', None) => word.quote = Some(byte),
            (b'\\', None) | (b'\\', Some(b'"')) => {
                let escaped = line.get(at).copied();
                // Between double quotes it is itself before most characters.
                if word.quote.is_some() && !escaped.is_some_and(|byte| b"$`\"\\".contains(&byte)) {
                    word.value.push(byte);
                } else {
                    word.value.extend(escaped);
                    at += 1;
                }
            }
            (b'$', None | Some(b'"')) => {
                word.is_expanded = true;
                let is_braced = line.get(at) == Some(&b'{');
                let start = at + usize::from(is_braced);
                let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
                let end = start + line.get(start..).unwrap_or_default().iter().take_while(is_name).count();
                let variable = std::env::var_os(OsStr::from_bytes(&line[start.min(end)..end])).unwrap_or_default();
                word.value.extend(variable.as_bytes());
                at = end + usize::from(is_braced && line.get(end) == Some(&b'}'));
            }
            (byte, None) if is_split && byte.is_ascii_whitespace() => {
                at -= 1;
                break;
            }
            (byte, quote) => {
                word.is_expanded |= quote.is_none() && b"`*?".contains(&byte);
                word.value.push(byte);
            }
        }
    }
    let at = at.min(line.len());
    word.raw = &line[..at];
    (word, at)
}

/// The home directory of a user, or of this one without a name.
fn expand_home(user: &[u8]) -> Vec<u8> {
    let (name, rest) = user.split_at(user.iter().position(|byte| *byte == b'/').unwrap_or(user.len()));
    let home = match std::str::from_utf8(name) {
        Ok("") => std::env::home_dir(),
        Ok(name) => nix::unistd::User::from_name(name).ok().flatten().map(|user| user.dir),
        Err(_) => None,
    };
    let home = home.map_or_else(|| [b"~", name].concat(), |home| home.into_os_string().into_vec());
    [&home, rest].concat()
}

/// Text as bash reads it back, within a quote that is open or else with backslashes.
fn quoted(text: &[u8], quote: Option<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        match quote {
            Some(b'\'') if byte == b'\'' => out.extend(b"'\\''"),
            Some(b'"') if b"$`\"\\".contains(&byte) => out.extend([b'\\', byte]),
            None if b" \t'\"\\$`&|;<>()*?[]{}!#~^".contains(&byte) => out.extend([b'\\', byte]),
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bash(line: &str, replaced: &str) -> (Vec<String>, Current) {
        let (words, current) = Shell::Bash.line(&[line.into(), replaced.into()]).unwrap();
        (words.into_iter().map(|word| word.into_string().unwrap()).collect(), current)
    }

    #[test]
    fn splits_lines_as_bash_does() {
        let (words, current) = bash("x --vm 'alpine tree' --snapshot With\\ to\"ols\"\\ \"a\\b\\\"\" fs0/", "fs0/");
        assert_eq!(words, ["x", "--vm", "alpine tree", "--snapshot", "With tools a\\b\""]);
        assert_eq!(current, Current { value: "fs0/".into(), ..Current::default() });
        assert_eq!(bash("  x  ", "").0, ["x"]);
        assert_eq!(bash("x \"a b", "a b").1, Current { value: "a b".into(), quote: Some(b'"'), ..Current::default() });
        assert_eq!(bash("x a\\", "a\\").1.value, "a");
        assert_eq!(bash("", "").1, Current::default());
    }

    #[test]
    fn replaces_what_bash_replaces() {
        for (line, replaced, before) in [
            ("x --vm=al", "al", 5),
            ("x --vm=alpine\\ tr", "alpine\\ tr", 5),
            ("x -o vm=a:b", "b", 5),
            ("x \"a b", "a b", 0),
            ("x 'it'\\''s", "s", 3),
        ] {
            assert_eq!(bash(line, replaced).1.before, before, "{line}");
        }
        let offer = |line: &str, replaced: &str, value: &str| {
            let current = bash(line, replaced).1;
            String::from_utf8(Shell::Bash.offer(&CompletionCandidate::new(value), &current)).unwrap()
        };
        assert_eq!(offer("x --vm=al", "al", "--vm=alpine tree"), "alpine\\ tree");
        assert_eq!(offer("x \"al", "al", "alpine $tree"), "alpine \\$tree");
        assert_eq!(offer("x 'it", "it", "it's"), "it'\\''s");
        assert_eq!(offer("x ", "", "-- [a](b);{c}"), "--\\ \\[a\\]\\(b\\)\\;\\{c\\}");
    }

    #[test]
    fn leaves_what_the_shell_expands_to_the_shell() {
        for word in ["~/a", "~", "$HOME/a", "\"$HOME", "*.vdi", "`a"] {
            assert!(bash(&format!("x {word}"), word).1.is_expanded, "{word}");
        }
        for word in ["a~", "'$HOME'", "\\$HOME", "'*'", "\"*\""] {
            assert!(!bash(&format!("x {word}"), word).1.is_expanded, "{word}");
        }
    }

    #[test]
    fn knows_homes_and_variables_of_words_before() {
        let home = std::env::home_dir().unwrap().into_os_string().into_string().unwrap();
        let path = std::env::var("PATH").unwrap();
        for (word, value) in [
            ("~/a", format!("{home}/a")),
            ("~", home),
            ("~root/a", "/root/a".to_owned()),
            ("~nobody.has.this.name/a", "~nobody.has.this.name/a".to_owned()),
            ("$PATH", path.clone()),
            ("\"${PATH}x\"", format!("{path}x")),
            ("$", String::new()),
            ("a$(reboot)", "a(reboot)".to_owned()),
        ] {
            assert_eq!(bash(&format!("x {word} "), "").0, ["x", &value], "{word}");
            let (words, _) = Shell::Zsh.line(&["x".into(), word.into(), "".into()]).unwrap();
            assert_eq!(words, ["x", &value], "{word}");
        }
        let (words, _) = Shell::Fish.line(&["x".into(), "~root/a".into(), "it's".into(), "".into()]).unwrap();
        assert_eq!(words, ["x", "/root/a", "it's"]);
    }
}
