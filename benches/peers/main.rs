//! Measures this program beside the real vboximg-mount and others, in one run. See `benches/README.md`.

mod suite;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = suite::Options::parse();
    match suite::run(&options, env!("CARGO_BIN_EXE_vboximg-mount").as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("The measurement failed: {e}");
            ExitCode::FAILURE
        }
    }
}
