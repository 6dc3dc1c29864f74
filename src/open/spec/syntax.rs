//! The text of a chain spec: bytes to elements, with where each of them is.
//!
//! `:iprtvfs:` is followed by elements with `|` or `:` between them, and maybe by a last path. An element is
//! `TYPE(PROVIDER,ARGUMENT,...)`, also with braces. Blanks before words are skipped. A backslash takes the meaning from
//! one of the characters `(){}\,|:`; before any other it is one itself. The grammar is that of IPRT's
//! `RTVfsChainSpecParse`
//! (<https://github.com/VirtualBox/virtualbox/blob/main/src/VBox/Runtime/common/vfs/vfschain.cpp>); no crate has it.

use super::error::{Error, Location, Result};

/// What a chain spec begins with.
pub(in crate::open) const PREFIX: &[u8] = b":iprtvfs:";
/// The most elements. They nest when they are read, and nobody needs as many.
const MOST: usize = 32;
/// The characters that a backslash takes the meaning from.
const SPECIAL: &[u8] = b"(){}\\,|:";

/// The types that an element may be of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Base,
    Vfs,
    Fss,
    Ios,
    Dir,
    File,
    Sym,
}

/// The types by their names.
pub(super) const TYPES: [(Type, &str); 7] = [
    (Type::Base, "base"),
    (Type::Vfs, "vfs"),
    (Type::Fss, "fss"),
    (Type::Ios, "ios"),
    (Type::Dir, "dir"),
    (Type::File, "file"),
    (Type::Sym, "sym"),
];

/// A word without its escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// What it says.
    pub(super) bytes: Vec<u8>,
    /// Where it begins and ends, in bytes of the spec.
    pub(super) at: (usize, usize),
}

/// `TYPE(PROVIDER,ARGUMENT,...)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) kind: Type,
    pub(super) provider: Word,
    pub(super) arguments: Vec<Word>,
    /// Where it begins and ends, in bytes of the spec.
    pub(super) at: (usize, usize),
}

/// A chain spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Syntax {
    /// At least one.
    pub(super) elements: Vec<Element>,
    /// What is meant in the last of them.
    pub(super) path: Option<Word>,
    text: Vec<u8>,
}

impl Syntax {
    /// Parses a spec, which begins with [`PREFIX`].
    ///
    /// # Errors
    /// [`Error::Syntax`].
    pub(super) fn parse(text: &[u8]) -> Result<Self> {
        let mut cursor = Cursor { text, at: PREFIX.len() };
        cursor.skip_blanks();
        let mut spec = Self { elements: Vec::new(), path: None, text: text.to_vec() };
        match cursor.peek() {
            None => return Err(cursor.error("nothing is named; begin with file(vd,IMAGE) or file(stdfile,FILE)")),
            Some(b'|' | b':') => return Err(cursor.error("a separator is before the first element; leave it out")),
            Some(_) => {}
        }
        loop {
            if spec.elements.len() == MOST {
                return Err(cursor.error(&format!("more than {MOST} elements; leave some out")));
            }
            match cursor.element()? {
                Part::Element(element) => spec.elements.push(element),
                Part::Path(word) if spec.elements.is_empty() => {
                    let what =
                        "only a path is named, without an element; give it without :iprtvfs:, or in file(vd,IMAGE)";
                    return Err(Error::syntax(Location::new(text, word.at), what));
                }
                Part::Path(word) => {
                    spec.path = Some(word);
                    return Ok(spec);
                }
            }
            cursor.skip_blanks();
            match cursor.peek() {
                None => return Ok(spec),
                Some(b'|' | b':') => cursor.at += 1,
                Some(_) => return Err(cursor.error("expected | or : between two elements; add one")),
            }
            cursor.skip_blanks();
            match cursor.peek() {
                None => return Err(cursor.error("no element follows the last separator; leave it out")),
                Some(b'|' | b':') => return Err(cursor.error("two separators are in a row; leave one out")),
                Some(_) => {}
            }
        }
    }

    /// Where a part of the spec is, for a message.
    pub(super) fn location(&self, at: (usize, usize)) -> Location {
        Location::new(&self.text, at)
    }
}

/// What is between two separators.
enum Part {
    Element(Element),
    Path(Word),
}

/// Reads a spec from left to right.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn error(&self, what: &str) -> Error {
        Error::syntax(Location::new(self.text, (self.at, self.text.len())), what)
    }

    /// The word up to a character that `ends` it, or up to the end.
    fn word(&mut self, ends: &[u8]) -> Word {
        let start = self.at;
        let mut bytes = Vec::new();
        while let Some(byte) = self.peek().filter(|byte| !ends.contains(byte)) {
            let escaped = self.text.get(self.at + 1).filter(|next| byte == b'\\' && SPECIAL.contains(next));
            bytes.push(*escaped.unwrap_or(&byte));
            self.at += 1 + usize::from(escaped.is_some());
        }
        Word { bytes, at: (start, self.at) }
    }

    fn element(&mut self) -> Result<Part> {
        let start = self.at;
        let first = self.word(b"(){}|:");
        let name = first.bytes.trim_ascii_end();
        let kind = TYPES.iter().find(|(_, text)| text.as_bytes() == name).map(|(kind, _)| *kind);
        let close = match (self.peek(), kind) {
            (None, _) => return Ok(Part::Path(first)),
            (Some(b'('), Some(_)) => b')',
            (Some(b'{'), Some(_)) => b'}',
            (Some(_), Some(_)) => return Err(self.error("expected ( or { after the type of an element; add it")),
            (Some(_), None) => {
                let names: Vec<&str> = TYPES.iter().map(|(_, name)| *name).collect();
                let what = format!("no type of an element; it is one of {}, with a parenthesis", names.join(", "));
                return Err(Error::syntax(Location::new(self.text, (start, self.at)), &what));
            }
        };
        let kind = kind.unwrap_or(Type::Base);
        let open = self.at;
        self.at += 1;
        self.skip_blanks();
        let mut provider = self.word(b"(){},|:");
        provider.bytes.truncate(provider.bytes.trim_ascii_end().len());
        if provider.bytes.is_empty() {
            return Err(self.error("expected the name of a provider, such as vd, dvm or mount"));
        }
        let mut arguments = Vec::new();
        while self.peek() == Some(b',') {
            self.at += 1;
            self.skip_blanks();
            arguments.push(self.word(b"(){},|:"));
        }
        if self.peek() != Some(close) {
            let what = format!(
                "expected {} for the parenthesis before it; add it, or a backslash before a special character of a name",
                char::from(close)
            );
            return Err(Error::syntax(Location::new(self.text, (open, self.at + 1)), &what));
        }
        self.at += 1;
        Ok(Part::Element(Element { kind, provider, arguments, at: (start, self.at) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Syntax> {
        Syntax::parse(format!(":iprtvfs:{text}").as_bytes())
    }

    fn words(spec: &Syntax) -> Vec<Vec<String>> {
        let text = |word: &Word| String::from_utf8_lossy(&word.bytes).into_owned();
        let all = |element: &Element| {
            let kind = TYPES.iter().find(|(kind, _)| *kind == element.kind).unwrap().1.to_owned();
            [kind, text(&element.provider)].into_iter().chain(element.arguments.iter().map(text)).collect()
        };
        spec.elements.iter().map(all).chain(spec.path.iter().map(|path| vec![text(path)])).collect()
    }

    #[test]
    fn reads_the_forms_that_upstream_reads() {
        for (text, expected) in [
            (
                "file(stdfile,/x/a.img,r)|dir(mount)",
                vec![vec!["file", "stdfile", "/x/a.img", "r"], vec!["dir", "mount"]],
            ),
            (" file( vd , a b ,ro ) : vfs{dvm}", vec![vec!["file", "vd", "a b ", "ro "], vec!["vfs", "dvm"]]),
            (r"file(vd,a\,b\(1\)\:\|\\\x)", vec![vec!["file", "vd", r"a,b(1):|\\x"]]),
            ("vfs(dvm)|vol0", vec![vec!["vfs", "dvm"], vec!["vol0"]]),
            ("vfs(dvm):file", vec![vec!["vfs", "dvm"], vec!["file"]]),
            ("ios(gunzip,)", vec![vec!["ios", "gunzip", ""]]),
        ] {
            assert_eq!(words(&parse(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn tells_where_a_mistake_is() {
        for (text, character, found, what) in [
            ("", 10, "", "nothing is named"),
            ("  ", 12, "", "nothing is named"),
            ("|file(vd,a)", 10, "|file(vd,a)", "before the first element"),
            ("file(vd,a)|", 21, "", "no element follows"),
            ("file(vd,a)||dir(mount)", 21, "|dir(mount)", "in a row"),
            ("file(vd,a) dir(mount)", 21, "dir(mount)", "between two elements"),
            ("file(vd,a)|disk(mount)", 21, "disk", "no type of an element"),
            ("file(vd,a)|dir|dir(mount)", 24, "|dir(mount)", "expected ( or {"),
            ("file(vd,a)|dir()", 25, ")", "name of a provider"),
            ("file(vd,ä|dir(mount)", 14, "(vd,ä|", "expected )"),
            ("file{vd,a)", 14, "{vd,a)", "expected }"),
            ("/x/a.vdi", 10, "/x/a.vdi", "only a path"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            let place =
                if found.is_empty() { "at its end".to_owned() } else { format!("at character {character}, {found:?}") };
            assert!(error.contains(&place) && error.contains(what), "{text}: {error}");
        }
    }

    #[test]
    fn refuses_more_elements_than_anybody_nests() {
        let text = |count: usize| vec!["ios(gunzip)"; count].join("|");
        assert_eq!(parse(&text(MOST)).unwrap().elements.len(), MOST);
        assert!(parse(&text(100_000)).unwrap_err().to_string().contains("more than 32 elements"));
        assert!(parse(&"file(".repeat(100_000)).is_err());
    }

    /// A word as a spec has it.
    fn escaped(bytes: &[u8]) -> Vec<u8> {
        bytes.iter().flat_map(|byte| if SPECIAL.contains(byte) { vec![b'\\', *byte] } else { vec![*byte] }).collect()
    }

    fn argument() -> impl Strategy<Value = Vec<u8>> {
        let no_blank_first = |bytes: &Vec<u8>| !bytes.first().is_some_and(u8::is_ascii_whitespace);
        proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(SPECIAL)], 0..12)
            .prop_filter("blanks before a word are skipped", no_blank_first)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            elements in proptest::collection::vec((0..7_usize, "[a-z]{1,8}", proptest::collection::vec(argument(), 0..4)), 1..5),
            braces: bool,
            separator in proptest::sample::select(b"|:".to_vec()),
            path in proptest::option::of(argument().prop_filter("a path is not empty", |path| !path.is_empty())),
        ) {
            let (open, close) = if braces { (b'{', b'}') } else { (b'(', b')') };
            let mut text = PREFIX.to_vec();
            for (index, (kind, provider, arguments)) in elements.iter().enumerate() {
                if index > 0 {
                    text.push(separator);
                }
                text.extend(TYPES[*kind].1.bytes());
                text.push(open);
                text.extend(provider.bytes());
                for argument in arguments {
                    text.push(b',');
                    text.extend(escaped(argument));
                }
                text.push(close);
            }
            if let Some(path) = &path {
                text.push(separator);
                text.extend(escaped(path));
            }
            let spec = Syntax::parse(&text).unwrap();
            let read: Vec<_> = spec.elements.iter().map(|element| {
                let arguments: Vec<_> = element.arguments.iter().map(|word| word.bytes.clone()).collect();
                let provider = String::from_utf8(element.provider.bytes.clone()).unwrap();
                (TYPES.iter().position(|(kind, _)| *kind == element.kind).unwrap(), provider, arguments)
            }).collect();
            prop_assert_eq!(read, elements);
            prop_assert_eq!(spec.path.map(|word| word.bytes), path);
        }

        #[test]
        fn any_bytes_are_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            let text = [PREFIX, &text].concat();
            if let Ok(spec) = Syntax::parse(&text) {
                for element in &spec.elements {
                    prop_assert!(element.at.0 < element.at.1 && element.at.1 <= text.len());
                }
            }
        }
    }
}
