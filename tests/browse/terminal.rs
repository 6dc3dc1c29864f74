//! A terminal of a test's own: tmux, whose server ends with the test.

use crate::support::until;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

/// What the shell does around the program, so that a test sees how it ended and whether the terminal is as it was.
const AROUND: &str = r#"stty -a >"$SCENE/before"; set -m; "$PROGRAM" browse "$@"; code=$?
while [ $code = 148 ]; do echo it is stopped; read -r line; fg; code=$?; done
echo "code $code"; stty -a >"$SCENE/after"; cmp "$SCENE/before" "$SCENE/after" && echo the same; exec cat"#;

/// Whether tmux can be used.
pub(crate) fn has_tmux() -> bool {
    Command::new("tmux").arg("-V").output().is_ok()
}

/// A browser in a terminal.
pub(crate) struct Terminal {
    socket: String,
    scene: TempDir,
}

impl Terminal {
    /// Starts the browser with arguments in a terminal of so many columns and rows. The settings are those in `home`.
    pub(crate) fn new(size: (u16, u16), home: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let socket = format!("vboximg-browse-{}-{number}", std::process::id());
        let scene = TempDir::with_prefix("vboximg-terminal-").unwrap();
        let settings = "set -g status off\nset -g default-terminal tmux-256color\nset -sg escape-time 0\n";
        std::fs::write(scene.path().join("tmux.conf"), settings).unwrap();
        std::fs::write(scene.path().join("around"), AROUND).unwrap();
        let terminal = Self { socket, scene };
        let (columns, rows) = (size.0.to_string(), size.1.to_string());
        let mut command = terminal.tmux();
        command.arg("-f").arg(terminal.path("tmux.conf"));
        command.args(["new-session", "-d", "-x", &columns, "-y", &rows, "-c"]).arg(terminal.scene.path());
        // A test run in the background of a shell may ignore signals, and so would all that it starts.
        command.args(["env", "--default-signal=INT,HUP,TERM,QUIT,TSTP", "sh"]).arg(terminal.path("around"));
        command.args(arguments).env_remove("NO_COLOR").env_remove("TMUX").envs(variables.iter().copied());
        command.env("PROGRAM", env!("CARGO_BIN_EXE_vboximg-mount")).env("SCENE", terminal.scene.path());
        command.env("VBOX_USER_HOME", home).env("LC_ALL", "C.UTF-8");
        let output = command.output().expect("tmux is installed (tests/setup.sh)");
        assert!(output.status.success(), "{output:?}");
        terminal
    }

    /// A file of the terminal's directory, in which the browser was started.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scene.path().join(name)
    }

    fn tmux(&self) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-u", "-L", &self.socket]);
        command
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let output = self.tmux().args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Presses keys by tmux's names of them.
    pub(crate) fn press(&self, keys: &[&str]) {
        self.ask(&[&["send-keys"], keys].concat());
    }

    /// Types text.
    pub(crate) fn write(&self, text: &str) {
        self.ask(&["send-keys", "-l", text]);
    }

    /// The screen as text.
    pub(crate) fn screen(&self) -> String {
        self.ask(&["capture-pane", "-p"])
    }

    /// The screen with its colours and attributes.
    pub(crate) fn colored(&self) -> String {
        self.ask(&["capture-pane", "-p", "-e"])
    }

    /// Waits until the screen has a text, and returns it.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_until(text, |screen| screen.contains(text))
    }

    /// Waits until the screen is so, and returns it.
    pub(crate) fn wait_until(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let mut screen = String::new();
        let (start, mut is_there) = (std::time::Instant::now(), false);
        while !is_there && start.elapsed() < crate::support::PATIENCE {
            screen = self.screen();
            is_there = is(&screen);
            if !is_there {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        assert!(is_there, "waited in vain for {what:?}:\n{screen}");
        screen
    }

    /// Waits until nothing is loading: the last line but one is empty.
    pub(crate) fn wait_for_rest(&self) -> String {
        let is_idle = |screen: &str| !screen.contains("(Esc stops)") && !screen.contains("...");
        self.wait_until("nothing is loading", is_idle)
    }

    /// Changes the size.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        self.ask(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// The process of the browser.
    pub(crate) fn pid(&self) -> u32 {
        let shell = self.ask(&["display-message", "-p", "#{pane_pid}"]);
        let mut found = None;
        until("the browser runs", || {
            let children = Command::new("pgrep").args(["-P", shell.trim(), "vboximg-mount"]).output().unwrap();
            found = String::from_utf8_lossy(&children.stdout).lines().next().and_then(|pid| pid.parse().ok());
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until the browser has ended with a code, and asserts that the terminal is as it was.
    pub(crate) fn assert_ended(&self, code: i32) {
        let screen = self.wait_for("the same");
        assert!(screen.contains(&format!("code {code}\n")), "{screen}");
        let modes = "alternate #{alternate_on} mouse #{mouse_any_flag} cursor #{cursor_flag} wrap #{wrap_flag}";
        assert_eq!(self.ask(&["display-message", "-p", modes]), "alternate 0 mouse 0 cursor 1 wrap 1\n");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("The screen at last:\n{}", self.screen());
        }
        self.ask(&["kill-server"]);
    }
}
