//! Following parents by headers, with headers that the tests make up.

use super::*;
use crate::error_kind::ErrorKind;
use crate::image::{self, Format, ImageInfo, ParentLink, Variant};
use crate::registry::parents::add_children;
use crate::registry::resolve::resolve_with;
use crate::storage::local::Devices;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;

/// Files with made-up headers.
struct Headers {
    lab: Lab,
    known: HashMap<PathBuf, ImageInfo>,
}

fn by_uuid(n: u128) -> ParentLink {
    ParentLink { uuid: Some(uuid(n)), ..ParentLink::default() }
}

fn by_hint(n: Option<u128>, hints: &[&str]) -> ParentLink {
    ParentLink {
        uuid: n.map(uuid),
        hints: hints.iter().map(|hint| (*hint).to_owned()).collect(),
        ..ParentLink::default()
    }
}

impl Headers {
    fn new() -> Self {
        Self { lab: Lab::new(), known: HashMap::new() }
    }

    fn add(&mut self, name: &str, n: u128, parent: Option<ParentLink>) {
        let path = fs::canonicalize(self.lab.write(name, name)).unwrap();
        let info = ImageInfo {
            path: path.clone(),
            format: Format::Vhd,
            variant: Variant::Dynamic,
            details: String::new(),
            size: 512,
            sector_size: 512,
            block_size: 0,
            uuid: Some(uuid(n)).filter(|uuid| !uuid.is_nil()),
            modification: None,
            content_id: None,
            parent,
            comment: String::new(),
            notes: Vec::new(),
            stored_size: 512,
        };
        self.known.insert(path, info);
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut ImageInfo)) {
        let path = fs::canonicalize(self.lab.path(name)).unwrap();
        change(self.known.get_mut(&path).unwrap());
    }

    /// The images that depend on one, below the lab's directory.
    fn children(&self, what: &str) -> Vec<String> {
        let leaf = Link { path: self.lab.path(what), ..Link::default() };
        let mut chain = Chain {
            links: vec![leaf],
            uuid: None,
            kind: MediumKind::Normal,
            children: Vec::new(),
            saved_in: Vec::new(),
            base_properties: Default::default(),
            outside: None,
            notes: Vec::new(),
        };
        add_children(&mut chain, &|path, _| self.identify(path));
        let root = self.lab.directory.path().canonicalize().unwrap();
        chain.children.iter().map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned()).collect()
    }

    fn resolve(&self, what: &str) -> Result<Chain> {
        let identify = |path: &Path, _: Devices| self.identify(path);
        resolve_with(None, OsStr::new(what), self.lab.directory.path(), &identify)
    }

    fn identify(&self, path: &Path) -> image::Result<ImageInfo> {
        let real = fs::canonicalize(path).unwrap();
        let unknown = || image::Error::Refused { path: path.to_path_buf(), reason: "it is no image".to_owned() };
        self.known.get(&real).cloned().ok_or_else(unknown)
    }

    fn failure(&self, what: &str) -> (ErrorKind, String) {
        let error = self.resolve(what).unwrap_err();
        (error.kind(), self.lab.bare(&message(&error)))
    }
}

#[test]
fn finds_a_parent_in_the_directories_around_the_child() {
    for (child, parent) in [
        ("vm/a.vhd", "vm/b.vhd"),
        ("vm/Snapshots/a.vhd", "vm/b.vhd"),
        ("vm/a.vhd", "vm/Snapshots/b.vhd"),
        ("vm/Elsewhere/a.vhd", "vm/Snapshots/b.vhd"),
        ("vm/Snapshots/a.vhd", "other/b.vhd"),
    ] {
        let mut headers = Headers::new();
        headers.add(child, 2, Some(by_uuid(1)));
        headers.add(parent, 1, None);
        headers.add("vm/c.vhd", 3, None);
        headers.lab.write("vm/notes.txt", "");
        headers.lab.write("vm/broken.vdi", "");
        let chain = headers.resolve(child).unwrap();
        assert_eq!(names(&chain), ["a.vhd", "b.vhd"], "{parent}");
        assert_eq!(chain.links[0].found_by, "its UUID, next to the file");
        assert_eq!(chain.uuid, Some(uuid(2)));
    }
}

#[test]
fn follows_a_hint_with_the_right_identity() {
    for hint in ["../far/b.vhd", r"..\far\b.vhd"] {
        let mut headers = Headers::new();
        headers.add("vm/a.vhd", 2, Some(by_hint(Some(1), &[hint])));
        headers.add("far/b.vhd", 1, None);
        let chain = headers.resolve("vm/a.vhd").unwrap();
        assert_eq!(names(&chain), ["a.vhd", "b.vhd"]);
        assert_eq!(chain.links[0].found_by, format!("the header's hint {hint:?}"));
        assert_eq!(chain.links[1].path, headers.lab.path("far/b.vhd"));
    }
}

#[test]
fn resolves_a_hint_of_another_host_by_identity() {
    for hint in [r"C:\old\vm\b.vhd", "/old/vm/b.vhd"] {
        let mut headers = Headers::new();
        headers.add("vm/a.vhd", 2, Some(by_hint(Some(1), &[hint])));
        headers.add("vm/b.vhd", 1, None);
        assert_eq!(headers.resolve("vm/a.vhd").unwrap().links[0].found_by, format!("the header's hint {hint:?}"));
        headers.change("vm/b.vhd", |info| info.uuid = Some(uuid(7)));
        assert_eq!(headers.failure("vm/a.vhd").0, ErrorKind::NotFound);
    }
}

#[test]
fn finds_formats_without_identity_by_name_in_the_images_own_tree() {
    let mut headers = Headers::new();
    headers.add("vm/a.qcow2", 0, Some(by_hint(None, &["b.qcow2"])));
    headers.add("vm/b.qcow2", 0, None);
    assert_eq!(names(&headers.resolve("vm/a.qcow2").unwrap()), ["a.qcow2", "b.qcow2"]);
    headers.change("vm/a.qcow2", |info| info.parent = Some(by_hint(None, &["/old/vm/b.qcow2"])));
    let chain = headers.resolve("vm/a.qcow2").unwrap();
    assert_eq!((names(&chain), chain.links[1].far), (vec!["a.qcow2".to_owned(), "b.qcow2".to_owned()], false));
    headers.change("vm/a.qcow2", |info| info.parent = Some(by_hint(None, &["/old/vm/c.qcow2"])));
    let (kind, text) = headers.failure("vm/a.qcow2");
    assert_eq!(kind, ErrorKind::NotFound);
    assert_eq!(
        text,
        "The parent \"/old/vm/c.qcow2\" of vm/a.qcow2 is not known: /old/vm/c.qcow2, which the header names, is not \
         there; put the parent's image into the same directory"
    );
    // VMware's content id confirms it.
    let link = ParentLink { content_id: Some(5), ..by_hint(None, &["/old/vm/b.qcow2"]) };
    headers.change("vm/a.qcow2", |info| info.parent = Some(link));
    headers.change("vm/b.qcow2", |info| info.content_id = Some(5));
    assert_eq!(names(&headers.resolve("vm/a.qcow2").unwrap()), ["a.qcow2", "b.qcow2"]);
}

#[test]
fn does_not_read_the_header_of_a_parent_stated_raw() {
    let mut headers = Headers::new();
    let link = ParentLink { format: Some("raw".to_owned()), ..by_hint(None, &["b.img"]) };
    headers.add("vm/a.qcow2", 0, Some(link));
    headers.add("vm/b.img", 0, Some(by_hint(None, &["/etc/passwd"])));
    let chain = headers.resolve("vm/a.qcow2").unwrap();
    assert_eq!(names(&chain), ["a.qcow2", "b.img"]);
    assert_eq!(chain.links[1].stated_format.as_deref(), Some("raw"));
}

#[test]
fn reports_everything_that_was_tried() {
    let mut headers = Headers::new();
    let hints = ["/dev/sda", "json:{}", "no.vhd", "b.vhd", "c.vhd", "notes.vhd"];
    headers.add("vm/a.vhd", 2, Some(by_hint(Some(1), &hints)));
    headers.add("vm/b.vhd", 7, None);
    headers.add("vm/c.vhd", 0, None);
    headers.lab.write("vm/notes.vhd", "");
    let (kind, text) = headers.failure("vm/a.vhd");
    assert_eq!(kind, ErrorKind::NotFound);
    assert_eq!(
        text,
        format!(
            "The parent {} of vm/a.vhd is not known: the header's hint \"/dev/sda\" is never followed, for it is a \
             device; the header's hint \"json:{{}}\" is never followed, for it is a URL or option string; vm/no.vhd, \
             which the header names, is not there; vm/b.vhd, which the header names, has the UUID {}; vm/c.vhd, which the header names, has no UUID; vm/notes.vhd is \
             refused: it is no image; no image in vm or the directories around it has its UUID; put the parent's image \
             into the same directory",
            uuid(1),
            uuid(7)
        )
    );
}

#[test]
fn cycles_end_with_an_error() {
    let mut headers = Headers::new();
    headers.add("a.vhd", 1, Some(by_uuid(2)));
    headers.add("b.vhd", 2, Some(by_uuid(1)));
    let (kind, text) = headers.failure("a.vhd");
    assert_eq!(kind, ErrorKind::Corrupt);
    assert_eq!(text, "The chain of a.vhd is broken: a.vhd is its own ancestor; restore the images from a backup");
    headers.add("self.qcow2", 0, Some(by_hint(None, &["self.qcow2"])));
    assert_eq!(headers.failure("self.qcow2").0, ErrorKind::Corrupt);
}

fn deep(links: u128) -> Headers {
    let mut headers = Headers::new();
    for n in 1..=links {
        headers.add(&format!("{n}.vhd"), n, (n > 1).then(|| by_uuid(n - 1)));
    }
    headers
}

#[test]
fn three_hundred_links_are_followed_and_1025_are_not() {
    let chain = deep(300).resolve("300.vhd").unwrap();
    assert_eq!(chain.links.len(), 300);
    assert!(chain.links.iter().zip((1..=300).rev()).all(|(link, n)| link.path.ends_with(format!("{n}.vhd"))));
    let headers = deep(1025);
    assert_eq!(headers.resolve("1024.vhd").unwrap().links.len(), MAX_LINKS);
    let (kind, text) = headers.failure("1025.vhd");
    assert_eq!(kind, ErrorKind::Corrupt);
    assert!(text.contains("it has more than 1024 links"), "{text}");
}

#[test]
fn chooses_the_unchanged_copy_as_the_parent() {
    let mut headers = Headers::new();
    let link = ParentLink { modification: Some(uuid(50)), ..by_uuid(1) };
    headers.add("a.vhd", 2, Some(link));
    headers.add("b copy.vhd", 1, None);
    headers.add("b.vhd", 1, None);
    let (kind, text) = headers.failure("a.vhd");
    assert_eq!(kind, ErrorKind::Corrupt);
    assert!(text.contains("b copy.vhd and "), "{text}");
    assert!(text.ends_with(
        "have the UUID of its parent, and none is surely the one that it was made from; move all but the right one away"
    ));
    headers.change("b.vhd", |info| info.modification = Some(uuid(50)));
    let chain = headers.resolve("a.vhd").unwrap();
    assert_eq!(names(&chain), ["a.vhd", "b.vhd"]);
    assert!(chain.notes[0].starts_with("2 images have the UUID of the parent"), "{:?}", chain.notes);
    // Another name of one file is no copy.
    fs::remove_file(headers.lab.path("b copy.vhd")).unwrap();
    std::os::unix::fs::symlink(headers.lab.path("b.vhd"), headers.lab.path("b copy.vhd")).unwrap();
    assert_eq!(headers.resolve("a.vhd").unwrap().notes, [""; 0]);
}

#[test]
fn stops_reading_a_directory_of_too_many_images() {
    let mut headers = Headers::new();
    headers.add("a.vhd", 2, Some(by_uuid(1)));
    for n in 0..4096 {
        headers.lab.write(&format!("b{n}.vhd"), "");
    }
    headers.add("c.vhd", 1, None);
    let (kind, text) = headers.failure("a.vhd");
    assert_eq!(kind, ErrorKind::Corrupt);
    assert!(
        text.ends_with("its parent is not among the first 4096 images around it; move both into another directory"),
        "{text}"
    );
}

#[test]
fn finds_children_next_to_the_image() {
    let mut headers = Headers::new();
    headers.add("vm/base.vhd", 1, None);
    headers.add("vm/clone.vhd", 2, Some(by_uuid(1)));
    headers.add("vm/Snapshots/s.vhd", 3, Some(by_uuid(1)));
    headers.add("vm/Snapshots/t.vhd", 4, Some(by_uuid(3)));
    let names = ["vm/clone.vhd", "vm/Snapshots/s.vhd"].map(str::to_owned);
    assert_eq!(headers.children("vm/base.vhd"), names);
    assert_eq!(headers.children("vm/Snapshots/t.vhd"), [""; 0]);
    assert_eq!(headers.children("vm/Snapshots/s.vhd"), ["vm/Snapshots/t.vhd"]);
}

#[test]
fn children_of_an_image_without_identity_are_found_by_the_names_in_their_headers() {
    for (child, hint) in [
        ("vm/child.qcow2", "base.qcow2"),
        ("vm/child.snapshot1", "base.qcow2"),
        ("vm/child.qcow2", "link.qcow2"),
        ("vm/child.qcow2", "hard.qcow2"),
        ("vm/child.qcow2", "/old/vm/base.qcow2"),
        ("vm/child.vhdx", r"C:\vm\base.qcow2"),
        ("vm/Snapshots/child.qcow2", "../base.qcow2"),
        ("vm/Snapshots/child.snapshot1", "../base.qcow2"),
        ("vm/some/where/child.qed", "../../base.qcow2"),
        ("child.vmdk", "vm/base.qcow2"),
    ] {
        let mut headers = Headers::new();
        headers.add("vm/base.qcow2", 0, None);
        headers.add("vm/other.qcow2", 0, None);
        let vm = headers.lab.path("vm");
        std::os::unix::fs::symlink("base.qcow2", vm.join("link.qcow2")).unwrap();
        fs::hard_link(vm.join("base.qcow2"), vm.join("hard.qcow2")).unwrap();
        let real = fs::canonicalize(&vm).unwrap();
        let info = headers.known[&real.join("base.qcow2")].clone();
        headers.known.insert(real.join("hard.qcow2"), info);
        headers.add(child, 0, Some(by_hint(None, &[hint])));
        for base in ["vm/base.qcow2", "vm/hard.qcow2", "vm/link.qcow2"] {
            assert_eq!(headers.children(base), [child], "{base}: {hint}");
        }
        assert_eq!(headers.children("vm/other.qcow2"), [""; 0]);
        assert_eq!(headers.children(child), [""; 0]);
    }
}

#[test]
fn children_are_found_by_the_data_that_they_expect() {
    let mut headers = Headers::new();
    headers.add("vm/renamed.vmdk", 0, None);
    headers.change("vm/renamed.vmdk", |info| info.content_id = Some(7));
    headers.add("vm/new.vmdk", 0, None);
    headers.change("vm/new.vmdk", |info| info.content_id = Some(0xffff_fffe));
    for (child, content_id) in [("vm/a.vmdk", 7), ("vm/b.vmdk", 8), ("vm/c.vmdk", 0xffff_fffe)] {
        headers.add(child, 0, Some(ParentLink { content_id: Some(content_id), ..by_hint(None, &["gone.vmdk"]) }));
    }
    assert_eq!(headers.children("vm/renamed.vmdk"), ["vm/a.vmdk"]);
    assert_eq!(headers.children("vm/new.vmdk"), [""; 0]);
}
