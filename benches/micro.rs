//! Small measurements of single steps, so that a slower commit is seen: `cargo bench --bench micro`. See
//! `benches/README.md` for how to compare two commits.

use divan::{Bencher, counter::BytesCount};
use std::fmt::Write;
use std::fs;
use std::hint::black_box;
use std::io::{Read, Seek, SeekFrom, Write as _};
use std::path::Path;
use vboximg_mount::{Disk, File, Passwords, Registry, View};

fn main() {
    divan::main();
}

const MIB: u64 = 1 << 20;

/// A VDI of a disk of `blocks` MiB, all of whose blocks are there, each behind the last one in the file. Fields are
/// those of VirtualBox's `VDICore.h`.
fn vdi(path: &Path, blocks: u32) {
    let data = MIB + (4 * u64::from(blocks)).next_multiple_of(MIB);
    let mut header = vec![0; usize::try_from(data).unwrap()];
    let mut put =
        |at: usize, number: u64, len: usize| header[at..at + len].copy_from_slice(&number.to_le_bytes()[..len]);
    let fields =
        [(64, 0xBEDA_107F), (68, 0x0001_0001), (72, 400), (76, 1), (340, MIB), (344, data), (360, 512), (376, MIB)];
    fields.iter().for_each(|(at, number)| put(*at, *number, 4));
    put(368, u64::from(blocks) * MIB, 8);
    put(384, blocks.into(), 4);
    put(388, blocks.into(), 4);
    put(392, 0x1234_5678, 8);
    for block in 0..blocks {
        put(usize::try_from(MIB).unwrap() + 4 * usize::try_from(block).unwrap(), (blocks - 1 - block).into(), 4);
    }
    let mut file = fs::File::create(path).unwrap();
    file.write_all(&header).unwrap();
    file.set_len(data + u64::from(blocks) * MIB).unwrap();
}

fn disk(blocks: u32) -> (tempfile::TempDir, File) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.vdi");
    vdi(&path, blocks);
    let file = View::new(Disk::open(&path).unwrap()).unwrap().open("vhdd").unwrap();
    (directory, file)
}

/// The map of an offset that was asked for before. That there is data needs no bytes of the file.
#[divan::bench(min_time = 0.5)]
fn map_known(bencher: Bencher<'_, '_>) {
    let (_directory, disk) = disk(64);
    for block in 0..64 {
        disk.find(block * MIB, true).unwrap();
    }
    let mut at = 0;
    bencher.bench_local(|| {
        at = (at + 17 * MIB + 4096) % (64 * MIB);
        disk.find(black_box(at), true).unwrap()
    });
}

/// The map of offsets so far apart and so many that the cache holds none of them: 1 TiB.
#[divan::bench(min_time = 0.5)]
fn map_new(bencher: Bencher<'_, '_>) {
    let blocks = 1 << 20;
    let (_directory, disk) = disk(blocks);
    let mut at = 0;
    bencher.bench_local(|| {
        at = (at + 521_287 * MIB) % (u64::from(blocks) * MIB);
        disk.find(black_box(at), true).unwrap()
    });
}

/// Reads from a disk whose map is known.
#[divan::bench(args = [4096, 131_072, 1_048_576], min_time = 0.5)]
fn read(bencher: Bencher<'_, '_>, len: usize) {
    let (_directory, mut disk) = disk(64);
    let mut buf = vec![0; len];
    let mut at = 0;
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        at = (at + 17 * MIB + 4096) % (62 * MIB);
        disk.seek(SeekFrom::Start(black_box(at))).unwrap();
        disk.read_exact(&mut buf).unwrap();
    });
}

/// A settings file with this many snapshots, one below the other.
#[divan::bench(args = [1, 100, 5000], min_time = 0.5)]
fn settings(bencher: Bencher<'_, '_>, snapshots: u32) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("big.vbox");
    let text = machine(snapshots);
    fs::write(&path, &text).unwrap();
    bencher
        .counter(BytesCount::of_str(&text))
        .bench(|| Registry::load_from(black_box(&path), Passwords::default()).unwrap());
}

fn machine(snapshots: u32) -> String {
    let uuid = |number: u32| format!("{{{number:08x}-0000-4000-8000-000000000000}}");
    let hardware = |disk: u32| {
        format!(
            r#"<Hardware><Memory RAMSize="1024"/><BIOS><IOAPIC enabled="true"/></BIOS><Network><Adapter slot="0" enabled="true" MACAddress="08002713E4EF" type="82540EM"><NAT localhost-reachable="true"/></Adapter></Network><StorageControllers><StorageController name="SATA" type="AHCI" PortCount="6" useHostIOCache="false" Bootable="true"><AttachedDevice type="HardDisk" hotpluggable="false" port="0" device="0"><Image uuid="{}"/></AttachedDevice></StorageController></StorageControllers></Hardware>
"#,
            uuid(disk)
        )
    };
    let mut text = format!(
        r#"<?xml version="1.0"?>
<VirtualBox xmlns="http://www.virtualbox.org/" version="1.19-linux"><Machine uuid="{}" name="big" OSType="Linux_64" snapshotFolder="Snapshots"><MediaRegistry><HardDisks>
"#,
        uuid(u32::MAX)
    );
    for disk in 0..=snapshots {
        writeln!(text, r#"<HardDisk uuid="{}" location="{disk}.vdi" format="VDI">"#, uuid(disk)).unwrap();
    }
    text += &"</HardDisk>".repeat(usize::try_from(snapshots + 1).unwrap());
    text += "</HardDisks></MediaRegistry>\n";
    for snapshot in 0..snapshots {
        let name = uuid(0x8000_0000 | snapshot);
        write!(text, r#"<Snapshot uuid="{name}" name="s{snapshot}" timeStamp="2026-11-23T13:49:19Z">"#).unwrap();
        text += &hardware(snapshot);
        text += "<Snapshots>";
    }
    text += &"</Snapshots></Snapshot>".repeat(usize::try_from(snapshots).unwrap());
    text + &hardware(snapshots) + "</Machine></VirtualBox>\n"
}
