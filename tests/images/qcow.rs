//! QCOW images against QEMU: what it makes we read, and what we write it finds whole.

use crate::against::disks::{Numbers, assert_reads, assert_same, assert_sum, open, write_at_random};
use crate::against::qemu::{self, by_virtualbox, check, create, directory, flat, qemu, qemu_io, sample, text};
use crate::disk::Disk;
use crate::image::{self, OpenOptions};
use std::path::Path;

/// Sizes are small, odd and end within a cluster.
const SIZE: u64 = (6 << 20) + 3 * 512;

/// The variants of versions 2 and 3.
const VARIANTS: [&str; 17] = [
    "compat=0.10",
    "compat=0.10,cluster_size=512",
    "compat=0.10,cluster_size=2M",
    "compat=1.1",
    "compat=1.1,cluster_size=512",
    "compat=1.1,cluster_size=4k",
    "compat=1.1,cluster_size=2M",
    "compression_type=zstd",
    "extended_l2=on",
    "extended_l2=on,cluster_size=16k,compression_type=zstd",
    "extended_l2=on,cluster_size=2M",
    "refcount_bits=1",
    "refcount_bits=2,cluster_size=512",
    "refcount_bits=4,cluster_size=1k",
    "refcount_bits=8",
    "refcount_bits=32,cluster_size=512",
    "refcount_bits=64,cluster_size=512,lazy_refcounts=on",
];

fn options_of(variant: &str, more: &str) -> String {
    if more.is_empty() { variant.to_owned() } else { format!("{variant},{more}") }
}

/// Data, zeros, discarded and compressed clusters.
fn fill(path: &Path, variant: &str) {
    let mut commands = vec!["write -P 1 0 200k".to_owned(), "write -P 2 300k 3000".to_owned()];
    // Compressed clusters that share a cluster of the file are too many for a short refcount, with snapshots at least.
    let short = ["data_file", "refcount_bits=2", "refcount_bits=4"].iter().any(|part| variant.contains(part));
    if !short {
        for at in [2, 4] {
            commands.push(format!("write -c -P {at} {at}M 2M"));
        }
    }
    commands.push("write -P 5 3M 70k".to_owned());
    if !variant.contains("0.10") {
        commands.push("write -z 64k 64k".to_owned());
        commands.push("write -z 1M 1M".to_owned());
    }
    commands.push("discard 128k 64k".to_owned());
    commands.push(format!("write -P 9 {} 512", SIZE - 512));
    qemu_io(path, "qcow2", &commands);
}

#[test]
fn every_variant_reads_as_in_qemu() {
    let directory = directory();
    for (number, variant) in VARIANTS.iter().enumerate() {
        let path = directory.path().join(format!("{number}.qcow2"));
        create(&path, "qcow2", variant, SIZE);
        fill(&path, variant);
        assert_same(&path, "qcow2");
    }
}

#[test]
fn every_variant_is_written_as_qemu_wants_it() {
    let directory = directory();
    for (number, variant) in VARIANTS.iter().enumerate() {
        let path = directory.path().join(format!("{number}.qcow2"));
        create(&path, "qcow2", variant, SIZE);
        fill(&path, variant);
        println!("{variant}");
        write_at_random(&path, "qcow2", 40, number as u64);
    }
}

#[test]
fn chains_are_read_and_written_over_their_parents() {
    let directory = directory();
    let base = directory.path().join("base.qcow2");
    create(&base, "qcow2", "", SIZE);
    fill(&base, "");
    let raw = directory.path().join("base.raw");
    std::fs::write(&raw, flat(&base, "qcow2", &[])).unwrap();
    for (number, variant) in VARIANTS.iter().enumerate() {
        for (parent, format) in [("base.qcow2", "qcow2"), ("base.raw", "raw")] {
            let path = directory.path().join(format!("{number}-{format}.qcow2"));
            let options = options_of(variant, &format!("backing_file={parent},backing_fmt={format}"));
            // Larger than its parent.
            create(&path, "qcow2", &options, SIZE + (1 << 20));
            qemu_io(&path, "qcow2", &["write -P 77 500k 300k".to_owned(), "write -P 78 6M 600k".to_owned()]);
            assert_same(&path, "qcow2");
            println!("{options}");
            write_at_random(&path, "qcow2", 40, number as u64);
        }
    }
    check(&base, "qcow2");
}

#[test]
fn the_parent_is_what_the_header_names() {
    let directory = directory();
    let base = directory.path().join("base.raw");
    std::fs::write(&base, vec![7; 1 << 20]).unwrap();
    let path = directory.path().join("a.qcow2");
    create(&path, "qcow2", "backing_file=base.raw,backing_fmt=raw", 1 << 20);
    let info = image::identify(&path, crate::storage::local::Devices::Refused).unwrap();
    let parent = info.parent.unwrap();
    assert_eq!((parent.hints, parent.format.as_deref()), (vec!["base.raw".to_owned()], Some("raw")));
    qemu("qemu-img", &["rebase", "-u", "-f", "qcow2", "-F", "raw", "-b", "nbd://host/disk", text(&path)]);
    let error = image::identify(&path, crate::storage::local::Devices::Refused).unwrap_err().to_string();
    assert!(error.contains("expected the name of a local file, found nbd://host/disk"), "{error}");
}

#[test]
fn external_data_files_are_read_and_written() {
    let directory = directory();
    for (number, variant) in
        ["data_file=D", "data_file=D,data_file_raw=on", "data_file=D,extended_l2=on", "data_file=D,cluster_size=4k"]
            .iter()
            .enumerate()
    {
        let path = directory.path().join(format!("{number}.qcow2"));
        let data = directory.path().join(format!("{number}.data"));
        create(&path, "qcow2", &variant.replace("=D", &format!("={}", text(&data))), SIZE);
        fill(&path, variant);
        assert_same(&path, "qcow2");
        write_at_random(&path, "qcow2", 40, number as u64);
        if variant.contains("raw") {
            // QEMU rounds its length up to a cluster.
            let bytes = std::fs::read(&data).unwrap();
            assert!(bytes.starts_with(&flat(&path, "qcow2", &[])), "the data file is a raw image");
        }
    }
}

#[test]
fn a_data_file_elsewhere_is_refused() {
    let directory = directory();
    let elsewhere = qemu::directory();
    let path = directory.path().join("a.qcow2");
    let data = elsewhere.path().join("secret");
    create(&path, "qcow2", &format!("data_file={}", text(&data)), SIZE);
    let error = image::open(&path, OpenOptions::default()).err().unwrap().to_string();
    assert!(error.contains(&format!("--allow-file {}", text(&data))), "{error}");
    let allowed = crate::storage::Allowed::new(&[&data]).unwrap();
    image::open(&path, OpenOptions { allowed, ..OpenOptions::default() }).unwrap();
}

/// Internal snapshots share clusters with the current state, which must be copied before they change.
#[test]
fn internal_snapshots_stay_as_they_are() {
    let directory = directory();
    for (number, variant) in VARIANTS.iter().enumerate() {
        if variant.contains("refcount_bits=1") {
            continue;
        }
        let path = directory.path().join(format!("{number}.qcow2"));
        create(&path, "qcow2", variant, SIZE);
        fill(&path, variant);
        qemu("qemu-img", &["snapshot", "-c", "first", text(&path)]);
        let first = flat(&path, "qcow2", &[]);
        qemu_io(&path, "qcow2", &["write -P 200 100k 3M".to_owned()]);
        qemu("qemu-img", &["snapshot", "-c", "second one", text(&path)]);
        let second = flat(&path, "qcow2", &[]);
        println!("{variant}");
        write_at_random(&path, "qcow2", 40, number as u64);
        for (name, expected) in [("first", &first), ("second one", &second), ("2", &second)] {
            let options = OpenOptions { snapshot: Some(name.to_owned()), ..OpenOptions::default() };
            assert_reads(&open(&path, options), expected, name);
            if name != "2" {
                assert!(flat(&path, "qcow2", &["-l", &format!("snapshot.name={name}")]) == *expected, "{name} in QEMU");
            }
        }
        let image = image::open(&path, OpenOptions::default()).unwrap();
        assert!(image.info().details.contains("\"second one\" (id 2)"), "{}", image.info().details);
    }
}

#[test]
fn snapshots_that_are_not_there_or_would_be_written_are_refused() {
    let directory = directory();
    let path = directory.path().join("a.qcow2");
    create(&path, "qcow2", "", SIZE);
    let message = |name: &str, writable| {
        let options = OpenOptions { snapshot: Some(name.to_owned()), writable, ..OpenOptions::default() };
        image::open(&path, options).err().unwrap().to_string()
    };
    assert!(message("x", false).contains("it has no internal snapshots"), "{}", message("x", false));
    for _ in 0..2 {
        qemu("qemu-img", &["snapshot", "-c", "twice", text(&path)]);
    }
    assert!(message("x", false).contains("it has \"twice\" (id 1), \"twice\" (id 2)"), "{}", message("x", false));
    assert!(message("twice", false).contains("more than one internal snapshot"), "{}", message("twice", false));
    assert!(message("1", true).contains("can only be read"), "{}", message("1", true));
}

/// The refcount table of one cluster is for 8 MiB here, and must move to grow.
#[test]
fn the_refcount_table_grows() {
    let directory = directory();
    for bits in [16, 64] {
        let path = directory.path().join(format!("{bits}.qcow2"));
        let size = 40 << 20;
        create(&path, "qcow2", &format!("cluster_size=512,refcount_bits={bits}"), size);
        let disk = open(&path, OpenOptions { writable: true, ..OpenOptions::default() });
        let chunk: Vec<u8> = (0..1_u32 << 20).map(|i| u8::try_from(i % 251).unwrap()).collect();
        for mib in 0..size >> 20 {
            disk.write_at(mib << 20, &chunk).unwrap();
        }
        disk.close().unwrap();
        check(&path, "qcow2");
        assert!(flat(&path, "qcow2", &[]) == chunk.repeat(usize::try_from(size >> 20).unwrap()));
    }
}

#[test]
fn discarded_clusters_are_used_again() {
    let directory = directory();
    let path = directory.path().join("a.qcow2");
    create(&path, "qcow2", "", 64 << 20);
    let disk = open(&path, OpenOptions { writable: true, ..OpenOptions::default() });
    for round in 1..=20 {
        disk.write_at(u64::from(round) << 20, &vec![round; 8 << 20]).unwrap();
        disk.flush().unwrap();
        disk.discard(0, 64 << 20).unwrap();
        disk.flush().unwrap();
    }
    disk.close().unwrap();
    check(&path, "qcow2");
    assert!(std::fs::metadata(&path).unwrap().len() < 20 << 20);
}

#[test]
fn bitmaps_of_changes_are_given_up_with_the_first_write() {
    let directory = directory();
    let path = directory.path().join("a.qcow2");
    create(&path, "qcow2", "", SIZE);
    qemu("qemu-img", &["bitmap", "--add", text(&path), "changes"]);
    let autoclear = || std::fs::read(&path).unwrap()[95];
    let disk = open(&path, OpenOptions { writable: true, ..OpenOptions::default() });
    assert_eq!(autoclear(), 1, "opening changes nothing");
    disk.write_at(0, &[1]).unwrap();
    assert_eq!(autoclear(), 0);
    disk.close().unwrap();
    qemu("qemu-io", &["-f", "qcow2", "-r", "-c", "read -P 1 0 1", text(&path)]);
}

#[test]
fn an_image_with_wrong_refcounts_is_read_and_not_written() {
    let directory = directory();
    let path = directory.path().join("a.qcow2");
    create(&path, "qcow2", "lazy_refcounts=on", SIZE);
    fill(&path, "");
    let expected = flat(&path, "qcow2", &[]);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[79] |= 1;
    std::fs::write(&path, bytes).unwrap();
    let disk = open(&path, OpenOptions::default());
    assert_reads(&disk, &expected, "dirty");
    assert!(disk.links()[0].info().notes[0].contains("not closed cleanly"));
    let error = image::open(&path, OpenOptions { writable: true, ..OpenOptions::default() }).err().unwrap();
    assert!(error.to_string().contains("run qemu-img check -r all"), "{error}");
    qemu("qemu-img", &["check", "-r", "all", text(&path)]);
    write_at_random(&path, "qcow2", 20, 1);
}

#[test]
fn version_1_is_read_and_written() {
    let directory = directory();
    let base = directory.path().join("base.raw");
    std::fs::write(&base, vec![0x42; 3 << 20]).unwrap();
    for (number, options) in ["", "backing_file=base.raw,backing_fmt=raw"].iter().enumerate() {
        let path = directory.path().join(format!("{number}.qcow"));
        create(&path, "qcow", options, SIZE);
        let commands = ["write -P 1 0 200k", "write -P 2 300k 3000", "write -P 9 4M 100k"].map(str::to_owned);
        qemu_io(&path, "qcow", &commands);
        let cluster = if options.is_empty() { 4096 } else { 512 };
        let compressed = [0, 1, 5].map(|n| format!("write -c -P {} {} {cluster}", n + 3, (2 << 20) + n * cluster));
        qemu_io(&path, "qcow", &compressed);
        assert_same(&path, "qcow");
        assert_v1_writes(&path);
    }
}

/// `qemu-img check` knows nothing of version 1, so only the bytes are compared.
fn assert_v1_writes(path: &Path) {
    let mut model = flat(path, "qcow", &[]);
    let disk = open(path, OpenOptions { writable: true, ..OpenOptions::default() });
    let mut numbers = Numbers(5);
    for round in 0..100_u8 {
        let start = numbers.below(model.len());
        let end = model.len().min(start + 1 + numbers.below(60_000));
        if round % 5 == 0 {
            disk.discard(start as u64, (end - start) as u64).unwrap();
            model[start..end].fill(0);
        } else {
            disk.write_at(start as u64, &vec![round; end - start]).unwrap();
            model[start..end].fill(round);
        }
    }
    disk.close().unwrap();
    assert!(flat(path, "qcow", &[]) == model, "{}", path.display());
    assert_reads(&open(path, OpenOptions::default()), &model, "version 1");
}

#[test]
fn encrypted_images_are_refused_by_name() {
    let directory = directory();
    let path = directory.path().join("a.qcow2");
    let secret = "secret,id=s,data=abc123";
    qemu(
        "qemu-img",
        &[
            "create",
            "-q",
            "--object",
            secret,
            "-f",
            "qcow2",
            "-o",
            "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
            text(&path),
            "4M",
        ],
    );
    let error = image::open(&path, OpenOptions::default()).err().unwrap().to_string();
    assert!(error.contains("expected an image without encryption, found LUKS"), "{error}");
}

#[test]
fn converted_images_with_everything_compressed_are_read_and_rewritten() {
    let directory = directory();
    let raw = directory.path().join("a.raw");
    let mut numbers = Numbers(3);
    let bytes: Vec<u8> =
        (0..3 << 20).map(|i| if i % 7 < 3 { u8::try_from(numbers.below(16)).unwrap() } else { 0 }).collect();
    std::fs::write(&raw, &bytes).unwrap();
    for options in
        ["compression_type=zlib", "compression_type=zstd", "cluster_size=512", "extended_l2=on,compression_type=zstd"]
    {
        let path = directory.path().join("a.qcow2");
        qemu("qemu-img", &["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, text(&raw), text(&path)]);
        assert_reads(&open(&path, OpenOptions::default()), &bytes, options);
        write_at_random(&path, "qcow2", 40, 11);
    }
    let path = directory.path().join("a.qcow");
    // QEMU writes this image whole, and yet ends with an error that it says nothing on.
    let args = ["convert", "-c", "-f", "raw", "-O", "qcow", text(&raw), text(&path)];
    std::process::Command::new("qemu-img").args(args).status().unwrap();
    assert!(flat(&path, "qcow", &[]) == bytes);
    assert_reads(&open(&path, OpenOptions::default()), &bytes, "qcow");
    assert_v1_writes(&path);
}

#[test]
fn samples_of_other_programs_read_as_in_qemu() {
    let directory = directory();
    if let Some(path) = sample(directory.path(), "dissect-basic.qcow2.gz") {
        assert_same(&path, "qcow2");
    }
}

#[test]
fn an_image_by_virtualbox_is_read() {
    let directory = directory();
    let (path, sum) = by_virtualbox(directory.path(), "q.qcow");
    assert_sum(&path, &sum);
    assert_same(&path, "qcow");
    assert_v1_writes(&path);
}
