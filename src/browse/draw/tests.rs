//! Whole screens, compared with the texts in `tests/golden/browse`. Run with `UPDATE_GOLDEN=1` to rewrite them, and
//! review the difference.

use super::{Look, draw};
use crate::browse::content::Content;
use crate::browse::model::message::{Event, Failure, Job, Message};
use crate::browse::testing::{Scene, many, registry};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;
use std::path::Path;

const SIZE: (u16, u16) = (80, 24);

fn screen(scene: &Scene, color: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(scene.app.size.0, scene.app.size.1)).unwrap();
    terminal.draw(|frame| draw(frame, &scene.app, Look { color })).unwrap();
    terminal.backend().buffer().clone()
}

/// The screen's text, a line each, without blanks at its end.
fn text(scene: &Scene) -> String {
    let buffer = screen(scene, false);
    let mut text = String::new();
    for y in 0..buffer.area.height {
        let (mut line, mut skipped) = (String::new(), 0);
        for x in 0..buffer.area.width {
            // The second half of a wide character.
            if skipped > 0 {
                skipped -= 1;
                continue;
            }
            let symbol = buffer[(x, y)].symbol();
            skipped = crate::listing::width(symbol).saturating_sub(1);
            line.push_str(symbol);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn golden(name: &str, scene: &Scene) {
    let text = text(scene);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/browse").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{} differs from\n{text}", path.display());
}

fn scene() -> Scene {
    Scene::new(SIZE, registry())
}

#[test]
fn draws_a_machine_and_its_snapshots() {
    let mut scene = scene();
    scene.press("<Enter>");
    golden("machine.txt", &scene);
    scene.press("<Down>");
    golden("snapshot.txt", &scene);
}

#[test]
fn draws_what_cannot_be_read_with_its_text() {
    let mut scene = scene();
    scene.press("<Down><Down><Down><Down>");
    golden("broken.txt", &scene);
    let (app, effects) = crate::browse::model::App::new(Default::default(), "/".into(), SIZE);
    let mut scene = Scene { app, effects };
    let job = scene.job(|job| matches!(job, Job::Registry(None)));
    let text = "/home/me/.config/VirtualBox/VirtualBox.xml is broken in line 3: expected a UUID, found nothing; correct \
                it, or restore it from a backup";
    scene.said(job, Event::Registry(Err(Failure { text: text.to_owned(), wrong_password: None })));
    golden("no-registry.txt", &scene);
}

#[test]
fn draws_entries_in_straight_columns() {
    let mut scene = scene().in_volume();
    golden("volume.txt", &scene);
    scene.press("<Tab><End>");
    let job = scene.job(|job| matches!(job, Job::Preview(_)));
    scene.said(job, Event::Preview(Ok(Content::Text("UTF-8", vec!["first".to_owned(), "日本語".repeat(20)]))));
    golden("file.txt", &scene);
    scene.happen(Message::Resize(160, 50));
    golden("file-160x50.txt", &scene);
    scene.happen(Message::Resize(20, 5));
    golden("too-small.txt", &scene);
}

#[test]
fn draws_a_file_whole() {
    let mut scene = scene().in_volume();
    scene.press("<Tab><End>v");
    let job = scene.job(|job| matches!(job, Job::Text(_)));
    let lines = (1..100).map(|at| format!("line {at}")).collect();
    scene.said(job, Event::Text(Ok((Content::Text("UTF-16LE", lines), true))));
    scene.press("<Down>/line 20<Enter>");
    golden("view-text.txt", &scene);
    scene.press("<Tab>");
    let job = scene.job(|job| matches!(job, Job::Bytes(..)));
    scene.said(job, Event::Bytes(0, Ok((0..=255).cycle().take(1000).collect())));
    golden("view-hex.txt", &scene);
}

#[test]
fn draws_boxes_and_never_a_password() {
    let mut scene = scene().in_volume();
    scene.press("?");
    golden("help.txt", &scene);
    scene.press("<Esc>g/mnt");
    golden("mount.txt", &scene);
    scene.press("<Esc>");
    scene.happen(Message::Ask { what: "/vms/web/web.vdi".to_owned(), key_id: "k1".to_owned() });
    scene.press("secret");
    golden("password.txt", &scene);
}

#[test]
fn colours_are_left_out_where_they_are_not_wanted() {
    let mut scene = scene().in_volume();
    scene.press("<Tab>");
    let colors = |color| {
        let buffer = screen(&scene, color);
        buffer.content().iter().filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
    };
    assert!(colors(true) > 0);
    assert_eq!(colors(false), 0);
}

#[test]
fn only_what_is_seen_of_many_machines_is_drawn() {
    let mut scene = Scene::new(SIZE, many(10_000));
    scene.press("<End>");
    golden("many.txt", &scene);
}

#[test]
fn any_size_can_be_drawn() {
    let mut scene = scene().in_volume();
    scene.press("<Tab>");
    for width in (0..200).step_by(7) {
        for height in (0..60).step_by(5) {
            scene.happen(Message::Resize(width, height));
            screen(&scene, true);
        }
    }
    scene.press("?");
    scene.happen(Message::Resize(61, 13));
    screen(&scene, true);
}
