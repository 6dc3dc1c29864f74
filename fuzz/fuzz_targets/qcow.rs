//! Opens bytes as a QCOW image, and reads and writes its disk.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vboximg_mount::fuzzing::qcow(bytes));
