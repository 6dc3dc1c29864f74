//! A settings file of each era. VirtualBox 7.2.22 reads those from version 1.7 on to the same machines, slots,
//! snapshots and media; older ones differ in the order of the slots only.

use super::*;
use crate::registry::{Attachment, DeviceKind};

/// The last three digits tell the UUIDs of a sample apart.
fn short(uuid: Uuid) -> String {
    uuid.to_string()[33..].to_owned()
}

fn media_lines(media: &[ParsedMedium]) -> String {
    let mut lines = String::new();
    for medium in media {
        let parent = medium.parent.map_or("base".to_owned(), |parent| short(media[parent].uuid));
        lines += &format!(
            "{:?} {} of {parent}: {} {} {}",
            medium.device,
            short(medium.uuid),
            medium.format,
            medium.kind.name(),
            medium.location
        );
        lines += if medium.auto_reset { " auto-reset" } else { "" };
        for (name, value) in &medium.properties {
            lines += &format!(" {name}={value:?}");
        }
        lines += &if medium.description.is_empty() { "\n".to_owned() } else { format!(" {:?}\n", medium.description) };
    }
    lines
}

fn slot_lines(slots: &[Attachment]) -> String {
    let line = |slot: &Attachment| {
        let kind = match slot.kind {
            DeviceKind::HardDisk => "disk",
            DeviceKind::Dvd => "dvd",
            DeviceKind::Floppy => "floppy",
        };
        let content = match (&slot.medium, &slot.host_drive) {
            (Some(uuid), _) => short(*uuid),
            (None, Some(drive)) => format!("host {drive}"),
            (None, None) => "empty".to_owned(),
        };
        format!("  {} {}:{} {kind} {content}\n", slot.controller, slot.port, slot.device)
    };
    slots.iter().map(line).collect()
}

fn machine_lines(bytes: &[u8]) -> String {
    let parsed = parse_machine(bytes).unwrap();
    assert_eq!(parsed.problems, []);
    let machine = parsed.machine;
    let mut lines = format!(
        "{:?} {} {} {:?} {} {} modified {}\n",
        machine.name,
        short(machine.uuid),
        machine.os_type,
        machine.state,
        machine.last_state_change,
        machine.groups.join(","),
        machine.current_state_modified
    );
    lines += &format!("snapshots in {:?}, state in {:?}\n", machine.snapshot_folder, machine.state_file);
    lines += &slot_lines(&machine.attachments);
    for (index, snapshot) in machine.snapshots.iter().enumerate() {
        let mark = if machine.current_snapshot == Some(index) { "*" } else { "" };
        lines += &format!(
            "{index}{mark} of {:?}: {:?} {} {} online {} {:?}\n",
            snapshot.parent,
            snapshot.name,
            short(snapshot.uuid),
            snapshot.time_stamp,
            snapshot.online,
            snapshot.description
        );
        lines += &slot_lines(&snapshot.attachments);
    }
    lines + &media_lines(&parsed.media)
}

fn global_lines(bytes: &[u8]) -> String {
    let global = parse_global(bytes).unwrap();
    let machines = global.machines.iter().map(|(uuid, path)| format!("{} {path}\n", short(*uuid)));
    machines.collect::<String>() + &media_lines(&global.media)
}

#[test]
fn version_1_2_of_virtualbox_1_5() {
    assert_eq!(
        global_lines(include_bytes!("samples/1.2-global.xml")),
        r"121 Machines\winxp\winxp.xml
HardDisk 122 of base: VDI normal VDI\winxp.vdi
HardDisk 123 of 122: VDI normal Machines\winxp\Snapshots\{0ae2d2a6-0e6c-4d2e-9c1b-000000000123}.vdi
HardDisk 124 of base: VDI writethrough D:\disks\data.vdi
Dvd 125 of base: RAW readonly D:\iso\winxp.iso
Floppy 126 of base: RAW writethrough D:\iso\drivers.img
"
    );
    assert_eq!(
        machine_lines(include_bytes!("samples/1.2-machine.xml")),
        r#""winxp" 121 winxp PoweredOff 2007-11-02T09:14:31Z / modified true
snapshots in "", state in None
  IDE Controller 0:0 disk 123
  IDE Controller 1:1 disk 124
  IDE Controller 1:0 dvd 125
  Floppy Controller 0:0 floppy host A:
0* of None: "installed" 127 2007-11-01T18:03:12Z online false ""
  IDE Controller 0:0 disk 122
  IDE Controller 1:0 dvd empty
  Floppy Controller 0:0 floppy empty
"#
    );
}

#[test]
fn version_1_3_of_virtualbox_2_0() {
    assert_eq!(
        global_lines(include_bytes!("samples/1.3-global.xml")),
        r#"131 Machines/etch.xml
HardDisk 132 of base: VDI normal /disks/etch.vdi
HardDisk 133 of 132: VDI normal Machines/{0ae2d2a6-0e6c-4d2e-9c1b-000000000131}/{0ae2d2a6-0e6c-4d2e-9c1b-000000000133}.vdi
HardDisk 134 of base: VMDK immutable /disks/old.vmdk
HardDisk 135 of base: VHD writethrough /disks/data.vhd
HardDisk 136 of base: iSCSI writethrough iscsi://joe@10.0.0.7:3260/iqn.2008-09.org.example:store/1 InitiatorUsername="joe" LUN="1" TargetAddress="10.0.0.7:3260" TargetName="iqn.2008-09.org.example:store"
HardDisk 137 of base: RAW normal /disks/plain.img
Dvd 138 of base: RAW readonly /iso/netinst.iso
"#
    );
    assert_eq!(
        machine_lines(include_bytes!("samples/1.3-machine.xml")),
        r#""etch" 131 debian Aborted 2008-09-20T10:00:00Z / modified false
snapshots in "", state in None
  IDE Controller 0:1 disk 133
  SATA Controller 1:0 disk 135
  IDE Controller 1:0 dvd host /dev/cdrom
0* of None: "fresh" 139 2008-09-19T10:00:00Z online false "as installed"
  IDE Controller 0:0 disk 132
  IDE Controller 1:0 dvd empty
"#
    );
}

#[test]
fn version_1_6_of_virtualbox_2_1() {
    assert_eq!(
        global_lines(include_bytes!("samples/1.6-global.xml")),
        r#"161 Machines/intrepid/intrepid.xml
HardDisk 162 of base: VDI normal HardDisks/intrepid.vdi "system & data"
HardDisk 163 of 162: VDI normal Machines/intrepid/Snapshots/{0ae2d2a6-0e6c-4d2e-9c1b-000000000163}.vdi
HardDisk 164 of base: iSCSI writethrough iscsi://10.0.0.7/iqn.2009-01.org.example:store/1 LUN="1" TargetAddress="10.0.0.7" TargetName="iqn.2009-01.org.example:store"
Dvd 165 of base: RAW readonly /iso/intrepid.iso
"#
    );
    assert_eq!(
        machine_lines(include_bytes!("samples/1.6-machine.xml")),
        r#""intrepid" 161 Ubuntu Saved 2009-02-11T20:15:02Z / modified true
snapshots in "", state in Some("Snapshots\\{0ae2d2a6-0e6c-4d2e-9c1b-000000000161}.sav")
  SATA Controller 0:0 disk 163
  IDE Controller 1:0 dvd 165
  Floppy Controller 0:0 floppy empty
"#
    );
}

#[test]
fn version_1_7_of_virtualbox_3_0() {
    assert_eq!(
        machine_lines(include_bytes!("samples/1.7-machine.xml")),
        r#""jaunty" 171 Ubuntu_64 PoweredOff 2009-07-10T11:54:03Z / modified false
snapshots in "", state in None
  IDE Controller 0:0 disk 173
  IDE Controller 1:0 dvd 174
  Floppy Controller 0:0 floppy empty
0* of None: "before upgrade" 175 2009-07-09T08:00:00Z online true ""
  IDE Controller 0:0 disk 172
  IDE Controller 1:0 dvd empty
"#
    );
}

#[test]
fn version_1_9_of_virtualbox_3_1() {
    assert_eq!(
        machine_lines(include_bytes!("samples/1.9-machine.xml")),
        r#""karmic" 191 Ubuntu Aborted 2010-02-07T20:01:20Z / modified true
snapshots in "/snapshots/karmic", state in None
  IDE Controller 0:0 disk 192
  IDE Controller 1:0 dvd host /dev/sr0
  SCSI Controller 15:0 disk 193
  Floppy Controller 0:0 floppy 194
"#
    );
}

#[test]
fn version_1_11_of_virtualbox_4_0() {
    assert_eq!(
        machine_lines(include_bytes!("samples/1.11-machine.vbox")),
        r#""seven" 111 Windows7_64 PoweredOff 2011-03-01T07:30:00Z / modified true
snapshots in "", state in None
  SATA Controller 0:0 disk 113
  IDE Controller 1:0 dvd 114
0* of None: "SP1" 115 2011-02-28T07:30:00Z online false ""
  SATA Controller 0:0 disk 112
HardDisk 112 of base: VDI normal seven.vdi
HardDisk 113 of 112: VDI normal Snapshots/{0ae2d2a6-0e6c-4d2e-9c1b-000000000113}.vdi
Dvd 114 of base: RAW readonly C:/Program Files/Oracle/VirtualBox/VBoxGuestAdditions.iso
"#
    );
}

#[test]
fn version_1_12_of_virtualbox_4_1() {
    assert_eq!(
        machine_lines(include_bytes!("samples/1.12-machine.vbox")),
        r#""lion" 1c1 MacOS_64 PoweredOff 2012-01-05T16:40:12Z / modified true
snapshots in "Snapshots", state in None
  SATA Controller 0:0 disk 1c3
  SATA Controller 1:0 disk 1c5
  SATA Controller 2:0 dvd empty
HardDisk 1c2 of base: VMDK multiattach lion.vmdk
HardDisk 1c3 of 1c2: VMDK normal Snapshots/{0ae2d2a6-0e6c-4d2e-9c1b-0000000001c3}.vmdk
HardDisk 1c4 of base: VDI immutable reset.vdi
HardDisk 1c5 of 1c4: VDI normal Snapshots/{0ae2d2a6-0e6c-4d2e-9c1b-0000000001c5}.vdi auto-reset
"#
    );
}

#[test]
fn version_1_15_of_virtualbox_5_0() {
    assert_eq!(
        machine_lines(include_bytes!("samples/1.15-machine.vbox")),
        r#""jessie" 1f1 Debian_64 PoweredOff 2015-09-12T12:00:00Z /work/old,/debian modified true
snapshots in "Snapshots", state in None
  SAS 7:0 disk 1f2
HardDisk 1f2 of base: VDI normal jessie.vdi CRYPT/KeyId="jessie" CRYPT/KeyStore="U0NORQABQUVTLVhUUzI1Ni1QTEFJTjY0\nAAAA"
"#
    );
}

#[test]
fn version_1_16_of_virtualbox_5_1() {
    assert_eq!(
        machine_lines(include_bytes!("samples/1.16-machine.vbox")),
        r#""stretch" 201 Debian_64 PoweredOff 2017-10-01T08:21:40Z / modified true
snapshots in "Snapshots", state in None
  SATA 0:0 disk 204
0 of None: "one" 205 2017-09-01T08:00:00Z online false ""
  SATA 0:0 disk 202
1* of Some(0): "two" 206 2017-09-02T08:00:00Z online true ""
  SATA 0:0 disk 203
HardDisk 202 of base: VDI normal stretch.vdi
HardDisk 203 of 202: VDI normal Snapshots/{0ae2d2a6-0e6c-4d2e-9c1b-000000000203}.vdi
HardDisk 204 of 203: VDI normal Snapshots/{0ae2d2a6-0e6c-4d2e-9c1b-000000000204}.vdi
"#
    );
}

#[test]
fn version_1_17_of_virtualbox_6_0() {
    assert_eq!(
        machine_lines(include_bytes!("samples/1.17-machine.vbox")),
        r#""buster ü😀" 211 Debian_64 Saved 2019-08-01T10:00:00Z / modified true
snapshots in "Snapshots", state in Some("Snapshots/2019-08-01T10-00-00-000000000Z.sav")
  NVMe 0:0 disk 212
HardDisk 212 of base: VDI normal buster.vdi
"#
    );
    let parsed = parse_machine(include_bytes!("samples/1.17-machine.vbox")).unwrap();
    assert_eq!(parsed.machine.description, "first\nsecond \u{2014} <third>");
}

#[test]
fn version_1_19_of_virtualbox_7_0() {
    assert_eq!(
        machine_lines(include_bytes!("samples/1.19-machine.vbox")),
        r#""bookworm" 221 Debian_64 PoweredOff 2023-08-01T10:00:00Z / modified false
snapshots in "Snapshots", state in None
  VirtIO 0:0 disk 224
  USB 0:0 dvd empty
0 of None: "root" 225 2023-07-01T10:00:00Z online false "the first"
  VirtIO 0:0 disk 222
1* of Some(0): "left" 226 2023-07-02T10:00:00Z online false ""
  VirtIO 0:0 disk 223
2 of Some(0): "right" 227 2023-07-03T10:00:00Z online false ""
HardDisk 222 of base: VDI normal bookworm.vdi
HardDisk 223 of 222: VDI normal Snapshots/{0ae2d2a6-0e6c-4d2e-9c1b-000000000223}.vdi
HardDisk 224 of 222: VDI normal Snapshots/{0ae2d2a6-0e6c-4d2e-9c1b-000000000224}.vdi
"#
    );
}

#[test]
fn version_1_21_of_virtualbox_7_2() {
    assert_eq!(
        machine_lines(include_bytes!("samples/1.21-machine.vbox")),
        r#""trixie" 241 Debian_arm64 PoweredOff 2025-11-01T10:00:00Z / modified true
snapshots in "Snapshots", state in None
  VirtIO 0:0 disk 242
HardDisk 242 of base: VDI normal trixie.vdi
"#
    );
}

#[test]
fn a_future_version_is_read_as_the_newest() {
    let text = include_str!("samples/1.21-machine.vbox").replace("1.21-macosx", "1.99-linux");
    assert_eq!(machine_lines(text.as_bytes()), machine_lines(include_bytes!("samples/1.21-machine.vbox")));
}

#[test]
fn namespaces_are_told_apart_and_prefixes_are_no_matter() {
    let text = include_str!("samples/1.21-machine.vbox");
    let expected = machine_lines(text.as_bytes());
    for (from, to) in [
        (r#"xmlns="http://www.virtualbox.org/""#, r#"xmlns="http://www.innotek.de/VirtualBox-settings""#),
        (r#" xmlns="http://www.virtualbox.org/""#, ""),
        ("<Hardware>", r#"<HardDiskAttachments xmlns="urn:other"><Broken/></HardDiskAttachments><Hardware>"#),
        ("<Hardware>", r#"<Future xmlns="urn:other"><A xmlns="urn:a"><B xmlns:b="urn:b"/></A></Future><Hardware>"#),
        ("<Hardware>", r#"<Future><Hardware><StorageControllers/></Hardware></Future><Hardware>"#),
    ] {
        assert!(text.contains(from));
        assert_eq!(machine_lines(text.replace(from, to).as_bytes()), expected, "{to}");
    }
    let prefixed = text
        .replace("xmlns=", "xmlns:v=")
        .replace("</", "</v:")
        .replace('<', "<v:")
        .replace("<v:/v:", "</v:")
        .replace("<v:?", "<?");
    assert_eq!(machine_lines(prefixed.as_bytes()), expected);
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_no_matter() {
    let text = include_str!("samples/1.17-machine.vbox");
    let windows = format!("\u{FEFF}{}", text.replace('\n', "\r\n"));
    assert_eq!(machine_lines(windows.as_bytes()), machine_lines(text.as_bytes()));
    let parsed = parse_machine(windows.as_bytes()).unwrap();
    assert_eq!(parsed.machine.description, "first\nsecond \u{2014} <third>");
}

#[test]
fn a_description_may_be_in_pieces_and_an_attribute() {
    let text = include_str!("samples/1.21-machine.vbox");
    let pieces = "<Description>a<!-- c -->b<![CDATA[<c>&amp;]]>&quot;d</Description><MediaRegistry>";
    let parsed = parse_machine(text.replace("<MediaRegistry>", pieces).as_bytes()).unwrap();
    assert_eq!(parsed.machine.description, "ab<c>&amp;\"d");
    let attributes = text
        .replace(r#"format="VDI""#, r#"format="VDI" Description="of a disk""#)
        .replace("<Machine ", r#"<Machine Description="of a machine" "#);
    let parsed = parse_machine(attributes.as_bytes()).unwrap();
    assert_eq!(parsed.machine.description, "of a machine");
    assert_eq!(parsed.media[0].description, "of a disk");
}
