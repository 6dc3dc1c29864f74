//! Passwords that are typed: on a terminal of the test's own, which `script` (Debian: bsdutils) makes.

use crate::scene::printed;
use crate::sealed::{PASSWORD, Sealed, VAULT_DISK, VDI_LEAF};
use crate::support::{ended, until};
use base64::prelude::{BASE64_STANDARD, Engine};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// A shell on a terminal of its own.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    /// Runs a script of the shell, to which the program is `$PROGRAM`.
    fn new(sealed: &Sealed, script: &str) -> Self {
        // A test run in the background of a shell would ignore ^C, and so would all that it starts.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT,HUP", "script", "-qec", script, "/dev/null"]).current_dir(sealed.root());
        command.env("PROGRAM", env!("CARGO_BIN_EXE_vboximg-mount")).env("VBOX_USER_HOME", sealed.home());
        command.env("SHELL", "/bin/sh");
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("script is installed (tests/setup.sh: bsdutils)");
        let keys = child.stdin.take().unwrap();
        let mut screen = child.stdout.take().unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let text = shown.clone();
        let reader = thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(len @ 1..) = screen.read(&mut chunk) {
                text.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..len]));
            }
        });
        Self { child, keys, shown, reader }
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    fn wait_for(&self, text: &str) {
        until("the text is shown", || self.shown().contains(text));
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Closes the terminal while the shell runs.
    fn close(mut self) {
        self.child.kill().unwrap();
        ended(&mut self.child);
        self.reader.join().unwrap();
    }

    /// All that was shown, when the shell has ended.
    fn end(mut self) -> String {
        ended(&mut self.child);
        drop(self.keys);
        self.reader.join().unwrap();
        self.shown.lock().unwrap().replace('\r', "")
    }
}

fn unmount(sealed: &Sealed, point: &Path) {
    let ended = printed(sealed.program().arg("-u").arg(point));
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
}

/// In the background, where another process does the asking, and with another standard input; a disk, and one of a
/// machine that is encrypted whole, where one answer opens both. The mount outlives the terminal.
#[test]
fn a_mount_asks_for_the_password_without_showing_it() {
    let Some(sealed) = Sealed::new() else { return };
    fs::create_dir(sealed.root().join("mnt")).unwrap();
    let point = sealed.root().join("mnt");
    for (uuid, key, redirect) in [
        (VDI_LEAF, "seal256", ""),
        (VDI_LEAF, "seal256", "</dev/null"),
        (VAULT_DISK, "vault-id", ""),
        ("home/Machines/vault/vault.vdi", "vault-id", "</dev/null"),
    ] {
        let mut terminal = Terminal::new(&sealed, &format!("\"$PROGRAM\" -i {uuid} mnt {redirect}; echo code $?"));
        terminal.wait_for(&format!("Password of the key \"{key}\" of "));
        // Typed as a person types: with a mistake, and its correction.
        terminal.press(&format!("x\u{7f}{PASSWORD}\n"));
        let shown = terminal.end();
        assert!(shown.ends_with(": \ncode 0\n"), "{shown}");
        assert_eq!(shown.matches("Password").count(), 1, "{shown}");
        assert!(!shown.contains("orrec"), "{shown}");
        assert_eq!(fs::metadata(point.join("vol1")).unwrap().len(), 3_128_832);
        unmount(&sealed, &point);
    }
}

#[test]
fn a_mount_in_the_foreground_asks_too() {
    let Some(sealed) = Sealed::new() else { return };
    let point = sealed.root().join("mnt");
    fs::create_dir(&point).unwrap();
    let mut terminal = Terminal::new(&sealed, &format!("\"$PROGRAM\" -f -i {VDI_LEAF} mnt; echo code $?"));
    terminal.wait_for("Password of the key ");
    terminal.press(&format!("{PASSWORD}\n"));
    until("it is mounted", || fs::metadata(point.join("vol1")).is_ok());
    unmount(&sealed, &point);
    let shown = terminal.end();
    assert!(shown.ends_with(": \ncode 0\n"), "{shown}");
}

#[test]
fn a_list_asks_for_the_machine_that_it_names_only() {
    let Some(sealed) = Sealed::new() else { return };
    let shown = Terminal::new(&sealed, "\"$PROGRAM\" -l -w").end();
    assert!(shown.contains("encrypted") && !shown.contains("Password of"), "{shown}");
    let settings = "--settings home/Machines/vault/vault.vbox";
    for what in ["--vm vault", "--vm 8295182f-b71e-4a2b-ae16-72f8aa510384", settings] {
        let mut terminal = Terminal::new(&sealed, &format!("COLUMNS=200 \"$PROGRAM\" -lw {what}"));
        terminal.wait_for("Password of the key \"vault-id\" of ");
        terminal.press(&format!("{PASSWORD}\n"));
        let shown = terminal.end();
        assert!(shown.contains(VAULT_DISK) && !shown.contains("orrect"), "{shown}");
    }
}

#[test]
fn a_wrong_answer_and_none_are_errors() {
    let Some(sealed) = Sealed::new() else { return };
    for (keys, error) in [
        ("correct hors\n", "The password for the key \"vault-id\" of "),
        ("\n", "is encrypted with the key \"vault-id\"; give its password with --password-file FILE"),
        ("\u{4}", "is encrypted with the key \"vault-id\"; give its password with --password-file FILE"),
    ] {
        for action in ["-l --vm vault", &format!("-i {VAULT_DISK} home")] {
            let mut terminal = Terminal::new(&sealed, &format!("\"$PROGRAM\" {action}; echo code $?"));
            terminal.wait_for("Password of the key ");
            terminal.press(keys);
            let shown = terminal.end();
            assert!(shown.contains(error) && shown.ends_with("code 8\n"), "{shown}");
        }
    }
}

/// ^C at the question ends the program as it ends any, and the terminal shows again what is typed.
#[test]
fn an_interrupted_question_leaves_the_terminal_as_it_was() {
    let Some(sealed) = Sealed::new() else { return };
    fs::create_dir(sealed.root().join("mnt")).unwrap();
    for action in ["-l --vm vault", &format!("-i {VDI_LEAF} mnt"), &format!("-f -i {VDI_LEAF} mnt")] {
        let script = format!(
            "trap : INT; stty > before; \"$PROGRAM\" {action}; echo code $?; stty > after; cmp before after && echo same"
        );
        let mut terminal = Terminal::new(&sealed, &script);
        terminal.wait_for("Password of the key ");
        terminal.press("secret\u{3}");
        let shown = terminal.end();
        assert!(shown.ends_with("code 130\nsame\n"), "{shown}");
        assert!(!shown.contains("secret") && !shown.contains("error"), "{shown}");
        assert!(fs::read_to_string(sealed.root().join("before")).unwrap().contains("speed"));
    }
    assert_eq!(fs::read_dir(sealed.root().join("mnt")).unwrap().count(), 0);
}

/// Standard input that is the terminal would show the password; so it is asked for there.
#[test]
fn a_terminal_as_standard_input_is_asked_instead() {
    let Some(sealed) = Sealed::new() else { return };
    let mut terminal =
        Terminal::new(&sealed, &format!("\"$PROGRAM\" --password-file - -l -i {VDI_LEAF}; echo code $?"));
    terminal.wait_for("Password of the key \"seal256\" of ");
    terminal.press(&format!("{PASSWORD}\n"));
    let shown = terminal.end();
    assert!(shown.contains("xts256.vdi(1)") && shown.ends_with("code 0\n") && !shown.contains("orrect"), "{shown}");
}

/// The processes of the program that were started in the registry's directory, on a terminal.
fn processes(sealed: &Sealed) -> Vec<PathBuf> {
    let (program, root) = (Path::new(env!("CARGO_BIN_EXE_vboximg-mount")), sealed.root().canonicalize().unwrap());
    let leads_to = |link: PathBuf, target: &Path| fs::read_link(link).is_ok_and(|found| found == target);
    let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    all.filter(|process| leads_to(process.join("exe"), program) && leads_to(process.join("cwd"), &root)).collect()
}

/// With SIGHUP, and by the end of the terminal alone where that is ignored.
#[test]
fn a_question_ends_with_its_terminal() {
    let Some(sealed) = Sealed::new() else { return };
    fs::create_dir(sealed.root().join("mnt")).unwrap();
    for start in ["", "trap '' HUP; "] {
        for action in ["-l --vm vault", &format!("-i {VDI_LEAF} mnt"), &format!("-f -i {VDI_LEAF} mnt")] {
            let terminal = Terminal::new(&sealed, &format!("{start}\"$PROGRAM\" {action}; true"));
            terminal.wait_for("Password of the key ");
            assert!(!processes(&sealed).is_empty(), "{action}");
            terminal.close();
            until("the processes are gone", || processes(&sealed).is_empty());
        }
    }
}

#[test]
fn a_key_derivation_ends_with_its_terminal() {
    let Some(sealed) = Sealed::new() else { return };
    fs::create_dir(sealed.root().join("mnt")).unwrap();
    derive_for_minutes(&sealed);
    for action in [format!("-i {VDI_LEAF} mnt"), format!("-f -i {VDI_LEAF} mnt"), format!("-l -i {VDI_LEAF}")] {
        let mut terminal = Terminal::new(&sealed, &format!("\"$PROGRAM\" {action}; true"));
        terminal.wait_for("Password of the key ");
        terminal.press(&format!("{PASSWORD}\n"));
        until("it asks", || terminal.shown().ends_with(": \r\n"));
        assert!(!processes(&sealed).is_empty(), "{action}: {}", terminal.shown());
        terminal.close();
        until("the processes are gone", || processes(&sealed).is_empty());
    }
}

/// The most iterations of a key store that are not refused; the test waits in vain when this is too many.
const MAX_ITERATIONS: u32 = 100_000_000;

/// Gives the key store of the VDI the most iterations that are allowed.
fn derive_for_minutes(sealed: &Sealed) {
    let settings = sealed.machine_file("sealed/sealed.vbox");
    let text = fs::read_to_string(&settings).unwrap();
    let start = text.find("seal256").expect("the VDI has the key");
    let name = "name=\"CRYPT/KeyStore\" value=\"";
    // Properties are sorted by name, so the id of the key comes first.
    let start = start + text[start..].find(name).unwrap() + name.len();
    let end = start + text[start..].find('"').unwrap();
    let store: String = text[start..end].replace("&#10;", "").split_whitespace().collect();
    let mut bytes = BASE64_STANDARD.decode(&store).unwrap();
    // `SSMKEYSTORE` of VirtualBox: the iterations that make the key of the password.
    bytes[178..182].copy_from_slice(&MAX_ITERATIONS.to_le_bytes());
    fs::write(&settings, [&text[..start], &BASE64_STANDARD.encode(bytes), &text[end..]].concat()).unwrap();
}

/// The second process waits for the password that comes through a pipe. Nobody would learn of its mount.
#[test]
fn a_killed_first_process_takes_the_second_along() {
    let Some(sealed) = Sealed::new() else { return };
    fs::create_dir(sealed.root().join("mnt")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vboximg-mount"));
    command.args(["--password-file", "-", "-i", VDI_LEAF, "mnt"]).current_dir(sealed.root());
    let mut first = command.env("VBOX_USER_HOME", sealed.home()).stdin(Stdio::piped()).spawn().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", first.id());
    until("it has a child", || fs::read_to_string(&children).is_ok_and(|text| !text.is_empty()));
    let second = fs::read_to_string(&children).unwrap().trim().to_owned();
    let waits = || fs::read_to_string(format!("/proc/{second}/wchan")).is_ok_and(|call| call.contains("pipe_read"));
    until("it waits", waits);
    first.kill().unwrap();
    first.wait().unwrap();
    let stat = format!("/proc/{second}/stat");
    until("the child is gone", || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z ")));
    drop(first.stdin);
    assert_eq!(fs::read_dir(sealed.root().join("mnt")).unwrap().count(), 0);
}
