//! Files that are made to cost stack, memory or time.

use super::*;
use std::time::{Duration, Instant};

const ROOT: &str = r#"<VirtualBox xmlns="http://www.virtualbox.org/" version="1.19-linux">"#;

fn machine(body: &str) -> String {
    let uuid = Uuid::from_u128(0xFFFF);
    format!(
        "{ROOT}<Machine uuid=\"{uuid}\" name=\"deep\" currentSnapshot=\"{}\">{body}</Machine></VirtualBox>",
        Uuid::from_u128(1)
    )
}

/// Runs `test` on a stack of 2 MiB, as a program's threads have.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(test).unwrap().join().unwrap();
}

#[test]
fn ten_thousand_nested_snapshots_need_no_stack() {
    let mut body = String::new();
    for i in 1..=10_000_u128 {
        body += &format!("<Snapshot uuid=\"{}\" name=\"s{i}\" timeStamp=\"t\"><Snapshots>", Uuid::from_u128(i));
    }
    body += &"</Snapshots></Snapshot>".repeat(10_000);
    on_a_small_stack(move || {
        let parsed = parse_machine(machine(&body).as_bytes()).unwrap();
        let snapshots = &parsed.machine.snapshots;
        assert_eq!(snapshots.len(), 10_000);
        assert!(snapshots.iter().enumerate().all(|(i, snapshot)| snapshot.parent == i.checked_sub(1)));
        assert_eq!(snapshots[9_999].uuid, Uuid::from_u128(10_000));
        assert_eq!(parsed.machine.current_snapshot, Some(0));
    });
}

#[test]
fn ten_thousand_nested_disks_need_no_stack() {
    let mut body = "<MediaRegistry><HardDisks>".to_owned();
    for i in 1..=10_000_u128 {
        body += &format!("<HardDisk uuid=\"{}\" location=\"{i}.vdi\" format=\"VDI\">", Uuid::from_u128(i));
    }
    body += &"</HardDisk>".repeat(10_000);
    body += "</HardDisks></MediaRegistry>";
    on_a_small_stack(move || {
        let parsed = parse_machine(machine(&body).as_bytes()).unwrap();
        assert_eq!(parsed.media.len(), 10_000);
        assert!(parsed.media.iter().enumerate().all(|(i, medium)| medium.parent == i.checked_sub(1)));
    });
}

#[test]
fn elements_nested_beyond_the_readers_limit_are_an_error() {
    for name in ["Snapshots", "Unknown"] {
        let text = machine(&format!("<{name}>").repeat(70_000));
        on_a_small_stack(move || {
            let error = parse_machine(text.as_bytes()).unwrap_err();
            let ParseError::Broken { line: 1, found, .. } = error else { panic!("{error:?}") };
            assert_eq!(found, "document nests elements deeper than the supported limit of 65535");
        });
    }
}

#[test]
fn a_document_type_is_refused_before_any_entity_is_expanded() {
    let mut text = "<?xml version=\"1.0\"?>\n<!DOCTYPE lolz [\n<!ENTITY lol \"lol\">\n".to_owned();
    for i in 1..10 {
        let last = if i == 1 { "lol".to_owned() } else { format!("lol{}", i - 1) };
        text += &format!("<!ENTITY lol{i} \"{}\">\n", format!("&{last};").repeat(10));
    }
    text += &format!("]>{ROOT}<Machine uuid=\"{}\" name=\"&lol9;\"/></VirtualBox>", Uuid::from_u128(1));
    assert_eq!(
        parse_machine(text.as_bytes()).unwrap_err(),
        ParseError::Broken { line: 2, expected: "no document type".to_owned(), found: "<!DOCTYPE".to_owned() }
    );
}

/// Fails when `text` takes more than seconds: what is quadratic takes minutes at this size.
fn assert_quick(text: &str) -> Result<ParsedMachine> {
    let start = Instant::now();
    let answer = parse_machine(text.as_bytes());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    answer
}

#[test]
fn a_hundred_thousand_attributes_take_linear_time() {
    let attributes: String = (0..100_000).map(|i| format!(" a{i}=\"\"")).collect();
    let text = machine("").replace(" name=", &format!("{attributes} name="));
    assert_eq!(assert_quick(&text).unwrap().machine.name, "deep");
}

#[test]
fn a_hundred_thousand_disks_on_lines_of_their_own_take_linear_time() {
    let mut body = "<MediaRegistry><HardDisks>".to_owned();
    for i in 1..=100_000_u128 {
        body += &format!("<HardDisk uuid=\"{}\"\nlocation=\"{i}.vdi\"\nformat=\"VDI\"/>\n", Uuid::from_u128(i));
    }
    body += "</HardDisks></MediaRegistry>";
    assert_eq!(assert_quick(&machine(&body)).unwrap().media.len(), 100_000);
}

#[test]
fn a_file_cut_anywhere_is_an_error_and_no_panic() {
    let bytes = include_bytes!("samples/1.19-machine.vbox");
    let end = bytes.len() - "</VirtualBox>\n".len();
    for cut in 0..=end {
        assert!(matches!(parse_machine(&bytes[..cut]), Err(ParseError::Broken { .. })), "{cut}");
    }
}

#[test]
fn any_byte_may_be_wrong() {
    for (sample, is_machine) in
        [(&include_bytes!("samples/1.3-machine.xml")[..], true), (include_bytes!("samples/1.6-global.xml"), false)]
    {
        for at in 0..sample.len() {
            for byte in [0, b'<', b'"', b'&'] {
                let mut bytes = sample.to_vec();
                bytes[at] = byte;
                // Either answer is right, as long as there is one.
                let _ = if is_machine { parse_machine(&bytes).map(drop) } else { parse_global(&bytes).map(drop) };
            }
        }
    }
}
