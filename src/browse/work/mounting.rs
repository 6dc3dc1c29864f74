//! Mounting: by this program itself in the background, as from the command line, so that the mount outlives the
//! browser.

use super::{Teller, Tools};
use crate::browse::model::message::Mount;
use crate::error_kind::message;
use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Between two looks whether the program has mounted.
const PAUSE: Duration = Duration::from_millis(10);
/// Bytes of the messages of a mount that are kept.
const MOST_TEXT: u64 = 64 << 10;

/// Mounts a disk. What the program says when it fails is the error.
pub(super) fn mount(tools: &Tools, mount: &Mount, teller: &Teller) -> Result<(), String> {
    let password = match &mount.key {
        Some((what, key_id)) => Some(tools.lookup.passwords.get(what, key_id).map_err(|e| message(&e))?),
        None => None,
    };
    let program = std::env::current_exe().map_err(|e| format!("Cannot find this program: {e}"))?;
    let mut command = Command::new(program);
    command.args(&tools.words);
    if password.is_some() {
        command.args(["--password-file", "-"]);
    }
    if mount.with_guests {
        command.arg("--guest-filesystem");
    }
    let which = &mount.which;
    let options = [
        ("--image", which.image.clone()),
        ("--vm", which.machine.clone().map(Into::into)),
        ("--snapshot", which.snapshot.clone().map(Into::into)),
        ("--disk", which.disk.clone().map(Into::into)),
    ];
    for (option, value) in options {
        if let Some(value) = value {
            // In one word, so that a name may begin with a dash.
            let mut word = std::ffi::OsString::from(format!("{option}="));
            word.push(value);
            command.arg(word);
        }
    }
    command.arg("--").arg(&mount.point);
    command.stdin(if password.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let cannot = |e: io::Error| format!("Cannot start the mount: {e}");
    let mut child = command.spawn().map_err(cannot)?;
    if let (Some(password), Some(mut input)) = (password, child.stdin.take()) {
        // One that has ended already says why.
        let _ = input.write_all(&password).and_then(|()| input.write_all(b"\n"));
    }
    let said = child.stderr.take();
    let text = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut text = Vec::new();
            if let Some(said) = said {
                // What cannot be read is not known.
                let _ = said.take(MOST_TEXT).read_to_end(&mut text);
            }
            text
        });
        let ended = wait(&mut child, teller);
        let text = reader.join().unwrap_or_default();
        ended.map(|is_mounted| (is_mounted, text)).map_err(cannot)
    });
    match text? {
        (true, _) => Ok(()),
        (false, text) => Err(without_name(&String::from_utf8_lossy(&text))),
    }
}

/// Waits until the program has mounted or failed. When it is to stop, the first process is ended, and that in the
/// background follows it.
fn wait(child: &mut Child, teller: &Teller) -> io::Result<bool> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if teller.is_stopped() {
            child.kill()?;
        }
        thread::sleep(PAUSE);
    }
}

/// What the program said, without its name before every line.
fn without_name(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim_start_matches("vboximg-mount: ").trim_start_matches("error: "));
    let text = lines.collect::<Vec<_>>().join("\n");
    if text.is_empty() { "The mount was stopped".to_owned() } else { text }
}
