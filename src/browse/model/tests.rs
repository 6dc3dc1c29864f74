//! The model by itself: keys and what jobs say, without a terminal and without any disk.

use super::message::{Effect, Event, Failure, Job, Message};
use super::popup::Popup;
use super::{App, Focus};
use crate::browse::content::Content;
use crate::browse::testing::{Scene, entries, many, opened, registry};
use crate::open::Which;
use crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use std::path::PathBuf;

const SIZE: (u16, u16) = (80, 24);

fn scene() -> Scene {
    Scene::new(SIZE, registry())
}

#[test]
fn shows_groups_machines_and_snapshots_as_a_tree() {
    let mut scene = scene();
    let closed = ["web", "/lab", " /wide", "  日本語の仮想マシン \\u{1b}[31mred", "broken", "Unattached media"];
    assert_eq!(scene.rows()[..6], closed);
    scene.press("<Enter>");
    assert_eq!(scene.rows()[..4], ["web", " Clean", "  Tools", "   Current state (changed)"]);
    scene.press("<Down><Enter>");
    assert_eq!(scene.rows()[..4], ["web", " Clean", "  SATA-0-0 web.vdi", "  Tools"]);
    scene.press("<Left><Left><Left>");
    assert_eq!(scene.rows()[..6], closed, "the way back closes it");
}

#[test]
fn selecting_a_machine_looks_at_its_images_once() {
    let mut scene = scene();
    let looked = |scene: &Scene| {
        let jobs = scene.effects.iter().filter_map(|effect| match effect {
            Effect::Start(_, Job::Media(_, ids)) => Some(ids.len()),
            _ => None,
        });
        jobs.collect::<Vec<_>>()
    };
    assert_eq!(looked(&scene), [3], "the leaf and its parents");
    scene.press("<Enter><Down><Down><Up><Up>");
    assert_eq!(looked(&scene), [3]);
    scene.press("<End><Enter><Down>");
    assert_eq!(looked(&scene), [3, 1], "a medium of nobody when it is selected");
}

#[test]
fn opening_a_disk_shows_its_volumes_and_closing_it_lets_it_go() {
    let mut scene = scene();
    scene.press("<Enter><Down><Enter><Down><Enter>");
    let job = scene.job(|job| matches!(job, Job::Open(_)));
    let Some(Effect::Start(_, Job::Open(which))) =
        scene.effects.iter().find(|effect| matches!(effect, Effect::Start(id, _) if *id == job))
    else {
        panic!()
    };
    assert_eq!(which.machine.as_deref(), Some("/vms/web/web.vbox"));
    assert_eq!(which.snapshot.as_deref(), Some("00000000-0000-0000-0000-0000000000a1"));
    assert_eq!(which.disk.as_deref(), Some("SATA-0-0"));
    let opened = opened();
    scene.said(job, Event::Opened(Ok(opened.clone())));
    assert_eq!(scene.rows()[2..4], ["  SATA-0-0 web.vdi", "   vol0 ext4 data 12.0M"]);
    scene.press("<Enter>");
    assert_eq!(scene.rows()[3], "  Tools");
    assert_eq!(std::sync::Arc::strong_count(&opened), 1, "nothing keeps it open");
}

#[test]
fn a_failure_to_open_is_said_at_the_disk() {
    let mut scene = scene();
    scene.press("<Enter><Down><Enter><Down><Enter>");
    let job = scene.job(|job| matches!(job, Job::Open(_)));
    let failure = Failure { text: "web.vdi is corrupt: all of it".to_owned(), wrong_password: None };
    scene.said(job, Event::Opened(Err(failure)));
    let disk = scene.app.tree.selected().and_then(|id| scene.app.tree.disk_of(id)).unwrap().1;
    assert_eq!(disk.failure.as_deref(), Some("web.vdi is corrupt: all of it"));
    assert!(scene.app.notice.as_ref().unwrap().is_problem);
}

#[test]
fn a_wrong_password_is_asked_for_again_and_never_kept() {
    let mut scene = scene();
    scene.press("<Enter><Down><Enter><Down><Enter>");
    let ask = || Message::Ask { what: "web.vdi".to_owned(), key_id: "k1".to_owned() };
    scene.happen(ask());
    scene.press("wrong<Backspace>x<Enter>");
    let Some(Effect::Answer(Some(key))) = scene.effects.last() else { panic!("it is answered") };
    assert_eq!(**key, *b"wronx");
    assert!(scene.app.asking.is_none());
    let job = scene.job(|job| matches!(job, Job::Open(_)));
    let failure = Failure { text: String::new(), wrong_password: Some("k1".to_owned()) };
    scene.said(job, Event::Opened(Err(failure)));
    assert_ne!(scene.job(|job| matches!(job, Job::Open(_))), job, "it is opened again");
    scene.happen(ask());
    assert!(scene.app.asking.as_ref().unwrap().is_again);
    scene.press("<Esc>");
    assert!(matches!(scene.effects.last(), Some(Effect::Answer(None))));
}

#[test]
fn entries_come_bit_by_bit_and_are_sorted() {
    let mut scene = scene().in_volume();
    let by_name = ["etc", "var", r"bad\xFFname\u{1b}[2J", "link", "zebra.txt", "日本語のファイル"];
    assert_eq!(scene.names(), by_name);
    scene.press("<Tab>s");
    assert_eq!(scene.names()[2..4], ["日本語のファイル", r"bad\xFFname\u{1b}[2J"], "the largest first");
    scene.press("s");
    assert_eq!(scene.names()[..2], ["var", "etc"], "the latest first");
    scene.press("s.");
    assert_eq!(scene.names()[2], ".hidden");
    scene.press("/ZEB<Enter>");
    assert_eq!(scene.names(), ["zebra.txt"]);
    // What is loading is stopped first.
    while !scene.app.jobs.is_empty() {
        scene.press("<Esc>");
    }
    scene.press("<Esc>.");
    assert_eq!(scene.names(), by_name);
}

#[test]
fn going_into_a_directory_and_back_selects_it_again() {
    let mut scene = scene().in_volume();
    scene.press("<Tab><Down><Enter>");
    assert_eq!(scene.selected(), "var/");
    assert_eq!(scene.app.listing.as_ref().unwrap().path, PathBuf::from("fs0/var"));
    assert_eq!(scene.app.focus, Focus::Right);
    scene.press("<Backspace>");
    assert_eq!(scene.selected(), "vol0 ext4 data 12.0M");
    let job = scene.job(|job| matches!(job, Job::List(..)));
    scene.said(job, Event::Names(entries().0));
    assert_eq!(scene.app.listing.as_ref().unwrap().selected().unwrap().name, "var");
}

#[test]
fn escape_stops_what_is_loading_and_nobody_hears_it_any_more() {
    let mut scene = scene();
    scene.press("<Enter><Down><Enter><Down><Enter>");
    let job = scene.job(|job| matches!(job, Job::Open(_)));
    while !scene.app.jobs.is_empty() {
        scene.press("<Esc>");
    }
    assert!(scene.effects.iter().any(|effect| matches!(effect, Effect::Stop(id) if *id == job)));
    scene.said(job, Event::Opened(Ok(opened())));
    assert_eq!(scene.rows()[3], "  Tools", "no volume came");
}

#[test]
fn another_selection_stops_the_listing_before() {
    let mut scene = scene().in_volume();
    scene.press("<Tab><Enter>");
    let job = scene.job(|job| matches!(job, Job::List(..)));
    scene.press("<Backspace>");
    assert!(scene.effects.iter().any(|effect| matches!(effect, Effect::Stop(id) if *id == job)));
    scene.says(job, Event::Names(entries().0));
    assert_eq!(scene.names(), [""; 0]);
}

#[test]
fn the_tree_is_filtered_and_searched() {
    let mut scene = Scene::new(SIZE, many(10_000));
    assert_eq!(scene.app.tree.rows.len(), 10_000);
    scene.press("/0500<Enter>");
    assert_eq!(
        scene.rows(),
        [
            "machine 00500",
            "machine 05000",
            "machine 05001",
            "machine 05002",
            "machine 05003",
            "machine 05004",
            "machine 05005",
            "machine 05006",
            "machine 05007",
            "machine 05008",
            "machine 05009"
        ]
    );
    scene.press("nn");
    assert_eq!(scene.selected(), "machine 05001");
    scene.press("N");
    assert_eq!(scene.selected(), "machine 05000");
    while !scene.app.jobs.is_empty() {
        scene.press("<Esc>");
    }
    scene.press("<Esc>");
    assert_eq!(scene.app.tree.rows.len(), 10_000);
    assert_eq!(scene.selected(), "machine 05000");
}

#[test]
fn copying_asks_where_and_before_it_replaces() {
    let mut scene = scene().in_volume();
    scene.press("<Tab>c");
    assert!(matches!(&scene.app.popup, Some(Popup::Path(question)) if question.line.text == "/home/me"));
    scene.press("/new<Enter>");
    let job = scene.job(|job| matches!(job, Job::Copy(_)));
    let copying = scene.effects.iter().find_map(|effect| match effect {
        Effect::Start(_, Job::Copy(copying)) => Some(copying.clone()),
        _ => None,
    });
    let copying = copying.unwrap();
    assert_eq!((copying.from.clone(), copying.to.clone()), ("fs0/etc".into(), "/home/me/new".into()));
    scene.said(job, Event::Exists("/home/me/new/etc".into(), copying));
    scene.press("<Enter>");
    let again = scene.job(|job| matches!(job, Job::Copy(copying) if copying.replace));
    scene.says(again, Event::Progress(5, 10));
    scene.press("q");
    assert!(matches!(scene.app.popup, Some(Popup::Confirm { .. })), "it does not end while it copies");
    scene.press("<Esc>");
    scene.said(again, Event::Copied(vec!["a cannot be read".to_owned()], None));
    assert!(matches!(&scene.app.popup, Some(Popup::Text { lines, .. }) if lines == &["a cannot be read"]));
}

#[test]
fn mounting_asks_where_and_unmounting_ends_it() {
    let mut scene = scene().in_volume();
    scene.press("g/mnt<Tab>g<Tab>x<Enter>");
    let mount = scene.effects.iter().find_map(|effect| match effect {
        Effect::Start(_, Job::Mount(mount)) => Some(mount.clone()),
        _ => None,
    });
    let mount = mount.unwrap();
    assert_eq!((mount.point, mount.with_guests), (PathBuf::from("/mntx"), false));
    let job = scene.job(|job| matches!(job, Job::Mount(_)));
    scene.said(job, Event::Mounted(Ok(())));
    assert_eq!(scene.app.mounts.len(), 1);
    scene.press("u<Enter>");
    let job = scene.job(|job| matches!(job, Job::Unmount(_)));
    scene.said(job, Event::Unmounted(Ok(())));
    assert!(scene.app.mounts.is_empty());
}

#[test]
fn a_file_is_viewed_as_text_and_searched() {
    let mut scene = scene().in_volume();
    scene.press("<Tab><End>v");
    let job = scene.job(|job| matches!(job, Job::Text(_)));
    let lines: Vec<String> = (0..100).map(|at| format!("line {at}")).collect();
    scene.said(job, Event::Text(Ok((Content::Text("UTF-8", lines), true))));
    scene.press("/LINE 7<Enter>");
    assert_eq!(scene.app.viewer.as_ref().unwrap().found, Some(7));
    scene.press("n");
    assert_eq!(scene.app.viewer.as_ref().unwrap().found, Some(70));
    scene.press("N<Down><Tab>");
    assert_eq!(scene.app.viewer.as_ref().unwrap().found, None);
    let job = scene.job(|job| matches!(job, Job::Bytes(_, 0, _)));
    scene.said(job, Event::Bytes(0, Ok(vec![b'x'; 1000])));
    scene.press("q");
    assert!(scene.app.viewer.is_none());
    assert!(!scene.effects.iter().any(|effect| matches!(effect, Effect::Quit)));
}

#[test]
fn yank_copies_uuids_and_paths() {
    let mut scene = scene().in_volume();
    let copied = |scene: &Scene| {
        let copied = scene.effects.iter().rev().find_map(|effect| match effect {
            Effect::Copy(text) => Some(text.clone()),
            _ => None,
        });
        copied.expect("something is copied")
    };
    scene.press("y");
    assert_eq!(copied(&scene), "fs0");
    scene.press("<Tab><End>y");
    assert_eq!(copied(&scene), "fs0/日本語のファイル");
    scene.press("<Tab><Up>y");
    assert_eq!(copied(&scene), "00000000-0000-0000-0000-000000000013");
    scene.press("<Up><Up>y");
    assert_eq!(copied(&scene), "00000000-0000-0000-0000-0000000000a2");
    scene.press("Y");
    assert_eq!(copied(&scene), "/vms/web/web.vbox");
}

#[test]
fn a_click_selects_and_the_next_one_opens() {
    let mut scene = scene();
    let click = |scene: &mut Scene, column, row| {
        let kind = MouseEventKind::Down(MouseButton::Left);
        scene.happen(Message::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }));
    };
    click(&mut scene, 3, 5);
    assert_eq!(scene.selected(), "broken");
    click(&mut scene, 3, 1);
    assert_eq!(scene.selected(), "web");
    click(&mut scene, 3, 1);
    assert_eq!(scene.rows()[1], " Clean");
    scene.happen(Message::Mouse(MouseEvent {
        kind: MouseEventKind::ScrollDown,
        column: 3,
        row: 3,
        modifiers: KeyModifiers::NONE,
    }));
    assert_eq!(scene.app.tree.cursor.at, 3);
}

#[test]
fn reading_the_settings_again_keeps_what_is_open() {
    let mut scene = scene().in_volume();
    let before = scene.rows();
    scene.press("<Up>r");
    let job = scene.job(|job| matches!(job, Job::Registry(None)));
    scene.said(job, Event::Registry(Ok(registry())));
    assert_eq!(scene.rows(), before);
    assert_eq!(scene.selected(), "SATA-0-0 {13}.vdi");
}

#[test]
fn begins_with_the_state_and_disk_that_were_named() {
    let which = Which {
        machine: Some("web".to_owned()),
        snapshot: Some("Tools".to_owned()),
        disk: Some("0".to_owned()),
        ..Which::default()
    };
    let (app, effects) = App::new(which, PathBuf::new(), SIZE);
    let mut scene = Scene { app, effects };
    let job = scene.job(|job| matches!(job, Job::Registry(None)));
    scene.said(job, Event::Registry(Ok(registry())));
    assert_eq!(scene.selected(), "SATA-0-0 {12}.vdi");
    scene.job(|job| matches!(job, Job::Open(which) if which.snapshot.is_some()));
}

#[test]
fn a_registry_that_cannot_be_read_is_said_with_its_whole_text() {
    let (app, effects) = App::new(Which::default(), PathBuf::new(), SIZE);
    let mut scene = Scene { app, effects };
    let job = scene.job(|job| matches!(job, Job::Registry(None)));
    let failure = Failure { text: "VirtualBox.xml is broken in line 3".to_owned(), wrong_password: None };
    scene.said(job, Event::Registry(Err(failure)));
    assert_eq!(scene.app.failure.as_deref(), Some("VirtualBox.xml is broken in line 3"));
    scene.press("<Enter><Down>vcmgiyY/x<Enter>n<Esc>s.<Tab><Enter><Left>");
    scene.press("q");
    assert!(matches!(scene.effects.last(), Some(Effect::Quit)));
}

#[test]
fn two_states_are_picked_to_compare() {
    let mut scene = scene().in_volume();
    scene.press("d<Left><Left><Left><Left><Up>");
    assert_eq!(scene.selected(), "Tools");
    scene.press("d");
    let job = scene.job(|job| matches!(job, Job::Diff(..)));
    let (title, old, new) = scene
        .effects
        .iter()
        .find_map(|effect| match effect {
            Effect::Start(_, Job::Diff(title, states, _)) => Some((title.clone(), states.0.clone(), states.1.clone())),
            _ => None,
        })
        .unwrap();
    assert_eq!(title, "Current state (changed) -> Tools");
    assert_eq!((old.snapshot, old.disk.as_deref()), (None, Some("SATA-0-0")));
    assert_eq!(new.snapshot.as_deref(), Some("00000000-0000-0000-0000-0000000000a2"));
    assert_eq!(new.disk.as_deref(), Some("SATA-0-0"), "the same disk of both");
    scene.said(job, Event::Report(title, vec!["M fs0/etc".to_owned()]));
    assert!(matches!(&scene.app.popup, Some(Popup::Text { lines, .. }) if lines == &["M fs0/etc"]));
}

#[test]
fn the_history_is_of_a_file_of_a_machine() {
    let mut scene = scene();
    scene.press("H");
    assert!(scene.app.notice.is_some());
    let mut scene = scene.in_volume();
    scene.press("<Tab><End>H");
    let path = scene.effects.iter().find_map(|effect| match effect {
        Effect::Start(_, Job::History(_, _, path)) => Some(path.clone()),
        _ => None,
    });
    assert_eq!(path, Some(PathBuf::from("fs0/日本語のファイル")));
}
