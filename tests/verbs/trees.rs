//! Trees of every file system that somebody else here can read too, copied with `cp -rp` and held against what that one
//! shows: the kernel, ntfs-3g, exfat-fuse, or the tree that it was made from.

use crate::common::Fixture;
use crate::mounted::Mounted;
use crate::support::sh;
use crate::tree::{Walk, assert_same, kernel};
use crate::{output_of, text, without_fuse};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

fn cp(image: &Path, out: &Path) -> Output {
    fs::create_dir_all(out).unwrap();
    without_fuse(image, "cp", &["-rp", "fs0", out.to_str().unwrap()])
}

/// A copy of everything, which must succeed without a word.
fn copied(directory: &TempDir, image: &str) -> Walk {
    let out = directory.path().join("out");
    output_of(&cp(&directory.path().join(image), &out));
    kernel(&out.join("fs0"))
}

/// A tree without what the other side does not know: words that begin so. Times end at their fraction if it is too
/// fine.
fn without(walk: Walk, unknown: &[&str], step: Option<i64>) -> Walk {
    let comparable = |text: String| {
        let words = text.split(' ').filter(|word| !unknown.iter().any(|prefix| word.starts_with(prefix)));
        let words = words.map(|word| match (word.strip_prefix("mtime=").zip(step), word.strip_prefix("mode=")) {
            (Some((time, step)), _) => {
                let seconds: i64 = time.split('.').next().unwrap().parse().unwrap();
                format!("mtime={}", seconds.div_euclid(step) * step)
            }
            // The kind of the file only.
            (_, Some(mode)) if unknown.contains(&"uid=") => format!("mode={}", &mode[..mode.len() - 4]),
            _ => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    };
    walk.into_iter().map(|(name, text)| (name, comparable(text))).collect()
}

/// What a mount by another program shows.
fn mounted(directory: &TempDir, mount: &str) -> Walk {
    sh(directory.path(), &format!("cd $1; mkdir -p m; {mount} image m"));
    let theirs = kernel(&directory.path().join("m"));
    sh(directory.path(), "umount $1/m");
    theirs
}

const MADE_UP: [&str; 4] = ["uid=", "gid=", "links=", "ctime="];

/// Files that every file system can have.
const PLAIN: &str = r#"
mkdir -p many deep/a/b/c/d 'naïve ☃' emptydir; for i in $(seq 1 500); do echo $i > many/file-$i; done
head -c 3000000 /dev/urandom > data; : > empty; printf 'tiny' > tiny; echo x > 'naïve ☃/ein ß.txt'
echo leaf > deep/a/b/c/d/leaf; touch -d '1999-12-31 23:59:58' data many; touch -d '2030-01-01 00:00:02' tiny
"#;

/// Links, owners, modes and sparse files.
const POSIX: &str = r#"
echo 7 > seven; chown 12345:54321 seven; chmod 4751 seven; ln seven hard; ln -s ../seven deep/up; ln -s /etc/passwd absolute
ln -s "$(printf 'x%.0s' $(seq 200))" long; chmod 1777 emptydir; chmod 0 tiny; touch -hd '2001-01-01' long
"#;

#[test]
fn squashfs_is_copied_as_the_kernel_shows_it() {
    let _alone = crate::alone();
    let directory = tempfile::tempdir().unwrap();
    let source = Mounted { directory: tempfile::tempdir().unwrap() };
    sh(source.directory.path(), "mkdir $1/m");
    source.fill();
    sh(directory.path(), &format!("cd $1; mksquashfs {} image -quiet -no-progress", source.path("m").display()));
    let theirs = without(mounted(&directory, "mount -o loop,ro"), &["ctime="], None);
    assert_same("squashfs", &theirs, &without(copied(&directory, "image"), &["ctime="], None));
    let sparse = fs::metadata(directory.path().join("out/fs0/sparse")).unwrap();
    assert!(sparse.blocks() * 512 < 2 << 20 && sparse.size() > 20 << 20, "{sparse:?}");
}

#[test]
fn ntfs_is_copied_as_ntfs_3g_shows_it() {
    let _alone = crate::alone();
    let directory = tempfile::tempdir().unwrap();
    let fill = format!(
        "cd $1; truncate -s 80M image; mkfs.ntfs -q -F -Q image >/dev/null; mkdir m
         ntfs-3g -o compression,streams_interface=xattr,special_files=wsl image m; cd m
         {PLAIN} ln data hard; ln -s ../data deep/up; ln -s /etc/passwd absolute; setfattr -n user.stream -v five tiny
         truncate -s 20M sparse; echo end >> sparse; mkdir compressed; setfattr -h -v 0x00000810 -n system.ntfs_attrib_be compressed
         seq 1 90000 > compressed/text; touch -d '1999-12-31 23:59:59.1234567' hard; cd ..; umount m"
    );
    sh(directory.path(), &fill);
    let unknown = ["uid=", "gid=", "ctime="];
    let theirs = without(mounted(&directory, "ntfs-3g -o ro,streams_interface=xattr"), &unknown, None);
    let ours = copied(&directory, "image").into_iter();
    let ours = ours.map(|(name, text)| (name, text.replace("user.stream.", "user."))).collect();
    assert_same("NTFS", &theirs, &without(ours, &unknown, None));
    let sparse = fs::metadata(directory.path().join("out/fs0/sparse")).unwrap();
    assert!(sparse.blocks() * 512 < 1 << 20 && sparse.size() > 20 << 20, "{sparse:?}");
}

#[test]
fn exfat_is_copied_as_exfat_fuse_shows_it() {
    let _alone = crate::alone();
    let directory = tempfile::tempdir().unwrap();
    let fill = format!(
        "cd $1; truncate -s 60M image; mkfs.exfat image >/dev/null; mkdir m; mount -t exfat-fuse -o loop image m; cd m
         {PLAIN} cd ..; umount m"
    );
    sh(directory.path(), &fill);
    let theirs = without(mounted(&directory, "mount -t exfat-fuse -o loop,ro"), &MADE_UP, Some(2));
    assert_same("exFAT", &theirs, &without(copied(&directory, "image"), &MADE_UP, Some(2)));
}

#[test]
fn fat_is_copied_as_it_was_filled() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, size) in [(12, "8M"), (16, "60M"), (32, "80M")] {
        let fill = format!(
            "cd $1; rm -rf src out image; mkdir src; cd src; {PLAIN} cd ..; truncate -s {size} image
             mkfs.fat -F {kind} image >/dev/null; mcopy -i image -s -m -Q src/* ::/"
        );
        sh(directory.path(), &fill);
        // mcopy sets the times of files only.
        let files = |walk: Walk| -> Walk {
            let plain = |(name, text): (String, String)| match text.starts_with("mode=4") {
                true => (name, "directory".to_owned()),
                false => (name, text),
            };
            without(walk, &MADE_UP, Some(2)).into_iter().map(plain).collect()
        };
        let theirs = files(kernel(&directory.path().join("src")));
        assert_same(&format!("FAT{kind}"), &theirs, &files(copied(&directory, "image")));
    }
}

#[test]
fn iso_9660_is_copied_as_it_was_filled() {
    let directory = tempfile::tempdir().unwrap();
    sh(
        directory.path(),
        &format!(
            "cd $1; mkdir src; cd src; {PLAIN}{POSIX} mkfifo pipe; mknod device b 8 1; cd ..
             xorriso -as mkisofs -quiet --hardlinks -R -V LAB -o image src 2>/dev/null"
        ),
    );
    // Linux does not see either that two names are one file: each record is a file of its own.
    let unknown = ["ctime=", "links="];
    let theirs = without(kernel(&directory.path().join("src")), &unknown, Some(1));
    assert_same("ISO 9660", &theirs, &without(copied(&directory, "image"), &unknown, Some(1)));
}

#[test]
fn udf_is_copied_as_linux_recorded_it() {
    let directory = tempfile::tempdir().unwrap();
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/udf/images.tar.zst");
    sh(directory.path(), &format!("cd $1; tar --zstd -xSf {images}"));
    for name in ["hd512", "hd2048"] {
        let recorded = fs::read_to_string(directory.path().join(format!("{name}.walk"))).unwrap();
        let lines = recorded.lines().filter_map(|line| line.split_once('\t'));
        let theirs = without(lines.map(|(name, seen)| (name.to_owned(), seen.to_owned())).collect(), &["ctime="], None);
        let _ = fs::remove_dir_all(directory.path().join("out"));
        let ours = without(copied(&directory, &format!("{name}.img")), &["ctime="], None);
        assert_same(name, &theirs, &ours);
    }
}

#[test]
fn hfsplus_is_copied_as_macos_would_show_it() {
    let directory = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hfsplus/volume.py");
    sh(directory.path(), &format!("python3 {script} $1 plain"));
    let tree: Walk = serde_json::from_slice(&fs::read(directory.path().join("tree")).unwrap()).unwrap();
    let done = cp(&directory.path().join("image"), &directory.path().join("out"));
    let said = text(&done.stderr);
    // Attributes that no file of this host has room for, and the second name of a directory, as with cp(1).
    let is_expected =
        |line: &str| line.contains("its attribute ") || line.contains("fs0/directory-link is a directory");
    assert!(said.lines().all(is_expected) && !said.contains(".part"), "{said}");
    let ours = kernel(&directory.path().join("out/fs0"));
    let tree = tree.into_iter().filter(|(name, _)| !name.starts_with("directory-link")).collect();
    let bare = |walk: Walk| -> Walk {
        let without = without(walk, &["ctime="], None).into_iter();
        // This host has no modes of links.
        let text = |text: String| text.split(" {").next().unwrap().replace("mode=120755 ", "mode=120777 ");
        without.map(|(name, seen)| (name, text(seen))).collect()
    };
    assert_same("HFS+", &bare(tree), &bare(ours));
}

/// A file system with two names that another one takes for one, and with names that it cannot have.
const NAMES: &str =
    "cd $1/m; mkdir d; echo upper > d/NAME; echo lower > d/name; echo x > d/a:b; echo y > d/plain; mkdir 'd/x?'";

#[test]
fn names_that_the_host_cannot_have_are_told_and_skipped() {
    let _alone = crate::alone();
    let guest = Mounted::new("mkfs.ext4 -q -F", "20M");
    sh(guest.directory.path(), NAMES);
    sh(guest.directory.path(), "umount $1/m");
    let host = Mounted { directory: tempfile::tempdir().unwrap() };
    sh(
        host.directory.path(),
        "cd $1; truncate -s 20M image; mkfs.exfat image >/dev/null; mkdir m; mount -t exfat-fuse -o loop image m",
    );
    // The two names race each other.
    for turn in 0..10 {
        let to = host.path(&format!("m/{turn}"));
        fs::create_dir(&to).unwrap();
        let done = std::process::Command::new(env!("CARGO_BIN_EXE_vboximg-mount"))
            .args(["cp", "-r", "-i"])
            .arg(guest.path("image"))
            .arg("fs0/d")
            .arg(&to)
            .output()
            .unwrap();
        let said = text(&done.stderr);
        assert!(
            !done.status.success() && said.contains("a:b is skipped") && said.contains("x? is skipped"),
            "{done:?}"
        );
        assert!(said.contains("another file was already copied to"), "{done:?}");
        let names = fs::read_dir(to.join("d")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        let first = names.first().cloned().unwrap_or_default();
        assert_eq!(names, [first.as_str(), "plain"]);
        let expected = if first == "NAME" { "upper\n" } else { "lower\n" };
        assert_eq!(fs::read_to_string(to.join("d").join(&first)).unwrap(), expected);
    }
}

/// A name of 200 characters that takes 600 bytes.
#[test]
fn names_longer_than_those_of_the_host_are_told_and_skipped() {
    let directory = tempfile::tempdir().unwrap();
    sh(
        directory.path(),
        "cd $1; mkdir src; echo x > src/short; truncate -s 8M image; mkfs.fat image >/dev/null
         mcopy -i image src/short \"::/$(printf '日%.0s' $(seq 200)).txt\"; mcopy -i image src/short ::/other",
    );
    let done = cp(&directory.path().join("image"), &directory.path().join("out"));
    let said = text(&done.stderr);
    assert!(done.status.code() == Some(5) && said.contains("this host cannot have a file of that name"), "{done:?}");
    assert_eq!(kernel(&directory.path().join("out/fs0")).into_keys().collect::<Vec<_>>(), ["other"]);
}

#[test]
fn a_terminal_has_bytes_rate_and_time_left_and_nothing_else_has() {
    let registry = Fixture::registry();
    let out = registry.root().join("out");
    fs::create_dir(&out).unwrap();
    let line = format!("'{}' cp -i {} vhdd vol0 '{}'", env!("CARGO_BIN_EXE_vboximg-mount"), crate::LEAF, out.display());
    let script = "stty cols 100; eval \"$LINE\"";
    let mut command = std::process::Command::new("script");
    command.args(["-qec", script, "/dev/null"]).env("LINE", &line).env("VBOX_USER_HOME", registry.home());
    let done = command.env("TERM", "xterm").env("SHELL", "/bin/bash").output().unwrap();
    let shown = text(&done.stdout);
    assert!(
        done.status.success() && shown.contains(" of ") && shown.contains("/s, ") && shown.contains(" left"),
        "{shown:?}"
    );
    // It is gone at the end.
    assert!(shown.trim_end().ends_with("\u{1b}[2K") || shown.trim_end().ends_with('\r'), "{shown:?}");
    let silent = registry.program().args(["cp", "-i", crate::LEAF, "vhdd"]).arg(&out).output().unwrap();
    assert!(silent.status.success() && silent.stdout.is_empty() && silent.stderr.is_empty(), "{silent:?}");
}
