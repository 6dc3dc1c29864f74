//! The `vboximg-mount` program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    vboximg_mount::cli::run(std::env::args_os())
}
