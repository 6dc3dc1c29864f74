//! VMDKs by VirtualBox and QEMU, and what these read of what is written here.

use crate::against::common::Fixture;
use crate::against::disks::{
    Numbers, all, assert_reads, assert_same_file, chain, open_image as open, recorder::Recorder, scribble,
};
use crate::against::lab::{self};
use crate::against::qemu::qemu;
use crate::disk::{ChainDisk, Disk};
use crate::image::{self, Format, OpenOptions, Variant};
use crate::support::sha256;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of the disks in these tests: not whole grains.
const SIZE: usize = (20 << 20) + 3 * 512;

/// The bytes of a disk with data, zeros and holes.
fn pattern() -> Vec<u8> {
    let mut random = Numbers(11);
    let mut bytes = vec![0; SIZE];
    for (from, to) in
        [(0, 70_000), (1 << 20, (1 << 20) + 512), (3 << 20, 5 << 20), (9 << 20, (12 << 20) + 77), (SIZE - 2000, SIZE)]
    {
        for word in bytes[from..to].chunks_mut(8) {
            // Compressible, but not the same everywhere.
            let number = random.below(1 << 31) & 0x7F00_00FF;
            word.copy_from_slice(&number.to_le_bytes()[..word.len()]);
        }
    }
    bytes
}

fn qemu_img(args: &[&str]) {
    qemu("qemu-img", args);
}

/// What QEMU reads from a VMDK.
fn qemu_bytes(path: &Path) -> Vec<u8> {
    let raw = path.with_extension("qemu-raw");
    qemu_img(&["convert", "-f", "vmdk", "-O", "raw", path.to_str().unwrap(), raw.to_str().unwrap()]);
    let bytes = fs::read(&raw).unwrap();
    fs::remove_file(raw).unwrap();
    bytes
}

/// A VMDK with the bytes of [`pattern`], by QEMU.
fn qemu_made(directory: &Path, name: &str, options: &str) -> PathBuf {
    let (raw, path) = (directory.join("pattern.raw"), directory.join(name));
    fs::write(&raw, pattern()).unwrap();
    qemu_img(&["convert", "-f", "raw", "-O", "vmdk", "-o", options, raw.to_str().unwrap(), path.to_str().unwrap()]);
    path
}

#[test]
fn the_oracles_disks_have_the_bytes_that_virtualbox_showed() {
    let fixture = Fixture::registry();
    let machine = fixture.machine_file("esx import");
    let media = fixture.expected("media.tsv");
    for (base, snapshot, stored) in [
        ("sparse.vmdk", "{12daa797-aa17-4d00-b94d-e136d4cec007}", 1_638_400),
        ("flat.vmdk", "{f0f015fa-3190-4066-a003-e89d09254051}", 12_582_912 + 597),
        ("split.vmdk", "{0f50c64f-f1ec-4398-975f-bd910de08534}", 2_293_760),
    ] {
        let base = machine.join(base);
        let snapshot = machine.join(format!("Snapshots/{snapshot}.vmdk"));
        assert_eq!(open(&base).info().stored_size, stored);
        for links in [vec![&base], vec![&snapshot, &base]] {
            let disk = chain(&links, false);
            let info = disk.links()[0].info();
            let uuid = info.uuid.unwrap().to_string();
            let expected = media.lines().find(|line| line.starts_with(&uuid)).expect("the registry has this UUID");
            let fields: Vec<&str> = expected.split(' ').collect();
            assert_eq!(disk.size().to_string(), fields[1], "{uuid}");
            assert_eq!(sha256(&all(&disk)), fields[2], "{uuid}");
        }
        let (parent, link) = (open(&base), open(&snapshot).info().parent.clone().unwrap());
        assert_eq!((link.uuid, link.modification), (parent.info().uuid, parent.info().modification));
    }
    let stream = open(&machine.join("stream.vmdk"));
    assert_eq!((stream.info().variant, stream.info().block_size), (Variant::Stream, 65536));
    let sparse = chain(&[machine.join("sparse.vmdk")], false);
    assert_reads(&chain(&[machine.join("stream.vmdk")], false), &all(&sparse), "stream.vmdk");
}

#[test]
fn disks_by_qemu_have_its_bytes() {
    let directory = tempfile::tempdir().unwrap();
    for (name, options, variant) in [
        ("sparse.vmdk", "subformat=monolithicSparse", Variant::Dynamic),
        ("flat.vmdk", "subformat=monolithicFlat", Variant::Fixed),
        ("split.vmdk", "subformat=twoGbMaxExtentSparse", Variant::Dynamic),
        ("flats.vmdk", "subformat=twoGbMaxExtentFlat", Variant::Fixed),
        ("stream.vmdk", "subformat=streamOptimized", Variant::Stream),
        ("zeroed.vmdk", "subformat=monolithicSparse,zeroed_grain=on", Variant::Dynamic),
    ] {
        let path = qemu_made(directory.path(), name, options);
        let image = open(&path);
        assert_eq!((image.info().format, image.info().variant), (Format::Vmdk, variant), "{name}");
        assert_eq!(image.info().notes, Vec::<String>::new(), "{name}");
        assert_reads(&chain(&[path], false), &pattern(), name);
    }
}

#[test]
fn disks_of_several_files_by_qemu_have_its_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("big.raw");
    let file = fs::File::create(&raw).unwrap();
    file.set_len((5 << 30) + 512).unwrap();
    // Around the positions where extents of 2047 MiB meet, and at the end.
    for at in [0_u64, (2047 << 20) - 300, (2047 << 20) + 70_000, (4094 << 20) - 1, (5 << 30) + 500] {
        file.write_all_at(&[at.to_le_bytes()[0] | 1; 12], at).unwrap();
    }
    for subformat in ["twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        let path = directory.path().join(format!("{subformat}.vmdk"));
        let options = format!("subformat={subformat}");
        qemu_img(&[
            "convert",
            "-f",
            "raw",
            "-O",
            "vmdk",
            "-o",
            &options,
            raw.to_str().unwrap(),
            path.to_str().unwrap(),
        ]);
        let disk = chain(&[&path], false);
        assert_same_file(&disk, &raw, subformat);
        assert_eq!(disk.links()[0].files().len(), 4, "the descriptor and 3 extents");
    }
}

/// Checks an image with QEMU, and that it reads these bytes from it.
fn qemu_agrees(path: &Path, model: &[u8], what: &str) {
    qemu_img(&["check", "-f", "vmdk", path.to_str().unwrap()]);
    let bytes = qemu_bytes(path);
    // VirtualBox makes sparse extents of whole grains, and QEMU shows all that they hold.
    let (disk, rest) = bytes.split_at(model.len());
    assert!(disk == model && rest.iter().all(|byte| *byte == 0), "{what}: QEMU reads other bytes");
}

#[test]
fn qemu_reads_what_is_written_to_its_disks() {
    let directory = tempfile::tempdir().unwrap();
    for (seed, (name, options)) in (21..).zip([
        ("sparse.vmdk", "subformat=monolithicSparse"),
        ("flat.vmdk", "subformat=monolithicFlat"),
        ("split.vmdk", "subformat=twoGbMaxExtentSparse"),
        ("flats.vmdk", "subformat=twoGbMaxExtentFlat"),
        ("zeroed.vmdk", "subformat=monolithicSparse,zeroed_grain=on"),
    ]) {
        let path = qemu_made(directory.path(), name, options);
        let before = open(&path).info().content_id;
        let mut model = pattern();
        for round in 0..3 {
            let disk = chain(&[&path], true);
            scribble(&disk, &mut model, &mut Numbers(seed * 10 + round), 60);
            assert_reads(&disk, &model, name);
            disk.close().unwrap();
            assert_reads(&chain(&[&path], false), &model, name);
            qemu_agrees(&path, &model, name);
        }
        assert_ne!(open(&path).info().content_id, before, "{name}");
    }
}

#[test]
fn qemu_reads_what_is_written_to_a_difference_of_vmwares_kind() {
    let directory = tempfile::tempdir().unwrap();
    for (seed, zeroed) in [(31, "off"), (32, "on")] {
        let base = qemu_made(directory.path(), "base.vmdk", "subformat=monolithicSparse");
        let leaf = directory.path().join("leaf.vmdk");
        let options = format!("zeroed_grain={zeroed}");
        qemu_img(&[
            "create",
            "-q",
            "-f",
            "vmdk",
            "-o",
            &options,
            "-b",
            "base.vmdk",
            "-F",
            "vmdk",
            leaf.to_str().unwrap(),
        ]);
        let link = open(&leaf).info().parent.clone().unwrap();
        assert_eq!(link.hints, ["base.vmdk"]);
        assert_eq!((link.uuid, link.content_id), (None, open(&base).info().content_id));
        let mut model = pattern();
        for round in 0..3 {
            let disk = chain(&[&leaf, &base], true);
            scribble(&disk, &mut model, &mut Numbers(seed * 10 + round), 40);
            disk.close().unwrap();
            assert_reads(&chain(&[&leaf, &base], false), &model, zeroed);
            qemu_agrees(&leaf, &model, zeroed);
        }
        assert_eq!(qemu_bytes(&base), pattern(), "only the leaf is written");
    }
}

/// The files in a directory of the real VirtualBox.
struct VirtualBox {
    reference: lab::Reference,
}

impl VirtualBox {
    fn new(name: &str) -> Option<Self> {
        Some(Self { reference: lab::Reference::new(name)? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.reference.outside().join(name)
    }

    /// Makes a VMDK of a variant with the bytes of [`pattern`].
    fn convert(&self, name: &str, variant: &str) -> PathBuf {
        fs::write(self.path("pattern.raw"), pattern()).unwrap();
        let (from, to) = (self.reference.inside("pattern.raw"), self.reference.inside(name));
        self.reference.run(
            &["VBoxManage", "-q", "convertfromraw", &from, &to, "--format", "VMDK", "--variant", variant].join(" "),
        );
        self.path(name)
    }

    /// The bytes that VirtualBox reads through a chain: from the image's name, with its parents registered.
    fn bytes(&self, name: &str) -> Vec<u8> {
        let out = self.reference.inside("cat.raw");
        self.reference.run(
            &["VBoxManage", "-q", "mediumio", "--disk", &self.reference.inside(name), "cat", "--output", &out]
                .join(" "),
        );
        fs::read(self.path("cat.raw")).unwrap()
    }

    fn manage(&self, args: &[&str]) -> String {
        let mut all = vec!["VBoxManage", "-q"];
        all.extend(args);
        self.reference.run(&all.join(" "))
    }
}

#[test]
fn virtualbox_and_we_read_the_same_and_it_opens_what_is_written() {
    let Some(real) = VirtualBox::new("vmdk-variants") else { return };
    for (seed, (variant, files, writable)) in (41..).zip([
        ("Standard", 1, true),
        ("Fixed", 2, true),
        ("Standard,Split2G", 1, true),
        ("Fixed,Split2G", 2, true),
        ("Stream", 1, false),
        ("Fixed,ESX", 2, true),
    ]) {
        let name = format!("{}.vmdk", variant.replace(',', "-"));
        let path = real.convert(&name, variant);
        let mut model = pattern();
        assert_reads(&chain(&[&path], false), &model, variant);
        assert_eq!(open(&path).files().len(), files, "{variant}");
        assert_eq!(open(&path).info().notes, Vec::<String>::new());
        if !writable {
            let options = OpenOptions { writable: true, ..OpenOptions::default() };
            assert!(image::open(&path, options).unwrap().writer().is_none(), "{variant}");
            continue;
        }
        let before = open(&path).info().clone();
        for round in 0..2 {
            let disk = chain(&[&path], true);
            scribble(&disk, &mut model, &mut Numbers(seed * 10 + round), 60);
            disk.close().unwrap();
            assert_reads(&chain(&[&path], false), &model, variant);
            assert!(real.bytes(&name) == model, "{variant}: VirtualBox reads other bytes");
        }
        let after = open(&path).info().clone();
        let shown = real.manage(&["showmediuminfo", "disk", &real.reference.inside(&name)]);
        assert!(
            shown.contains(&before.uuid.unwrap().to_string()) && shown.contains("State:          created"),
            "{shown}"
        );
        assert_eq!(after.uuid, before.uuid, "{variant}");
        assert_ne!(after.modification, before.modification, "{variant}");
        qemu_agrees(&path, &model, variant);
    }
}

#[test]
fn virtualbox_reads_what_is_written_to_its_differences_and_split_disks() {
    let Some(real) = VirtualBox::new("vmdk-difference") else { return };
    let base = real.convert("base.vmdk", "Standard");
    let inside = |name: &str| real.reference.inside(name);
    real.manage(&[
        "createmedium",
        "disk",
        "--filename",
        &inside("leaf.vmdk"),
        "--diffparent",
        &inside("base.vmdk"),
        "--format",
        "VMDK",
    ]);
    let leaf = real.path("leaf.vmdk");
    let (child, parent) = (open(&leaf), open(&base));
    let link = child.info().parent.clone().unwrap();
    assert_eq!((link.uuid, link.content_id, child.info().variant), (parent.info().uuid, None, Variant::Differencing));
    let mut model = pattern();
    for round in 0..3 {
        let disk = chain(&[&leaf, &base], true);
        scribble(&disk, &mut model, &mut Numbers(510 + round), 60);
        disk.close().unwrap();
        assert_reads(&chain(&[&leaf, &base], false), &model, "difference");
        assert!(real.bytes("leaf.vmdk") == model, "VirtualBox reads other bytes");
    }
    assert!(real.bytes("base.vmdk") == pattern(), "only the leaf is written");

    real.manage(&[
        "createmedium",
        "disk",
        "--filename",
        &inside("split.vmdk"),
        "--size",
        "5000",
        "--format",
        "VMDK",
        "--variant",
        "Split2G",
    ]);
    let split = chain(&[real.path("split.vmdk")], true);
    let raw = fs::File::create(real.path("split.raw")).unwrap();
    raw.set_len(split.size()).unwrap();
    for at in [0_u64, (2047 << 20) - 70_000, (4094 << 20) - 1, split.size() - 100_000] {
        let data = vec![at.to_le_bytes()[1] | 1; 100_000];
        split.write_at(at, &data).unwrap();
        raw.write_all_at(&data, at).unwrap();
    }
    split.close().unwrap();
    drop(split);
    assert_same_file(&chain(&[real.path("split.vmdk")], false), &real.path("split.raw"), "split");
    real.reference.run(
        &[
            "vbox-img",
            "convert",
            "--srcfilename",
            &inside("split.vmdk"),
            "--srcformat",
            "VMDK",
            "--dstfilename",
            &inside("again.vmdk"),
            "--dstformat",
            "VMDK",
        ]
        .join(" "),
    );
    assert_same_file(&chain(&[real.path("again.vmdk")], false), &real.path("split.raw"), "as VirtualBox copied it");
}

/// What the tools say of an image as it is on the disk after a crash.
#[test]
fn at_every_moment_of_a_write_the_image_is_whole_for_virtualbox_and_qemu() {
    let directory = tempfile::tempdir().unwrap();
    let real = lab::Reference::new("vmdk-crash");
    let start = directory.path().join("start.vmdk");
    qemu_img(&["create", "-q", "-f", "vmdk", start.to_str().unwrap(), "100M"]);
    let recorder = Recorder::new(&start);
    let image = image::open::open_file(recorder.clone(), OpenOptions { writable: true, ..OpenOptions::default() });
    let disk = ChainDisk::new(vec![image.unwrap()], Vec::new());
    // Grains of all four tables, in one flush and in several, and some given back.
    for at in [0_u64, 33 << 20, 65 << 20] {
        disk.write_at(at, &[7; 200_000]).unwrap();
    }
    disk.flush().unwrap();
    disk.discard(65 << 20, 1 << 20).unwrap();
    disk.write_at(99 << 20, &[8; 4096]).unwrap();
    disk.flush().unwrap();
    disk.write_at(5 << 20, &[9; 4096]).unwrap();
    disk.close().unwrap();
    let moments = recorder.moments();
    assert!(moments > 15, "{moments} changes");
    for moment in 0..=moments {
        let path = real.as_ref().map_or(directory.path().to_owned(), lab::Reference::outside).join("moment.vmdk");
        recorder.save(moment, &path);
        let ours = all(&chain(&[&path], false));
        qemu_agrees(&path, &ours, &format!("moment {moment}"));
        if let Some(real) = &real {
            assert!(real.bytes("moment.vmdk", "VMDK") == ours, "moment {moment}: VirtualBox reads other bytes");
        }
        let again = chain(&[&path], true);
        again.write_at(12345, &[1; 70_000]).unwrap();
        again.close().unwrap();
        qemu_img(&["check", "-f", "vmdk", path.to_str().unwrap()]);
    }
    assert_eq!(open(&start).info().notes, Vec::<String>::new());
}

#[test]
fn disks_over_2_tib_are_read_and_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("huge.vmdk");
    qemu_img(&["create", "-q", "-f", "vmdk", path.to_str().unwrap(), "3T"]);
    let disk = chain(&[&path], true);
    assert_eq!(disk.size(), 3 << 40);
    for at in [0_u64, (2 << 40) - 5, (3 << 40) - 10] {
        disk.write_at(at, b"0123456789").unwrap();
    }
    disk.close().unwrap();
    let at = |at: u64| {
        let command = format!("read -P 0x30 {at} 1");
        qemu("qemu-io", &["-f", "vmdk", "-r", "-c", &command, path.to_str().unwrap()])
    };
    for position in [0_u64, (2 << 40) - 5, (3 << 40) - 10] {
        let said = at(position);
        assert!(said.contains("read 1/1 bytes") && !said.contains("verification failed"), "{said}");
    }
    qemu_img(&["check", "-f", "vmdk", path.to_str().unwrap()]);
}
