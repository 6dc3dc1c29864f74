use super::*;

const OVF: &str = r#"<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vbox="http://www.virtualbox.org/ovf/machine">
  <References><File ovf:id="file1" ovf:href="a.vmdk" ovf:compression="gzip"/><File ovf:id="file2" ovf:href="b.vmdk" ovf:chunkSize="1000"/></References>
  <DiskSection>
    <Disk ovf:diskId="d1" ovf:fileRef="file1" ovf:capacity="20" ovf:capacityAllocationUnits="byte * 2^30" vbox:uuid="99bd70ea-5cb6-4611-83c3-4384a4574c81"/>
    <Disk ovf:diskId="d2" ovf:parentRef="d1" ovf:capacity="${size}"/>
  </DiskSection>
  <VirtualSystemCollection ovf:id="all">
    <VirtualSystem ovf:id="vm1">
      <Name>First</Name>
      <AnnotationSection><Annotation>Two
lines</Annotation></AnnotationSection>
      <OperatingSystemSection><Description>Ubuntu &amp; more</Description></OperatingSystemSection>
      <VirtualHardwareSection>
        <Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceType>20</rasd:ResourceType><rasd:ResourceSubType>AHCI</rasd:ResourceSubType></Item>
        <StorageItem><rasd:Parent>3</rasd:Parent><rasd:HostResource>ovf:/disk/d1</rasd:HostResource></StorageItem>
      </VirtualHardwareSection>
      <VirtualHardwareSection><Item><rasd:InstanceID>9</rasd:InstanceID></Item></VirtualHardwareSection>
    </VirtualSystem>
    <VirtualSystemCollection>
      <VirtualSystem ovf:id="vm2">
        <OperatingSystemSection><Description>Linux</Description><vbox:OSType ovf:required="false">Linux_64</vbox:OSType></OperatingSystemSection>
        <vbox:Machine ovf:required="false" version="1.19-linux" uuid="{03aabc59-6ef0-4b61-98c3-6880ca04ef96}" name="two" OSType="Linux_64">
          <Hardware><StorageControllers><StorageController name="S" type="AHCI">
            <AttachedDevice type="HardDisk" port="2" device="0"><Image uuid="{99bd70ea-5cb6-4611-83c3-4384a4574c81}"/></AttachedDevice>
          </StorageController></StorageControllers></Hardware>
        </vbox:Machine>
      </VirtualSystem>
    </VirtualSystemCollection>
  </VirtualSystemCollection>
</Envelope>"#;

fn check(parsed: &ParsedAppliance) {
    assert_eq!(parsed.files.iter().map(|file| &*file.href).collect::<Vec<_>>(), ["a.vmdk", "b.vmdk"]);
    assert_eq!((&*parsed.files[0].compression, parsed.files[1].is_chunked), ("gzip", true));
    assert_eq!((parsed.disks[0].capacity, parsed.disks[1].capacity), (Some(20 << 30), None));
    assert_eq!(parsed.disks[0].uuid, parse_uuid("99bd70ea-5cb6-4611-83c3-4384a4574c81"));
    assert_eq!((parsed.disks[1].parent.as_deref(), parsed.disks[1].file.as_deref()), (Some("d1"), None));
    let [first, second] = &*parsed.systems else { panic!("{:?}", parsed.systems) };
    assert_eq!((&*first.id, &*first.name, &*first.os_type), ("vm1", "First", "Ubuntu & more"));
    assert_eq!(first.description, "Two\nlines");
    assert_eq!(first.items.len(), 2);
    assert_eq!((&*first.items[0].instance, &*first.items[0].subtype), ("3", "AHCI"));
    assert_eq!((&*first.items[1].parent, &*first.items[1].host_resource), ("3", "ovf:/disk/d1"));
    assert_eq!(second.os_type, "Linux_64");
    let machine = &second.machine.as_ref().unwrap().machine;
    assert_eq!((&*machine.name, machine.attachments[0].port), ("two", 2));
}

#[test]
fn reads_a_descriptor_of_each_version() {
    check(&parse_appliance(OVF.as_bytes()).unwrap());
    check(&parse_appliance(OVF.replace("envelope/1", "envelope/2").as_bytes()).unwrap());
    let mut old = OVF.replace("http://schemas.dmtf.org/ovf/envelope/1", "http://www.vmware.com/schema/ovf/1/envelope");
    for section in ["DiskSection", "AnnotationSection", "OperatingSystemSection", "VirtualHardwareSection"] {
        old = old.replace(&format!("<{section}"), &format!(r#"<Section xsi:type="ovf:{section}_Type""#));
        old = old.replace(&format!("</{section}>"), "</Section>");
    }
    for content in ["VirtualSystemCollection", "VirtualSystem"] {
        old = old.replace(&format!("<{content} "), &format!(r#"<Content xsi:type="ovf:{content}_Type" "#));
        old = old.replace(&format!("<{content}>"), &format!(r#"<Content xsi:type="ovf:{content}_Type">"#));
        old = old.replace(&format!("</{content}>"), "</Content>");
    }
    check(&parse_appliance(old.replace("InstanceID", "InstanceId").as_bytes()).unwrap());
}

#[test]
fn units_of_capacity_are_understood() {
    for (text, bytes) in [
        ("byte", Some(1)),
        ("byte * 2^20", Some(1 << 20)),
        ("byte*10^9", Some(1_000_000_000)),
        ("byte * 1024 * 2^10", Some(1 << 20)),
        ("MegaBytes", Some(1 << 20)),
        ("GB", Some(1 << 30)),
        ("byte * 2^64", None),
        ("byte * x", None),
        ("pages", None),
    ] {
        assert_eq!(unit(text), bytes, "{text}");
    }
}

#[test]
fn broken_descriptors_are_refused_with_their_line() {
    for (text, line, expected) in [
        ("<Envelope>\n<References><File id='x'/></References></Envelope>", 2, "the attribute File/@href"),
        ("<VirtualBox/>", 1, "the root element Envelope"),
        ("<Envelope>", 1, "the end of the element"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><Envelope/>", 1, "no document type"),
        ("<Envelope><DiskSection>\n<Disk/></DiskSection></Envelope>", 2, "the attribute Disk/@diskId"),
    ] {
        match parse_appliance(text.as_bytes()) {
            Err(ParseError::Broken { line: at, expected: what, .. }) => {
                assert!(at == line && what.starts_with(expected), "{text}: {what} in line {at}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    let deep = "<Envelope>".to_owned() + &"<VirtualSystemCollection>".repeat(100_000);
    assert!(parse_appliance(deep.as_bytes()).is_err());
    assert!(parse_appliance(b"<Envelope/>").unwrap().systems.is_empty());
}
