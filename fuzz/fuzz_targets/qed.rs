//! Opens bytes as a QED image, and reads and writes its disk.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vboximg_mount::fuzzing::qed(bytes));
