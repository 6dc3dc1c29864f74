//! The `vboximg-mount` program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    vboximg_mount::run(std::env::args_os())
}
