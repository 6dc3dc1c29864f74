//! The width and colours of the output.

use std::borrow::Cow;

/// What the output goes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Style {
    /// The columns of the terminal; none when the output is no terminal. Then nothing is cut or wrapped.
    pub width: Option<usize>,
    /// Whether colours may be used.
    pub color: bool,
}

/// The meaning of a line, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it is.
    Plain,
    /// The heading of a table, or the name of a machine.
    Heading,
    /// The current state of a machine.
    Current,
    /// Something that is in use by somebody, or doubtful.
    Caution,
    /// Something that cannot be used.
    Problem,
}

impl Style {
    /// The line in its colour.
    pub(super) fn paint(self, tone: Tone, line: &str) -> Cow<'_, str> {
        let code = match tone {
            Tone::Plain => "",
            Tone::Heading => "1",
            Tone::Current => "32",
            Tone::Caution => "33",
            Tone::Problem => "31",
        };
        if !self.color || code.is_empty() || line.is_empty() {
            return Cow::Borrowed(line);
        }
        Cow::Owned(format!("\x1b[{code}m{line}\x1b[m"))
    }
}
