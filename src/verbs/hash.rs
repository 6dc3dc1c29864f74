//! `hash`: the SHA-256 of files, as sha256sum(1) prints it.

use super::output::Written;
use super::{Error, Report, Result, cat, text};
use crate::view::View;
use sha2::{Digest, Sha256};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Writes a line for each file: its SHA-256 and its path.
///
/// # Errors
/// [`Error::Write`].
pub(crate) fn hash(
    view: &View,
    paths: &[PathBuf],
    on_terminal: bool,
    out: &mut dyn Write,
    report: Report<'_>,
) -> Result<()> {
    for path in paths {
        let mut hasher = Written(Hasher(Sha256::new()));
        if let Err(e) = cat::one(view, path, cat::Range::default(), &mut hasher) {
            report(e);
            continue;
        }
        let digest = hasher.0.0.finalize();
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let name = path.as_os_str().as_bytes();
        // A line begins with a backslash when the name in it is escaped.
        let is_escaped = name.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r'));
        let escaped: Vec<u8> = name.iter().flat_map(|byte| escape(*byte)).collect();
        write!(out, "{}{digest}  ", if is_escaped { "\\" } else { "" })?;
        out.write_all(&text::name(&escaped, on_terminal))?;
        writeln!(out)?;
    }
    out.flush().map_err(Error::from)
}

fn escape(byte: u8) -> Vec<u8> {
    match byte {
        b'\\' => br"\\".to_vec(),
        b'\n' => br"\n".to_vec(),
        b'\r' => br"\r".to_vec(),
        other => vec![other],
    }
}

/// A hash as a writer.
struct Hasher(Sha256);

impl Write for Hasher {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.update(buf);
        Ok(buf.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
