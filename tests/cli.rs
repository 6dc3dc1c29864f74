//! The command line on the registry that the real VirtualBox wrote: what it prints where, exit codes, refusals.

mod common;
mod support;

use common::Fixture;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::ended;

/// The disk of "alpine tree" as it is now: four VDI images.
const LEAF: &str = "6ae26a8c-9c16-432b-a7e4-20863223d4e6";

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_goes_to_standard_output_and_mistakes_to_standard_error() {
    let program = || Command::new(env!("CARGO_BIN_EXE_vboximg-mount"));
    for help in [&[][..], &["-h"], &["--help"], &["-?"], &["-lv", "--help"]] {
        let output = run(program().args(help));
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{help:?}");
        assert!(text(&output.stdout).contains("Usage: vboximg-mount --list"), "{help:?}: {output:?}");
    }
    let output = run(program().arg("--version"));
    assert_eq!(text(&output.stdout), concat!("vboximg-mount ", env!("CARGO_PKG_VERSION"), "\n"));
    for mistake in [&["--colour"][..], &["-i", "x"], &["/mnt"], &["-v"], &["-l", "--json", "-w"]] {
        let output = run(program().args(mistake));
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()), "{mistake:?}");
        assert!(text(&output.stderr).starts_with("error: "), "{mistake:?}: {output:?}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(program().args(["--completions", shell]));
        assert!(output.status.success() && text(&output.stdout).contains("vboximg-mount"), "{shell}");
    }
}

#[test]
fn mistakes_are_said_once() {
    let registry = Fixture::registry();
    // Words that look like a mount in the background, and are none.
    let program = || registry.program();
    let listed = run(program().args(["-l", "-i", LEAF]));
    assert!(listed.status.success() && !listed.stdout.is_empty(), "{listed:?}");
    let again = run(program().args(["-i", LEAF, "-vl"]));
    assert_eq!((again.status.code(), text(&again.stdout)), (Some(0), text(&listed.stdout)));
    for mistake in [&["-i", LEAF][..], &["-i", LEAF, "/mnt", "-wx"], &["-i", LEAF, "--json", "/mnt"]] {
        let output = run(program().args(mistake));
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()), "{mistake:?}");
        let errors = text(&output.stderr);
        assert_eq!(errors.matches("error: ").count(), 1, "{mistake:?}: {errors}");
    }
}

#[test]
fn the_log_says_what_was_asked_for() {
    let registry = Fixture::registry();
    let log = |arguments: &[&str], filters: Option<&str>| {
        let mut program = registry.program();
        program.args(arguments).envs(filters.map(|filters| ("VBOXIMG_LOG", filters)));
        let output = run(&mut program);
        assert!(output.status.success(), "{output:?}");
        text(&output.stderr)
    };
    let volumes = ["-l", "-i", LEAF];
    assert_eq!(log(&volumes, None), "");
    let opened = "Opening medium chain";
    let once = log(&["-lv", "-i", LEAF], None);
    assert!(once.contains(opened) && once.contains("Settings: ") && !once.contains('['), "{once}");
    let read = "[registry::settings] Reading ";
    for twice in [log(&["-lvv", "-i", LEAF], None), log(&["ls", "-vv", "-i", LEAF], None)] {
        assert!(twice.contains(opened) && twice.contains(read), "{twice}");
    }
    let filtered = log(&volumes, Some("registry=debug"));
    assert!(filtered.contains(read) && !filtered.contains(opened), "{filtered}");
    let filtered = log(&["-lvv", "-i", LEAF], Some("registry=off"));
    assert!(filtered.contains(opened) && !filtered.contains(read), "{filtered}");
    // In a list of machines the first one lists more.
    assert_eq!(log(&["-lv"], None), "");
    assert!(log(&["-lvv"], None).contains("Settings: "));
    assert!(log(&["-lvvv"], None).contains(read));
}

#[test]
fn names_the_settings_of_whoever_ran_sudo() {
    let home = tempfile::tempdir().unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_vboximg-mount"));
    program.arg("-l").env("HOME", home.path()).env("SUDO_USER", "ann");
    let output = run(program.env_remove("VBOX_USER_HOME").env_remove("XDG_CONFIG_HOME"));
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(text(&output.stderr).ends_with("the settings of ann, who ran sudo, are given with --settings ~ann\n"));
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let registry = Fixture::registry();
    for arguments in [&["-l"][..], &["-l", "--json"], &["-l", "-i", LEAF], &["-h"], &["-V"], &["--completions", "zsh"]]
    {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = registry.program().args(arguments).stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stderr).contains("No space left on device"), "{arguments:?}: {output:?}");
    }
}

#[test]
fn a_terminal_that_knows_neither_its_width_nor_colours_gets_plain_lists() {
    let registry = Fixture::registry();
    let terminal = |variables: &[(&str, &str)]| {
        let line = format!("'{}' -lw", env!("CARGO_BIN_EXE_vboximg-mount"));
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env("VBOX_USER_HOME", registry.home()).stdin(Stdio::null());
        text(&run(command.env_remove("NO_COLOR").envs(variables.iter().copied())).stdout).replace('\r', "")
    };
    let piped = text(&run(registry.program().arg("-lw")).stdout);
    assert!(terminal(&[("TERM", "xterm"), ("COLUMNS", "0")]).contains("\x1b[1m"));
    assert_eq!(terminal(&[("TERM", "dumb"), ("COLUMNS", "0")]), piped);
}

/// Only relative paths need it.
#[test]
fn the_current_directory_may_be_gone() {
    let registry = Fixture::registry();
    let from_nowhere = |line: &str| {
        let script = format!("cd $(mktemp -d) && rmdir $PWD && exec '{}' {line}", env!("CARGO_BIN_EXE_vboximg-mount"));
        run(Command::new("sh").args(["-c", &script]).env("VBOX_USER_HOME", registry.home()))
    };
    let image = registry.machine_file("alpine tree/alpine tree.vdi");
    for line in ["-l".to_owned(), format!("-l -i {LEAF}"), format!("-l -i '{}'", image.display())] {
        let output = from_nowhere(&line);
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
    }
    assert_eq!(from_nowhere("-l -i disk.vdi").status.code(), Some(3));
}

/// What is wrong and not to be seen in a list is said beside it.
#[test]
fn problems_of_the_settings_are_warned_of() {
    let registry = Fixture::registry();
    let list = |arguments: &[&str]| run(registry.program().args(arguments));
    assert_eq!(text(&list(&["-l"]).stderr), "");
    let home = registry.home();
    let settings = fs::read_to_string(home.join("VirtualBox.xml")).unwrap();

    // Copied from elsewhere, where paths were absolute.
    let moved = settings.replace("src=\"Machines", "src=\"/home/ann/home/Machines");
    fs::write(home.join("VirtualBox.xml"), &moved).unwrap();
    let output = list(&["-lw"]);
    assert!(text(&output.stdout).contains(LEAF), "{output:?}");
    let warning = text(&output.stderr);
    assert!(warning.contains("8 machines and media are not where they are registered"), "{warning}");
    assert_eq!(warning.lines().count(), 1, "{warning}");
    assert_eq!(text(&list(&["-l", "--json"]).stderr), "");

    // The copy of before the last change does not know what depends on an image.
    fs::write(home.join("VirtualBox.xml-prev"), &settings).unwrap();
    fs::write(home.join("VirtualBox.xml"), "").unwrap();
    let said = |output: &Output| text(&output.stderr).contains("VirtualBox.xml-prev is used and may lack the last");
    assert!(said(&list(&["-l"])) && said(&list(&["-l", "-i", LEAF])));
    let point = registry.root().join("mnt");
    fs::create_dir(&point).unwrap();
    let output = list(&["--rw", "-i", LEAF, point.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert!(text(&output.stderr).contains("may not know of images that need it"), "{output:?}");

    // VirtualBox was seen to lose all machines when it could not load one.
    let nothing =
        settings.split("<MachineEntry").next().unwrap().to_owned() + "</MachineRegistry></Global></VirtualBox>";
    fs::write(home.join("VirtualBox.xml"), nothing).unwrap();
    for arguments in [&["-l"][..], &["-l", "-i", LEAF]] {
        let output = list(arguments);
        assert!(text(&output.stderr).contains("has no machines, but its previous copy had 9; "), "{output:?}");
    }
    fs::remove_file(home.join("VirtualBox.xml-prev")).unwrap();
    let output = list(&["-l"]);
    assert!(output.status.success() && text(&output.stderr).contains("have neither machines nor media"), "{output:?}");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let registry = Fixture::registry();
    for arguments in [&["--list", "--wide"][..], &["-l", "--json"], &["-l", "-i", LEAF], &["--completions", "bash"]] {
        let mut child =
            registry.program().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut complaint = String::new();
        child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
        assert_eq!((ended(&mut child).code(), complaint.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn the_settings_can_be_anywhere() {
    let registry = Fixture::registry();
    let machine = registry.machine_file("alpine tree/alpine tree.vbox");
    let list = |settings: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vboximg-mount"));
        run(command.env("VBOX_USER_HOME", "/nonexistent").arg("-l").arg("--settings").arg(settings))
    };
    let (all, one) = (list(&registry.home()), list(&machine));
    assert!(text(&all.stdout).contains("shared kinds") && text(&all.stdout).contains("alpine tree"), "{all:?}");
    assert!(!text(&one.stdout).contains("shared kinds") && text(&one.stdout).contains("alpine tree"), "{one:?}");
    // A backup that has the machines' directory only, or the file by its name.
    let machines = list(&registry.home().join("Machines"));
    assert!(text(&machines.stdout).contains("shared kinds") && machines.stderr.is_empty(), "{machines:?}");
    assert_eq!(text(&list(&registry.home().join("VirtualBox.xml")).stdout), text(&all.stdout));
    let nowhere = list(Path::new("/nonexistent"));
    assert_eq!((nowhere.status.code(), text(&nowhere.stdout)), (Some(3), String::new()));
}

#[test]
fn media_that_others_need_are_not_written() {
    let registry = Fixture::registry();
    let point = registry.root().join("mnt");
    fs::create_dir(&point).unwrap();
    for (medium, reason) in [
        ("7cbdf0db-13ca-49e9-b300-774c4f7b7bdb", "fbfdf717-2fe9-42ef-9935-d6a3d75bf091}.vdi and {fae6adfc"),
        ("FBFDF717-2FE9-42EF-9935-D6A3D75BF091", "would no longer fit it"),
        ("{47ba473e-4a94-4b5d-9bfe-61a542bb7192}", "would no longer fit it"),
        ("home/Machines/shared kinds/multiattach.vdi", "would no longer fit it"),
    ] {
        // Nothing overrides it.
        for force in [&[][..], &["--force"]] {
            let mut command = registry.program();
            let output = run(command.current_dir(registry.root()).args(["--rw", "-i", medium, "mnt"]).args(force));
            assert_eq!(output.status.code(), Some(6), "{medium}: {output:?}");
            let message = text(&output.stderr);
            assert!(message.contains("is not mounted for writing") && message.contains(reason), "{message}");
        }
    }
    assert!(fs::read_dir(&point).unwrap().next().is_none());
}

/// Removes what a test that failed left mounted.
struct Mounts<'a>(&'a Path);

impl Drop for Mounts<'_> {
    fn drop(&mut self) {
        let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let points = table.lines().filter_map(|line| line.split(' ').nth(1));
        for point in points.filter(|point| Path::new(point).starts_with(self.0)) {
            let _ = Command::new("fusermount3").args(["-uz", point]).status();
        }
    }
}

#[test]
fn one_writes_or_many_read() {
    let registry = Fixture::registry();
    let _mounts = Mounts(registry.root());
    let mount = |options: &[&str], dir: &str| {
        let point = registry.root().join(dir);
        fs::create_dir_all(&point).unwrap();
        run(registry.program().args(["-i", LEAF]).args(options).arg(&point))
    };
    let unmount = |dir: &str| {
        let output = run(registry.program().arg("--unmount").arg(registry.root().join(dir)));
        assert!(output.status.success(), "{output:?}");
    };
    let state = |expected: &str| {
        let list = text(&run(registry.program().arg("-lw")).stdout);
        let row = list.lines().find(|line| line.contains(LEAF)).unwrap().to_owned();
        assert!(row.contains(expected), "{row}");
    };
    assert!(mount(&[], "one").status.success());
    assert!(mount(&[], "two").status.success());
    let refused = mount(&["--rw"], "three");
    state("rlock");
    unmount("one");
    unmount("two");
    assert!(mount(&["--rw"], "three").status.success());
    let read = mount(&[], "one");
    state("wlock");
    unmount("three");
    state("created");
    for (output, mount) in [(refused, "/two"), (read, "/three")] {
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        let message = text(&output.stderr);
        assert!(message.contains(mount) || message.contains("/one"), "{message}");
    }
}

#[test]
fn without_arguments_there_is_help() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_vboximg-mount")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("Reads and mounts VirtualBox disks and snapshots without VirtualBox\n"), "{text}");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

/// A machine's settings without any disks.
const MACHINE: &str = "<VirtualBox xmlns=\"http://www.virtualbox.org/\" version=\"1.19-linux\"><Machine \
                       uuid=\"{aaaaaaaa-0000-4000-8000-000000000001}\" name=\"whole\"/></VirtualBox>";

#[test]
fn a_list_of_machines_that_cannot_be_read_is_a_failure() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        fs::create_dir_all(directory.path().join(name)).unwrap();
        fs::write(directory.path().join(name).join(name).with_extension("vbox"), bytes).unwrap();
    };
    write("torn", &[0; 2000]);
    let list = |arguments: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_vboximg-mount"));
        run(program.args(["--settings", directory.path().to_str().unwrap(), "-l"]).args(arguments))
    };
    for form in [&[][..], &["-w"], &["-v"], &["--json"], &["--vm", "torn"]] {
        let output = list(form);
        assert_eq!(output.status.code(), Some(4), "{form:?}: {output:?}");
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(out.contains("torn") && out.contains("torn.vbox is broken in line 1"), "{form:?}: {out}");
        assert!(err.contains("torn.vbox is broken in line 1"), "{form:?}: {err}");
    }
    // One that can be read makes the list useful; the other is an error only for who asks for it.
    write("whole", MACHINE.as_bytes());
    assert_eq!(list(&["-w"]).status.code(), Some(0));
    assert_eq!(list(&["-w", "--vm", "whole"]).status.code(), Some(0));
    assert_eq!(list(&["-w", "--vm", "torn"]).status.code(), Some(4));
}

#[test]
fn a_copy_of_the_settings_is_used_for_reading_and_not_for_writing() {
    let registry = Fixture::registry();
    let settings = registry.machine_file("alpine tree/alpine tree.vbox");
    fs::rename(&settings, settings.with_extension("vbox-tmp")).unwrap();
    let read = run(registry.program().args(["-l", "-i", LEAF]));
    assert_eq!(read.status.code(), Some(0), "{read:?}");
    assert!(text(&read.stderr).contains("alpine tree.vbox-tmp is used and may lack"), "{read:?}");
    let point = tempfile::tempdir().unwrap();
    let write = run(registry.program().args(["-i", LEAF, "--rw"]).arg(point.path()));
    assert_eq!(write.status.code(), Some(6), "{write:?}");
    assert!(text(&write.stderr).contains("alpine tree.vbox-tmp may not know of images that need it"), "{write:?}");
    // Another machine is not concerned.
    let other = run(registry.program().args(["-l", "-i", "9706b379-412c-49ab-a268-2947746740fa"]));
    assert_eq!((other.status.code(), text(&other.stderr)), (Some(0), String::new()));
}

#[test]
fn listings_tell_copies_apart_by_path() {
    let directory = tempfile::tempdir().unwrap();
    let settings = |uuid: u32, name: &str| {
        let uuid = |n: u32| format!("{{00000000-0000-0000-0000-{:012}}}", uuid + n);
        format!(
            "<VirtualBox version=\"1.19-linux\"><Machine uuid=\"{0}\" name=\"{name}\" snapshotFolder=\"Snapshots\">\
             <MediaRegistry><HardDisks><HardDisk uuid=\"{1}\" location=\"d.vdi\" format=\"VDI\"/></HardDisks>\
             </MediaRegistry><Hardware><StorageControllers><StorageController name=\"SATA\" type=\"AHCI\">\
             <AttachedDevice type=\"HardDisk\" port=\"0\" device=\"0\"><Image uuid=\"{1}\"/></AttachedDevice>\
             </StorageController></StorageControllers></Hardware></Machine></VirtualBox>",
            uuid(0),
            uuid(1)
        )
    };
    // A copy, and another machine of the same name.
    for (at, uuid, name) in [("a", 10, "twin"), ("b", 10, "twin"), ("c", 30, "twin"), ("d", 40, "single")] {
        let home = directory.path().join(at);
        fs::create_dir(&home).unwrap();
        fs::write(home.join("m.vbox"), settings(uuid, name)).unwrap();
        fs::write(home.join("d.vdi"), "no image").unwrap();
    }
    for form in ["-l", "-lw", "-lv"] {
        let output =
            run(Command::new(env!("CARGO_BIN_EXE_vboximg-mount")).args([form, "--settings"]).arg(directory.path()));
        let listing = text(&output.stdout);
        // What a problem says of a path is not what tells copies apart.
        let has = |path: &str| {
            let path = directory.path().join(path).display().to_string();
            listing.lines().any(|line| line.trim().trim_start_matches("Path:").trim_matches([' ', '|']) == path)
        };
        for path in ["a/m.vbox", "b/m.vbox", "c/m.vbox", "a/d.vdi", "b/d.vdi"] {
            assert!(has(path), "{form}: {path}: {listing}");
        }
        // Others are shown as before.
        for path in ["d/m.vbox", "c/d.vdi", "d/d.vdi"] {
            assert_eq!(has(path), form == "-lv", "{form}: {path}: {listing}");
        }
    }
}
