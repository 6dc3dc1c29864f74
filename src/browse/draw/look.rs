//! Colours, of which only the sixteen of every terminal are used. What they say is also said by words or attributes.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

/// How the browser looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// Whether colours may be used.
    pub(crate) color: bool,
}

impl Look {
    fn colored(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    /// Text.
    pub(super) fn plain(self) -> Style {
        Style::new()
    }

    /// A title.
    pub(super) fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The title of what has the keys.
    pub(super) fn focused(self) -> Style {
        self.title().add_modifier(Modifier::REVERSED)
    }

    /// The selected line.
    pub(super) fn selected(self, is_focused: bool) -> Style {
        let style = Style::new().add_modifier(Modifier::REVERSED);
        if is_focused { style } else { Style::new().add_modifier(Modifier::UNDERLINED) }
    }

    /// The name of a field, or a key.
    pub(super) fn name(self) -> Style {
        self.colored(Color::Cyan)
    }

    /// A key in the footer.
    pub(super) fn key(self) -> Style {
        self.name().add_modifier(Modifier::BOLD)
    }

    /// A directory.
    pub(super) fn directory(self) -> Style {
        self.colored(Color::Blue).add_modifier(Modifier::BOLD)
    }

    /// A symbolic link.
    pub(super) fn link(self) -> Style {
        self.colored(Color::Cyan)
    }

    /// The current state of a machine.
    pub(super) fn current(self) -> Style {
        self.colored(Color::Green)
    }

    /// Something that is loading, in use, or doubtful.
    pub(super) fn caution(self) -> Style {
        self.colored(Color::Yellow)
    }

    /// Something that is wrong.
    pub(super) fn problem(self) -> Style {
        self.colored(Color::Red)
    }

    /// The line between both sides.
    pub(super) fn border(self) -> Style {
        self.colored(Color::DarkGray)
    }

    /// Text that was found.
    pub(super) fn found(self) -> Style {
        self.colored(Color::Yellow).add_modifier(Modifier::REVERSED)
    }
}

/// Keys and what they do, as many as fit of `KEY WORDS|KEY WORDS`.
pub(super) fn keys(keys: &str, width: usize, look: Look) -> Line<'static> {
    let (mut spans, mut used) = (Vec::new(), 0);
    for (key, what) in keys.split('|').filter_map(|key| key.split_once(' ')) {
        used += key.len() + what.len() + 3;
        if used > width + 2 {
            break;
        }
        spans.push(Span::styled(key.to_owned(), look.key()));
        spans.push(Span::raw(format!(" {what}  ")));
    }
    Line::from(spans)
}
