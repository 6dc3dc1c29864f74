//! Two copies of a machine on one host, in each format, and the one that a chain uses.

use super::*;
use crate::disk::{Disk, OpenMode, open_chain};
use crate::image::{vdi, vhd, vhdx, vmdk};
use std::path::Path;
use std::time::{Duration, SystemTime};

const READ: OpenMode = OpenMode {
    writable: false,
    force: false,
    snapshot: None,
    allowed: crate::storage::Allowed::NONE,
    allowed_devices: Vec::new(),
};
const FORCE: OpenMode = OpenMode {
    writable: false,
    force: true,
    snapshot: None,
    allowed: crate::storage::Allowed::NONE,
    allowed_devices: Vec::new(),
};
const WRITE_FORCE: OpenMode = OpenMode {
    writable: true,
    force: true,
    snapshot: None,
    allowed: crate::storage::Allowed::NONE,
    allowed_devices: Vec::new(),
};

/// A base with UUID 1 and a child of it with UUID 3 in `directory`. The base is full of `fill`, and in the state
/// `state`: another one has other modification ids. The child's header names the base in the live machine's directory
/// `live`.
type Make = fn(directory: &Path, live: &Path, fill: u8, state: u8);

fn write(path: PathBuf, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn make_vdi(directory: &Path, _live: &Path, fill: u8, state: u8) {
    let base = vdi::testing::Build { map: vec![0; 1], disk_size: 4096, data: vec![fill], ..Default::default() };
    let mut bytes = base.bytes();
    // uuidModify
    bytes[408..424].copy_from_slice(&uuid(state.into()).to_bytes_le());
    write(directory.join("base.vdi"), &bytes);
    let child = vdi::testing::Build {
        kind: 4,
        uuid: uuid(3),
        parent: uuid(1),
        parent_modify: uuid(state.into()),
        map: vec![0xFFFF_FFFF],
        disk_size: 4096,
        ..Default::default()
    };
    write(directory.join("Snapshots/child.vdi"), &child.bytes());
}

fn make_vmdk(directory: &Path, live: &Path, fill: u8, state: u8) {
    use vmdk::testing::{Build, Entry};
    let id = |n: u8| format!("\"00000000-0000-0000-0000-{n:012}\"");
    let change = |build: Build, key: &str, from: u8, to: u8| {
        let key = format!("ddb.uuid.{key}=");
        Build { descriptor: build.descriptor.replace(&(key.clone() + &id(from)), &(key + &id(to))), ..build }
    };
    let descriptor = vmdk::testing::descriptor("RW 8 SPARSE \"a.vmdk\"");
    let build =
        |map, data| Build { capacity: 8, map: vec![map], data, descriptor: descriptor.clone(), ..Build::default() };
    let base = change(build(Entry::Data(0), vec![fill]), "modification", 2, state);
    write(directory.join("base.vmdk"), &base.bytes());
    let child = build(Entry::Absent, Vec::new()).difference();
    let mut child = change(change(child, "image", 1, 3), "parentmodification", 8, state);
    child = change(child, "parent", 7, 1);
    child.descriptor += &format!("parentFileNameHint=\"{}\"\n", live.join("base.vmdk").display());
    write(directory.join("Snapshots/child.vmdk"), &child.bytes());
}

fn make_vhd(directory: &Path, _live: &Path, fill: u8, state: u8) {
    use vhd::testing::{Block, Build, sum};
    let block = Block { bits: 0xFF, fill };
    let build = |map, data| Build { size: 4096, map: vec![map], data, geometry: (1, 1, 8), ..Build::default() };
    let path = directory.join("base.vhd");
    write(path.clone(), &build(Some(0), vec![block]).bytes());
    let written = SystemTime::UNIX_EPOCH + Duration::from_secs(946_684_800 + 1000 * u64::from(state));
    fs::File::options().write(true).open(path).unwrap().set_modified(written).unwrap();
    let mut child = Build { kind: 4, uuid: uuid(3), parent: uuid(1), ..build(None, Vec::new()) }.bytes();
    // Parent Time Stamp of the header at 512.
    child[512 + 56..512 + 60].copy_from_slice(&(1000 * u32::from(state)).to_be_bytes());
    sum(&mut child[512..1536], 36);
    write(directory.join("Snapshots/child.vhd"), &child);
}

fn make_vhdx(directory: &Path, live: &Path, fill: u8, state: u8) {
    use vhdx::testing::Build;
    let data_write = uuid(100 + u128::from(state));
    let map = [vec![(6, 0)], vec![(0, 0); 3]].concat();
    write(directory.join("base.vhdx"), &Build { data_write, map, data: vec![fill], ..Build::default() }.bytes());
    let locator = vec![
        ("parent_linkage", data_write.braced().to_string()),
        ("absolute_win32_path", live.join("base.vhdx").display().to_string()),
    ];
    write(directory.join("Snapshots/child.vhdx"), &Build { flags: 2, locator, ..Build::default() }.bytes());
}

const FORMATS: [(&str, Make); 4] = [("vdi", make_vdi), ("vmdk", make_vmdk), ("vhd", make_vhd), ("vhdx", make_vhdx)];

/// The live machine in `live/x`, registered, and a copy in `backup/x` from before it changed.
struct Copies {
    lab: Lab,
    end: &'static str,
}

impl Copies {
    fn new(end: &'static str, make: Make, live_state: u8) -> Self {
        let lab = Lab::new();
        let live = lab.path("live/x");
        make(&live, &live, b'L', live_state);
        make(&lab.path("backup/x"), &live, b'B', 20);
        Self { lab, end }
    }

    fn registry(&self) -> Registry {
        let format = self.end.to_uppercase();
        let entry = |n, file: String, inside: &str| {
            let path = self.lab.path(&file);
            disk(n, &path.display().to_string(), inside).replace("\"VDI\"", &format!("\"{format}\""))
        };
        let child = entry(3, format!("live/x/Snapshots/child.{}", self.end), "");
        let disks = entry(1, format!("live/x/base.{}", self.end), &child);
        self.lab.write("live/x/x.vbox", machine(10, "x", "", &(media(&disks) + &attached(&[3]))));
        let global = self.lab.global().replace(
            "<MachineRegistry>",
            &format!("<MachineRegistry><MachineEntry uuid=\"{{{}}}\" src=\"x/x.vbox\"/>", uuid(10)),
        );
        self.lab.write("live/VirtualBox.xml", global);
        Registry::load(&self.lab.path("live"), &Passwords::default()).unwrap()
    }

    /// The first byte of the chain that the copy's child means, by its path.
    fn first_byte(&self, mode: &OpenMode) -> Result<u8, String> {
        let child = self.lab.path(&format!("backup/x/Snapshots/child.{}", self.end));
        let registry = self.registry();
        let mut bytes = Vec::new();
        // With the live machine's registry, and with none.
        for registry in [Some(&registry), None] {
            let chain = resolve(registry, &child, Path::new("/")).map_err(|e| message(&e))?;
            let disk = open_chain(&chain, mode).map_err(|e| message(&e))?;
            let mut byte = [0];
            disk.read_at(0, &mut byte).unwrap();
            bytes.push(byte[0]);
            if !self.lab.path(&format!("backup/x/base.{}", self.end)).exists() {
                break;
            }
        }
        assert!(bytes.iter().all(|byte| *byte == bytes[0]), "{bytes:?}");
        Ok(bytes[0])
    }

    fn remove_base(&self) {
        fs::remove_file(self.lab.path(&format!("backup/x/base.{}", self.end))).unwrap();
    }
}

#[test]
fn a_copy_is_made_of_its_own_images() {
    for (end, make) in FORMATS {
        for live_state in [20, 30] {
            let copies = Copies::new(end, make, live_state);
            assert_eq!(copies.first_byte(&READ), Ok(b'B'), "{end}");
        }
    }
}

#[test]
fn a_base_that_only_the_live_machine_has_is_read_while_it_is_unchanged() {
    for (end, make) in FORMATS {
        let copies = Copies::new(end, make, 20);
        copies.remove_base();
        assert_eq!(copies.first_byte(&READ), Ok(b'L'), "{end}");
    }
}

#[test]
fn a_base_of_the_live_machine_that_changed_is_refused_and_never_written_over() {
    for (end, make) in FORMATS {
        let copies = Copies::new(end, make, 30);
        copies.remove_base();
        let text = copies.first_byte(&READ).unwrap_err();
        let live = copies.lab.path(&format!("live/x/base.{end}"));
        assert!(text.contains(&live.display().to_string()), "{text}");
        assert_eq!(copies.first_byte(&FORCE), Ok(b'L'), "{end}");
        let text = copies.first_byte(&WRITE_FORCE).unwrap_err();
        assert!(text.contains("may be of another copy of the machine") && !text.contains("--force"), "{text}");
    }
}

#[test]
fn prefers_the_unchanged_base_to_a_nearer_changed_one() {
    for (end, make) in FORMATS.into_iter().filter(|(end, _)| *end != "vhd") {
        let copies = Copies::new(end, make, 20);
        make(&copies.lab.path("other"), &copies.lab.path("live/x"), b'O', 40);
        let base = format!("base.{end}");
        fs::copy(copies.lab.path("other").join(&base), copies.lab.path("backup/x").join(&base)).unwrap();
        let chain = resolve(
            Some(&copies.registry()),
            copies.lab.path(&format!("backup/x/Snapshots/child.{end}")),
            Path::new("/"),
        )
        .unwrap();
        assert_eq!(chain.links[1].path, copies.lab.path("live/x").join(&base));
        assert!(open_chain(&chain, &READ).is_ok());
    }
}

#[test]
fn names_both_bases_when_both_changed() {
    for (end, make) in FORMATS.into_iter().filter(|(end, _)| *end != "vhd") {
        let copies = Copies::new(end, make, 30);
        make(&copies.lab.path("other"), &copies.lab.path("live/x"), b'O', 40);
        let base = format!("base.{end}");
        fs::copy(copies.lab.path("other").join(&base), copies.lab.path("backup/x").join(&base)).unwrap();
        let registry = copies.registry();
        let child = copies.lab.path(&format!("backup/x/Snapshots/child.{end}"));
        let chain = resolve(Some(&registry), child, Path::new("/")).unwrap();
        let text = message(&open_chain(&chain, &READ).err().expect("neither fits"));
        assert!(text.contains("backup/x/base") && text.contains("live/x/base"), "{text}");
    }
}

#[test]
fn finds_an_unregistered_disk_and_its_parent_by_uuid() {
    let mut lab = Lab::new();
    let snapshot = format!("<Snapshot uuid=\"{}\" name=\"s\">{}</Snapshot>", uuid(20), attached(&[1]));
    let current = format!("currentSnapshot=\"{}\"", uuid(20));
    lab.machine(10, "vm", &current, &(attached(&[2]) + &snapshot));
    lab.write("vm/renamed.vdi", vdi(1, 0));
    lab.write("vm/Snapshots/2.vdi", vdi(2, 1));
    let registry = lab.load();
    let id = registry.media.find(uuid(2)).unwrap();
    assert_eq!(names(&registry.chain_of_medium(id).unwrap()), ["2.vdi", "renamed.vdi"]);
    assert_eq!(registry.uses_of(id), [Use { machine: 0, snapshot: None }]);
    assert_eq!(registry.uses_of(registry.media.base(id)), [Use { machine: 0, snapshot: Some(0) }]);
    assert!(problems(&registry)[0].contains("is not registered; "), "{:?}", problems(&registry));
    // Two that could be it: neither is taken.
    lab.write("vm/second.vdi", vdi(1, 0));
    assert_eq!(lab.load().media.find(uuid(1)), None);
}

#[test]
fn copies_under_one_directory_have_their_own_media() {
    let lab = Lab::new();
    for copy in ["2024/ann", "2025/ann"] {
        let disks = disk(1, "/home/ann/vm/a.vdi", &disk(2, "Snapshots/2.vdi", ""));
        lab.write(&format!("{copy}/vm/vm.vbox"), machine(10, "vm", "", &(media(&disks) + &attached(&[2]))));
        lab.write(&format!("{copy}/vm/a.vdi"), vdi(1, 0));
        lab.write(&format!("{copy}/vm/Snapshots/2.vdi"), vdi(2, 1));
    }
    let registry = Registry::load_from(&lab.path(""), &Passwords::default()).unwrap();
    assert_eq!(registry.media.iter().count(), 4);
    for (copy, index) in [("2024", 0), ("2025", 1)] {
        let chain = resolve(Some(&registry), format!("{copy}/ann/vm/Snapshots/2.vdi"), &lab.path("")).unwrap();
        assert!(chain.links.iter().all(|link| link.path.starts_with(lab.path(copy))), "{chain:?}");
        let id = registry.media.find_near(uuid(2), &registry.machines[index].path).unwrap();
        assert_eq!(registry.uses_of(id), [Use { machine: index, snapshot: None }]);
    }
    let error = resolve(Some(&registry), uuid(2).to_string(), &lab.path("")).unwrap_err();
    assert!(message(&error).contains("2024/ann") && message(&error).contains("2025/ann"), "{error}");
    assert_eq!(registry.find_machine("vm").unwrap_err().kind(), crate::error_kind::ErrorKind::Usage);
}

#[test]
fn reads_but_never_writes_images_outside_of_the_given_path() {
    let lab = Lab::new();
    let far = lab.write("live/a.vdi", vdi(1, 0));
    let disks = disk(1, &far.display().to_string(), "");
    lab.write("backup/vm/vm.vbox", machine(10, "vm", "", &(media(&disks) + &attached(&[1]))));
    let load = || Registry::load_from(&lab.path("backup"), &Passwords::default()).unwrap();
    let registry = load();
    assert!(problems(&registry)[0].contains("was found only at "), "{:?}", problems(&registry));
    let chain = registry.chain_of_medium(MediumId(0)).unwrap();
    assert_eq!((&chain.links[0].path, chain.outside), (&far, Some(lab.path("backup"))));
    // Its own path is another matter.
    assert_eq!(resolve(Some(&registry), &far, Path::new("/")).unwrap().outside, None);
    // A symbolic link that leads there is no copy.
    std::os::unix::fs::symlink(&far, lab.path("backup/vm/a.vdi")).unwrap();
    assert_eq!(load().chain_of_medium(MediumId(0)).unwrap().outside, Some(lab.path("backup")));
    fs::remove_file(lab.path("backup/vm/a.vdi")).unwrap();
    lab.write("backup/vm/other name.vdi", vdi(1, 0));
    let registry = load();
    assert_eq!(registry.media.get(MediumId(0)).location, lab.path("backup/vm/other name.vdi"));
    assert_eq!(registry.chain_of_medium(MediumId(0)).unwrap().outside, None);
}

#[test]
fn finds_images_with_renamed_paths_by_uuid() {
    for (directory, image) in [("vm", "A.VDI"), ("renamed", "a.vdi"), ("renamed", "b.vdi"), ("vm", "Snapshots/a.vdi")] {
        let mut lab = Lab::new();
        lab.entry(10, "/home/joe/VMs/vm/vm.vbox");
        let settings = machine(10, "vm", "", &media(&disk(1, "/home/joe/VMs/vm/a.vdi", "")));
        lab.write(&format!("joe-2024/VMs/{directory}/vm.vbox"), settings);
        let found = lab.write(&format!("joe-2024/VMs/{directory}/{image}"), vdi(1, 0));
        lab.write("joe-2024/.config/VirtualBox/VirtualBox.xml", lab.global());
        let registry = Registry::load_from(&lab.path("joe-2024"), &Passwords::default()).unwrap();
        assert!(registry.machines[0].machine.is_ok(), "{directory}: {:?}", registry.machines);
        assert_eq!(registry.media.get(MediumId(0)).location, found);
    }
}
