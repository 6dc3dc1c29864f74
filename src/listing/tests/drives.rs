//! DVDs, floppies and drives of the host that snapshots have.

use super::*;

/// A machine with two snapshots, one after the other, and what each has in its drives.
fn drives() -> Report {
    let mut lab = Lab::default();
    let disk = lab.base(0x1, "/vms/vm/vm.vdi", MediumKind::Normal, MIB, MIB);
    for (number, name, device) in [
        (0x31, "install.iso", DeviceKind::Dvd),
        (0x32, "now.iso", DeviceKind::Dvd),
        (0x33, "unused.iso", DeviceKind::Dvd),
        (0x41, "driver.img", DeviceKind::Floppy),
    ] {
        let id = lab.base(number, &format!("/vms/{name}"), MediumKind::Readonly, MIB, MIB);
        lab.medium(id).device = device;
    }
    let drive = |port, kind, medium: Option<u128>, host: Option<&str>| Attachment {
        kind,
        host_drive: host.map(str::to_owned),
        ..slot(port, medium.map(uuid))
    };
    let machine = lab.machine(0x10, "vm", &[disk]);
    machine.attachments.push(drive(1, DeviceKind::Dvd, Some(0x32), None));
    machine.attachments.push(drive(2, DeviceKind::Dvd, None, Some("/dev/sr0")));
    let mut first = snapshot(0x11, "first", None, 0x1);
    first.attachments.push(drive(1, DeviceKind::Dvd, Some(0x31), None));
    first.attachments.push(drive(2, DeviceKind::Dvd, None, Some("/dev/sr0")));
    let mut second = snapshot(0x12, "second", Some(0), 0x1);
    second.attachments.push(drive(1, DeviceKind::Dvd, Some(0x32), None));
    second.attachments.push(drive(2, DeviceKind::Dvd, Some(0x31), None));
    second.attachments.push(drive(3, DeviceKind::Floppy, Some(0x41), None));
    second.attachments.push(drive(4, DeviceKind::Floppy, None, Some("/dev/fd0")));
    machine.snapshots = vec![first, second];
    machine.current_snapshot = Some(1);
    lab.report()
}

#[test]
fn lists_media_that_only_snapshots_have_as_used_by_them() {
    let report = drives();
    let uses = |name: &str| -> Vec<Option<String>> {
        let medium = report.media.iter().find(|medium| medium.name == name).unwrap();
        medium.used_by.iter().map(|one| one.snapshot_name.clone()).collect()
    };
    let [first, second] = ["first", "second"].map(|name| Some(name.to_owned()));
    assert_eq!(uses("install.iso"), [first, second.clone()]);
    assert_eq!(uses("driver.img"), std::slice::from_ref(&second));
    assert_eq!(uses("now.iso"), [None, second]);
    assert_eq!(uses("unused.iso"), []);
    golden("drives-short.txt", &text(&report, SHORT, PLAIN));
    golden("drives-wide.txt", &text(&report, WIDE, PLAIN));
    golden("drives-long.txt", &text(&report, LONG, PLAIN));
}
