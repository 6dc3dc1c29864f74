//! One corrupt entry, block or inode takes no other along. Images are made by their own mkfs and filled through the
//! kernel or ntfs-3g with a known tree, and one thing is changed in each; a table says what else must stay readable.
//!
//! Needs root (loop devices), the mkfs programs and ntfs-3g; fails loudly without.

use crate::against::disks::disk;
use crate::against::mounted::Mounted;
use crate::disk::Disk;
use crate::guestfs::btrfs::Btrfs;
use crate::guestfs::ext::Ext;
use crate::guestfs::ntfs::Ntfs;
use crate::guestfs::squashfs::Squashfs;
use crate::guestfs::xfs::Xfs;
use crate::guestfs::{self, Error, GuestFs, Node, read};
use crate::support::sh;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::process::Command;
use std::sync::Arc;

const FILES: usize = 600;
const FILL: &str = r#"cd $1/m; mkdir many few; for i in $(seq 600); do echo $i > many/a-file-$i; done
for i in 1 2 3 4; do echo $i > few/f$i; done; ln -s few/f1 link; setfattr -n user.one -v 1 few/f1; setfattr -n user.two -v 2 few/f1"#;

type Open = fn(Arc<dyn Disk>) -> guestfs::Result<Box<dyn GuestFs>>;

fn boxed<F: GuestFs + 'static>(fs: F) -> Box<dyn GuestFs> {
    Box::new(fs)
}

/// An image and its bytes as they were made.
struct Image {
    mounted: Mounted,
    valid: Vec<u8>,
    open: Open,
}

/// A directory as it is read: what each name has, and whether others are missing.
struct Seen {
    files: BTreeMap<String, Result<Vec<u8>, String>>,
    incomplete: bool,
    fs: Box<dyn GuestFs>,
}

impl Image {
    fn new(mkfs: &str, size: &str, open: Open) -> Self {
        let mounted = Mounted::new(mkfs, size);
        sh(mounted.directory.path(), FILL);
        sh(mounted.directory.path(), "umount $1/m");
        let valid = std::fs::read(mounted.path("image")).unwrap();
        Self { mounted, valid, open }
    }

    /// Reads a directory of the image after a change.
    fn seen(&self, directory: &str, change: impl FnOnce(&mut Vec<u8>)) -> Seen {
        let mut bytes = self.valid.clone();
        change(&mut bytes);
        assert!(bytes != self.valid, "nothing was changed");
        std::fs::write(self.mounted.path("image"), bytes).unwrap();
        let disk = disk(&self.mounted.path("image"));
        let fs = (self.open)(disk.clone()).unwrap_or_else(|e| panic!("{e}"));
        let node = fs.lookup(fs.root(), directory.as_bytes()).unwrap().unwrap();
        // As the kernel asks: in segments, and from the position after the last entry on.
        let (mut names, mut from) = (Vec::new(), 0);
        let reported = loop {
            let mut part = 0;
            let reported = fs.read_directory(node, from, &mut |entry| {
                from = entry.next;
                names.push(entry.name);
                part += 1;
                if part < 40 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            if reported.is_err() || part < 40 {
                break reported;
            }
        };
        let incomplete = match reported {
            Ok(()) => false,
            Err(Error::Incomplete(_)) => true,
            Err(other) => panic!("{other}"),
        };
        let missing = fs.lookup(node, b"no such name");
        assert_eq!(matches!(missing, Err(Error::Incomplete(_))), incomplete && !matches!(missing, Ok(None)));
        let count = names.len();
        let files: BTreeMap<_, _> = names
            .into_iter()
            .map(|name| {
                let content = content(&*fs, &*disk, node, &name).map_err(|e| e.to_string());
                (String::from_utf8(name).unwrap(), content)
            })
            .collect();
        assert_eq!(files.len(), count, "a name twice");
        Seen { files, incomplete, fs }
    }

    /// The names that the kernel shows of the image as it is now.
    fn kernels(&self, options: &str) -> BTreeSet<String> {
        let script = format!("cd $1; mount -o {options} image m; ls m/many 2>/dev/null || :; umount m");
        let bash =
            Command::new("bash").args(["-euc", &script, "sh"]).arg(self.mounted.directory.path()).output().unwrap();
        assert!(bash.status.success(), "{bash:?}");
        String::from_utf8(bash.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

fn content(fs: &dyn GuestFs, disk: &dyn Disk, directory: Node, name: &[u8]) -> guestfs::Result<Vec<u8>> {
    let node = fs.lookup(directory, name)?.expect("a name that was listed");
    let attributes = fs.attributes(node)?;
    let mut bytes = vec![0; usize::try_from(attributes.size).unwrap()];
    read::read(fs, disk, node, &attributes, 0, &mut bytes)?;
    Ok(bytes)
}

impl Seen {
    /// The directory `many` has at least so many of its names, each with its bytes, and others are missing.
    fn assert_most(&self, what: &str, least: usize) {
        assert!(self.incomplete, "{what}: complete");
        assert!((least..FILES).contains(&self.files.len()), "{what}: {} names", self.files.len());
        self.assert_bytes(what, 0);
    }

    /// The directory has all of its names, and so many cannot be read.
    fn assert_all(&self, what: &str, count: usize, unreadable: usize) {
        assert!(!self.incomplete, "{what}: incomplete");
        assert_eq!(self.files.len(), count, "{what}");
        self.assert_bytes(what, unreadable);
    }

    fn assert_bytes(&self, what: &str, unreadable: usize) {
        let mut bad = 0;
        for (name, content) in &self.files {
            let number: String = name.chars().filter(char::is_ascii_digit).collect();
            match content {
                Ok(bytes) => {
                    assert!(name.contains('\\') || *bytes == format!("{number}\n").as_bytes(), "{what}: {name}")
                }
                Err(_) => bad += 1,
            }
        }
        assert_eq!(bad, unreadable, "{what}");
    }
}

/// The offset of some bytes in an image.
fn find(bytes: &[u8], what: &[u8], from: usize) -> usize {
    from + bytes[from..].windows(what.len()).position(|part| part == what).expect("it is there")
}

/// The first blocks of `size` bytes that this holds for.
fn blocks(bytes: &[u8], size: usize, is: impl Fn(&[u8]) -> bool) -> Vec<usize> {
    (0..bytes.len() / size).map(|i| i * size).filter(|at| is(&bytes[*at..*at + size])).collect()
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|part| part == what)
}

const EXT: Open = |disk| Ext::open(disk).map(boxed);

/// Blocks of names in a large directory of ext.
fn ext_names(bytes: &[u8]) -> Vec<usize> {
    blocks(bytes, 1024, |block| block[8..].starts_with(b"a-file-"))
}

/// Where the inode of a path is.
fn ext_inode(image: &Image, path: &str) -> usize {
    let mut debugfs = Command::new("debugfs");
    debugfs.args(["-R", &format!("imap {path}"), "image"]).current_dir(image.mounted.directory.path());
    let output = debugfs.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let number = |after: &str, radix: u32| {
        let digits: String = text.split(after).nth(1).unwrap().chars().take_while(|c| c.is_digit(radix)).collect();
        usize::from_str_radix(&digits, radix).unwrap()
    };
    number("located at block ", 10) * 1024 + number("offset 0x", 16)
}

#[test]
fn ext_with_checksums() {
    let image = Image::new("mkfs.ext4 -q -F -b 1024 -O metadata_csum,^has_journal", "32M", EXT);
    let inode = ext_inode(&image, "many/a-file-77");
    let block = image.seen("many", |bytes| {
        let at = ext_names(bytes)[2];
        bytes[at + 500] ^= 1;
    });
    block.assert_most("block of names", 500);
    image.seen("many", |bytes| bytes[inode + 16] ^= 1).assert_all("inode", FILES, 1);
    let group = image.seen("many", |bytes| bytes[2048 + 30] ^= 1);
    group.assert_all("group descriptor", FILES, 0);
    assert!(group.fs.facts().notes[0].contains("descriptor of block group 0 is wrong"), "{:?}", group.fs.facts().notes);
}

#[test]
fn ext_without_checksums_as_the_kernel_has_it() {
    let image = Image::new("mkfs.ext4 -q -F -b 1024 -O ^metadata_csum,^has_journal", "32M", EXT);
    let cut = image.seen("many", |bytes| {
        let at = ext_names(bytes)[2];
        bytes[at + 4] = 3;
    });
    cut.assert_most("length of an entry", 500);
    assert_eq!(cut.files.into_keys().collect::<BTreeSet<_>>(), image.kernels("loop,ro"));
    for (name, shown) in [("/2", "\\x2F2"), ("\0\0", "\\x00\\x00"), ("..", "\\x2E\\x2E")] {
        let seen = image.seen("few", |bytes| {
            let at = find(bytes, b"\x0C\0\x02\x01f1\0\0", 0) + 16;
            assert!(bytes[at..].starts_with(b"f2"));
            bytes[at..at + 2].copy_from_slice(name.as_bytes());
        });
        seen.assert_all(shown, 4, 0);
        assert_eq!(seen.files[shown].as_deref(), Ok(&b"2\n"[..]), "{shown}");
    }
    let (directory, link, file) = (ext_inode(&image, "few"), ext_inode(&image, "link"), ext_inode(&image, "few/f1"));
    // The length of the first extent says that it was never written.
    image.seen("few", |bytes| bytes[directory + 0x28 + 12 + 5] ^= 0x80).assert_all("unwritten", 4, 0);
    image.seen("few", |bytes| bytes[file + 1] = 0x30).assert_all("type of an inode", 4, 1);
    let seen = image.seen("few", |bytes| bytes[link + 0x22] |= 8);
    let node = seen.fs.lookup(seen.fs.root(), b"link").unwrap().unwrap();
    assert_eq!(seen.fs.read_link(node).unwrap(), b"few/f1", "flag of extents");
    // Encryption and verity keep attributes of their own; others are not known.
    for index in [9, 11, 42] {
        let seen = image.seen("few", |bytes| {
            let at = find(bytes, b"one", file);
            assert_eq!(bytes[at - 16..at - 14], [3, 1]);
            bytes[at - 15] = index;
        });
        let few = seen.fs.lookup(seen.fs.root(), b"few").unwrap().unwrap();
        let node = seen.fs.lookup(few, b"f1").unwrap().unwrap();
        assert_eq!(seen.fs.xattr_names(node).unwrap(), [b"user.two".to_vec()], "{index}");
    }
}

#[test]
fn ext_without_types_in_its_directories() {
    let image = Image::new("mkfs.ext4 -q -F -b 1024 -O ^metadata_csum,^has_journal,^filetype", "32M", EXT);
    let file = ext_inode(&image, "few/f1");
    image.seen("few", |bytes| bytes[file + 1] = 0x30).assert_all("type of an inode", 4, 1);
}

#[test]
fn xfs() {
    let image = Image::new("mkfs.xfs -q", "320M", |disk| Xfs::open(disk).map(boxed));
    let block = image.seen("many", |bytes| {
        let at = blocks(bytes, 4096, |block| block.starts_with(b"XDD3"))[1];
        bytes[at + 200] ^= 1;
    });
    block.assert_most("block of names", 400);
    let kernels = image.kernels("loop,ro,norecovery");
    assert!(kernels.iter().all(|name| block.files.contains_key(name)), "the kernel shows more");
    let inode = image.seen("many", |bytes| {
        let file = |part: &[u8]| part.starts_with(b"IN\x81\xA4") && part[56..64] == 4_u64.to_be_bytes();
        let at = blocks(bytes, 512, file)[7];
        bytes[at + 60] ^= 1;
    });
    inode.assert_all("inode", FILES, 1);
}

#[test]
fn btrfs() {
    const NODE: usize = 4096;
    let open: Open = |disk| Btrfs::open(disk).map(boxed);
    let image = Image::new("mkfs.btrfs -q -m single -d single -n 4096", "120M", open);
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let seen = image.seen("many", |bytes| {
        let uuid = bytes[65536 + 32..65536 + 48].to_vec();
        let is_leaf = |block: &[u8]| block[32..48] == uuid && block[100] == 0 && block[96..100] != [0; 4];
        // Leaves of which all items are entries by index.
        let is_index = |block: &[u8]| {
            let count = u32::from_le_bytes(block[96..100].try_into().unwrap());
            (0..usize::try_from(count).unwrap()).all(|i| block[101 + 25 * i + 8] == 96)
        };
        let leaves = blocks(bytes, NODE, |block| is_leaf(block) && is_index(block));
        let newest = *leaves.iter().max_by_key(|at| word(bytes, **at + 80)).unwrap();
        bytes[newest + 1000] ^= 1;
    });
    seen.assert_most("leaf of names", 400);
}

#[test]
fn ntfs() {
    let open: Open = |disk| Ntfs::open(disk).map(boxed);
    let image = Image::new("mkntfs -q -F -c 4096", "64M", open);
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let index = |bytes: &[u8]| blocks(bytes, 4096, |b| b.starts_with(b"INDX") && holds(b, &utf16("a-file-")));
    for at in [0, 40, 510] {
        image
            .seen("many", |bytes| {
                let block = index(bytes)[2];
                bytes[block + at] ^= 0x55;
            })
            .assert_most(&format!("index block, byte {at}"), 400);
    }
    let record =
        |bytes: &[u8], what: &str| blocks(bytes, 1024, |b| b.starts_with(b"FILE0") && holds(b, &utf16(what)))[0];
    image
        .seen("many", |bytes| {
            let at = record(bytes, "a-file-77");
            bytes[at + 510] ^= 1;
        })
        .assert_all("record", FILES, 1);
    let slash = image.seen("few", |bytes| {
        while holds(bytes, &utf16("f2")) {
            let at = find(bytes, &utf16("f2"), 0);
            bytes[at] = b'/';
        }
    });
    slash.assert_all("slash", 4, 0);
    assert!(slash.files.contains_key("\\x2F2"));
    // The file of the volume's label, and a block of the root, which may have had hiberfil.sys.
    let volume = image.seen("many", |bytes| {
        let at = record(bytes, "$Volume");
        bytes[at + 510] ^= 1;
    });
    volume.assert_all("volume", FILES, 0);
    assert!(volume.fs.facts().notes[0].contains("label"), "{:?}", volume.fs.facts().notes);
}

#[test]
fn squashfs() {
    let dir = tempfile::tempdir().unwrap();
    sh(dir.path(), &format!("mkdir $1/m; {FILL}"));
    sh(
        dir.path(),
        "cd $1; for i in $(seq 601 3000); do echo $i > m/many/a-file-$i; done; mksquashfs m image -noI >/dev/null",
    );
    let valid = std::fs::read(dir.path().join("image")).unwrap();
    let image = Image { mounted: Mounted { directory: dir }, valid, open: |disk| Squashfs::open(disk).map(boxed) };
    let table =
        |bytes: &[u8], at: usize| usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap();
    let seen = image.seen("many", |bytes| {
        let mut at = table(bytes, 72);
        for _ in 0..2 {
            at += 2 + usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]) & 0x7FFF);
        }
        // A length of more than a block has.
        bytes[at..at + 2].copy_from_slice(&[0xFF, 0x7F]);
    });
    assert!(seen.incomplete && (2000..3000).contains(&seen.files.len()), "{}", seen.files.len());
    seen.assert_bytes("block of names", 0);
    let slash = image.seen("few", |bytes| {
        let at = find(bytes, b"f2", table(bytes, 72));
        bytes[at] = b'/';
    });
    slash.assert_all("slash", 4, 0);
}
