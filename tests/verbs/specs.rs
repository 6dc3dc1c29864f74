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
            let path = medium["location"].as_str().unwrap();
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
