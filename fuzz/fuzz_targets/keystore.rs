//! Parses bytes as the key store of an encrypted disk or machine.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vboximg_mount::fuzzing::keystore(bytes));
