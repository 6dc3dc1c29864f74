//! Walking the XML that some formats carry, without recursion and without ever expanding an entity of the document.

use crate::ondisk::ParseError;
use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, Event};

/// Elements within elements, at most.
const MAX_DEPTH: usize = 64;

/// An event of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// An element begins.
    Open,
    /// An element ends that has this text (without the text of elements within it, and trimmed).
    Close(&'a str),
}

/// The position of a walk: the enclosing elements, and the offset in the file.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    names: Vec<String>,
    document: &'a str,
    base: u64,
    at: u64,
}

impl Place<'_> {
    /// The names of the elements from the root to the one that begins or ends.
    pub(crate) fn path(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// Bytes from the start of the file.
    pub(crate) fn offset(&self) -> u64 {
        self.base.saturating_add(self.at)
    }

    fn open(&mut self, name: &[u8]) -> Result<(), ParseError> {
        if self.names.len() >= MAX_DEPTH {
            let expected = format_args!("at most {MAX_DEPTH} elements within each other");
            return Err(ParseError::corrupt(self.offset(), "XML", expected, "more"));
        }
        self.names.push(String::from_utf8_lossy(name).into_owned());
        Ok(())
    }

    fn reference(&self, name: &BytesRef) -> Result<String, ParseError> {
        match name.resolve_char_ref() {
            Ok(Some(c)) => Ok(c.to_string()),
            Ok(None) => resolve_xml_entity(name).map(str::to_owned).ok_or_else(|| {
                let found = format_args!("{:?}", &**name);
                ParseError::corrupt(self.offset(), "XML entity", "one of the five that XML defines", found)
            }),
            Err(error) => Err(ParseError::corrupt(self.offset(), "XML", "a character reference", error)),
        }
    }

    fn line(&self, at: u64) -> usize {
        let end = usize::try_from(at).unwrap_or(usize::MAX).min(self.document.len());
        1 + self.document.as_bytes()[..end].iter().filter(|b| **b == b'\n').count()
    }
}

/// Shows all elements of `bytes`, which begin `base` bytes into their file, to `visit`.
///
/// # Errors
/// [`ParseError`] when the document is not well-formed UTF-8 XML, and what `visit` answers.
pub(crate) fn walk(
    bytes: &[u8],
    base: u64,
    visit: &mut dyn FnMut(&Place<'_>, Step<'_>) -> Result<(), ParseError>,
) -> Result<(), ParseError> {
    let document = std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to() as u64;
        ParseError::corrupt(base.saturating_add(at), "XML", "UTF-8", "other bytes")
    })?;
    let mut place = Place { names: Vec::new(), document, base, at: 0 };
    let mut reader = Reader::from_str(document);
    let mut text = String::new();
    let mut seen = false;
    loop {
        place.at = reader.buffer_position();
        let event = reader.read_event().map_err(|error| {
            let at = reader.error_position();
            let found = format_args!("{error} in line {}", place.line(at));
            ParseError::corrupt(base.saturating_add(at), "XML", "a well-formed document", found)
        })?;
        match event {
            Event::Start(start) => {
                seen = true;
                place.open(start.local_name().as_ref().as_ref())?;
                text.clear();
                visit(&place, Step::Open)?;
            }
            Event::Empty(start) => {
                seen = true;
                place.open(start.local_name().as_ref().as_ref())?;
                visit(&place, Step::Open)?;
                visit(&place, Step::Close(""))?;
                place.names.pop();
                text.clear();
            }
            Event::End(_) => {
                visit(&place, Step::Close(text.trim()))?;
                place.names.pop();
                text.clear();
            }
            Event::Text(chunk) => text.push_str(&chunk.xml10_content()),
            Event::CData(chunk) => text.push_str(&chunk.xml10_content()),
            Event::GeneralRef(name) => text.push_str(&place.reference(&name)?),
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) | Event::DocType(_) => {}
            Event::Eof if seen && place.names.is_empty() => return Ok(()),
            Event::Eof => {
                return Err(ParseError::corrupt(
                    place.offset(),
                    "XML",
                    "the end of every element",
                    "the end of the document",
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ondisk::xml::*;

    fn seen(document: &str) -> Result<Vec<String>, ParseError> {
        let mut out = Vec::new();
        walk(document.as_bytes(), 100, &mut |place, step| {
            out.push(format!("{} {step:?}", place.path().join("/")));
            Ok(())
        })?;
        Ok(out)
    }

    #[test]
    fn elements_and_their_text_are_shown_in_order() {
        let document = "<?xml version='1.0'?><!DOCTYPE x><a>1<b> x &amp; &#65;<!-- no --><![CDATA[<]]> </b>2<c/></a>";
        let steps = ["a Open", "a/b Open", "a/b Close(\"x & A<\")", "a/c Open", "a/c Close(\"\")", "a Close(\"\")"];
        assert_eq!(seen(document).unwrap(), steps);
    }

    #[test]
    fn what_is_not_xml_is_corrupt() {
        let deep = "<a>".repeat(65);
        for (document, message) in [
            ("", "XML at offset 100 (0x64): expected the end of every element, found the end of the document"),
            ("<a>", "XML at offset 103 (0x67): expected the end of every element, found the end of the document"),
            ("<a>\n</b>", "in line 2"),
            (
                "<a>&lol;</a>",
                "XML entity at offset 103 (0x67): expected one of the five that XML defines, found \"lol\"",
            ),
            (deep.as_str(), "expected at most 64 elements within each other, found more"),
        ] {
            let error = seen(document).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        assert!(walk(b"<a>\xff</a>", 0, &mut |_, _| Ok(())).unwrap_err().to_string().contains("expected UTF-8"));
    }
}
