//! Where the command line's passwords come from.

use super::arguments::Arguments;
use crate::crypt::passwords::Prompt;
use crate::crypt::{PasswordFile, Passwords};
use std::io::{self, IsTerminal};
use zeroize::Zeroizing;

/// Names a password file when no option does.
const VARIABLE: &str = "VBOXIMG_PASSWORD_FILE";

/// The password files of the options or else of the environment; without any, a prompt where there is a terminal.
pub(super) fn sources(arguments: &Arguments) -> Passwords {
    let mut files = arguments.password_files.clone();
    if files.is_empty()
        && let Ok(file) = std::env::var(VARIABLE)
        && let Ok(file) = file.parse::<PasswordFile>()
    {
        files.push(file);
    }
    let prompt = io::stdin().is_terminal().then(|| -> Prompt {
        Box::new(|what, key_id| {
            let question = format!("Password of the key {key_id:?} of {what}: ");
            Ok(Zeroizing::new(rpassword::prompt_password(question)?.into_bytes()))
        })
    });
    Passwords::new(files, prompt)
}
