//! JSON.

use super::text::is_obeyed;
use super::{Error, Result};
use serde::Serialize;
use std::io::{self, Write};

/// Writes a report as JSON, indented, with a line end. Characters that a terminal would obey are escaped.
///
/// # Errors
/// [`Error::Write`].
pub fn write_json(out: &mut dyn Write, report: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(report).map_err(|e| Error::Write(io::Error::other(e)))?;
    let mut rest = text.as_str();
    // Control characters in strings are escaped already; the line ends are those of the indented form.
    while let Some(at) = rest.find(|c| is_obeyed(c) && c != '\n') {
        let (harmless, obeyed) = rest.split_at(at);
        let c = obeyed.chars().next().unwrap_or_default();
        write!(out, "{harmless}\\u{:04x}", u32::from(c))?;
        rest = &obeyed[c.len_utf8()..];
    }
    writeln!(out, "{rest}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_finds_nothing_to_obey() {
        let mut out = Vec::new();
        write_json(&mut out, &["a\x1b[2J", "\u{9b}2J \u{202e}", "日本"]).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "[\n  \"a\\u001b[2J\",\n  \"\\u009b2J \\u202e\",\n  \"日本\"\n]\n");
        let back: Vec<String> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, ["a\x1b[2J", "\u{9b}2J \u{202e}", "日本"]);
    }
}
