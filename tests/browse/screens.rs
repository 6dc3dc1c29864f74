//! Whole screens of the main paths, compared with the texts in `tests/golden/browse`. Run with `UPDATE_GOLDEN=1` to
//! rewrite them, and review the difference.

use crate::common::Fixture;
use crate::support::{PATIENCE, needs};
use crate::terminal::{Terminal, has_tmux};
use std::path::Path;

/// Waits until the screen is that of a golden file, in which the directory of the registry has a name of the same
/// length.
fn golden(name: &str, fixture: &Fixture, terminal: &Terminal, is_colored: bool) {
    let root = fixture.root().to_str().unwrap();
    let placeholder = format!("{:@<width$}", "/@ROOT", width = root.len());
    let screen = || if is_colored { terminal.colored() } else { terminal.screen() }.replace(root, &placeholder);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/browse").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        // Whoever records looks at the difference: what was still being drawn is seen there.
        std::thread::sleep(std::time::Duration::from_secs(1));
        std::fs::write(&path, screen()).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let start = std::time::Instant::now();
    while screen() != expected {
        assert!(start.elapsed() < PATIENCE, "{} differs from\n{}", path.display(), screen());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Goes to the disk of a snapshot and opens it.
fn open_snapshot(terminal: &Terminal) {
    terminal.wait_for("alpine tree");
    terminal.press(&["Enter", "Down", "Down", "Enter", "Down", "Enter"]);
    terminal.wait_for("vol1 ext4");
    terminal.press(&["Down", "Down"]);
    terminal.wait_for("lost+found/");
}

/// Goes on to a file of its second volume.
fn to_file(terminal: &Terminal) {
    open_snapshot(terminal);
    terminal.press(&["Tab", "Down", "Enter"]);
    terminal.wait_for("user/");
    terminal.press(&["Enter"]);
    terminal.wait_for("hello.txt");
    terminal.write("/hello");
    terminal.press(&["Enter"]);
    terminal.wait_for("hello from the guest");
}

#[test]
fn the_main_paths_look_as_recorded() {
    needs!(has_tmux(), "tmux");
    for (columns, rows) in [(80, 24), (160, 50)] {
        let fixture = Fixture::registry();
        let name = |what: &str| format!("tmux-{columns}x{rows}-{what}.txt");
        let plain = Terminal::new((columns, rows), &fixture.home(), &[("NO_COLOR", "1")], &[]);
        plain.wait_for("Linux_64");
        golden(&name("machines"), &fixture, &plain, false);
        open_snapshot(&plain);
        plain.press(&["Up", "Up"]);
        plain.wait_for("16.0M");
        golden(&name("disk"), &fixture, &plain, false);
        plain.press(&["Down", "Down"]);
        golden(&name("volume"), &fixture, &plain, false);
        drop(plain);
        for (look, variables) in [("plain", &[("NO_COLOR", "1")][..]), ("color", &[])] {
            let terminal = Terminal::new((columns, rows), &fixture.home(), variables, &[]);
            to_file(&terminal);
            terminal.wait_for_rest();
            let screen = terminal.colored();
            let has_colors = screen.contains("38;5;");
            assert_eq!(has_colors, look == "color", "{screen}");
            golden(&name(&format!("file-{look}")), &fixture, &terminal, true);
            terminal.press(&["v"]);
            terminal.wait_for("UTF-8 1/1");
            golden(&name(&format!("view-{look}")), &fixture, &terminal, true);
        }
    }
}

#[test]
fn a_resize_draws_everything_anew() {
    needs!(has_tmux(), "tmux");
    let fixture = Fixture::registry();
    let terminal = Terminal::new((100, 30), &fixture.home(), &[("NO_COLOR", "1")], &[]);
    open_snapshot(&terminal);
    terminal.resize(160, 50);
    terminal.wait_until("all rows are used", |screen| screen.trim_end().lines().count() == 50);
    golden("tmux-160x50-volume.txt", &fixture, &terminal, false);
    terminal.resize(30, 8);
    terminal.wait_for("Too small");
    terminal.resize(80, 24);
    terminal.wait_for("lost+found/");
    golden("tmux-80x24-volume.txt", &fixture, &terminal, false);
}

#[test]
fn what_is_wrong_with_a_machine_is_seen_at_it() {
    needs!(has_tmux(), "tmux");
    let fixture = Fixture::registry();
    let terminal = Terminal::new((160, 50), &fixture.home(), &[("NO_COLOR", "1")], &["--vm", "lost disk"]);
    let screen = terminal.wait_for("Problems of its disks");
    assert!(screen.contains("lost disk !"), "{screen}");
    terminal.press(&["Down", "Down", "Enter"]);
    terminal.wait_until("the disk is shown", |screen| screen.contains("gone.vdi !") && screen.contains("no access"));
    terminal.press(&["End"]);
    terminal.wait_for("lost vm.vbox");
}

#[test]
fn settings_that_cannot_be_read_are_said_whole() {
    needs!(has_tmux(), "tmux");
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::write(directory.path().join("VirtualBox.xml"), "<VirtualBox xmlns=\"x\"><Global></VirtualBox>").unwrap();
    let terminal = Terminal::new((100, 30), directory.path(), &[], &[]);
    let screen = terminal.wait_for("--settings");
    assert!(screen.contains("VirtualBox.xml"), "{screen}");
    terminal.press(&["q"]);
    terminal.assert_ended(0);
}
