//! What the tests of the model and of drawing share: a registry and a disk in memory.

use super::model::App;
use super::model::entries::{Entry, Seen};
use super::model::message::{Effect, Event, Job, JobId, Message, OpenVolume, Opened};
use super::model::tree::NodeId;
use crate::disk::memory::MemoryDisk;
use crate::guestfs::Content as Found;
use crate::open::Which;
use crate::registry::{
    Attachment, DeviceKind, Error, Machine, MachineEntry, MachineState, Medium, MediumId, MediumKind, Registry,
    Snapshot,
};
use crate::view::{Appearance, Attributes, Kind, Source, Times, View};
use crate::volume::Volume;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use uuid::Uuid;

fn attachment(medium: u128) -> Attachment {
    Attachment {
        controller: "SATA".to_owned(),
        port: 0,
        device: 0,
        kind: DeviceKind::HardDisk,
        medium: Some(Uuid::from_u128(medium)),
        host_drive: None,
    }
}

fn medium(uuid: u128, path: &str, parent: Option<usize>, children: &[usize]) -> Medium {
    Medium {
        uuid: Uuid::from_u128(uuid),
        location: path.into(),
        format: "VDI".to_owned(),
        device: DeviceKind::HardDisk,
        kind: MediumKind::Normal,
        auto_reset: false,
        description: String::new(),
        properties: BTreeMap::new(),
        parent: parent.map(MediumId),
        children: children.iter().copied().map(MediumId).collect(),
        registered_in: Path::new("/vms/VirtualBox.xml").into(),
        named_in: None,
        problem: None,
    }
}

fn entry(name: &str, group: &str, medium: Option<u128>) -> MachineEntry {
    let uuid = Uuid::new_v3(&Uuid::NAMESPACE_OID, name.as_bytes());
    let machine = Machine {
        uuid,
        name: name.to_owned(),
        os_type: "Linux_64".to_owned(),
        description: String::new(),
        groups: vec![group.to_owned()],
        state: MachineState::PoweredOff,
        state_file: None,
        last_state_change: "2026-11-23T13:49:46Z".to_owned(),
        snapshot_directory: PathBuf::from("/vms/Snapshots"),
        snapshots: Vec::new(),
        current_snapshot: None,
        current_state_modified: false,
        attachments: medium.map(attachment).into_iter().collect(),
    };
    MachineEntry { uuid, path: format!("/vms/{name}/{name}.vbox").into(), machine: Ok(machine) }
}

/// A machine with two snapshots, one in a group with names that are wide or not harmless, one that cannot be read, and
/// a medium of nobody.
pub(super) fn registry() -> Arc<Registry> {
    let media = vec![
        medium(0x11, "/vms/web/web.vdi", None, &[1]),
        medium(0x12, "/vms/web/Snapshots/{12}.vdi", Some(0), &[2]),
        medium(0x13, "/vms/web/Snapshots/{13}.vdi", Some(1), &[]),
        medium(0x21, "/vms/日本語/日本語.vdi", None, &[]),
        medium(0x31, "/vms/nobody.vdi", None, &[]),
    ];
    let mut web = entry("web", "/", Some(0x13));
    if let Ok(machine) = &mut web.machine {
        let snapshot = |uuid, name: &str, parent, medium| Snapshot {
            uuid: Uuid::from_u128(uuid),
            name: name.to_owned(),
            description: format!("{name}, described"),
            time_stamp: "2026-11-23T13:49:19Z".to_owned(),
            online: false,
            parent,
            attachments: vec![attachment(medium)],
        };
        machine.snapshots = vec![snapshot(0xa1, "Clean", None, 0x11), snapshot(0xa2, "Tools", Some(0), 0x12)];
        machine.current_snapshot = Some(1);
        machine.current_state_modified = true;
        machine.description = "Serves pages\nto everybody".to_owned();
    }
    let wide = entry("日本語の仮想マシン \x1b[31mred", "/lab/wide", Some(0x21));
    let broken = Error::Settings {
        path: "/vms/broken/broken.vbox".into(),
        line: 7,
        expected: "a UUID".to_owned(),
        found: "nothing".to_owned(),
    };
    let broken = MachineEntry { machine: Err(broken), ..entry("broken", "/", None) };
    Arc::new(Registry::of(vec![web, wide, broken], media))
}

/// A registry of so many machines.
pub(super) fn many(machines: usize) -> Arc<Registry> {
    Arc::new(Registry::of((0..machines).map(|at| entry(&format!("machine {at:05}"), "/", None)).collect(), Vec::new()))
}

/// A disk with an ext4 volume whose root is the root of the view.
pub(super) fn opened() -> Arc<Opened> {
    let disk = Arc::new(MemoryDisk::new(vec![0; 4096]));
    let source =
        Source { disk, volumes: Vec::new(), image: "/".into(), guests: Vec::new(), only_guests: false, stored: 0 };
    let volume = Volume {
        index: 0,
        linux_number: 1,
        offset: 1 << 20,
        size: 12 << 20,
        type_name: "Linux native".into(),
        name: "root".to_owned(),
        bootable: true,
    };
    let content = Found {
        type_name: "ext4".to_owned(),
        label: "data".to_owned(),
        uuid: "9600d1a2".to_owned(),
        notes: vec!["It was not unmounted cleanly".to_owned()],
    };
    Arc::new(Opened {
        view: View::new(source, Appearance::default()).unwrap(),
        volumes: vec![OpenVolume { volume, content, root: Some(1), space: Some((1024, 10_000, 9_000)) }],
        has_table: true,
        table: "GPT, sectors of 512 bytes".to_owned(),
        size: 16 << 20,
        links: vec![("/vms/web/web.vdi".into(), "VDI, 2.0M on disk".to_owned())],
        key_id: None,
        warnings: Vec::new(),
        _locks: Vec::new(),
    })
}

fn attributes(inode: u64, kind: Kind, size: u64) -> Attributes {
    let time = UNIX_EPOCH + Duration::from_secs(1_700_000_000 + inode);
    let times = Times { accessed: time, modified: time, changed: time };
    Attributes { inode, kind, size, blocks: 8, mode: 0o644, links: 1, uid: 1000, gid: 100, device: (0, 0), times }
}

/// A directory's entries, and their attributes.
pub(super) fn entries() -> (Vec<Entry>, Vec<Seen>) {
    let all: [(&[u8], Kind, u64); 7] = [
        (b"zebra.txt", Kind::File, 11),
        (b".hidden", Kind::File, 5),
        ("日本語のファイル".as_bytes(), Kind::File, 1 << 30),
        (b"etc", Kind::Directory, 4096),
        (b"bad\xffname\x1b[2J", Kind::File, 300),
        (b"link", Kind::Symlink, 7),
        (b"var", Kind::Directory, 4096),
    ];
    let entry = |(inode, (name, kind, _)): (u64, &(&[u8], Kind, u64))| Entry {
        name: OsString::from_vec(name.to_vec()),
        inode,
        kind: *kind,
        seen: None,
    };
    let seen = |(inode, (_, kind, size)): (u64, &(&[u8], Kind, u64))| Some(Ok(attributes(inode, *kind, *size)));
    ((100..).zip(&all).map(entry).collect(), (100..).zip(&all).map(seen).collect())
}

/// A browser of which the effects are kept.
pub(super) struct Scene {
    pub(super) app: App,
    pub(super) effects: Vec<Effect>,
}

impl Scene {
    /// One of so many columns and rows that has read the registry.
    pub(super) fn new(size: (u16, u16), registry: Arc<Registry>) -> Self {
        let (app, effects) = App::new(Which::default(), PathBuf::from("/home/me"), size);
        let mut scene = Self { app, effects };
        let job = scene.job(|job| matches!(job, Job::Registry(None)));
        scene.said(job, Event::Registry(Ok(registry)));
        scene
    }

    /// Presses keys: characters, or names such as `<Enter>`.
    pub(super) fn press(&mut self, keys: &str) {
        let mut rest = keys;
        while let Some(first) = rest.chars().next() {
            let (code, len) = match rest.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
                Some((name, _)) => (named(name), name.len() + 2),
                None => (KeyCode::Char(first), first.len_utf8()),
            };
            self.app.update(Message::Key(KeyEvent::new(code, KeyModifiers::NONE)));
            rest = &rest[len..];
        }
        self.settle();
    }

    /// Lets a message happen.
    pub(super) fn happen(&mut self, message: Message) {
        self.app.update(message);
        self.settle();
    }

    fn settle(&mut self) {
        self.effects.extend(self.app.settle());
    }

    /// The last job of a kind that was started.
    pub(super) fn job(&self, is: impl Fn(&Job) -> bool) -> JobId {
        let started = self.effects.iter().rev().filter_map(|effect| match effect {
            Effect::Start(id, job) => Some((*id, job)),
            _ => None,
        });
        started.into_iter().find(|(_, job)| is(job)).map(|(id, _)| id).expect("such a job was started")
    }

    /// Lets a job say something.
    pub(super) fn says(&mut self, job: JobId, event: Event) {
        self.happen(Message::Job(job, event));
    }

    /// Lets a job say the last thing.
    pub(super) fn said(&mut self, job: JobId, event: Event) {
        self.says(job, event);
        self.happen(Message::Ended(job));
    }

    /// The labels of the rows, indented.
    pub(super) fn rows(&self) -> Vec<String> {
        let row = |row: &super::model::tree::Row| format!("{}{}", " ".repeat(row.depth), self.label(row.node));
        self.app.tree.rows.iter().map(row).collect()
    }

    fn label(&self, id: NodeId) -> &str {
        &self.app.tree.node(id).label
    }

    /// The label of the selected row.
    pub(super) fn selected(&self) -> &str {
        self.app.tree.selected().map_or("", |id| self.label(id))
    }

    /// The names of the entries, in the order of the screen.
    pub(super) fn names(&self) -> Vec<String> {
        let Some(listing) = &self.app.listing else { return Vec::new() };
        listing.order.iter().map(|at| listing.entries[*at].label()).collect()
    }

    /// Opens the disk of the first machine's current state and selects its volume, whose entries are listed.
    pub(super) fn in_volume(mut self) -> Self {
        self.press("<Enter><Down><Down><Down><Enter><Down><Enter>");
        let job = self.job(|job| matches!(job, Job::Open(_)));
        self.said(job, Event::Opened(Ok(opened())));
        self.press("<Down>");
        let job = self.job(|job| matches!(job, Job::List(..)));
        let (entries, seen) = entries();
        self.says(job, Event::Names(entries));
        self.says(job, Event::Attributes(0, seen));
        self.said(job, Event::Listed(Ok(())));
        self
    }
}

fn named(name: &str) -> KeyCode {
    match name {
        "Enter" => KeyCode::Enter,
        "Esc" => KeyCode::Esc,
        "Tab" => KeyCode::Tab,
        "Up" => KeyCode::Up,
        "Down" => KeyCode::Down,
        "Left" => KeyCode::Left,
        "Right" => KeyCode::Right,
        "End" => KeyCode::End,
        "Backspace" => KeyCode::Backspace,
        other => panic!("no key is called {other}"),
    }
}
