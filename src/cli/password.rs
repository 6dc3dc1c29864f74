//! Where the command line's passwords come from.

use super::prompt;
use super::which::WhichDisk;
use crate::crypt::passwords::{Prompt, STDIN};
use crate::crypt::{PasswordFile, Passwords};
use std::io::{self, IsTerminal};
use std::path::Path;

/// Names a password file when no option does.
const VARIABLE: &str = "VBOXIMG_PASSWORD_FILE";

/// The password files of the options or else of the environment.
pub(super) fn files(which: &WhichDisk) -> Vec<PasswordFile> {
    let mut files = which.password_files.clone();
    if files.is_empty()
        && let Ok(file) = std::env::var(VARIABLE)
        && let Ok(file) = file.parse::<PasswordFile>()
    {
        files.push(file);
    }
    if io::stdin().is_terminal() {
        // A password that is typed should not be seen: the prompt takes its place.
        files.retain(|file| file.path != Path::new(STDIN));
    }
    if !files.is_empty() {
        keep_out_of_dumps();
    }
    files
}

/// These files, and a prompt where there is a terminal.
pub(super) fn sources(which: &WhichDisk) -> Passwords {
    let files = files(which);
    let ask = prompt::is_possible().then(|| -> Prompt {
        Box::new(|what, key_id| {
            keep_out_of_dumps();
            prompt::ask(&format!("Password of the key {key_id:?} of {what}: "))
        })
    });
    Passwords::new(files, ask)
}

/// Lets the kernel write no core of this process, in which passwords and keys would be.
pub(super) fn keep_out_of_dumps() {
    #[cfg(target_os = "linux")]
    if let Err(e) = nix::sys::prctl::set_dumpable(false) {
        log::debug!("A crash of this process would leave a core: {e}");
    }
}
