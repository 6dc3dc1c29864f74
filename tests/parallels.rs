//! Parallels images by other programs, and ours read by them.

mod lab;

use lab::{Random, Reference, all, assert_same, disk, open, oracle, run, sample, scribble, sha256, shared};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use vboximg_mount::disk::Disk;
use vboximg_mount::image::{Format, Variant};

/// The disk's bytes as QEMU reads them.
fn qemu(path: &Path) -> Vec<u8> {
    let raw = path.with_extension("flat");
    let args = ["convert", "-f", "parallels", "-O", "raw"].map(OsStr::new);
    run("qemu-img", &[&args[..], &[path.as_os_str(), raw.as_os_str()]].concat());
    fs::read(raw).unwrap()
}

fn qemu_check(path: &Path) {
    let args = ["check", "-q", "-f", "parallels"].map(OsStr::new);
    run("qemu-img", &[&args[..], &[path.as_os_str()]].concat());
}

/// Makes an image with `qemu-img create`.
fn create(path: &Path, options: &str, size: &str) {
    let args = ["create", "-q", "-f", "parallels", "-o", options].map(OsStr::new);
    run("qemu-img", &[&args[..], &[path.as_os_str(), OsStr::new(size)]].concat());
}

#[test]
fn samples_read_as_qemu_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["qemu-parallels-v1.bz2", "qemu-parallels-v2.bz2"] {
        let Some(path) = sample(folder.path(), name) else { return };
        assert_same(&disk(&[&path], false), &qemu(&path), name);
    }
}

#[test]
fn the_oracle_image_has_its_known_bytes() {
    let folder = tempfile::tempdir().unwrap();
    if !oracle(folder.path(), &["home/Machines/odd formats/p.hdd", "expected/media.tsv"]) {
        return;
    }
    let path = folder.path().join("home/Machines/odd formats/p.hdd");
    let media = fs::read_to_string(folder.path().join("expected/media.tsv")).unwrap();
    // The medium's UUID in the registry; Parallels images carry none.
    let row = media.lines().find(|line| line.starts_with("8694b3ae-6d2a-4495-8d41-a4b75ed31f9a")).unwrap();
    let image = open(&path);
    assert_eq!((image.info().format, image.info().variant), (Format::Parallels, Variant::Dynamic));
    assert_eq!(sha256(&all(&disk(&[&path], false))), row.split_whitespace().nth(2).unwrap());
}

/// A bundle by Parallels Desktop; the sample's data file is packed.
fn bundle(folder: &Path) -> Option<(PathBuf, PathBuf)> {
    let inside = "dissect-expanding.hdd";
    let data = format!("{inside}/expanding.hdd.0.{{5fbaabe3-6958-40ff-92a7-860e329aab41}}.hds.gz");
    fs::create_dir(folder.join(inside)).unwrap();
    let data = sample(folder, &data)?;
    let name = "DiskDescriptor.xml";
    fs::copy(shared().join("samples").join(inside).join(name), folder.join(inside).join(name)).unwrap();
    Some((folder.join(inside), data))
}

#[test]
fn a_bundle_by_parallels_desktop_is_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let Some((bundle, data)) = bundle(folder.path()) else { return };
    let mut model = qemu(&data);
    assert_same(&disk(&[&bundle], false), &model, "the bundle");
    assert_same(&disk(&[bundle.join("DiskDescriptor.xml")], false), &model, "its descriptor");
    let ours = disk(&[&bundle], true);
    scribble(&ours, &mut model, 3, 60);
    ours.close().unwrap();
    assert!(qemu(&data) == model, "QEMU reads other bytes");
}

#[test]
fn images_by_qemu_are_written_and_qemu_finds_them_clean() {
    let folder = tempfile::tempdir().unwrap();
    for (seed, options, size) in
        [(1, "cluster_size=1M", "20M"), (2, "cluster_size=64k", "7M"), (3, "cluster_size=4k", "3000k")]
    {
        let path = folder.path().join(format!("{seed}.hdd"));
        create(&path, options, size);
        let mut args: Vec<String> = ["-f", "parallels"].map(String::from).to_vec();
        let mut random = Random(seed);
        for i in 0..12 {
            let at = random.below(2900) * 1024;
            args.extend(["-c".to_owned(), format!("write -P {} {at} 70k", i + 1)]);
        }
        let mut args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        args.push(path.as_os_str());
        run("qemu-io", &args);
        let mut model = qemu(&path);
        assert_same(&disk(&[&path], false), &model, options);
        for round in 0..3 {
            let ours = disk(&[&path], true);
            scribble(&ours, &mut model, seed * 100 + round, 60);
            ours.close().unwrap();
            drop(ours);
            qemu_check(&path);
            assert!(qemu(&path) == model, "{options}: QEMU reads other bytes");
        }
    }
}

/// A large image of many clusters, all but a few of which were never written.
#[test]
fn a_large_image_costs_no_more_than_its_map() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.hdd");
    create(&path, "cluster_size=1M", "8T");
    let ours = disk(&[&path], true);
    let end = 8 << 40;
    for at in [0, 5 << 40, end - 100] {
        ours.write_at(at, &[7; 100]).unwrap();
    }
    ours.close().unwrap();
    drop(ours);
    qemu_check(&path);
    let args = ["-r", "-f", "parallels", "-c", "read -P 7 5497558138880 100"].map(OsStr::new);
    run("qemu-io", &[&args[..], &[path.as_os_str()]].concat());
    assert!(fs::metadata(&path).unwrap().len() < 64 << 20);
}

/// VirtualBox's clusters have 63 sectors.
#[test]
fn images_by_virtualbox_are_written_and_virtualbox_reads_them() {
    let Some(reference) = Reference::new("parallels") else { return };
    let (name, path) = (reference.inside("a.hdd"), reference.outside().join("a.hdd"));
    reference.run(&["vbox-img", "createbase", "--filename", &name, "--size", "10000384", "--format", "Parallels"]);
    let mut model = vec![0; 10_000_384];
    for round in 0..4 {
        let ours = disk(&[&path], true);
        scribble(&ours, &mut model, 50 + round, 60);
        ours.close().unwrap();
        drop(ours);
        assert_same(&disk(&[&path], false), &model, "ours");
        assert!(reference.bytes("a.hdd", "Parallels") == model, "VirtualBox reads other bytes");
        assert!(qemu(&path) == model, "QEMU reads other bytes");
        qemu_check(&path);
    }
}
