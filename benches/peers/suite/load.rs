//! Other work on the machine.

use super::Result;
use std::process::{Child, Command, Stdio};

/// How many processes compute.
const PROCESSES: usize = 2;
/// Computes until the process whose id is its argument ends.
const SCRIPT: &str = "while kill -0 $1 2>/dev/null; do i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done; done";

/// Processes that compute until it is dropped.
pub(crate) struct Load(Vec<Child>);

impl Load {
    pub(crate) fn start() -> Result<Self> {
        let mut load = Self(Vec::new());
        for _ in 0..PROCESSES {
            let mut command = Command::new("sh");
            command.args(["-c", SCRIPT, "load", &std::process::id().to_string()]).stdin(Stdio::null());
            load.0.push(command.spawn()?);
        }
        Ok(load)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
