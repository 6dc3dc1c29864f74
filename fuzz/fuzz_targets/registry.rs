//! Loads bytes as a machine's settings file and as VirtualBox.xml.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vboximg_mount_fuzz::settings(bytes));
