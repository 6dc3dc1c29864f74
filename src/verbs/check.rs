//! `check`: what was found, as text or JSON.

use super::Result;
use crate::check::{Finding, Part, Reading};
use crate::listing::{printable, scaled, write_json};
use std::fmt::Write as _;
use std::io::Write;

/// Writes one part: a line of its own, and its findings below.
///
/// # Errors
/// [`Error::Write`](super::Error::Write).
pub(crate) fn write_part(out: &mut dyn Write, part: &Part) -> Result<()> {
    let mut line = part.slot.as_ref().map_or_else(String::new, |slot| format!("{}: ", printable(slot)));
    let _ = write!(line, "{}", printable(&part.name));
    let size = part.size.map(|size| scaled(size).trim_end().to_owned());
    let facts: Vec<&str> = [Some(part.details.as_str()), size.as_deref()].into_iter().flatten().collect();
    let facts = facts.into_iter().filter(|fact| !fact.is_empty()).collect::<Vec<_>>().join(", ");
    if !facts.is_empty() {
        let _ = write!(line, ": {}", printable(&facts));
    }
    let count = match part.findings.count() {
        0 => "no findings".to_owned(),
        1 => "1 finding".to_owned(),
        count => format!("{count} findings"),
    };
    writeln!(out, "{line}: {count}")?;
    for found in &part.findings.list {
        write_finding(out, found)?;
    }
    if part.findings.more > 0 {
        writeln!(out, "  ({} more findings)", part.findings.more)?;
    }
    Ok(())
}

fn write_finding(out: &mut dyn Write, found: &Finding) -> Result<()> {
    let more = if found.more > 0 {
        format!(", and {} more like it on the bytes that follow", found.more)
    } else {
        String::new()
    };
    let prefix = if found.note { "note: " } else { "" };
    writeln!(out, "  {prefix}{}{more}", printable(&found.what))?;
    let mut line = String::new();
    if let (Some(offset), Some(length)) = (found.offset, found.length) {
        let _ = write!(line, "bytes {offset} to {} of the disk: ", offset.saturating_add(length));
    }
    line.push_str(match found.reading {
        Reading::Error => "reading gives an error (EIO)",
        Reading::Refused => "the disk is not opened",
        Reading::Stale => "reading may give other bytes than the disk's",
        Reading::Fine => "reading gives the right bytes",
    });
    if !found.advice.is_empty() {
        let _ = write!(line, "; {}", found.advice);
    }
    if !found.note || !found.advice.is_empty() {
        writeln!(out, "    {}", printable(&line))?;
    }
    Ok(())
}

/// Writes all parts as JSON.
///
/// # Errors
/// [`Error::Write`](super::Error::Write).
pub(crate) fn write_parts(out: &mut dyn Write, parts: &[Part]) -> Result<()> {
    Ok(write_json(out, &parts)?)
}
