//! What the Tab key offers: options, files, and the names of machines, snapshots, disks and guest paths.
//!
//! The scripts in `scripts/` call the program as `vboximg-mount --complete SHELL ...` with the line as it is typed.
//! The engine of the crate `clap_complete` finds what the cursor is in, by the same definitions that parse the command
//! line; what an argument takes is told from its id, value name and hint, so that new verbs need nothing here. The
//! crate's own scripts are not used: its bash script does not quote names with spaces and takes neither `--vm=NAME` nor
//! quotes, and none of them leaves the host's files to the shell, which knows `~user`, variables and patterns.
//!
//! Nothing is asked, printed as an error or locked, and what takes too long is given up.

mod line;
mod names;
mod offers;
mod paths;
mod shell;

use super::arguments::Arguments;
use super::verbs::{VerbLine, begins_with_verb};
use clap::{Command, CommandFactory};
use clap_complete::CompletionCandidate;
use offers::Files;
use shell::Shell;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The first argument of a call by a completion script. Not for users.
const FLAG: &str = "--complete";

/// How long a user may wait for an offer. It takes longer on a network path that does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The scripts of the shells that ask this program. They are files, so that packages can install them.
const SCRIPTS: [(clap_complete::Shell, &str); 3] = [
    (clap_complete::Shell::Bash, include_str!("scripts/vboximg-mount.bash")),
    (clap_complete::Shell::Zsh, include_str!("scripts/_vboximg-mount")),
    (clap_complete::Shell::Fish, include_str!("scripts/vboximg-mount.fish")),
];

/// The script that makes a shell complete this program's arguments. elvish and powershell get one that knows the
/// options only.
pub(super) fn script(shell: clap_complete::Shell) -> Vec<u8> {
    if let Some((_, script)) = SCRIPTS.iter().find(|(of, _)| *of == shell) {
        return script.as_bytes().to_vec();
    }
    let verbs = VerbLine::command();
    let mut command = Arguments::command().subcommands(verbs.get_subcommands().cloned());
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, super::terminal::NAME, &mut script);
    script
}

/// The arguments after the flag of a call by a completion script; `None` for any other call.
pub(super) fn asked(words: &[OsString]) -> Option<&[OsString]> {
    words.split_first_chunk::<2>().filter(|([_, flag], _)| flag == FLAG).map(|(_, rest)| rest)
}

/// Prints what can stand at the cursor. The exit code says what the shell is to offer when that is nothing: see
/// [`Files::exit_code`].
pub(super) fn run(asked: &[OsString]) -> ExitCode {
    // The terminal shows a line that is being typed: nothing may be written into it.
    std::panic::set_hook(Box::new(|_| {}));
    let (sender, receiver) = mpsc::channel();
    let asked = asked.to_vec();
    // It is not waited for: it may hang on a file system that does not answer.
    thread::spawn(move || sender.send(answer(&asked)));
    let Ok(Some(answer)) = receiver.recv_timeout(PATIENCE) else { return ExitCode::FAILURE };
    match io::stdout().lock().write_all(&answer.text) {
        Ok(()) => ExitCode::from(answer.files.exit_code()),
        Err(_) => ExitCode::FAILURE,
    }
}

/// What is offered.
struct Answer {
    text: Vec<u8>,
    files: Files,
}

fn answer(asked: &[OsString]) -> Option<Answer> {
    let (shell, rest) = asked.split_first()?;
    let shell: Shell = shell.to_str()?.parse().ok()?;
    let (words, current) = shell.line(rest)?;
    if current.is_expanded {
        return Some(Answer { text: Vec::new(), files: Files::Any });
    }
    let (mut candidates, files) = offers(&words, &current.value)?;
    candidates.retain(|candidate| is_printable(candidate.get_value()));
    let mut text = Vec::new();
    for candidate in &candidates {
        text.extend(shell.offer(candidate, &current));
        text.push(b'\n');
    }
    Some(Answer { text, files })
}

/// The offers for a word after others, the first of which is the program's name.
fn offers(words: &[OsString], current: &OsStr) -> Option<(Vec<CompletionCandidate>, Files)> {
    let words = line::modern(words);
    let mut command = line::command(&words);
    command = offers::add(command, &words);
    let mut all = words.clone();
    // The engine takes a single dash for the beginning of short options only.
    let begun = if current == "-" { OsStr::new("") } else { current };
    all.push(begun.to_owned());
    let directory = std::env::current_dir().ok();
    let mut found = clap_complete::engine::complete(&mut command, all, words.len(), directory.as_deref()).ok()?;
    let mut files = Files::take(&mut found);
    if words.len() == 1 && current != "-" {
        found.splice(0..0, verbs(current));
    }
    // Options are offered to who begins one, and to who can write nothing else.
    let is_option = |candidate: &CompletionCandidate| candidate.get_value().as_encoded_bytes().starts_with(b"-");
    if current == "-" {
        found.retain(is_option);
        files = Files::None;
    } else if current.is_empty() && (files != Files::None || !found.iter().all(is_option)) {
        found.retain(|candidate| !is_option(candidate));
    }
    Some((found, files))
}

fn verbs(current: &OsStr) -> Vec<CompletionCandidate> {
    let command = VerbLine::command();
    let begun = |verb: &&Command| verb.get_name().as_bytes().starts_with(current.as_encoded_bytes());
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set()).filter(begun);
    verbs.map(|verb| CompletionCandidate::new(verb.get_name()).help(verb.get_about().cloned())).collect()
}

/// Whether a name can be shown and typed as it is. Guests choose their names, and a terminal obeys some.
fn is_printable(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    bytes.iter().all(|byte| !byte.is_ascii_control()) && !name.to_string_lossy().contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(line: &str) -> Vec<String> {
        let (before, current) = line.rsplit_once(' ').unwrap();
        let words: Vec<OsString> = before.split(' ').map(OsString::from).collect();
        let (found, _) = offers(&words, current.as_ref()).unwrap();
        found.iter().map(|candidate| candidate.get_value().to_string_lossy().into_owned()).collect()
    }

    fn files(line: &str) -> Files {
        let (before, current) = line.rsplit_once(' ').unwrap();
        let words: Vec<OsString> = before.split(' ').map(OsString::from).collect();
        offers(&words, current.as_ref()).unwrap().1
    }

    #[test]
    fn offers_options_and_verbs() {
        assert!(offered("x --sn").contains(&"--snapshot".to_owned()));
        assert!(offered("x -").contains(&"--image".to_owned()));
        assert!(offered("x ").contains(&"ls".to_owned()) && !offered("x ").iter().any(|one| one.starts_with('-')));
        assert_eq!(offered("x ca"), ["cat"]);
        assert_eq!(offered("x -i y ca"), Vec::<String>::new());
        assert_eq!(offered("x ls --rec"), ["--recursive"]);
        assert_eq!(offered("x --completions z"), ["zsh"]);
        assert!(!offered("x --").contains(&"--complete".to_owned()));
    }

    #[test]
    fn offers_mount_options_one_by_one() {
        assert_eq!(offered("x -o ro,allow_r"), ["ro,allow_root"]);
        assert_eq!(offered("x -o fs"), ["fsname="]);
        assert_eq!(offered("x -ouma"), ["-oumask="]);
    }

    #[test]
    fn leaves_files_of_the_host_to_the_shell() {
        for line in ["x --settings ", "x ls --settings ", "x --settings=/et", "x --allow-file a", "x -i ./a"] {
            assert_eq!(files(line), Files::Any, "{line}");
        }
        for line in ["x -u ", "x --unmount=/m", "x -i a.vdi /m", "x a.vdi /m"] {
            assert_eq!(files(line), Files::Directories, "{line}");
        }
        for line in ["x --vm /nothing", "x -", "x --at "] {
            assert_eq!(files(line), Files::None, "{line}");
        }
        assert_eq!(files("x cp -i /nonexistent fs0/etc /m"), Files::Any);
    }

    #[test]
    fn shows_no_name_that_a_terminal_obeys() {
        assert!(is_printable("etc".as_ref()) && is_printable("ünïcode ☃".as_ref()));
        for name in ["a\x1b[31m", "a\nb", "a\tb", "\u{9b}31m"] {
            assert!(!is_printable(name.as_ref()), "{name:?}");
        }
    }

    #[test]
    fn is_asked_by_its_flag_only() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(asked(&words("x --complete zsh x ")).map(<[_]>::len), Some(3));
        assert_eq!(asked(&words("x -l --complete")), None);
        assert_eq!(asked(&words("x")), None);
        assert!(begins_with_verb(&words("x ls")));
    }
}
