//! `browse`: the full-screen browser, which has the terminal to itself.

use super::arguments::Common;
use crate::browse::{self, Ended, Options};
use crate::cli::error::Error;
use crate::cli::{password, terminal};
use crate::image;
use crate::open::{self, DiskOptions};
use crate::storage::Allowed;
use std::ffi::OsString;
use std::process::ExitCode;

/// Shows the browser until the user ends it.
pub(super) fn run(common: &Common) -> ExitCode {
    match show(common) {
        Ok(Ended { mounted, signal }) => {
            for point in mounted {
                // Nobody to tell when the terminal has gone.
                let _ = terminal::say(&format!("Still mounted at {}; end it with --unmount", point.display()));
            }
            if let Some(signal) = signal {
                // Whoever started this is to see what ended it.
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
            ExitCode::SUCCESS
        }
        Err(e) => {
            terminal::report(&e);
            ExitCode::from(e.kind().exit_code())
        }
    }
}

fn show(common: &Common) -> Result<Ended, Error> {
    let which = &common.which;
    let allowed = Allowed::new(&which.allow_files).map_err(image::Error::from).map_err(open::Error::from)?;
    let disk =
        DiskOptions { force: common.force, allowed_devices: which.allowed_devices.clone(), ..DiskOptions::default() };
    let options = Options {
        which: which.which(),
        settings: which.settings.clone(),
        allowed,
        password_files: password::files(which),
        on_password: password::keep_out_of_dumps,
        disk,
        words: words(common),
        color: terminal::style().color,
    };
    Ok(browse::run(options)?)
}

/// What of the command line a mount needs too.
fn words(common: &Common) -> Vec<OsString> {
    let which = &common.which;
    let mut words: Vec<OsString> = Vec::new();
    let mut add = |option: &str, value: &std::ffi::OsStr| words.extend([option.into(), value.to_owned()]);
    which.settings.iter().for_each(|path| add("--settings", path.as_os_str()));
    which.allow_files.iter().for_each(|path| add("--allow-file", path.as_os_str()));
    which.allowed_devices.iter().for_each(|path| add("--allow-device", path.as_os_str()));
    if common.force {
        words.push("--force".into());
    }
    words
}
