//! Parallels images by other programs, and ours read by them.

use crate::against::disks::{Numbers, assert_reads, assert_same, assert_sum, chain, open_image as open, scribble};
use crate::against::lab::Reference;
use crate::against::qemu::{self, by_virtualbox, check, create, flat, qemu_io, sample, shared};
use crate::disk::Disk;
use crate::image::{Format, Variant};
use std::fs;
use std::path::{Path, PathBuf};

/// The disk's bytes as QEMU reads them.
fn bytes(path: &Path) -> Vec<u8> {
    flat(path, "parallels", &[])
}

#[test]
fn samples_read_as_qemu_reads_them() {
    let directory = qemu::directory();
    for name in ["qemu-parallels-v1.bz2", "qemu-parallels-v2.bz2"] {
        let Some(path) = sample(directory.path(), name) else { continue };
        assert_same(&path, "parallels");
    }
}

#[test]
fn the_oracle_image_has_its_known_bytes() {
    let directory = qemu::directory();
    let (path, sum) = by_virtualbox(directory.path(), "p.hdd");
    let image = open(&path);
    assert_eq!((image.info().format, image.info().variant), (Format::Parallels, Variant::Dynamic));
    assert_sum(&path, &sum);
}

/// A bundle by Parallels Desktop; the sample's data file is packed.
fn bundle(directory: &Path) -> Option<(PathBuf, PathBuf)> {
    let inside = "dissect-expanding.hdd";
    let data = format!("{inside}/expanding.hdd.0.{{5fbaabe3-6958-40ff-92a7-860e329aab41}}.hds.gz");
    fs::create_dir(directory.join(inside)).unwrap();
    let data = sample(directory, &data)?;
    let name = "DiskDescriptor.xml";
    fs::copy(shared(&format!("samples/{inside}/{name}"))?, directory.join(inside).join(name)).unwrap();
    Some((directory.join(inside), data))
}

#[test]
fn a_bundle_by_parallels_desktop_is_read_and_written() {
    let directory = qemu::directory();
    let Some((bundle, data)) = bundle(directory.path()) else { return };
    let mut model = bytes(&data);
    assert_reads(&chain(&[&bundle], false), &model, "the bundle");
    assert_reads(&chain(&[bundle.join("DiskDescriptor.xml")], false), &model, "its descriptor");
    let ours = chain(&[&bundle], true);
    scribble(&ours, &mut model, &mut Numbers(3), 60);
    ours.close().unwrap();
    assert!(bytes(&data) == model, "QEMU reads other bytes");
}

#[test]
fn images_by_qemu_are_written_and_qemu_finds_them_clean() {
    let directory = qemu::directory();
    for (seed, options, size) in
        [(1, "cluster_size=1M", 20 << 20), (2, "cluster_size=64k", 7 << 20), (3, "cluster_size=4k", 3000 << 10)]
    {
        let path = directory.path().join(format!("{seed}.hdd"));
        create(&path, "parallels", options, size);
        let mut numbers = Numbers(seed);
        let writes: Vec<String> = (1..13).map(|i| format!("write -P {i} {} 70k", numbers.below(2900) * 1024)).collect();
        qemu_io(&path, "parallels", &writes);
        let mut model = bytes(&path);
        assert_reads(&chain(&[&path], false), &model, options);
        for _ in 0..3 {
            let ours = chain(&[&path], true);
            scribble(&ours, &mut model, &mut numbers, 60);
            ours.close().unwrap();
            drop(ours);
            check(&path, "parallels");
            assert!(bytes(&path) == model, "{options}: QEMU reads other bytes");
        }
    }
}

/// A large image of many clusters, all but a few of which were never written.
#[test]
fn a_large_image_costs_no_more_than_its_map() {
    let directory = qemu::directory();
    let path = directory.path().join("large.hdd");
    create(&path, "parallels", "cluster_size=1M", 8 << 40);
    let ours = chain(&[&path], true);
    let end = 8 << 40;
    for at in [0, 5 << 40, end - 100] {
        ours.write_at(at, &[7; 100]).unwrap();
    }
    ours.close().unwrap();
    drop(ours);
    check(&path, "parallels");
    qemu_io(&path, "parallels", &["read -P 7 5497558138880 100".to_owned()]);
    assert!(fs::metadata(&path).unwrap().len() < 64 << 20);
}

/// VirtualBox's clusters have 63 sectors.
#[test]
fn images_by_virtualbox_are_written_and_virtualbox_reads_them() {
    let Some(reference) = Reference::new("parallels") else { return };
    let (name, path) = (reference.inside("a.hdd"), reference.outside().join("a.hdd"));
    reference.run(&format!("vbox-img createbase --filename {name} --size 10000384 --format Parallels"));
    let mut model = vec![0; 10_000_384];
    let mut numbers = Numbers(50);
    for _ in 0..4 {
        let ours = chain(&[&path], true);
        scribble(&ours, &mut model, &mut numbers, 60);
        ours.close().unwrap();
        drop(ours);
        assert_reads(&chain(&[&path], false), &model, "ours");
        assert!(reference.bytes("a.hdd", "Parallels") == model, "VirtualBox reads other bytes");
        assert!(bytes(&path) == model, "QEMU reads other bytes");
        check(&path, "parallels");
    }
}
