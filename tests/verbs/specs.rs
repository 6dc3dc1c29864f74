//! Chain specs, held against what the same disks give without one. What they print is in the goldens.

use crate::common::Fixture;
use crate::support::{sh, sha256};
use crate::text;
use std::process::Output;

const TREE: &str = "home/Machines/alpine tree/alpine tree.vdi";

fn run(registry: &Fixture, words: &[&str]) -> Output {
    registry.program().args(words).current_dir(registry.root()).output().unwrap()
}

fn bytes(registry: &Fixture, spec: &str, path: &str) -> Vec<u8> {
    let done = run(registry, &["cat", "-i", &format!(":iprtvfs:{spec}"), path]);
    assert!(done.status.success() && done.stderr.is_empty(), "{spec}: {}", text(&done.stderr));
    done.stdout
}

#[test]
fn each_provider_gives_the_same_bytes_as_without_a_spec() {
    let registry = Fixture::registry();
    let plain = |path: &str| run(&registry, &["cat", "-i", TREE, path]).stdout;
    let (disk, volume) = (plain("vhdd"), plain("vol1"));
    assert!(bytes(&registry, &format!("file(vd,{TREE},ro)"), "vhdd") == disk);
    assert!(bytes(&registry, &format!("file(vd,{TREE})|vfs(dvm,ro)"), "vol1") == volume);
    let inner = format!("file(vd,{TREE})|vfs(dvm)|file(open,vol1)");
    assert!(bytes(&registry, &inner, "vhdd") == volume);
    // A disk in a file of the guest, with the guest's file system below it.
    let file = bytes(&registry, &format!("{inner}|dir(mount)|file(open,/etc/hostname)"), "vhdd");
    assert!(file == plain("fs1/etc/hostname") && !file.is_empty());

    // Compressed, in several members, and after that as a file of a file system.
    std::fs::write(registry.root().join("disk"), &disk).unwrap();
    let script = "cd $1; head -c 9000000 disk | gzip -1 > disk.gz; tail -c +9000001 disk | gzip -n >> disk.gz
                  mkdir src; cp disk.gz src; genisoimage -quiet -R -o disc.iso src 2>/dev/null; gzip -k disc.iso";
    sh(registry.root(), script);
    assert!(bytes(&registry, "ios(stdfile,disk.gz)|ios(gunzip)", "vhdd") == disk);
    assert!(bytes(&registry, "ios(stdfile,disk.gz,r)|file(gunzip)|vfs(dvm)", "vol1") == volume);
    let nested = "file(stdfile,disc.iso.gz)|ios(gunzip)|vfs(isofs)|file(open,disk.gz)|ios(gunzip)|vfs(dvm)|vol1";
    assert_eq!(sha256(&bytes(&registry, nested, "vhdd")), sha256(&volume));
}

#[test]
fn every_image_of_a_chain_may_be_named_and_must_be_the_right_one() {
    let registry = Fixture::registry();
    let list = text(&run(&registry, &["-l", "--json"]).stdout);
    let report: serde_json::Value = serde_json::from_str(&list).unwrap();
    let media = report["media"].as_array().unwrap();
    let find = |uuid: &str| media.iter().find(|medium| medium["uuid"] == uuid).unwrap();
    let mut links = vec![find(crate::LEAF)];
    while let Some(parent) = links.last().unwrap()["parent"].as_str() {
        links.push(find(parent));
    }
    assert!(links.len() >= 3);
    // They are copied to directories of their own, where no header's hint leads.
    let escaped = |path: &str| path.replace(['{', '}'], "");
    let paths: Vec<String> = links
        .iter()
        .rev()
        .enumerate()
        .map(|(at, medium)| {
            let path = medium["path"].as_str().unwrap();
            let to = registry.root().join(format!("copy/{at}"));
            std::fs::create_dir_all(&to).unwrap();
            let to = to.join(escaped(path.rsplit('/').next().unwrap()));
            std::fs::copy(path, &to).unwrap();
            to.to_str().unwrap().to_owned()
        })
        .collect();
    let spec = |paths: &[&String]| {
        let names: Vec<&str> = paths.iter().map(|path| path.as_str()).collect();
        format!("file(vd,{},ro)", names.join(","))
    };
    let all: Vec<&String> = paths.iter().collect();
    let expected = run(&registry, &["cat", "-i", crate::LEAF, "vhdd"]).stdout;
    assert!(bytes(&registry, &spec(&all), "vhdd") == expected);
    let failure = |paths: &[&String]| {
        let done = run(&registry, &["ls", "-i", &format!(":iprtvfs:{}", spec(paths))]);
        assert!(!done.status.success(), "{done:?}");
        text(&done.stderr)
    };
    // One is missing, or the order is wrong: never zeros in its place.
    assert!(failure(&[all[0], all[2]]).contains("is not the image it should be"));
    assert!(failure(&[all[1], all[0]]).contains("at character 10, "));
}

/// Mounts; unmounts when it is dropped.
struct Mount<'a>(&'a Fixture);

impl Mount<'_> {
    fn new<'a>(registry: &'a Fixture, options: &[&str]) -> Mount<'a> {
        let done = run(registry, &[options, &["mnt"]].concat());
        assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
        Mount(registry)
    }

    fn unmount(self) {
        let done = run(self.0, &["-u", "mnt"]);
        assert!(done.status.success(), "{done:?}");
        std::mem::forget(self);
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        run(self.0, &["-u", "mnt"]);
    }
}

fn listed(registry: &Fixture) -> Vec<String> {
    let names = std::fs::read_dir(registry.root().join("mnt")).unwrap();
    let mut names: Vec<String> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_mount_shows_what_the_spec_ends_in_and_writes_where_it_is_a_disk() {
    let _alone = crate::alone();
    let registry = Fixture::registry();
    std::fs::create_dir(registry.root().join("mnt")).unwrap();
    let volume = |image: &str| format!(":iprtvfs:file(vd,{image})|vfs(dvm)|file(open,vol1)");
    let mount = Mount::new(&registry, &["-i", &(volume(TREE) + "|dir(mount,ro)")]);
    assert_eq!(listed(&registry), ["fs0"]);
    assert_eq!(std::fs::read_to_string(registry.root().join("mnt/fs0/etc/hostname")).unwrap(), "lab\n");
    mount.unmount();

    // A disk that nothing depends on.
    std::fs::create_dir(registry.root().join("alone")).unwrap();
    sh(registry.root(), &format!("cp \"$1/{TREE}\" $1/alone/disk.vdi"));
    let set_uuid = "printf '\\x11\\x22\\x33\\x44' | dd of=$1/alone/disk.vdi bs=1 seek=392 conv=notrunc status=none";
    sh(registry.root(), set_uuid);
    let before = run(&registry, &["cat", "-i", "alone/disk.vdi", "vhdd"]).stdout;
    let start = usize::try_from(3_145_728).unwrap();
    let mount = Mount::new(&registry, &["--rw", "-i", &volume("alone/disk.vdi")]);
    assert_eq!(listed(&registry), ["disk.vdi", "vhdd"]);
    // It is locked as ever.
    let locked = run(&registry, &["ls", "-i", &volume("alone/disk.vdi")]);
    assert_eq!(locked.status.code(), Some(7), "{locked:?}");
    let vhdd = std::fs::OpenOptions::new().write(true).open(registry.root().join("mnt/vhdd")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&vhdd, b"written through a spec", 100).unwrap();
    drop(vhdd);
    mount.unmount();
    let after = run(&registry, &["cat", "-i", "alone/disk.vdi", "vhdd"]).stdout;
    let mut expected = before;
    expected[start + 100..start + 122].copy_from_slice(b"written through a spec");
    assert!(after == expected);
}
