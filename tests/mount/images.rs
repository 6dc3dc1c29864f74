//! Images whose files name others, and what large compressed ones cost.

use crate::scene::{Mount, Scene, is_mounted, is_root, noise, ok, program, run, text};
use crate::support::needs;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::thread;

fn descriptor(head: &str, extents: &[&[u8]]) -> Vec<u8> {
    let head = format!("# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n{head}\n");
    [head.as_bytes(), &extents.join(&b'\n')].concat()
}

fn mount(scene: &Scene, image: &Path, options: &[&str]) -> Output {
    run(program().arg("-i").arg(image).args(options).arg(scene.point()))
}

/// Mounts an image that must be whole and gives the disk's bytes.
fn bytes(scene: &Scene, image: &Path, options: &[&str]) -> Vec<u8> {
    let output = mount(scene, image, options);
    assert!(output.status.success(), "{output:?}");
    let mount = Mount::find(&scene.point());
    let bytes = fs::read(mount.file("vhdd")).unwrap();
    mount.unmount();
    bytes
}

#[test]
fn opens_extents_named_in_the_declared_encoding_or_by_their_bytes() {
    let scene = Scene::new();
    let data = noise(64 << 10, 3);
    let image = scene.directory().join("disk.vmdk");
    for (head, stored, file) in [
        ("encoding=\"windows-1252\"", &b"B\xFCro.img"[..], "Büro.img".as_bytes()),
        ("encoding=\"windows-1252\"", b"B\xFCro.img", b"B\xFCro.img"),
        ("encoding=\"Shift_JIS\"", b"\x95\\\x8E\xA6.img", "表示.img".as_bytes()),
        ("encoding=\"GBK\"", b"C:\\VMs\\\xD0\xE9\xC4\xE2.img", "虚拟.img".as_bytes()),
        ("", "Büro.img".as_bytes(), "Büro.img".as_bytes()),
        ("", b"B\xFCro.img", b"B\xFCro.img"),
        ("encoding=\"IBM437\"", b"B\x81ro.img", b"B\x81ro.img"),
    ] {
        let path = scene.directory().join(OsStr::from_bytes(file));
        fs::write(&path, &data).unwrap();
        fs::write(&image, descriptor(head, &[&[b"RW 128 FLAT \"", stored, b"\" 0\n"].concat()])).unwrap();
        assert_eq!(bytes(&scene, &image, &[]), data, "{head} {}", stored.escape_ascii());
        fs::remove_file(path).unwrap();
        let output = mount(&scene, &image, &[]);
        assert!(!output.status.success() && !is_mounted(&scene.point()), "{output:?}");
    }
}

/// A loop device that is given back.
struct Device(PathBuf);

impl Drop for Device {
    fn drop(&mut self) {
        run(std::process::Command::new("losetup").arg("--detach").arg(&self.0));
    }
}

#[test]
fn reads_a_named_device_only_when_it_is_allowed() {
    needs!(is_root(), "root, for a loop device");
    let scene = Scene::new();
    let data = noise(1 << 20, 7);
    let disk = scene.directory().join("device.img");
    fs::write(&disk, &data).unwrap();
    let device = Device(ok("losetup", &["--find", "--show", "--read-only", text(&disk)]).trim().into());
    let name = text(&device.0);
    let extent = |line: &str| line.replace("DEVICE", name).into_bytes();
    let lines = [
        "RW 0 ZERO",
        "RW 1024 FLAT \"DEVICE\" 0",
        "RW 8 ZERO",
        "NOACCESS 8 FLAT \"gone\" 0",
        "RW 1016 FLAT \"DEVICE\" 1032\n",
    ];
    let lines = lines.map(extent);
    let base = scene.directory().join("base.vmdk");
    fs::write(&base, descriptor("createType=\"partitionedDevice\"", &lines.each_ref().map(Vec::as_slice))).unwrap();
    let snapshot = scene.directory().join("snapshot.vmdk");
    ok("qemu-img", &["create", "-q", "-f", "vmdk", text(&snapshot), &(2056 * 512).to_string()]);
    let mut bytes = fs::read(&snapshot).unwrap();
    let at = bytes.windows(18).position(|window| window == b"parentCID=ffffffff").unwrap();
    let end = at + bytes[at..].iter().position(|byte| *byte == 0).unwrap();
    let rest =
        [b"parentCID=12345678\nparentFileNameHint=\"base.vmdk\"".to_vec(), bytes[at + 18..end].to_vec()].concat();
    bytes[at..at + rest.len()].copy_from_slice(&rest);
    fs::write(&snapshot, bytes).unwrap();

    for image in [&base, &snapshot] {
        for options in [&[][..], &["--allow-device", "/dev/null"], &["--force"]] {
            let output = mount(&scene, image, options);
            let message = String::from_utf8_lossy(&output.stderr);
            let advice = format!("allow it with --allow-device {name}, or give the device itself with -i");
            assert!(output.status.code() == Some(6) && message.contains(&advice), "{message}");
        }
        let output = mount(&scene, image, &["--allow-device", name, "--allow-device", "/dev/null"]);
        assert!(output.status.success(), "{output:?}");
        let mounted = Mount::find(&scene.point());
        let vhdd = fs::File::open(mounted.file("vhdd")).unwrap();
        let read = |at: usize, len: usize| {
            let mut buf = vec![1; len];
            vhdd.read_exact_at(&mut buf, at as u64).map(|()| buf).map_err(|error| error.raw_os_error())
        };
        assert_eq!(read(0, 1024 * 512).unwrap(), data[..1024 * 512]);
        assert_eq!(read(1024 * 512, 4096), Ok(vec![0; 4096]));
        assert_eq!(read(1032 * 512, 4096), Err(Some(5)), "NOACCESS");
        assert_eq!(read(1040 * 512, 1016 * 512).unwrap(), data[1032 * 512..]);
        drop(vhdd);
        mounted.unmount();
    }
    fs::remove_file(&snapshot).unwrap();
    let output = mount(&scene, &base, &["--rw", "--allow-device", name]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("which is only read"), "{output:?}");
}

/// A DMG with chunks of 8 MiB, each full of one byte.
fn dmg(chunks: u8) -> Vec<u8> {
    let sectors = 8_u64 << 11;
    let (mut data, mut entries) = (Vec::new(), Vec::new());
    let mut entry = |kind: u32, numbers: [u64; 4]| {
        entries.extend([kind.to_be_bytes(), [0; 4]].concat());
        entries.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
    };
    for chunk in 0..chunks {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&vec![chunk + 1; 8 << 20]).unwrap();
        let compressed = encoder.finish().unwrap();
        entry(0x8000_0005, [u64::from(chunk) * sectors, sectors, data.len() as u64, compressed.len() as u64]);
        data.extend(compressed);
    }
    let mut table =
        [b"mish\0\0\0\x01".to_vec(), vec![0; 8], (u64::from(chunks) * sectors).to_be_bytes().to_vec()].concat();
    table.resize(200, 0);
    table.extend(u32::from(chunks).to_be_bytes());
    table.extend(entries);
    let table = base64(&table);
    let list = format!(
        "<plist><dict><key>resource-fork</key><dict><key>blkx</key><array><dict><key>Data</key><data>{table}</data>\
         </dict></array></dict></dict></plist>"
    );
    let mut trailer = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| trailer[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"koly\0\0\0\x04\0\0\x02\0");
    put(216, &(data.len() as u64).to_be_bytes());
    put(224, &(list.len() as u64).to_be_bytes());
    [data, list.into_bytes(), trailer].concat()
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn readers_of_a_dmg_share_the_memory_of_its_chunks() {
    const CHUNKS: u8 = 8;
    let scene = Scene::new();
    let image = scene.directory().join("disk.dmg");
    // Its trailer does not state the size either.
    fs::write(&image, dmg(CHUNKS)).unwrap();
    let output = mount(&scene, &image, &[]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("does not state the disk's size"), "{output:?}");
    let mounted = Mount::find(&scene.point());
    let vhdd = fs::File::open(mounted.file("vhdd")).unwrap();
    assert_eq!(vhdd.metadata().unwrap().len(), u64::from(CHUNKS) * (8 << 20));
    thread::scope(|scope| {
        for reader in 0..32_u8 {
            let vhdd = &vhdd;
            scope.spawn(move || {
                for turn in 0..4 {
                    let chunk = (reader + turn * 3) % CHUNKS;
                    let at = u64::from(chunk) * (8 << 20) + u64::from(reader) * (256 << 10) + u64::from(turn) * 4096;
                    let mut buf = [0; 4096];
                    vhdd.read_exact_at(&mut buf, at).unwrap();
                    assert_eq!(buf, [chunk + 1; 4096]);
                }
            });
        }
    });
    let status = fs::read_to_string(format!("/proc/{}/status", mounted.pid)).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 100 << 10, "{peak} KiB");
    drop(vhdd);
    mounted.unmount();
}
