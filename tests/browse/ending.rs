//! However the browser ends, the terminal is as it was.

use crate::common::Fixture;
use crate::support::{needs, until};
use crate::terminal::{Terminal, has_tmux};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Command, Stdio};

#[test]
fn quits_at_any_moment() {
    needs!(has_tmux(), "tmux");
    let fixture = Fixture::registry();
    let moments: [&[&str]; 3] = [&[], &["Enter"], &["Enter", "Down", "Enter", "Down", "Enter"]];
    for keys in moments {
        let terminal = Terminal::new((80, 24), &fixture.home(), &[], &[]);
        terminal.wait_for("Machines");
        terminal.press(keys);
        terminal.press(&["q"]);
        terminal.assert_ended(0);
    }
    for key in ["?", "/"] {
        let terminal = Terminal::new((80, 24), &fixture.home(), &[], &[]);
        terminal.wait_for("Machines");
        terminal.press(&[key, "C-c"]);
        terminal.assert_ended(0);
    }
}

#[test]
fn signals_end_it_with_the_terminal_as_it_was() {
    needs!(has_tmux(), "tmux");
    let fixture = Fixture::registry();
    for (signal, code) in [(Signal::SIGTERM, 128 + 15), (Signal::SIGHUP, 128 + 1)] {
        let terminal = Terminal::new((80, 24), &fixture.home(), &[], &[]);
        terminal.wait_for("alpine tree");
        kill(Pid::from_raw(i32::try_from(terminal.pid()).unwrap()), signal).unwrap();
        terminal.assert_ended(code);
    }
}

#[test]
fn a_terminal_that_closes_ends_it() {
    needs!(has_tmux(), "tmux");
    let fixture = Fixture::registry();
    let terminal = Terminal::new((80, 24), &fixture.home(), &[], &[]);
    terminal.wait_for("alpine tree");
    let process = format!("/proc/{}", terminal.pid());
    drop(terminal);
    until("the browser has ended", || !std::path::Path::new(&process).exists());
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let fixture = Fixture::registry();
    let output = fixture.program().arg("browse").stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(text, "vboximg-mount: error: The browser needs a terminal; the verbs ls, cat and cp do without\n");
}

#[test]
fn it_is_stopped_and_goes_on() {
    needs!(has_tmux(), "tmux");
    let fixture = Fixture::registry();
    let terminal = Terminal::new((80, 24), &fixture.home(), &[], &[]);
    terminal.wait_for("alpine tree");
    terminal.press(&["C-z"]);
    let screen = terminal.wait_for("it is stopped");
    assert!(!screen.contains("alpine tree"), "the screen is the shell's: {screen}");
    terminal.press(&["Enter"]);
    terminal.wait_for("alpine tree");
    terminal.press(&["Enter"]);
    terminal.wait_for("Clean install");
    terminal.press(&["q"]);
    terminal.assert_ended(0);
}

#[test]
fn images_and_settings_stay_as_they_are() {
    needs!(has_tmux(), "tmux");
    let fixture = Fixture::registry();
    let files = || {
        // The times of directories change with the lock files.
        let list = ["-type", "f", "-printf", "%p %s %T@ %i\\n"];
        let listed = Command::new("find").arg(fixture.home()).args(list).output().unwrap();
        let mut lines: Vec<String> = String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let before = files();
    let terminal = Terminal::new((80, 24), &fixture.home(), &[], &["--vm", "alpine tree", "--disk", "0"]);
    terminal.wait_for("vol1 ext4");
    terminal.press(&["Down", "Down"]);
    terminal.wait_for("lost+found/");
    terminal.press(&["q"]);
    terminal.assert_ended(0);
    assert_eq!(files(), before);
}
