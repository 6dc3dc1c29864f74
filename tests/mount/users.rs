//! Mounting as an ordinary user, where the tests run as root. (Where they do not, all the others do that.)

use crate::scene::{Scene, is_root, run};
use crate::support::needs;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

/// `nobody` on most systems; any number without rights will do.
const USER: &str = "65534";

/// Runs a shell script in a mount namespace of its own, where `/dev/fuse` is open to everybody as on most systems.
/// Nothing that it mounts is seen outside or outlives it. `$B` is the program, `$I` the image, `$M` the mount point,
/// `as_user` runs a command as an ordinary user who owns both.
fn script(scene: &Scene, fuse_conf: &str, body: &str) -> Output {
    let copy = scene.directory().join("program");
    fs::copy(env!("CARGO_BIN_EXE_vboximg-mount"), &copy).unwrap();
    fs::set_permissions(scene.directory(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(scene.directory().join("fuse.conf"), fuse_conf).unwrap();
    fs::create_dir(scene.directory().join("dev")).unwrap();
    for path in [scene.image(), scene.point(), scene.directory().to_path_buf()] {
        assert!(run(Command::new("chown").arg(format!("{USER}:{USER}")).arg(path)).status.success());
    }
    let head = format!(
        "set -eu
        B=$PWD/program; I=$PWD/disk.img; M=$PWD/mnt
        mount -t tmpfs none dev
        mknod -m 666 dev/fuse c 10 229
        mount --bind dev/fuse /dev/fuse
        [ -e /etc/fuse.conf ] || touch /etc/fuse.conf
        mount --bind fuse.conf /etc/fuse.conf
        # Root's home is not the user's, who cannot see what is in it.
        export HOME=$PWD
        as_user() {{ setpriv --reuid {USER} --regid {USER} --clear-groups \"$@\"; }}
        "
    );
    let unshare = ["--mount", "--propagation", "private", "sh", "-c"];
    run(Command::new("unshare").args(unshare).arg(head + body).current_dir(scene.directory()))
}

fn assert_ok(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn an_ordinary_user_mounts_and_writes() {
    needs!(is_root(), "root, to become another user");
    let scene = Scene::new();
    let output = script(
        &scene,
        "",
        "as_user $B --rw -i $I $M
        grep \"$M rw.* - fuse.vboximg-mount vboximg-mount rw,user_id=65534\" /proc/self/mountinfo
        [ \"$(as_user stat -c %u:%g:%a $M/vhdd)\" = 65534:65534:644 ]
        as_user cmp $M/vhdd $I
        printf written | as_user dd of=$M/vhdd conv=notrunc,fsync bs=1 seek=4096 status=none
        # Root is not let in without allow_root.
        ! cat $M/vhdd 2>/dev/null
        as_user $B --unmount $M
        ! grep $M /proc/self/mountinfo
        as_user $B -i $I $M
        P=$(as_user getfattr --only-values -n user.vboximg-mount.pid $M)
        kill -TERM $P
        while grep $M /proc/self/mountinfo; do sleep 0.01; done
        ",
    );
    assert_ok(&output);
    assert_eq!(scene.bytes()[4096..][..7], *b"written");
}

#[test]
fn root_unmounts_what_a_user_mounted() {
    needs!(is_root(), "root, to become another user");
    let scene = Scene::new();
    let output = script(
        &scene,
        "",
        "as_user $B -i $I $M
        $B --unmount $M
        ! grep $M /proc/self/mountinfo
        ",
    );
    assert_ok(&output);
}

#[test]
fn users_cannot_unmount_what_root_mounted() {
    needs!(is_root(), "root, to become another user");
    let scene = Scene::new();
    let output = script(
        &scene,
        "",
        "for options in ro allow_other
        do
            $B -o $options -i $I $M
            ! as_user $B --unmount $M
            grep $M /proc/self/mountinfo
            $B --unmount $M
        done
        ",
    );
    assert_ok(&output);
    let message = String::from_utf8_lossy(&output.stderr);
    let reported = message.matches("mnt: another user mounted it; unmount it as that user or as root\n").count();
    assert_eq!(reported, 2, "{message}");
}

#[test]
fn advises_what_to_install_without_the_helper() {
    needs!(is_root(), "root, to become another user");
    let scene = Scene::new();
    let output = script(
        &scene,
        "",
        "! as_user env FUSERMOUNT_PATH=/nonexistent $B -i $I $M
        as_user $B -i $I $M
        ! as_user env FUSERMOUNT_PATH=/nonexistent $B -u $M
        as_user $B -u $M
        ",
    );
    assert_ok(&output);
    let message = String::from_utf8_lossy(&output.stderr);
    let reported = message.matches("mnt: fusermount3 is not there; install the package fuse3\n").count();
    assert_eq!(reported, 2, "{message}");
}

#[test]
fn what_a_user_may_only_read_is_not_opened_for_writing() {
    needs!(is_root(), "root, to become another user");
    let scene = Scene::new();
    let output = script(&scene, "", "chown 0:0 $I; chmod 444 $I; as_user $B --rw -i $I $M");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("Cannot open for writing ") && message.contains("Permission denied"), "{message}");
}

#[test]
fn letting_others_in_needs_the_administrator() {
    needs!(is_root(), "root, to become another user");
    let scene = Scene::new();
    let output = script(&scene, "", "as_user $B --root -i $I $M");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("only when /etc/fuse.conf has the line user_allow_other"), "{message}");
}

#[test]
fn root_or_everybody_can_be_let_in() {
    needs!(is_root(), "root, to become another user");
    let others = "setpriv --reuid 1 --regid 1 --clear-groups";
    let scene = Scene::new();
    let output = script(
        &scene,
        "user_allow_other\n",
        &format!(
            "as_user $B --root -i $I $M
            cmp $M/vhdd $I
            ! {others} cat $M/vhdd 2>/dev/null
            as_user $B -u $M
            as_user $B --rw -o allow_other -i $I $M
            {others} cmp $M/vhdd $I
            ! {others} dd if=/dev/zero of=$M/vhdd count=1 conv=notrunc 2>/dev/null
            $B -u $M
            "
        ),
    );
    assert_ok(&output);
}

#[test]
fn an_ordinary_user_copies_files_of_the_guests_root() {
    needs!(is_root(), "root, to become another user");
    let scene = Scene::new();
    let output = script(
        &scene,
        "",
        "mkdir -p tree/root/.ssh tree/etc; echo key > tree/root/.ssh/id; echo shadow > tree/etc/shadow
        chmod 700 tree/root tree/root/.ssh; chmod 600 tree/root/.ssh/id; chmod 0 tree/etc/shadow
        ln -s /etc/shadow tree/absolute; echo all > tree/all; chmod 644 tree/all
        mkfs.ext4 -q -d tree fs.img 15M
        dd if=fs.img of=$I bs=1M seek=1 conv=notrunc status=none
        # The guest's modes hold for others than its root.
        as_user $B -g -i $I $M
        [ \"$(as_user stat -c %u:%g:%a $M/fs0/root)\" = 0:0:700 ]
        ! as_user cat $M/fs0/root/.ssh/id 2>/dev/null
        as_user cat $M/fs0/all
        as_user $B -u $M
        as_user $B -g -o uid=65534,gid=65534,umask=077 -i $I $M
        [ \"$(as_user stat -c %u:%g:%a $M/fs0/root $M/fs0/root/.ssh/id $M/fs0/etc/shadow $M/fs0/all | xargs)\" = \
          '65534:65534:700 65534:65534:600 65534:65534:400 65534:65534:600' ]
        as_user cp -a $M/fs0 copy
        as_user $B -u $M
        diff -r --no-dereference tree copy --exclude lost+found
        [ \"$(readlink copy/absolute)\" = /etc/shadow ]
        [ \"$(cat copy/root/.ssh/id copy/etc/shadow | xargs)\" = 'key shadow' ]
        ",
    );
    assert_ok(&output);
}

/// Where the image's directory is closed to the user, the lock file is in a directory that only the user looks into.
#[test]
fn a_listing_shows_what_another_user_has_locked() {
    needs!(is_root(), "root, to become another user");
    let scene = Scene::new();
    let output = script(
        &scene,
        "",
        r#"mkdir closed runtime; cp $I closed/disk.img; chown 65534 runtime
        disk="{2a5a4a9f-57e6-4b2a-8a1e-6d1f0c1d2e3f}" machine="{7d3c5b1a-9e8f-4a6b-b2c1-0d9e8f7a6b5c}"
        cat > VirtualBox.xml <<-X
		<VirtualBox xmlns="http://www.virtualbox.org/" version="1.12-linux"><Global><MachineRegistry>
		<MachineEntry uuid="$machine" src="$PWD/m.vbox"/></MachineRegistry></Global></VirtualBox>
		X
        cat > m.vbox <<-X
		<VirtualBox xmlns="http://www.virtualbox.org/" version="1.19-linux"><Machine uuid="$machine" name="m">
		<MediaRegistry><HardDisks>
		<HardDisk uuid="$disk" location="$PWD/closed/disk.img" format="RAW" type="Normal"/>
		</HardDisks></MediaRegistry><StorageControllers>
		<StorageController name="SATA" type="AHCI" PortCount="1">
		<AttachedDevice type="HardDisk" port="0" device="0"><Image uuid="$disk"/></AttachedDevice>
		</StorageController></StorageControllers></Machine></VirtualBox>
		X
        state() { VBOX_USER_HOME=$PWD $B -lw | grep -o 'created\|rlock\|wlock'; }
        [ "$(state)" = created ]
        XDG_RUNTIME_DIR=$PWD/runtime as_user $B -i closed/disk.img $M
        [ "$(ls -A closed)" = disk.img ]
        [ "$(state)" = rlock ]
        $B -u $M
        [ "$(state)" = created ]
        "#,
    );
    assert_ok(&output);
}
