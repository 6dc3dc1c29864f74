//! Opens bytes as a volume, whatever it holds, lists its directories and reads of its files.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vboximg_mount_fuzz::volume(bytes));
