//! Walks XML without recursion: quick-xml's events drive a visitor, which keeps a state for each open element.

use super::encoding::decode;
use super::{ParseError, Result, Version, parse_uuid};
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, NamespaceError, NamespaceResolver, ResolveResult};
use quick_xml::reader::Reader;
use std::borrow::Cow;
use uuid::Uuid;

/// The namespaces of settings files, today's and the one before VirtualBox 5.0.
const NAMESPACES: [&str; 2] = ["http://www.virtualbox.org/", "http://www.innotek.de/VirtualBox-settings"];

/// The root element of settings files.
const ROOT: &str = "VirtualBox";

/// What is expected where the text is no XML.
const WELL_FORMED: &str = "well-formed XML";

/// How deep elements may be nested.
const DEEPEST: usize = u16::MAX as usize;

/// Characters of a wrong value that an error shows.
const SHOWN: usize = 80;

/// What is done with the elements of a document.
pub(super) trait Visitor {
    /// The root element.
    const ROOT: &'static str = ROOT;

    /// What an open element means to the visitor.
    type Role;

    /// Whether elements of a namespace are shown. Those without one always are.
    fn is_known(namespace: &str) -> bool {
        NAMESPACES.contains(&namespace)
    }

    /// An element begins inside of `parent`, or at the root. Without an answer its whole subtree is ignored.
    fn start(&mut self, parent: Option<&Self::Role>, element: &Element) -> Result<Option<Self::Role>>;

    /// A segment of the text of an element.
    fn text(&mut self, role: &Self::Role, text: &str);

    /// An element that was not ignored ends.
    fn end(&mut self, role: Self::Role) -> Result<()>;
}

/// Shows all elements of a document to `visitor`.
///
/// # Errors
/// [`ParseError::Broken`] when it is not well-formed, has a document type, or the visitor rejects it;
/// [`ParseError::Unsupported`] when its encoding is not known.
pub(super) fn walk<V: Visitor>(bytes: &[u8], visitor: &mut V) -> Result<()> {
    let document = &*decode(bytes)?;
    let names = NamespaceResolver::default();
    let mut walk = Walk { document, offset: 0, line: 1, names, open: Vec::new(), ignored: 0, has_root: false, visitor };
    let mut reader = Reader::from_str(document);
    loop {
        walk.advance(reader.buffer_position());
        let event = match reader.read_event() {
            Ok(event) => event,
            Err(error) => {
                let at = usize::try_from(reader.error_position()).unwrap_or(document.len());
                let found = error.to_string();
                let line = line_of(document.as_bytes(), at);
                return Err(ParseError::Broken { line, expected: WELL_FORMED.to_owned(), found });
            }
        };
        match event {
            Event::Start(start) => walk.start(&start)?,
            Event::Empty(start) => {
                walk.start(&start)?;
                walk.end()?;
            }
            Event::End(_) => walk.end()?,
            Event::Text(text) => walk.text(&text.xml10_content()),
            Event::CData(text) => walk.text(&text.xml10_content()),
            Event::GeneralRef(name) => {
                let text = match name.resolve_char_ref() {
                    Ok(Some(c)) => c.to_string(),
                    Ok(None) => resolve_xml_entity(&name).map(str::to_owned).ok_or_else(|| {
                        walk.broken("one of the five entities of XML", format!("&{};", shorten(&name)))
                    })?,
                    Err(error) => return Err(walk.broken("a character reference", error.to_string())),
                };
                walk.text(&text);
            }
            // Entities that expand to entities are a way to fill the memory, and VirtualBox writes no document type.
            Event::DocType(_) => {
                return Err(walk.broken("no document type", "<!DOCTYPE"));
            }
            Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            Event::Eof => return walk.finish(),
        }
    }
}

fn line_of(bytes: &[u8], offset: usize) -> usize {
    1 + newlines(&bytes[..offset.min(bytes.len())])
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// A value from a file as an error shows it: quoted by the caller where needed, and never too long.
fn shorten(value: &str) -> String {
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value.to_owned(),
    }
}

/// The state of a walk. The stack is ours, so depth costs a few bytes of heap.
struct Walk<'a, 'v, V: Visitor> {
    document: &'a str,
    /// Where the event at hand begins: bytes from the start, and the line from 1.
    offset: usize,
    line: usize,
    /// The namespaces that are declared around it, but for those within an ignored element, where no name matters.
    names: NamespaceResolver,
    /// The open elements that are not ignored, and the lines that they begin in.
    open: Vec<(V::Role, usize)>,
    /// How many elements are open inside of an ignored one, with it.
    ignored: usize,
    has_root: bool,
    visitor: &'v mut V,
}

impl<V: Visitor> Walk<'_, '_, V> {
    /// Goes on to the event that begins `position` bytes from the start.
    fn advance(&mut self, position: u64) {
        let position = usize::try_from(position).unwrap_or(usize::MAX).min(self.document.len());
        // Counted as we go: counting from the start for each element would take time squared.
        self.line += newlines(&self.document.as_bytes()[self.offset..position]);
        self.offset = position;
    }

    fn broken(&self, expected: impl Into<String>, found: impl Into<String>) -> ParseError {
        ParseError::Broken { line: self.line, expected: expected.into(), found: found.into() }
    }

    fn start(&mut self, start: &BytesStart) -> Result<()> {
        if self.ignored > 0 {
            return self.ignore();
        }
        self.names.push(start).map_err(|error| self.broken(WELL_FORMED, error.to_string()))?;
        let known = match self.names.resolve_element(start.name()).0 {
            ResolveResult::Bound(Namespace(name)) => V::is_known(name),
            ResolveResult::Unbound => true,
            ResolveResult::Unknown(_) => false,
        };
        let parent = self.open.last().map(|(role, _)| role);
        let role = if parent.is_none() && (self.has_root || !known) {
            let expected = match (self.has_root, start.local_name().into_inner() == V::ROOT) {
                (true, _) => "the end of the file".to_owned(),
                (false, false) => format!("the root element {}", V::ROOT),
                (false, true) => format!("the namespace {} of the root element", NAMESPACES[0]),
            };
            return Err(self.broken(expected, format!("<{}>", shorten(start.name().as_ref()))));
        } else if known {
            self.visitor.start(parent, &Element { line: self.line, start })?
        } else {
            None
        };
        self.has_root = true;
        match role {
            Some(role) => self.open.push((role, self.line)),
            None => self.ignored += 1,
        }
        Ok(())
    }

    /// Goes into an element inside of an ignored one.
    fn ignore(&mut self) -> Result<()> {
        // As deep as the resolver lets other elements be.
        if self.open.len() + self.ignored >= DEEPEST {
            return Err(self.broken(WELL_FORMED, NamespaceError::TooDeeplyNested(DEEPEST).to_string()));
        }
        self.ignored += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if self.ignored > 1 {
            self.ignored -= 1;
            return Ok(());
        }
        self.names.pop();
        if self.ignored == 1 {
            self.ignored = 0;
        } else if let Some((role, _)) = self.open.pop() {
            self.visitor.end(role)?;
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if self.ignored == 0
            && let Some((role, _)) = self.open.last()
        {
            self.visitor.text(role, text);
        }
    }

    fn finish(self) -> Result<()> {
        match self.open.last() {
            Some((_, line)) => {
                let expected = format!("the end of the element that begins in line {line}");
                Err(self.broken(expected, "the end of the file"))
            }
            None if !self.has_root => Err(self.broken(format!("the root element {}", V::ROOT), "the end of the file")),
            None => Ok(()),
        }
    }
}

/// The beginning of an element, with its attributes.
pub(super) struct Element<'a> {
    line: usize,
    start: &'a BytesStart<'a>,
}

impl<'a> Element<'a> {
    /// The name without a namespace's prefix.
    pub(super) fn name(&self) -> &'a str {
        self.start.local_name().into_inner()
    }

    /// The line that the element begins in, from 1.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// What is wrong here.
    pub(super) fn broken(&self, expected: impl Into<String>, found: impl Into<String>) -> ParseError {
        ParseError::Broken { line: self.line, expected: expected.into(), found: found.into() }
    }

    /// A wrong value of an attribute.
    pub(super) fn wrong(&self, attribute: &str, expected: &str, value: &str) -> ParseError {
        self.broken(format!("{expected} in {}/@{attribute}", self.name()), format!("{:?}", shorten(value)))
    }

    /// The value of an attribute, decoded; none when it is not there.
    pub(super) fn attribute(&self, name: &str) -> Result<Option<Cow<'a, str>>> {
        let malformed = |error: &dyn std::fmt::Display| {
            self.broken(format!("well-formed attributes of {}", self.name()), error.to_string())
        };
        let mut value = None;
        // The check for duplicates compares each with each, which a hostile file turns into hours.
        for attribute in self.start.attributes().with_checks(false) {
            let attribute = attribute.map_err(|error| malformed(&error))?;
            if attribute.key.as_ref() == name {
                let decoded = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| malformed(&error))?;
                if value.replace(decoded).is_some() {
                    return Err(self.broken(format!("one {}/@{name}", self.name()), "two"));
                }
            }
        }
        Ok(value)
    }

    /// The value of the first attribute with a name in whatever namespace, decoded; none when there is none.
    pub(super) fn local(&self, name: &str) -> Result<Option<String>> {
        // What is malformed is left to the other.
        let mut all = self.start.attributes();
        let mut keys = all.with_checks(false).map_while(|attribute| Some(attribute.ok()?.key));
        let key = keys.find(|key| key.local_name().as_ref() == name);
        Ok(self.attribute(key.as_ref().map_or(name, |key| key.as_ref()))?.map(Cow::into_owned))
    }

    /// The value of an attribute that must be there.
    pub(super) fn required(&self, name: &str) -> Result<Cow<'a, str>> {
        self.attribute(name)?.ok_or_else(|| self.broken(format!("the attribute {}/@{name}", self.name()), "none"))
    }

    /// An attribute as text; empty when it is not there.
    pub(super) fn text(&self, name: &str) -> Result<String> {
        Ok(self.attribute(name)?.unwrap_or_default().into_owned())
    }

    /// A UUID that must be there.
    pub(super) fn uuid(&self, name: &str) -> Result<Uuid> {
        self.required(name).and_then(|value| self.read_uuid(name, &value))
    }

    /// A UUID that may be missing.
    pub(super) fn optional_uuid(&self, name: &str) -> Result<Option<Uuid>> {
        self.attribute(name)?.map(|value| self.read_uuid(name, &value)).transpose()
    }

    fn read_uuid(&self, name: &str, value: &str) -> Result<Uuid> {
        let uuid = parse_uuid(value).filter(|uuid| !uuid.is_nil());
        uuid.ok_or_else(|| self.wrong(name, "a UUID", value))
    }

    /// A number from 0 that must be there.
    pub(super) fn number(&self, name: &str) -> Result<u32> {
        let value = self.required(name)?;
        value.parse().map_err(|_| self.wrong(name, "a number", &value))
    }

    /// A truth value, in the words that VirtualBox accepts; none when it is not there.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>> {
        self.attribute(name)?
            .map(|value| match &*value {
                "true" | "yes" | "1" => Ok(true),
                "false" | "no" | "0" => Ok(false),
                other => Err(self.wrong(name, "true or false", other)),
            })
            .transpose()
    }

    /// Checks that this is the root element of a settings file, and returns its version.
    pub(super) fn root_version(&self) -> Result<Version> {
        if self.name() != ROOT {
            return Err(self.broken("the root element VirtualBox", format!("<{}>", shorten(self.name()))));
        }
        self.settings_version()
    }

    /// The settings version that the element states.
    pub(super) fn settings_version(&self) -> Result<Version> {
        let text = self.required("version")?;
        let version = Version::parse(&text)
            .ok_or_else(|| self.wrong("version", "a settings version such as 1.19-linux", &text))?;
        if version < Version::OLDEST {
            let reason = format!(
                "its settings version {} is older than 1.2; open it once with VirtualBox 1.5 to 3.0, which converts it",
                shorten(&text)
            );
            return Err(ParseError::Unsupported(reason));
        }
        Ok(version)
    }
}
