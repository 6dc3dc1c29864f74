//! File systems created by their own mkfs and filled through the kernel.

use crate::support::sh;
use std::path::PathBuf;
use std::process::Command;

/// A mounted image, unmounted when dropped.
pub(crate) struct Mounted {
    pub(crate) directory: tempfile::TempDir,
}

impl Mounted {
    /// Creates an image of `size` with `mkfs` and mounts it with the kernel.
    pub(crate) fn new(mkfs: &str, size: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        sh(
            directory.path(),
            &format!("cd $1; truncate -s {size} image; {mkfs} image >/dev/null 2>&1; mkdir m; mount -o loop image m"),
        );
        Self { directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn fill(&self) {
        sh(self.directory.path(), FILL);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let mount = self.path("m");
        if Command::new("mountpoint").arg("-q").arg(&mount).status().is_ok_and(|s| s.success()) {
            let _ = Command::new("umount").arg(&mount).status();
        }
    }
}

/// Creates a tree with everything that is hard to read.
const FILL: &str = r#"
cd "$1/m"
mkdir -p etc many deep/a/b/c/d 'naïve ☃'
echo lab > etc/hostname; echo 7 > seven; chmod 4751 seven; chown 12345:54321 seven; touch -d '1999-12-31 23:59:59.123456789' seven
ln -s ../etc/hostname etc/short; ln -s "$(printf 'x%.0s' $(seq 200))" etc/long; ln etc/hostname etc/hard
for i in $(seq 1 3000); do echo $i > many/file-$i; done; rm many/file-1??
head -c 3000000 /dev/urandom > data; truncate -s 20M sparse; echo end >> sparse; echo mid | dd of=sparse bs=1 seek=7000000 conv=notrunc status=none
for i in $(seq 1 60); do head -c 9000 /dev/urandom >> frag1; head -c 5000 /dev/urandom >> frag2; done
mknod dev-c c 5 300; mknod dev-b b 8 1; mkfifo pipe; : > empty; printf 'tiny' > tiny; mkdir emptydir
fallocate -l 100000 unwritten || : > unwritten; echo x > 'naïve ☃/ein ß.txt'; echo y > "$(printf 'n%.0s' $(seq 250))"
touch -d '2100-01-01 00:00:00.5' future; touch past; touch -d '1930-05-05' past
setfattr -n user.small -v five tiny; setfattr -n user.mid -v "$(printf 'v%.0s' $(seq 600))" tiny; setfattr -n trusted.t -v 1 data
setfattr -n user.on.directory -v yes many; setfattr -n security.capability -v 0x0100000200240000000000000000000000000000 seven
"#;
