//! What is printed, whole: standard output, standard error and the exit code.
//!
//! A golden is a command line, and what it gives. `VBOXIMG_BLESS=1` writes them anew, to be read before they are kept.

use crate::common::Fixture;
use crate::text;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/verbs");

#[test]
fn every_verb_prints_what_its_golden_says() {
    let registry = Fixture::registry();
    let root = registry.root().to_str().unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(GOLDENS).unwrap() {
        let path = entry.unwrap().path();
        let golden = fs::read_to_string(&path).unwrap();
        let line = golden.lines().next().unwrap().strip_prefix("$ ").unwrap();
        // The shell has its quotes.
        let mut command = Command::new("bash");
        command
            .args(["-c", &format!("vboximg-mount() {{ '{}' \"$@\"; }}; {line}", env!("CARGO_BIN_EXE_vboximg-mount"))]);
        let output = command.env("VBOX_USER_HOME", registry.home()).current_dir(root).output().unwrap();
        let is = format!(
            "$ {line}\n--- exit {}\n{}--- standard error\n{}",
            output.status.code().unwrap(),
            text(&output.stdout).replace(root, "@ROOT@"),
            text(&output.stderr).replace(root, "@ROOT@"),
        );
        if std::env::var_os("VBOXIMG_BLESS").is_some() {
            fs::write(&path, &is).unwrap();
        } else {
            assert_eq!(is, golden, "{}", path.display());
        }
        seen += 1;
    }
    assert!(seen >= 12, "{seen} goldens");
}

#[test]
fn a_verb_is_one_only_as_the_first_word_and_each_has_help() {
    let program = || Command::new(env!("CARGO_BIN_EXE_vboximg-mount"));
    let help = text(&program().arg("--help").output().unwrap().stdout);
    for verb in ["browse", "ls", "cat", "check", "cp", "diff", "find", "hash", "history", "map", "stat"] {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb} is missing in {help}");
        let own = program().args([verb, "--help"]).output().unwrap();
        assert!(own.status.success() && text(&own.stdout).contains(&format!("vboximg-mount {verb}")), "{own:?}");
        // Here it is a mount point, and the disk's name is what is wrong.
        let later = program().args(["-i", "/nowhere/disk.vdi", verb]).output().unwrap();
        assert_eq!(later.status.code(), Some(3), "{later:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let registry = Fixture::registry();
    for line in ["cat -i LEAF vhdd", "ls -lR -i LEAF", "find -i LEAF"] {
        let line = line.replace("LEAF", crate::LEAF);
        let mut words = line.split(' ');
        let mut child = registry.program();
        child.args(words.by_ref()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{line}");
    }
}

#[test]
fn cat_keeps_holes_in_a_file_and_gives_the_same_bytes_as_ever() {
    let registry = Fixture::registry();
    let to = registry.root().join("copy");
    let cat = |out: Stdio| registry.program().args(["cat", "-i", crate::LEAF, "vhdd"]).stdout(out).output().unwrap();
    let piped = cat(Stdio::piped());
    let file = fs::File::create(&to).unwrap();
    assert!(cat(file.into()).status.success());
    assert!(piped.stdout == fs::read(&to).unwrap(), "a pipe and a file get different bytes");
    assert!(allocated(&to) < piped.stdout.len() as u64, "{} is not sparse", to.display());
    let expected = registry.expected_media().into_iter().find(|medium| medium.uuid == crate::LEAF).unwrap();
    let hash = text(&registry.program().args(["hash", "-i", crate::LEAF, "vhdd"]).output().unwrap().stdout);
    assert_eq!(hash, format!("{}  vhdd\n", expected.disk.unwrap().sha256));
}

fn allocated(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(&fs::metadata(path).unwrap()) * 512
}
