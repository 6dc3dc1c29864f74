//! Opens bytes as a Vhd image and reads of its disk.
#![no_main]

use vboximg_mount::image::Format;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vboximg_mount_fuzz::image(bytes, Format::Vhd));
