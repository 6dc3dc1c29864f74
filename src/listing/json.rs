//! Reports as JSON.

use super::Result;
use super::text::is_interpreted;
use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer as _};
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};
use std::io::{self, Write};

/// Writes a report as JSON, indented, with a line end. Characters that a terminal interprets are escaped.
///
/// # Errors
/// [`Error::Write`](super::Error::Write).
pub(crate) fn write_json(out: &mut dyn Write, report: &impl Serialize) -> Result<()> {
    let mut serializer = Serializer::with_formatter(&mut *out, Sanitized(PrettyFormatter::new()));
    report.serialize(&mut serializer).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// Writes an array as JSON, as [`write_json`] does, item by item: `fill` gets what adds one.
///
/// # Errors
/// As [`write_json`].
pub(crate) fn write_json_array<T: Serialize, R>(
    out: &mut dyn Write,
    fill: impl FnOnce(&mut dyn FnMut(&T) -> Result<()>) -> R,
) -> Result<R> {
    let mut serializer = Serializer::with_formatter(&mut *out, Sanitized(PrettyFormatter::new()));
    let mut array = serializer.serialize_seq(None).map_err(io::Error::from)?;
    let filled = fill(&mut |item| Ok(array.serialize_element(item).map_err(io::Error::from)?));
    array.end().map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(filled)
}

/// Writes an object as JSON in one line, without a line end. Characters that a terminal interprets are escaped.
///
/// # Errors
/// As [`write_json`].
pub(crate) fn write_json_line(out: &mut dyn Write, object: &impl Serialize) -> Result<()> {
    let mut serializer = Serializer::with_formatter(&mut *out, Sanitized(CompactFormatter));
    object.serialize(&mut serializer).map_err(io::Error::from)?;
    Ok(())
}

/// A form with more characters escaped than JSON demands.
struct Sanitized<F>(F);

macro_rules! as_in_form {
    ($($name:ident($($argument:ident: $type:ty)?);)*) => {
        $(fn $name<W: ?Sized + Write>(&mut self, out: &mut W $(, $argument: $type)?) -> io::Result<()> {
            self.0.$name(out $(, $argument)?)
        })*
    };
}

impl<F: Formatter> Formatter for Sanitized<F> {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_interpreted(*c)) {
            write!(out, "{}\\u{:04x}", &rest[..at], u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }

    as_in_form! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        begin_object_value();
        end_object_value();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_a_terminal_interprets() {
        let mut out = Vec::new();
        write_json(&mut out, &["a\x1b[2J", "\u{9b}2J \u{202e}", "日本"]).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "[\n  \"a\\u001b[2J\",\n  \"\\u009b2J \\u202e\",\n  \"日本\"\n]\n");
        let back: Vec<String> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, ["a\x1b[2J", "\u{9b}2J \u{202e}", "日本"]);
    }
}
