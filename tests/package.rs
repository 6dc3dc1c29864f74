//! The Debian package: made by cargo-deb from the program that is under test, and installed in a root of its own.

mod common;
mod support;

use common::Fixture;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::{is_root, needs, provided, sh};
use tempfile::TempDir;

/// cargo-deb, also where `.ci/run` installs it.
fn cargo_deb() -> Option<PathBuf> {
    let caches =
        [std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from), std::env::home_dir().map(|home| home.join(".cache"))];
    let own = caches.into_iter().flatten().map(|cache| cache.join("vboximg-mount-ci/bin/cargo-deb"));
    let runs = |program: &PathBuf| Command::new(program).arg("--version").output().is_ok();
    own.chain([PathBuf::from("cargo-deb")]).find(runs)
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Packs the program under test as a release has it, without debugging information.
fn package(cargo_deb: &Path, directory: &Path) -> PathBuf {
    let target = directory.join("target");
    fs::create_dir_all(target.join("release")).unwrap();
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(target.join("release/vboximg-mount")).arg(env!("CARGO_BIN_EXE_vboximg-mount"));
    succeeded(&strip.output().unwrap());
    let file = directory.join("vboximg-mount.deb");
    let mut build = Command::new(cargo_deb);
    build.args(["--no-build", "--no-strip", "--fast", "--locked", "--offline", "-o"]).arg(&file);
    build.current_dir(env!("CARGO_MANIFEST_DIR")).env("CARGO_TARGET_DIR", &target);
    succeeded(&build.output().unwrap());
    file
}

#[test]
fn package_installs_program_manual_and_completions() {
    needs!(is_root(), "root");
    let cargo_deb = cargo_deb();
    needs!(cargo_deb.is_some(), "cargo-deb (.ci/run installs it)");
    let directory = TempDir::with_prefix("vboximg-package-").unwrap();
    let file = package(&cargo_deb.unwrap(), directory.path());
    let depends =
        succeeded(&Command::new("dpkg-deb").arg("-f").args([file.to_str().unwrap(), "Depends"]).output().unwrap());
    assert!(depends.contains("fuse3") && depends.contains("libc6 (>="), "{depends}");

    // An empty root has nothing that the package depends on, so it gets what the program is linked with by hand.
    let script = "
        mkdir -p root/var/lib/dpkg/{info,updates} root/proc; touch root/var/lib/dpkg/status
        dpkg --root=root --force-depends -i vboximg-mount.deb >log 2>&1 || { cat log >&2; exit 1; }
        for library in $(ldd root/usr/bin/vboximg-mount | grep -o '/[^ ]*'); do install -D $library root$library; done
        chroot root /usr/bin/vboximg-mount --version
        chroot root /usr/bin/vboximg-mount --completions bash | cmp - root/usr/share/bash-completion/completions/vboximg-mount
        source root/usr/share/bash-completion/completions/vboximg-mount; complete -p vboximg-mount
        head -1 root/usr/share/zsh/vendor-completions/_vboximg-mount
        test -s root/usr/share/fish/vendor_completions.d/vboximg-mount.fish
        zcat root/usr/share/man/man1/vboximg-mount.1.gz | sed -n 2p
        zcat root/usr/share/doc/vboximg-mount/changelog.Debian.gz | dpkg-parsechangelog -l- -S Version
        test -s root/usr/share/doc/vboximg-mount/copyright
        dpkg --root=root --force-depends -r vboximg-mount >log 2>&1; test ! -e root/usr/bin/vboximg-mount";
    let said = sh(directory.path(), script);
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "vboximg-mount {version}\ncomplete -o nosort -F _vboximg_mount vboximg-mount\n#compdef vboximg-mount\n\
         .Dt VBOXIMG-MOUNT 1\n{version}-1\n"
    );
    assert_eq!(said, expected);
}

/// README tells how to build one; that takes too long for each run of the tests.
#[test]
fn static_program_runs_in_an_empty_root() {
    let program = std::env::var_os("VBOXIMG_STATIC");
    if !provided(program.is_some(), "a static program, whose path is in VBOXIMG_STATIC") {
        return;
    }
    needs!(is_root(), "root");
    let registry = Fixture::registry();
    let script = format!(
        "mkdir -p root/{{proc,dev,mnt}}; cp '{}' root/vboximg-mount; cp -r home root/home
         mknod root/dev/fuse c 10 229; mknod root/dev/null c 1 3
         unshare -m sh -euc '
           mount -t proc proc root/proc
           of_disk() {{ set -- \"$@\" --settings /home --vm \"alpine tree\"; chroot root /vboximg-mount \"$@\"; }}
           of_disk cat fs1/home/user/hello.txt
           of_disk -g /mnt
           cat root/mnt/fs1/home/user/hello.txt
           chroot root /vboximg-mount -u /mnt'",
        program.unwrap_or_default().display()
    );
    assert_eq!(sh(registry.root(), &script), "hello from the guest\n".repeat(2));
}
