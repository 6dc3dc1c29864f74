//! Reads bytes as a volume with whatever file system.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vboximg_mount::fuzzing::guestfs(bytes));
