//! ext2, ext3 and ext4 as the kernel shows them: the same tree, attribute by attribute and byte by byte.
//!
//! Needs root (loop devices) and e2fsprogs; fails loudly without.

use super::corrupt;
use super::ours::ours;
use crate::against::disks::disk;
use crate::against::mounted::Mounted;
use crate::against::tree;
use crate::against::tree::{Walk, kernel};
use crate::guestfs::GuestFs;
use crate::guestfs::ext::Ext;
use crate::support::sh;

#[test]
fn reads_every_version_and_feature_set_as_the_kernel() {
    let kinds = [
        "mkfs.ext4 -q -F",
        "mkfs.ext2 -q -F",
        "mkfs.ext3 -q -F",
        "mkfs.ext4 -q -F -b 1024 -I 256 -O inline_data,^64bit",
        "mkfs.ext4 -q -F -b 2048 -O meta_bg,^resize_inode,large_dir,ea_inode,metadata_csum_seed",
        "mkfs.ext4 -q -F -O ^metadata_csum,uninit_bg,^has_journal,^flex_bg",
        "mkfs.ext4 -q -F -O inline_data,ea_inode,bigalloc",
        "mkfs.ext4 -q -F -I 128",
        "mkfs.ext2 -q -F -r 0 -b 1024",
    ];
    for mkfs in kinds {
        let mounted = Mounted::new(mkfs, "80M");
        mounted.fill();
        if mkfs == kinds[0] || mkfs == kinds[1] {
            sh(
                mounted.directory.path(),
                "cd $1/m; mkdir huge; seq -f 'huge/entry-with-a-longer-name-%.0f' 1 10000 | xargs touch",
            );
        }
        let (theirs, ours) = mounted.both(|disk| Ext::open(disk).unwrap());
        tree::assert_same(mkfs, &theirs, &ours);
    }
}

#[test]
fn replays_the_journal_of_a_copy_taken_while_mounted() {
    for mkfs in ["mkfs.ext4 -q -F", "mkfs.ext3 -q -F -b 1024", "mkfs.ext4 -q -F -O ^metadata_csum,^64bit -b 2048"] {
        let mounted = Mounted::new(mkfs, "80M");
        mounted.fill();
        sh(
            mounted.directory.path(),
            "cd $1/m; sync -f .; rm -r many; mv etc moved; echo more >> seven; mkdir new; echo n > new/n; sync -f .; cp ../image ../dirty",
        );
        let disk = disk(&mounted.path("dirty"));
        let ext = Ext::open(disk.clone()).unwrap();
        assert!(ext.facts().notes[0].contains("transactions of its journal are replayed"), "{:?}", ext.facts().notes);
        let walk = ours(&(disk, ext));
        assert!(walk.contains_key("moved/hostname") && walk.contains_key("new/n") && !walk.contains_key("many"));
        sh(mounted.directory.path(), "cd $1; umount m; mount -o loop dirty m; mount -o remount,ro m");
        tree::assert_same(mkfs, &kernel(&mounted.path("m")), &walk);
    }
}

/// Whatever the form of the journal, the blocks that it has are those that the kernel takes from it.
#[test]
fn replays_every_journal_format() {
    for features in ["64bit", "^64bit"] {
        for form in ["", "-c -v 2", "-c -v 3"] {
            let directory = tempfile::tempdir().unwrap();
            let script = format!(
                r#"cd "$1"; mkdir m src; for i in $(seq 1 30); do echo $i > src/$i; done; seq 1 9000 > src/file; seq 1 9000 > src/other
                truncate -s 40M image; mkfs.ext4 -q -F -b 1024 -O {features} -d src image
                B=$(for i in 0 1 2 3 4 5; do debugfs -R "bmap /file $i" image 2>/dev/null; done | paste -sd,)
                O=$(for i in 0 1; do debugfs -R "bmap /other $i" image 2>/dev/null; done | paste -sd,)
                head -c 6144 /dev/urandom > new
                # A block that begins with the journal's magic number is stored without it.
                printf 'À;9' | dd of=new bs=1 seek=4096 conv=notrunc status=none
                printf 'jo {form}
jw -b %s new
jw -b %s new
jw -r %s
jc
' $B $O $O > commands; debugfs -w -f commands image >/dev/null 2>&1"#
            );
            sh(directory.path(), &script);
            let disk = disk(&directory.path().join("image"));
            let walk = ours(&(disk.clone(), Ext::open(disk).unwrap()));
            sh(
                directory.path(),
                r#"cd "$1"; mount -o loop image m; mount -o remount,ro m; cmp -n 6144 m/file new; ! cmp -s -n 2048 m/other new"#,
            );
            let theirs = kernel(&directory.path().join("m"));
            sh(directory.path(), r#"umount "$1/m""#);
            tree::assert_same(&format!("{features} {form}"), &theirs, &walk);
        }
    }
}

/// Blocks larger than the kernel's pages, and features that not every kernel has: mkfs itself puts the files in.
#[test]
fn reads_what_the_kernel_does_not_mount() {
    let directory = tempfile::tempdir().unwrap();
    sh(
        directory.path(),
        r#"cd "$1"; mkdir -p src/many src/sub; for i in $(seq 1 3000); do echo $i > src/many/a-file-with-a-name-$i; done
           head -c 5000000 /dev/urandom > src/large; : > src/empty; ln -s ../large src/sub/link; ln -s "$(printf 'x%.0s' $(seq 700))" src/sub/long
           ln src/large src/sub/hard; setfattr -n user.name -v value src/large; truncate -s 3M src/sparse; echo end >> src/sparse
           chown -R 7:8 src; mkdir src/lost+found"#,
    );
    let comparable = |mut walk: Walk| -> Walk {
        walk.remove("lost+found");
        walk.into_iter()
            .map(|(name, text)| {
                // mkfs keeps whole seconds.
                let words = text.split(' ').filter(|word| !word.starts_with("ctime="));
                let words =
                    words.map(|word| if word.starts_with("mtime=") { word.split('.').next().unwrap() } else { word });
                (name, words.collect::<Vec<_>>().join(" "))
            })
            .collect()
    };
    let theirs = comparable(kernel(&directory.path().join("src")));
    for options in [
        "-b 8192",
        "-b 16384",
        "-b 32768",
        "-b 65536",
        "-O casefold,verity,encrypt,stable_inodes,quota,project",
        "-O sparse_super2,mmp,^resize_inode",
        "-O meta_bg,^resize_inode -b 1024 -g 256",
    ] {
        let script = format!(
            r#"cd "$1"; rm -f image; truncate -s 400M image; mkfs.ext4 -q -F {options} -d src image 2>/dev/null"#
        );
        sh(directory.path(), &script);
        let disk = disk(&directory.path().join("image"));
        let walk = comparable(ours(&(disk.clone(), Ext::open(disk).unwrap())));
        tree::assert_same(options, &theirs, &walk);
    }
}

#[test]
fn refuses_files_encrypted_by_the_guest() {
    let mounted = Mounted::new("mkfs.ext4 -q -F -O encrypt", "40M");
    sh(
        mounted.directory.path(),
        r#"cd "$1"; mkdir m/secret; echo x > m/secret/file; ln -s "$(printf 'x%.0s' $(seq 100))" m/secret/link; echo y > m/open; umount m
           for n in secret/file secret/link secret; do debugfs -w -R "sif /$n flags 0x80800" image 2>/dev/null; done"#,
    );
    let ext = Ext::open(disk(&mounted.path("image"))).unwrap();
    let find = |directory, name: &str| ext.lookup(directory, name.as_bytes());
    let open = find(ext.root(), "open").unwrap().unwrap();
    assert!(ext.extent(open, 0, 1).is_ok());
    let secret = find(ext.root(), "secret").unwrap().unwrap();
    let said = |error: crate::guestfs::Error| {
        let text = error.to_string();
        assert!(text.contains(" is encrypted by the guest; use the guest itself"), "{text}");
    };
    assert!(ext.attributes(secret).is_ok());
    said(find(secret, "file").unwrap_err());
    said(ext.read_directory(secret, 0, &mut |_| std::ops::ControlFlow::Continue(())).unwrap_err());
    for inode in [secret.0 + 1, secret.0 + 2] {
        let node = crate::guestfs::Node(inode);
        match ext.attributes(node).unwrap().kind {
            crate::guestfs::NodeKind::Symlink => said(ext.read_link(node).unwrap_err()),
            _ => said(ext.extent(node, 0, 1).unwrap_err()),
        }
    }
}

#[test]
fn reports_a_journal_on_another_device() {
    let directory = tempfile::tempdir().unwrap();
    sh(
        directory.path(),
        r#"cd "$1"; truncate -s 20M image journal; mke2fs -q -F -O journal_dev journal; J=$(losetup -f --show journal)
           mkfs.ext4 -q -F -J device=$J image; losetup -d $J; debugfs -w -R 'feature needs_recovery' image 2>/dev/null >&2"#,
    );
    let ext = Ext::open(disk(&directory.path().join("image"))).unwrap();
    assert!(
        ext.facts().notes[0].contains("its journal is elsewhere: recent changes may be missing"),
        "{:?}",
        ext.facts()
    );
    let journal = Ext::open(disk(&directory.path().join("journal"))).err().unwrap().to_string();
    assert!(journal.contains("it is the external journal of another one"), "{journal}");
}

#[test]
fn survives_corruption() {
    // Without checksums corruption reaches the parsers.
    for mkfs in ["mkfs.ext4 -q -F -O ^metadata_csum -b 1024", "mkfs.ext4 -q -F", "mkfs.ext2 -q -F -b 1024"] {
        let mounted = Mounted::new(mkfs, "40M");
        sh(mounted.directory.path(), corrupt::FILL);
        sh(mounted.directory.path(), "cd $1; umount m");
        corrupt::survive(mkfs, disk(&mounted.path("image")), Ext::open);
    }
}
