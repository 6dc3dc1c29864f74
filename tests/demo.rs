//! What the README tells a new user to run first works.

use std::process::Command;

#[test]
fn the_demo_shows_the_registry_and_a_snapshot() {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/demo");
    let output = Command::new(demo).arg(env!("CARGO_BIN_EXE_vboximg-mount")).output().unwrap();
    let (text, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{complaint}");
    for shown in
        ["alpine tree.vdi", "With tools", "EFI system partition", "vhdd", "BOOTX64.EFI", "hello from the guest"]
    {
        assert!(text.contains(shown), "no {shown:?} in:\n{text}");
    }
}
