//! The manual page is correct as a manual page, and has every option that the program has, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/man/vboximg-mount.1");

/// The long options that `--help` describes, of all verbs too, in lines such as `  -i, --image <DISK>  The disk`.
fn options_of_the_program() -> BTreeSet<String> {
    let help = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_vboximg-mount")).args(words).arg("--help").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let verbs = ["ls", "browse", "cat", "cp", "diff", "find", "hash", "history", "stat"].map(|verb| help(&[verb]));
    let help = help(&[]) + &verbs.concat();
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let flags = lines
        .filter_map(|line| line.split("  ").next()?.split([' ', '=', '[']).find_map(|word| word.strip_prefix("--")));
    flags.map(str::to_owned).collect()
}

/// The long options that have an entry in the page, which is in mdoc(7): `.It Fl l , Fl -list`.
fn options_of_the_page() -> BTreeSet<String> {
    let page = fs::read_to_string(PAGE).unwrap();
    let entries = page.lines().filter_map(|line| line.strip_prefix(".It "));
    let flags = entries.flat_map(|entry| entry.split("Fl -").skip(1).map(|flag| flag.split(' ').next().unwrap()));
    flags.map(str::to_owned).collect()
}

/// Documented, but of no use in every `--help`.
const NOT_IN_HELP: &str = "completions";

#[test]
fn the_page_has_the_options_of_the_program() {
    let (mut program, page) = (options_of_the_program(), options_of_the_page());
    program.insert(NOT_IN_HELP.to_owned());
    assert!(program.contains("image") && program.contains("help"), "{program:?}");
    let undocumented: Vec<&String> = program.difference(&page).collect();
    let unknown: Vec<&String> = page.difference(&program).collect();
    assert!(
        undocumented.is_empty() && unknown.is_empty(),
        "not in the page: {undocumented:?}; only there: {unknown:?}"
    );
}

#[test]
fn the_page_has_the_exit_codes_of_the_program() {
    use vboximg_mount::ErrorKind;
    let page = fs::read_to_string(PAGE).unwrap();
    let section = page.split(".Sh ").find(|section| section.starts_with("EXIT STATUS")).expect("the section");
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
fn mandoc_finds_nothing_wrong() {
    let output = Command::new("mandoc").args(["-T", "lint", "-W", "warning", PAGE]).output();
    let output = output.expect("mandoc is installed (tests/setup.sh)");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert!(output.status.success());
}
