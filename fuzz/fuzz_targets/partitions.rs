//! Reads bytes as a disk with a partition table.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vboximg_mount::fuzzing::partitions(bytes));
