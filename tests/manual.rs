//! The manual page is correct as a manual page, has every verb and option that the program has, and no other, and its
//! examples do what they say.

mod common;
mod support;

use common::Fixture;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use support::{is_root, needs};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/man/vboximg-mount.1");

fn output_of(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_vboximg-mount")).args(words).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The verbs, as completion offers them.
fn verbs() -> BTreeSet<String> {
    let offered = output_of(&["--complete", "fish", "vboximg-mount", ""]);
    offered.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned).collect()
}

/// The options that `--help` describes, of all verbs too, without their first dash, in lines such as
/// `  -i, --image <DISK>  The disk`.
fn options_of_the_program() -> BTreeSet<String> {
    let verbs = verbs();
    let help = verbs.iter().map(|verb| output_of(&[verb, "--help"]));
    let help = output_of(&["--help"]) + &help.collect::<String>();
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let flags = lines.flat_map(|line| line.split("  ").next().unwrap().split([' ', '=', '[', ',']));
    flags.filter_map(|word| word.trim_end_matches("...").strip_prefix('-')).map(str::to_owned).collect()
}

fn page() -> String {
    fs::read_to_string(PAGE).unwrap()
}

fn section(name: &str) -> String {
    let page = page();
    let section = page.split(".Sh ").find_map(|section| section.strip_prefix(&format!("{name}\n")));
    section.unwrap_or_else(|| panic!("the section {name}")).to_owned()
}

/// The options that have an entry in the page, without their first dash. It is in mdoc(7): `.It Fl l , Fl -list`.
fn options_of_the_page() -> BTreeSet<String> {
    let page = page();
    let entries = page.lines().filter_map(|line| line.strip_prefix(".It Fl "));
    let parts = entries.flat_map(|entry| std::iter::once(entry).chain(entry.split(" , Fl ").skip(1)));
    parts.filter_map(|part| part.split(' ').next()).map(str::to_owned).collect()
}

/// Documented, but of no use in every `--help`.
const NOT_IN_HELP: &str = "-completions";

#[test]
fn the_page_has_the_options_of_the_program() {
    let (mut program, page) = (options_of_the_program(), options_of_the_page());
    program.insert(NOT_IN_HELP.to_owned());
    assert!(program.contains("-image") && program.contains("i") && program.contains("-newer"), "{program:?}");
    let undocumented: Vec<&String> = program.difference(&page).collect();
    let unknown: Vec<&String> = page.difference(&program).collect();
    assert!(
        undocumented.is_empty() && unknown.is_empty(),
        "not in the page: {undocumented:?}; only there: {unknown:?}"
    );
}

#[test]
fn the_page_and_the_help_have_the_verbs_of_the_program() {
    let verbs = verbs();
    assert!(verbs.contains("ls") && verbs.len() >= 6, "{verbs:?}");
    let section = section("VERBS");
    let entries = section.lines().filter_map(|line| line.strip_prefix(".It Cm "));
    let documented: BTreeSet<String> = entries.filter_map(|entry| entry.split(' ').next()).map(str::to_owned).collect();
    assert_eq!(documented, verbs);
    let help = output_of(&["--help"]);
    for verb in &verbs {
        assert!(help.lines().any(|line| line.starts_with(&format!("  {verb} "))), "{verb} is not in {help}");
    }
}

/// The variables that the sources name as such.
#[test]
fn the_page_has_the_variables_of_the_program() {
    let section = section("ENVIRONMENT");
    for variable in [
        "COLUMNS",
        "FUSERMOUNT_PATH",
        "HOME",
        "NO_COLOR",
        "SUDO_USER",
        "TERM",
        "VBOXIMG_LOG",
        "VBOXIMG_PASSWORD_FILE",
        "VBOX_USER_HOME",
        "XDG_CONFIG_HOME",
        "XDG_RUNTIME_DIR",
    ] {
        assert!(section.lines().any(|line| line.starts_with(".It Ev") && line.contains(variable)), "{variable}");
    }
}

#[test]
fn the_page_has_the_exit_codes_of_the_program() {
    use vboximg_mount::ErrorKind;
    let section = section("EXIT STATUS");
    let documented: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix(".It ")).collect();
    let kinds = [
        ErrorKind::Io,
        ErrorKind::Usage,
        ErrorKind::NotFound,
        ErrorKind::Corrupt,
        ErrorKind::Unsupported,
        ErrorKind::Refused,
        ErrorKind::Locked,
        ErrorKind::Password,
    ];
    let codes: Vec<String> =
        std::iter::once(0).chain(kinds.map(ErrorKind::exit_code)).map(|code| code.to_string()).collect();
    assert_eq!(documented, codes);
}

#[test]
fn mandoc_and_groff_find_nothing_wrong() {
    let output = Command::new("mandoc").args(["-T", "lint", "-W", "warning", PAGE]).output();
    let output = output.expect("mandoc is installed (tests/setup.sh)");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert!(output.status.success());
    let groff = Command::new("groff").args(["-mdoc", "-ww", "-Tutf8", "-z", PAGE]).output();
    needs!(groff.is_ok(), "groff (tests/setup.sh)");
    assert_eq!(String::from_utf8_lossy(&groff.unwrap().stderr), "");
}

/// Checks it as systemd does, with the program under test in it.
#[test]
fn the_unit_of_systemd_is_valid() {
    needs!(Command::new("systemd-analyze").arg("--version").output().is_ok(), "systemd (tests/setup.sh)");
    let section = section("MOUNT AND FSTAB");
    let unit = &section[section.find("[Unit]").unwrap()..];
    let unit = unit.split(".Ed").next().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("disk.service");
    fs::write(&file, unit.replace("/usr/local/bin/vboximg-mount", env!("CARGO_BIN_EXE_vboximg-mount"))).unwrap();
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !complaint.contains("disk.service"), "{complaint}");
}

/// Tasks whose examples need what is not in the registry, or the kernel's loop devices.
const NOT_RUN: [&str; 2] = ["Mount a disk that VirtualBox encrypted", "Mount a volume with the kernel, as root"];

#[test]
fn examples_do_what_they_say() {
    needs!(is_root(), "root");
    let registry = Fixture::registry();
    let bin = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_vboximg-mount"), bin.path().join("vboximg-mount")).unwrap();
    let path = format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap());
    let section = section("EXAMPLES");
    let (mut tasks, mut run) = (0, 0);
    for task in section.split(".Ss ").skip(1) {
        let title = task.lines().next().unwrap();
        tasks += 1;
        if NOT_RUN.contains(&title) {
            continue;
        }
        let lines: Vec<&str> = task.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
        assert!(!lines.is_empty(), "{title}");
        run += 1;
        let script = lines.join("\n").replace("/backup/home", registry.home().to_str().unwrap());
        let directory = tempfile::tempdir().unwrap();
        let mut bash = Command::new("bash");
        bash.args(["-euc", &script]).current_dir(directory.path()).env("PATH", &path);
        let output = bash.env("VBOX_USER_HOME", registry.home()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            for point in ["mnt", "disk"] {
                let _ = Command::new("umount").args(["-l", point]).current_dir(directory.path()).output();
            }
            panic!("{title}: {output:?}");
        }
        let expected = match title {
            "Copy one file out of last week's snapshot" => "hello.txt",
            "Show the volumes of a disk or snapshot, and mount it" => "hello from the guest",
            "Compare two snapshots" => "M fs1/home/user/blob.bin",
            "Find files, and what is in them" => "fs1/home/user/hello.txt",
            "Repair a guest's file system" => "root: ",
            _ => "",
        };
        assert!(text.contains(expected), "{title}: {text}");
    }
    assert_eq!(tasks, run + NOT_RUN.len());
}
